"""What a chart is given and what it gives back; amounts stay Decimal until the figure is made."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Literal

from costobs.web.charts.colour import Kind

Value = Decimal | int | None
Height = Literal["main", "secondary", "small", "m2", "m3", "m4", "strip"]
Write = Callable[[Decimal], str]


@dataclass(frozen=True, slots=True)
class Series:
    """One entity's values, one for each day (or row); `urls` is where a click leads; `slot` overrides the colour."""

    key: str
    label: str
    values: Sequence[Value]
    kind: Kind = ""
    urls: Sequence[str] = ()
    slot: int | None = None

    @property
    def total(self) -> Decimal:
        return sum((Decimal(value) for value in self.values if value is not None), Decimal(0))


@dataclass(frozen=True, slots=True)
class Line:
    """One line; `token` names a CSS variable without its dashes (`p50`, `c1`), else the key's own colour is used."""

    key: str
    label: str
    values: Sequence[Value]
    token: str = ""
    dashed: bool = False
    thin: bool = False
    urls: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Mark:
    """A numbered event at a day (or moment); its text stands in the list under the chart."""

    number: int
    at: date | datetime
    text: str
    amount: Decimal | None = None
    url: str = ""


@dataclass(frozen=True, slots=True)
class ForecastDay:
    day: date
    low: Decimal
    mid: Decimal
    high: Decimal


@dataclass(frozen=True, slots=True)
class Effect:
    """One step of a bridge; a total is drawn from zero."""

    label: str
    amount: Decimal
    is_total: bool = False
    is_estimated: bool = False
    url: str = ""


@dataclass(frozen=True, slots=True)
class RungLine:
    """A threshold: `label` is its words (`Throttle 75 %`), `token` the state colour (watch, thr, over, text)."""

    label: str
    amount: Decimal
    token: str = "watch"  # noqa: S105 - a CSS variable
    solid: bool = False


@dataclass(frozen=True, slots=True)
class Point:
    """One dot of cost against latency: `latency` in milliseconds, `cost` in currency for one unit."""

    key: str
    label: str
    latency: Decimal
    cost: Decimal
    url: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """One of several small charts over the same days: bars or lines, with its own unit."""

    title: str
    lines: Sequence[Line]
    write: Write
    bars: bool = False


@dataclass(frozen=True, slots=True)
class LegendItem:
    """`mark`: solid, hatch, idle, unallocated, unpriced, line, dash, band, thin or cross; `token` its CSS variable."""

    label: str
    token: str
    mark: str = "solid"


@dataclass(frozen=True, slots=True)
class Chart:
    """A figure ready for the browser, the height it needs, its legend as HTML, and its numbered events."""

    figure: Mapping[str, object]
    height: Height = "main"
    legend: Sequence[LegendItem] = ()
    marks: Sequence[Mark] = ()
