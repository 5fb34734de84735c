"""GPUs: which ones do we pay for and not use, hour by hour?"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse

from attribution import queries
from attribution.queries import GpuCost, GpuHourCell, GpuNodeCost
from costobs.kernel import fmt
from costobs.web import charts, csv_file, energy_table, filters, gpu_figures, gpu_table
from costobs.web.gpu_figures import Activity, Fate
from costobs.web.page import page as page_view
from costobs.web.parts import Cell, ChartCard, Column, Kpi, Link, Notice, Row, Table

_METRICS = {
    "gr_engine_active": "graphics engine active",
    "gpu_util": "GPU utilisation",
    "gpu_gfx_activity": "GFX activity",
    "neuroncore_utilization": "NeuronCore utilisation",
    "duty_cycle": "duty cycle",
    "tensorcore_utilization": "tensor core utilisation",
}
_POLARITY: dict[str, fmt.Polarity] = {"paid": "none", "idle_workload": "up_bad", "idle_infrastructure": "up_bad"}
_MOST_ROWS = 40
_EMPTY = "Nothing loaded"


@page_view
def page(request: HttpRequest) -> HttpResponse:
    asked = filters.read(request, groups=())
    costs = queries.gpu_costs(scope=asked.scope)
    cells = queries.gpu_utilisation(scope=asked.scope)
    context: dict[str, Any] = {"page": "gpus", "scope": asked.bar, "actions": []}
    if not costs and not cells:
        return render(
            request, "pages/gpus.html", context | {"heading": "No GPU in these days", "empty": _no_gpus(request)}
        )
    whole = gpu_figures.total(costs)
    view = _view(request, asked)
    lines = _lines(asked, view, costs, cells)
    context |= {
        "heading": _heading(asked, whole, cells),
        "sub": _sub(asked, whole),
        "actions": [Link("Export CSV", f"{reverse('gpus_export')}?{asked.query}", icon="download")],
        "notice": _notice(whole, cells),
        "kpis": _kpis(asked, whole, costs),
        "heat": _heat(asked),
        "bars": _bars(asked, lines, view),
        "tabs": [(label, filters.url(request, view=key), key == view) for key, label in gpu_table.VIEWS.items()]
        if _may_see_nodes(asked)
        else [],
        "table": gpu_table.table(asked, lines, view),
        **_energy(asked),
    }
    return render(request, "pages/gpus.html", context)


@page_view
def export(request: HttpRequest) -> HttpResponse:
    """The rows of the page with every digit."""
    asked = filters.read(request, groups=())
    view = _view(request, asked)
    costs, cells = queries.gpu_costs(scope=asked.scope), queries.gpu_utilisation(scope=asked.scope)
    columns = [
        view, "from", "to", "currency", "cost_column", "gpu_models", "gpus", "busy_ratio", "paid_cost", "used_cost",
        "overhead_cost", "fine_tuned_cost", "idle_workload_cost", "idle_infrastructure_cost", "no_telemetry_cost",
        *(f"{option or 'unknown_purchase'}_cost" for option in gpu_table.OPTIONS), "tokens", "cost_per_million_tokens",
        "last_busy_hour", "joules", "used_joules", "idle_joules", "co2e_grams",
    ]  # fmt: skip
    drawn = {row.deployment: row for row in queries.gpu_energy(scope=asked.scope)} if view == "deployment" else {}
    rows = [
        (
            line.key, asked.scope.days.start, asked.scope.days.last, asked.scope.currency, asked.scope.cost,
            ", ".join(line.activity.models) if line.activity else "", line.activity.gpus if line.activity else None,
            line.busy_ratio, line.fate.paid, line.fate.used, line.fate.overhead,
            line.fate.fine_tuned, line.fate.idle_workload, line.fate.idle_infrastructure, line.fate.no_telemetry,
            *(dict(line.bought_as).get(option, Decimal(0)) for option in gpu_table.OPTIONS),
            line.tokens if view == "deployment" else None, line.per_million,
            line.activity.last_busy if line.activity else None, *_drawn(drawn.get(line.key)),
        )
        for line in _lines(asked, view, costs, cells)
    ]  # fmt: skip
    name = f"gpus-by-{view}-{asked.scope.days.start}-{asked.scope.days.last}.csv"
    return csv_file.response(name=name, columns=columns, rows=rows)


def _drawn(one: queries.GpuEnergy | None) -> tuple[Decimal | None, ...]:
    return (one.joules, one.used_joules, one.idle_joules, one.grams) if one else (None,) * 4


def _energy(asked: filters.Asked) -> dict[str, Any]:
    drawn, weights = queries.gpu_energy(scope=asked.scope), queries.token_weights(scope=asked.scope)
    return {
        "energy": energy_table.by_deployment(drawn),
        "energy_heading": energy_table.heading(drawn),
        "weights": energy_table.weights(weights) if weights else None,
        "weights_heading": energy_table.weights_heading(weights),
    }


def _may_see_nodes(asked: filters.Asked) -> bool:
    """A node's bill knows no owner: only without filters, for those who see everything, is its sum the page's."""
    return asked.viewer.may_see_all and not asked.scope.filters


def _view(request: HttpRequest, asked: filters.Asked) -> str:
    return "node" if request.GET.get("view") == "node" and _may_see_nodes(asked) else "deployment"


def _lines(
    asked: filters.Asked, view: str, costs: Sequence[GpuCost], cells: Sequence[GpuHourCell]
) -> list[gpu_table.Line]:
    seen = gpu_figures.activity(cells, by=view)
    if view == "node":
        nodes: Sequence[GpuNodeCost] = queries.gpu_node_costs(scope=asked.scope)
        ratios = {name: one.ratio for name, one in seen.items()}
        return [
            gpu_table.Line(
                row.node,
                row.node,
                gpu_figures.fate(row),
                row.bought_as,
                seen.get(row.node),
                0,
                ratios.get(row.node),
                None,
            )
            for row in nodes
        ]
    return [
        gpu_table.Line(
            row.deployment,
            row.deployment or _EMPTY,
            gpu_figures.fate(row),
            row.bought_as,
            seen.get(row.deployment),
            row.tokens,
            _ratio(row, seen.get(row.deployment)),
            row.cost_per_million_tokens,
        )
        for row in costs
    ]


def _ratio(row: GpuCost, seen: Activity | None) -> Decimal | None:
    """Busy share of what was measured; from the bill's days where an hour had several deployments."""
    if seen is not None:
        return seen.ratio
    return Decimal(row.busy_ms) / row.gpu_ms if row.gpu_ms else None


def _heading(asked: filters.Asked, whole: Fate, cells: Sequence[GpuHourCell]) -> str:
    """`29 % of what GPUs cost in 1–21 Nov 2026 was idle: $1,380`."""
    currency, days = asked.scope.currency, fmt.period(asked.scope.days.start, asked.scope.days.end)
    if not whole.paid:
        return f"GPU telemetry for {days}, but no bill or price for these nodes"
    if not cells:
        return f"{fmt.money(whole.paid, currency, mode='kpi')} was paid for GPUs in {days}; what they did is not known"
    idle = fmt.percent(whole.idle_ratio, places=0)
    return f"{idle} of what GPUs cost in {days} was idle: {fmt.money(whole.idle, currency, mode='kpi')}"


def _sub(asked: filters.Asked, whole: Fate) -> str:
    currency = asked.scope.currency
    parts = [
        f"{fmt.money(whole.idle_workload, currency)} idle with a model loaded",
        f"{fmt.money(whole.idle_infrastructure, currency)} with nothing loaded",
    ]
    if whole.no_telemetry:
        parts.append(f"{fmt.money(whole.no_telemetry, currency)} without telemetry, which is unknown and not idle")
    return "; ".join(parts) + "."


def _notice(whole: Fate, cells: Sequence[GpuHourCell]) -> Notice | None:
    if whole.paid and not cells:
        text = "Nothing was sampled in these days, so all of it is shown as no telemetry. Connect DCGM on the Sources page."
        return Notice("not_arrived", "GPUs are paid for, and no telemetry has arrived", text)
    if cells and not whole.paid:
        text = "Load a bill with the nodes in it; until then utilisation is known and money is not."
        return Notice("not_arrived", "Telemetry arrives, and no bill names these nodes", text)
    return None


def _no_gpus(request: HttpRequest) -> Notice:
    links = [
        Link("Widen to 90 days", filters.url(request, preset="90d")),
        Link("Sources", reverse("sources"), icon="database"),
    ]
    if request.GET.getlist("f"):
        links.insert(0, Link("Clear filters", filters.url(request, drop=["f"])))
    text = "No node was paid for and no sample arrived. DCGM telemetry comes from Prometheus or from an exporter."
    return Notice("empty", "No GPU in these days", text, links)


def _kpis(asked: filters.Asked, whole: Fate, costs: Sequence[GpuCost]) -> list[Kpi]:
    currency = asked.scope.currency
    earlier = gpu_figures.total(queries.gpu_costs(scope=asked.compare)) if asked.compare else None
    complete = gpu_figures.total(queries.gpu_costs(scope=asked.complete)) if asked.compare else None
    changes = {
        name: fmt.delta(getattr(complete, name), getattr(earlier, name), currency, polarity=polarity)
        for name, polarity in _POLARITY.items()
        if complete and earlier
    }
    compare = f"{asked.compare_label}, complete days" if changes else ""
    share = {name: fmt.percent(part / whole.paid if whole.paid else None) for name, part in _parts(whole)}
    return [
        Kpi("Paid", fmt.money(whole.paid, currency, mode="kpi"), delta=changes.get("paid"), compare=compare),
        Kpi(
            "Busy",
            fmt.money(whole.busy, currency, mode="kpi"),
            compare=f"{share['busy']} of paid",
            note=f"{fmt.money(whole.used, currency)} with requests, {fmt.money(whole.fine_tuned, currency)} fine-tune runs,"
            f" {fmt.money(whole.overhead, currency)} without a request",
        ),
        Kpi(
            "Idle, model loaded",
            fmt.money(whole.idle_workload, currency, mode="kpi"),
            delta=changes.get("idle_workload"),
            compare=compare,
            note=f"{share['idle_workload']} of paid: loaded, and nothing ran",
        ),
        Kpi(
            "Idle, nothing loaded",
            fmt.money(whole.idle_infrastructure, currency, mode="kpi"),
            delta=changes.get("idle_infrastructure"),
            compare=compare,
            note=f"{share['idle_infrastructure']} of paid",
        ),
        Kpi(
            "No telemetry",
            fmt.money(whole.no_telemetry, currency, mode="kpi"),
            compare=f"{share['no_telemetry']} of paid",
            note="Unknown: neither busy nor idle",
        ),
        _tokens(costs, currency),
    ]


def _tokens(costs: Sequence[GpuCost], currency: str) -> Kpi:
    per_million = gpu_figures.per_million_tokens(costs)
    loaded = gpu_figures.per_million_tokens(costs, loaded=True)
    return Kpi(
        "Self-hosted tokens",
        gpu_table.per_million(per_million, currency),
        unit="1M tokens" if per_million is not None else "",
        compare="No tokens in these days"
        if loaded is None
        else f"{gpu_table.per_million(loaded, currency)} with idle and overhead",
        note="Split by the weights of uncached, cached and output tokens that are below",
    )


def _parts(whole: Fate) -> list[tuple[str, Decimal]]:
    return [
        ("busy", whole.busy),
        ("idle_workload", whole.idle_workload),
        ("idle_infrastructure", whole.idle_infrastructure),
        ("no_telemetry", whole.no_telemetry),
    ]


def _heat(asked: filters.Asked) -> ChartCard:
    days = gpu_figures.week(asked.scope.days, asked.now.date())
    cells = queries.gpu_utilisation(scope=asked.scope.during(days)) if len(days) else []
    grid = gpu_figures.grid(cells, days=days, now=asked.now, most=_MOST_ROWS)
    metric = " or ".join(_METRICS.get(name, name) for name in grid.sources) or "activity"
    shown = bool(grid.rows and grid.at)
    chart = (
        charts.heat(
            rows=grid.rows,
            at=grid.at,
            values=grid.values,
            metric=metric,
            height="main" if len(grid.rows) > 10 else "secondary",
        )
        if shown
        else None
    )
    gaps = sum(1 for row in grid.values for value in row if value is None)
    parts = [f"{len(grid.rows)} GPUs, {len(grid.at)} hours each; {fmt.integer(gaps)} GPU-hours have no telemetry."]
    if grid.left_out:
        parts.append(f"The {len(grid.rows)} least busy are drawn, {grid.left_out} more are in the table below.")
    return ChartCard(
        id="heat",
        title=f"GPU by hour: {metric}, %",
        caption=f"{fmt.period(days.start, days.end)}, UTC hours. A cross is no telemetry, which is not idle."
        " One busy unit of a GPU counts, so high is not yet efficient.",
        chart=chart,
        summary=" ".join(parts) if shown else "",
        notice=None if shown else Notice("not_arrived", "No telemetry in the last seven days of this period"),
        table=_heat_table(grid) if shown else None,
    )


def _heat_table(grid: gpu_figures.Grid) -> Table:
    """By day, since a table of every hour could not be read."""
    days = sorted({moment.date() for moment in grid.at})
    by_day = {day: [index for index, moment in enumerate(grid.at) if moment.date() == day] for day in days}
    rows = []
    for name, values in zip(grid.rows, grid.values, strict=True):
        means = [gpu_figures.mean([values[index] for index in by_day[day]]) for day in days]
        rows.append(
            Row(
                [
                    Cell(name),
                    *[Cell("no telemetry" if mean is None else fmt.percent(mean / 100, places=0)) for mean in means],
                ]
            )
        )
    columns = [Column("GPU"), *[Column(fmt.short_day(day), numeric=True) for day in days]]
    return Table("Mean activity by GPU and day", columns, rows, note="Means of the hours that have telemetry.")


def _bars(asked: filters.Asked, lines: Sequence[gpu_table.Line], view: str) -> ChartCard | None:
    shown = [line for line in lines if line.fate.paid > 0][:8]
    if not shown:
        return None
    currency = asked.scope.currency
    series = [
        charts.Series("used", "With requests", [line.fate.used for line in shown], slot=1),
        charts.Series("fine_tuned", "Fine-tune runs", [line.fate.fine_tuned for line in shown], slot=4),
        charts.Series("overhead", "Busy without a request", [line.fate.overhead for line in shown], slot=6),
        charts.Series("idle_workload", "Idle, loaded", [line.fate.idle_workload for line in shown], "shared"),
        charts.Series("idle_infrastructure", "Idle, empty", [line.fate.idle_infrastructure for line in shown], "idle"),
        charts.Series("no_telemetry", "No telemetry", [line.fate.no_telemetry for line in shown], "unpriced"),
    ]
    worst = max(shown, key=lambda line: line.fate.idle)
    kept = [one for one in series if one.total]
    return ChartCard(
        id="paid",
        title=f"Paid and what became of it, {gpu_table.VIEWS[view].lower()}",
        caption=f"{currency}, {asked.bar.basis_label.lower()}, {fmt.period(asked.scope.days.start, asked.scope.days.end)}.",
        chart=charts.stacked_rows(rows=[line.label for line in shown], series=kept, currency=currency),
        summary=f"{worst.label} has the most idle money: {fmt.money(worst.fate.idle, currency)}"
        f" of {fmt.money(worst.fate.paid, currency)}. The figures are in the table below.",
    )
