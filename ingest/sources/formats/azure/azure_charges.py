"""The charges of one month of Azure: of FocusCost, of one of ActualCost and AmortizedCost, or of both joined."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from ingest.rows import CHARGE
from ingest.sources.base import Normalized
from ingest.sources.formats import charge_rows, openings
from ingest.sources.formats.azure import azure_dates, azure_joining, azure_manifests, azure_rows
from ingest.sources.formats.azure.azure_deliveries import Delivered, at_hand
from ingest.sources.formats.focus import focus_columns, focus_rows, focus_tables
from ingest.sources.stores import Store

OTHER_MONTH = "a charge of another month of the same run"


def charges(
    delivered: Delivered, reading: charge_rows.Reading, order: azure_dates.Order | None, store: Callable[[], Store]
) -> Iterator[Normalized]:
    """The charges of a delivery, file by file. BadDelivery when a file is damaged or its rows are not all there."""
    with ExitStack() as stack:
        etags = delivered.etags or ("",) * len(delivered.parts)
        parts = [
            stack.enter_context(at_hand(part, etag, store)) for part, etag in zip(delivered.parts, etags, strict=True)
        ]
        reader = _Month(delivered, parts, reading, order)
        kinds = {run.kind for run in delivered.month.runs} if delivered.month else set()
        if len(kinds) > 1:
            found = reader.joined()
        elif kinds == {"FocusCost"}:
            found = reader.focus()
        else:
            found = reader.single()
        for each in found:
            yield _placed(each, delivered.month)
        reader.check()


class _Month:
    """Reads the files of one delivery and counts their rows."""

    def __init__(
        self,
        delivered: Delivered,
        parts: Sequence[openings.Part],
        reading: charge_rows.Reading,
        order: azure_dates.Order | None,
    ) -> None:
        self._delivered, self._parts, self._reading, self._order = delivered, parts, reading, order
        self._counts: dict[int, int] = defaultdict(int)

    def focus(self) -> Iterator[Normalized]:
        for at, part in enumerate(self._parts):
            columns: focus_columns.Columns | None = None
            for table in focus_tables.tables(part):
                columns = columns or focus_columns.match(
                    table.column_names, file=part.name, default_currency=self._reading.default_currency
                )
                if table.num_rows:
                    first = self._counts[at] + 1
                    self._counts[at] += table.num_rows
                    yield focus_rows.charges(
                        table, columns, self._reading, file=part.name, file_index=at, first_row=first
                    )

    def single(self) -> Iterator[Normalized]:
        """Both costs are those of the one kind that is delivered."""
        for at in range(len(self._parts)):
            kind = self._delivered.runs[at].kind if self._delivered.runs else ""
            for reader, frame in self._frames(at):
                yield self._finished(azure_rows.priced(frame, kind), reader, at)

    def joined(self) -> Iterator[Normalized]:
        """Billed cost from ActualCost, effective cost from AmortizedCost, see azure_joining."""
        joining = azure_joining.Joining()
        actual = [at for at, run in enumerate(self._delivered.runs) if run.kind == "ActualCost"]
        amortised = [at for at, run in enumerate(self._delivered.runs) if run.kind != "ActualCost"]
        for at in amortised:
            for _, frame in self._frames(at):
                joining.remember(frame, part=at)
        for at in actual:
            for reader, frame in self._frames(at):
                yield self._finished(joining.actual(frame), reader, at)
        for at in amortised:
            alone, whole = joining.alone(part=at), self._counts[at]
            if len(alone):
                # The second reading of the file: its rows are counted already.
                for reader, frame in self._frames(at, counts=False):
                    kept = azure_joining.only(frame, alone)
                    if kept.height:
                        yield self._finished(kept, reader, at)
            empty = pa.RecordBatch.from_pylist([], schema=CHARGE)
            yield Normalized(empty, (), self._parts[at].name, {azure_joining.JOINED: whole - len(alone)})

    def check(self) -> None:
        """BadDelivery with both numbers when a file or a run holds other rows than its manifest says."""
        total: dict[str, int] = defaultdict(int)
        for at, part in enumerate(self._parts):
            _compare(part.name, part.expected_rows, self._counts[at])
            if self._delivered.runs:
                total[self._delivered.runs[at].path] += self._counts[at]
        for run in self._delivered.month.runs if self._delivered.month else ():
            _compare(run.path, run.rows, total[run.path])

    def _frames(self, at: int, *, counts: bool = True) -> Iterator[tuple[azure_rows.Reader, pl.DataFrame]]:
        part = self._parts[at]
        period = self._delivered.runs[at].period if self._delivered.runs else None
        reader = azure_rows.Reader(part.name, period, self._reading.default_currency, self._order)
        reader.settle(focus_tables.tables(part))
        for table in focus_tables.tables(part):
            if table.num_rows:
                yield reader, reader.frame(table)
                if counts:
                    self._counts[at] += table.num_rows
            else:
                reader.check(table)

    def _finished(self, frame: pl.DataFrame, reader: azure_rows.Reader, at: int) -> Normalized:
        return charge_rows.finish(
            azure_rows.completed(frame),
            reader.extra,
            self._reading,
            file=self._parts[at].name,
            file_index=at,
            first_row=1,
        )


def _placed(found: Normalized, month: azure_manifests.Month | None) -> Normalized:
    """The charges of the month alone, all in its billing period: a delivery replaces the one before by it.

    The period of an invoice may begin in the middle of a month (pay-as-you-go), where two months would replace each other's
    charges; Azure's own words for it stay in `extra`.
    """
    if month is None or not found.batch.num_rows:
        return found
    batch, skipped = _lowered(found.batch), dict(found.skipped)
    if any(run.period.first < month.first or run.period.last > month.last for run in month.runs):
        kept = batch.filter(_in_month(batch, month))
        if batch.num_rows > kept.num_rows:
            skipped[OTHER_MONTH] = skipped.get(OTHER_MONTH, 0) + batch.num_rows - kept.num_rows
        batch = kept
    for name, day in (("billing_period_start", month.first), ("billing_period_end", month.last + timedelta(days=1))):
        position = batch.schema.get_field_index(name)
        batch = batch.set_column(position, CHARGE.field(name), pa.array([day] * batch.num_rows, pa.date32()))
    return replace(found, batch=batch, skipped=skipped)


def _lowered(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Resources in lower case, in which alone one resource is always one: Azure writes it in several."""
    position = batch.schema.get_field_index("resource_id")
    return batch.set_column(position, CHARGE.field("resource_id"), pc.utf8_lower(batch.column(position)))


def _in_month(batch: pa.RecordBatch, month: azure_manifests.Month) -> pa.BooleanArray:
    """Which charges are the month's, of a run over several: the first and last also have what lies outside of the run."""
    starts = pl.Series(batch.column("charge_period_start"))
    begins = datetime.combine(month.first, time(), UTC)
    ends = datetime.combine(month.last + timedelta(days=1), time(), UTC)
    is_first = all(run.period.first >= month.first for run in month.runs)
    is_last = all(run.period.last <= month.last for run in month.runs)
    mask = pl.Series([True]).new_from_index(0, len(starts))
    if not is_first:
        mask &= starts >= begins
    if not is_last:
        mask &= starts < ends
    return mask.to_arrow()


def _compare(name: str, expected: int | None, found: int) -> None:
    if expected is not None and expected != found:
        reason = f"the manifest says {expected:,} rows, found {found:,} (difference {found - expected:+,})"
        raise openings.broken(name, reason, field="dataRowCount")
