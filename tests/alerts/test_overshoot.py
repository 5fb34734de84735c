"""The bound of a hard budget, by the model server's own log, while gates, the worker and costobs are killed."""

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import httpx
import pytest
from django.db import connection

from alerts import gates, lease_lines
from alerts.models import Budget, Lease, LeaseAccount
from costobs.access import tokens
from costobs.kernel import money
from ingest import configure
from ingest.models import UsageEvent
from ingest.price import set_override
from tests.alerts import storm
from tests.alerts.conftest import make_budget
from tests.alerts.storm import Program, Storm
from tests.gate import served_log
from tests.gate.costobs_server import wait_until
from tests.servers import child

MODEL = "chat-small"
LIMIT = 120_000  # millionths of a dollar: about 330 of the 1,000 calls
MILLION = Decimal(1_000_000)


class Costobs:
    """costobs with one hard budget, its web server and its worker, and the processes of one gate, each on a machine.

    Processes on one machine share the directory of the gate, so one reads the spool of another that died. Each machine has a
    model server with a log of its own.
    """

    def __init__(
        self, home: Path, *, amount: int = LIMIT, machines: Sequence[str] = ("a",) * 4, grace_seconds: int | None = None
    ) -> None:
        now = datetime.now(UTC)
        source = configure.create_source(kind="gate", name="chat-1", now=now)
        gates.create(name="chat-1", deployment="chat", source_id=source, by="ada", now=now)
        _, self.token = tokens.create(
            name="chat-1", grants=["gate", "ingest"], created_by="ada", now=now, source_id=source
        )
        _, self.key = gates.create_key(name="web", team="search", by="ada", now=now)
        prices = {"input": Decimal(served_log.INPUT_PRICE), "output": Decimal(served_log.OUTPUT_PRICE)}
        set_override(
            provider="self_hosted", model=MODEL, valid_from=date(2026, 1, 1), prices=prices, set_by="ada", now=now
        )
        self.budget_id = make_budget(name="Chat", amount=str(amount / MILLION), scope={"model": [MODEL]})
        Budget.objects.filter(pk=self.budget_id).update(is_hard=True)
        self.logs = {name: home / f"{name}.log" for name in machines}
        for log in self.logs.values():
            log.touch()
        self.web = storm.web(child.environment())
        self.worker = storm.worker(child.environment(), grace_seconds=grace_seconds)
        own = {**child.environment(), "COSTOBS_URL": self.web.url, "COSTOBS_GATE_TOKEN": self.token}
        self.gates = [
            storm.gate("leased", {**own, "COSTOBS_GATE_DIR": str(home / name), "SERVED_LOG": str(self.logs[name])})
            for name in machines
        ]

    def calls(self, machine: str) -> int:
        """How many calls were served there, by the model server."""
        return served_log.served(self.logs[machine])[0]

    @property
    def cost(self) -> Decimal:
        """What was served, by the model servers."""
        return sum((served_log.served(log)[1] / MILLION for log in self.logs.values()), Decimal(0))

    def account(self) -> lease_lines.AccountLine:
        found = lease_lines.of_budget(budget_id=self.budget_id, now=datetime.now(UTC))
        assert found is not None
        return found

    def is_settled(self) -> bool:
        """Whether every process has told all, the dead ones through those that read their spools."""
        rows = list(Lease.objects.all())
        return all(row.reserved_cost == 0 for row in rows) and self.counter() == ledger() and self.counter() > 0

    def counter(self) -> Decimal:
        return money.total(Lease.objects.values_list("settled_cost", flat=True))


def ledger() -> Decimal:
    """The gate cost of all events: of known usage by its tokens, else as it was reserved."""
    costs = []
    for event in UsageEvent.objects.exclude(outcome="refused"):
        if event.usage_known:
            tokens_cost = event.input_uncached * served_log.INPUT_PRICE + event.output * served_log.OUTPUT_PRICE
            costs.append(tokens_cost / MILLION)
        else:
            costs.append(Decimal(json.loads(event.extra or "{}")["x_gate_cost"]))
    return money.total(costs)


def saboteur(
    calls: Callable[[], int], steps: Mapping[int, Callable[[], None]], stop: threading.Event
) -> threading.Thread:
    """Does each step once so many calls were served."""

    def work() -> None:
        for count, step in sorted(steps.items()):
            while calls() < count:
                if stop.wait(0.02):
                    return
            step()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def restarted(*programs: Program) -> Callable[[], None]:
    def work() -> None:
        for program in programs:
            program.kill()
        for program in programs:
            program.start()

    return work


def naive_cost(home: Path) -> Decimal:
    """What the same storm costs through four gates that check, and add later."""
    log, counter = home / "naive.log", home / "counter"
    log.touch()
    counter.write_text("0")
    own = {
        **child.environment(), "SERVED_LOG": str(log), "NAIVE_COUNTER": str(counter), "NAIVE_LIMIT": str(LIMIT),
    }  # fmt: skip
    found = [storm.gate("naive", own) for _ in range(4)]
    with storm.running(*found):
        for one in found:
            wait_until(lambda one=one: _listens(one), seconds=120)  # type: ignore[misc]
        Storm([one.url for one in found], "nobody", MODEL, 1000, tries=1).blow()
    return served_log.served(log)[1] / MILLION


def _listens(program: Program) -> bool:
    try:
        httpx.post(f"{program.url}/v1/chat/completions", json={"model": MODEL, "max_tokens": 10}, timeout=5)
    except httpx.HTTPError:
        return False
    return True


@pytest.mark.django_db(transaction=True)
def test_it_holds_the_limit_through_a_storm_in_which_everything_is_killed(tmp_path: Path) -> None:
    costobs, stop = Costobs(tmp_path), threading.Event()
    one, two, three, four = costobs.gates
    sabotage = {
        40: restarted(one),
        80: restarted(costobs.web),
        120: restarted(two, three),
        150: restarted(costobs.worker),
        200: restarted(four, costobs.web),
        240: restarted(one, costobs.worker),
    }
    with storm.running(costobs.web, costobs.worker, *costobs.gates):
        costobs.web.wait_for("/readyz")
        wait_until(lambda: Lease.objects.filter(state="open").count() >= 4, seconds=120)
        saboteurs = saboteur(lambda: costobs.calls("a"), sabotage, stop)

        clients = Storm([gate.url for gate in costobs.gates], costobs.key, MODEL, 1000)
        clients.blow()

        stop.set()
        saboteurs.join(60)
        calls = costobs.calls("a")
        print(
            "served", calls, costobs.cost, {status: clients.answered.count(status) for status in set(clients.answered)}
        )
        assert calls > 240, "the storm was over before everything had been killed"
        wait_until(costobs.is_settled, seconds=120)
        account = costobs.account()
        freed = account.freed_cost
        print("counter", costobs.counter(), "ledger", ledger(), account)
        # What was served, by the server's own log: never above the limit and what grace freed, which is nothing here.
        assert freed == 0
        assert costobs.cost <= LIMIT / MILLION + freed
        # The counter is the ledger, and never below the truth.
        assert costobs.cost <= costobs.counter() == ledger() <= LIMIT / MILLION
        assert 429 in clients.answered

        # No phantom: with room for one call and a half, one call passes.
        most = Decimal("0.0013")
        Budget.objects.filter(pk=costobs.budget_id).update(amount=account.settled_cost + account.other_cost + most)
        assert passes(costobs) == 200

    assert naive_cost(tmp_path) > LIMIT / MILLION, "the storm does not show what a naive counter lets through"


@pytest.mark.django_db(transaction=True)
def test_it_passes_the_limit_by_what_grace_freed_at_most_and_knows_it_when_the_spool_is_read(tmp_path: Path) -> None:
    costobs = Costobs(tmp_path, amount=3_000_000, machines=("lost", "kept"), grace_seconds=2)
    lost, kept = costobs.gates
    limit = Decimal("0.05")
    Budget.objects.filter(pk=costobs.budget_id).update(on_unreachable="open")
    with storm.running(costobs.web, costobs.worker, lost, kept):
        wait_until(
            lambda: Lease.objects.filter(state="open", granted_cost__gt=Decimal("0.01")).count() == 2, seconds=120
        )

        # costobs is away while one machine serves from its lease, and then that machine is gone, its spool unread.
        costobs.web.kill()
        stop = threading.Event()
        died = saboteur(lambda: costobs.calls("lost"), {20: lost.kill}, stop)
        Storm([lost.url], costobs.key, MODEL, 60, tries=8).blow()
        stop.set()
        died.join(60)
        assert costobs.calls("lost") >= 20
        Budget.objects.filter(pk=costobs.budget_id).update(amount=limit)
        costobs.web.start()
        wait_until(is_freed, seconds=120)

        clients = Storm([kept.url], costobs.key, MODEL, 400)
        clients.blow()

        wait_until(lambda: not Lease.objects.filter(state="open", reserved_cost__gt=0).exists(), seconds=120)
        freed = costobs.account().freed_cost
        print("cost", costobs.cost, "freed", freed, "calls", {name: costobs.calls(name) for name in costobs.logs})
        # By the servers' own logs above the limit, since nobody could know of the lost calls, and by no more than was freed.
        assert limit < costobs.cost <= limit + freed

        # The machine comes back with its spool: what it served is settled, nothing stays freed, and nothing more passes.
        lost.start()
        wait_until(lambda: Lease.objects.filter(state="closed").exists() and costobs.is_settled(), seconds=120)
        assert costobs.cost <= costobs.counter() == ledger() <= limit + freed
        assert costobs.account().freed_cost == 0
        after = costobs.cost
        late = Storm([kept.url, lost.url], costobs.key, MODEL, 4, tries=5)
        late.blow()
        assert (set(late.answered), costobs.cost) == ({429}, after)


def is_freed() -> bool:
    """Whether nobody who is silent holds anything any more."""
    silent = Lease.objects.filter(state="open", expires_at__lt=datetime.now(UTC))
    return Lease.objects.filter(state="orphaned").exists() and not silent.exists()


def passes(costobs: Costobs) -> int:
    """What one client sees in the end that asks again while it makes sense."""
    last = Storm([gate.url for gate in costobs.gates], costobs.key, MODEL, 1, tries=200)
    # Refused until the period ends may still be what a gate heard before the amount was raised.
    wait_until(lambda: LeaseAccount.objects.filter(limit_cost__gt=0).exists())
    for _ in range(20):
        last.blow()
        if last.answered[-1] == 200:
            break
    connection.close()
    return last.answered[-1]
