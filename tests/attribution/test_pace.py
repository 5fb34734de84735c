"""The naive pace: corrections of closed months are spent once, and no day costs them again."""

from datetime import timedelta
from decimal import Decimal

import pytest

from alerts import evaluate, ladder
from alerts.models import BudgetState
from attribution import close, pace, queries
from costobs.kernel.period import Days, add_months
from costobs.kernel.period import month as month_of
from costobs.kernel.scope import SpendScope
from ingest.models import Source
from tests.alerts.conftest import make_budget
from tests.attribution import world

MONTH = world.DAY.replace(day=1)
NEXT = add_months(MONTH, 1)
APRIL = month_of(NEXT)
TODAY = NEXT + timedelta(days=10)
NOW = world.at(12, day=TODAY)


def test_it_carries_on_what_days_cost_and_adds_corrections_once() -> None:
    by_day = {NEXT + timedelta(days=offset): Decimal(10) for offset in range(10)}
    by_day[NEXT] += 500

    found = pace.of(by_day=by_day, period=APRIL, today=TODAY, adjusted={NEXT: Decimal(500), MONTH: Decimal(7)})

    assert found is not None
    assert (found.amount, found.low, found.high) == (Decimal(800), Decimal(800), Decimal(800))
    assert (found.complete_days, found.adjusted_cost) == (10, Decimal(500))


def test_it_says_when_spend_with_corrections_reaches_an_amount() -> None:
    days = Days(NEXT, APRIL.end)
    found = ladder.naive_pace(
        days=days,
        complete=days.until(TODAY),
        complete_cost=Decimal(100),
        spend_cost=Decimal(600),
        adjusted_cost=Decimal(500),
    )
    shown = ladder.pace_of(forecast_cost=Decimal(800), spend_cost=Decimal(600), period=days, today=TODAY)

    assert found is not None and shown is not None
    assert (found.per_day_cost, found.forecast_cost) == (Decimal(10), Decimal(800))
    for one in (found, shown):
        assert ladder.expected_on(pace=one, period=days, cost=Decimal(700)) == TODAY + timedelta(days=9)


@pytest.mark.django_db
def test_it_forecasts_a_budget_as_the_page_does_when_a_closed_month_is_corrected() -> None:
    bill = world.source()
    through = world.at(day=TODAY + timedelta(days=1))
    for offset in range(10):
        starts = world.at(day=NEXT + timedelta(days=offset))
        world.charge(bill, "10", attributes={"team": "a"}, starts=starts, complete_through=through)
    world.charge(bill, "1", attributes={"team": "a"}, complete_through=through)
    world.settle()
    Source.objects.filter(pk=bill.pk).update(complete_through=through)
    close.review(month=MONTH, by="ada", now=NOW)
    close.close(month=MONTH, by="ada", now=NOW)
    world.charge(bill, "500", attributes={"team": "a"}, complete_through=through + timedelta(hours=1))
    world.settle()
    make_budget(scope={"team": ["a"]}, name="a", amount="1000")
    make_budget(scope={}, amount="1000", name="all")

    found = evaluate.run(now=NOW)

    scope = SpendScope(APRIL, teams=None)
    assert queries.adjusted_by_day(scope=scope) == {NEXT: Decimal(500)}
    assert queries.adjusted_spend(scope=scope, group_by=["team"]) == {("a",): Decimal(500)}
    assert {(one.spend_cost, one.forecast_cost) for one in found} == {(Decimal(600), Decimal(800))}
    assert {one.state for one in BudgetState.objects.all()} <= {"on_track", "unknown"}
    by_day = {row.day: row.cost for row in queries.spend_by_day(scope=scope)}
    ahead = pace.of(by_day=by_day, period=APRIL, today=TODAY, adjusted=queries.adjusted_by_day(scope=scope))
    assert ahead is not None and ahead.amount == Decimal(800)
