"""A small ledger loaded as any other, and three people: Ada (finance), Ben (lead of team search), Cleo (no role)."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest
import time_machine
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.test import Client

from alerts import budgets, gates
from costobs import pipeline
from costobs.access.models import Membership
from costobs.kernel.period import Days
from costobs.kernel.scope import SpendScope
from ingest import configure, load, price

NOW = datetime(2026, 11, 21, 12, 30, tzinfo=UTC)
TODAY = NOW.date()
NODE = "gpu-node-1"
_HEADER = (
    "BillingAccountId,BillingCurrency,BillingPeriodStart,BillingPeriodEnd,ChargePeriodStart,ChargePeriodEnd,ChargeCategory,"
    "BilledCost,EffectiveCost,ListCost,ContractedCost,ProviderName,InvoiceIssuerName,ServiceName,ResourceId,Tags"
)
# team, feature, provider, model, deployment, calls a day, latency
_TRAFFIC: tuple[tuple[str, str, str, str, str, int, int], ...] = (
    ("search", "answers", "openai", "gpt-4o", "", 6, 900),
    ("support", "copilot", "openai", "gpt-4o", "", 4, 1_400),
    ("support", "triage", "self_hosted", "llama-70b", "llama", 5, 2_100),
    ("", "", "openai", "gpt-4o-mini", "", 2, 300),
)


@dataclass(frozen=True, slots=True)
class Ledger:
    """What the fixtures loaded: the ids that tests need."""

    usage_source_id: int
    search_budget_id: int
    support_budget_id: int


def scope(*, teams: tuple[str, ...] | None = None, start: date = date(2026, 11, 1)) -> SpendScope:
    """The month to date, as the pages ask for it."""
    return SpendScope(Days(start, TODAY + timedelta(days=1)), teams=teams)


@pytest.fixture
def clock() -> Iterator[None]:
    """It is Saturday, 21 November 2026, half past twelve."""
    with time_machine.travel(NOW, tick=False):
        yield


@pytest.fixture(scope="module")
def loaded(django_db_setup: None, django_db_blocker: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    """Calls of seven weeks, a GPU node with its bill and telemetry, and two budgets with ladders, committed once."""
    with django_db_blocker.unblock():
        try:
            with time_machine.travel(NOW, tick=False):
                found = _loaded(tmp_path_factory.mktemp("ledger"))
            yield found
        finally:
            call_command("flush", verbosity=0, interactive=False)


@pytest.fixture
def ledger(loaded: Ledger, db: None, clock: None) -> Ledger:
    """The loaded ledger; what a test changes is rolled back after it."""
    return loaded


@pytest.fixture
def ada(db: None, clock: None) -> Client:
    return signed_in("ada@example.com", "finance")


@pytest.fixture
def ben(db: None, clock: None) -> Client:
    return signed_in("ben@example.com", "lead", "search")


@pytest.fixture
def cleo(db: None, clock: None) -> Client:
    return signed_in("cleo@example.com", "none")


def _loaded(folder: Path) -> Ledger:
    usage = configure.create_source(kind="usage_log", name="calls", now=NOW)
    bill = configure.create_source(kind="focus_export", name="bill", now=NOW)
    gpus = configure.create_source(kind="dcgm", name="gpus", config={"step_seconds": 3600}, now=NOW)
    price.set_override(
        provider="self_hosted",
        model="llama-70b",
        valid_from=date(2026, 1, 1),
        prices={"input": Decimal("0.9"), "output": Decimal("2.7")},
        set_by="ada@example.com",
        now=NOW,
    )
    _load(usage, _written(folder / "calls.ndjson", b"".join(orjson.dumps(one) + b"\n" for one in _calls())))
    for month, after, days in (("2026-10", "2026-11", range(1, 21)), ("2026-11", "2026-12", range(1, 20))):
        lines = [_node_hours(month, after, day) for day in days]
        _load(bill, _written(folder / f"bill-{month}.csv", "\n".join([_HEADER, *lines, ""]).encode()))
    for metric, answer in _telemetry():
        _load(gpus, _written(folder / f"{metric}.json", orjson.dumps(answer)))
    while pipeline.settle(NOW):
        continue
    gates.create(name="chat-1", deployment="llama", source_id=usage, by="ada@example.com", now=NOW)
    gates.create_key(name="search web", team="search", by="ada@example.com", now=NOW)
    found = Ledger(usage, _budget("Search answers", "search"), _budget("Support", "support", amount="50000"))
    pipeline.act(NOW)
    return found


def signed_in(email: str, role: str, *teams: str) -> Client:
    """A client with the session of that person."""
    user = get_user_model()._default_manager.create_user(username=email, email=email)
    Membership.objects.create(user=user, role=role, teams=list(teams))
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


def _budget(name: str, team: str, amount: str = "0.30") -> int:
    rungs = [
        budgets.RungSpec(Decimal(50), "notify"),
        budgets.RungSpec(Decimal(75), "throttle", {"requests_per_minute": 6}),
        budgets.RungSpec(Decimal(90), "shutdown", approval="one"),
    ]
    return budgets.create(
        name=name,
        scope={"team": [team]},
        amount=amount,
        currency="USD",
        period="month",
        rungs=rungs,
        by="ada@example.com",
        now=NOW,
    )


def _written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    os.utime(path, (NOW.timestamp(), NOW.timestamp()))
    return path


def _load(source_id: int, path: Path) -> None:
    for result in load.from_paths(source_id=source_id, paths=[str(path)], now=NOW):
        assert result.state == "succeeded", result


def _calls() -> Iterator[dict[str, Any]]:
    for offset in range(51):  # 2 October to 21 November
        day = date(2026, 10, 2) + timedelta(days=offset)
        for row, (team, feature, provider, model, deployment, calls, latency) in enumerate(_TRAFFIC):
            for number in range(calls):
                yield {
                    "event_id": f"{day}-{row}-{number}",
                    "occurred_at": f"{day}T{number + 2:02}:15:00.000Z",
                    "gen_ai.provider.name": provider,
                    "gen_ai.request.model": model,
                    "gen_ai.operation.name": "chat",
                    "gen_ai.usage.input_tokens": 1_000 + 10 * number,
                    "gen_ai.usage.cache_read.input_tokens": 400,
                    "gen_ai.usage.output_tokens": 200,
                    "latency_ms": latency + 100 * number,
                    "http.response.status_code": 500 if number == 3 else 200,
                    "outcome": "error" if number == 3 else "ok",
                    "deployment": deployment,
                    "trace_id": f"trace-{day}-{row}",
                    "attributes": {"team": team, "feature": feature} if team else {},
                }


def _node_hours(month: str, after: str, day: int) -> str:
    start = f"{month}-{day:02}T00:00:00Z"
    end = f"{month}-{day + 1:02}T00:00:00Z"
    return (
        f"acct,USD,{month}-01T00:00:00Z,{after}-01T00:00:00Z,{start},{end},Usage,48.00,48.00,60.00,50.00,AWS,AWS,"
        f'Amazon EC2,{NODE},"{{}}"'
    )


def _telemetry() -> Iterator[tuple[str, dict[str, Any]]]:
    """Two GPUs for the last nine days, by the hour: one serves llama and is busy by day, one has nothing loaded.

    The ninth hour of each day has no reading, so it is unknown.
    """
    series: list[dict[str, Any]] = []
    for gpu, pod in (("0", "llama-0"), ("1", "")):
        values: list[list[float | str]] = []
        for offset in range(9 * 24):
            moment = NOW.replace(hour=0, minute=0) - timedelta(days=8) + timedelta(hours=offset)
            if moment.hour != 9 and moment <= NOW - timedelta(hours=1):
                values.append([moment.timestamp(), "0.5" if pod and 2 <= moment.hour < 8 else "0"])
        labels = {"__name__": "DCGM_FI_PROF_GR_ENGINE_ACTIVE", "gpu": gpu, "UUID": f"GPU-{gpu}", "Hostname": NODE}
        told = {"modelName": "NVIDIA L40S", "exported_pod": pod, "exported_namespace": "serving" if pod else ""}
        series.append({"metric": {**labels, **told}, "values": values})
        # 60 W at rest, 300 W while it works.
        drawn, joules = [], 0
        for at, activity in values:
            joules += 3600 * (180 if activity == "0.5" else 60)
            drawn.append([at, str(joules * 1000)])
        counter = {**labels, **told, "__name__": "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"}
        series.append({"metric": counter, "values": drawn})
    yield "gr_engine_active", {"status": "success", "data": {"resultType": "matrix", "result": series}}
