"""The inbox: durable before acknowledged, drained once."""

import gzip
import os
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from django.db import OperationalError

from costobs import pipeline
from ingest import configure, inbox, load
from ingest import queries as ingest_queries
from ingest.models import InboxBatch, Load, Source, UsageHour

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
LIMIT = 1_000_001

pytestmark = pytest.mark.django_db


def lines(*ids: str) -> bytes:
    return b"".join(
        orjson.dumps(
            {
                "event_id": event_id,
                "occurred_at": "2026-11-21T11:00:00Z",
                "gen_ai.provider.name": "openai",
                "gen_ai.request.model": "gpt-4o",
                "gen_ai.usage.input_tokens": 10,
                "gen_ai.usage.output_tokens": 1,
            }
        )
        + b"\n"
        for event_id in ids
    )


@pytest.fixture
def source_id() -> int:
    return configure.create_source(kind="usage_log", name="app", now=NOW)


def accept(source_id: int, body: bytes, *, encoding: str = "gzip", key: str = "") -> inbox.Receipt:
    return inbox.accept(source_id=source_id, body=body, encoding=encoding, idempotency_key=key, limit=LIMIT, now=NOW)


def requests() -> int:
    return sum(UsageHour.objects.values_list("requests", flat=True))


def test_it_loads_what_it_accepted(source_id: int) -> None:
    receipt = accept(source_id, gzip.compress(lines("a", "b")))
    accept(source_id, lines("c"), encoding="")

    drained = inbox.drain(now=NOW)

    assert (receipt.lines, receipt.is_repeat, drained, requests()) == (2, False, 2, 3)
    assert inbox.drain(now=NOW) == 0


def test_it_stores_a_repeated_key_once(source_id: int) -> None:
    accept(source_id, lines("a"), encoding="", key="k1")

    again = accept(source_id, lines("a"), encoding="", key="k1")

    assert again.is_repeat
    assert InboxBatch.objects.count() == 1


def test_it_counts_rows_once_when_it_died_between_loading_and_marking(source_id: int) -> None:
    accept(source_id, lines("a", "b"), encoding="")
    inbox.drain(now=NOW)
    InboxBatch.objects.update(drained_at=None)
    accept(source_id, lines("c"), encoding="")

    inbox.drain(now=NOW)

    assert requests() == 3
    assert not InboxBatch.objects.filter(drained_at=None).exists()


@pytest.mark.parametrize(
    ("body", "encoding", "message"),
    [
        (b"", "", "empty"),
        (b"not gzip", "gzip", "gzip"),
        (gzip.compress(lines("a"))[:-9], "gzip", "truncated"),
        (gzip.compress(b"x" * (LIMIT + 10)), "gzip", "smaller batches"),
        (b"{}", "br", "Content-Encoding"),
        (gzip.compress(b"\n" * 1_000_000 + b"1"), "gzip", "at most 1,000,000 lines"),
    ],
)
def test_it_says_what_is_wrong_with_a_batch_it_cannot_take(
    source_id: int, body: bytes, encoding: str, message: str
) -> None:
    with pytest.raises(inbox.BadBatch, match=message):
        accept(source_id, body, encoding=encoding)


def test_it_loses_neither_neighbours_nor_other_sources_to_a_batch_that_breaks_the_load(
    source_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = configure.create_source(kind="usage_log", name="other", now=NOW)
    accept(source_id, lines("a"), encoding="")
    accept(source_id, lines("poison"), encoding="")
    accept(other, lines("b"), encoding="")
    run_unit = load.run_unit

    def breaking(**given: Any) -> load.LoadResult:
        if b"poison" in given["raw"].payload.content:
            raise ValueError("nobody foresaw this line")
        return run_unit(**given)

    monkeypatch.setattr(load, "run_unit", breaking)

    inbox.drain(now=NOW)

    assert requests() == 2
    (broken,) = InboxBatch.objects.exclude(error="")
    assert (broken.drained_at, broken.error) == (NOW, "could not be loaded (ValueError); the worker's log says where")
    assert "could not be loaded" in Source.objects.get(pk=source_id).last_error
    assert inbox.drain(now=NOW) == 0
    inbox.tidy(before=NOW + timedelta(days=1))
    assert bytes(InboxBatch.objects.get(pk=broken.pk).payload) != b""


def test_it_tries_again_what_the_database_could_not_do_now(source_id: int, monkeypatch: pytest.MonkeyPatch) -> None:
    other = configure.create_source(kind="usage_log", name="other", now=NOW)
    accept(source_id, lines("a"), encoding="")
    accept(other, lines("b"), encoding="")
    run_unit = load.run_unit

    def waiting(**given: Any) -> load.LoadResult:
        if given["source_id"] == source_id:
            raise OperationalError("canceling statement due to lock timeout")
        return run_unit(**given)

    with monkeypatch.context() as patched:
        patched.setattr(load, "run_unit", waiting)
        inbox.drain(now=NOW)
    assert requests() == 1

    inbox.drain(now=NOW)

    assert requests() == 2
    assert not InboxBatch.objects.filter(drained_at=None).exists()


def test_it_sets_aside_what_was_pushed_to_a_kind_that_takes_no_pushes() -> None:
    wrong = configure.create_source(kind="anthropic_costs", name="typo", now=NOW)
    accept(wrong, lines("a"), encoding="")

    inbox.drain(now=NOW)

    assert "does not take pushed batches" in InboxBatch.objects.get().error
    assert inbox.drain(now=NOW) == 0


def test_it_joins_no_more_than_it_may_hold(source_id: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox, "MOST_AT_ONCE", 300)
    for each in "abc":
        accept(source_id, lines(each), encoding="")

    inbox.drain(now=NOW)

    assert requests() == 3
    assert Load.objects.count() == 3


@pytest.mark.parametrize("name", ["event_id", "gen_ai.request.model", "gen_ai.provider.name", "trace_id"])
def test_it_rejects_a_text_longer_than_an_index_can_hold_and_no_other_row(source_id: int, name: str) -> None:
    line = {**orjson.loads(lines("a")), name: os.urandom(10_000).hex()}
    accept(source_id, orjson.dumps(line) + b"\n" + lines("b"), encoding="")

    inbox.drain(now=NOW)

    assert requests() >= 1
    assert not InboxBatch.objects.exclude(error="").exists()


@pytest.mark.parametrize("name", ["key", "team", "tags"])
def test_it_keeps_an_attribute_of_any_length(source_id: int, name: str) -> None:
    line = {**orjson.loads(lines("a")), "attributes": {name: os.urandom(10_000).hex()}}
    accept(source_id, orjson.dumps(line) + b"\n" + lines("b"), encoding="")

    inbox.drain(now=NOW)

    assert requests() == 2


@pytest.mark.parametrize("name", ["key", "project", "team", "feature", "cost_centre", "environment", "tags"])
def test_it_makes_the_books_whatever_the_length_of_an_owner(source_id: int, name: str) -> None:
    line = {**orjson.loads(lines("a")), "attributes": {name: os.urandom(10_000).hex()}}
    accept(source_id, orjson.dumps(line) + b"\n" + lines("b"), encoding="")

    pipeline.run_once(NOW)

    assert requests() == 2
    assert ingest_queries.open_days() == []
