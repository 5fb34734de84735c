"""GPU samples: stored once by GPU and time, and the hours they touch folded anew."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pyarrow as pa
from django.db import connection
from django.db.backends.utils import CursorWrapper

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
# samples overlap (two replicas of Prometheus), both sums shrink alike.
#
# Energy is the sum of a board's counter's differences; after a reset (boot, driver reload) the counter itself is the
# difference. It belongs to the hour that ends it, if it began within the hour before: what a longer gap used is not known.
# A difference of more than 5 kW, which no board draws, is a reading gone wrong. Under MIG every slice repeats the board's
# counter: the difference is divided among the slices by their size, in whole millijoules that sum up to it.
_FOLD = """
WITH seen AS (
    SELECT *, date_bin('1 hour', sampled_at, 'epoch') AS hour, bool_or(mig_instance <> '') OVER board AS is_sliced,
        max(energy_millijoules) OVER board AS energy
    FROM ingest_gpusample
    WHERE source_id = %(source)s AND sampled_at >= %(start)s::timestamptz - interval '1 hour' AND sampled_at < %(end)s
    WINDOW board AS (PARTITION BY gpu_uuid, sampled_at)
), stepped AS (
    -- The reading before, of the same board: moments without a reading of energy are passed over.
    SELECT *, max(energy) OVER before AS energy_before, max(sampled_at) OVER before AS read_before
    FROM seen WINDOW before AS (
        PARTITION BY gpu_uuid, energy IS NULL ORDER BY sampled_at GROUPS BETWEEN 1 PRECEDING AND 1 PRECEDING)
), used AS (
    SELECT *, CASE WHEN energy >= energy_before THEN energy - energy_before ELSE energy END AS difference,
        extract(epoch FROM sampled_at - read_before) * 5000000 AS most
    FROM stepped WHERE hour >= %(start)s AND hour = ANY(%(hours)s)
), weighed AS (
    SELECT *, CASE WHEN sampled_at - read_before <= interval '1 hour' AND difference <= most THEN difference END AS millijoules,
        CASE WHEN NOT is_sliced THEN 1 WHEN mig_instance = '' THEN 0
            WHEN mig_profile ~ '^[1-7]g' THEN left(mig_profile, 1)::int ELSE 1 END AS weight
    FROM used
), shared AS (
    SELECT *, sum(weight) OVER (PARTITION BY gpu_uuid, sampled_at) AS weights,
        sum(weight) OVER (PARTITION BY gpu_uuid, sampled_at ORDER BY mig_instance) AS weight_through
    FROM weighed
), sums AS (
    SELECT hour, gpu_uuid, mig_instance, deployment,
        min(node) AS node, min(mig_profile) AS mig_profile, min(gpu_index) AS gpu_index, min(gpu_model) AS gpu_model,
        min(namespace) AS namespace, count(*) AS samples,
        coalesce(sum(interval_seconds) FILTER (WHERE activity IS NOT NULL), 0) * 1000 AS covered_ms,
        coalesce(sum(round((activity * interval_seconds * 1000)::numeric)), 0) AS busy_ms,
        sum(millijoules * weight_through / weights - millijoules * (weight_through - weight) / weights)
            AS energy_millijoules,
        avg(memory_used_mib) AS memory_used_mib, max(memory_total_mib) AS memory_total_mib,
        max(activity_source) AS activity_source
    FROM shared GROUP BY 1, 2, 3, 4
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

# The first difference of an hour begins in the hour before, so late samples change the hour after theirs as well: it is
# folded anew, unless some of its samples are gone (they are kept for 14 days) and could not be folded again.
_AFTER = """
SELECT hour FROM (SELECT hour, sum(samples) AS samples FROM ingest_gpuhour
    WHERE source_id = %(source)s AND hour = ANY(%(after)s) GROUP BY 1) folded
WHERE samples = (SELECT count(*) FROM ingest_gpusample
    WHERE source_id = %(source)s AND sampled_at >= hour AND sampled_at < hour + interval '1 hour')
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
        with connection.cursor() as cursor:
            hours = self._to_fold(cursor)
            values: dict[str, Any] = {
                "source": self.context.source.pk,
                "start": hours[0],
                "end": hours[-1] + timedelta(hours=1),
                "hours": hours,
            }
            cursor.execute(_PLACE, values)
            loaded = cursor.rowcount
            cursor.execute("DELETE FROM ingest_gpuhour WHERE source_id = %(source)s AND hour = ANY(%(hours)s)", values)
            cursor.execute(_FOLD, values)
            cursor.execute("SELECT max(sampled_at) FROM stage_gpu")
            newest = cursor.fetchone()[0]
        days: list[date] = sorted({hour.astimezone(UTC).date() for hour in hours})
        return Placed(loaded, self._staged - loaded, (), days, complete_through=newest)

    def _to_fold(self, cursor: CursorWrapper) -> list[datetime]:
        after = sorted({hour + timedelta(hours=1) for hour in self._hours} - self._hours)
        cursor.execute(_AFTER, {"source": self.context.source.pk, "after": after})
        return sorted(self._hours | {hour for (hour,) in cursor.fetchall()})

    def drop(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute("DROP TABLE IF EXISTS stage_gpu")
