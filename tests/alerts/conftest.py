"""Books to climb a ladder on, a gate that asks for its policy, and one whole round of the steps."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection

from alerts import budgets, escalate, evaluate, execute, gates, measure, policy
from alerts.models import ActionRun
from attribution.models import DailyCost, Ownership, RulesetVersion
from ingest.models import AttributeSet, Source
from ingest.sources import KINDS

START = datetime(2026, 11, 1, 0, 0, tzinfo=UTC)
ONE_GATE = "chat-1"


@dataclass
class Books:
    """A ledger with teams, whose days can be set as the invoice or the usage would set them."""

    source: Source
    sets: dict[str, int]

    def spend(
        self, day: date, amount: str, *, team: str = "search", model: str = "llama", basis: str = "estimated"
    ) -> None:
        """Adds an amount to a day."""
        self._add(day, Decimal(amount), team, model, basis, is_unpriced=False)

    def spend_unpriced(self, day: date, amount: str, *, team: str = "search") -> None:
        self._add(day, Decimal(amount), team, "new-model", "estimated", is_unpriced=True)

    def clear(self) -> None:
        DailyCost.objects.all().delete()

    def complete(self, through: datetime) -> None:
        """The source has delivered everything before this moment."""
        Source.objects.filter(pk=self.source.pk).update(complete_through=through)

    def pulled(self) -> timedelta:
        """The source is one that is read by us, so it can be late; gives the lag that is usual for it."""
        Source.objects.filter(pk=self.source.pk).update(kind="usage_log")
        return timedelta(seconds=KINDS["usage_log"].expected_lag_seconds)

    def fail(self, now: datetime) -> None:
        """The source breaks: books are stale."""
        Source.objects.filter(pk=self.source.pk).update(last_error="no access", last_error_at=now)

    def recover(self) -> None:
        Source.objects.filter(pk=self.source.pk).update(last_error="", last_error_at=None)

    def _add(self, day: date, amount: Decimal, team: str, model: str, basis: str, *, is_unpriced: bool) -> None:
        text = dict.fromkeys(
            (
                "provider_name", "sub_account", "service_name", "region", "invoice_issuer_name", "charge_category",
                "deployment", "token_kind", "method",
            ),
            "",
        )  # fmt: skip
        costs = dict.fromkeys(("billed_cost", "effective_cost", "list_cost", "contracted_cost"), amount)
        DailyCost.objects.create(
            day=day,
            source_id=self.source.pk,
            basis=basis,
            is_current=True,
            is_unpriced=is_unpriced,
            currency="USD",
            attribute_set_id=self.sets[team],
            model=model,
            share_kind="direct",
            **text,
            **costs,
        )


def make_books() -> Books:
    source = Source.objects.create(
        kind="otlp", name="app", created_at=START, last_load_at=START, complete_through=START
    )
    ruleset = RulesetVersion.objects.create(created_at=START, created_by="test", is_current=True)
    sets = {}
    for team in ("search", "support"):
        row = AttributeSet.objects.create(source=source, digest=team, attributes={"team": team}, seen_at=START)
        Ownership.objects.create(
            ruleset=ruleset,
            attribute_set_id=row.pk,
            valid_from=date(2020, 1, 1),
            valid_to=date(2100, 1, 1),
            team=team,
            feature="",
            cost_centre="",
            environment="",
        )
        sets[team] = row.pk
    return Books(source, sets)


@pytest.fixture
def books(db: None) -> Books:
    return make_books()


def at(day: int, hour: int = 12, minute: int = 0) -> datetime:
    """A moment of November 2026."""
    return START + timedelta(days=day - 1, hours=hour, minutes=minute)


def rung(
    percent: str, action: str, approval: str = "automatic", hours: int | None = None, **config: object
) -> budgets.RungSpec:
    if action == "throttle" and not config:
        config = {"requests_per_minute": 6}
    return budgets.RungSpec(Decimal(percent), action, config, approval, hours)


def make_budget(*rungs: budgets.RungSpec, name: str = "Search answers", amount: str = "1000", **given: object) -> int:
    values: dict[str, object] = {
        "scope": {"team": ["search"]},
        "currency": "USD",
        "period": "month",
        "now": START,
        **given,
    }
    return budgets.create(name=name, amount=amount, rungs=rungs, by="ada@example.com", **values)  # type: ignore[arg-type]  # given by the tests


def make_gate(name: str = ONE_GATE, source_id: int = 900) -> int:
    gates.create(name=name, deployment="chat-small", source_id=source_id, by="ada@example.com", now=START)
    return source_id


@dataclass
class FakeGate:
    """A gate that asks for its policy and keeps what it gets, as the real one does."""

    source_id: int
    etag: str = ""
    body: bytes = b""

    def ask(self, now: datetime, process: str = "") -> None:
        found = policy.answer(source_id=self.source_id, if_none_match=self.etag, now=now, process=process)
        if found.body is not None:
            self.etag, self.body = found.etag, found.body


@pytest.fixture
def gate(books: Books) -> FakeGate:
    return FakeGate(make_gate())


def climb(now: datetime) -> list[int]:
    """One round from figures to actions."""
    evaluate.run(now=now)
    measure.run(now=now)
    started = escalate.run(now=now)
    execute.run(now=now)
    return started


def settle(gate: FakeGate, now: datetime) -> datetime:
    """The gate fetches, proves what it holds, and the ladder hears of it."""
    gate.ask(now + timedelta(seconds=1))
    gate.ask(now + timedelta(seconds=2))
    execute.run(now=now + timedelta(seconds=3))
    return now + timedelta(seconds=3)


def states() -> dict[str, str]:
    """The newest run of each rung: `75 throttle` → its state."""
    return {
        f"{run.rung.percent.normalize():f} {run.action}": run.state
        for run in ActionRun.objects.select_related("rung").order_by("episode", "pk")
    }


def at_once(*works: Callable[[], object]) -> list[BaseException]:
    """Runs these in threads that start together; what they raised."""
    barrier, raised = threading.Barrier(len(works)), []

    def work(one: Callable[[], object]) -> None:
        try:
            barrier.wait(60)
            one()
        except Exception as problem:
            raised.append(problem)
        finally:
            connection.close()

    threads = [threading.Thread(target=work, args=(one,)) for one in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads), "not all of them came to an end"
    return raised
