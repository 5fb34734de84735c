"""Usage that a vendor has summed: what it says last of a span is what counts, at the price that is believed now."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest
from django.db import connection

from attribution import queries as books
from attribution import verify
from costobs import pipeline
from costobs.kernel.period import Days
from costobs.kernel.scope import SpendScope
from ingest import configure, load, price, queries
from ingest.models import Load, QuarantinedRow
from ingest.rows import DISJOINT_TOKEN_KINDS
from ingest.sources.base import Raw, Window
from ingest.sources.formats.admin import admin_units

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
DAY = timedelta(days=1)
QUARTER = Days(date(2026, 10, 1), date(2026, 12, 31))


def at(day: int, hour: int = 0) -> datetime:
    return datetime(2026, 11, day, hour, tzinfo=UTC)


def bucket(hour: int, tokens: int, *, day: int = 26, **more: Any) -> admin_units.Found:
    told = {"model": "gpt-4o-2024-08-06", "project_id": "proj_a", "api_key_id": "key_1", "num_model_requests": 1}
    told |= {"input_tokens": tokens, "output_tokens": 10}
    return admin_units.Found(at(day, hour), at(day, hour) + timedelta(hours=1), "completions", {**told, **more})


def claude(hour: int, tokens: int, window: str) -> admin_units.Found:
    told = {"model": "claude-sonnet-4-5-20250929", "context_window": window, "uncached_input_tokens": tokens}
    return admin_units.Found(at(26, hour), at(26, hour) + timedelta(hours=1), "messages", {"output_tokens": 0, **told})


def unit(found: Sequence[admin_units.Found], *, day: int = 26) -> Raw:
    return admin_units.unit(
        name=f"usage of {day}",
        found=found,
        names=admin_units.Names(),
        complete_through=at(day) + DAY,
        span=Window(at(day), at(day) + DAY),
    )


def run(source_id: int, raw: Raw, now: datetime = NOW) -> load.LoadResult:
    return load.run_unit(source_id=source_id, raw=raw, now=now)


def hours(source_id: int) -> dict[datetime, int]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT hour, sum(input_uncached)::bigint FROM ingest_usagehour WHERE source_id = %s GROUP BY 1 ORDER BY 1",
            [source_id],
        )
        return dict(cursor.fetchall())


def sums() -> dict[str, int]:
    with connection.cursor() as cursor:
        cursor.execute(
            f"""SELECT {", ".join(f"coalesce(sum({kind}), 0)::bigint" for kind in ("requests", *DISJOINT_TOKEN_KINDS))}
                FROM ingest_usagehour"""
        )
        return dict(zip(("requests", *DISJOINT_TOKEN_KINDS), cursor.fetchone(), strict=True))


def cost() -> Decimal:
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT sum(h.input_uncached * p.input_uncached_price + h.output * p.output_price) FROM ingest_usagehour h
               JOIN ingest_unitprice p ON p.id = h.price_id"""
        )
        return Decimal(cursor.fetchone()[0])


@pytest.fixture
def openai_id() -> int:
    return configure.create_source(kind="openai_usage", name="openai", now=NOW)


def test_t142_it_replaces_what_was_said_of_a_span_and_leaves_the_others(openai_id: int) -> None:
    other = configure.create_source(kind="openai_usage", name="other", now=NOW)
    run(openai_id, unit([bucket(9, 100), bucket(10, 5)]))
    run(openai_id, unit([bucket(23, 7, day=25)], day=25))
    run(openai_id, unit([bucket(0, 9, day=27)], day=27))
    run(other, unit([bucket(9, 1000)]))

    result = run(openai_id, unit([bucket(9, 120), bucket(11, 5)]))

    assert (result.state, result.rows_loaded) == ("succeeded", 2)
    assert hours(openai_id) == {at(25, 23): 7, at(26, 9): 120, at(26, 11): 5, at(27, 0): 9}
    assert hours(other) == {at(26, 9): 1000}


def test_it_answers_unchanged_to_the_same_content_in_another_order(openai_id: int) -> None:
    run(openai_id, unit([bucket(9, 100), bucket(10, 5)]))

    result = run(openai_id, unit([bucket(10, 5), bucket(9, 100)]))

    assert result.state == "unchanged"
    assert hours(openai_id) == {at(26, 9): 100, at(26, 10): 5}


def test_t143_it_takes_a_value_again_that_was_corrected_back(openai_id: int) -> None:
    first, second = unit([bucket(9, 100)]), unit([bucket(9, 120)])

    states = [run(openai_id, raw).state for raw in (first, second, first, second, second)]

    assert states == ["succeeded", "succeeded", "succeeded", "succeeded", "unchanged"]
    assert hours(openai_id) == {at(26, 9): 120}
    assert sorted(Load.objects.values_list("state", flat=True)) == [
        "succeeded",
        "superseded",
        "superseded",
        "superseded",
    ]


def test_t144_it_clears_a_day_that_the_vendor_took_back_and_restates_the_books(openai_id: int) -> None:
    run(openai_id, unit([bucket(9, 100), bucket(10, 5)]))
    run(openai_id, unit([bucket(9, 3, day=27)], day=27))
    pipeline.settle(NOW)
    assert queries.open_days() == []

    result = run(openai_id, unit([]))

    assert (result.state, result.rows_loaded) == ("succeeded", 0)
    assert queries.open_days() == [date(2026, 11, 26)]
    pipeline.settle(NOW)
    assert hours(openai_id) == {at(27, 9): 3}
    found = books.spend_by_day(scope=SpendScope(QUARTER, teams=None))
    assert {each.day: each.cost for each in found if each.cost} == {date(2026, 11, 27): 3 * INPUT + 10 * OUTPUT}


INPUT, OUTPUT = Decimal("0.0000025"), Decimal("0.00001")  # gpt-4o: 2.50 and 10 USD for 1M


def test_it_touches_the_days_that_lost_hours_and_those_that_got_some(openai_id: int) -> None:
    two_days = Window(at(26), at(28))
    first = Raw(name="two", payload=unit([bucket(9, 1), bucket(9, 1, day=27)]).payload, content_hash="a", span=two_days)
    run(openai_id, first)
    pipeline.settle(NOW)

    run(openai_id, Raw(name="two", payload=unit([bucket(9, 2, day=27)]).payload, content_hash="b", span=two_days))

    assert queries.open_days() == [date(2026, 11, 26), date(2026, 11, 27)]


def test_it_takes_the_span_from_the_buckets_where_none_is_told(openai_id: int) -> None:
    run(openai_id, unit([bucket(8, 1), bucket(9, 2), bucket(11, 4)]))
    later = Raw(name="later", payload=unit([bucket(9, 20), bucket(10, 30)]).payload, content_hash="later")

    run(openai_id, later)

    assert hours(openai_id) == {at(26, 8): 1, at(26, 9): 20, at(26, 10): 30, at(26, 11): 4}


def test_it_adds_buckets_of_one_hour_and_key_and_holds_a_long_one_in_its_first_hour(openai_id: int) -> None:
    whole_day = admin_units.Found(at(26), at(27), "completions", bucket(0, 50, api_key_id="key_2").result)

    run(openai_id, unit([bucket(9, 1), bucket(9, 2), whole_day]))

    assert hours(openai_id) == {at(26): 50, at(26, 9): 3}
    assert sums()["requests"] == 3


def test_t152_it_holds_sums_that_no_single_call_could_have(openai_id: int) -> None:
    run(openai_id, unit([bucket(9, 3_000_000_000), bucket(9, 4_000_000_000, api_key_id="key_2")]))

    assert hours(openai_id) == {at(26, 9): 7_000_000_000}


def test_it_takes_the_good_buckets_and_sets_the_bad_aside(openai_id: int) -> None:
    result = run(openai_id, unit([bucket(9, 100), bucket(10, -5), bucket(11, 7)]))

    assert (result.rows_read, result.rows_loaded, result.rows_quarantined) == (3, 2, 1)
    assert hours(openai_id) == {at(26, 9): 100, at(26, 11): 7}
    assert [(row.row_number, row.field) for row in QuarantinedRow.objects.all()] == [(2, "input_tokens")]


def test_it_moves_hours_of_buckets_to_a_price_that_was_set_later(openai_id: int) -> None:
    run(openai_id, unit([bucket(9, 1_000_000), bucket(10, 1_000_000)]))
    run(openai_id, unit([bucket(9, 1_000_000, day=24)], day=24))
    pipeline.settle(NOW)
    before = sums()

    moved = price.set_override(
        provider="openai",
        model="gpt-4o",
        valid_from=date(2026, 11, 25),
        prices={"input": Decimal(1), "output": Decimal(2)},
        set_by="ada@example.com",
        now=NOW,
    )

    assert (moved.hours, moved.days) == (2, (date(2026, 11, 26),))
    assert sums() == before
    assert cost() == Decimal("2.00004") + Decimal("2.5001")
    assert queries.open_days() == [date(2026, 11, 26)]
    assert price.reprice(provider="openai", model="gpt-4o", since=date(2026, 11, 25)).hours == 0
    price.withdraw(set_by="ada@example.com", now=NOW + timedelta(hours=1))
    assert sums() == before
    assert cost() == Decimal("7.5003")


def test_it_moves_calls_and_buckets_of_one_model_together(openai_id: int, tmp_path: Path) -> None:
    event = {
        "occurred_at": "2026-11-26T09:30:00Z",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o-2024-08-06",
    }
    event |= {"gen_ai.usage.input_tokens": 1_000_000}  # type: ignore[dict-item]
    (tmp_path / "log.ndjson").write_bytes(orjson.dumps(event) + b"\n")
    log = configure.create_source(kind="usage_log", name="log", now=NOW)
    list(load.from_paths(source_id=log, paths=[str(tmp_path / "log.ndjson")], now=NOW))
    run(openai_id, unit([bucket(9, 1_000_000)]))

    moved = price.set_override(
        provider="openai",
        model="gpt-4o",
        valid_from=date(2026, 11, 25),
        prices={"input": Decimal(1), "output": Decimal(2)},
        set_by="ada@example.com",
        now=NOW,
    )

    assert (moved.events, moved.hours) == (2, 2)
    assert hours(log) == hours(openai_id) == {at(26, 9): 1_000_000}
    assert cost() == Decimal("2.00002")


def test_it_keeps_every_token_when_a_price_without_steps_takes_the_place_of_one_with_steps() -> None:
    source_id = configure.create_source(kind="anthropic_usage", name="anthropic", now=NOW)
    run(source_id, unit([claude(9, 1_000_000, "0-200k"), claude(9, 1_000_000, "200k-1M")]))
    assert cost() == Decimal(9)  # 3 USD and, for prompts above 200,000 tokens, 6 USD for 1M

    price.set_override(
        provider="anthropic",
        model="claude-sonnet-4-5",
        valid_from=date(2026, 11, 25),
        prices={"input": Decimal(2), "output": Decimal(2)},
        set_by="ada@example.com",
        now=NOW,
    )

    assert hours(source_id) == {at(26, 9): 2_000_000}
    assert cost() == Decimal(4)


def test_it_keeps_the_step_of_a_price_when_only_one_tier_is_set() -> None:
    source_id = configure.create_source(kind="anthropic_usage", name="anthropic", now=NOW)
    run(source_id, unit([claude(9, 1_000_000, "200k-1M")]))

    price.set_override(
        provider="anthropic",
        model="claude-sonnet-4-5",
        service_tier="batch",
        valid_from=date(2026, 11, 25),
        prices={"input": Decimal(2), "output": Decimal(2)},
        set_by="ada@example.com",
        now=NOW,
    )

    assert cost() == Decimal(6)


def test_it_counts_buckets_in_the_books_and_the_books_agree_with_them(openai_id: int) -> None:
    run(openai_id, unit([bucket(9, 1000), bucket(10, 1000, project_id="proj_b")]))

    assert pipeline.settle(NOW) == 1

    scope = SpendScope(QUARTER, teams=None)
    assert books.total(scope=scope).cost == 2000 * INPUT + 20 * OUTPUT
    (unit_cost,) = books.unit_costs(scope=scope, group_by=["model"])
    assert (unit_cost.requests, unit_cost.input_uncached, unit_cost.output) == (2, 2000, 20)
    by_account = {row.keys: row.cost for row in books.spend(scope=scope, group_by=["sub_account"])}
    assert by_account == {("proj_a",): 1000 * INPUT + 10 * OUTPUT, ("proj_b",): 1000 * INPUT + 10 * OUTPUT}
    assert verify.run().failures == ()
    run(openai_id, unit([bucket(9, 500)]))
    pipeline.settle(NOW)
    assert books.total(scope=scope).cost == 500 * INPUT + 10 * OUTPUT
    assert verify.run().failures == ()
