"""OpenAI's bill and its usage through the admin API: the last digit, the names, the books, and its own client beside ours."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import openai
import pytest

from attribution import queries as books
from attribution import verify
from costobs import pipeline
from costobs.kernel.period import Days
from costobs.kernel.scope import SpendScope
from ingest import load, queries
from ingest.models import Delivery, Load, Source
from ingest.sources import openai_costs, openai_usage
from ingest.sources.base import Window
from tests.servers import openai_account as account
from tests.servers.admin import Answer
from tests.servers.openai_account import BILLED, DAY, FIRST, NOW, TODAY
from tests.servers.openai_admin import OpenAIAdmin

database = pytest.mark.django_db


@pytest.fixture
def server() -> Iterator[OpenAIAdmin]:
    with account.opened() as opened:
        yield opened


@database
def test_it_loads_a_month_of_costs_once_and_takes_corrections(server: OpenAIAdmin) -> None:
    source_id = account.make("openai_costs", server, organization="org-acme")

    assert account.sync(source_id) == {"OpenAI costs 2026-11": "succeeded"}
    assert account.billed() == BILLED
    assert account.sync(source_id) == {"OpenAI costs 2026-11": "unchanged"}
    server.costs[account.day(26)][0]["value"] = "10"
    server.costs[account.day(27)] = []
    assert account.sync(source_id) == {"OpenAI costs 2026-11": "succeeded"}
    assert account.billed() == Decimal("10.11")
    assert [(one.export, one.rows) for one in Delivery.objects.filter(state="current")] == [("org-acme", 3)]


@database
def test_it_takes_a_month_back_that_the_vendor_took_back(server: OpenAIAdmin) -> None:
    source_id = account.make("openai_costs", server)
    costs, states = server.costs, []

    for told in (costs, {}, costs, {}):
        server.costs = told
        states += account.sync(source_id).values()

    assert states == ["succeeded"] * 4
    assert account.billed() == 0
    assert not Delivery.objects.filter(state="current").exists()
    assert queries.open_days() == [date(2026, 11, 26), date(2026, 11, 27)]


@database
def test_it_reads_projects_keys_models_and_quantities_from_the_bill(server: OpenAIAdmin) -> None:
    account.sync(account.make("openai_costs", server))

    found = account.charges()

    search = {"account": "proj_a", "key": "key_1", "project": "Search", "service_name": "OpenAI API"}
    search["tags"] = '{"api_key_name":"search-prod"}'
    assert found[0] == (
        *("gpt-4o-2024-08-06, input", "12.345678901234567", "gpt-4o", "input_uncached", "4938271", "Tokens"),
        *("api_inference", "proj_a", "Search", search),
    )
    assert found[1][2:4] == ("gpt-4o", "cache_read") and found[1][7:9] == ("proj_b", "Answers")
    assert found[2][2:7] == ("", "", None, "", "other_service")
    assert found[3][1:6] == ("0.0000001", "gpt-4o", "output", "12.5", "1K tokens")


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ("gpt-4o-audio-preview, text input", ("gpt-4o-audio-preview", "input_uncached")),
        ("gpt-4o-audio-preview, output", ("gpt-4o-audio-preview", "output")),
        ("gpt-4o-audio-preview, audio output", ("gpt-4o-audio-preview", "audio_output")),
        ("gpt-image-1, image input", ("gpt-image-1", "image_input")),
        ("gpt-image-1, cached text input", ("gpt-image-1", "cache_read")),
        ("text-embedding-3-small, input", ("text-embedding-3-small", "input_uncached")),
        ("gpt-6-astra, input_tokens", ("gpt-6-astra", "input_uncached")),
        ("gpt-5, cache_write_tokens", ("gpt-5", "cache_write_5m")),
        ("gpt-4o, web search", ("gpt-4o", "")),
        ("gpt-4.1-2025-04-14, fine-tuning training", ("gpt-4.1", "")),
        ("whisper-1", ("whisper-1", "")),
        ("code interpreter sessions", ("", "")),
        ("", ("", "")),
    ],
)
def test_t129_it_reads_the_kind_of_token_from_what_follows_the_name_of_the_model(item: str, expected: Any) -> None:
    assert openai_costs.read_item(item) == expected


def test_t130_it_reads_months_whole_whatever_the_window_says(server: OpenAIAdmin) -> None:
    window = Window(datetime(2026, 10, 30, 5, tzinfo=UTC), NOW)

    found = list(account.costs(server).read({}, window))

    assert [(raw.name, raw.export) for raw in found] == [
        ("OpenAI costs 2026-10", "openai"),
        ("OpenAI costs 2026-11", "openai"),
    ]
    spans = [
        (each.query["start_time"], each.query["end_time"]) for each in server.asked if each.path.endswith("/costs")
    ]
    october = int(datetime(2026, 10, 1, tzinfo=UTC).timestamp())
    first, december = int(FIRST.timestamp()), int(datetime(2026, 12, 1, tzinfo=UTC).timestamp())
    assert spans == [([str(october)], [str(first)]), ([str(first)], [str(december)])]


@pytest.mark.parametrize(
    ("told_at", "through"),
    [(TODAY + timedelta(hours=5), account.day(27)), (TODAY + timedelta(hours=6), TODAY), (NOW, TODAY)],
)
def test_it_takes_a_day_for_complete_hours_after_its_end(
    server: OpenAIAdmin, told_at: datetime, through: datetime
) -> None:
    server.now = told_at

    (raw,) = account.costs(server).read({}, Window(account.day(20), told_at))

    assert raw.complete_through == through


@database
def test_t131_it_completes_a_day_without_further_spend(server: OpenAIAdmin) -> None:
    source_id = account.make("openai_costs", server)
    account.sync(source_id)
    server.now = NOW + DAY

    states = account.sync(source_id, now=NOW + DAY)

    assert states == {"OpenAI costs 2026-11": "succeeded"}
    assert Delivery.objects.get(state="current").complete_through == TODAY + DAY
    assert Source.objects.get(pk=source_id).complete_through == TODAY + DAY
    assert account.billed() == BILLED


def test_t132_it_knows_from_the_vendors_clock_that_a_backfilled_month_is_complete(server: OpenAIAdmin) -> None:
    (raw,) = account.costs(server).read({}, Window(datetime(2026, 9, 3, tzinfo=UTC), datetime(2026, 9, 12, tzinfo=UTC)))

    assert raw.complete_through == datetime(2026, 10, 1, tzinfo=UTC)


@database
def test_it_reads_all_pages_of_a_month(server: OpenAIAdmin) -> None:
    server.page_size = 2

    account.sync(account.make("openai_costs", server))

    assert account.billed() == BILLED
    assert sum(each.path.endswith("/costs") for each in server.asked) == 14


@database
def test_t139_it_says_what_to_grant_and_never_the_key(server: OpenAIAdmin) -> None:
    source_id = account.make("openai_costs", server)
    Source.objects.filter(pk=source_id).update(credentials={"admin_key": "sk-proj-very-secret"})

    (result,) = load.sync(source_id=source_id, now=NOW)

    assert result.state == "failed"
    assert "answered 401" in result.error and "Admin keys" in result.error and "api.usage.read" in result.error
    assert "very-secret" not in result.error
    assert "very-secret" not in Source.objects.get(pk=source_id).last_error


def test_it_names_the_missing_scope_in_the_connection_test(server: OpenAIAdmin) -> None:
    server.denied = {"usage/embeddings", "projects"}

    found = list(account.usage(server, endpoints=("completions", "embeddings")).probe(Window(account.day(26), NOW)))

    assert [(each.subject, each.state) for each in found] == [
        ("Usage of completions", "ok"),
        ("Usage of embeddings", "missing"),
        ("Names of projects and keys", "note"),
    ]
    assert "Missing scopes: api.usage.read" in found[1].detail and "admin key" in found[1].remedy
    assert "api.management.read" in found[2].remedy


def test_it_shows_what_it_sees_in_the_connection_test(server: OpenAIAdmin) -> None:
    found = list(account.costs(server).probe(Window(account.day(26), NOW)))

    assert [(each.state, each.detail) for each in found] == [
        ("ok", "4 lines, 2 projects in the last 7 days; the newest of 2026-11-27"),
        ("ok", "2 projects: Answers, Search"),
    ]
    assert [
        each.state for each in openai_costs.OpenAICosts(openai_costs.OpenAICostsConfig()).probe(Window(TODAY, NOW))
    ] == ["missing"]
    with_nothing = list(
        account.usage(server, endpoints=("moderations",), resolve_names=False).probe(Window(TODAY, NOW))
    )
    assert [(each.state, each.detail) for each in with_nothing] == [
        ("note", "It can be read; yesterday and today have none.")
    ]


@database
def test_t140_it_reads_costs_without_keys_where_they_cannot_be_grouped_by_key(server: OpenAIAdmin) -> None:
    server.groups_by_key = False

    account.sync(account.make("openai_costs", server))

    assert account.billed() == BILLED
    assert {row[-1].get("key", "") for row in account.charges()} == {""}


@database
def test_t141_it_keeps_every_total_when_a_project_is_renamed_or_names_are_not_to_be_seen(server: OpenAIAdmin) -> None:
    bill, log = account.make("openai_costs", server), account.make("openai_usage", server)
    account.sync(bill)
    account.sync(log)
    before = (account.billed(), account.used())
    server.projects["proj_a"] = "Search and find"

    assert account.sync(bill) == {"OpenAI costs 2026-11": "succeeded"}
    renamed = {row[8] for row in account.charges()}
    account.sync(log)
    server.denied = {"projects"}
    account.sync(bill)
    account.sync(log)

    assert renamed == {"Search and find", "Answers"}
    assert (account.billed(), account.used()) == before
    assert {(row[7], row[-1]["project"]) for row in account.charges()} == {("proj_a", "proj_a"), ("proj_b", "proj_b")}


@database
@pytest.mark.parametrize(
    ("amount", "said"),
    [
        (b"null", "BilledCost"),
        (b'{"value": null, "currency": "usd"}', "BilledCost"),
        (b'{"value": "a lot", "currency": "usd"}', "a lot"),
        (b'{"value": 1.5, "currency": null}', "BillingCurrency"),
        (b'{"value": true, "currency": "usd"}', "True"),
    ],
)
def test_t155_it_refuses_a_bill_whose_amount_is_unknown_rather_than_count_zero(
    server: OpenAIAdmin, amount: bytes, said: str
) -> None:
    source_id = account.make("openai_costs", server, resolve_names=False)
    account.sync(source_id)
    body = b'{"object":"page","has_more":false,"next_page":null,"data":[{"start_time":%d,"end_time":%d,"results":[{"amount":%s}]}]}'
    server.faults.append(
        Answer(200, body % (int(account.day(26).timestamp()), int(account.day(27).timestamp()), amount))
    )

    (result,) = load.sync(source_id=source_id, now=NOW)

    assert (result.state, result.rows_loaded) == ("refused", 0)
    assert said in result.error
    assert account.billed() == BILLED


def test_it_says_which_setting_is_wrong() -> None:
    with pytest.raises(ValueError, match="bucket_width: expected 1h or 1d"):
        openai_usage.OpenAIUsageConfig(bucket_width="1m")
    with pytest.raises(ValueError, match="endpoints: there is no 'chat'"):
        openai_usage.OpenAIUsageConfig(endpoints=("chat",))
    with pytest.raises(ValueError, match="settle_hours"):
        openai_costs.OpenAICostsConfig(settle_hours=-1)


def test_it_speaks_as_the_vendors_own_client_understands(server: OpenAIAdmin) -> None:
    server.page_size = 2
    client = openai.OpenAI(admin_api_key=server.key, api_key="unused", base_url=server.base_url, max_retries=2)
    server.throttle(1, retry_after="0")

    def all_costs() -> Iterator[Any]:
        page: Any = openai.NOT_GIVEN
        while True:
            answer = client.admin.organization.usage.costs(
                start_time=int(FIRST.timestamp()),
                end_time=int((TODAY + DAY).timestamp()),
                group_by=["project_id", "line_item", "api_key_id"],
                limit=31,
                **({} if page is openai.NOT_GIVEN else {"page": page}),
            )
            yield from (result for bucket in answer.data for result in bucket.results)
            if not answer.has_more:
                return
            page = answer.next_page

    theirs = [(one.line_item, str(one.amount.value), one.project_id, one.api_key_id) for one in all_costs()]
    answer = client.admin.organization.usage.completions(
        start_time=int(account.day(26).timestamp()),
        end_time=int(account.day(27).timestamp()),
        bucket_width="1h",
        group_by=["project_id", "api_key_id", "model", "batch", "service_tier"],
        limit=24,
        page="page_4",  # hours 8 and 9
    )
    (their_usage,) = [result for bucket in answer.data for result in bucket.results]
    names = {one.id: one.name for one in client.admin.organization.projects.list(limit=1)}
    keys = [one.name for one in client.admin.organization.projects.api_keys.list("proj_a")]

    (raw,) = account.costs(server).read({}, Window(account.day(20), NOW))
    (ours,) = account.costs(server).normalize(raw)
    rows, _ = account.rows_of(account.usage(server, endpoints=("completions",)), account.day(26))
    assert [
        (row["charge_description"], str(float(row["billed_cost"])), row["sub_account_id"], row["attr_key"])
        for row in ours.batch.to_pylist()
    ] == theirs
    assert len(theirs) == 4
    assert sum(rows[0][kind] for kind in ("input_uncached", "cache_read", "cache_write_5m")) == their_usage.input_tokens
    assert rows[0]["requests"] == their_usage.num_model_requests
    assert rows[0]["response_model"] == their_usage.model
    assert names == server.projects
    assert keys == ["search-prod"]


@database
def test_it_shows_names_of_projects_where_those_of_keys_are_not_to_be_seen(server: OpenAIAdmin) -> None:
    server.denied = {"projects/proj_a/api_keys"}

    account.sync(account.make("openai_costs", server))

    assert {(row[8], row[-1].get("tags", "")) for row in account.charges()} == {
        ("Search", ""),
        ("Answers", '{"api_key_name":"answers-prod"}'),
    }


@database
def test_it_splits_the_bill_over_the_usage_it_is_for(server: OpenAIAdmin) -> None:
    server.usage = {
        "completions": {
            account.day(26, 9): [
                account.calls(input_tokens=300, output_tokens=0),
                account.calls(input_tokens=100, output_tokens=0, api_key_id="key_3"),
                account.calls(input_tokens=50, output_tokens=0, project_id="proj_b", api_key_id="key_2"),
            ]
        }
    }
    server.costs = {
        account.day(26): [
            account.cost("gpt-4o-2024-08-06, input", "8.00", "400", api_key_id="key_1"),
            account.cost("gpt-4o-2024-08-06, input", "3.00", "100", project_id="proj_b", api_key_id="key_2"),
            account.cost("web search tool calls", "0.90", None),
        ]
    }
    account.sync(account.make("openai_usage", server))
    account.sync(account.make("openai_costs", server))

    pipeline.settle(NOW)

    scope = SpendScope(Days(date(2026, 11, 1), date(2026, 11, 30)), teams=None)
    assert books.total(scope=scope).cost == Decimal("11.90")
    # Of proj_b's line half was never logged; proj_a's searches are shared by its calls, three to one.
    assert {row.keys: row.cost for row in books.spend(scope=scope, group_by=["sub_account", "key"])} == {
        ("proj_a", "key_1"): Decimal("6.675"),
        ("proj_a", "key_3"): Decimal("2.225"),
        ("proj_b", "key_2"): Decimal("1.5"),
        ("proj_b", ""): Decimal("1.5"),
    }
    assert verify.run().failures == ()


@database
def test_it_leaves_what_was_loaded_when_the_vendor_fails_half_way(server: OpenAIAdmin) -> None:
    source_id = account.make("openai_costs", server)
    account.sync(source_id)
    server.denied = {"costs"}

    (result,) = load.sync(source_id=source_id, now=NOW + DAY)

    assert result.state == "failed"
    assert account.billed() == BILLED
    assert Load.objects.filter(state="succeeded").count() == 1
