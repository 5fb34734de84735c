"""A whole ladder on a scripted spend curve, through evaluate, escalate and execute with a gate that asks for its policy."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import orjson
import pytest
from costobs_gate.policy import parse
from django.db import connection

from alerts import budgets, escalate, evaluate, execute, windows
from alerts.models import ActionRun, Alert, Budget, BudgetState, RungLevel
from tests.alerts.conftest import (
    START,
    Books,
    FakeGate,
    at,
    at_once,
    climb,
    make_books,
    make_budget,
    make_gate,
    rung,
    settle,
    states,
)

pytestmark = pytest.mark.django_db

MINUTE = timedelta(minutes=1)
LADDER = (
    rung("50", "notify"),
    rung("75", "throttle", requests_per_minute=6, hysteresis_percent=5),
    budgets.RungSpec(Decimal(90), "reroute", {"to_model": "llama-int4"}),
    rung("110", "shutdown"),
)


def rules(gate: FakeGate) -> list[dict[str, object]]:
    found: list[dict[str, object]] = orjson.loads(gate.body)["rules"]
    return found


def content(gate: FakeGate) -> dict[str, object]:
    """The policy without its time."""
    found: dict[str, object] = orjson.loads(gate.body)
    found.pop("generated_at")
    return found


def test_it_climbs_each_rung_once_and_never_flaps(books: Books, gate: FakeGate) -> None:
    make_budget(*LADDER)
    curve = ["300", "250", "-20", "20", "230", "-30", "30", "140", "-10", "10", "200"]

    for hour, step in enumerate(curve):
        books.spend(at(2).date(), step)
        climb(at(2, hour))
        settle(gate, at(2, hour))
        climb(at(2, hour, 30))

    fired = list(ActionRun.objects.order_by("pk").values_list("rung__percent", "action", "episode", "state"))
    assert fired == [
        (Decimal(50), "notify", 1, "done"),
        (Decimal(75), "throttle", 1, "in_force"),
        (Decimal(90), "reroute", 1, "in_force"),
        (Decimal(110), "shutdown", 1, "in_force"),
    ]
    assert [rule["action"] for rule in rules(gate)] == ["block", "reroute", "throttle"]
    assert Alert.objects.count() == 4


def test_it_takes_the_strongest_when_spend_jumps_over_several_rungs(books: Books, gate: FakeGate) -> None:
    make_budget(*LADDER)
    books.spend(at(2).date(), "1300")

    climb(at(2))
    settle(gate, at(2))

    assert states() == {
        "50 notify": "superseded",
        "75 throttle": "superseded",
        "90 reroute": "superseded",
        "110 shutdown": "in_force",
    }
    assert [rule["action"] for rule in rules(gate)] == ["block"]
    assert Alert.objects.count() == 1


def test_it_lets_the_weaker_rung_act_once_the_stronger_one_has_ended(books: Books, gate: FakeGate) -> None:
    make_budget(*LADDER)
    books.spend(at(2).date(), "1200")
    climb(at(2))
    books.spend(at(2).date(), "-250")

    for minute in (1, 62, 63):
        climb(at(2) + MINUTE * minute)

    assert states()["110 shutdown"] == "ended"
    assert states()["90 reroute"] == "running"
    assert states()["75 throttle"] == "superseded"


def test_it_arms_again_only_below_the_threshold_minus_the_hysteresis(books: Books) -> None:
    make_budget(rung("75", "throttle", requests_per_minute=6, hysteresis_percent=10, cooldown_minutes=0))
    books.spend(at(2).date(), "800")
    climb(at(2))

    books.spend(at(2).date(), "-100")
    climb(at(2, 13))
    climb(at(2, 14))
    between = states()
    books.spend(at(2).date(), "-60")
    climb(at(2, 15))
    climb(at(2, 16))

    assert between == {"75 throttle": "running"}
    assert states() == {"75 throttle": "ended"}


def test_it_restores_the_policy_byte_for_byte_when_undone(books: Books, gate: FakeGate) -> None:
    make_budget(*LADDER)
    gate.ask(at(2))
    before = content(gate)
    books.spend(at(2).date(), "1300")
    climb(at(2))
    settle(gate, at(2))
    run = ActionRun.objects.get(state="in_force")
    during = content(gate)

    execute.undo(run_id=run.pk, by="ada", now=at(2, 13), reason="a mistake")
    climb(at(2, 13) + MINUTE)
    gate.ask(at(2, 13) + 2 * MINUTE)

    assert during != before
    assert content(gate) == before


def test_it_leaves_protected_traffic_alone(books: Books, gate: FakeGate) -> None:
    budget_id = make_budget(rung("75", "shutdown"))
    Budget.objects.filter(pk=budget_id).update(protected=[{"feature": ["checkout"], "team": ["search"]}])
    windows.protect(scope={"environment": ["prod"]}, by="ada", now=START)
    books.spend(at(2).date(), "800")

    climb(at(2))
    settle(gate, at(2))

    (rule,) = rules(gate)
    named = [{name: value for name, value in match.items() if value} for match in rule["except"]]  # type: ignore[attr-defined]  # JSON
    assert named == [{"environment": "prod"}, {"feature": "checkout", "team": "search"}]
    assert rule["match"] == {"team": "search", "feature": None, "model": None, "key_id": None}


def test_it_does_not_begin_what_would_only_touch_protected_requests(books: Books, gate: FakeGate) -> None:
    make_budget(rung("75", "throttle"))
    windows.protect(scope={"team": ["search"]}, by="ada", now=START)
    books.spend(at(2).date(), "800")

    climb(at(2))
    gate.ask(at(2))

    assert states() == {"75 throttle": "failed"}
    assert "protected" in ActionRun.objects.get().error
    assert rules(gate) == []


def test_it_only_notifies_on_stale_and_on_unbalanced_books(books: Books) -> None:
    make_budget(*LADDER)
    books.spend(at(2).date(), "1300")
    books.fail(at(2))
    climb(at(2))
    stale = states()
    books.recover()
    evaluate.run(now=at(2, 13))
    BudgetState.objects.update(is_unbalanced=True)
    escalate.run(now=at(2, 13))
    unbalanced = states()
    BudgetState.objects.update(is_unbalanced=False)

    climb(at(2, 14))

    assert stale == unbalanced == {"50 notify": "done"}
    assert states()["110 shutdown"] == "running"


def test_it_starts_nothing_in_maintenance_and_keeps_what_holds(books: Books, gate: FakeGate) -> None:
    make_budget(rung("75", "throttle"), rung("110", "shutdown"))
    books.spend(at(2).date(), "800")
    climb(at(2))
    settle(gate, at(2))
    window = windows.add(kind="maintenance", name="freeze", starts_at=at(2, 13), ends_at=at(2, 15), by="ada", now=at(2))
    books.spend(at(2).date(), "400")

    climb(at(2, 14))
    gate.ask(at(2, 14))
    during = states()
    climb(at(2, 15))

    assert during == {"75 throttle": "in_force"}
    assert [rule["action"] for rule in rules(gate)] == ["throttle"]
    assert states()["110 shutdown"] == "running"
    assert windows.remove(window_id=window, by="ada", now=at(2, 16)) is True


def test_it_keeps_notices_for_after_the_quiet_hours_and_shuts_down_in_them(books: Books) -> None:
    make_budget(rung("50", "notify"), rung("110", "shutdown"))
    windows.add(kind="quiet", name="night", weekly="mon-sun 22:00-06:00", by="ada", now=START)
    books.spend(at(2).date(), "600")
    climb(at(2, 23))
    quiet = states()
    books.spend(at(2).date(), "600")

    climb(at(2, 23, 30))

    assert quiet == {}
    assert states() == {"110 shutdown": "running"}


def test_it_suspends_everything_while_the_glass_is_broken(books: Books, gate: FakeGate) -> None:
    make_budget(*LADDER)
    books.spend(at(2).date(), "800")
    climb(at(2))
    settle(gate, at(2))
    held = content(gate)["rules"]
    windows.pause_all(until=at(2, 14), by="ada", now=at(2, 13), reason="incident 4411")
    books.spend(at(2).date(), "500")

    climb(at(2, 13, 1))
    gate.ask(at(2, 13, 2))
    paused = rules(gate), states()["75 throttle"]
    windows.resume_all(by="ben", now=at(2, 13, 3))
    gate.ask(at(2, 13, 4))

    assert paused == ([], "in_force")
    assert "110 shutdown" not in states()
    assert content(gate)["rules"] == held


def test_it_asks_instead_of_acting_on_too_much(books: Books) -> None:
    make_budget(rung("75", "throttle", requests_per_minute=6, max_share_percent=60))
    books.spend(at(2).date(), "800")
    books.spend(at(2).date(), "200", team="support")

    climb(at(2))

    run = ActionRun.objects.get()
    assert run.state == "waiting_approval"
    assert run.plan["is_too_wide"] is True
    assert "80.0 % of the spend" in run.plan["reach"]


def test_it_needs_two_different_people_on_a_critical_scope(books: Books) -> None:
    budget_id = make_budget(rung("75", "throttle", "one"))
    Budget.objects.filter(pk=budget_id).update(criticality="critical")
    books.spend(at(2).date(), "800")
    climb(at(2))
    run = ActionRun.objects.get()

    execute.approve(run_id=run.pk, version=1, by="ada", now=at(2, 13))
    run.refresh_from_db()
    with pytest.raises(execute.Conflict, match="already"):
        execute.approve(run_id=run.pk, version=run.version, by="ADA", now=at(2, 13))
    waiting = run.state
    execute.approve(run_id=run.pk, version=run.version, by="ben", now=at(2, 13))

    run.refresh_from_db()
    assert (waiting, run.state, run.decided_by) == ("waiting_approval", "running", "ben")


def test_it_holds_scheduled_hours_and_ends_with_them_even_on_stale_books(books: Books, gate: FakeGate) -> None:
    make_budget(
        budgets.RungSpec(Decimal(100), "shutdown", {"windows": "mon-sun 20:00-07:00"}, trigger="schedule"),
    )
    climb(at(2, 19, 59))
    before = states()
    climb(at(2, 20))
    settle(gate, at(2, 20))
    night = states()
    books.fail(at(3, 6))

    climb(at(3, 7))
    climb(at(3, 7, 1))
    gate.ask(at(3, 7, 2))
    books.recover()
    climb(at(3, 20))

    assert (before, night) == ({}, {"100 shutdown": "in_force"})
    assert [(run.state, run.ended_by) for run in ActionRun.objects.order_by("pk")] == [
        ("ended", "clock"),
        ("running", ""),
    ]
    assert rules(gate) == []


def test_it_keeps_scheduled_hours_over_the_end_of_a_period(books: Books, gate: FakeGate) -> None:
    make_budget(
        budgets.RungSpec(Decimal(100), "shutdown", {"windows": "mon-sun 20:00-07:00"}, trigger="schedule"),
        period="day",
    )
    climb(at(2, 23))
    settle(gate, at(2, 23))

    climb(at(3, 0, 1))
    climb(at(3, 6, 59))

    assert [run.state for run in ActionRun.objects.all()] == ["in_force"]


def test_it_measures_the_burn_rate_against_an_even_pace(books: Books) -> None:
    make_budget(
        budgets.RungSpec(Decimal(300), "throttle", {"requests_per_minute": 6, "hours": 24}, trigger="burn_rate"),
        amount="3000",
    )
    books.spend(at(1).date(), "250")
    climb(at(2, 0, 30))
    slow = RungLevel.objects.get().level, states()
    books.spend(at(1).date(), "60")

    climb(at(2, 0, 32))

    assert slow == (Decimal(250), {})
    assert RungLevel.objects.get().level == Decimal(310)
    assert states() == {"300 throttle": "running"}


def test_it_does_nothing_about_use_that_nobody_measured(books: Books) -> None:
    make_budget(budgets.RungSpec(Decimal(100), "shutdown", {"minutes": 60}, trigger="idleness"))

    climb(at(2))

    assert RungLevel.objects.get().level is None
    assert states() == {}


def test_it_never_enforces_on_a_naive_forecast(books: Books) -> None:
    make_budget(
        budgets.RungSpec(Decimal(100), "throttle", {"requests_per_minute": 6}, trigger="forecast"),
        budgets.RungSpec(Decimal(100), "notify", trigger="forecast"),
    )
    for day in range(1, 6):
        books.spend(at(day).date(), "100")

    climb(at(6))
    naive = states()
    BudgetState.objects.update(forecast_method="seasonal")
    escalate.run(now=at(6) + timedelta(seconds=2))

    assert naive == {"100 notify": "done"}
    assert states()["100 throttle"] == "running"


def test_it_releases_when_the_period_changes(books: Books, gate: FakeGate) -> None:
    make_budget(*LADDER)
    books.spend(at(2).date(), "1300")
    climb(at(2))
    settle(gate, at(2))

    december = datetime(2026, 12, 1, 0, 0, 1, tzinfo=UTC)
    climb(december)
    gate.ask(december)

    assert states()["110 shutdown"] == "ended"
    assert rules(gate) == []


def test_it_sends_what_the_gate_understands(books: Books, gate: FakeGate) -> None:
    make_budget(rung("75", "throttle", requests_per_minute=6, max_inflight=2))
    books.spend(at(2).date(), "800")
    climb(at(2))
    settle(gate, at(2))

    (rule,) = parse(orjson.loads(gate.body)).rules

    assert (rule.action, rule.requests_per_minute, rule.max_inflight) == ("throttle", 6, 2)


@pytest.fixture
def kept_books(transactional_db: None) -> Iterator[Books]:
    yield make_books()
    connection.close()


def test_it_climbs_once_with_two_workers_at_once(kept_books: Books) -> None:
    make_gate()
    make_budget(*LADDER)
    kept_books.spend(at(2).date(), "1300")
    evaluate.run(now=at(2))

    raised = at_once(lambda: escalate.run(now=at(2)), lambda: escalate.run(now=at(2)))

    assert raised == []
    assert (ActionRun.objects.count(), Alert.objects.count()) == (4, 1)
