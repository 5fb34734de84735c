"""Unit economics: what does one unit cost, and is it improving?"""

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse

from attribution import queries
from attribution.queries import UnitCost
from costobs.kernel import fmt
from costobs.web import breakdown, charts, csv_file, filters, unit_figures, unit_tables, words
from costobs.web.page import page as page_view
from costobs.web.parts import Cell, ChartCard, Column, Kpi, Link, Notice, Row, Table
from costobs.web.unit_figures import UNITS, Unit

_GROUPS = ("model", "feature", "team", "provider_name", "deployment", "key", "cost_centre", "environment")
_DOTS = 15
_RUNS = 20
_FIELDS = (
    "cost", "usage_cost", "loaded_cost", "estimated_cost", "requests", "errors", "refused", "unknown_usage",
    "input_uncached", "cache_read", "cache_write", "output", "reasoning", "tokens", "cost_per_million_input",
    "cost_per_million_cached", "cost_per_million_output", "cost_per_million_tokens", "loaded_cost_per_million_tokens",
    "cost_per_request", "cost_per_thousand_requests", "agent_runs", "cost_per_agent_run", "tokens_per_request",
    "cache_hit_rate", "error_rate", "p50_ms", "p90_ms", "p95_ms", "p99_ms", "ttft_p50_ms", "ttft_p95_ms",
)  # fmt: skip


@page_view
def page(request: HttpRequest) -> HttpResponse:
    asked = filters.read(request, groups=_GROUPS)
    unit = UNITS.get(request.GET.get("unit", ""), UNITS["tokens"])
    context: dict[str, Any] = {
        "page": "unit_costs",
        "scope": asked.bar,
        "actions": [Link("Export CSV", f"{reverse('unit_costs_export')}?{asked.query}", icon="download")],
        "tabs": [(one.tab, filters.url(request, unit=one.key), one is unit) for one in UNITS.values()],
    }
    context |= _usage_page(request, asked, unit) if unit.is_usage else _other_page(request, asked, unit)
    return render(request, "pages/unit_costs.html", context)


@page_view
def export(request: HttpRequest) -> HttpResponse:
    """The rows of the page with every digit and every column; what no usage explains is the last row."""
    asked = filters.read(request, groups=_GROUPS)
    rows = queries.unit_costs(scope=asked.scope, group_by=[asked.group])
    rest = unit_figures.without_usage(queries.total(scope=asked.scope).cost, rows)
    where = (asked.scope.days.start, asked.scope.days.last, asked.scope.currency, asked.scope.cost)
    lines = [(row.keys[0], *where, *(getattr(row, name) for name in _FIELDS)) for row in rows]
    if rest:
        lines.append(("(without logged usage)", *where, rest, *[None] * (len(_FIELDS) - 1)))
    name = f"unit-costs-{asked.group}-{asked.scope.days.start}-{asked.scope.days.last}.csv"
    return csv_file.response(
        name=name, columns=[asked.group, "from", "to", "currency", "cost_column", *_FIELDS], rows=lines
    )


def _usage_page(request: HttpRequest, asked: filters.Asked, unit: Unit) -> dict[str, Any]:
    total = queries.total(scope=asked.scope)
    rows = queries.unit_costs(scope=asked.scope, group_by=[asked.group])
    whole, now, before = _one(asked.scope), _one(asked.complete), _one(asked.compare) if asked.compare else None
    fine_tunes = queries.fine_tune_runs(scope=asked.scope, limit=_RUNS)
    currency = asked.scope.currency
    context: dict[str, Any] = {
        "heading": _heading(asked, unit, now or whole, before),
        "sub": _sub(asked, total, whole),
        "table": _table(request, asked, unit, rows, whole, total.cost),
        "columns": _columns_link(request),
        "estimates": unit_tables.estimates(queries.estimated_versus_billed(scope=asked.scope), currency),
        "agent_runs": unit_tables.agent_runs(queries.agent_runs(scope=asked.scope, limit=_RUNS)),
        "fine_tunes": unit_tables.fine_tune_runs(fine_tunes, currency) if fine_tunes else None,
    }
    if whole is None:
        return context | {"notice": _no_usage(request, asked)}
    return context | {
        "kpis": _kpis(asked, unit, total, whole, now, before),
        "trend": _trend(asked, unit),
        "dots": _dots(request, asked, unit, rows),
        "dollar": _dollar(asked, total, whole),
    }


def _other_page(request: HttpRequest, asked: filters.Asked, unit: Unit) -> dict[str, Any]:
    """Fine-tune runs and GPU-hours: units with rows of their own, not calls."""
    currency = asked.scope.currency
    if unit.key == "fine_tune_run":
        runs = queries.fine_tune_runs(scope=asked.scope)
        earlier = queries.fine_tune_runs(scope=asked.compare) if asked.compare else []
        now, before = unit_figures.per_fine_tune_run(runs), unit_figures.per_fine_tune_run(earlier)
        table, sub = unit_tables.fine_tune_runs(runs, currency), "The mean of runs with cost in these days."
    else:
        costs = queries.gpu_costs(scope=asked.scope)
        table = unit_tables.gpu_hours(costs, currency)
        if asked.scope.teams is not None or asked.scope.filters:
            return {
                "heading": "A GPU-hour has one cost for all who share it",
                "sub": "Hours of a GPU are not split by owner, so this unit needs everything: no filters, and a role that sees all.",
                "notice": Notice(
                    "no_permission" if asked.scope.teams is not None else "nothing_matches",
                    "Not for a part of the spend",
                    "Look at the cost of tokens instead, which carries the busy time of GPUs.",
                    [Link("$ / 1M tokens", filters.url(request, unit="tokens"))],
                ),
            }
        earlier_costs = queries.gpu_costs(scope=asked.compare) if asked.compare else []
        now, before = unit_figures.per_gpu_hour(costs), unit_figures.per_gpu_hour(earlier_costs)
        sub = "Paid for nodes, less what has no telemetry, over the hours that were measured."
    heading = (
        f"{unit.sentence} {unit.text(now, currency)}{_versus(asked, now, before)}"
        if now is not None
        else _nothing(unit, asked)
    )
    return {"heading": heading, "sub": sub, "table": table}


def _one(scope: Any) -> UnitCost | None:  # a SpendScope
    rows = queries.unit_costs(scope=scope, group_by=[])
    return rows[0] if rows and rows[0].requests else None


def _heading(asked: filters.Asked, unit: Unit, now: UnitCost | None, before: UnitCost | None) -> str:
    """`A request costs $0.0031, 9 % less than 1–21 Oct 2026, while p95 latency rose 120 ms`."""
    cost = unit.cost(now) if now else None
    if now is None or cost is None:
        return _nothing(unit, asked)
    text = f"{unit.sentence} {unit.text(cost, asked.scope.currency)}"
    if before is None:
        return text
    text += _versus(asked, cost, unit.cost(before))
    if now.p95_ms is None or before.p95_ms is None or now.p95_ms == before.p95_ms:
        return text
    moved = now.p95_ms - before.p95_ms
    return f"{text}, while p95 latency {'rose' if moved > 0 else 'fell'} {fmt.latency(abs(moved))}"


def _nothing(unit: Unit, asked: filters.Asked) -> str:
    return f"No {unit.word} to divide by in {asked.bar.label}"


def _versus(asked: filters.Asked, now: Decimal | None, before: Decimal | None) -> str:
    ratio = unit_figures.change_ratio(now, before)
    if ratio is None:
        return ""
    days = asked.compare_label.removeprefix("vs ")
    if abs(ratio) < Decimal("0.005"):
        return f", as in {days}"
    return f", {fmt.percent(abs(ratio), places=0)} {'more' if ratio > 0 else 'less'} than {days}"


def _sub(asked: filters.Asked, total: queries.SpendTotal, whole: UnitCost | None) -> str:
    currency = asked.scope.currency
    carried = whole.usage_cost if whole else Decimal(0)
    parts = [f"{fmt.money(carried, currency)} of {fmt.money(total.cost, currency)} is carried by logged calls"]
    if whole and whole.unknown_usage:
        parts.append(f"{fmt.count(whole.unknown_usage)} calls did not say how many tokens they used")
    if asked.compare:
        parts.append(f"changes are {asked.compare_label}, complete days")
    return "; ".join(parts) + "."


def _kpis(
    asked: filters.Asked,
    unit: Unit,
    total: queries.SpendTotal,
    whole: UnitCost,
    now: UnitCost | None,
    before: UnitCost | None,
) -> list[Kpi]:
    currency = asked.scope.currency
    cost = unit.cost(whole)
    one, other = (unit.cost(now) if now else None), (unit.cost(before) if before else None)
    change = fmt.unit_delta(
        None if one is None else one / unit.scale, None if other is None else other / unit.scale, unit.word, currency
    )
    estimated = fmt.percent(total.estimated_cost / total.cost) if total.cost else fmt.NOT_APPLICABLE
    loaded = UNITS["tokens"].text(whole.loaded_cost_per_million_tokens, currency)
    return [
        Kpi(
            f"Spend, {asked.bar.label}",
            fmt.money(total.cost, currency, mode="kpi"),
            compare=f"{fmt.money(whole.usage_cost, currency)} carried by calls",
            note=f"{estimated} estimated, the rest billed",
            explain_url=f"{reverse('explore')}?{asked.query}&view=explain",
        ),
        Kpi(
            "Unit cost",
            unit.text(cost, currency),
            unit=unit.per if cost is not None else "",
            delta=change,
            compare=asked.compare_label if change else "",
            note=f"{loaded} / 1M tokens with idle and overhead"
            if unit.key == "tokens"
            else f"{fmt.count(unit.volume(whole))} of them",
        ),
        Kpi(
            "p95 latency",
            fmt.NOT_APPLICABLE if whole.p95_ms is None else fmt.latency(whole.p95_ms),
            compare=_moved(now, before),
            note=f"p50 {_latency(whole.p50_ms)}, p99 {_latency(whole.p99_ms)}",
        ),
        Kpi(
            "Cache hit",
            fmt.percent(whole.cache_hit_rate),
            compare=_points(now, before),
            note=f"{fmt.percent(whole.error_rate)} of {fmt.count(whole.requests)} requests failed",
        ),
    ]


def _latency(value: int | None) -> str:
    return fmt.NOT_APPLICABLE if value is None else fmt.latency(value)


def _moved(now: UnitCost | None, before: UnitCost | None) -> str:
    if now is None or before is None or now.p95_ms is None or before.p95_ms is None:
        return ""
    return f"{fmt.latency(before.p95_ms)} before"


def _points(now: UnitCost | None, before: UnitCost | None) -> str:
    if now is None or before is None or now.cache_hit_rate is None or before.cache_hit_rate is None:
        return ""
    return f"{fmt.points(now.cache_hit_rate, before.cache_hit_rate)} against before"


def _trend(asked: filters.Asked, unit: Unit) -> ChartCard:
    """Cost, latency and volume over the same days."""
    currency, days = asked.scope.currency, list(asked.scope.days)
    by_day = {row.day: row.unit_cost for row in queries.unit_cost_by_day(scope=asked.scope)}
    rows = [by_day.get(day) for day in days]
    costs = [unit.cost(row) if row else None for row in rows]
    shown = [charts.Line("cost", "now", costs, "c1")]
    if asked.compare:
        earlier = {row.day: row.unit_cost for row in queries.unit_cost_by_day(scope=asked.compare)}
        aligned = [earlier.get(asked.compare.days.start + timedelta(days=index)) for index in range(len(days))]
        shown.insert(
            0,
            charts.Line(
                "before", "before", [unit.cost(row) if row else None for row in aligned], "border-strong", thin=True
            ),
        )
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
        summary=_trend_sentence(days, costs, unit, currency),
        table=_trend_table(days, rows, unit, currency),
    )


def _trend_sentence(days: Sequence[Any], costs: Sequence[Decimal | None], unit: Unit, currency: str) -> str:
    known = [(cost, day) for cost, day in zip(costs, days, strict=True) if cost is not None]
    if not known:
        return "No day of this period has calls to divide by."
    low, high = min(known), max(known)
    return (
        f"The cheapest day was {fmt.short_day(low[1])} with {unit.text(low[0], currency)},"
        f" the dearest {fmt.short_day(high[1])} with {unit.text(high[0], currency)} / {unit.per}."
    )


def _trend_table(days: Sequence[Any], rows: Sequence[UnitCost | None], unit: Unit, currency: str) -> Table:
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


def _dots(request: HttpRequest, asked: filters.Asked, unit: Unit, rows: Sequence[UnitCost]) -> ChartCard:
    """Cost against latency, one dot for each group."""
    unit = unit if unit.key == "tokens" else UNITS["thousand_requests"]
    label = filters.LABELS[asked.group].lower()
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
    slots = charts.slots([row.keys[0] for row in rows if row.keys[0]][: breakdown.SLOTTED])
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


def _dollar(asked: filters.Asked, total: queries.SpendTotal, whole: UnitCost) -> ChartCard:
    """Where a dollar goes."""
    currency = asked.scope.currency
    found = unit_figures.parts(total, whole)
    drawn = [part for part in found if part.cost > 0]
    credits = [part for part in found if part.cost < 0]
    slots = {"input": 1, "cached": 3, "output": 2, "others": 5, "overhead": 6}
    series = [
        charts.Series(part.key, part.label, [part.cost], part.kind, slot=slots.get(part.key))  # type: ignore[arg-type]
        for part in drawn
    ]
    largest = max(drawn, key=lambda part: part.cost, default=None)
    said = (
        f"{largest.label} is the largest part: {fmt.money(largest.cost, currency)}."
        if largest
        else "Nothing was spent."
    )
    if credits:
        said += f" {credits[0].label} is negative, {fmt.money(credits[0].cost, currency)}, and not drawn."
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


def _table(
    request: HttpRequest,
    asked: filters.Asked,
    unit: Unit,
    rows: Sequence[UnitCost],
    whole: UnitCost | None,
    total: Decimal,
) -> Table:
    keyed = [row.keys[0] for row in rows if row.keys[0]]
    now = queries.unit_costs(scope=asked.complete, group_by=[asked.group]) if asked.compare else []
    before = queries.unit_costs(scope=asked.compare, group_by=[asked.group]) if asked.compare else []
    return unit_tables.by_group(
        asked=asked,
        unit=unit,
        rows=rows,
        whole=whole,
        total=total,
        now={row.keys[0]: row for row in now},
        before={row.keys[0]: row for row in before},
        urls={key: filters.drill_url(request, path=request.path, dimension=asked.group, value=key) for key in keyed},
        slots=charts.slots(keyed[: breakdown.SLOTTED]),
        every=request.GET.get("columns") == "all",
        csv_url=f"{reverse('unit_costs_export')}?{asked.query}",
    )


def _columns_link(request: HttpRequest) -> list[Link]:
    if request.GET.get("columns") == "all":
        return [Link("Fewer columns", filters.url(request, drop=["columns"]), icon="table-2")]
    return [Link("All columns", filters.url(request, columns="all"), icon="table-2")]


def _no_usage(request: HttpRequest, asked: filters.Asked) -> Notice:
    links = [
        Link("Widen to 90 days", filters.url(request, preset="90d")),
        Link("Sources", reverse("sources"), icon="plug"),
    ]
    if request.GET.getlist("f"):
        links.insert(0, Link("Clear filters", filters.url(request, drop=["f"])))
    text = (
        "Unit costs divide by logged calls. Load a usage log, push usage events, or put a gate before the model server."
    )
    return Notice(
        "nothing_matches" if request.GET.getlist("f") else "empty",
        f"No call was logged in {asked.bar.label}",
        text,
        links,
    )
