"""The tables and the chart of one unit of business value."""

from collections.abc import Sequence
from decimal import Decimal

from django.http import HttpRequest
from django.urls import reverse

from attribution.queries import Target, UnitValue, UnitValues
from costobs.kernel import fmt
from costobs.web import charts, filters
from costobs.web.parts import Cell, ChartCard, Column, Notice, Row, Table

_PARTS = (("API", "api"), ("GPU", "gpu"), ("Shared", "shared"), ("Idle", "idle"), ("Other", "other"))
_ALWAYS = {"shared", "idle"}  # nothing idle or shared is an answer, nothing of another kind only a column of zeros
SCALES = {1: "", 1_000: "1k ", 1_000_000: "1M "}


def per(values: UnitValues, scale: int) -> str:
    """`ticket`, `1k tickets`."""
    word = values.unit or values.name.replace("_", " ")
    if values.is_revenue:
        return f"{SCALES[scale]}{word} of revenue" if scale > 1 else f"{word} of revenue"
    return f"{SCALES[scale]}{word}{'' if scale == 1 or word.endswith('s') else 's'}"


def one_of(values: UnitValues, scale: int) -> str:
    """`one ticket`, `1k tickets`: as a sentence says it."""
    return f"one {per(values, scale)}" if scale == 1 else per(values, scale)


def text(value: Decimal | None, scale: int, currency: str) -> str:
    """What `scale` units cost; a dash where nothing was done."""
    found = fmt.unit_cost(value, "unit", currency, scale=scale)
    return found.amount if found else fmt.NOT_APPLICABLE


def count(value: Decimal) -> str:
    """A figure of the business as people write it."""
    return fmt.count(value) if value == int(value) else f"{value.normalize():f}"


def trend(asked: filters.Asked, values: UnitValues, scale: int, target: Target | None) -> ChartCard:
    """Cost of a unit with its target, and how many there were, by period."""
    currency = asked.scope.currency
    at = [one.span.start for one in values.periods]
    costs = [None if one.cost_per_unit is None else one.cost_per_unit * scale for one in values.periods]
    shown = [charts.Line("cost", "now", costs, "c1")]
    if target is not None and target.amount is not None:
        aim = target.amount * scale
        shown.append(charts.Line("target", "target", [aim] * len(at), "watch", thin=True, dashed=True))
    panels = [
        charts.Panel(f"Cost of {one_of(values, scale)}", shown, lambda value: text(value / scale, scale, currency)),
        charts.Panel(
            values.name.replace("_", " ").capitalize(),
            [charts.Line("volume", values.unit or "Value", [one.value for one in values.periods], "c7")],
            fmt.count,
            bars=True,
        ),
    ]
    if any(one.margin is not None for one in values.periods):
        margins = [one.margin for one in values.periods]
        panels.append(
            charts.Panel(
                "Margin", [charts.Line("margin", "margin", margins, "c2")], lambda one: fmt.money(one, currency)
            )
        )
    missed = sum(1 for one in values.periods if target is not None and target.is_missed_by(one.cost_per_unit))
    aimed = "" if target is None or target.amount is None else f" The target was missed in {missed} of {len(at)}."
    return ChartCard(
        id="trend",
        title=f"Cost of {one_of(values, scale)} by {values.by}",
        caption=f"{currency}, {asked.bar.basis_label.lower()}, whole UTC days that figures fill.",
        chart=charts.multiples(at=at, panels=panels) if at else None,
        summary=f"{_span(costs, values, scale, currency)}{aimed}",
    )


def periods(request: HttpRequest, values: UnitValues, scale: int, currency: str, target: Target | None) -> Table:
    """By period with the parts of its cost, newest first; a period leads to its spend."""
    rows = [
        Row(
            [
                Cell(fmt.period(one.span.start, one.span.end), explore_url(request, one)),
                *_cells(one, values, scale, currency),
                *_aim(one, target),
            ]
        )
        for one in reversed(values.periods)
    ]
    whole = values.whole
    total = Row(
        [Cell(f"Total ({len(rows)} {values.by}s)"), *_cells(whole, values, scale, currency), *_aim(whole, target)]
    )
    columns = [Column("Period"), *_columns(values, scale)]
    if target is not None and target.amount is not None:
        columns.append(Column("Target", title=f"At most {text(target.amount, scale, currency)} / {per(values, scale)}"))
    return Table(
        f"Cost of {one_of(values, scale)} by {values.by}",
        columns,
        rows,
        Row(total.cells, kind="total") if rows and whole else None,
        Notice("empty", "No figure of whole days in these days"),
        csv_url=f"{reverse('unit_values_export')}?{request.GET.urlencode()}",
        note="The spend of the owner a figure names, of exactly the days it tells of, idle and shared parts included.",
    )


def owners(request: HttpRequest, values: UnitValues, scale: int, currency: str) -> Table:
    """By team and feature."""
    rows = [
        Row(
            [
                Cell(" / ".join(filter(None, (team, feature))) or "Everybody in this scope"),
                *_cells(one, values, scale, currency),
            ]
        )
        for team, feature, one in values.owners
    ]
    note = "A feature's spend is also its team's: where figures name both, the rows are more than the total."
    columns = [Column("Owner", wide=True), *_columns(values, scale)]
    return Table(f"Cost of {one_of(values, scale)} by owner", columns, rows, note=note)


def explore_url(request: HttpRequest, value: UnitValue) -> str:
    """The spend behind a figure."""
    days = {"preset": "custom", "from": value.span.start, "to": value.span.last, "group": "cost_kind"}
    return filters.url(request, path=reverse("explore"), drop=["unit", "by", "scale"], **days)


def _parts(values: UnitValues) -> list[tuple[str, str]]:
    shown = [*values.periods, *(one for _team, _feature, one in values.owners)]
    return [
        (label, name) for label, name in _PARTS if name in _ALWAYS or any(getattr(one.parts, name) for one in shown)
    ]


def _columns(values: UnitValues, scale: int) -> list[Column]:
    margin = [Column("Margin", numeric=True), Column("Of revenue", numeric=True)] if values.is_revenue else []
    return [
        Column("Value", numeric=True),
        Column("Spend", numeric=True),
        *[Column(label, numeric=True) for label, _ in _parts(values)],
        Column(f"$ / {per(values, scale)}" if not values.is_revenue else "Cost of 1 of revenue", numeric=True),
        *margin,
    ]


def _cells(one: UnitValue | None, values: UnitValues, scale: int, currency: str) -> list[Cell]:
    if one is None:
        return [Cell()] * len(_columns(values, scale))
    places = fmt.column_places([value.cost for value in values.periods])
    note = f"{fmt.percent(one.parts.estimated / one.cost)} estimated" if one.parts.estimated and one.cost else ""
    margin = []
    if values.is_revenue:
        known = one.margin is not None
        margin = [
            Cell(
                fmt.money(one.margin, currency, places=places) if known else fmt.UNKNOWN, note="" if known else one.unit
            ),
            Cell(fmt.percent(one.margin_rate) if known else fmt.UNKNOWN),
        ]
    return [
        Cell(count(one.value), title=f"{one.value:f} {one.unit}"),
        Cell(fmt.money(one.cost, currency, places=places), note=note),
        *[Cell(fmt.money(getattr(one.parts, name), currency, places=places)) for _, name in _parts(values)],
        Cell(text(one.cost_per_unit, scale, currency)),
        *margin,
    ]


def _aim(one: UnitValue | None, target: Target | None) -> list[Cell]:
    if target is None or target.amount is None:
        return []
    if one is None or one.cost_per_unit is None:
        return [Cell(fmt.NOT_APPLICABLE)]
    return [Cell("Missed", state="over") if target.is_missed_by(one.cost_per_unit) else Cell("Met", state="on_track")]


def _span(costs: Sequence[Decimal | None], values: UnitValues, scale: int, currency: str) -> str:
    known = [(cost, one) for cost, one in zip(costs, values.periods, strict=True) if cost is not None]
    if not known:
        return "No period has anything to divide by."
    low, high = min(known, key=lambda one: one[0]), max(known, key=lambda one: one[0])
    return (
        f"The cheapest {values.by} was {fmt.period(low[1].span.start, low[1].span.end)} with"
        f" {text(low[0] / scale, scale, currency)}, the dearest {fmt.period(high[1].span.start, high[1].span.end)} with"
        f" {text(high[0] / scale, scale, currency)} / {per(values, scale)}."
    )
