"""Charges of a bill: a delivery replaces the earlier delivery of the same export and billing period, or is refused."""

from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pyarrow as pa
from django.db import connection
from django.db.models import Q, QuerySet

from costobs.kernel.period import Days
from ingest import encode, partitions
from ingest.models import Delivery, Load
from ingest.rows import CHARGE
from ingest.sinks.base import Context, Placed, Sink

_QUANTITIES = ("pricing_quantity", "consumed_quantity")
_COLUMNS = [name for name in CHARGE.names if not name.startswith("attr_")]
# What a day's charges say, wherever they stand in the delivery: so that a re-delivered month touches the days that changed.
_SAID = ", ".join(name for name in _COLUMNS if name not in ("file_index", "row_number"))
_FINGERPRINT = f"""
SELECT (charge_period_start AT TIME ZONE 'UTC')::date, count(*),
    sum(hash_record_extended(row({_SAID}, attribute_set_id), 0)::numeric)
FROM ingest_charge WHERE delivery_id = ANY(%s) GROUP BY 1
"""
_RETIRE = """
WITH gone AS (DELETE FROM ingest_charge WHERE delivery_id = %s RETURNING (charge_period_start AT TIME ZONE 'UTC')::date AS day)
SELECT DISTINCT day FROM gone
"""
_KEEP = "SELECT DISTINCT (charge_period_start AT TIME ZONE 'UTC')::date FROM ingest_charge WHERE delivery_id = %s"


@dataclass(slots=True)
class _Period:
    """What is staged of one billing period: its delivery to be, its days, and where its usage ends."""

    delivery_id: int
    days: set[date] = field(default_factory=set)
    newest: datetime | None = None


class ChargeSink(Sink):
    """A bill is taken whole or not at all.

    Each batch is encoded once and copied once, straight into the partitioned table, with the id of a delivery that exists
    only when the closing transaction ends: a refused bill is rolled back with it.
    """

    is_all_or_nothing = True
    may_copy_ahead = True

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._encoder = encode.Encoder(source_id=context.source.pk, now=context.now)
        self._periods: dict[date, _Period] = {}
        self._columns: list[str] = []
        # Encoded batches with their days, put in by the thread that stages and taken out by the one that copies.
        self._encoded: deque[tuple[set[date], bytes]] = deque()

    def open(self) -> None:
        """Nothing to make: what is staged is copied at once."""

    def stage(self, batch: pa.RecordBatch) -> None:
        frame: pl.DataFrame = pl.from_arrow(batch)  # type: ignore[assignment]  # a batch is always a frame
        if frame.is_empty():
            return
        days = set(frame["charge_period_start"].dt.date().unique().to_list())
        partitions.ensure_months(days)
        self._note(frame)
        frame = self._encoder.attribute_sets(frame.with_columns(pl.col(_QUANTITIES).replace("", None)))
        deliveries = {period: known.delivery_id for period, known in self._periods.items()}
        frame = frame.with_columns(
            pl.lit(self.context.source.pk).alias("source_id"),
            pl.col("billing_period_start").replace_strict(deliveries, return_dtype=pl.Int64).alias("delivery_id"),
            pl.col("charge_period_start").dt.truncate("1mo").dt.date().alias("book_month"),
        )
        self._columns = frame.columns
        self._encoded.append((days, encode.as_csv(frame)))

    def copy_staged(self) -> None:
        while self._encoded:
            days, encoded = self._encoded.popleft()
            partitions.see_months(days)
            encode.copy_chunks(table="ingest_charge", columns=self._columns, chunks=[encoded])

    def place(self) -> Placed:
        self.copy_staged()
        touched, loaded, through = set[date](), 0, None
        for period, staged in sorted(self._periods.items()):
            complete = self.context.raw.complete_through or staged.newest
            touched |= self._changed(period, staged, complete)
            self._replace(period)
            loaded += self._record(period, staged, complete)
            through = max(filter(None, (through, complete)), default=None)
        touched |= self._take_back()
        return Placed(loaded=loaded, days=sorted(touched), complete_through=through)

    def drop(self) -> None:
        self._encoded.clear()

    def _note(self, frame: pl.DataFrame) -> None:
        """The billing periods of a batch, their days, and the start of the last day that has usage: it may still be arriving."""
        ended = (pl.col("charge_category") == "Usage") & (pl.col("charge_period_end") <= self.context.now)
        found = frame.group_by("billing_period_start").agg(
            pl.col("charge_period_start").dt.date().unique().alias("days"),
            pl.col("charge_period_end").filter(ended).max().dt.truncate("1d").alias("newest"),
        )
        for period, days, newest in found.iter_rows():
            known = self._periods.get(period) or self._periods.setdefault(period, _Period(_next_delivery()))
            known.days.update(days)
            known.newest = max(filter(None, (known.newest, newest)), default=None)

    def _current(self, period: date) -> QuerySet[Delivery]:
        return self._of_export().select_for_update().filter(billing_period_start=period)

    def _of_export(self) -> QuerySet[Delivery]:
        names = [self.context.raw.export, *self.context.raw.exports_before]
        return Delivery.objects.filter(source=self.context.source, export__in=names, state="current")

    def _changed(self, period: date, new: _Period, complete: datetime | None) -> set[date]:
        """The days whose charges differ from those of the current delivery, and those that became complete or ceased to be."""
        old = list(self._current(period))
        if not old:
            return new.days
        staged = _fingerprints([new.delivery_id])
        before = _fingerprints([delivery.pk for delivery in old])
        days = {day for day in staged | before if staged.get(day) != before.get(day)}
        marks = {delivery.complete_through for delivery in old}
        if marks != {complete}:
            known = [mark.astimezone(UTC).date() for mark in (*marks, complete) if mark is not None]
            first = min(known) if len(known) == len(marks) + 1 else date.min  # without a mark all days are complete
            days |= {day for day in staged if day >= first}
        return days

    def _replace(self, period: date) -> set[date]:
        """Retires the current delivery of this period; returns the days its charges lay on.

        What a closed month rests on keeps its charges, for people to look at.
        """
        days: set[date] = set()
        for delivery in self._current(period):
            with connection.cursor() as cursor:
                cursor.execute(_KEEP if delivery.is_pinned else _RETIRE, [delivery.pk])
                days |= {day for (day,) in cursor.fetchall()}
            Delivery.objects.filter(pk=delivery.pk).update(state="replaced")
            if not Delivery.objects.filter(load_id=delivery.load_id, state="current").exists():
                Load.objects.filter(pk=delivery.load_id, state="succeeded").update(state="superseded")
        return days

    def _take_back(self) -> set[date]:
        """Retires the deliveries of periods that the unit is about and says nothing of any more; returns their days."""
        span = self.context.raw.span
        if span is None:
            return set()
        current = self._of_export().filter(
            billing_period_start__gte=span.start.date(), billing_period_start__lt=span.end.date()
        )
        silent = current.exclude(load=self.context.load).values_list("billing_period_start", flat=True)
        days = {day for period in sorted(set(silent)) for day in self._replace(period)}
        # What the same unit said before does not stand any more, so that the vendor may come back to it; what said that there
        # is nothing has no delivery to be known by, and may say so again.
        earlier = Load.objects.filter(source=self.context.source, state="succeeded").exclude(pk=self.context.load.pk)
        earlier.filter(Q(name=self.context.raw.name) | Q(rows_loaded=0, delivery=None)).update(state="superseded")
        return days

    def _record(self, period: date, staged: _Period, complete: datetime | None) -> int:
        """Writes the delivery down; returns how many charges it has."""
        raw = self.context.raw
        with connection.cursor() as cursor:
            cursor.execute(
                """SELECT billing_currency, sum(billed_cost)::text, count(*) FROM ingest_charge
                   WHERE delivery_id = %s AND charge_period_start >= %s AND charge_period_start < %s GROUP BY 1""",
                [staged.delivery_id, *_bounds(staged.days)],
            )
            found = cursor.fetchall()
        rows: int = sum(count for _currency, _billed, count in found)
        Delivery.objects.create(
            pk=staged.delivery_id,
            source=self.context.source,
            load=self.context.load,
            export=raw.export,
            billing_period_start=period,
            run_id=raw.run_id or raw.content_hash,
            state="current",
            files=list(raw.files) or [raw.name],
            rows=rows,
            billed_cost={currency: billed for currency, billed, _count in found},
            complete_through=complete,
            delivered_at=self.context.now,
        )
        return rows


def _next_delivery() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT nextval(pg_get_serial_sequence('ingest_delivery', 'id'))")
        return int(cursor.fetchone()[0])


def _bounds(days: set[date]) -> tuple[datetime, datetime]:
    span = Days(min(days), max(days) + timedelta(days=1))
    return span.start_at, span.end_at


def _fingerprints(deliveries: list[int]) -> dict[date, tuple[int, int]]:
    with connection.cursor() as cursor:
        cursor.execute(_FINGERPRINT, [deliveries])
        return {day: (count, said) for day, count, said in cursor.fetchall()}
