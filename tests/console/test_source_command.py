"""Sources on the command line: added with their settings, paused, and removed with what they delivered."""

from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from attribution import queries
from costobs.audit.models import AuditEntry

pytestmark = pytest.mark.django_db
SAMPLE = Path(__file__).parent.parent / "golden" / "focus" / "focus_sample.csv"


def said(*args: str) -> str:
    out = StringIO()
    call_command(*args, stdout=out)
    return out.getvalue()


def test_it_adds_a_source_and_reads_it(tmp_path: Path) -> None:
    (tmp_path / "focus_sample.csv").write_bytes(SAMPLE.read_bytes())

    said("source", "add", "focus_export", "aws", "--config", f'{{"url": "{tmp_path}"}}')
    said("sync", "aws")

    assert "18.00663861840" in said("spend", "--group-by", "provider_name", "--cost", "billed", "--format", "json")
    assert "focus_export/aws" in said("source", "list")


def test_it_removes_a_source_with_its_rows_and_its_books() -> None:
    said("load", "focus_export", str(SAMPLE), "--name", "bill")
    assert queries.extent() is not None

    said("source", "remove", "focus_export", "bill", "--yes")

    assert queries.extent() is None
    assert "0 failures" in said("verify")
    assert AuditEntry.objects.filter(act="source.removed").exists()


def test_it_pauses_and_resumes() -> None:
    said("source", "add", "usage_log", "app")

    said("source", "pause", "usage_log", "app")
    assert "paused" in said("source", "list")
    said("source", "resume", "usage_log", "app")
    assert "paused" not in said("source", "list")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("add", "no_such_kind", "x"), "no source of kind"),
        (("add", "usage_log", "x", "--config", "[]"), "JSON object"),
        (("add", "usage_log", "x", "--config", '{"colour": 1}'), "colour"),
        (("remove", "usage_log", "nobody", "--yes"), "there is no source"),
    ],
)
def test_it_says_what_is_wrong(args: tuple[str, ...], message: str) -> None:
    with pytest.raises(CommandError, match=message):
        said("source", *args)


def test_it_prints_the_manual_of_a_kind() -> None:
    assert "Example" in said("source", "manual", "dcgm")
