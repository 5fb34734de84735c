"""Idleness from end to end: telemetry of a GPU and calls through a gate, the level of a rung, an action, and its end on use."""

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import orjson
import pytest

from alerts import budgets, gates
from alerts.models import ActionRun, Budget, Rung, RungLevel
from costobs import pipeline
from ingest import configure, inbox, load
from ingest.models import GpuSample
from tests.alerts.conftest import FakeGate, settle, states

pytestmark = pytest.mark.django_db

MORNING = datetime(2026, 11, 10, 9, tzinfo=UTC)
STEP = 5  # minutes between two samples


def at(hour: int, minute: int = 0) -> datetime:
    return MORNING.replace(hour=hour, minute=minute)


class Site:
    """One GPU with its telemetry, a gate before it, and a budget that shuts it down after two idle hours."""

    def __init__(self, home: Path) -> None:
        self._home, self._loads, self._calls = home, 0, 0
        self.telemetry = configure.create_source(
            kind="dcgm", name="gpus", config={"step_seconds": STEP * 60}, now=MORNING
        )
        source = configure.create_source(kind="gate", name="llama-1", config={"deployment": "llama"}, now=MORNING)
        gates.create(name="llama-1", deployment="llama", source_id=source, by="ada@example.com", now=MORNING)
        self.gate = FakeGate(source)
        self.budget_id = budgets.create(
            name="Development",
            scope={"team": ["support"]},
            amount="1000",
            currency="USD",
            period="month",
            rungs=[budgets.RungSpec(Decimal(100), "shutdown", {"minutes": 120}, trigger="idleness")],
            by="ada@example.com",
            now=MORNING,
        )

    def measured(self, start: datetime, end: datetime, activity: str) -> None:
        """What its exporter says of the GPU from `start` until `end`, as Prometheus keeps it."""
        count = int((end - start) / timedelta(minutes=STEP))
        values = [[(start + timedelta(minutes=STEP * number)).timestamp(), activity] for number in range(count + 1)]
        labels = {"__name__": "DCGM_FI_PROF_GR_ENGINE_ACTIVE", "gpu": "0", "UUID": "GPU-0", "Hostname": "gpu-node-1"}
        told = {"modelName": "NVIDIA H100", "exported_pod": "llama-0", "exported_namespace": "serving"}
        found = {"resultType": "matrix", "result": [{"metric": {**labels, **told}, "values": values}]}
        self._loads += 1
        folder = self._home / str(self._loads)
        folder.mkdir()
        path = folder / "gr_engine_active.json"
        path.write_bytes(orjson.dumps({"status": "success", "data": found}))
        os.utime(path, (end.timestamp(), end.timestamp()))
        for result in load.from_paths(source_id=self.telemetry, paths=[str(path)], now=end):
            assert (result.state, result.rows_quarantined) == ("succeeded", 0), result

    def called(self, now: datetime, **changes: object) -> None:
        """The gate tells of one call."""
        self._calls += 1
        event = {
            "event_id": f"call-{self._calls}",
            "occurred_at": now.isoformat(),
            "gen_ai.provider.name": "self_hosted",
            "gen_ai.request.model": "llama-70b",
            "gen_ai.operation.name": "chat",
            "gen_ai.usage.input_tokens": 1000,
            "gen_ai.usage.output_tokens": 200,
            "http.response.status_code": 200,
            "outcome": "ok",
            "deployment": "llama",
            "attributes": {"team": "support", "feature": "triage"},
            **changes,
        }
        inbox.accept(
            source_id=self.gate.source_id,
            body=orjson.dumps(event),
            encoding="",
            idempotency_key=f"batch-{self._calls}",
            limit=10**6,
            now=now,
        )

    def goes_on(self, now: datetime) -> Decimal | None:
        """One round of everything; the level of the rung then."""
        while pipeline.run_once(now):
            continue
        settle(self.gate, now)
        return RungLevel.objects.get().level

    def rules(self) -> list[str]:
        """What the gate does with the team's requests."""
        return [rule["action"] for rule in orjson.loads(self.gate.body)["rules"]]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """In use until ten."""
    found = Site(tmp_path)
    for minute in (10, 30, 50):
        found.called(at(9, minute))
    found.measured(at(9), at(9, 55), "0.6")
    found.goes_on(at(10))
    return found


def test_it_does_not_take_the_silence_of_a_gate_for_idleness_where_no_gpu_tells(site: Site) -> None:
    site.called(at(9, 55), deployment="", **{"gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-4o"})
    site.measured(at(10), at(12, 30), "0.01")

    level = site.goes_on(at(12, 30))

    assert level == 0
    assert states() == {}


def test_it_asks_no_telemetry_of_a_deployment_at_a_provider(site: Site) -> None:
    Budget.objects.update(scope={"deployment": ["gpt-eu"]})
    Rung.objects.update(action="notify")
    site.called(at(9, 55), deployment="gpt-eu", **{"gen_ai.provider.name": "azure.ai.openai"})
    site.called(at(12, 25))

    level = site.goes_on(at(12, 30))

    assert level == Decimal("120.83")  # from ten until the gate told of the last call, for somebody else


def test_it_sees_calls_whatever_their_prices_are_in(site: Site) -> None:
    site.measured(at(10), at(12, 30), "0.01")
    Budget.objects.update(currency="EUR")

    level = site.goes_on(at(12, 30))

    assert level == Decimal(125)


def by_gpu(site: Site) -> None:
    """Something computes without asking the gate."""
    site.measured(at(12, 35), at(13), "0.4")


def by_call(site: Site) -> None:
    """Somebody asks, though nothing is admitted."""
    site.called(at(12, 50), outcome="refused", **{"http.response.status_code": 429})
    site.measured(at(12, 35), at(13), "0.0")


@pytest.mark.parametrize("used", [by_gpu, by_call])
def test_it_shuts_down_what_is_idle_and_lets_go_when_it_is_used(site: Site, used: Callable[[Site], None]) -> None:
    site.measured(at(10), at(11, 30), "0.01")
    early = site.goes_on(at(11, 30)), states()
    site.measured(at(11, 35), at(12, 30), "0.01")

    late = site.goes_on(at(12, 30)), states(), site.rules()
    used(site)
    again = site.goes_on(at(13))
    site.goes_on(at(13, 2))

    assert GpuSample.objects.count() > 40
    assert early == (Decimal(75), {})
    assert late == (Decimal(125), {"100 shutdown": "in_force"}, ["block"])
    assert again == 0
    assert [(run.state, run.episode) for run in ActionRun.objects.all()] == [("ended", 1)]
    assert site.rules() == []


def test_it_counts_idle_time_from_the_last_hour_in_which_the_gpu_was_busy(site: Site) -> None:
    site.measured(at(10), at(10, 55), "0.5")
    site.measured(at(11), at(12, 30), "0.01")

    level = site.goes_on(at(12, 30))

    assert level == Decimal(75)
    assert states() == {}


def test_it_never_takes_missing_telemetry_for_idleness(site: Site) -> None:
    site.measured(at(10), at(11), "0.01")
    site.measured(at(12), at(13), "0.01")

    level = site.goes_on(at(13))

    assert level is None
    assert states() == {}


def test_it_knows_no_idleness_beyond_what_was_delivered(site: Site) -> None:
    site.measured(at(10), at(10, 55), "0.01")

    level = site.goes_on(at(18))

    assert level == Decimal(50)
    assert states() == {}
