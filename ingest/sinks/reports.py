"""Reports of which the last one counts: fine-tune runs, quality scores, business metrics, markers."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import ClassVar

import polars as pl
import pyarrow as pa
from django.db import connection

from ingest import encode
from ingest.rows import BUSINESS_METRIC, FINE_TUNE, MARKER, QUALITY_SCORE
from ingest.sinks.base import Context, Placed, Sink


class ReportSink(Sink):
    """Rows of one table by their identity: a later report replaces the earlier one, in file order and over loads."""

    table: ClassVar[str]
    schema: ClassVar[pa.Schema]
    identity: ClassVar[Sequence[str]]
    # The first and the last moment whose days a row touches, as SQL over the staged row.
    first: ClassVar[str]
    last: ClassVar[str]

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._encoder = encode.Encoder(source_id=context.source.pk, now=context.now)
        self._staged = 0
        self._columns = [name for name in self.schema.names if name != "row_number" and not name.startswith("attr_")]
        self._stage = f"stage_{self.table}"

    def open(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"DROP TABLE IF EXISTS {self._stage}")
            cursor.execute(
                f"""CREATE TEMPORARY TABLE {self._stage} AS
                    SELECT 0::bigint AS row_number, attribute_set_id, {", ".join(self._columns)}
                    FROM {self.table} WITH NO DATA"""
            )

    def stage(self, batch: pa.RecordBatch) -> None:
        frame: pl.DataFrame = pl.from_arrow(batch)  # type: ignore[assignment]  # a batch is always a frame
        if frame.is_empty():
            return
        self._staged += len(frame)
        encode.copy_csv(table=self._stage, frame=self._encoder.attribute_sets(frame))

    def place(self) -> Placed:
        days = self._days(self.context.now)
        with connection.cursor() as cursor:
            cursor.execute(self._sql(), {"source": self.context.source.pk})
            loaded: int = cursor.rowcount
        return Placed(loaded, self._staged - loaded, (), days, complete_through=self.context.now)

    def drop(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"DROP TABLE IF EXISTS {self._stage}")

    def _sql(self) -> str:
        columns = ["attribute_set_id", *self._columns]
        listed, identity = ", ".join(columns), ", ".join(self.identity)
        replaced = ", ".join(f"{name} = excluded.{name}" for name in columns if name not in self.identity)
        # Reports that say what is known already change nothing and are counted as known.
        differs = " OR ".join(
            f"old.{name} IS DISTINCT FROM excluded.{name}" for name in columns if name not in self.identity
        )
        return f"""
            INSERT INTO {self.table} AS old (source_id, {listed})
            SELECT DISTINCT ON ({identity}) %(source)s, {listed} FROM {self._stage} ORDER BY {identity}, row_number DESC
            ON CONFLICT (source_id, {identity}) DO UPDATE SET {replaced} WHERE {differs}"""

    def _days(self, now: datetime) -> list[date]:
        """The days the reports touch, and those that the reports they replace had touched."""
        names = ", ".join(self.identity)
        with connection.cursor() as cursor:
            cursor.execute(
                f"""WITH touched AS (
                        SELECT {self.first} AS first, {self.last} AS last FROM {self._stage} r
                        UNION ALL
                        SELECT {self.first}, {self.last} FROM {self.table} r
                        WHERE source_id = %(source)s AND ({names}) IN (SELECT {names} FROM {self._stage})
                    )
                    SELECT DISTINCT d::date FROM touched, generate_series(date_trunc('day', first, 'UTC'), last, '1 day') d
                    ORDER BY 1""",
                {"source": self.context.source.pk, "now": now},
            )
            return [day for (day,) in cursor.fetchall()]


class FineTuneSink(ReportSink):
    """Runs touch every day between their start and their end."""

    table = "ingest_finetunerun"
    schema = FINE_TUNE
    identity = ("external_id",)
    first = "r.started_at"
    last = "greatest(coalesce(r.ended_at, %(now)s), r.started_at)"


class QualityScoreSink(ReportSink):
    table = "ingest_qualityscore"
    schema = QUALITY_SCORE
    identity = ("score_id",)
    first = last = "r.scored_at"


class BusinessMetricSink(ReportSink):
    table = "ingest_businessmetric"
    schema = BUSINESS_METRIC
    identity = ("name", "period_start", "period_end", "attribute_set_id")
    first = "r.period_start"
    last = "r.period_end - interval '1 microsecond'"


class MarkerSink(ReportSink):
    table = "ingest_marker"
    schema = MARKER
    identity = ("marker_id",)
    first = last = "r.at"
