"""A worker killed by SIGKILL while it loads what vendors summed, reports, traces and a proxy's log: nothing lost or doubled."""

from collections.abc import Iterator
from datetime import UTC, datetime

import orjson
import pytest
from django.db import connection

from ingest import configure, inbox, load
from ingest.models import InboxBatch
from ingest.sources import otlp
from tests.ingest.sources.test_litellm import RECORDED
from tests.servers import child
from tests.servers import litellm as litellm_server
from tests.servers import openai_account as account

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
POINTS = ("placed", "loaded")

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def private_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COSTOBS_PRIVATE_HOSTS", "127.0.0.1")


def one(sql: str) -> tuple[object, ...]:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        found: tuple[object, ...] = cursor.fetchone()
        return found


def killed(point: str, act: str) -> None:
    child.killed(_DIES, point, act)


def push(source_id: int, *reports: object) -> None:
    body = b"\n".join(orjson.dumps(each) for each in reports)
    inbox.accept(source_id=source_id, body=body, encoding="", idempotency_key="", limit=10**6, now=NOW, is_report=True)


def figure(value: int, team: str = "support") -> dict[str, object]:
    return {
        "name": "tickets",
        "period_start": "2026-11-20T00:00:00Z",
        "period_end": "2026-11-21T00:00:00Z",
        "value": value,
        "attributes": {"team": team},
    }


def test_it_replaces_the_span_of_usage_buckets_wholly_or_not_at_all() -> None:
    with account.opened() as server:
        source_id = account.make("openai_usage", server)
        list(load.sync(source_id=source_id, now=account.NOW))
        before = account.used()
        server.usage["completions"][account.day(26, 9)][0] |= {"output_tokens": 71}

        killed("placed", f"{source_id} {account.NOW.isoformat()}")

        assert account.used() == before
        list(load.sync(source_id=source_id, now=account.NOW))
        assert account.used() == before | {"output": before["output"] + 1}
        killed("loaded", f"{source_id} {account.NOW.isoformat()}")
        assert account.used() == before | {"output": before["output"] + 1}


@pytest.mark.parametrize("point", POINTS)
def test_it_counts_reports_once_and_the_last_one(point: str) -> None:
    source_id = configure.create_source(kind="business_metrics", name="app", now=NOW)
    push(source_id, figure(412), figure(7, "sales"))
    push(source_id, figure(413))

    killed(point, f"drain {NOW.isoformat()}")
    inbox.drain(now=NOW)

    assert one("SELECT count(*), sum(value) FROM ingest_businessmetric") == (2, 420)
    assert not InboxBatch.objects.filter(drained_at=None).exists()


@pytest.mark.parametrize("point", POINTS)
def test_it_counts_spans_once(point: str) -> None:
    source_id = configure.create_source(kind="otlp", name="app", now=NOW)
    taken = otlp.Otlp(otlp.OtlpConfig()).take(spans(), media_type="application/json")
    body = b"\n".join(taken.lines)
    inbox.accept(source_id=source_id, body=body, encoding="", idempotency_key="", limit=10**6, now=NOW)

    killed(point, f"drain {NOW.isoformat()}")
    inbox.drain(now=NOW)

    assert one("SELECT sum(requests), sum(input_uncached), sum(output) FROM ingest_usagehour") == (2, 2000, 20)


def spans() -> bytes:
    at = 1_793_275_200_000_000_000
    values = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-4o"}
    counts = {"gen_ai.usage.input_tokens": 1000, "gen_ai.usage.output_tokens": 10}
    attributes = [{"key": key, "value": {"stringValue": value}} for key, value in values.items()]
    attributes += [{"key": key, "value": {"intValue": value}} for key, value in counts.items()]  # type: ignore[dict-item]
    found = [
        {
            "traceId": f"{number:032x}",
            "spanId": f"{number:016x}",
            "kind": 3,
            "startTimeUnixNano": str(at),
            "endTimeUnixNano": str(at + 10**9),
            "attributes": attributes,
        }
        for number in (1, 2)
    ]
    return orjson.dumps({"resourceSpans": [{"scopeSpans": [{"scope": {"name": "app"}, "spans": found}]}]})


@pytest.fixture
def proxy() -> Iterator[litellm_server.Proxy]:
    with litellm_server.started() as server:
        yield server


@pytest.mark.parametrize("point", POINTS)
def test_it_reads_a_proxys_log_on_from_where_it_was(point: str, proxy: litellm_server.Proxy) -> None:
    proxy.rows = [
        {**RECORDED[0], "request_id": f"r{number}", "startTime": f"2026-11-28 {number // 6:02}:{number % 6}5:00+00:00"}
        for number in range(60)
    ]
    source_id = configure.add_source(
        kind="litellm",
        name="proxy",
        config={"url": proxy.url},
        credentials={"api_key": litellm_server.KEY},
        by="test",
        now=NOW,
    )

    for _ in range(2):
        killed(point, f"{source_id} {NOW.isoformat()}")
    list(load.sync(source_id=source_id, now=NOW))

    assert one("SELECT sum(requests) FROM ingest_usagehour") == (60,)
    assert one("SELECT count(*) FROM ingest_usageevent") == (60,)


# Dies by SIGKILL inside the closing transaction, or once it is committed and nothing after it is done.
_DIES = """
import os, signal, sys
from datetime import datetime
import django
django.setup()
from ingest import inbox, load
from ingest.sinks import SINKS

point, act = sys.argv[1:]
what, _, at = act.partition(" ")
now = datetime.fromisoformat(at)

def dying(original):
    def call(*args, **options):
        result = original(*args, **options)
        os.kill(os.getpid(), signal.SIGKILL)
        return result
    return call

if point == "loaded":
    load.run_unit = dying(load.run_unit)
else:
    for sink in SINKS.values():
        sink.place = dying(sink.place)
if what == "drain":
    inbox.drain(now=now)
else:
    list(load.sync(source_id=int(what), now=now))
"""
