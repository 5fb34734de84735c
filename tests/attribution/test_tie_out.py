"""Billed cells take the weights of the usage they cover; bypass, double counting and half bills."""

from datetime import date, timedelta
from decimal import Decimal

import pytest

from attribution import queries, verify
from tests.attribution import world

pytestmark = pytest.mark.django_db


def _by_team(**asked):
    return {row.keys[0]: row.cost for row in queries.spend(scope=world.scope(**asked), group_by=["team"])}


def test_it_splits_a_billed_cell_over_the_teams_that_used_it():
    log, bill = world.source("usage_log", "log"), world.source()
    world.usage(log, attributes={"team": "search"}, input_uncached=3000)
    world.usage(log, attributes={"team": "growth"}, input_uncached=1000)
    world.llm_charge(bill, "8", consumed_quantity=Decimal(4000))

    world.settle()

    assert _by_team() == {"search": Decimal(6), "growth": Decimal(2)}
    assert verify.run().failures == ()


def test_it_shows_what_was_billed_and_never_logged_as_unallocated_of_the_right_size():
    log, bill = world.source("usage_log", "log"), world.source()
    world.usage(log, attributes={"team": "search"}, input_uncached=1000)
    world.llm_charge(bill, "8", consumed_quantity=Decimal(4), consumed_unit="1K tokens")

    world.settle()

    total = queries.total(scope=world.scope())
    assert (total.cost, total.direct_cost, total.unallocated_cost) == (8, 2, 6)
    (line,) = queries.estimated_versus_billed(scope=world.scope())
    assert (line.billed, line.estimated, line.bypass) == (8, 1, 6)


@pytest.mark.parametrize(
    ("unit", "quantity"), [("Tokens", 1_000_000), ("1K tokens", 1000), ("1M Tokens", 1), ("1000 Tokens", 1000)]
)
def test_it_reads_token_quantities_in_the_units_vendors_use(unit, quantity):
    log, bill = world.source("usage_log", "log"), world.source()
    world.usage(log, attributes={"team": "search"}, input_uncached=500_000)
    world.llm_charge(bill, "8", pricing_quantity=Decimal(quantity), pricing_unit=unit, consumed_unit="")

    world.settle()

    assert _by_team() == {"search": 4, "": 4}


def test_it_takes_a_log_within_two_per_cent_of_the_billed_tokens_as_complete():
    log, bill = world.source("usage_log", "log"), world.source()
    world.usage(log, attributes={"team": "search"}, input_uncached=985)
    world.llm_charge(bill, "8", consumed_quantity=Decimal(1000))

    world.settle()

    assert _by_team() == {"search": 8}


def test_it_goes_by_list_cost_where_the_bill_counts_no_tokens():
    log, bill = world.source("usage_log", "log"), world.source()
    world.usage(log, attributes={"team": "search"}, input_uncached=3000, output=1000)
    world.llm_charge(bill, "4", list_cost=Decimal(8), token_kind="", consumed_unit="")

    world.settle()

    rows = queries.spend(scope=world.scope(), group_by=["team", "share_kind"])
    assert {row.keys: row.cost for row in rows} == {("search", "direct"): 2, ("", "unallocated"): 2}
    cost = queries.unit_costs(scope=world.scope(), group_by=["model"])[0]
    assert (cost.cost_per_million_input, cost.cost_per_million_output) == (500, 500)


def test_it_keeps_accounts_apart_where_bill_and_log_both_name_them():
    log, bill = world.source("usage_log", "log"), world.source()
    world.usage(log, attributes={"team": "search", "project": "p1"}, input_uncached=1000)
    world.llm_charge(bill, "8", consumed_quantity=Decimal(1000), sub_account_id="p1")
    world.llm_charge(bill, "3", consumed_quantity=Decimal(400), sub_account_id="p2")

    world.settle()

    assert _by_team() == {"search": 8, "": 3}


def test_it_does_not_count_one_log_twice_for_two_lines_of_a_bill():
    log, bill = world.source("usage_log", "log"), world.source()
    world.usage(log, attributes={"team": "search"}, input_uncached=1000)
    world.llm_charge(bill, "8", consumed_quantity=Decimal(1000), region_id="us")
    world.llm_charge(bill, "8", consumed_quantity=Decimal(1000), region_id="eu")

    world.settle()

    assert _by_team() == {"search": 8, "": 8}


def test_it_splits_corrections_with_negative_amounts_exactly():
    log, bill = world.source("usage_log", "log"), world.source()
    for team, tokens in (("a", 1), ("b", 1), ("c", 1)):
        world.usage(log, attributes={"team": team}, input_uncached=tokens)
    world.llm_charge(bill, "-1", charge_class="Correction", consumed_quantity=None, consumed_unit="")

    world.settle()

    assert sum(_by_team().values()) == -1
    assert verify.run().failures == ()


def test_it_leaves_a_bill_with_its_own_tags_where_nothing_was_logged_at_all():
    bill = world.source()
    world.llm_charge(bill, "8", attributes={"team": "search"}, consumed_quantity=Decimal(10))

    world.settle()

    assert _by_team() == {"search": 8}


def test_it_never_counts_a_bill_and_its_estimate_both():
    log, bill = world.source("usage_log", "log"), world.source()
    world.usage(log, attributes={"team": "search"}, input_uncached=5000)
    world.settle()
    before = queries.total(scope=world.scope())

    world.llm_charge(bill, "4", consumed_quantity=Decimal(5000))
    world.settle()

    after = queries.total(scope=world.scope())
    assert (before.cost, before.estimated_cost) == (5, 5)
    assert (after.cost, after.estimated_cost) == (4, 0)


def test_it_counts_the_estimate_until_the_bill_of_the_day_is_complete():
    log, bill = world.source("usage_log", "log"), world.source()
    world.usage(log, attributes={"team": "search"}, input_uncached=5000)
    world.llm_charge(bill, "2", consumed_quantity=Decimal(2000), complete_through=world.at(12))

    world.settle()

    total = queries.total(scope=world.scope())
    assert (total.cost, total.estimated_cost) == (5, 5)
    assert verify.run().failures == ()


def test_it_replaces_only_the_provider_that_was_billed():
    log, bill = world.source("usage_log", "log"), world.source()
    world.usage(log, attributes={"team": "search"}, input_uncached=5000)
    world.usage(log, attributes={"team": "search"}, provider="anthropic", model="claude", input_uncached=7000)
    world.llm_charge(bill, "4", consumed_quantity=Decimal(5000))

    world.settle()

    total = queries.total(scope=world.scope())
    assert (total.cost, total.estimated_cost) == (11, 7)


def test_it_joins_the_names_that_bills_and_logs_have_for_one_provider():
    log, bill = world.source("usage_log", "log"), world.source()
    world.usage(log, attributes={"team": "search"}, provider="aws.bedrock", model="nova", input_uncached=5000)
    world.llm_charge(
        bill, "4", consumed_quantity=Decimal(5000), service_provider_name="Amazon Web Services", model="nova"
    )

    world.settle()

    rows = queries.spend(scope=world.scope(), group_by=["provider_name", "team"])
    assert {row.keys: row.cost for row in rows} == {("Amazon Web Services", "search"): 4}


def test_it_makes_the_same_rows_when_run_twice_and_in_any_order_of_days():
    log, bill = world.source("usage_log", "log"), world.source()
    for offset in range(3):
        day = world.DAY + timedelta(days=offset)
        world.usage(log, attributes={"team": "a"}, hour=world.at(1, day=day), input_uncached=3, output=5)
        world.usage(log, attributes={"team": "b"}, hour=world.at(2, day=day), input_uncached=4)
        world.llm_charge(bill, "1", starts=world.at(day=day), consumed_quantity=Decimal(9))
    world.settle()
    once = _books()

    for day in (world.DAY + timedelta(days=offset) for offset in range(3)):
        world.touch(log, day)
        world.touch(bill, day)
    world.settle(newest_first=True)

    assert _books() == once
    assert world.settle() == []


def _books() -> list[tuple[object, ...]]:
    columns = (
        "day, source_id, basis, is_current, attribute_set_id, model, token_kind, share_kind, method, effective_cost"
    )
    return world.fetch(f"SELECT {columns} FROM attribution_dailycost ORDER BY {columns}")


def test_it_books_a_monthly_fee_on_the_day_its_period_begins():
    bill = world.source()
    world.charge(bill, "310", starts=world.at(day=date(2026, 3, 1)), hours=31 * 24, charge_category="Purchase")

    world.settle()

    assert [(row.day, row.cost) for row in queries.spend_by_day(scope=world.scope())] == [(date(2026, 3, 1), 310)]


def test_it_does_not_take_a_line_for_tools_out_of_the_coverage_of_tokens():
    log, bill = world.source("usage_log", "log"), world.source()
    world.usage(log, attributes={"team": "search"}, input_uncached=1000)
    world.llm_charge(bill, "8", consumed_quantity=Decimal(1000))
    world.llm_charge(bill, "5", model="", token_kind="", service_name="Web search", consumed_unit="")

    world.settle()

    assert _by_team() == {"search": 13}
