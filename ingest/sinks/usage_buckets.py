"""Usage that a vendor has summed: the unit's span of the source's hours is replaced, so restated buckets count once."""

from datetime import UTC, date, datetime

import polars as pl
import pyarrow as pa
from django.db import connection

from ingest import encode, price
from ingest.models import Load
from ingest.rows import TOKEN_KINDS
from ingest.sinks.base import Context, Placed, Sink
from ingest.sources.base import Window

_KEY = ("hour", "source_id", "attribute_set_id", "offering_id", "price_id")
_SUMS = ("requests", "errors", "refused", "unknown_usage", "latency_ms", *TOKEN_KINDS)


class UsageBucketSink(Sink):
    """Buckets go straight into UsageHour: they stand for no single call. A bucket longer than an hour lies in its first.

    Good rows are taken, bad ones are quarantined. A source of buckets delivers nothing else, so the hours of its span hold
    only what an earlier delivery of the same span said. Without a span it is from the first bucket's hour to the end of
    the last one's.
    """

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._encoder = encode.Encoder(source_id=context.source.pk, now=context.now)
        self._sums: list[pl.DataFrame] = []
        self._staged = 0
        self._first: datetime | None = None
        self._last: datetime | None = None

    def open(self) -> None:
        """Nothing to make: sums are small and held in memory."""

    def stage(self, batch: pa.RecordBatch) -> None:
        frame: pl.DataFrame = pl.from_arrow(batch)  # type: ignore[assignment]  # a batch is always a frame
        if frame.is_empty():
            return
        self._staged += len(frame)
        ends = pl.col("starts_at") + pl.duration(seconds=pl.col("interval_seconds"))
        first, last = frame.select(pl.col("starts_at").min(), ends.max().alias("ends")).row(0)
        self._first = min(filter(None, (self._first, first)))
        self._last = max(filter(None, (self._last, last)))
        # Requests of which no tokens are told (a server that counts requests only) are unknown usage, not free.
        is_known = pl.any_horizontal(pl.col(TOKEN_KINDS).is_not_null())
        frame = frame.with_columns(unknown_usage=pl.when(~is_known).then("requests").fill_null(0))
        # The least prompt of a bucket stands in for its prompt: it decides which step of a price holds.
        frame = frame.with_columns(pl.col(TOKEN_KINDS).fill_null(0), occurred_at=pl.col("starts_at"))
        frame = self._encoder.bucket_prices(self._encoder.offerings(self._encoder.attribute_sets(frame)))
        self._sums.append(
            frame.with_columns(
                hour=pl.col("starts_at").dt.truncate("1h"),
                source_id=pl.lit(self.context.source.pk),
                refused=pl.lit(0, dtype=pl.Int64),
                latency_ms=pl.lit(0, dtype=pl.Int64),
            )
            .group_by(_KEY)
            .agg(pl.col(_SUMS).sum())
        )

    def place(self) -> Placed:
        span = self._span()
        if span is None:
            return Placed(loaded=0)
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(hashtext('usage of a source'), %s)", [self.context.source.pk])
        days = self._clear(span)
        self._supersede()
        if self._sums:
            folded = pl.concat(self._sums).group_by(_KEY).agg(pl.col(_SUMS).sum()).sort(_KEY)
            encode.copy_csv(table="ingest_usagehour", frame=folded)
            days |= set(folded["hour"].dt.date().unique().to_list())
            used = set(folded["price_id"].unique().to_list())
            price.settle(price_ids=used, since=folded.select(pl.col("hour").min()).item().date())
        through = self.context.raw.complete_through or min(span.end, self.context.now)
        return Placed(self._staged, days=sorted(days), complete_through=through)

    def drop(self) -> None:
        self._sums.clear()

    def _span(self) -> Window | None:
        if self.context.raw.span is not None:
            return self.context.raw.span
        if self._first is None or self._last is None:
            return None
        return Window(_hour(self._first), self._last)

    def _supersede(self) -> None:
        """What an earlier unit of this name said no longer stands, so that a vendor may come back to it."""
        earlier = Load.objects.filter(source=self.context.source, name=self.context.raw.name, state="succeeded")
        earlier.exclude(pk=self.context.load.pk).update(state="superseded")

    def _clear(self, span: Window) -> set[date]:
        with connection.cursor() as cursor:
            cursor.execute(
                """WITH gone AS (DELETE FROM ingest_usagehour WHERE source_id = %s AND hour >= %s AND hour < %s RETURNING hour)
                   SELECT DISTINCT (hour AT TIME ZONE 'UTC')::date FROM gone""",
                [self.context.source.pk, _hour(span.start), span.end],
            )
            return {day for (day,) in cursor.fetchall()}


def _hour(moment: datetime) -> datetime:
    at = moment.astimezone(UTC)
    return datetime(at.year, at.month, at.day, at.hour, tzinfo=UTC)
