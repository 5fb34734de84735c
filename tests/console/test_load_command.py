"""Files on the command line: every kind says what is wrong with a path in a sentence, and leaves the books as they were."""

from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from ingest.models import Load
from ingest.sources import KINDS

pytestmark = pytest.mark.django_db
EVERY = [kind.kind for kind in KINDS]


def said(*args: str) -> str:
    out = StringIO()
    call_command(*args, stdout=out, stderr=out)
    return out.getvalue()


@pytest.mark.parametrize("kind", EVERY)
def test_it_says_that_a_path_is_not_there_or_that_the_kind_reads_no_files(kind: str, tmp_path: Path) -> None:
    with pytest.raises(CommandError) as caught:
        said("load", kind, str(tmp_path / "nothing-here.json"))

    assert (
        "nothing-here" in str(caught.value)
        or "does not read files" in str(caught.value)
        or "refused" in str(caught.value)
    )
    assert not Load.objects.filter(state="succeeded").exists()


@pytest.mark.parametrize("content", [b"", b"\x00\xff\xfe junk", b"[" * 100_000, b'{"a": 1}', b"a,b\n1,2\n"])
@pytest.mark.parametrize("kind", EVERY)
def test_it_ends_in_a_sentence_for_a_file_of_something_else(kind: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "junk.json"
    path.write_bytes(content)

    try:
        told = said("load", kind, str(path))
    except CommandError as problem:
        told = str(problem)

    assert told.strip()
    assert sum(Load.objects.values_list("rows_loaded", flat=True)) == 0


@pytest.mark.parametrize("kind", EVERY)
def test_it_says_what_is_missing_in_the_connection_test_of_a_source_without_settings(kind: str) -> None:
    from datetime import UTC, datetime

    from ingest import configure

    configure.create_source(kind=kind, name="bare", now=datetime.now(UTC))
    out = StringIO()

    try:
        call_command("source", "test", kind, "bare", stdout=out)
    except CommandError as problem:
        assert "checks failed" in str(problem)

    told = out.getvalue()
    assert told.strip() and "Traceback" not in told
    assert not any(word in told for word in ("TypeError", "KeyError", "AttributeError", "ValueError", "IndexError")), (
        told
    )
