"""The charts of the unit economics page: cost, latency and volume by day; cost against latency; where a dollar goes."""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal

from django.http import HttpRequest

from attribution import queries
from attribution.queries import Target, UnitCost
from costobs.kernel import fmt
from costobs.web import charts, filters, unit_figures, words
from costobs.web.parts import Cell, ChartCard, Column, Notice, Row, Table
from costobs.web.unit_figures import UNITS, Unit

_DOTS = 8
# One colour for one kind of token on every scope.
_SLOTS = {"input": 1, "cached": 3, "output": 2, "others": 5, "overhead": 6}


def trend(asked: filters.Asked, unit: Unit, by_day: Mapping[date, UnitCost], target: Target | None = None) -> ChartCard:
    """Cost, latency and volume over the same days; `by_day` knows the days of the comparison too."""
    currency, days = asked.scope.currency, list(asked.scope.days)
    rows = [by_day.get(day) for day in days]
    costs = [unit.cost(row) if row else None for row in rows]
    shown = [charts.Line("cost", "now", costs, "c1")]
    if asked.compare:
        before = [asked.compare.days.start + timedelta(days=index) for index in range(len(days))]
        aligned = [by_day.get(day) if day in asked.compare.days else None for day in before]
        costs_before = [unit.cost(row) if row else None for row in aligned]
        shown.insert(0, charts.Line("before", "before", costs_before, "border-strong", thin=True))
    if target is not None and target.amount is not None:
        aim = [target.amount * unit.scale] * len(days)
        shown.append(charts.Line("target", "target", aim, "watch", thin=True, dashed=True))
    volumes = [unit.volume(row) if row else 0 for row in rows]
    latency = [
        charts.Line(name, name, [getattr(row, f"{name}_ms") if row else None for row in rows], name)
        for name in ("p99", "p95", "p50")
    ]
    panels = [
        charts.Panel(f"Cost of {unit.per}", shown, lambda value: unit.text(value, currency)),
        charts.Panel("Latency p50, p95, p99", latency, fmt.latency),
        charts.Panel(
            f"{unit.volume_label} a day",
            [charts.Line("volume", unit.volume_label, volumes, "c7")],
            fmt.count,
            bars=True,
        ),
    ]
    return ChartCard(
        id="trend",
        title=f"Cost of {unit.per}, latency and volume by day",
        caption=f"{currency}, {asked.bar.basis_label.lower()}, UTC days."
        + (f" Thin: {asked.compare_label}, day by day." if asked.compare else ""),
        chart=charts.multiples(at=days, panels=panels),
        summary=_trend_sentence([day for day in days if day < asked.now.date()], costs, unit, currency),
        table=_trend_table(days, rows, unit, currency),
    )


def dots(
    request: HttpRequest, asked: filters.Asked, unit: Unit, rows: Sequence[UnitCost], slots: Mapping[str, int]
) -> ChartCard:
    """Cost against latency, one dot for each group."""
    unit = unit if unit.key == "tokens" else UNITS["thousand_requests"]
    label = filters.by(asked.group)
    found = [
        (row, cost) for row in rows if row.keys[0] and row.p95_ms and (cost := unit.cost(row)) is not None and cost > 0
    ][:_DOTS]
    points = [
        charts.Point(
            row.keys[0],
            words.label(asked.group, row.keys[0]),
            Decimal(row.p95_ms or 0),
            cost,
            filters.drill_url(request, path=request.path, dimension=asked.group, value=row.keys[0]),
        )
        for row, cost in found
    ]
    chart = (
        charts.cost_latency(points=points, unit=unit.per, currency=asked.scope.currency, slots=slots)
        if points
        else None
    )
    dear = max(found, key=lambda one: one[1], default=None)
    said = (
        f"{words.label(asked.group, dear[0].keys[0])} is the dearest: {unit.text(dear[1], asked.scope.currency)} /"
        f" {unit.per} at p95 {fmt.latency(dear[0].p95_ms)}."
        if dear
        else ""
    )
    return ChartCard(
        id="dots",
        title=f"Cost against latency, by {label}",
        caption=f"Both axes are logarithmic. The {len(points)} largest by spend; click a dot to look inside it.",
        chart=chart,
        summary=said,
        notice=None if points else Notice("info", "No group has both a cost and a latency"),
    )


def dollar(asked: filters.Asked, total: queries.SpendTotal, whole: UnitCost) -> ChartCard:
    """Where a dollar goes."""
    currency = asked.scope.currency
    found = unit_figures.parts(total, whole)
    drawn = [part for part in found if part.cost > 0]
    negative = [part for part in found if part.cost < 0]
    series = [
        charts.Series(part.key, part.label, [part.cost], part.kind, slot=_SLOTS.get(part.key))  # type: ignore[arg-type]
        for part in drawn
    ]
    largest = max(drawn, key=lambda part: part.cost, default=None)
    said = (
        f"{largest.label} is the largest part: {fmt.money(largest.cost, currency)}."
        if largest
        else "Nothing was spent."
    )
    if negative:
        said += f" {negative[0].label} is negative, {fmt.money(negative[0].cost, currency)}, and not drawn."
    rows = [
        Row(
            [
                Cell(part.label),
                Cell(fmt.money(part.cost, currency, places=2)),
                Cell(fmt.percent(part.cost / total.cost) if total.cost else ""),
            ]
        )
        for part in found
    ]
    sums = Row(
        [Cell("Total"), Cell(fmt.money(total.cost, currency, places=2)), Cell(fmt.percent(Decimal(1)))], kind="total"
    )
    columns = [Column("Part"), Column("Spend", numeric=True), Column("Share", numeric=True)]
    return ChartCard(
        id="dollar",
        title="Where a dollar goes",
        caption=f"{currency}, {asked.bar.basis_label.lower()}. Reasoning tokens are part of output.",
        chart=charts.composition(parts=series, currency=currency) if series else None,
        summary=said,
        table=Table("Where a dollar goes", columns, rows, sums),
    )


def _trend_sentence(days: Sequence[date], costs: Sequence[Decimal | None], unit: Unit, currency: str) -> str:
    known = [(cost, day) for cost, day in zip(costs, days, strict=False) if cost is not None]
    if not known:
        return "No complete day of this period has calls to divide by."
    low, high = min(known), max(known)
    return (
        f"The cheapest complete day was {fmt.short_day(low[1])} with {unit.text(low[0], currency)},"
        f" the dearest {fmt.short_day(high[1])} with {unit.text(high[0], currency)} / {unit.per}."
    )


def _trend_table(days: Sequence[date], rows: Sequence[UnitCost | None], unit: Unit, currency: str) -> Table:
    names = [f"$ / {unit.per}", "p50", "p95", "p99", unit.volume_label]
    return Table(
        caption="Unit cost, latency and volume by day",
        columns=[Column("Day"), *[Column(name, numeric=True) for name in names]],
        rows=[
            Row(
                [
                    Cell(fmt.day(day)),
                    Cell(unit.text(unit.cost(row) if row else None, currency)),
                    *[Cell(_latency(getattr(row, name) if row else None)) for name in ("p50_ms", "p95_ms", "p99_ms")],
                    Cell(fmt.count(unit.volume(row) if row else 0)),
                ]
            )
            for day, row in zip(days, rows, strict=True)
        ],
    )


def _latency(value: int | None) -> str:
    return fmt.NOT_APPLICABLE if value is None else fmt.latency(value)
