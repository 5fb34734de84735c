"""Sources read now on the command line: one that breaks costs no other, and a name that is none is told."""

from collections.abc import Iterator
from datetime import UTC, datetime
from io import StringIO

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from ingest import configure
from ingest.models import Source
from ingest.sources import openai_usage
from ingest.sources.base import Cursor, Raw, Window

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)

pytestmark = pytest.mark.django_db


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the sources that were asked; one is called "broken"."""
    found: list[str] = []

    def asked(self: openai_usage.OpenAIUsage, cursor: Cursor, window: Window) -> Iterator[Raw]:
        found.append(str(self.credentials["name"]))
        if found[-1] == "broken":
            raise ZeroDivisionError
        yield from ()

    monkeypatch.setattr(openai_usage.OpenAIUsage, "read", asked)
    for name in ("a", "broken", "sample", "z"):
        source_id = configure.create_source(
            kind="openai_usage", name=name, credentials={"name": name}, is_sample=name == "sample", now=NOW
        )
        assert Source.objects.filter(pk=source_id).exists()
    return found


def test_it_reads_every_source_but_the_sample_although_one_breaks(read: list[str]) -> None:
    with pytest.raises(CommandError, match="1 loads failed"):
        call_command("sync", stdout=StringIO())

    assert read == ["a", "broken", "z"]


@pytest.mark.parametrize("name", ["z", "openai_usage/z"])
def test_it_reads_what_is_named(read: list[str], name: str) -> None:
    call_command("sync", name, stdout=StringIO())

    assert read == ["z"]


def test_it_says_which_name_is_none_and_reads_nothing(read: list[str]) -> None:
    with pytest.raises(CommandError, match="called typo"):
        call_command("sync", "z", "typo", stdout=StringIO())

    assert read == []
