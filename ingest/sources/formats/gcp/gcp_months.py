"""Which invoice months of a billing account changed, and which of its tables tells each of them whole."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, timedelta

from ingest.rows import Rejected
from ingest.sources.base import BadDelivery, Window
from ingest.sources.formats.gcp import gcp_export, gcp_queries

# So far the detailed export may be behind the standard one and still be the one to read: both arrive in their own time.
_MAY_LAG = timedelta(days=2)


@dataclass(frozen=True, slots=True)
class Month:
    """What is known of one invoice month of one table before it is read; moments are microseconds since 1970."""

    export: gcp_export.Export
    month: str
    newest: int  # the newest export_time
    rows: int
    first: int = 0  # where its usage begins
    last: int = 0  # and ends

    @property
    def state(self) -> list[str | int]:
        """Changes whenever rows were added."""
        return [self.export.table, self.newest, self.rows]


def changed(warehouse: gcp_queries.Warehouse, tables: Sequence[gcp_export.Export], window: Window) -> list[Month]:
    """The invoice months of a window, and older ones that got rows in it; each counted whole, the oldest first.

    `tables` are those of one account, the best first: all of them hold the same costs, and each month is read from one.
    """
    first = window.start.astimezone(UTC).strftime("%Y%m")
    begin = int(window.start.timestamp()) * 1_000_000
    counted = [_counted(warehouse, export, first) for export in tables]
    older = {month for one in counted for month, found in one.items() if month < first and found.newest >= begin}
    if older:
        # Their earlier partitions were not looked at.
        counted = [_counted(warehouse, export, min(older)) for export in tables]
    wanted = {month for one in counted for month in one if month >= first or month in older}
    return [
        _whole([one[month] for one in counted if month in one])
        for month in sorted(wanted)
        if gcp_export.begins(month) < window.end
    ]


def _whole(found: Sequence[Month]) -> Month:
    """The month in the best table that begins where the others do and is not far behind them.

    The detailed export of a region begins on the day it is enabled; of a multi-region it is filled from the month before,
    in the order of usage, over up to five days. So long the standard export has more.
    """
    begins, ends = min(each.first for each in found), max(each.last for each in found)
    lag = int(_MAY_LAG.total_seconds()) * 1_000_000
    return next(
        (each for each in found if each.first <= begins and each.last >= ends - lag),
        max(found, key=lambda each: each.last - each.first),
    )


def _counted(warehouse: gcp_queries.Warehouse, export: gcp_export.Export, first: str) -> dict[str, Month]:
    counted = {}
    for batch in warehouse.ask(gcp_export.months_query(export), floor=gcp_export.floor(first)):
        for row in batch.to_pylist():
            month = str(row["month"] or "")
            try:
                gcp_export.begins(month)
            except ValueError as problem:
                raise BadDelivery(Rejected(export.table, 0, "invoice.month", str(problem))) from problem
            numbers = (int(row[name] or 0) for name in ("newest", "rows_in_all", "first", "last"))
            counted[month] = Month(export, month, *numbers)
    return counted
