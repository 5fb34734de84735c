"""A resource behind a gate, a budget that shuts it down, and rounds of carrying that out."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest

from alerts import carry, escalate, evaluate, execute, policy, resources
from alerts.models import ActionRun, ResourceChange
from ingest.models import Offering, UsageHour
from tests.alerts.conftest import Books, FakeGate, at, make_budget, rung
from tests.attribution import world
from tests.servers import scaler as programs
from tests.servers.scaler import SECRET, Scaler

NOW = at(10)
DEPLOYMENT = "chat-small"  # what conftest's gate stands before


@pytest.fixture
def scaler(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scaler]:
    monkeypatch.setenv("COSTOBS_PRIVATE_HOSTS", "127.0.0.1")
    with programs.started() as started:
        yield started


def draft(scaler: Scaler, **changes: Any) -> resources.Draft:
    given: dict[str, Any] = {
        "name": "vllm",
        "hook": "webhook",
        "config": {"url": scaler.url, "resource": "vllm"},
        "credentials": {"secret": SECRET},
        "scope": {"deployment": [DEPLOYMENT]},
        "is_dedicated": True,
    }
    return resources.Draft(**{**given, **changes})


def add(scaler: Scaler, **changes: Any) -> int:
    return resources.create(draft=draft(scaler, **changes), by="dana@example.com", now=at(1))


def shut(books: Books, *, now: datetime = NOW, name: str = "Search answers", **plan: Any) -> ActionRun:
    """A budget passes its rung, whose run targets the resource."""
    make_budget(rung("100", "shutdown"), name=name)
    books.spend(now.date(), "1100")
    return fire(now, **{"targets": ["vllm"], "to_units": 0, **plan})


def fire(now: datetime, **plan: Any) -> ActionRun:
    """The ladder fires; the newest run gets the plan's targets."""
    evaluate.run(now=now)
    escalate.run(now=now)
    run = ActionRun.objects.filter(applied_at=None, state="running").latest("pk")
    run.plan = {**run.plan, **plan}
    run.save(update_fields=["plan"])
    execute.run(now=now)
    return run


@dataclass
class Clock:
    """Rounds of carrying out, a second apart."""

    now: datetime = NOW

    def rounds(self, count: int = 1, *, gate: FakeGate | None = None, inflight: int | None = None) -> None:
        for _ in range(count):
            self.now += timedelta(seconds=1)
            if gate is not None:
                ask(gate, self.now, inflight)
            carry.run(now=self.now)
            execute.run(now=self.now)

    def wait(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)


def ask(gate: FakeGate, now: datetime, inflight: int | None = None) -> None:
    """What the gate of the tests does each second, twice, so that it proves what it holds."""
    report = "" if inflight is None else f"inflight={inflight}"
    for _ in range(2):
        found = policy.answer(source_id=gate.source_id, if_none_match=gate.etag, now=now, report=report)
        if found.body is not None:
            gate.etag, gate.body = found.etag, found.body


def change() -> ResourceChange:
    return ResourceChange.objects.defer("resource__credentials").latest("pk")


def calls(books: Books, team: str, tokens: int, hour: datetime = NOW - timedelta(hours=5)) -> None:
    """Calls of a team to the deployment."""
    offering, _ = Offering.objects.get_or_create(
        provider="self_hosted",
        request_model="llama",
        response_model="llama",
        deployment=DEPLOYMENT,
        service_tier="",
        operation="chat",
        defaults={"model": "llama"},
    )
    sums = {field.name: 0 for field in UsageHour._meta.get_fields() if field.get_internal_type() == "BigIntegerField"}
    UsageHour.objects.create(
        hour=hour.replace(minute=0),
        source=books.source,
        attribute_set_id=books.sets[team],
        offering=offering,
        price=world.price("self_hosted", "llama", per_token="0"),
        **{**sums, "requests": 1, "output": tokens},
    )
