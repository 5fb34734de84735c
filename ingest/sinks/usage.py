"""Usage events: copied narrow, inserted once by their identity, and folded into hours in the same statement."""

from datetime import date, timedelta

import polars as pl
import pyarrow as pa
from django.db import connection

from ingest import encode, partitions
from ingest.rows import TOKEN_KINDS, Rejected
from ingest.sinks.base import Context, Placed, Sink

_TOKENS = ", ".join(TOKEN_KINDS)
_SUMS = ("requests", "errors", "refused", "unknown_usage", "latency_ms", *TOKEN_KINDS)
_EVENT = (
    "attribute_set_id, offering_id, price_id, occurred_at, "
    f"{_TOKENS}, latency_ms, ttft_ms, status, usage_known, event_id, outcome, trace_id, session_id, extra"
)

_STAGE = """
CREATE TEMPORARY TABLE stage_usage (
    row_number bigint, attribute_set_id bigint, offering_id bigint, price_id bigint, occurred_at timestamptz,
    input_uncached integer, cache_read integer, cache_write_5m integer, cache_write_1h integer, output integer,
    reasoning integer, audio_input integer, audio_output integer, image_input integer, latency_ms integer,
    ttft_ms integer, status smallint, usage_known boolean, event_id text, outcome text, trace_id text, session_id text,
    extra text
)
"""

# The rows come back in file order, so of two rows with one identity the first in the file is kept. Only rows that were
# really inserted are folded: loading twice folds once. Groups are folded in key order, so that two loads cannot deadlock.
_PLACE = f"""
WITH inserted AS (
    INSERT INTO ingest_usageevent (source_id, {_EVENT})
    SELECT %(source)s, {_EVENT} FROM stage_usage
    ON CONFLICT DO NOTHING
    RETURNING occurred_at, attribute_set_id, offering_id, price_id, {_TOKENS}, latency_ms, status, usage_known, outcome
), folded AS (
    INSERT INTO ingest_usagehour AS old
        (hour, source_id, attribute_set_id, offering_id, price_id, {", ".join(_SUMS)})
    SELECT date_bin('1 hour', occurred_at, 'epoch') AS hour, %(source)s, attribute_set_id, offering_id, price_id,
        count(*), count(*) FILTER (WHERE outcome = 'error'), count(*) FILTER (WHERE outcome = 'refused'),
        count(*) FILTER (WHERE NOT usage_known), coalesce(sum(latency_ms), 0),
        {", ".join(f"sum({kind})" for kind in TOKEN_KINDS)}
    FROM inserted
    GROUP BY 1, 3, 4, 5
    ORDER BY 1, 3, 4, 5
    ON CONFLICT (hour, source_id, attribute_set_id, offering_id, price_id) DO UPDATE SET
        {", ".join(f"{name} = old.{name} + excluded.{name}" for name in _SUMS)}
)
SELECT count(*) FROM inserted
"""

# Staged rows that were not inserted because their identity exists with other content.
_CONTRADICTIONS = f"""
SELECT s.row_number, s.event_id, s.occurred_at,
    concat_ws(', ', {", ".join(f"CASE WHEN s.{kind} <> e.{kind} THEN '{kind}: kept ' || e.{kind} || ', found ' || s.{kind} END" for kind in TOKEN_KINDS)},
        CASE WHEN s.offering_id <> e.offering_id THEN 'another model' END)
FROM stage_usage s
JOIN ingest_usageevent e ON e.source_id = %(source)s AND e.event_id = s.event_id AND e.occurred_at = s.occurred_at
WHERE e.occurred_at >= %(first)s AND e.occurred_at <= %(last)s
    AND (({", ".join(f"s.{kind}" for kind in TOKEN_KINDS)}, s.offering_id)
        IS DISTINCT FROM ({", ".join(f"e.{kind}" for kind in TOKEN_KINDS)}, e.offering_id))
ORDER BY s.row_number
LIMIT 10000
"""


class UsageSink(Sink):
    """Good rows are taken, bad ones are quarantined."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._encoder = encode.Encoder(source_id=context.source.pk, now=context.now)
        self._days: set[date] = set()
        self._staged = 0

    def open(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute("DROP TABLE IF EXISTS stage_usage")
            cursor.execute(_STAGE)

    def stage(self, batch: pa.RecordBatch) -> None:
        frame = self._within_window(pl.from_arrow(batch))  # type: ignore[arg-type]  # a batch is always a frame
        if frame.is_empty():
            return
        frame = self._encoder.prices(self._encoder.offerings(self._encoder.attribute_sets(frame)))
        days = frame["occurred_at"].dt.date().unique().to_list()
        partitions.ensure_days(set(days) - self._days)
        self._days.update(days)
        self._staged += len(frame)
        frame = frame.with_columns(pl.when(pl.col("extra") == "").then(None).otherwise(pl.col("extra")).alias("extra"))
        encode.copy_csv(table="stage_usage", frame=frame)

    def place(self) -> Placed:
        if not self._staged:
            return Placed(loaded=0)
        values = {"source": self.context.source.pk}
        with connection.cursor() as cursor:
            cursor.execute(_PLACE, values)
            loaded: int = cursor.fetchone()[0]
            quarantined: list[Rejected] = []
            cursor.execute("SELECT min(occurred_at), max(occurred_at) FROM stage_usage")
            first, last = cursor.fetchone()
            if loaded < self._staged:
                cursor.execute(_CONTRADICTIONS, {**values, "first": first, "last": last})
                quarantined = [self._contradiction(*row) for row in cursor.fetchall()]
        duplicate = self._staged - loaded - len(quarantined)
        return Placed(loaded, duplicate, quarantined, sorted(self._days), complete_through=last)

    def drop(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute("DROP TABLE IF EXISTS stage_usage")

    def _within_window(self, frame: pl.DataFrame) -> pl.DataFrame:
        limit = self.context.now + timedelta(days=1)
        future = frame.filter(pl.col("occurred_at") > limit)
        self.context.late.extend(
            Rejected(self.context.raw.name, row, "occurred_at", f"{at:%Y-%m-%d %H:%M}Z lies in the future", event)
            for row, at, event in future.select("row_number", "occurred_at", "event_id").head(1000).iter_rows()
        )
        return frame.filter(pl.col("occurred_at") <= limit) if len(future) else frame

    def _contradiction(self, row: int, event_id: str, _at: object, difference: str) -> Rejected:
        reason = f"event {event_id} was loaded before with other content ({difference}); the first one is kept"
        return Rejected(self.context.raw.name, row, "event_id", reason, event_id)
