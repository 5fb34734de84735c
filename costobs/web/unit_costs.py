"""Unit economics: what does one unit cost, and is it improving?"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from attribution import queries
from attribution.queries import Target, TunedModel, UnitCost, UnitReport
from costobs.kernel import fmt
from costobs.web import (
    breakdown,
    energy_table,
    filters,
    unit_charts,
    unit_exports,
    unit_figures,
    unit_run_tables,
    unit_tables,
    unit_value_page,
    value_tables,
)
from costobs.web.page import page as page_view
from costobs.web.parts import Kpi, Link, Notice, Table
from costobs.web.unit_figures import UNITS, Unit

_GROUPS = ("model", "feature", "team", "provider_name", "deployment", "key", "cost_centre", "environment")
_RUNS = 10


@page_view
def page(request: HttpRequest) -> HttpResponse:
    chosen = request.GET.get("unit", "")
    is_defined = chosen.startswith(unit_value_page.PREFIX)
    unit = UNITS.get(chosen, UNITS["tokens"])
    asked = filters.read(request, groups=_GROUPS if unit.is_usage and not is_defined else ())
    export_url = reverse("unit_values_export" if is_defined else "unit_costs_export")
    context: dict[str, Any] = {
        "page": "unit_costs",
        "scope": asked.bar,
        "actions": [
            Link("Compare variants", f"{reverse('unit_compare')}?{asked.query}", icon="git-compare"),
            Link("Export CSV", f"{export_url}?{asked.query}", icon="download"),
        ],
        "tabs": [
            *[
                (one.tab, filters.url(request, drop=["by", "scale"], unit=one.key), one is unit and not is_defined)
                for one in UNITS.values()
            ],
            *unit_value_page.tabs(request, asked, chosen),
        ],
    }
    if is_defined:
        context |= unit_value_page.context(request, asked, chosen)
    else:
        context |= _usage_page(request, asked, unit) if unit.is_usage else _other_page(request, asked, unit)
    return render(request, "pages/unit_costs.html", context)


@page_view
def export(request: HttpRequest) -> HttpResponse:
    """The rows of the page with every digit and every column."""
    unit = UNITS.get(request.GET.get("unit", ""), UNITS["tokens"])
    asked = filters.read(request, groups=_GROUPS)
    if unit.key == "gpu_hour":
        return redirect(f"{reverse('gpus_export')}?{asked.query}")
    if unit.key == "fine_tune_run":
        return unit_exports.fine_tune_runs(asked, queries.fine_tune_runs(scope=asked.scope), _models(asked))
    energy = queries.energy_use(scope=asked.scope, group_by=[asked.group])
    return unit_exports.by_group(asked, _rows(asked), queries.total(scope=asked.scope).cost, energy)


def _usage_page(request: HttpRequest, asked: filters.Asked, unit: Unit) -> dict[str, Any]:
    total = queries.total(scope=asked.scope)
    report = queries.unit_report(
        scope=asked.scope,
        complete=asked.complete.days,
        compare=asked.compare.days if asked.compare else None,
        group=asked.group,
    )
    rows = _named_first(report.rows)
    whole, now, before = report.whole, report.whole_now, report.whole_before
    slots = breakdown.slots(breakdown.groups(scope=asked.scope, dimension=asked.group))
    fine_tunes = queries.fine_tune_runs(scope=asked.scope)
    energy = queries.energy_use(scope=asked.scope, group_by=[asked.group])
    currency = asked.scope.currency
    target = queries.unit_targets(currency=currency).get(unit.key)
    context: dict[str, Any] = {
        "heading": _heading(asked, unit, now or whole, before),
        "sub": _sub(asked, total, whole),
        "unknown_url": f"{reverse('sources')}#unknown-usage" if _is_told(asked, whole) else "",
        "table_caption": "Unit costs divide what logged calls carry. A name narrows the page.",
        "table": _table(request, asked, unit, report, total.cost, slots),
        "columns": _columns_link(request),
        "energy": energy_table.by_group(asked, energy) if energy else None,
        "estimates": unit_tables.estimates(queries.estimated_versus_billed(scope=asked.scope), currency),
        "quality": value_tables.quality(asked, rows),
        "business": value_tables.business(asked),
        "agent_runs": unit_tables.agent_runs(queries.agent_runs(scope=asked.scope, limit=_RUNS)),
        "fine_tunes": unit_run_tables.listed(fine_tunes, _models(asked), currency) if fine_tunes else None,
    }
    if whole is None:
        return context | {"notice": _no_usage(request, asked)}
    return context | {
        "kpis": _kpis(asked, unit, total, whole, now, before, target),
        "trend": unit_charts.trend(asked, unit, report.days, target),
        "dots": unit_charts.dots(request, asked, unit, rows, slots),
        "dollar": unit_charts.dollar(asked, total, whole),
    }


def _other_page(request: HttpRequest, asked: filters.Asked, unit: Unit) -> dict[str, Any]:
    """Fine-tune runs and GPU-hours: units with rows of their own, not calls."""
    currency, states = asked.scope.currency, None
    if unit.key == "fine_tune_run":
        runs = queries.fine_tune_runs(scope=asked.scope)
        earlier = queries.fine_tune_runs(scope=asked.compare) if asked.compare else []
        now, before = unit_figures.per_fine_tune_run(runs), unit_figures.per_fine_tune_run(earlier)
        table, sub = unit_run_tables.listed(runs, _models(asked), currency), "The mean of runs with cost in these days."
        states = unit_run_tables.by_state(runs, currency)
    else:
        costs = queries.gpu_costs(scope=asked.scope)
        table = unit_tables.gpu_hours(costs, currency)
        if asked.scope.teams is not None or asked.scope.filters:
            return {
                "heading": "A GPU-hour has one cost for all who share it",
                "sub": "Hours of a GPU are not split by owner: this unit needs a role that sees all, and no filters.",
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
    return {"heading": heading, "sub": sub, "table": table, "states": states}


def _models(asked: filters.Asked) -> dict[int, TunedModel]:
    """What runs made, by the run."""
    return {one.run.id: one for one in queries.tuned_models(scope=asked.scope)}


def _rows(asked: filters.Asked) -> list[UnitCost]:
    return _named_first(queries.unit_costs(scope=asked.scope, group_by=[asked.group]))


def _named_first(rows: Sequence[UnitCost]) -> list[UnitCost]:
    """By spend, what has no value in the dimension last."""
    return sorted(rows, key=lambda row: not row.keys[0])


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
    if whole and whole.uncounted_tokens:
        share = fmt.percent(Decimal(whole.uncounted_tokens) / whole.tokens)
        parts.append(f"{share} of the tokens are of calls that nobody counted, so nothing is told by request")
    if asked.compare:
        parts.append(f"changes are {asked.compare_label}, complete days")
    return "; ".join(parts) + "."


def _is_told(asked: filters.Asked, whole: UnitCost | None) -> bool:
    """Whether there are calls of unknown usage, and the viewer may see of which source they are."""
    return whole is not None and whole.unknown_usage > 0 and asked.viewer.may_see_all


def _kpis(
    asked: filters.Asked,
    unit: Unit,
    total: queries.SpendTotal,
    whole: UnitCost,
    now: UnitCost | None,
    before: UnitCost | None,
    target: Target | None,
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
            state=_aim(unit, cost, target),
            note=f"{loaded} with idle and overhead"
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


def _aim(unit: Unit, cost: Decimal | None, target: Target | None) -> str:
    """Whether the target of a unit is met; "" where there is none."""
    if target is None or target.amount is None or cost is None:
        return ""
    return "over" if target.is_missed_by(cost / unit.scale) else "on_track"


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


def _table(
    request: HttpRequest,
    asked: filters.Asked,
    unit: Unit,
    report: UnitReport,
    total: Decimal,
    slots: Mapping[str, int],
) -> Table:
    rows = _named_first(report.rows)
    keyed = [row.keys[0] for row in rows if row.keys[0]]
    return unit_tables.by_group(
        asked=asked,
        unit=unit,
        rows=rows,
        whole=report.whole,
        whole_now=report.whole_now,
        whole_before=report.whole_before,
        total=total,
        now=report.now if asked.compare else {},
        before=report.before,
        urls={key: filters.drill_url(request, path=request.path, dimension=asked.group, value=key) for key in keyed},
        slots=slots,
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
        Link("Sources", reverse("sources"), icon="database"),
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
