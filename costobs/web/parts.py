"""The typed contents of the partials: cards, tables, notices. A page fills them, the templates only draw."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from costobs.kernel.fmt import Delta
from costobs.web import charts

RowKind = Literal["", "total", "other", "idle", "unallocated", "unpriced", "shared"]
NoticeKind = Literal[
    "empty", "nothing_matches", "not_arrived", "partial", "error", "no_permission", "late", "sample", "info"
]


@dataclass(frozen=True, slots=True)
class Link:
    """A button or link. With `post` it is a form with the CSRF token, for everything that changes something."""

    label: str
    url: str
    icon: str = ""
    primary: bool = False
    danger: bool = False
    post: bool = False


@dataclass(frozen=True, slots=True)
class Notice:
    """A data state: what, why, what it means for the numbers (`text`), and the next step (`actions`)."""

    kind: NoticeKind
    title: str
    text: str = ""
    actions: Sequence[Link] = ()


@dataclass(frozen=True, slots=True)
class Kpi:
    """One headline number: `value` is formatted, `unit` set smaller, `delta` and `compare` below, `note` last."""

    title: str
    value: str
    unit: str = ""
    delta: Delta | None = None
    compare: str = ""
    note: str = ""
    state: str = ""
    url: str = ""
    explain_url: str = ""


@dataclass(frozen=True, slots=True)
class Spark:
    """Values of a sparkline, oldest first, None for a gap; `open_end` dashes the last, unfinished one."""

    values: Sequence[Decimal | int | None]
    open_end: bool = False
    label: str = ""


@dataclass(frozen=True, slots=True)
class Bullet:
    """Progress against time: both are ratios (0.767); `tone` is a state key; `label` is read aloud."""

    used: Decimal
    elapsed: Decimal | None
    state: str = "on_track"
    label: str = ""


@dataclass(frozen=True, slots=True)
class Cell:
    """One table cell. Exactly one of text, state, spark, bullet or share is drawn; `note` goes below the text."""

    text: str = ""
    url: str = ""
    title: str = ""
    note: str = ""
    state: str = ""
    tone: Literal["", "unfavourable", "favourable"] = ""
    delta: Delta | None = None
    spark: Spark | None = None
    bullet: Bullet | None = None
    share: Decimal | None = None
    mono: bool = False
    actions: Sequence[Link] = ()
    depth: int = 0  # of the first cell of a row in a tree


@dataclass(frozen=True, slots=True)
class Column:
    """A header. `sort` is '' or 'ascending' or 'descending'; `sort_url` makes it a link; `wide` lets its text wrap."""

    label: str
    numeric: bool = False
    title: str = ""
    sort: Literal["", "ascending", "descending"] = ""
    sort_url: str = ""
    wide: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """`slot` is a colour slot (1-10) for the swatch; kinds other than '' get the hatched one and come last."""

    cells: Sequence[Cell]
    slot: int | None = None
    kind: RowKind = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table with its caption (read aloud), rows, total from the same query, and what it says when empty."""

    caption: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    total: Row | None = None
    empty: Notice | None = None
    csv_url: str = ""
    note: str = ""
    pages: str = ""
    previous_url: str = ""
    next_url: str = ""

    @property
    def is_compact(self) -> bool:
        return len(self.rows) > 20

    def pairs(self) -> Sequence[tuple[Row, Sequence[tuple[Column, Cell]]]]:
        """Rows with each cell beside its column, for the template."""
        return [(row, list(zip(self.columns, row.cells, strict=True))) for row in self.rows]

    def total_pairs(self) -> Sequence[tuple[Column, Cell]]:
        return list(zip(self.columns, self.total.cells, strict=True)) if self.total else []


@dataclass(frozen=True, slots=True)
class ChartCard:
    """A chart with what must stand beside it: caption (measure, currency, basis, zone), one sentence, table."""

    id: str
    title: str
    caption: str
    chart: charts.Chart | None
    summary: str
    table: Table | None = None
    notice: Notice | None = None
    actions: Sequence[Link] = ()


@dataclass(frozen=True, slots=True)
class Rung:
    """One step of a ladder: `marker` is a state key (sent, in_force, armed, waiting_approval…), `when` is text."""

    label: str
    action: str
    marker: str
    when: str
    note: str = ""
    actions: Sequence[Link] = ()
