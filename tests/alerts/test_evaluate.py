"""Budgets against the books."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from alerts import budgets, escalate, evaluate, queries, spent
from alerts.models import ActionRun, Budget, BudgetState
from attribution import queries as spend_queries
from costobs.kernel.period import budget_period, month
from costobs.kernel.scope import Filter, SpendScope
from tests.alerts.conftest import Books, at, make_budget, rung

pytestmark = pytest.mark.django_db


def test_it_finds_the_total_that_a_page_with_the_same_filters_shows(books: Books) -> None:
    make_budget()
    books.spend(at(2).date(), "123.456789012345678901")
    books.spend(at(3).date(), "0.1", basis="billed")
    books.spend(at(3).date(), "500", team="support")

    (found,) = evaluate.run(now=at(5))

    scope = SpendScope(month(at(5).date()), (Filter("team", ("search",)),), teams=None)
    assert found.spend_cost == spend_queries.total(scope=scope).cost == Decimal("123.556789012345678901")
    assert BudgetState.objects.get().estimated_cost == Decimal("123.456789012345678901")


def test_it_counts_unpriced_usage_at_its_conservative_price(books: Books) -> None:
    make_budget()
    books.spend(at(2).date(), "10")
    books.spend_unpriced(at(2).date(), "90")

    (found,) = evaluate.run(now=at(5))

    assert found.used_percent == Decimal(10)
    assert BudgetState.objects.get().unpriced_cost == Decimal(90)


def test_it_counts_only_the_current_period(books: Books) -> None:
    make_budget(period="day")
    books.spend(at(4).date(), "400")
    books.spend(at(5).date(), "5")

    (found,) = evaluate.run(now=at(5))

    assert (found.spend_cost, found.days.start) == (Decimal(5), at(5).date())


def test_it_labels_its_forecast_a_naive_pace(books: Books) -> None:
    make_budget()
    for day in (1, 2, 3, 4):
        books.spend(at(day).date(), "30")

    (found,) = evaluate.run(now=at(4))

    assert found.forecast_cost == Decimal(900)
    assert BudgetState.objects.get().forecast_method == "naive pace"


def test_it_says_unknown_when_the_books_are_stale_and_keeps_the_figures(books: Books) -> None:
    make_budget()
    books.spend(at(2).date(), "100")
    books.fail(at(2))

    (found,) = evaluate.run(now=at(2))

    assert (found.state, found.is_stale, found.spend_cost) == ("unknown", True, Decimal(100))


def test_it_says_unknown_when_a_source_is_late_by_more_than_a_day_and_not_before(books: Books) -> None:
    make_budget()
    books.spend(at(2).date(), "100")
    books.complete(at(2))
    patience = books.pulled() + timedelta(days=1)

    (before,) = evaluate.run(now=at(2) + patience)
    (after,) = evaluate.run(now=at(2) + patience + timedelta(seconds=1))

    assert (before.is_stale, before.state) == (False, "on_track")
    assert (after.is_stale, after.state, after.spend_cost) == (True, "unknown", Decimal(100))
    assert BudgetState.objects.get().late == "app"


def test_it_says_unknown_when_nothing_was_ever_loaded() -> None:
    make_budget()

    (found,) = evaluate.run(now=at(2))

    assert found.state == "unknown"


def test_it_keeps_one_row_for_a_period_however_often_it_runs(books: Books) -> None:
    make_budget()

    evaluate.run(now=at(2))
    evaluate.run(now=at(2) + timedelta(seconds=1))

    assert BudgetState.objects.get().evaluated_at == at(2) + timedelta(seconds=1)


def test_it_shows_the_line_of_the_evaluation(books: Books) -> None:
    make_budget(rung("60", "notify"), rung("75", "throttle"), owner_email="ada@example.com")
    for day in (1, 2, 3):
        books.spend(at(day).date(), "50")
    evaluate.run(now=at(4, 0))

    (line,) = queries.budgets(now=at(4, 0), teams=None)

    assert (line.spend_cost, line.used_percent, line.elapsed_percent) == (Decimal(150), Decimal(15), Decimal(10))
    assert (line.forecast_cost, line.variance_cost, line.state) == (Decimal(1500), Decimal(500), "watch")
    assert line.next_step is not None
    assert (line.next_step.text, line.next_step.on) == ("Notify at 60 %", at(12).date())
    assert line.ladder_words == "60 notify · 75 throttle"
    assert line.scope_words == "team search"


def test_it_finds_for_every_scope_what_the_books_answer_to_it(books: Books) -> None:
    scopes = {
        "all": {},
        "team": {"team": ["search"]},
        "teams": {"team": ["search", "support"]},
        "model": {"model": ["a"]},
        "both": {"team": ["support"], "model": ["a", "b"]},
        "nobody": {"team": ["nobody"]},
    }
    for name, scope in scopes.items():
        for period in ("day", "week", "month", "quarter"):
            make_budget(name=f"{name} {period}", scope=scope, period=period)
    for day, team, model, amount in (
        (1, "search", "a", "1.000000000000000000001"),
        (4, "search", "b", "2"),
        (9, "support", "a", "4"),
        (10, "support", "b", "8"),
        (10, "search", "a", "16"),
    ):
        books.spend(at(day).date(), amount, team=team, model=model)

    found = {one.budget_id: one.spend_cost for one in evaluate.run(now=at(10))}

    for row in Budget.objects.all():
        days = budget_period(row.period, at(10).date())
        assert found[row.pk] == spend_queries.total(scope=queries.spend_scope(row, days)).cost, row.name


def test_it_asks_the_database_a_few_times_for_any_number_of_budgets(books: Books) -> None:
    for number in range(20):
        make_budget(rung("60", "notify"), name=f"budget {number}", scope={"team": [f"team {number}"]})

    with CaptureQueriesContext(connection) as asked:
        evaluate.run(now=at(10))

    assert len(asked) <= 18


def test_it_hides_budgets_of_other_teams(books: Books) -> None:
    mine = make_budget(name="mine")
    for name, scope in (("theirs", {"team": ["support"]}), ("both", {"team": ["search", "support"]}), ("all", {})):
        make_budget(name=name, scope=scope)

    assert [line.name for line in queries.budgets(now=at(2), teams=("search",))] == ["mine"]
    assert len(queries.budgets(now=at(2), teams=None)) == 4
    assert queries.budgets(now=at(2), teams=()) == []
    assert queries.budget(id=mine, now=at(2), teams=("search",)).line.name == "mine"
    with pytest.raises(queries.NotFound):
        queries.budget(id=mine, now=at(2), teams=("support",))


@pytest.mark.parametrize("change", [{"scope": {"team": ["support"]}}, {"amount": "2000"}, {"period": "week"}, None])
def test_it_keeps_nothing_of_a_budget_that_was_changed_or_deleted_meanwhile(
    books: Books, monkeypatch: pytest.MonkeyPatch, change: dict[str, object] | None
) -> None:
    kept, changed = make_budget(name="kept"), make_budget(name="changed")
    books.spend(at(2).date(), "800")
    ask = spent.spent

    def meanwhile(*given: Any) -> Any:
        if change is None:
            budgets.delete(budget_id=changed, by="ada", now=at(2))
        else:
            budgets.update(budget_id=changed, **change, by="ada", now=at(2))  # type: ignore[arg-type]  # given above
        return ask(*given)

    monkeypatch.setattr(evaluate.spent, "spent", meanwhile)

    found = evaluate.run(now=at(2))

    assert [one.budget_id for one in found] == [kept]
    assert [one.budget_id for one in BudgetState.objects.all()] == [kept]


def test_it_starts_nothing_on_figures_that_were_taken_away(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    budget_id = make_budget(rung("75", "throttle"))
    books.spend(at(2).date(), "800")
    evaluate.run(now=at(2))
    find = escalate._due

    def meanwhile(*given: Any) -> Any:
        due = find(*given)
        budgets.update(budget_id=budget_id, scope={"team": ["support"]}, by="ada", now=at(2))
        return due

    monkeypatch.setattr(escalate, "_due", meanwhile)

    assert escalate.run(now=at(2)) == []
    assert not ActionRun.objects.exists()
