"""Budgets as people make and change them."""

from decimal import Decimal

import pytest

from alerts import budgets, queries, windows
from alerts.models import ActionRun, Budget, Rung
from costobs.audit.models import AuditEntry
from tests.alerts.conftest import START, Books, FakeGate, at, climb, make_budget, rung, settle, states

pytestmark = pytest.mark.django_db


def errors_of(*rungs: budgets.RungSpec, **given: object) -> dict[str, str]:
    with pytest.raises(budgets.Invalid) as caught:
        make_budget(*rungs, **given)  # type: ignore[arg-type]  # wrong on purpose
    return caught.value.errors


def test_it_names_every_mistake_at_once() -> None:
    found = errors_of(
        rung("0", "notify"), rung("50", "explode"), name=" ", amount="NaN", currency="dollars", period="year",
        scope={"planet": ["x"]}, owner_email="ada",
    )  # fmt: skip

    assert set(found) == {"name", "amount", "currency", "period", "scope", "owner_email", "rungs.0", "rungs.1"}
    assert "team" in found["scope"]


@pytest.mark.parametrize("scope", [{"provider_name": ["AWS"]}, {}, {"team": ["a"], "region": ["eu"]}])
def test_it_refuses_to_throttle_what_no_gate_can_tell_apart(scope: dict[str, list[str]]) -> None:
    assert "gate" in errors_of(rung("100", "throttle"), scope=scope)["rungs.0"] or scope == {}


def test_it_takes_any_scope_when_it_only_notifies() -> None:
    budget_id = make_budget(rung("100", "notify"), scope={"provider_name": ["AWS"]})

    assert Budget.objects.get(pk=budget_id).scope == {"provider_name": ["AWS"]}


@pytest.mark.parametrize(
    ("spec", "word"),
    [
        (rung("100", "throttle", requests_per_minute=0), "requests_per_minute"),
        (rung("100", "throttle", requests_per_minute="six"), "whole number"),
        (
            rung("100", "throttle", retry_after_seconds=5),
            "requests_per_minute, tokens_per_minute, max_inflight, max_tokens",
        ),
        (rung("100", "throttle", speed=5), "speed"),
        (rung("100", "notify", "one"), "needs none"),
        (rung("100", "shutdown", "three"), "approval"),
        (rung("100.001", "notify"), "two decimals"),
        (rung("100", "notify", hours=0), "expires_after_hours"),
        (rung("100", "notify", on="rumour"), "forecast"),
    ],
)
def test_it_says_what_is_wrong_with_a_rung(spec: budgets.RungSpec, word: str) -> None:
    assert word in errors_of(spec)["rungs.0"]


def test_it_keeps_numbers_as_numbers_however_they_were_typed() -> None:
    make_budget(rung("100", "throttle", requests_per_minute="6", max_tokens="256"))

    assert Rung.objects.get().config == {"requests_per_minute": 6, "max_tokens": 256}


def test_it_refuses_a_second_budget_of_the_same_name() -> None:
    make_budget()

    assert "exists" in errors_of()["name"]


def test_it_writes_who_made_and_changed_a_budget() -> None:
    budget_id = make_budget(rung("60", "notify"))

    budgets.update(budget_id=budget_id, amount="2000", by="ben@example.com", now=at(2))

    made, changed = AuditEntry.objects.order_by("pk")
    assert (made.act, made.actor, made.after["amount"]) == ("budget.created", "ada@example.com", "1000")
    assert (changed.act, changed.actor) == ("budget.changed", "ben@example.com")
    assert (changed.before["amount"], changed.after["amount"]) == ("1000", "2000")


def test_it_keeps_the_history_of_a_removed_rung(books: Books) -> None:
    budget_id = make_budget(rung("60", "notify"), rung("80", "notify"))
    books.spend(at(2).date(), "700")
    climb(at(2))

    budgets.update(budget_id=budget_id, rungs=[rung("80", "notify")], by="ada", now=at(2))

    assert [run.rung.percent for run in ActionRun.objects.all()] == [Decimal(60)]
    assert [row.percent for row in queries.budget(id=budget_id, now=at(2), teams=None).rungs] == [Decimal(80)]


def test_it_does_not_move_the_scope_under_an_open_action(books: Books, gate: FakeGate) -> None:
    budget_id = make_budget(rung("75", "throttle"))
    books.spend(at(2).date(), "800")
    climb(at(2))

    with pytest.raises(budgets.Invalid, match="undo"):
        budgets.update(budget_id=budget_id, scope={"team": ["support"]}, by="ada", now=at(2))
    with pytest.raises(budgets.Invalid, match="undo"):
        budgets.delete(budget_id=budget_id, by="ada", now=at(2))


def test_it_suspends_the_rules_while_a_budget_is_paused(books: Books, gate: FakeGate) -> None:
    budget_id = make_budget(rung("75", "throttle"), rung("90", "notify"))
    books.spend(at(2).date(), "800")
    climb(at(2))
    settle(gate, at(2))
    held = gate.body

    budgets.pause(budget_id=budget_id, until=at(2, 14), by="ben", now=at(2, 13), reason="incident")
    gate.ask(at(2, 13, 1))
    books.spend(at(2).date(), "150")
    climb(at(2, 13, 2))

    assert b'"rules":[]' in gate.body
    assert states() == {"75 throttle": "in_force"}
    assert queries.budget(id=budget_id, now=at(2, 13, 3), teams=None).line.state == "paused"

    gate.ask(at(2, 14, 1))

    assert b"run-" in gate.body and len(gate.body) == len(held)


def test_it_breaks_glass_for_all_budgets_at_once() -> None:
    make_budget(name="a")
    make_budget(name="b")

    assert windows.pause_all(until=at(2), by="ben", now=START, reason="incident 4411") == 2
    make_budget(name="c")

    assert {line.state for line in queries.budgets(now=START, teams=None)} == {"paused"}
    assert AuditEntry.objects.filter(act="ladders.paused", reason="incident 4411").count() == 1
    assert windows.resume_all(by="ben", now=at(1, 13)) is True
    assert windows.resume_all(by="ben", now=at(1, 13)) is False
    assert {line.state for line in queries.budgets(now=at(1, 14), teams=None)} == {"unknown"}
