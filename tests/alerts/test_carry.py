"""Resources under action runs: refuse, drain, scale, verify, give back; twice is once, and a hand in between is respected."""

from datetime import timedelta
from decimal import Decimal
from functools import partial

import orjson
import pytest
from costobs_gate.policy import parse
from django.conf import settings

from alerts import budgets, carry, execute, policy, resources, windows
from alerts.hooks.webhook import Webhook
from alerts.models import ActionRun, Alert, Budget, Gate, Resource, ResourceChange
from attribution.models import DailyCost
from costobs.audit.models import AuditEntry
from tests.alerts.carrying import NOW, Clock, add, ask, calls, change, draft, fire, scaler, shut
from tests.alerts.conftest import Books, FakeGate, at_once, make_books, make_budget, make_gate, rung
from tests.servers import child, kubernetes
from tests.servers.scaler import SECRET, Scaler

__all__ = ["scaler"]

pytestmark = pytest.mark.django_db


@pytest.fixture
def clock() -> Clock:
    return Clock()


def rules(gate: FakeGate) -> list[str]:
    return [rule["id"] for rule in orjson.loads(gate.body)["rules"]]


def test_it_refuses_drains_scales_and_only_then_is_in_force(
    books: Books, gate: FakeGate, scaler: Scaler, clock: Clock
) -> None:
    add(scaler)
    run = shut(books)

    clock.rounds(3, gate=gate, inflight=2)
    assert (change().state, scaler.units) == ("draining", 3)
    assert rules(gate) == [f"run-{run.pk}", f"hold-{change().pk}"]
    assert "1 of 1 gates refuse, 2 requests in flight" in change().error
    run.refresh_from_db()
    assert run.state == "running" and "running requests end first" in run.error

    clock.rounds(3, gate=gate, inflight=0)

    assert (change().state, scaler.units, scaler.acts()) == ("verified", 0, ["apply"])
    run.refresh_from_db()
    assert (run.state, run.error) == ("in_force", "")


def test_it_gives_running_requests_their_time_and_no_more(
    books: Books, gate: FakeGate, scaler: Scaler, clock: Clock
) -> None:
    add(scaler, drain_seconds=30)
    shut(books)
    clock.rounds(2, gate=gate, inflight=4)

    clock.wait(26)
    clock.rounds(1, gate=gate, inflight=4)
    assert scaler.units == 3
    clock.wait(5)
    clock.rounds(2, gate=gate, inflight=4)

    assert scaler.units == 0


def test_it_gives_back_exactly_and_gates_refuse_until_it_stands(
    books: Books, gate: FakeGate, scaler: Scaler, clock: Clock
) -> None:
    add(scaler)
    run = shut(books)
    clock.rounds(4, gate=gate, inflight=0)
    execute.undo(run_id=run.pk, by="ada@example.com", now=clock.now)
    scaler.is_settled = False

    clock.rounds(2, gate=gate)
    assert (change().state, scaler.units) == ("undoing", 3)
    assert rules(gate) == [f"hold-{change().pk}"]
    scaler.is_settled = True
    clock.wait(10)
    clock.rounds(2, gate=gate)

    assert (change().state, change().ended_by) == ("undone", "ada@example.com")
    assert scaler.acts() == ["apply", "undo"]
    assert rules(gate) == []


def test_it_does_nothing_to_what_was_not_begun(books: Books, gate: FakeGate, scaler: Scaler, clock: Clock) -> None:
    add(scaler)
    run = shut(books)
    clock.rounds(1, gate=gate, inflight=3)
    execute.undo(run_id=run.pk, by="ada@example.com", now=clock.now)

    clock.rounds(2, gate=gate, inflight=0)

    assert (change().state, scaler.acts()) == ("ended", [])


def test_it_leaves_alone_what_somebody_changed_since(
    books: Books, gate: FakeGate, scaler: Scaler, clock: Clock
) -> None:
    add(scaler)
    run = shut(books)
    clock.rounds(4, gate=gate, inflight=0)
    scaler.units = 5
    execute.undo(run_id=run.pk, by="ada@example.com", now=clock.now)

    clock.rounds(2, gate=gate)

    assert (change().state, scaler.units, scaler.acts()) == ("left", 5, ["apply"])
    assert "somebody changed it since" in change().error
    assert Alert.objects.filter(dedupe_key=f"change:{change().pk}:left").exists()


def test_it_notices_a_hand_while_it_is_in_force(books: Books, gate: FakeGate, scaler: Scaler, clock: Clock) -> None:
    add(scaler)
    shut(books)
    clock.rounds(4, gate=gate, inflight=0)
    scaler.units = 2

    clock.wait(61)
    clock.rounds(1, gate=gate)

    assert (change().state, scaler.units) == ("left", 2)


def test_it_has_nothing_to_undo_where_somebody_restored_it(
    books: Books, gate: FakeGate, scaler: Scaler, clock: Clock
) -> None:
    add(scaler)
    run = shut(books)
    clock.rounds(4, gate=gate, inflight=0)
    scaler.units = 3
    execute.undo(run_id=run.pk, by="ada@example.com", now=clock.now)

    clock.rounds(2, gate=gate)

    assert (change().state, scaler.acts()) == ("undone", ["apply"])


def test_it_does_not_start_what_was_stopped_before(books: Books, gate: FakeGate, scaler: Scaler, clock: Clock) -> None:
    add(scaler)
    scaler.units = 0
    run = shut(books)
    clock.rounds(3, gate=gate, inflight=0)
    run.refresh_from_db()
    assert run.state == "in_force" and change().change["words"] == "Nothing to do: 0 machines"
    execute.undo(run_id=run.pk, by="ada@example.com", now=clock.now)

    clock.rounds(2, gate=gate)

    assert (change().state, scaler.units, scaler.acts()) == ("undone", 0, [])


def test_it_lets_go_while_the_ladder_is_paused_and_takes_it_again(
    books: Books, gate: FakeGate, scaler: Scaler, clock: Clock
) -> None:
    add(scaler)
    run = shut(books)
    clock.rounds(4, gate=gate, inflight=0)
    budgets.pause(budget_id=run.budget_id, until=clock.now + timedelta(minutes=5), by="ada@example.com", now=clock.now)
    clock.rounds(2, gate=gate)
    assert (change().state, scaler.units) == ("undone", 3)

    clock.wait(300)
    clock.rounds(6, gate=gate, inflight=0)

    assert (change().state, scaler.units) == ("verified", 0)
    assert ResourceChange.objects.count() == 1


def test_it_survives_a_budget_that_is_deleted(books: Books, gate: FakeGate, scaler: Scaler, clock: Clock) -> None:
    add(scaler)
    run = shut(books)
    clock.rounds(4, gate=gate, inflight=0)
    execute.undo(run_id=run.pk, by="ada@example.com", now=clock.now)
    budgets.delete(budget_id=run.budget_id, by="ada@example.com", now=clock.now)

    clock.rounds(2, gate=gate)

    assert (change().state, scaler.units) == ("undone", 3)


def test_it_says_that_there_is_no_such_hook(books: Books, gate: FakeGate, scaler: Scaler, clock: Clock) -> None:
    run = shut(books, targets=["gone"])

    clock.rounds(3, gate=gate, inflight=0)

    run.refresh_from_db()
    assert run.state == "running" and "there is no hook called 'gone'" in run.error
    assert Alert.objects.filter(kind="action_failed").count() == 1
    add(scaler, name="gone")
    clock.wait(60)
    clock.rounds(5, gate=gate, inflight=0)
    assert (change().state, scaler.units) == ("verified", 0)


def test_it_refuses_for_as_long_as_it_is_known_to_load(
    books: Books, gate: FakeGate, scaler: Scaler, clock: Clock
) -> None:
    add(scaler, config={"url": scaler.url, "resume_seconds": "240"})
    run = shut(books)
    clock.rounds(4, gate=gate, inflight=0)
    execute.undo(run_id=run.pk, by="ada@example.com", now=clock.now)
    clock.rounds(2, gate=gate)
    assert (change().state, scaler.units) == ("undoing", 3)

    clock.wait(240)
    clock.rounds(2, gate=gate)

    assert change().state == "undone"
    assert rules(gate) == []


def test_it_writes_down_what_was_scaled_and_given_back(
    books: Books, gate: FakeGate, scaler: Scaler, clock: Clock
) -> None:
    add(scaler)
    run = shut(books)
    clock.rounds(4, gate=gate, inflight=0)
    execute.undo(run_id=run.pk, by="ada@example.com", now=clock.now)
    clock.rounds(2, gate=gate)

    applied, restored = AuditEntry.objects.filter(act__in=["hook.applied", "hook.restored"]).order_by("pk")

    assert (applied.actor, applied.before["units"], applied.after["units"]) == ("ladder", 3, 0)
    assert (restored.actor, restored.before["units"], restored.after["units"]) == ("ada@example.com", 0, 3)


def test_it_touches_nothing_that_is_protected(books: Books, gate: FakeGate, scaler: Scaler, clock: Clock) -> None:
    add(scaler, is_protected=True)
    run = shut(books)

    clock.rounds(3, gate=gate, inflight=0)

    run.refresh_from_db()
    assert (change().state, change().error) == ("refused", "it is protected: no action touches it")
    assert run.state == "in_force"  # its requests are refused all the same


@pytest.mark.parametrize(
    ("own", "others", "words"),
    [
        (89_999, 10_001, "89.99 % of the tokens of deployment chat-small"),
        (0, 0, "no call to deployment chat-small was logged"),
        (90_000, 10_000, ""),
    ],
)
def test_it_scales_a_shared_resource_only_for_who_owns_it(
    books: Books, gate: FakeGate, scaler: Scaler, clock: Clock, own: int, others: int, words: str
) -> None:
    """Shutting a model down punishes every team on it."""
    add(scaler, is_dedicated=False)
    for team, tokens in (("search", own), ("support", others)):
        if tokens:
            calls(books, team, tokens)
    run = shut(books)

    clock.rounds(4, gate=gate, inflight=0)

    run.refresh_from_db()
    assert run.state == "in_force"
    if words:
        assert (change().state, scaler.units) == ("refused", 3)
        assert words in change().error
        assert "The requests of the scope are refused all the same" in str(Alert.objects.latest("pk").payload["steps"])
    else:
        assert (change().state, scaler.units) == ("verified", 0)


def test_it_keeps_what_protected_calls_go_through(books: Books, gate: FakeGate, scaler: Scaler, clock: Clock) -> None:
    add(scaler)
    calls(books, "search", 99)
    calls(books, "support", 1)
    Budget.objects.filter(pk=shut(books).budget_id).update(protected=[{"team": ["support"]}])

    clock.rounds(4, gate=gate, inflight=0)

    assert (change().state, scaler.units) == ("refused", 3)
    assert "calls of team support, which is protected" in change().error


def test_it_keeps_what_calls_protected_in_every_budget_go_through(
    books: Books, gate: FakeGate, scaler: Scaler, clock: Clock
) -> None:
    add(scaler)
    calls(books, "search", 99)
    calls(books, "support", 1)
    windows.protect(scope={"team": ["support"]}, by="ada", now=NOW, reason="contract")
    shut(books)

    clock.rounds(4, gate=gate, inflight=0)

    assert (change().state, scaler.units) == ("refused", 3)
    assert "calls of team support, which is protected" in change().error


def test_it_takes_the_time_to_drain_from_the_rung(books: Books, gate: FakeGate, scaler: Scaler, clock: Clock) -> None:
    add(scaler, drain_seconds=600)
    shut(books, drain_seconds=5)

    clock.rounds(3, gate=gate, inflight=9)
    assert scaler.units == 3
    clock.rounds(6, gate=gate, inflight=9)

    assert scaler.units == 0


def test_it_takes_how_much_must_be_owned_from_the_settings(
    books: Books, gate: FakeGate, scaler: Scaler, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "COSTOBS_OWNED_PERCENT", "50")
    add(scaler, is_dedicated=False)
    calls(books, "search", 60)
    calls(books, "support", 40)
    shut(books)

    clock.rounds(4, gate=gate, inflight=0)

    assert change().state == "verified"


def test_it_fails_loudly_and_gives_back_what_it_began(
    books: Books, gate: FakeGate, scaler: Scaler, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(scaler)
    run = shut(books)
    clock.rounds(2, gate=gate, inflight=1)
    monkeypatch.setattr(scaler, "fails_with", [403])

    clock.rounds(3, gate=gate, inflight=0)

    run.refresh_from_db()
    assert change().state == "failed"
    assert run.state == "running" and "the address refuses this act (403)" in run.error
    assert rules(gate) == [f"run-{run.pk}"]  # requests are refused, the resource is not held
    assert Alert.objects.filter(dedupe_key=f"change:{change().pk}:failed").count() == 1
    execute.undo(run_id=run.pk, by="ada@example.com", now=clock.now)
    clock.rounds(2, gate=gate)
    assert (change().state, scaler.acts()) == ("undone", [])


def test_it_tries_again_what_passes_with_growing_pauses_and_gives_up(
    books: Books, gate: FakeGate, scaler: Scaler, clock: Clock
) -> None:
    add(scaler)
    shut(books)
    scaler.fails_with = [503] * 100

    clock.rounds(1, gate=gate)
    first = change().next_at - clock.now
    for _ in range(20):
        clock.wait(600)
        clock.rounds(1, gate=gate)

    assert first == timedelta(seconds=5)
    assert change().state == "failed"
    assert "given up after 10 attempts" in change().error


def test_it_never_gives_up_an_undo_and_tells_once(books: Books, gate: FakeGate, scaler: Scaler, clock: Clock) -> None:
    add(scaler)
    run = shut(books)
    clock.rounds(4, gate=gate, inflight=0)
    execute.undo(run_id=run.pk, by="ada@example.com", now=clock.now)
    scaler.fails_with = [401] + [503] * 300
    for _ in range(30):
        clock.wait(601)
        clock.rounds(1, gate=gate)
    assert (change().state, scaler.units) == ("undoing", 0)
    assert Alert.objects.filter(dedupe_key=f"change:{change().pk}:undoing:stuck").count() == 1

    scaler.fails_with = []
    clock.wait(601)
    clock.rounds(2, gate=gate)

    assert (change().state, scaler.units) == ("undone", 3)


def test_it_tells_when_it_does_not_take_effect(books: Books, gate: FakeGate, scaler: Scaler, clock: Clock) -> None:
    add(scaler)
    scaler.is_slow = True
    shut(books)
    clock.rounds(5, gate=gate, inflight=0)
    assert (change().state, change().error) == ("applied", "not yet: 3 machines")

    clock.wait(600)
    clock.rounds(2, gate=gate)

    assert Alert.objects.filter(dedupe_key=f"change:{change().pk}:unverified").count() == 1


def test_it_keeps_no_secret_of_a_hook_that_breaks(
    books: Books,
    gate: FakeGate,
    scaler: Scaler,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def breaks(*_: object) -> None:
        raise RuntimeError(f"cannot use {SECRET}")

    add(scaler)
    monkeypatch.setattr(Webhook, "look", breaks)
    shut(books)

    clock.rounds(2, gate=gate)

    kept = [change().error, Resource.objects.defer("credentials").get().look_error, caplog.text]
    assert all(SECRET not in text for text in kept)
    assert "broke with RuntimeError" in change().error


def test_it_lets_one_change_work_on_a_resource_at_a_time(
    books: Books, gate: FakeGate, scaler: Scaler, clock: Clock
) -> None:
    add(scaler)
    first = shut(books)
    clock.rounds(4, gate=gate, inflight=0)
    make_budget(rung("90", "shutdown"), name="Second")
    second = fire(clock.now, targets=["vllm"], to_units=0)

    clock.rounds(2, gate=gate)
    second.refresh_from_db()
    assert (change().state, second.state) == ("waiting", "in_force")  # the other one holds it already
    assert scaler.acts() == ["apply"]
    execute.undo(run_id=first.pk, by="ada@example.com", now=clock.now)
    clock.rounds(8, gate=gate, inflight=0)

    assert scaler.acts() == ["apply", "undo", "apply"]
    assert (change().state, scaler.units) == ("verified", 0)


def test_it_gives_back_all_the_way_where_one_change_lies_on_another(
    books: Books, gate: FakeGate, scaler: Scaler, clock: Clock
) -> None:
    """A throttle holds it at 1, a shutdown takes it to 0; the throttle ends first."""
    add(scaler)
    make_budget(rung("75", "throttle"), name="Ceiling")
    books.spend(NOW.date(), "800")
    ceiling = fire(NOW, targets=["vllm"], max_units=1)
    clock.rounds(4, gate=gate)
    assert (change().state, change().is_limit, scaler.units) == ("verified", True, 1)
    lower = shut(books, now=clock.now)
    clock.rounds(5, gate=gate, inflight=0)
    assert (change().state, scaler.units) == ("verified", 0)

    execute.undo(run_id=ceiling.pk, by="ada@example.com", now=clock.now)
    clock.rounds(2, gate=gate)
    assert ResourceChange.objects.get(action_run=ceiling).state == "undone"
    assert scaler.units == 0
    execute.undo(run_id=lower.pk, by="ada@example.com", now=clock.now)
    clock.rounds(2, gate=gate)

    assert scaler.units == 3
    assert set(ResourceChange.objects.values_list("state", flat=True)) == {"undone"}


def test_it_carries_out_a_shutdown_without_a_gate(books: Books, scaler: Scaler, clock: Clock) -> None:
    add(scaler, drain_seconds=0)
    run = shut(books, rules=[])

    clock.rounds(4)

    run.refresh_from_db()
    assert (run.state, scaler.units) == ("in_force", 0)


def test_it_looks_at_resources_now_and_then(books: Books, scaler: Scaler) -> None:
    add(scaler)

    assert carry.run(now=NOW).looked == 1
    assert carry.run(now=NOW + timedelta(minutes=4)).looked == 0
    scaler.fails_with = [401]
    assert carry.run(now=NOW + timedelta(minutes=6)).looked == 1

    (line,) = resources.resources()
    assert line.standing_words == "3 machines"
    assert "refuses the signature" in line.look_error


def test_it_saves_what_the_books_say_less_what_stays_paid(
    books: Books, gate: FakeGate, scaler: Scaler, clock: Clock
) -> None:
    add(scaler, kept_cost=Decimal("10"))
    for day in range(3, 10):
        books.spend(NOW.date().replace(day=day), "100")
    DailyCost.objects.update(deployment="chat-small")
    DailyCost.objects.filter(day__day=9).update(purchase_option="reserved")
    shut(books)

    clock.rounds(4, gate=gate, inflight=0)

    assert change().saves_cost == Decimal("75.71")  # (700 - 100) / 7 - 10
    assert "less $14 a day bought for a term, less $10 a day that stays paid" in change().saves_words


_DIES = """
import os, signal
import django
django.setup()
from datetime import datetime
from alerts import carry
from alerts.hooks.webhook import Webhook
import sys
apply = Webhook.{act}
def dies(self, *given):
    apply(self, *given)
    os.kill(os.getpid(), signal.SIGKILL)
Webhook.{act} = dies
carry.run(now=datetime.fromisoformat(sys.argv[1]))
"""


@pytest.mark.django_db(transaction=True)
def test_it_goes_on_where_a_worker_was_killed_between_doing_and_noting(scaler: Scaler) -> None:
    books, gate, clock = make_books(), FakeGate(make_gate()), Clock()
    add(scaler)
    run = shut(books)
    clock.rounds(2, gate=gate, inflight=1)
    clock.rounds(1, gate=gate, inflight=0)
    assert change().state == "applying"

    child.killed(_DIES.format(act="apply"), clock.now.isoformat())
    assert (change().state, scaler.units) == ("applying", 0)
    clock.rounds(1, gate=gate)
    assert scaler.acts() == ["apply"]  # the claim of the dead worker still stands
    clock.wait(301)
    clock.rounds(3, gate=gate)
    assert change().state == "verified"
    assert scaler.keys == [f"{change().change['key']}-apply"] * 2  # the receiver can tell

    execute.undo(run_id=run.pk, by="ada@example.com", now=clock.now)
    child.killed(_DIES.format(act="undo"), clock.now.isoformat())
    assert (change().state, scaler.units) == ("undoing", 3)
    clock.wait(301)
    clock.rounds(2, gate=gate)

    assert (change().state, scaler.units) == ("undone", 3)
    assert scaler.acts() == ["apply", "apply", "undo"]


@pytest.mark.django_db(transaction=True)
def test_it_does_once_what_two_workers_find(scaler: Scaler) -> None:
    books, gate, clock = make_books(), FakeGate(make_gate()), Clock()
    add(scaler)
    run = shut(books)

    for _ in range(5):
        clock.wait(1)
        ask(gate, clock.now, 0)
        assert at_once(*[partial(carry.run, now=clock.now)] * 3) == []
    execute.undo(run_id=run.pk, by="ada@example.com", now=clock.now)
    for _ in range(3):
        clock.wait(1)
        assert at_once(*[partial(carry.run, now=clock.now)] * 3) == []

    assert scaler.acts() == ["apply", "undo"]
    assert change().state == "undone"


def test_it_takes_a_policy_that_a_real_gate_reads(books: Books, gate: FakeGate, scaler: Scaler, clock: Clock) -> None:
    add(scaler)
    shut(books)
    clock.rounds(2, gate=gate, inflight=1)

    rule = parse(orjson.loads(gate.body)).rules[-1]

    assert (rule.action, rule.team, rule.model, rule.retry_after_seconds) == ("block", None, None, 300)
    assert draft(scaler).name in rule.message
    other = FakeGate(make_gate("elsewhere", source_id=902))
    Gate.objects.filter(name="elsewhere").update(deployment="another")
    answer = policy.answer(source_id=other.source_id, if_none_match="", now=clock.now)
    assert answer.body is not None and b"hold-" not in answer.body
    assert ActionRun.objects.count() == 1


def test_it_ties_the_most_replicas_of_an_autoscaler_to_the_budget(
    books: Books, gate: FakeGate, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A throttle holds the maximum at 2, a shutdown takes it to 0, and both end: what was there is there again."""
    monkeypatch.setenv("COSTOBS_PRIVATE_HOSTS", "127.0.0.1")
    with kubernetes.started() as cluster:
        cluster.autoscaler, cluster.replicas = kubernetes.autoscaler(3, 8), 6
        config = {"server": cluster.url, "namespace": "chat", "name": "vllm", "resume_seconds": "240"}
        given = {"config": config, "hook": "kubernetes", "credentials": {"token": kubernetes.TOKEN}}
        resources.create(draft=draft(Scaler(), **given), by="dana@example.com", now=NOW)
        make_budget(rung("75", "throttle"), name="Ceiling")
        books.spend(NOW.date(), "800")
        ceiling = fire(NOW, targets=["vllm"], max_units=2)
        clock.rounds(4, gate=gate)
        ceiling.refresh_from_db()
        assert (ceiling.state, cluster.replicas) == ("in_force", 2)
        lower = shut(books, now=clock.now)
        clock.rounds(5, gate=gate, inflight=0)
        lower.refresh_from_db()
        assert (lower.state, cluster.replicas) == ("in_force", 0)

        execute.undo(run_id=ceiling.pk, by="ada@example.com", now=clock.now)
        execute.undo(run_id=lower.pk, by="ada@example.com", now=clock.now)
        for _ in range(4):
            clock.wait(241)
            clock.rounds(1, gate=gate)

        spec = cluster.autoscaler["spec"]
        assert (spec["minReplicas"], spec["maxReplicas"], cluster.replicas > 0) == (3, 8, True)
        assert set(ResourceChange.objects.values_list("state", flat=True)) == {"undone"}
        assert cluster.wrong == []
        assert kubernetes.TOKEN not in str(list(ResourceChange.objects.values()))
