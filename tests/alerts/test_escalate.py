"""Climbing a ladder: a scripted spend curve, and what must never happen."""

from datetime import timedelta
from decimal import Decimal

import pytest

from alerts import budgets, escalate, evaluate, execute
from alerts.models import ActionRun, Alert
from tests.alerts.conftest import Books, FakeGate, at, climb, make_budget, rung, settle, states

pytestmark = pytest.mark.django_db

LADDER = (rung("60", "notify"), rung("75", "throttle"), rung("110", "shutdown", "one"))


def alerts() -> list[tuple[str, str]]:
    return [(alert.kind, alert.payload["header"]) for alert in Alert.objects.order_by("pk")]


def test_it_climbs_a_scripted_curve_rung_by_rung(books: Books, gate: FakeGate) -> None:
    make_budget(*LADDER)
    seen = []

    for day in range(1, 13):
        books.spend(at(day).date(), "100")
        climb(at(day))
        settle(gate, at(day))
        climb(at(day, 18))
        seen.append(states())

    assert seen[4] == {}
    assert seen[5] == {"60 notify": "done"}
    assert seen[7] == {"60 notify": "done", "75 throttle": "in_force"}
    assert seen[10] == {"60 notify": "done", "75 throttle": "in_force", "110 shutdown": "waiting_approval"}
    assert ActionRun.objects.count() == 3
    assert alerts() == [
        ("budget_threshold", "Budget: Search answers passed 60 %"),
        ("budget_threshold", "Budget: Search answers passed 75 %"),
        ("action_waiting", "Approval needed: shutdown Search answers"),
    ]


def test_it_sends_one_alert_for_the_highest_of_several_rungs(books: Books) -> None:
    make_budget(rung("60", "notify"), rung("75", "throttle"), rung("100", "notify"))
    books.spend(at(2).date(), "1200")

    climb(at(2))

    assert states() == {"60 notify": "superseded", "75 throttle": "running", "100 notify": "superseded"}
    assert alerts() == [("budget_threshold", "Budget: Search answers passed 100 %")]
    assert "Throttled to 6 requests/min from now on" in Alert.objects.get().payload["steps"][0]


def test_it_tells_of_the_throttle_in_the_request_for_approval(books: Books) -> None:
    make_budget(*LADDER)
    books.spend(at(2).date(), "1200")

    climb(at(2))

    assert states() == {"60 notify": "superseded", "75 throttle": "running", "110 shutdown": "waiting_approval"}
    assert [kind for kind, _ in alerts()] == ["action_waiting"]
    assert "Throttled to 6 requests/min" in " ".join(Alert.objects.get().payload["steps"])


def test_it_does_nothing_twice(books: Books) -> None:
    make_budget(*LADDER)
    books.spend(at(2).date(), "800")

    first, second = climb(at(2)), climb(at(2) + timedelta(seconds=1))

    assert len(first) == 2
    assert second == []
    assert Alert.objects.count() == 1


def test_it_only_notifies_on_stale_data_and_goes_on_when_they_are_fresh(books: Books) -> None:
    make_budget(*LADDER)
    books.spend(at(2).date(), "800")
    books.fail(at(2))

    climb(at(2))

    assert states() == {"60 notify": "done"}
    assert "Data are late or failing" in " ".join(Alert.objects.get().payload["steps"])

    books.recover()
    climb(at(2, 13))

    assert states() == {"60 notify": "done", "75 throttle": "running"}


def test_it_releases_nothing_on_stale_data(books: Books, gate: FakeGate) -> None:
    make_budget(rung("75", "throttle"))
    books.spend(at(2).date(), "800")
    climb(at(2))
    settle(gate, at(2))
    books.clear()
    books.fail(at(2, 13))

    for hour in range(13, 20):
        climb(at(2, hour))

    assert states() == {"75 throttle": "in_force"}


def test_it_ends_an_action_after_the_cooldown_below_its_rung_and_may_fire_again(books: Books, gate: FakeGate) -> None:
    budget_id = make_budget(rung("75", "throttle"))
    books.spend(at(2).date(), "800")
    climb(at(2))
    settle(gate, at(2))

    budgets.update(budget_id=budget_id, amount="2000", by="ada", now=at(2, 13))
    climb(at(2, 13))
    climb(at(2, 13, 59))
    assert states() == {"75 throttle": "in_force"}
    climb(at(2, 14))
    assert states() == {"75 throttle": "ended"}

    books.spend(at(2).date(), "800")
    climb(at(2, 15))

    assert [(run.episode, run.state) for run in ActionRun.objects.order_by("episode")] == [(1, "ended"), (2, "running")]


def test_it_does_not_flap_around_a_rung(books: Books, gate: FakeGate) -> None:
    make_budget(rung("75", "throttle"))
    now = at(2)

    for round_ in range(60):
        books.clear()
        books.spend(at(2).date(), "740" if round_ % 2 else "760")
        climb(now)
        settle(gate, now)
        now += timedelta(minutes=5)

    assert states() == {"75 throttle": "in_force"}
    assert ActionRun.objects.count() == 1


def test_it_ends_with_the_period_even_on_stale_data(books: Books, gate: FakeGate) -> None:
    make_budget(rung("75", "throttle"))
    books.spend(at(29).date(), "800")
    climb(at(29))
    settle(gate, at(29))
    books.fail(at(30, 23))

    climb(at(31, 0))

    assert states() == {"75 throttle": "ended"}
    assert ActionRun.objects.get().ended_at == at(31, 0)
    gate.ask(at(31, 0))
    assert b'"rules":[]' in gate.body


def test_it_ends_an_action_at_the_end_of_its_hours(books: Books, gate: FakeGate) -> None:
    make_budget(rung("75", "throttle", hours=4))
    books.spend(at(2).date(), "800")
    climb(at(2, 8))
    settle(gate, at(2, 8))

    climb(at(2, 12))

    assert states() == {"75 throttle": "ended"}
    assert alerts()[-1] == ("action_ended", "Ended: throttle Search answers")


def test_it_lets_a_request_for_approval_expire_and_does_not_ask_again(books: Books) -> None:
    make_budget(rung("75", "shutdown", "one"))
    books.spend(at(2).date(), "800")
    climb(at(2))

    climb(at(3))
    climb(at(4))

    assert states() == {"75 shutdown": "expired"}
    assert Alert.objects.count() == 1


def test_it_starts_nothing_while_paused(books: Books) -> None:
    budget_id = make_budget(*LADDER)
    books.spend(at(2).date(), "800")
    budgets.pause(budget_id=budget_id, until=at(3), by="ben", now=at(2))

    climb(at(2, 13))
    assert states() == {}

    climb(at(3, 13))
    assert states() == {"60 notify": "superseded", "75 throttle": "running"}


def test_it_starts_nothing_on_an_old_evaluation(books: Books) -> None:
    make_budget(*LADDER)
    books.spend(at(2).date(), "800")
    evaluate.run(now=at(2))

    assert escalate.run(now=at(2, 12, 6)) == []


def test_it_uses_the_amount_of_this_moment(books: Books) -> None:
    budget_id = make_budget(*LADDER)
    books.spend(at(2).date(), "800")
    evaluate.run(now=at(2))
    budgets.update(budget_id=budget_id, amount="9000", by="ada", now=at(2))

    assert escalate.run(now=at(2)) == []


def test_it_begins_again_in_the_next_period(books: Books) -> None:
    make_budget(rung("75", "notify"), period="day")

    for day in (2, 3):
        books.spend(at(day).date(), "800")
        climb(at(day))
        climb(at(day, 13))

    assert [run.period_start for run in ActionRun.objects.order_by("pk")] == [at(2).date(), at(3).date()]
    assert {run.episode for run in ActionRun.objects.all()} == {1}


def test_it_notifies_on_a_forecast_and_takes_no_action(books: Books) -> None:
    make_budget(rung("100", "notify", on="forecast"))
    for day in (1, 2, 3):
        books.spend(at(day).date(), "50")

    climb(at(4))

    assert states() == {"100 notify": "done"}
    assert alerts() == [("budget_threshold", "Budget: Search answers is forecast to pass 100 %")]
    assert ActionRun.objects.get().reason == "150.0 % forecast ≥ 100 % of $1,000"


def test_it_writes_the_plan_down_when_it_fires(books: Books) -> None:
    budget_id = make_budget(rung("75", "throttle", requests_per_minute=6))
    books.spend(at(2).date(), "800")
    climb(at(2))

    budgets.update(budget_id=budget_id, rungs=[rung("75", "throttle", requests_per_minute=60)], by="ada", now=at(2))

    run = ActionRun.objects.get()
    assert run.plan["rules"][0]["requests_per_minute"] == 6
    assert run.plan["rules"][0]["match"] == {"team": "search"}
    assert run.expires_at == at(31, 0)
    assert run.rung.percent == Decimal(75)


def test_it_gives_the_same_history_when_a_round_is_killed_between_steps(books: Books) -> None:
    make_budget(*LADDER)
    books.spend(at(2).date(), "800")

    evaluate.run(now=at(2))
    escalate.run(now=at(2))
    evaluate.run(now=at(2, 12, 1))
    escalate.run(now=at(2, 12, 1))
    execute.run(now=at(2, 12, 1))

    assert states() == {"60 notify": "superseded", "75 throttle": "running"}
    assert ActionRun.objects.get(action="throttle").applied_at == at(2, 12, 1)


def test_it_calls_a_shutdown_critical_although_another_ladder_asks_at_the_same_time(books: Books) -> None:
    make_budget(
        rung("100", "shutdown"),
        budgets.RungSpec(
            Decimal(100), "throttle", {"requests_per_minute": 6, "windows": "mon-sun 00:00-24:00"}, "one",
            trigger="schedule",
        ),
    )  # fmt: skip
    books.spend(at(2).date(), "1100")

    climb(at(2))

    alert = Alert.objects.get()
    assert states() == {"100 throttle": "waiting_approval", "100 shutdown": "running"}
    assert (alert.kind, alert.severity) == ("action_waiting", "critical")
