"""GPU samples: stored once by GPU and time, and the hours they touch folded anew."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pyarrow as pa
from django.db import connection

from ingest import encode
from ingest.rows import GPU_SAMPLE
from ingest.sinks.base import Context, Placed, Sink

_COLUMNS = [name for name in GPU_SAMPLE.names if name != "row_number"]
_LIST = ", ".join(_COLUMNS)

_PLACE = f"""
INSERT INTO ingest_gpusample (source_id, {_LIST})
SELECT %(source)s, {_LIST} FROM stage_gpu
ON CONFLICT DO NOTHING
"""

# Durations are whole milliseconds, so that a split by them is exact. A GPU cannot be covered longer than the hour: where
# samples overlap (two replicas of Prometheus), both sums shrink alike. Energy is the sum of the counter's differences; after
# a reset (driver reload) the counter itself is the difference. Energy under MIG is the board's, repeated on every slice.
_FOLD = """
WITH seen AS (
    SELECT *, date_bin('1 hour', sampled_at, 'epoch') AS hour,
        lag(energy_millijoules) OVER (PARTITION BY gpu_uuid, mig_instance ORDER BY sampled_at) AS energy_before
    FROM ingest_gpusample
    WHERE source_id = %(source)s AND sampled_at >= %(start)s::timestamptz - interval '1 hour' AND sampled_at < %(end)s
), sums AS (
    SELECT hour, gpu_uuid, mig_instance, deployment,
        min(node) AS node, min(mig_profile) AS mig_profile, min(gpu_index) AS gpu_index, min(gpu_model) AS gpu_model,
        min(namespace) AS namespace, count(*) AS samples,
        coalesce(sum(interval_seconds) FILTER (WHERE activity IS NOT NULL), 0) * 1000 AS covered_ms,
        coalesce(sum(round((activity * interval_seconds * 1000)::numeric)), 0) AS busy_ms,
        sum(CASE WHEN energy_millijoules >= energy_before THEN energy_millijoules - energy_before
            WHEN energy_before IS NOT NULL THEN energy_millijoules END) AS energy_millijoules,
        avg(memory_used_mib) AS memory_used_mib, max(memory_total_mib) AS memory_total_mib,
        max(activity_source) AS activity_source
    FROM seen WHERE hour >= %(start)s AND hour = ANY(%(hours)s)
    GROUP BY 1, 2, 3, 4
), whole AS (
    SELECT *, greatest(sum(covered_ms) OVER (PARTITION BY hour, gpu_uuid, mig_instance), 3600000) AS paid_ms FROM sums
)
INSERT INTO ingest_gpuhour (source_id, hour, node, gpu_uuid, mig_instance, mig_profile, gpu_index, gpu_model, deployment,
    namespace, samples, covered_ms, busy_ms, energy_millijoules, memory_used_mib, memory_total_mib, activity_source)
SELECT %(source)s, hour, node, gpu_uuid, mig_instance, mig_profile, gpu_index, gpu_model, deployment,
    namespace, samples, floor(covered_ms * 3600000 / paid_ms), floor(busy_ms * 3600000 / paid_ms), energy_millijoules,
    memory_used_mib, memory_total_mib, activity_source
FROM whole
"""


class GpuSampleSink(Sink):
    """Samples are kept for 14 days; the hours stay."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._hours: set[datetime] = set()
        self._staged = 0

    def open(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute("DROP TABLE IF EXISTS stage_gpu")
            cursor.execute(f"CREATE TEMPORARY TABLE stage_gpu AS SELECT {_LIST} FROM ingest_gpusample WITH NO DATA")

    def stage(self, batch: pa.RecordBatch) -> None:
        frame: pl.DataFrame = pl.from_arrow(batch)  # type: ignore[assignment]  # a batch is always a frame
        if frame.is_empty():
            return
        self._hours.update(frame["sampled_at"].dt.truncate("1h").unique().to_list())
        self._staged += len(frame)
        encode.copy_csv(table="stage_gpu", frame=frame.select(_COLUMNS))

    def place(self) -> Placed:
        if not self._staged:
            return Placed(loaded=0)
        hours = sorted(self._hours)
        values: dict[str, Any] = {
            "source": self.context.source.pk,
            "start": hours[0],
            "end": hours[-1] + timedelta(hours=1),
            "hours": hours,
        }
        with connection.cursor() as cursor:
            cursor.execute(_PLACE, values)
            loaded = cursor.rowcount
            cursor.execute("DELETE FROM ingest_gpuhour WHERE source_id = %(source)s AND hour = ANY(%(hours)s)", values)
            cursor.execute(_FOLD, values)
            cursor.execute("SELECT max(sampled_at) FROM stage_gpu")
            newest = cursor.fetchone()[0]
        days: list[date] = sorted({hour.astimezone(UTC).date() for hour in hours})
        return Placed(loaded, self._staged - loaded, (), days, complete_through=newest)

    def drop(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute("DROP TABLE IF EXISTS stage_gpu")
