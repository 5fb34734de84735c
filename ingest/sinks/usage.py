"""Usage events: copied narrow and straight into their partition, once by their identity, and folded into hours."""

import os
import tempfile
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import IO

import polars as pl
import pyarrow as pa
from django.db import connection, transaction
from psycopg.errors import UniqueViolation

from ingest import encode, partitions, price
from ingest.rows import TOKEN_KINDS, Rejected
from ingest.sinks.base import Context, Placed, Sink

_TOKENS = ", ".join(TOKEN_KINDS)
_SUMS = ("requests", "errors", "refused", "unknown_usage", "latency_ms", *TOKEN_KINDS)
_EVENT = (
    "attribute_set_id, offering_id, price_id, occurred_at, "
    f"{_TOKENS}, latency_ms, ttft_ms, status, usage_known, event_id, outcome, trace_id, session_id, extra"
)

_CHUNK_BYTES = 1 << 20
_KEY = ("hour", "source_id", "attribute_set_id", "offering_id", "price_id")
_FOLD_COLUMNS = ", ".join((*_KEY, *_SUMS))

_STAGE = """
CREATE TEMPORARY TABLE stage_usage (
    staged bigint GENERATED ALWAYS AS IDENTITY, source_id bigint, attribute_set_id bigint, offering_id bigint,
    price_id bigint, occurred_at timestamptz,
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

_ADD = f"""
INSERT INTO ingest_usagehour AS old ({_FOLD_COLUMNS}) SELECT {_FOLD_COLUMNS} FROM stage_fold
ON CONFLICT ({", ".join(_KEY)}) DO UPDATE SET {", ".join(f"{name} = old.{name} + excluded.{name}" for name in _SUMS)}
"""

_DIFFERENCES = ", ".join(
    f"CASE WHEN s.{kind} <> e.{kind} THEN '{kind}: kept ' || e.{kind} || ', found ' || s.{kind} END"
    for kind in TOKEN_KINDS
)
# Staged rows that were not inserted because their identity exists with other content.
_CONTRADICTIONS = f"""
SELECT s.staged, s.event_id, s.occurred_at,
    concat_ws(', ', {_DIFFERENCES},
        CASE WHEN s.offering_id <> e.offering_id THEN 'another model' END)
FROM stage_usage s
JOIN ingest_usageevent e ON e.source_id = %(source)s AND e.event_id = s.event_id AND e.occurred_at = s.occurred_at
WHERE e.occurred_at >= %(first)s AND e.occurred_at <= %(last)s
    AND (({", ".join(f"s.{kind}" for kind in TOKEN_KINDS)}, s.offering_id)
        IS DISTINCT FROM ({", ".join(f"e.{kind}" for kind in TOKEN_KINDS)}, e.offering_id))
ORDER BY s.staged
LIMIT 10000
"""


class UsageSink(Sink):
    """Good rows are taken, bad ones are quarantined.

    Batches are encoded into a spool on disk. The closing transaction copies it straight into the partitioned table, of a
    long file while the rest of it is still being read, and what was summed on the way is the fold. When PostgreSQL refuses
    the copy because an event is there already, the same spool takes the careful way: staged, inserted where new, folded
    from what was really inserted.
    """

    may_copy_ahead = True

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._encoder = encode.Encoder(source_id=context.source.pk, now=context.now)
        self._days: set[date] = set()
        self._sums: list[pl.DataFrame] = []
        self._columns: list[str] = []
        self._numbers: list[pl.Series] = []
        self._staged = 0
        self._spool: IO[bytes] = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed by drop
        self._spooled = 0
        self._copied = 0
        self._savepoint = ""
        self._is_known = False
        self._seen_days: set[date] = set()

    def open(self) -> None:
        """Nothing to make: the spool is there."""

    def stage(self, batch: pa.RecordBatch) -> None:
        frame = self._within_window(pl.from_arrow(batch))  # type: ignore[arg-type]  # a batch is always a frame
        if frame.is_empty():
            return
        frame = self._encoder.prices(self._encoder.offerings(self._encoder.attribute_sets(frame)))
        new_days = set(frame["occurred_at"].dt.date().unique().to_list()) - self._days
        partitions.ensure_days(new_days)
        self._days = self._days | new_days  # a new set: the other thread may be reading the old one
        self._staged += len(frame)
        frame = frame.with_columns(
            pl.lit(self.context.source.pk).alias("source_id"),
            # What was not said is counted as unknown (usage_known), and adds nothing here.
            pl.col(TOKEN_KINDS).fill_null(0),
            pl.when(pl.col("extra") == "").then(None).otherwise(pl.col("extra")).alias("extra"),
        )
        self._sums.append(_sums(frame))
        self._numbers.append(frame["row_number"])
        event = frame.drop("row_number")
        self._columns = event.columns
        encoded = memoryview(encode.as_csv(event))
        while encoded:
            encoded = encoded[self._spool.write(encoded) :]
        self._spooled = self._spool.tell()  # the last step: what is below it may be copied by the other thread

    def copy_staged(self) -> None:
        if self._is_known or self._copied == (end := self._spooled):
            return
        if not self._savepoint:
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT pg_advisory_xact_lock(hashtext('usage of a source'), %s)", [self.context.source.pk]
                )
            self._savepoint = transaction.savepoint_create()
        partitions.see_days((days := self._days) - self._seen_days)
        self._seen_days = days
        try:
            encode.copy_chunks(table="ingest_usageevent", columns=self._columns, chunks=self._chunks(self._copied, end))
        except UniqueViolation:
            transaction.savepoint_rollback(self._savepoint)
            self._is_known = True
        self._copied = end

    def place(self) -> Placed:
        if not self._staged:
            return Placed(loaded=0)
        self.copy_staged()
        if self._is_known:
            return self._place_carefully()
        sums = pl.concat(self._sums)
        folded = sums.group_by(_KEY).agg(pl.col(_SUMS).sum()).sort(_KEY)
        _fold(folded, source_id=self.context.source.pk)
        last: datetime = sums.select(pl.col("last").max()).item()
        self._settle_prices()
        return Placed(self._staged, 0, (), sorted(self._days), complete_through=last)

    def drop(self) -> None:
        self._spool.close()

    def _chunks(self, start: int, end: int) -> Iterator[bytes]:
        """The spool between two offsets, without moving the place where the other thread writes."""
        while start < end and (chunk := os.pread(self._spool.fileno(), min(_CHUNK_BYTES, end - start), start)):
            start += len(chunk)
            yield chunk

    def _place_carefully(self) -> Placed:
        values = {"source": self.context.source.pk}
        with connection.cursor() as cursor:
            cursor.execute("DROP TABLE IF EXISTS stage_usage")
            cursor.execute(_STAGE)
            encode.copy_chunks(table="stage_usage", columns=self._columns, chunks=self._chunks(0, self._spooled))
            cursor.execute(_PLACE, values)
            loaded: int = cursor.fetchone()[0]
            cursor.execute("SELECT min(occurred_at), max(occurred_at) FROM stage_usage")
            first, last = cursor.fetchone()
            cursor.execute(_CONTRADICTIONS, {**values, "first": first, "last": last})
            numbers = pl.concat(self._numbers)
            quarantined = [self._contradiction(numbers[row - 1], *more) for row, *more in cursor.fetchall()]
            cursor.execute("DROP TABLE stage_usage")
        self._settle_prices()
        duplicate = self._staged - loaded - len(quarantined)
        return Placed(loaded, duplicate, quarantined, sorted(self._days), complete_through=last)

    def _settle_prices(self) -> None:
        """Somebody may have changed a price since the rows were encoded; then this load follows before it is seen."""
        used = {price_id for sums in self._sums for price_id in sums["price_id"].unique().to_list()}
        price.settle(price_ids=used, since=min(self._days))

    def _within_window(self, frame: pl.DataFrame) -> pl.DataFrame:
        limit = self.context.now + timedelta(days=1)
        future = frame.filter(pl.col("occurred_at") > limit)
        self.context.late_rows += len(future)
        self.context.late.extend(
            Rejected(self.context.raw.name, row, "occurred_at", f"{at:%Y-%m-%d %H:%M}Z lies in the future", event)
            for row, at, event in future.select("row_number", "occurred_at", "event_id").head(1000).iter_rows()
        )
        return frame.filter(pl.col("occurred_at") <= limit) if len(future) else frame

    def _contradiction(self, row: int, event_id: str, _at: object, difference: str) -> Rejected:
        reason = f"event {event_id} was loaded before with other content ({difference}); the first one is kept"
        return Rejected(self.context.raw.name, row, "event_id", reason, event_id)


def _sums(frame: pl.DataFrame) -> pl.DataFrame:
    return (
        frame.lazy()
        .with_columns(hour=pl.col("occurred_at").dt.truncate("1h"))
        .group_by(_KEY)
        .agg(
            requests=pl.len().cast(pl.Int64),
            errors=(pl.col("outcome") == "error").sum().cast(pl.Int64),
            refused=(pl.col("outcome") == "refused").sum().cast(pl.Int64),
            unknown_usage=pl.col("usage_known").not_().sum().cast(pl.Int64),
            latency_ms=pl.col("latency_ms").cast(pl.Int64).sum(),
            last=pl.col("occurred_at").max(),
            **{kind: pl.col(kind).cast(pl.Int64).sum() for kind in TOKEN_KINDS},
        )
        .collect()
    )


def _fold(folded: pl.DataFrame, *, source_id: int) -> None:
    """Adds sums to UsageHour, in key order. Hours that hold nothing of this source yet are copied straight in."""
    first, last = folded.select(pl.col("hour").min(), pl.col("hour").max().alias("last")).row(0)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM ingest_usagehour WHERE hour >= %s AND hour <= %s AND source_id = %s)",
            [first, last, source_id],
        )
        if not cursor.fetchone()[0]:
            encode.copy_csv(table="ingest_usagehour", frame=folded)
            return
        cursor.execute("DROP TABLE IF EXISTS stage_fold")
        cursor.execute("CREATE TEMPORARY TABLE stage_fold (LIKE ingest_usagehour) ON COMMIT DROP")
        encode.copy_csv(table="stage_fold", frame=folded)
        cursor.execute(_ADD)
        cursor.execute("DROP TABLE stage_fold")
