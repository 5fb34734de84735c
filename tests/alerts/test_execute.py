"""Carrying out actions: approval, proof, undo, and who wins when two act at once."""

import threading
from datetime import timedelta

import orjson
import pytest

from alerts import budgets, escalate, evaluate, execute, letters, policy, queries, remind, routes, subscribe
from alerts.models import ActionRun, Alert, AlertDelivery, BudgetState, OpenItem, RunApproval, Rung
from costobs.audit.models import AuditEntry
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


def rules(gate: FakeGate) -> list[dict[str, object]]:
    return list(orjson.loads(gate.body)["rules"])


def only_run() -> ActionRun:
    return ActionRun.objects.get()


def in_seconds(seconds: int) -> timedelta:
    return timedelta(seconds=seconds)


def test_it_is_in_force_only_when_the_gate_proved_that_it_holds_the_rule(books: Books, gate: FakeGate) -> None:
    make_budget(rung("75", "throttle"))
    books.spend(at(2).date(), "800")
    gate.ask(at(2))
    climb(at(2) + in_seconds(1))
    assert only_run().state == "running"

    gate.ask(at(2) + in_seconds(2))
    execute.run(now=at(2) + in_seconds(2))
    assert (only_run().state, only_run().error) == ("running", "waiting for 1 of 1 gates")

    gate.ask(at(2) + in_seconds(3))
    execute.run(now=at(2) + in_seconds(3))
    assert (only_run().state, only_run().error) == ("in_force", "")
    assert only_run().verified_at == at(2) + in_seconds(3)


def test_it_waits_for_every_gate_and_every_process(books: Books, gate: FakeGate) -> None:
    other = FakeGate(make_gate("chat-2", source_id=901))
    make_budget(rung("75", "throttle"))
    books.spend(at(2).date(), "800")
    climb(at(2))

    settle(gate, at(2))
    assert only_run().error == "waiting for 1 of 2 gates"

    slow = FakeGate(other.source_id)
    slow.ask(at(2) + in_seconds(4), process="b")
    for second in (4, 5):
        other.ask(at(2) + in_seconds(second), process="a")
    execute.run(now=at(2) + in_seconds(5))
    assert only_run().state == "running"

    slow.ask(at(2) + in_seconds(6), process="b")
    execute.run(now=at(2) + in_seconds(6))
    assert only_run().state == "in_force"


def test_it_is_loud_when_no_gate_takes_the_rule(books: Books) -> None:
    make_budget(rung("75", "throttle"))
    books.spend(at(2).date(), "800")
    climb(at(2))

    execute.run(now=at(2) + in_seconds(59))
    assert Alert.objects.filter(kind="action_failed").count() == 0

    for second in (60, 61, 3600):
        execute.run(now=at(2) + in_seconds(second))

    alert = Alert.objects.get(kind="action_failed")
    assert alert.payload["header"] == "Not in effect: throttle Search answers"
    assert "no gate is set up" in alert.title
    assert only_run().state == "running"


def test_it_says_which_gate_is_silent(books: Books, gate: FakeGate) -> None:
    make_budget(rung("75", "throttle"))
    books.spend(at(2).date(), "800")
    gate.ask(at(2))
    climb(at(2))

    execute.run(now=at(2) + in_seconds(90))

    assert "waiting for 1 of 1 gates (chat-1)" in Alert.objects.get(kind="action_failed").payload["lead"]


def test_it_fails_loudly_when_there_is_nothing_to_carry_out(books: Books) -> None:
    make_budget(rung("75", "throttle"))
    books.spend(at(2).date(), "800")
    evaluate.run(now=at(2))
    escalate.run(now=at(2))
    ActionRun.objects.update(plan={**only_run().plan, "rules": []})

    execute.run(now=at(2))
    execute.run(now=at(2, 13))

    assert only_run().state == "failed"
    assert [alert.kind for alert in Alert.objects.order_by("pk")] == ["budget_threshold", "action_failed"]
    assert queries.counts(teams=None).failed == 1


def test_it_resumes_after_a_kill_between_apply_and_verify(books: Books, gate: FakeGate) -> None:
    make_budget(rung("75", "throttle"))
    books.spend(at(2).date(), "800")
    climb(at(2))
    applied = only_run()

    settle(gate, at(2, 12, 30))

    assert only_run().state == "in_force"
    assert only_run().applied_at == applied.applied_at
    assert AuditEntry.objects.filter(act="action.throttle").count() == 1


class TestApproval:
    @pytest.fixture
    def waiting(self, books: Books, gate: FakeGate) -> ActionRun:
        make_budget(rung("75", "throttle"), rung("90", "shutdown", "one"))
        books.spend(at(2).date(), "800")
        climb(at(2))
        settle(gate, at(2))
        books.spend(at(2).date(), "200")
        climb(at(2, 13))
        return ActionRun.objects.get(action="shutdown")

    def test_it_does_nothing_before_somebody_approves(self, waiting: ActionRun, gate: FakeGate) -> None:
        settle(gate, at(2, 13))

        assert [rule["action"] for rule in rules(gate)] == ["throttle"]
        assert [line.id for line in queries.waiting_actions(teams=("search",))] == [waiting.pk]
        assert queries.waiting_actions(teams=("support",)) == []

    def test_it_shuts_down_once_the_name_was_typed(self, waiting: ActionRun, gate: FakeGate) -> None:
        execute.approve(run_id=waiting.pk, version=1, by="ada", now=at(2, 14), confirm="Search answers")
        execute.run(now=at(2, 14))
        settle(gate, at(2, 14))

        assert states()["90 shutdown"] == "in_force"
        assert [rule["action"] for rule in rules(gate)] == ["block", "throttle"]
        assert queries.budgets(now=at(2, 14), teams=None)[0].state == "stopped"
        assert Alert.objects.latest("pk").title == (
            "Shut down for team search, approved by ada; until 1 Dec, 00:00 UTC or undo"
        )
        assert AuditEntry.objects.get(act="action.approved").actor == "ada"

    def test_it_refuses_a_shutdown_without_the_name(self, waiting: ActionRun) -> None:
        with pytest.raises(execute.NotConfirmed, match="Search answers"):
            execute.approve(run_id=waiting.pk, version=1, by="ada", now=at(2, 14), confirm="search")

        assert AuditEntry.objects.filter(act="action.approved").count() == 0

    def test_it_refuses_a_version_that_is_no_longer_true(self, waiting: ActionRun) -> None:
        with pytest.raises(execute.Conflict, match="expected version 7, found 1"):
            execute.approve(run_id=waiting.pk, version=7, by="ada", now=at(2, 14), confirm="Search answers")

    def test_it_tells_the_second_who_was_first(self, waiting: ActionRun) -> None:
        execute.decline(run_id=waiting.pk, version=1, by="ada", now=at(2, 14), reason="launch week")

        with pytest.raises(execute.Conflict, match="declined already by ada"):
            execute.approve(run_id=waiting.pk, version=1, by="ben", now=at(2, 14), confirm="Search answers")
        assert AuditEntry.objects.get(act="action.declined").reason == "launch week"

    def test_it_counts_no_approval_of_somebody_who_may_not_decide_any_more(self, waiting: ActionRun) -> None:
        ActionRun.objects.update(plan={**waiting.plan, "approvals": 2})
        first = execute.approve(run_id=waiting.pk, version=1, by="ben", now=at(2, 14), confirm="Search answers")

        second = execute.approve(
            run_id=waiting.pk,
            version=2,
            by="ada",
            now=at(2, 15),
            confirm="Search answers",
            may_still=lambda name: name != "ben",
        )

        waiting.refresh_from_db()
        assert (first, second, waiting.state) == (1, 1, "waiting_approval")
        assert [one.by for one in RunApproval.objects.all()] == ["ada"]
        assert AuditEntry.objects.get(act="action.approval_lapsed").before["by"] == "ben"

    def test_it_asks_for_as_many_people_as_the_step_asks_for_now(self, waiting: ActionRun) -> None:
        Rung.objects.filter(pk=waiting.rung_id).update(approval="two")

        missing = execute.approve(run_id=waiting.pk, version=1, by="ben", now=at(2, 14), confirm="Search answers")

        waiting.refresh_from_db()
        assert (missing, waiting.state, waiting.plan["approvals"]) == (1, "waiting_approval", 2)

    def test_it_refuses_to_approve_a_step_that_was_taken_out(self, waiting: ActionRun) -> None:
        budgets.update(budget_id=waiting.budget_id, rungs=[rung("75", "throttle")], by="ada", now=at(2, 13))

        with pytest.raises(execute.Conflict, match="taken out of the ladder"):
            execute.approve(run_id=waiting.pk, version=1, by="ada", now=at(2, 14), confirm="Search answers")

    def test_it_goes_on_calling_people_for_it_when_another_action_ended(
        self, waiting: ActionRun, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("COSTOBS_PRIVATE_HOSTS", "127.0.0.1")
        hook = {"webhook_url": "http://127.0.0.1:9/x"}
        channel = subscribe.create(name="oncall", kind="slack", credentials=hook, by="ada", now=START)
        routes.add_step(severity="critical", after_minutes=30, channel_id=channel, by="ada", now=START)
        throttle = ActionRun.objects.get(action="throttle")

        execute.undo(run_id=throttle.pk, by="ada", now=at(2, 13, 10))

        assert OpenItem.objects.get().closed_at is None
        ended = AlertDelivery(alert=Alert.objects.get(kind="action_undone"), channel_id=channel)
        assert not letters.letter(ended, at(2, 13, 11)).is_closing
        assert remind.run(now=at(2, 13, 40)) == 1
        assert Alert.objects.get(kind="escalated").action_run_id == waiting.pk
        execute.decline(run_id=waiting.pk, version=1, by="ada", now=at(2, 13, 50))
        assert letters.letter(ended, at(2, 13, 51)).is_closing

    def test_it_does_not_ask_again_after_it_was_declined(self, waiting: ActionRun) -> None:
        execute.decline(run_id=waiting.pk, version=1, by="ada", now=at(2, 14))

        climb(at(2, 15))
        climb(at(3, 15))

        assert ActionRun.objects.filter(action="shutdown").count() == 1

    def test_it_refuses_what_expired(self, waiting: ActionRun) -> None:
        with pytest.raises(execute.Conflict, match="expired"):
            execute.approve(run_id=waiting.pk, version=1, by="ada", now=at(3, 13), confirm="Search answers")

    def test_it_refuses_to_approve_on_stale_books(self, waiting: ActionRun, books: Books) -> None:
        books.fail(at(2, 14))
        evaluate.run(now=at(2, 14))

        with pytest.raises(execute.Conflict, match="late or failing"):
            execute.approve(run_id=waiting.pk, version=1, by="ada", now=at(2, 14), confirm="Search answers")

    def test_it_applies_nothing_while_the_books_became_stale_after_the_approval(
        self, waiting: ActionRun, books: Books
    ) -> None:
        execute.approve(run_id=waiting.pk, version=1, by="ada", now=at(2, 14), confirm="Search answers")
        books.fail(at(2, 14))
        evaluate.run(now=at(2, 14))

        execute.run(now=at(2, 14))
        waiting.refresh_from_db()
        held = waiting.applied_at, waiting.error
        books.recover()
        evaluate.run(now=at(2, 15))
        execute.run(now=at(2, 15))
        waiting.refresh_from_db()

        assert held[0] is None
        assert "late or failing" in held[1]
        assert waiting.applied_at == at(2, 15)

    def test_it_refuses_to_approve_while_paused(self, waiting: ActionRun) -> None:
        budgets.pause(budget_id=waiting.budget_id, until=at(3), by="ben", now=at(2, 13))

        with pytest.raises(execute.Conflict, match="paused"):
            execute.approve(run_id=waiting.pk, version=1, by="ada", now=at(2, 14), confirm="Search answers")


def test_it_restores_exactly_what_held_before(books: Books, gate: FakeGate) -> None:
    make_budget(rung("75", "throttle"))
    make_budget(rung("90", "shutdown"), name="hard stop")
    books.spend(at(2).date(), "800")
    climb(at(2))
    settle(gate, at(2))
    etag, held = gate.etag, rules(gate)
    books.spend(at(2).date(), "200")
    climb(at(2, 13))
    settle(gate, at(2, 13))
    stop = ActionRun.objects.get(action="shutdown")
    assert len(rules(gate)) == 2

    execute.undo(run_id=stop.pk, by="ben", now=at(2, 14), reason="checked")
    settle(gate, at(2, 14))

    assert (gate.etag, rules(gate)) == (etag, held)
    assert stop.before == {"words": "Throttle to 6 requests/min", "runs": [held and int(str(held[0]["id"])[4:])]}
    entry = AuditEntry.objects.get(act="action.undone")
    assert (entry.actor, entry.reason) == ("ben", "checked")
    assert Alert.objects.latest("pk").payload["lead"] == "Back to throttle to 6 requests/min since 2 Nov, 14:00 UTC."


def test_it_stays_undone_while_spend_is_over(books: Books, gate: FakeGate) -> None:
    make_budget(rung("75", "throttle"))
    books.spend(at(2).date(), "800")
    climb(at(2))

    execute.undo(run_id=only_run().pk, by="ben", now=at(2, 13))
    climb(at(2, 14))
    climb(at(3, 14))

    assert states() == {"75 throttle": "undone"}
    with pytest.raises(execute.Conflict, match="undone already by ben"):
        execute.undo(run_id=only_run().pk, by="ada", now=at(3, 15))


@pytest.mark.django_db(transaction=True)
def test_it_leaves_the_same_rows_when_many_workers_runat_once() -> None:
    books = make_books()
    make_gate()
    make_budget(rung("60", "notify"), rung("75", "throttle"), rung("90", "shutdown"))
    books.spend(at(2).date(), "950")
    now = at(2)

    for _ in range(3):
        raised = at_once(*([lambda: climb(now)] * 6))
        assert raised == []

    assert states() == {"60 notify": "superseded", "75 throttle": "superseded", "90 shutdown": "running"}
    assert ActionRun.objects.count() == 3
    assert Alert.objects.count() == 1
    assert BudgetState.objects.count() == 1
    assert AuditEntry.objects.filter(act="action.shutdown").count() == 1
    assert ActionRun.objects.get(action="shutdown").version == 2


@pytest.mark.django_db(transaction=True)
def test_it_applies_once_when_two_workers_found_the_same_run(monkeypatch: pytest.MonkeyPatch) -> None:
    books = make_books()
    make_budget(rung("75", "throttle"))
    books.spend(at(2).date(), "950")
    evaluate.run(now=at(2))
    escalate.run(now=at(2))
    both_found_it = threading.Barrier(2)
    look = execute._limits_before

    def meet(run: ActionRun) -> dict[str, object]:
        both_found_it.wait(60)
        return look(run)

    monkeypatch.setattr(execute, "_limits_before", meet)

    assert at_once(*([lambda: execute.run(now=at(2))] * 2)) == []

    assert only_run().version == 2
    assert AuditEntry.objects.filter(act="action.throttle").count() == 1


@pytest.mark.django_db(transaction=True)
def test_it_lets_one_of_two_people_win() -> None:
    books = make_books()
    make_budget(rung("75", "throttle", "one"))
    books.spend(at(2).date(), "950")
    climb(at(2))
    run_id = only_run().pk

    raised = at_once(
        lambda: execute.approve(run_id=run_id, version=1, by="ada", now=at(2)),
        lambda: execute.decline(run_id=run_id, version=1, by="ben", now=at(2)),
    )

    assert [type(problem) for problem in raised] == [execute.Conflict]
    assert only_run().version == 2
    assert AuditEntry.objects.filter(act__in=["action.approved", "action.declined"]).count() == 1


def test_it_forgets_processes_that_are_long_gone(books: Books, gate: FakeGate) -> None:
    gate.ask(at(2), process="old")
    gate.ask(at(4), process="new")

    execute.run(now=at(4))

    assert [line.processes for line in queries.gates(now=at(4))] == [1]


def test_it_serves_sample_budgets_to_sample_gates_only(books: Books, gate: FakeGate) -> None:
    make_budget(rung("75", "throttle"), is_sample=True)
    books.spend(at(2).date(), "800")
    climb(at(2))

    gate.ask(at(2))

    assert rules(gate) == []
    with pytest.raises(policy.NotAGate):
        policy.answer(source_id=None, if_none_match="", now=at(2))
