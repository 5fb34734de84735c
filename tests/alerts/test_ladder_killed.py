"""A worker killed by SIGKILL while it climbs, applies, confirms or undoes: the ladder goes on, each rung once."""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal

import orjson
import pytest
from django.db import connection

from alerts import budgets, escalate, evaluate, execute
from alerts.models import ActionRun, Alert
from costobs.audit.models import AuditEntry
from tests.alerts.conftest import Books, FakeGate, at, climb, make_books, make_budget, make_gate, rung, settle
from tests.servers import child

pytestmark = pytest.mark.django_db(transaction=True)

NOW = at(2)
LADDER = (
    rung("50", "notify"),
    rung("75", "throttle", requests_per_minute=6),
    budgets.RungSpec(Decimal(90), "reroute", {"to_model": "llama-int4"}),
    rung("110", "shutdown"),
)
TEAMS = {"search": "Search answers", "support": "Support desk"}
ONCE = {(name, percent): 1 for name in TEAMS.values() for percent in (50, 75, 90, 110)}

# Dies by SIGKILL at the end of the n-th call of a function of a step: of some inside its transaction, of others just after it.
_DIES = """
import os, signal, sys
from datetime import datetime
import django
django.setup()
from alerts import escalate, execute

act, point, count, at, *run = sys.argv[1:]
module, left = escalate if act == "escalate" else execute, int(count)
original = getattr(module, point)

def dying(*args, **options):
    global left
    result = original(*args, **options)
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    return result

setattr(module, point, dying)
if act == "undo":
    execute.undo(run_id=int(run[0]), by="ada", now=datetime.fromisoformat(at))
else:
    module.run(now=datetime.fromisoformat(at))
"""


@pytest.fixture
def books() -> Iterator[Books]:
    yield make_books()
    connection.close()


@pytest.fixture
def gate(books: Books) -> FakeGate:
    """A gate, and for each team a budget that is not used yet."""
    found = FakeGate(make_gate())
    for team, name in TEAMS.items():
        make_budget(*LADDER, name=name, scope={"team": [team]})
    found.ask(NOW)
    return found


def spend(books: Books, amount: str) -> None:
    for team in TEAMS:
        books.spend(NOW.date(), amount, team=team)


def killed(act: str, point: str, count: int, now: datetime, *run: object) -> None:
    child.killed(_DIES, act, point, str(count), now.isoformat(), *map(str, run))


def fired() -> Counter[tuple[str, int]]:
    """How many runs each rung of each budget has."""
    return Counter(
        (run.budget.name, int(run.rung.percent)) for run in ActionRun.objects.select_related("budget", "rung")
    )


def standing() -> dict[tuple[str, int], str]:
    found = ActionRun.objects.select_related("budget", "rung")
    return {(run.budget.name, int(run.rung.percent)): run.state for run in found}


def applied() -> Counter[str]:
    """How often each act of the ladder stands in the audit log."""
    return Counter(AuditEntry.objects.filter(act__startswith="action.").values_list("act", flat=True))


def content(gate: FakeGate, now: datetime) -> dict[str, object]:
    """The policy that the gate gets now, without its time."""
    gate.ask(now)
    found: dict[str, object] = orjson.loads(gate.body)
    found.pop("generated_at")
    return found


def goes_on(books: Books, gate: FakeGate) -> None:
    """More rounds, the spend that crosses the rest of the ladder, more rounds: each rung once, one alert a crossing."""
    for second in (10, 20):
        climb(NOW + timedelta(seconds=second))
        settle(gate, NOW + timedelta(seconds=second))
    assert fired() == {rung_: 1 for rung_ in ONCE if rung_[1] < 90}
    assert {state for (_, percent), state in standing().items() if percent == 75} == {"in_force"}
    assert (Alert.objects.count(), applied()) == (2, {"action.throttle": 2})

    spend(books, "500")
    for minute in (3, 4):
        climb(NOW + timedelta(minutes=minute))
        settle(gate, NOW + timedelta(minutes=minute))
    assert fired() == ONCE
    assert {state for (_, percent), state in standing().items() if percent == 110} == {"in_force"}
    assert (Alert.objects.count(), applied()) == (4, {"action.throttle": 2, "action.shutdown": 2})


def undone(gate: FakeGate, before: dict[str, object]) -> None:
    """Every action is taken back: what the gate gets is what it got before any of them, for good."""
    for run in ActionRun.objects.filter(state="in_force"):
        execute.undo(run_id=run.pk, by="ada", now=NOW + timedelta(minutes=5))
    assert content(gate, NOW + timedelta(minutes=5)) == before
    climb(NOW + timedelta(minutes=6))
    assert content(gate, NOW + timedelta(minutes=6)) == before
    assert fired() == ONCE


# What stands after the kill, by the function at whose end it comes and the number of its call.
IN_ESCALATE = {
    ("_start", 1): {},  # the first rung's run is written, not committed
    ("_tell", 1): {},  # all of the first budget's runs are, and their alert
    ("_climb", 1): {"Search answers": 2},  # the first budget is committed, the second one not begun
    ("_tell", 2): {"Search answers": 2},  # and so is all of the second one, but not committed
}


@pytest.mark.parametrize(("point", "count"), IN_ESCALATE)
def test_it_climbs_on_after_a_kill_in_the_middle_of_escalate(
    books: Books, gate: FakeGate, point: str, count: int
) -> None:
    before = content(gate, NOW)
    spend(books, "800")
    evaluate.run(now=NOW)

    killed("escalate", point, count, NOW)

    names = Counter(name for name, _ in fired().elements())
    assert names == IN_ESCALATE[point, count]
    assert Alert.objects.count() == len(names)
    goes_on(books, gate)
    undone(gate, before)


# How many of two runs are applied and in force after the kill.
IN_EXECUTE = {
    ("_record", 1): (0, 0),  # applied and in the audit log, not committed
    ("_apply", 1): (1, 0),  # the first is committed, the second one not begun
    ("_confirm", 1): (2, 1),  # the first is in force, the second one not looked at
}


@pytest.mark.parametrize(("point", "count"), IN_EXECUTE)
def test_it_carries_out_on_after_a_kill_in_the_middle_of_execute(
    books: Books, gate: FakeGate, point: str, count: int
) -> None:
    before = content(gate, NOW)
    spend(books, "800")
    evaluate.run(now=NOW)
    escalate.run(now=NOW)
    if point == "_confirm":
        execute.run(now=NOW)
    for second in (1, 2):
        gate.ask(NOW + timedelta(seconds=second))

    killed("execute", point, count, NOW + timedelta(seconds=3))

    runs = ActionRun.objects.filter(action="throttle")
    assert (runs.exclude(applied_at=None).count(), runs.filter(state="in_force").count()) == IN_EXECUTE[point, count]
    assert applied()["action.throttle"] == IN_EXECUTE[point, count][0]
    goes_on(books, gate)
    undone(gate, before)


def test_it_takes_back_wholly_or_not_at_all_when_killed_in_the_middle_of_an_undo(books: Books, gate: FakeGate) -> None:
    before = content(gate, NOW)
    spend(books, "800")
    climb(NOW)
    settle(gate, NOW)
    goes_on(books, gate)
    held = content(gate, NOW + timedelta(minutes=4))
    run = ActionRun.objects.filter(action="shutdown").earliest("pk")

    killed("undo", "_tell", 1, NOW + timedelta(minutes=5), run.pk)

    run.refresh_from_db()
    assert (run.state, applied()["action.undone"]) == ("in_force", 0)
    assert content(gate, NOW + timedelta(minutes=5)) == held != before
    undone(gate, before)
    assert applied()["action.undone"] == 4
