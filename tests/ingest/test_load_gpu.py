"""GPU samples: folded into hours by whole milliseconds, energy from the counter, and known samples counted once."""

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from ingest import configure, load
from ingest.models import GpuHour, Load, Source
from ingest.rows import GPU_SAMPLE
from ingest.sinks.base import Context
from ingest.sinks.gpu_samples import GpuSampleSink
from ingest.sources.base import Raw

HOUR = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)
NOW = datetime(2026, 11, 21, tzinfo=UTC)

pytestmark = pytest.mark.django_db


def sample(
    minute: int, *, activity: float | None = 0.5, energy: int | None = None, **changes: object
) -> dict[str, object]:
    return {
        **{name: "" for name in GPU_SAMPLE.names if pa.types.is_string(GPU_SAMPLE.field(name).type)},
        "row_number": minute,
        "sampled_at": HOUR + timedelta(minutes=minute),
        "interval_seconds": 60,
        "node": "node-1",
        "gpu_uuid": "GPU-1",
        "deployment": "llama",
        "activity": activity,
        "energy_millijoules": energy,
        **changes,
    }


def place(rows: list[dict[str, object]]) -> None:
    source = Source.objects.get(pk=configure.create_source(kind="dcgm", name="gpus", now=NOW))
    row = Load.objects.create(source=source, name="x", state="running", started_at=NOW, heartbeat_at=NOW)
    sink = GpuSampleSink(Context(source, row, Raw("x", None), NOW))
    sink.open()
    sink.stage(pa.RecordBatch.from_pylist(rows, schema=GPU_SAMPLE))
    sink.place()
    sink.drop()


def test_it_turns_activity_into_busy_and_covered_milliseconds() -> None:
    place(
        [sample(minute, activity=0.25) for minute in range(30)]
        + [sample(minute, activity=None) for minute in range(30, 40)]
    )

    hour = GpuHour.objects.get()

    assert (hour.covered_ms, hour.busy_ms, hour.samples) == (30 * 60_000, 30 * 15_000, 40)


def test_it_changes_nothing_when_samples_come_again() -> None:
    rows = [sample(minute) for minute in range(60)]
    place(rows)

    place(rows)

    hour = GpuHour.objects.get()
    assert (hour.covered_ms, hour.busy_ms) == (3_600_000, 1_800_000)


def test_it_never_covers_more_than_the_hour() -> None:
    overlapping = [
        sample(minute, activity=1.0, sampled_at=HOUR + timedelta(minutes=minute, seconds=7)) for minute in range(60)
    ]

    place([sample(minute, activity=1.0) for minute in range(60)] + overlapping)

    hour = GpuHour.objects.get()
    assert (hour.covered_ms, hour.busy_ms) == (3_600_000, 3_600_000)


def test_it_takes_energy_from_the_counter_and_survives_its_reset() -> None:
    place([sample(0, energy=1_000), sample(1, energy=1_600), sample(2, energy=50), sample(3, energy=150)])

    assert GpuHour.objects.get().energy_millijoules == 600 + 50 + 100


def test_it_keeps_deployments_of_one_hour_apart() -> None:
    place([sample(0), sample(1, deployment="")])

    assert sorted(GpuHour.objects.values_list("deployment", "covered_ms")) == [("", 60_000), ("llama", 60_000)]


def test_it_reports_unknown_sources_by_number() -> None:
    with pytest.raises(load.UnknownSource, match="999999"):
        load.connect(999_999)
