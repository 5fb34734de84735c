"""Fine-tune runs: a later report of the same run replaces the earlier one."""

from datetime import date, timedelta

import polars as pl
import pyarrow as pa
from django.db import connection

from ingest import encode
from ingest.rows import FINE_TUNE
from ingest.sinks.base import Context, Placed, Sink

_COLUMNS = [name for name in FINE_TUNE.names if name != "row_number" and not name.startswith("attr_")]
_LIST = ", ".join(_COLUMNS)
_PLACE = f"""
INSERT INTO ingest_finetunerun (source_id, attribute_set_id, {_LIST})
SELECT DISTINCT ON (external_id) %(source)s, attribute_set_id, {_LIST} FROM stage_fine_tune ORDER BY external_id, row_number DESC
ON CONFLICT (source_id, external_id) DO UPDATE SET
    attribute_set_id = excluded.attribute_set_id,
    {", ".join(f"{name} = excluded.{name}" for name in _COLUMNS if name != "external_id")}
"""


class FineTuneSink(Sink):
    """Runs touch every day between their start and their end."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._encoder = encode.Encoder(source_id=context.source.pk, now=context.now)
        self._staged = 0

    def open(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute("DROP TABLE IF EXISTS stage_fine_tune")
            cursor.execute(
                f"""CREATE TEMPORARY TABLE stage_fine_tune AS
                    SELECT 0::bigint AS row_number, attribute_set_id, {_LIST} FROM ingest_finetunerun WITH NO DATA"""
            )

    def stage(self, batch: pa.RecordBatch) -> None:
        frame: pl.DataFrame = pl.from_arrow(batch)  # type: ignore[assignment]  # a batch is always a frame
        if frame.is_empty():
            return
        self._staged += len(frame)
        encode.copy_csv(table="stage_fine_tune", frame=self._encoder.attribute_sets(frame))

    def place(self) -> Placed:
        with connection.cursor() as cursor:
            cursor.execute(_PLACE, {"source": self.context.source.pk})
            loaded = cursor.rowcount
            cursor.execute(
                """SELECT min(started_at AT TIME ZONE 'UTC')::date,
                          max(coalesce(ended_at, %s) AT TIME ZONE 'UTC')::date FROM stage_fine_tune""",
                [self.context.now],
            )
            first, last = cursor.fetchone()
        return Placed(loaded, self._staged - loaded, (), _between(first, last), complete_through=self.context.now)

    def drop(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute("DROP TABLE IF EXISTS stage_fine_tune")


def _between(first: date | None, last: date | None) -> list[date]:
    if first is None or last is None:
        return []
    return [first + timedelta(days=offset) for offset in range((last - first).days + 1)]
