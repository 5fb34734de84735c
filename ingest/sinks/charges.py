"""Charges of a bill: a delivery replaces the earlier delivery of the same export and billing period, or is refused."""

from datetime import UTC, date, datetime

import polars as pl
import pyarrow as pa
from django.db import connection
from django.db.models import QuerySet

from ingest import encode, partitions
from ingest.models import Delivery, Load
from ingest.rows import CHARGE, COSTS
from ingest.sinks.base import Context, Placed, Sink

_QUANTITIES = ("pricing_quantity", "consumed_quantity")
_MONEY = {*COSTS, *_QUANTITIES}
_COLUMNS = [name for name in CHARGE.names if not name.startswith("attr_")]
_TYPES = {
    "row_number": "bigint",
    "file_index": "smallint",
    "charge_period_start": "timestamptz",
    "charge_period_end": "timestamptz",
    "billing_period_start": "date",
    "billing_period_end": "date",
    "tags": "jsonb",
    "extra": "jsonb",
}
_STAGE = (
    "CREATE TEMPORARY TABLE stage_charge ("
    + ", ".join(f"{name} {'numeric' if name in _MONEY else _TYPES.get(name, 'text')}" for name in _COLUMNS)
    + ", attribute_set_id bigint)"
)
_INSERT = f"""
INSERT INTO ingest_charge (source_id, delivery_id, book_month, attribute_set_id, {", ".join(_COLUMNS)})
SELECT %(source)s, %(delivery)s, date_trunc('month', charge_period_start AT TIME ZONE 'UTC')::date, attribute_set_id,
    {", ".join(_COLUMNS)}
FROM stage_charge WHERE billing_period_start = %(period)s
"""
# What a day's charges say, wherever they stand in the delivery: so that a re-delivered month touches the days that changed.
_SAID = ", ".join(name for name in _COLUMNS if name not in ("file_index", "row_number"))
_FINGERPRINT = f"""
SELECT (charge_period_start AT TIME ZONE 'UTC')::date, count(*),
    sum(hashtextextended(row({_SAID}, attribute_set_id)::text, 0)::numeric)
FROM {{table}} WHERE {{condition}} GROUP BY 1
"""


class ChargeSink(Sink):
    """A bill is taken whole or not at all."""

    is_all_or_nothing = True

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._encoder = encode.Encoder(source_id=context.source.pk, now=context.now)
        self._days: set[date] = set()

    def open(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute("DROP TABLE IF EXISTS stage_charge")
            cursor.execute(_STAGE)

    def stage(self, batch: pa.RecordBatch) -> None:
        frame: pl.DataFrame = pl.from_arrow(batch)  # type: ignore[assignment]  # a batch is always a frame
        if frame.is_empty():
            return
        frame = frame.with_columns(pl.col(_QUANTITIES).replace("", None))
        self._days.update(frame["charge_period_start"].dt.date().unique().to_list())
        encode.copy_csv(table="stage_charge", frame=self._encoder.attribute_sets(frame))

    def place(self) -> Placed:
        partitions.ensure_months(self._days)
        touched, loaded, through = set[date](), 0, None
        with connection.cursor() as cursor:
            cursor.execute("SELECT DISTINCT billing_period_start FROM stage_charge ORDER BY 1")
            for (period,) in cursor.fetchall():
                complete = self._complete_through(period)
                touched |= self._changed(period, complete)
                self._replace(period)
                through = max(filter(None, (through, complete)), default=None)
                delivery = self._record(period, complete)
                values = {"source": self.context.source.pk, "delivery": delivery.pk, "period": period}
                cursor.execute(_INSERT, values)
                loaded += cursor.rowcount
                Delivery.objects.filter(pk=delivery.pk).update(rows=cursor.rowcount)
        touched |= self._take_back()
        return Placed(loaded=loaded, days=sorted(touched), complete_through=through)

    def drop(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute("DROP TABLE IF EXISTS stage_charge")

    def _current(self, period: date) -> QuerySet[Delivery]:
        return Delivery.objects.select_for_update().filter(
            source=self.context.source, export=self.context.raw.export, billing_period_start=period, state="current"
        )

    def _changed(self, period: date, complete: datetime | None) -> set[date]:
        """The days whose charges differ from those of the current delivery, and those that became complete or ceased to be."""
        old = list(self._current(period))
        if not old:
            return self._staged_days(period)
        staged = self._fingerprints("stage_charge", "billing_period_start = %s", period)
        before = self._fingerprints("ingest_charge", "delivery_id = ANY(%s)", [delivery.pk for delivery in old])
        days = {day for day in staged | before if staged.get(day) != before.get(day)}
        marks = {delivery.complete_through for delivery in old}
        if marks != {complete}:
            known = [mark.astimezone(UTC).date() for mark in (*marks, complete) if mark is not None]
            first = min(known) if len(known) == len(marks) + 1 else date.min  # without a mark all days are complete
            days |= {day for day in staged if day >= first}
        return days

    def _staged_days(self, period: date) -> set[date]:
        with connection.cursor() as cursor:
            cursor.execute(
                """SELECT DISTINCT (charge_period_start AT TIME ZONE 'UTC')::date FROM stage_charge
                   WHERE billing_period_start = %s""",
                [period],
            )
            return {day for (day,) in cursor.fetchall()}

    def _fingerprints(self, table: str, condition: str, value: date | list[int]) -> dict[date, tuple[int, int]]:
        with connection.cursor() as cursor:
            cursor.execute(_FINGERPRINT.format(table=table, condition=condition), [value])
            return {day: (count, said) for day, count, said in cursor.fetchall()}

    def _replace(self, period: date) -> set[date]:
        """Retires the current delivery of this period; returns the days its charges lay on."""
        days: set[date] = set()
        for delivery in self._current(period):
            with connection.cursor() as cursor:
                cursor.execute(
                    "DELETE FROM ingest_charge WHERE delivery_id = %s RETURNING (charge_period_start AT TIME ZONE 'UTC')::date",
                    [delivery.pk],
                )
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
        current = Delivery.objects.filter(
            source=self.context.source,
            export=self.context.raw.export,
            billing_period_start__gte=span.start.date(),
            billing_period_start__lt=span.end.date(),
            state="current",
        )
        silent = current.exclude(load=self.context.load).values_list("billing_period_start", flat=True)
        days = {day for period in sorted(set(silent)) for day in self._replace(period)}
        # What the same unit said before does not stand any more, so that the vendor may come back to it.
        earlier = Load.objects.filter(source=self.context.source, name=self.context.raw.name, state="succeeded")
        earlier.exclude(pk=self.context.load.pk).update(state="superseded")
        return days

    def _record(self, period: date, complete: datetime | None) -> Delivery:
        raw = self.context.raw
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT billing_currency, sum(billed_cost)::text FROM stage_charge WHERE billing_period_start = %s GROUP BY 1",
                [period],
            )
            billed = dict(cursor.fetchall())
        return Delivery.objects.create(
            source=self.context.source,
            load=self.context.load,
            export=raw.export,
            billing_period_start=period,
            run_id=raw.run_id or raw.content_hash,
            state="current",
            files=list(raw.files) or [raw.name],
            rows=0,
            billed_cost=billed,
            complete_through=complete,
            delivered_at=self.context.now,
        )

    def _complete_through(self, period: date) -> datetime | None:
        """What the vendor says, else the start of the last day that has usage: that day may still be arriving."""
        if self.context.raw.complete_through is not None:
            return self.context.raw.complete_through
        with connection.cursor() as cursor:
            cursor.execute(
                """SELECT max(date_trunc('day', charge_period_end, 'UTC')) FROM stage_charge
                   WHERE billing_period_start = %s AND charge_category = 'Usage' AND charge_period_end <= %s""",
                [period, self.context.now],
            )
            newest = cursor.fetchone()[0]
        return newest.astimezone(UTC) if newest else None
