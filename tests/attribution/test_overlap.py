"""One account seen by everything at once: a gate, traces, a proxy, the vendor's own sums and its bill tell of the same calls."""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import permutations
from typing import Any

import orjson
import pytest

from attribution import queries, verify
from costobs import pipeline
from costobs.kernel.period import Days
from costobs.kernel.scope import SpendScope
from ingest import configure, inbox, load
from ingest.sources import otlp
from tests.ingest.sources.test_litellm import RECORDED
from tests.servers import litellm as litellm_server
from tests.servers import openai_account as account
from tests.servers.openai_admin import OpenAIAdmin

pytestmark = pytest.mark.django_db

NOW = account.NOW
MODEL, OTHER = "gpt-4o", "gpt-4o-mini"
# Input, of it cached, and output tokens of the calls that everybody saw.
CALLS = ((1000, 400, 70), (2000, 0, 30), (500, 500, 9))
# List prices of gpt-4o: 2.50, 1.25 and 10.00 dollars for a million input, cached and output tokens.
LIST = (Decimal("2.50") * 2600 + Decimal("1.25") * 900 + Decimal(10) * 109) / 1_000_000
BILLED = Decimal("0.0091")
SCOPE = SpendScope(Days(date(2026, 11, 1), date(2026, 12, 1)), (), "effective", "USD", None)


@pytest.fixture(autouse=True)
def private_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COSTOBS_PRIVATE_HOSTS", "127.0.0.1")


@pytest.fixture
def vendor() -> Iterator[OpenAIAdmin]:
    with account.opened() as server:
        sums = [sum(values) for values in zip(*CALLS, strict=True)]
        counts = {"num_model_requests": len(CALLS), "input_tokens": sums[0], "output_tokens": sums[2]}
        counts |= {"input_cached_tokens": sums[1], "input_uncached_tokens": sums[0] - sums[1]}
        server.usage = {"completions": {account.day(27, 9): [account.calls(**counts)]}}
        server.costs = {
            account.day(27): [
                account.cost("gpt-4o-2024-08-06, input", "0.0066"),
                account.cost("gpt-4o-2024-08-06, cached input", "0.0012"),
                account.cost("gpt-4o-2024-08-06, output", "0.0013"),
            ]
        }
        yield server


@pytest.fixture
def proxy() -> Iterator[litellm_server.Proxy]:
    with litellm_server.started() as server:
        server.rows = [_spend_log(number, *call) for number, call in enumerate(CALLS)]
        yield server


def _spend_log(number: int, given: int, cached: int, made: int) -> dict[str, Any]:
    usage = {"prompt_tokens": given, "completion_tokens": made, "prompt_tokens_details": {"cached_tokens": cached}}
    metadata = {**orjson.loads(RECORDED[0]["metadata"]), "usage_object": usage}
    moment = f"2026-11-27 09:1{number}:00+00:00"
    return {
        **RECORDED[0],
        "request_id": f"chatcmpl-{number}",
        "startTime": moment,
        "endTime": moment,
        "metadata": orjson.dumps(metadata).decode(),
        "prompt_tokens": given,
        "completion_tokens": made,
    }


def _pushed(source_id: int, lines: list[bytes]) -> None:
    body = b"\n".join(lines)
    inbox.accept(source_id=source_id, body=body, encoding="", idempotency_key="", limit=10**6, now=NOW)
    inbox.drain(now=NOW)


def _gate() -> int:
    config = {"provider": "openai"}
    return configure.create_source(kind="gate", name="gate", config=config, now=NOW)


def _gate_saw(source_id: int) -> None:
    _pushed(
        source_id,
        [
            orjson.dumps(
                {
                    "event_id": f"gate-{number}",
                    "occurred_at": f"2026-11-27T09:1{number}:00Z",
                    "gen_ai.request.model": MODEL,
                    "gen_ai.response.model": "gpt-4o-2024-08-06",
                    "gen_ai.usage.input_tokens": given,
                    "gen_ai.usage.cache_read.input_tokens": cached,
                    "gen_ai.usage.output_tokens": made,
                    "attributes": {"key": "key_9", "team": "search"},
                }
            )
            for number, (given, cached, made) in enumerate(CALLS)
        ],
    )


def _traced() -> int:
    return configure.create_source(kind="otlp", name="app", now=NOW)


def _traces_say(source_id: int) -> None:
    spans = []
    for number, (given, cached, made) in enumerate(CALLS):
        start = int(datetime(2026, 11, 27, 9, 10 + number, tzinfo=UTC).timestamp()) * 10**9
        texts = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": MODEL}
        counts = {"input_tokens": given, "cache_read.input_tokens": cached, "output_tokens": made}
        attributes: list[dict[str, Any]] = [{"key": key, "value": {"stringValue": text}} for key, text in texts.items()]
        attributes += [{"key": f"gen_ai.usage.{key}", "value": {"intValue": one}} for key, one in counts.items()]
        ids = {"traceId": f"{number + 1:032x}", "spanId": f"{number + 1:016x}", "kind": 3}
        times = {"startTimeUnixNano": str(start), "endTimeUnixNano": str(start + 10**9)}
        spans.append({**ids, **times, "attributes": attributes})
    body = {"resourceSpans": [{"scopeSpans": [{"scope": {"name": "app"}, "spans": spans}]}]}
    taken = otlp.Otlp(otlp.OtlpConfig()).take(orjson.dumps(body), media_type="application/json")
    _pushed(source_id, taken.lines)


def _litellm(proxy: litellm_server.Proxy) -> int:
    return configure.create_source(
        kind="litellm",
        name="proxy",
        config={"url": proxy.url},
        credentials={"api_key": litellm_server.KEY},
        now=NOW,
    )


def _settle() -> None:
    while pipeline.settle(NOW):
        continue


def _once() -> tuple[int, int]:
    """Calls and tokens that count; every check of the books holds."""
    assert verify.run().failures == ()
    (found,) = queries.unit_costs(scope=SCOPE, group_by=["model"])
    return found.requests, found.tokens


def test_it_counts_the_calls_once_whoever_tells_of_them(proxy: litellm_server.Proxy, vendor: OpenAIAdmin) -> None:
    expected = (3, 3500 + 109)
    _traces_say(_traced())
    _settle()
    assert (_once(), queries.total(scope=SCOPE).cost) == (expected, LIST)

    list(load.sync(source_id=_litellm(proxy), now=NOW))
    _settle()
    assert (_once(), queries.total(scope=SCOPE).cost) == (expected, LIST)

    list(load.sync(source_id=account.make("openai_usage", vendor), now=NOW))
    _settle()
    assert (_once(), queries.total(scope=SCOPE).cost) == (expected, LIST)

    _gate_saw(_gate())
    _settle()
    assert (_once(), queries.total(scope=SCOPE).cost) == (expected, LIST)

    list(load.sync(source_id=account.make("openai_costs", vendor), now=NOW))
    _settle()
    assert (_once(), queries.total(scope=SCOPE).cost) == (expected, BILLED)


def test_it_counts_them_once_in_whatever_order_the_sources_were_added(
    proxy: litellm_server.Proxy, vendor: OpenAIAdmin
) -> None:
    made = {"otlp": _traced, "litellm": lambda: _litellm(proxy), "gate": _gate}
    for order in permutations(made):
        ids = {name: made[name]() for name in order}
        _traces_say(ids["otlp"])
        list(load.sync(source_id=ids["litellm"], now=NOW))
        _gate_saw(ids["gate"])
        _settle()

        assert (_once(), queries.total(scope=SCOPE).cost) == ((3, 3609), LIST)

        for source_id in ids.values():
            pipeline.forget_source(source_id=source_id, by="test", now=NOW)


def test_it_counts_the_vendors_sums_for_the_models_that_no_log_tells_of(vendor: OpenAIAdmin) -> None:
    further = {"model": "gpt-4o-mini-2024-07-18", "input_tokens": 800, "output_tokens": 20, "num_model_requests": 4}
    vendor.usage["completions"][account.day(27, 9)].append(account.calls(**further))
    list(load.sync(source_id=account.make("openai_usage", vendor), now=NOW))
    _gate_saw(_gate())
    _settle()

    found = {row.keys[0]: (row.requests, row.tokens) for row in queries.unit_costs(scope=SCOPE, group_by=["model"])}

    assert found == {MODEL: (3, 3609), OTHER: (4, 820)}
    assert verify.run().failures == ()
