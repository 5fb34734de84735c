"""What pages ask: the detail of a budget, its history, what would be affected, and the number in the navigation."""

from decimal import Decimal

import pytest

from alerts import execute, gates, queries
from alerts.models import ActionRun
from tests.alerts.conftest import START, Books, FakeGate, at, climb, make_budget, rung, settle

pytestmark = pytest.mark.django_db

LADDER = (rung("60", "notify"), rung("75", "throttle"), rung("110", "shutdown", "one"))


def test_it_shows_every_rung_with_what_it_did_or_when_it_would(books: Books, gate: FakeGate) -> None:
    budget_id = make_budget(*LADDER)
    for day in range(1, 9):
        books.spend(at(day).date(), "100")
    climb(at(8))
    settle(gate, at(8))

    detail = queries.budget(id=budget_id, now=at(8, 13), teams=None)

    assert [(row.percent, row.state, row.words) for row in detail.rungs] == [
        (Decimal(60), "superseded", "Notify"),
        (Decimal(75), "in_force", "Throttle to 6 requests/min"),
        (Decimal(110), "armed", "Shut down"),
    ]
    assert detail.rungs[1].run is not None and detail.rungs[1].run.may_undo
    assert detail.rungs[2].expected_on == at(11).date()
    assert detail.rungs[2].threshold_cost == Decimal(1100)
    assert detail.line.state == "throttled"


def test_it_burns_up_to_the_total_of_the_line(books: Books) -> None:
    budget_id = make_budget()
    for day in (1, 3):
        books.spend(at(day).date(), "10.5")
    climb(at(4))

    detail = queries.budget(id=budget_id, now=at(4), teams=None)

    assert [day.cumulative_cost for day in detail.burn_up] == [
        Decimal(text) for text in ("10.5", "10.5", "21.0", "21.0")
    ]
    assert detail.burn_up[-1].cumulative_cost == detail.line.spend_cost


def test_it_compares_the_last_periods_with_the_budget(books: Books) -> None:
    budget_id = make_budget()
    books.spend(at(-10).date(), "1200")
    books.spend(at(2).date(), "100")
    climb(at(3))

    current, before, *_older = queries.budget(id=budget_id, now=at(3), teams=None).periods

    assert (current.is_current, current.actual_cost, current.is_favourable) == (True, Decimal(100), True)
    assert (before.label, before.variance_cost, before.variance_percent) == ("1–31 Oct 2026", Decimal(200), Decimal(20))
    assert before.is_favourable is False


def test_it_lists_the_keys_that_would_be_hit() -> None:
    budget_id = make_budget(rung("75", "throttle"), scope={"team": ["search"], "model": ["llama"]})
    for name, team, models in (
        ("hit", "search", None),
        ("other model", "search", ["qwen"]),
        ("other team", "support", None),
    ):
        gates.create_key(name=name, team=team, models=models, by="ada", now=START)

    detail = queries.budget(id=budget_id, now=at(2), teams=None)

    assert [key.name for key in detail.keys] == ["hit"]


def test_it_names_the_budgets_that_overlap() -> None:
    budget_id = make_budget(name="search", scope={"team": ["search"]})
    make_budget(name="everything", scope={})
    make_budget(name="llama", scope={"model": ["llama"]})
    make_budget(name="support", scope={"team": ["support"]})

    found = queries.budget(id=budget_id, now=at(2), teams=None).overlaps

    assert [one.name for one in found] == ["everything", "llama"]


def test_it_counts_what_needs_attention(books: Books) -> None:
    make_budget(*LADDER)
    make_budget(name="calm", scope={"team": ["support"]})
    books.spend(at(2).date(), "1200")
    climb(at(2))

    found = queries.counts(teams=None)

    assert (found.attention, found.waiting, found.in_force) == (2, 1, 1)
    assert queries.attention_count(teams=("support",)) == 0
    assert [line.may_approve for line in queries.waiting_actions(teams=None)] == [True]


def test_it_says_what_comes_next(books: Books) -> None:
    make_budget(*LADDER)
    books.spend(at(2).date(), "800")
    climb(at(2))
    (line,) = queries.budgets(now=at(2), teams=None)
    assert line.next_step is not None
    assert line.next_step.text == "Shut down at 110 %, needs approval"

    books.spend(at(2).date(), "400")
    climb(at(2, 13))
    (line,) = queries.budgets(now=at(2, 13), teams=None)
    assert line.next_step is not None
    assert line.next_step.text == "Shut down waits for approval until 3 Nov, 13:00 UTC"
    assert line.is_waiting_approval


def test_it_keeps_the_log_newest_first(books: Books, gate: FakeGate) -> None:
    make_budget(*LADDER)
    books.spend(at(2).date(), "1200")
    climb(at(2))
    run = ActionRun.objects.get(action="throttle")
    execute.undo(run_id=run.pk, by="ben", now=at(2, 13))

    log = queries.action_log(teams=None)

    assert [line.id for line in log] == sorted((line.id for line in log), reverse=True)
    undone = queries.action(id=run.pk, teams=("search",))
    assert (undone.state_words, undone.ended_by, undone.before_words) == ("Undone", "ben", "No limit")
    with pytest.raises(queries.NotFound):
        queries.action(id=run.pk, teams=("support",))
