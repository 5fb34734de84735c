"""A self-hosted model costs no API dollar, and its GPUs do: from bill, telemetry and calls to the rung of a team's budget."""

import os
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest

from alerts import budgets, queries
from alerts.models import ActionRun, BudgetState
from attribution import verify
from costobs import pipeline
from costobs.kernel import money
from ingest import configure, load

pytestmark = pytest.mark.django_db

DAY = date(2026, 11, 10)
NOW = datetime(2026, 11, 11, 1, tzinfo=UTC)
MIDNIGHT = datetime(2026, 11, 10, tzinfo=UTC)
_HEADER = (
    "BillingAccountId,BillingCurrency,BillingPeriodStart,BillingPeriodEnd,ChargePeriodStart,ChargePeriodEnd,ChargeCategory,"
    "BilledCost,EffectiveCost,ListCost,ContractedCost,ProviderName,InvoiceIssuerName,ServiceName,ResourceId,Tags"
)
_NODE_DAY = (
    "acct,USD,2026-11-01T00:00:00Z,2026-12-01T00:00:00Z,2026-11-10T00:00:00Z,2026-11-11T00:00:00Z,Usage,"
    '48.00,48.00,60.00,50.00,AWS,AWS,Amazon EC2,gpu-node-1,"{}"'
)


def _load(kind: str, path: Path, content: bytes, **config: Any) -> None:
    path.write_bytes(content)
    os.utime(path, (NOW.timestamp(), NOW.timestamp()))
    source_id = configure.create_source(kind=kind, name=kind, config=config, now=NOW)
    for result in load.from_paths(source_id=source_id, paths=[str(path)], now=NOW):
        assert result.state == "succeeded", result


def _calls() -> bytes:
    """Calls of the team support to its own llama all morning; the provider is ourselves, and nobody set a price."""
    return b"".join(
        orjson.dumps(
            {
                "event_id": f"call-{minute}",
                "occurred_at": (MIDNIGHT + timedelta(minutes=minute, seconds=30)).isoformat(),
                "gen_ai.provider.name": "self_hosted",
                "gen_ai.request.model": "llama-70b",
                "gen_ai.operation.name": "chat",
                "gen_ai.usage.input_tokens": 1000,
                "gen_ai.usage.output_tokens": 200,
                "http.response.status_code": 200,
                "outcome": "ok",
                "deployment": "llama",
                "attributes": {"team": "support", "feature": "triage"},
            }
        )
        + b"\n"
        for minute in range(0, 720, 5)
    )


def _telemetry() -> bytes:
    """The GPU is busy half of each of these twelve hours, and idle the rest of the day."""
    values = [
        [(MIDNIGHT + timedelta(minutes=minute)).timestamp(), "0.5" if minute < 720 else "0"]
        for minute in range(0, 1440, 5)
    ]
    labels = {"__name__": "DCGM_FI_PROF_GR_ENGINE_ACTIVE", "gpu": "0", "UUID": "GPU-0", "Hostname": "gpu-node-1"}
    told = {"modelName": "NVIDIA H100", "exported_pod": "llama-0", "exported_namespace": "serving"}
    series = [{"metric": {**labels, **told}, "values": values}]
    return orjson.dumps({"status": "success", "data": {"resultType": "matrix", "result": series}})


@pytest.fixture
def books(tmp_path: Path) -> None:
    _load("usage_log", tmp_path / "calls.ndjson", _calls())
    _load("focus_export", tmp_path / "bill.csv", "\n".join([_HEADER, _NODE_DAY, ""]).encode())
    _load("dcgm", tmp_path / "gr_engine_active.json", _telemetry(), step_seconds=300)
    while pipeline.settle(NOW):
        continue


def test_it_trips_the_budget_of_a_team_by_what_the_gpus_of_its_free_model_cost(books: None) -> None:
    budget_id = budgets.create(
        name="Support",
        scope={"team": ["support"]},
        amount="10",
        currency="USD",
        period="month",
        rungs=[
            budgets.RungSpec(Decimal(50), "notify"),
            budgets.RungSpec(Decimal(100), "throttle", {"max_inflight": 1}),
        ],
        by="ada@example.com",
        now=NOW,
    )

    pipeline.act(NOW)

    state = BudgetState.objects.get(budget_id=budget_id)
    assert state.spend_cost > 10
    assert state.estimated_cost == 0  # no API has billed or will bill any of it
    assert state.state == "over"
    assert ActionRun.objects.get(action="throttle").state == "running"
    detail = queries.budget(id=budget_id, now=NOW, teams=("support",))
    parts = {part.part: part.cost for part in detail.blend}
    assert money.total(parts.values()) == state.spend_cost
    assert "api" not in parts and "unpriced" not in parts
    assert parts["gpu"] > 0
    assert verify.run().is_balanced
