"""Days whose books do not add up: kept, told, and no ground for more than a notice."""

from datetime import timedelta
from decimal import Decimal

import pytest

from alerts import balance, budgets, escalate, evaluate, execute
from alerts.models import ActionRun, BooksCheck, BudgetState
from attribution.models import DailyCost
from ingest.models import Touched
from tests.attribution import world

pytestmark = pytest.mark.django_db

NOW = world.at(20)


@pytest.fixture
def budget() -> int:
    """A budget with its books loaded, settled and evaluated once."""
    log = world.source("usage_log", "log")
    world.usage(log, attributes={"team": "search"}, input_uncached=80_000)
    world.settle()
    log.complete_through = log.last_load_at = NOW
    log.save()
    rungs = [
        budgets.RungSpec(Decimal(50), "notify"),
        budgets.RungSpec(Decimal(75), "throttle", {"requests_per_minute": 6}),
    ]
    budget_id = budgets.create(
        name="Search",
        scope={"team": ["search"]},
        amount="100",
        currency="USD",
        period="month",
        rungs=rungs,
        by="ada",
        now=NOW,
    )
    evaluate.run(now=NOW)
    return budget_id


def _break() -> None:
    """Somebody writes into the books by hand, and the day is rolled up once more."""
    row = DailyCost.objects.filter(is_current=True).first()
    assert row is not None
    DailyCost.objects.filter(pk=row.pk).update(effective_cost=row.effective_cost + 5)
    for one in Touched.objects.all():
        Touched.objects.filter(pk=one.pk).update(version=one.version + 1, rolled_up_version=one.version + 1)


def test_it_keeps_that_the_days_of_a_budget_add_up_and_asks_only_once(budget: int) -> None:
    first, again = balance.run(now=NOW), balance.run(now=NOW)

    assert (first, again) == ([world.DAY], [])
    assert BooksCheck.objects.get().is_balanced
    (found,) = evaluate.run(now=NOW)
    assert found.state == "over" or found.state == "watch"


def test_it_holds_the_ladder_to_notices_while_a_day_does_not_add_up(budget: int) -> None:
    _break()

    balance.run(now=NOW)
    evaluate.run(now=NOW)
    escalate.run(now=NOW)

    check = BooksCheck.objects.get()
    assert not check.is_balanced
    assert "expected 80.000, found 85.000" in check.findings[0]
    state = BudgetState.objects.get()
    assert (state.is_stale, state.is_unbalanced, state.state) == (False, True, "unknown")
    assert list(ActionRun.objects.values_list("action", "state")) == [("notify", "done")]


def test_it_lets_nobody_approve_on_unbalanced_books(budget: int) -> None:
    budgets.update(
        budget_id=budget, rungs=[budgets.RungSpec(Decimal(60), "shutdown", approval="one")], by="ada", now=NOW
    )
    evaluate.run(now=NOW)
    escalate.run(now=NOW)
    run = ActionRun.objects.get()
    _break()
    balance.run(now=NOW)
    evaluate.run(now=NOW)

    with pytest.raises(execute.Conflict, match="do not add up"):
        execute.approve(run_id=run.pk, version=run.version, by="ada", now=NOW, confirm="Search")


def test_it_acts_again_once_the_day_adds_up(budget: int) -> None:
    _break()
    balance.run(now=NOW)
    world.touch(world.Source.objects.get(), world.DAY)
    world.settle()

    balance.run(now=NOW + timedelta(minutes=1))
    evaluate.run(now=NOW + timedelta(minutes=1))
    escalate.run(now=NOW + timedelta(minutes=1))

    assert BooksCheck.objects.get().is_balanced
    assert ActionRun.objects.get(action="throttle").state == "running"


def test_it_leaves_a_day_that_waits_to_be_rolled_up_as_it_was_known(budget: int) -> None:
    balance.run(now=NOW)
    world.touch(world.Source.objects.get(), world.DAY)
    DailyCost.objects.update(effective_cost=1)

    assert balance.run(now=NOW) == []
    assert BooksCheck.objects.get().is_balanced


def test_it_checks_nothing_without_budgets() -> None:
    world.usage(world.source("usage_log", "log"), input_uncached=10)
    world.settle()

    assert balance.run(now=NOW) == []
