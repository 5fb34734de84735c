"""The tables of one source: its loads, where each row of each file went, its deliveries, and what was quarantined."""

from collections.abc import Sequence
from decimal import Decimal

from django.urls import reverse

from costobs.kernel import fmt
from costobs.web.parts import Cell, Column, Notice, Row, Table
from ingest.queries import FileLine, LoadLine, QuarantinedLine
from ingest.source_detail import DeliveryLine

LOAD_STATES = {
    "succeeded": "done",
    "superseded": "ended",
    "running": "running",
    "refused": "failed",
    "failed": "failed",
}
_TAKEN = {"succeeded", "superseded"}
SUM = "Read = loaded + known + quarantined + skipped; a refused bill loads nothing and keeps the one before."


def loads(found: Sequence[LoadLine], *, shows_source: bool) -> Table:
    """The newest loads; each name leads to its files."""
    columns = [
        Column("File or batch", wide=True),
        *([Column("Source", wide=True)] if shows_source else []),
        Column("State"),
        Column("Started"),
        Column("Rows read", numeric=True),
        Column("Loaded", numeric=True),
        Column("Known", numeric=True, title="Rows that were in the books already"),
        Column("Quarantined", numeric=True),
        Column("Skipped", numeric=True, title="Rows that were read and rightly left out; the load says why"),
    ]
    rows = [Row(_load_cells(one, shows_source=shows_source)) for one in found]
    empty = Notice("empty", "Nothing was loaded yet", "What is read or pushed is listed here, file by file.")
    return Table("Newest loads", columns, rows, empty=empty, note=SUM)


def files(found: Sequence[LoadLine], *, limit: int = 100) -> Table:
    """Every file of these loads with where each of its rows went; the columns add up to what was read."""
    columns = [
        Column("File", wide=True),
        Column("Loaded at"),
        Column("Rows read", numeric=True),
        Column("Loaded or known", numeric=True),
        Column("Refused with it", numeric=True, title="Good rows of a bill that was refused as a whole"),
        Column("Quarantined", numeric=True),
        Column("Skipped", numeric=True),
        Column("Why skipped", wide=True),
    ]
    parts = [(load, file) for load in found for file in of(load)][:limit]
    total = None
    if parts:
        sums = [sum(values) for values in zip(*(_counts(load, file) for load, file in parts), strict=True)]
        total = Row([Cell("Total"), Cell(""), *(Cell(fmt.integer(one)) for one in sums), Cell("")], kind="total")
    rows = [
        Row(
            [
                Cell(file.name, url=reverse("load", args=[load.id])),
                Cell(fmt.moment(load.started_at)),
                *(Cell(fmt.integer(one)) for one in _counts(load, file)),
                Cell(reasons(file.reasons)),
            ]
        )
        for load, file in parts
    ]
    empty = Notice("empty", "No file was read yet", "")
    return Table(
        "Rows by file", columns, rows, total=total, empty=empty, note="Read is the sum of the columns beside it."
    )


def of(load: LoadLine) -> Sequence[FileLine]:
    """The files of a load; of one that names none, the load itself."""
    return load.files or [FileLine(load.name, load.rows_read, load.rows_quarantined, load.rows_skipped, load.skipped)]


def reasons(found: object) -> str:
    """Why rows were left out: `spans that are not calls: 12`."""
    pairs = sorted(found.items(), key=lambda pair: -pair[1]) if isinstance(found, dict) else []
    return "; ".join(f"{reason}: {fmt.integer(count)}" for reason, count in pairs)


def deliveries(found: Sequence[DeliveryLine]) -> Table:
    """What counts of each billing period of each export."""
    currencies = sorted({currency for one in found for currency, _cost in one.billed_cost})
    columns = [
        Column("Export", wide=True),
        Column("Period"),
        Column("Files", numeric=True),
        Column("Rows", numeric=True),
        *(Column(f"Billed, {currency}", numeric=True) for currency in currencies),
        Column("Complete through"),
        Column("Delivered"),
    ]
    rows = [
        Row(
            [
                Cell(one.export, title=f"run {one.run_id}"),
                Cell(fmt.month(one.billing_period_start)),
                Cell(fmt.integer(one.files)),
                Cell(fmt.integer(one.rows)),
                *(Cell(_statement(dict(one.billed_cost).get(currency), currency)) for currency in currencies),
                Cell(fmt.moment(one.complete_through) if one.complete_through else "not said"),
                Cell(fmt.moment(one.delivered_at)),
            ]
        )
        for one in found
    ]
    total = _delivered(found, currencies) if rows else None
    empty = Notice(
        "empty", "No bill was delivered yet", "A delivery replaces the one before of the same export and period."
    )
    return Table(
        "Deliveries",
        columns,
        rows,
        total=total,
        empty=empty,
        note="Only what counts: replaced deliveries are left out.",
    )


def quarantined(found: Sequence[QuarantinedLine], *, csv_url: str) -> Table:
    """Rows that were not loaded, as they came."""
    columns = [
        Column("File"),
        Column("Row", numeric=True),
        Column("Field"),
        Column("Why", wide=True),
        Column("Loaded"),
    ]
    rows = [
        Row(
            [
                Cell(one.file, title=one.raw[:300]),
                Cell(fmt.integer(one.row_number)),
                Cell(one.field, mono=True),
                Cell(one.reason),
                Cell(fmt.moment(one.loaded_at)),
            ]
        )
        for one in found
    ]
    empty = Notice(
        "info", "No row is quarantined", "Rows that cannot be understood are kept here with file, row and field."
    )
    return Table("Quarantined rows", columns, rows, empty=empty, csv_url=csv_url if rows else "")


def _delivered(found: Sequence[DeliveryLine], currencies: Sequence[str]) -> Row:
    sums = [sum((dict(one.billed_cost).get(name, Decimal(0)) for one in found), Decimal(0)) for name in currencies]
    cells = [
        Cell("Total"),
        Cell(""),
        Cell(fmt.integer(sum(one.files for one in found))),
        Cell(fmt.integer(sum(one.rows for one in found))),
        *(Cell(_statement(cost, name)) for cost, name in zip(sums, currencies, strict=True)),
        Cell(""),
        Cell(""),
    ]
    return Row(cells, kind="total")


def _load_cells(one: LoadLine, *, shows_source: bool) -> list[Cell]:
    return [
        Cell(one.name, url=reverse("load", args=[one.id]), note=one.error),
        *([Cell(one.source, url=reverse("settings_source", args=[one.source_id]))] if shows_source else []),
        Cell(one.state.capitalize(), state=LOAD_STATES.get(one.state, "unknown")),
        Cell(fmt.moment(one.started_at)),
        Cell(fmt.integer(one.rows_read)),
        Cell(fmt.integer(one.rows_loaded)),
        Cell(fmt.integer(one.rows_duplicate)),
        Cell(fmt.integer(one.rows_quarantined)),
        Cell(fmt.integer(one.rows_skipped), title=reasons(one.skipped)),
    ]


def _counts(load: LoadLine, file: FileLine) -> tuple[int, int, int, int, int]:
    """Read, taken, refused with the load, quarantined, skipped: the first is the sum of the others."""
    left = file.read - file.quarantined - file.skipped
    taken = left if load.state in _TAKEN else 0
    return file.read, taken, left - taken, file.quarantined, file.skipped


def _statement(cost: Decimal | None, currency: str) -> str:
    return fmt.NOT_APPLICABLE if cost is None else fmt.money(cost, currency, mode="statement")
