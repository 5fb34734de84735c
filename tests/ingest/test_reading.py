"""Reading sources on schedule: each by one worker, none held up by another, and no worker left without a free thread."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from costobs import pipeline
from ingest import configure, load, queries
from ingest.models import Source
from ingest.sources import openai_usage
from ingest.sources.base import Cursor, Raw, SourceUnavailable, Window
from tests.servers import child

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)

pytestmark = pytest.mark.django_db(transaction=True)


def made(*names: str) -> list[int]:
    return [configure.create_source(kind="openai_usage", name=name, now=NOW) for name in names]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of sources that were read; one called "broken" ends in a way nobody foresaw."""
    found: list[str] = []
    names = {"b": "broken"}

    def read(self: openai_usage.OpenAIUsage, cursor: Cursor, window: Window) -> Iterator[Raw]:
        found.append(str(self.credentials["name"]))
        if names.get(found[-1]) == "broken":
            raise ZeroDivisionError
        yield from ()

    monkeypatch.setattr(openai_usage.OpenAIUsage, "read", read)
    for name, source_id in zip("abc", made("a", "b", "c"), strict=True):
        Source.objects.filter(pk=source_id).update(credentials={"name": name})
    return found


def test_it_reads_every_source_of_a_round_although_one_breaks(asked: list[str]) -> None:
    pipeline.read_due()

    assert asked == ["a", "b", "c"]
    pipeline.read_due()
    assert asked == ["a", "b", "c"]


def test_it_leaves_a_source_that_another_worker_reads_and_reads_the_others(asked: list[str]) -> None:
    source_id = queries.due_sources(now=NOW)[0]
    with child.session() as held:
        held.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", [f"read {source_id}"])
        states = [result.state for result in load.sync(source_id=source_id, now=NOW)]
        pipeline.read_due()

    assert (states, asked) == (["busy"], ["b", "c"])
    assert queries.due_sources(now=datetime.now(UTC)) == [source_id]


def test_it_leaves_workers_to_the_tick_when_readers_hang(asked: list[str]) -> None:
    with child.session() as held:
        for slot in range(4):
            held.execute("SELECT pg_advisory_lock(hashtext('costobs read_due'), %s)", [slot])
        pipeline.read_due()

    assert asked == []


def test_it_does_not_repeat_a_credential_that_a_vendor_quotes(monkeypatch: pytest.MonkeyPatch) -> None:
    (source_id,) = made("a")
    Source.objects.filter(pk=source_id).update(credentials={"admin_key": "sk-admin-very-secret"})

    def read(self: Any, cursor: Cursor, window: Window) -> Iterator[Raw]:
        raise SourceUnavailable("no right with the key sk-admin-very-secret")
        yield

    monkeypatch.setattr(openai_usage.OpenAIUsage, "read", read)

    (result,) = load.sync(source_id=source_id, now=NOW)

    told = Source.objects.get(pk=source_id).last_error
    assert result.error == told == "no right with the key •••"
