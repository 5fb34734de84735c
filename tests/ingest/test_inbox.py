"""The inbox: durable before acknowledged, drained once."""

import gzip
from datetime import UTC, datetime

import orjson
import pytest

from ingest import configure, inbox
from ingest.models import InboxBatch, UsageHour

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
LIMIT = 1_000_000

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
    ],
)
def test_it_says_what_is_wrong_with_a_batch_it_cannot_take(
    source_id: int, body: bytes, encoding: str, message: str
) -> None:
    with pytest.raises(inbox.BadBatch, match=message):
        accept(source_id, body, encoding=encoding)
