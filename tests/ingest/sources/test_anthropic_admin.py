"""Anthropic's Admin API: cents as dollars, tokens without their caches, the default workspace, and prompts beyond 200,000."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import anthropic
import orjson
import pytest
from django.db import connection

from ingest import configure, load
from ingest.models import Delivery, QuarantinedRow, Source
from ingest.sources import anthropic_costs, anthropic_usage
from ingest.sources.base import BadDelivery, SourceUnavailable, Window
from tests.servers import anthropic_admin as server_of
from tests.servers.admin import Answer
from tests.servers.anthropic_admin import AnthropicAdmin

NOW = datetime(2026, 11, 28, 15, 20, tzinfo=UTC)
TODAY = datetime(2026, 11, 28, tzinfo=UTC)
DAY = timedelta(days=1)
SONNET = "claude-sonnet-4-5-20250929"
TOTAL = Decimal("12.865678901234567890123456789012")
database = pytest.mark.django_db


def day(number: int, hour: int = 0) -> datetime:
    return datetime(2026, 11, number, hour, tzinfo=UTC)


def cost(amount: str, token_type: str | None = "uncached_input_tokens", **more: Any) -> dict[str, Any]:
    told = {"cost_type": "tokens", "model": SONNET, "token_type": token_type, "service_tier": "standard"}
    where = {"workspace_id": "wrkspc_1", "context_window": "0-200k", "inference_geo": "global"}
    return {"amount": amount, "description": f"Claude Sonnet 4.5 Usage - {token_type}", **told, **where, **more}


def calls(**counts: Any) -> dict[str, Any]:
    where = {"workspace_id": "wrkspc_1", "api_key_id": "apikey_1", "model": SONNET, "service_tier": "standard"}
    where |= {"context_window": "0-200k", "inference_geo": "not_available"}
    tokens = dict.fromkeys(("uncached_input_tokens", "cache_read_input_tokens", "output_tokens", "5m", "1h"), 0)
    return {**where, **tokens, **counts}


@pytest.fixture
def server() -> Iterator[AnthropicAdmin]:
    with server_of.started(now=NOW) as started:
        started.workspaces = {"wrkspc_1": "Search", "wrkspc_2": "Answers"}
        started.keys = {"apikey_1": "search-prod"}
        search = {"cost_type": "web_search", "model": None, "description": "Web Search Usage"}
        started.costs = {
            day(26): [
                cost("1234.5678901234567890123456789012"),
                cost("50", "cache_creation.ephemeral_1h_input_tokens", workspace_id=None),
                cost("2", None, **search),
            ]
        }
        started.usage = {
            day(26, 9): [
                calls(
                    uncached_input_tokens=1500,
                    cache_read_input_tokens=200,
                    output_tokens=500,
                    **{"5m": 300, "1h": 1000},
                ),
                calls(uncached_input_tokens=250_000, output_tokens=10, context_window="200k-1M", service_tier="batch"),
                calls(
                    uncached_input_tokens=7,
                    workspace_id=None,
                    api_key_id=None,
                    service_tier="priority",
                    inference_geo="us",
                ),
            ]
        }
        yield started


def make(kind: str, server: AnthropicAdmin, **config: Any) -> int:
    return configure.create_source(
        kind=kind,
        name=kind,
        config={"base_url": server.address, **config},
        credentials={"admin_key": server.key},
        now=NOW,
    )


def costs(server: AnthropicAdmin) -> anthropic_costs.AnthropicCosts:
    config = anthropic_costs.AnthropicCostsConfig(base_url=server.address)
    return anthropic_costs.AnthropicCosts(config, {"admin_key": server.key})


def usage(server: AnthropicAdmin, **config: Any) -> anthropic_usage.AnthropicUsage:
    found = anthropic_usage.AnthropicUsageConfig(base_url=server.address, **config)
    return anthropic_usage.AnthropicUsage(found, {"admin_key": server.key})


def sync(source_id: int, *, now: datetime = NOW) -> dict[str, str]:
    return {one.name: one.state for one in load.sync(source_id=source_id, now=now)}


def asked(sql: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return list(cursor.fetchall())


def billed() -> Decimal:
    return Decimal(asked("SELECT coalesce(sum(billed_cost), 0) FROM ingest_charge")[0][0])


def used() -> tuple[int, ...]:
    kinds = ("requests", "input_uncached", "cache_read", "cache_write_5m", "cache_write_1h", "output")
    return tuple(
        int(value) for value in asked(f"SELECT {', '.join(f'sum({kind})' for kind in kinds)} FROM ingest_usagehour")[0]
    )


def rows_of(server: AnthropicAdmin, on: datetime) -> tuple[list[dict[str, Any]], list[Any]]:
    source = usage(server)
    (raw,) = source.read({}, Window(on, on + DAY))
    (found,) = source.normalize(raw)
    return found.batch.to_pylist(), list(found.rejected)


@database
def test_it_loads_a_month_of_costs_once_and_takes_corrections(server: AnthropicAdmin) -> None:
    source_id = make("anthropic_costs", server, organization="acme")

    assert sync(source_id) == {"Anthropic costs 2026-11": "succeeded"}
    assert billed() == TOTAL
    assert sync(source_id) == {"Anthropic costs 2026-11": "unchanged"}
    server.costs[day(26)][1]["amount"] = "-12.5"
    assert sync(source_id) == {"Anthropic costs 2026-11": "succeeded"}
    assert billed() == Decimal("12.240678901234567890123456789012")
    (delivery,) = Delivery.objects.filter(state="current")
    assert (delivery.export, delivery.rows, delivery.complete_through) == ("acme", 3, TODAY)


@database
def test_t128_it_takes_cents_for_cents_and_keeps_every_digit(server: AnthropicAdmin) -> None:
    sync(make("anthropic_costs", server))

    found = asked(
        """SELECT billed_cost::text, billing_currency, model, token_kind, cost_kind, extra->>'amount_cents',
               extra->>'context_window', region_id FROM ingest_charge ORDER BY row_number"""
    )

    first = ("12.345678901234567890123456789012", "USD", "claude-sonnet-4-5", "input_uncached", "api_inference")
    assert found[0] == (*first, "1234.5678901234567890123456789012", "0-200k", "global")
    assert found[1][:5] == ("0.50", "USD", "claude-sonnet-4-5", "cache_write_1h", "api_inference")
    assert found[2][:5] == ("0.02", "USD", "", "", "other_service")


@pytest.mark.parametrize(
    ("amount", "expected"),
    [
        ("123.45", "1.2345"),
        ("0", "0.00"),
        ("-1", "-0.01"),
        (".5", "0.005"),
        ("1e3", "1E+1"),
        ("12,5", "12,5"),
        ("1_000", "1_000"),
        ("NaN", "NaN"),
        ("", ""),
    ],
)
def test_it_moves_the_point_and_nothing_else(amount: str, expected: str) -> None:
    assert anthropic_costs.dollars(amount, "usd") == expected


@database
@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"currency": "JPY"}, "100 in the lowest unit of JPY"),
        ({"currency": None}, "no currency"),
        ({"currency": "USD", "amount": "1,5"}, "'1,5'"),
        ({"currency": "USD", "amount": None}, "expected a decimal number, found ''"),
    ],
)
def test_t154_it_refuses_amounts_whose_unit_or_number_it_does_not_know(
    server: AnthropicAdmin, more: dict[str, Any], said: str
) -> None:
    source_id = make("anthropic_costs", server, resolve_names=False)
    bucket = {"starting_at": "2026-11-26T00:00:00Z", "ending_at": "2026-11-27T00:00:00Z"}
    server.faults.append(Answer(200, {"data": [{**bucket, "results": [{"amount": "100", **more}]}], "has_more": False}))

    (result,) = load.sync(source_id=source_id, now=NOW)

    assert result.state == "refused"
    assert said in result.error
    assert billed() == 0


@database
def test_t148_it_gives_the_default_workspace_an_account_of_its_own(server: AnthropicAdmin) -> None:
    sync(make("anthropic_costs", server))
    sync(make("anthropic_usage", server))

    bill = asked("SELECT DISTINCT sub_account_id, sub_account_name FROM ingest_charge ORDER BY 1")
    log = asked(
        """SELECT DISTINCT a.attributes->>'account', a.attributes->>'project' FROM ingest_usagehour u
           JOIN ingest_attributeset a ON a.id = u.attribute_set_id ORDER BY 1"""
    )

    assert bill == log == [("default", "Default workspace"), ("wrkspc_1", "Search")]


def test_t149_it_says_that_priority_tier_is_not_in_the_report(server: AnthropicAdmin) -> None:
    found = list(costs(server).probe(Window(day(26), NOW)))

    assert [(each.subject, each.state) for each in found] == [
        ("Costs", "ok"),
        ("Names of workspaces and keys", "ok"),
        ("Priority Tier", "note"),
    ]
    assert found[0].detail == "3 lines, 2 workspaces in the last 7 days; the newest of 2026-11-26"
    assert "no Priority Tier" in (anthropic_costs.AnthropicCosts.__doc__ or "").replace("**", "")


@database
def test_it_loads_usage_by_day_once_and_takes_corrections(server: AnthropicAdmin) -> None:
    source_id = make("anthropic_usage", server)
    days = [f"Anthropic usage 2026-11-{number}" for number in (25, 26, 27, 28)]

    assert sync(source_id) == dict.fromkeys(days, "succeeded")
    assert used() == (0, 251_507, 200, 300, 1000, 510)
    assert sync(source_id) == dict.fromkeys(days, "unchanged")
    server.usage[day(26, 9)][0]["output_tokens"] = 501
    assert sync(source_id) == dict.fromkeys(days, "unchanged") | {days[1]: "succeeded"}
    assert used() == (0, 251_507, 200, 300, 1000, 511)
    assert Source.objects.get(pk=source_id).complete_through == datetime(2026, 11, 28, 15, tzinfo=UTC)


def test_t145_it_adds_nothing_to_and_takes_nothing_from_input_that_leaves_out_the_cache(server: AnthropicAdmin) -> None:
    rows, rejected = rows_of(server, day(26))

    assert rejected == []
    kinds = ("input_uncached", "cache_read", "cache_write_5m", "cache_write_1h", "output")
    assert [rows[0][kind] for kind in kinds] == [1500, 200, 300, 1000, 500]
    assert (rows[0]["provider"], rows[0]["operation"], rows[0]["starts_at"]) == ("anthropic", "chat", day(26, 9))
    assert [row["service_tier"] for row in rows] == ["standard", "batch", "priority"]
    assert [row["attr_tags"] for row in rows] == [
        '{"api_key_name":"search-prod"}',
        '{"api_key_name":"search-prod"}',
        '{"inference_geo":"us"}',
    ]


@database
def test_t146_it_prices_long_prompts_by_the_step_that_holds_for_them(server: AnthropicAdmin) -> None:
    rows, _ = rows_of(server, day(26))
    sync(make("anthropic_usage", server, resolve_names=False))

    steps = asked(
        """SELECT o.service_tier, p.context_from, p.input_uncached_price::text FROM ingest_usagehour u
           JOIN ingest_offering o ON o.id = u.offering_id JOIN ingest_unitprice p ON p.id = u.price_id ORDER BY 1"""
    )

    assert [row["context_from"] for row in rows] == [0, 200_001, 0]
    assert [(tier, step, Decimal(price)) for tier, step, price in steps] == [
        ("batch", 200_001, Decimal("0.000003")),  # half of 6 USD for 1M
        ("priority", 0, Decimal("0.000003")),
        ("standard", 0, Decimal("0.000003")),
    ]


@pytest.mark.parametrize(
    ("window", "expected"),
    [("", 0), ("0-200k", 0), ("200k-1M", 200_001), ("1M-2M", 1_000_001), ("200000-", 200_001), ("1m+", 1_000_001)],
)
def test_it_reads_where_a_context_window_begins(window: str, expected: int) -> None:
    assert anthropic_usage.context_from(window) == expected


@database
def test_it_sets_aside_a_context_window_it_cannot_read(server: AnthropicAdmin) -> None:
    server.usage[day(26, 9)][1]["context_window"] = "huge"
    source_id = make("anthropic_usage", server)

    results = {one.name: one for one in load.sync(source_id=source_id, now=NOW)}

    found = results["Anthropic usage 2026-11-26"]
    assert (found.rows_read, found.rows_loaded, found.rows_quarantined) == (3, 2, 1)
    row = QuarantinedRow.objects.get()
    assert (row.field, row.reason) == ("context_window", "expected a window like 0-200k, found 'huge'")


def test_t147_it_leaves_requests_unknown_where_none_are_told(server: AnthropicAdmin) -> None:
    rows, _ = rows_of(server, day(26))

    found = list(usage(server).probe(Window(day(26), NOW)))

    assert {row["requests"] for row in rows} == {None}
    assert [(each.subject, each.state) for each in found] == [
        ("Usage", "note"),
        ("Names of workspaces and keys", "ok"),
        ("Requests", "note"),
    ]


@pytest.mark.parametrize("lie", ["same_page", "same_bucket", "other_bucket", "no_token"])
def test_it_ends_the_reading_of_pages_that_would_count_twice(server: AnthropicAdmin, lie: str) -> None:
    server.lies = lie

    with pytest.raises(BadDelivery, match="Anthropic /v1/organizations/usage_report/messages"):
        list(usage(server, resolve_names=False).read({}, Window(day(20), NOW)))


@database
def test_it_reads_on_after_the_vendor_was_overloaded(server: AnthropicAdmin) -> None:
    server.page_size = 5
    server.throttle(2, status=529, retry_after="0")
    server.throttle(1, retry_after="0")

    sync(make("anthropic_costs", server))

    assert billed() == TOTAL


@database
def test_it_says_what_to_grant_and_never_the_key(server: AnthropicAdmin) -> None:
    source_id = make("anthropic_usage", server)
    Source.objects.filter(pk=source_id).update(credentials={"admin_key": "sk-ant-api03-secret"})

    (result,) = load.sync(source_id=source_id, now=NOW)

    assert result.state == "failed"
    assert "answered 401: invalid x-api-key" in result.error and "Admin API key (sk-ant-admin…)" in result.error
    assert "secret" not in result.error
    assert [
        each.state
        for each in anthropic_usage.AnthropicUsage(anthropic_usage.AnthropicUsageConfig()).probe(Window(TODAY, NOW))
    ] == ["missing"]


@database
def test_it_keeps_every_total_when_a_workspace_is_renamed_or_names_are_not_to_be_seen(
    server: AnthropicAdmin,
) -> None:
    bill, log = make("anthropic_costs", server), make("anthropic_usage", server)
    sync(bill)
    sync(log)
    before = (billed(), used())
    server.workspaces["wrkspc_1"] = "Search and find"

    sync(bill)
    renamed = asked("SELECT DISTINCT sub_account_name FROM ingest_charge ORDER BY 1")
    server.denied = {"workspaces"}
    sync(bill)
    sync(log)

    assert renamed == [("Default workspace",), ("Search and find",)]
    assert (billed(), used()) == before
    assert asked("SELECT DISTINCT sub_account_name FROM ingest_charge ORDER BY 1") == [("",), ("Default workspace",)]


def test_t151_it_sends_the_headers_of_the_documentation(server: AnthropicAdmin) -> None:
    list(costs(server).read({}, Window(day(20), NOW)))

    for each in server.asked:
        assert each.headers["x-api-key"] == server.key
        assert each.headers["anthropic-version"] == "2023-06-01"
        assert "authorization" not in each.headers


def test_it_speaks_as_the_vendors_own_client_understands(server: AnthropicAdmin) -> None:
    server.page_size = 1
    server.throttle(1, retry_after="0")
    client = anthropic.Anthropic(api_key=server.key, base_url=server.address, max_retries=2)
    headers = {"x-api-key": server.key}

    # Its client knows workspaces and keys; the two reports are not in it (2.14), so they are read through it as JSON.
    workspaces = {one.id: one.name for one in client.organization.workspaces.list(extra_headers=headers)}
    keys = {one.id: one.name for one in client.organization.api_keys.list(extra_headers=headers)}
    query = {"starting_at": "2026-11-26T00:00:00Z", "ending_at": "2026-11-27T00:00:00Z", "group_by[]": "workspace_id"}
    told = client.get(
        "/v1/organizations/usage_report/messages",
        cast_to=dict[str, Any],
        options={"params": query | {"bucket_width": "1d"}, "headers": headers},
    )
    results = told["data"][0]["results"]

    rows, _ = rows_of(server, day(26))
    ours = {
        name: sum(row["input_uncached"] for row in rows if row["attr_account"] == name)
        for name in ("wrkspc_1", "default")
    }
    assert workspaces == server.workspaces
    assert keys == server.keys
    assert {each["workspace_id"] or "default": each["uncached_input_tokens"] for each in results} == ours
    assert ours == {"wrkspc_1": 251_500, "default": 7}


@database
def test_t150_it_tells_the_same_model_at_a_cloud_from_the_makers_own(server: AnthropicAdmin, tmp_path: Path) -> None:
    models = {
        "aws.bedrock": "anthropic.claude-sonnet-4-5-20250929-v1:0",
        "gcp.vertex_ai": "claude-sonnet-4-5@20250929",
        "azure.ai.inference": "claude-sonnet-4-5",
    }
    told = {"occurred_at": "2026-11-26T09:10:00Z", "gen_ai.usage.input_tokens": 40, "gen_ai.usage.output_tokens": 4}
    events = [told | {"gen_ai.provider.name": name, "gen_ai.request.model": model} for name, model in models.items()]
    (tmp_path / "clouds.ndjson").write_bytes(b"".join(orjson.dumps(event) + b"\n" for event in events))
    header = (
        "ProviderName,ServiceName,SkuMeter,BilledCost,BillingCurrency,ChargePeriodStart,ChargePeriodEnd,ChargeCategory"
    )
    line = "AWS,Amazon Bedrock,Claude Sonnet 4.5 input tokens,7.25,USD,2026-11-26T00:00:00Z,2026-11-27T00:00:00Z,Usage"
    (tmp_path / "aws.csv").write_text(f"{header}\n{line}\n")
    log = configure.create_source(kind="usage_log", name="log", now=NOW)
    bill = configure.create_source(kind="focus_export", name="bill", now=NOW)

    sync(make("anthropic_usage", server))
    sync(make("anthropic_costs", server))
    results = [
        *load.from_paths(source_id=log, paths=[str(tmp_path / "clouds.ndjson")], now=NOW),
        *load.from_paths(source_id=bill, paths=[str(tmp_path / "aws.csv")], now=NOW),
    ]

    assert [(result.state, result.rows_loaded) for result in results] == [("succeeded", 3), ("succeeded", 1)]
    found = asked(
        """SELECT o.provider, sum(u.input_uncached)::bigint, sum(u.output)::bigint FROM ingest_usagehour u
           JOIN ingest_offering o ON o.id = u.offering_id GROUP BY 1 ORDER BY 1"""
    )
    clouds = [("aws.bedrock", 40, 4), ("azure.ai.inference", 40, 4), ("gcp.vertex_ai", 40, 4)]
    assert found == [("anthropic", 251_507, 510), *clouds]
    bills = (
        "SELECT service_provider_name, sum(billed_cost), bool_or(model <> '') FROM ingest_charge GROUP BY 1 ORDER BY 1"
    )
    assert asked(bills) == [("AWS", Decimal("7.25"), True), ("Anthropic", TOTAL, True)]


def test_it_raises_when_the_vendor_cannot_be_reached(server: AnthropicAdmin) -> None:
    source = anthropic_usage.AnthropicUsage(anthropic_usage.AnthropicUsageConfig(base_url="ftp://example.com"), {})

    with pytest.raises(SourceUnavailable, match="expected an http or https address"):
        list(source.read({}, Window(TODAY, NOW)))


def test_it_says_which_setting_is_wrong() -> None:
    with pytest.raises(ValueError, match="bucket_width: expected 1h or 1d"):
        anthropic_usage.AnthropicUsageConfig(bucket_width="1m")
    with pytest.raises(ValueError, match="settle_hours"):
        anthropic_costs.AnthropicCostsConfig(settle_hours=200)
