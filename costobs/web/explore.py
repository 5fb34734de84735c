"""Explore: where does the money go, along any dimension?"""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse

from attribution import queries
from costobs.kernel import fmt
from costobs.web import breakdown, charts, csv_file, explanation, filters, forecast_words
from costobs.web.page import page as page_view
from costobs.web.parts import Cell, ChartCard, Column, Link, Notice, Row, Spark, Table

VIEWS = {"bars": "Bars", "lines": "Lines", "cumulative": "Cumulative", "explain": "How this is made"}
_NEXT = {"provider_name": "model", "model": "feature", "feature": "team", "team": "key", "cost_centre": "team"}
_PIVOTS = ("provider_name", "team", "share_kind")
_KEEP = {"bars": 5, "lines": 5, "cumulative": 5}


@page_view
def page(request: HttpRequest) -> HttpResponse:
    asked = filters.read(request, groups=tuple(filters.LABELS))
    view = request.GET.get("view", "bars")
    view = view if view in VIEWS else "bars"
    found = breakdown.groups(scope=asked.scope, dimension=asked.group, complete=asked.complete, compare=asked.compare)
    total = queries.total(scope=asked.scope)
    context: dict[str, Any] = {
        "page": "explore",
        "scope": asked.bar,
        "heading": _heading(asked, found, total),
        "sub": _sub(asked, total),
        "actions": _actions(request),
        "tabs": [(label, filters.url(request, view=key), key == view) for key, label in VIEWS.items()],
    }
    if view == "explain":
        context["explanation"] = explanation.tables(queries.explain(scope=asked.scope), asked)
        return render(request, "pages/explore.html", context)
    context |= {
        "chart": _chart(request, asked, found, view),
        "table": _table(request, asked, found, total),
        "pivots": [_pivot(request, asked, name) for name in _PIVOTS if name != asked.group],
        "others": queries.other_currencies(scope=asked.scope),
    }
    return render(request, "pages/explore.html", context)


@page_view
def export(request: HttpRequest) -> HttpResponse:
    """CSV of what is shown, with every digit; all rows, not only those on the page."""
    asked = filters.read(request, groups=tuple(filters.LABELS))
    days, scope = asked.scope.days, asked.scope
    return csv_file.response(
        name=f"spend-{asked.group}-{days.start}-{days.last}.csv",
        columns=[asked.group, "share", "from", "to", "currency", "cost_column", "cost", "estimated_cost"],
        rows=[
            [
                group.key,
                group.share,
                days.start,
                days.last,
                scope.currency,
                scope.cost,
                group.cost,
                group.estimated_cost,
            ]
            for group in breakdown.groups(scope=scope, dimension=asked.group)
        ],
    )


def _heading(asked: filters.Asked, found: list[breakdown.Group], total: queries.SpendTotal) -> str:
    label = filters.LABELS[asked.group]
    named = [group for group in found if not group.kind]
    if not total.cost:
        return f"No spend in {asked.bar.label}"
    if not named:
        return f"{fmt.money(total.cost, asked.scope.currency, mode='kpi')} in {asked.bar.label}, none of it with a {label.lower()}"
    top = named[0]
    share = fmt.percent(top.cost / total.cost, places=0)
    whole = fmt.money(total.cost, asked.scope.currency, mode="kpi")
    return f"{top.label} is {share} of {whole} spent in {asked.bar.label}"


def _sub(asked: filters.Asked, total: queries.SpendTotal) -> str:
    currency = asked.scope.currency
    parts = [f"{fmt.money(total.estimated_cost, currency)} of it is estimated from usage, the rest is billed"]
    if total.unallocated_cost:
        parts.append(f"{fmt.money(total.unallocated_cost, currency)} has no owner")
    ahead = forecast_words.month_ahead(asked) if asked.bar.preset == "mtd" else None
    if ahead is not None:
        end = fmt.money(ahead.amount, currency, mode="short")
        parts.append(
            f"the month is expected to end at {end}, {forecast_words.spread(ahead, currency)}"
            f" ({forecast_words.basis(ahead, currency)})"
        )
    return "; ".join(parts) + "."


def _actions(request: HttpRequest) -> list[Link]:
    query = request.GET.urlencode()
    return [
        Link("As we knew it", _as_of_url(request), icon="history"),
        Link("Export CSV", f"{reverse('explore_export')}?{query}", icon="download"),
        Link("Save view", f"{reverse('view_save')}?page=explore&{query}", icon="plus", primary=True),
    ]


def _as_of_url(request: HttpRequest) -> str:
    """The same days, as they were known earlier, with the filters that were kept."""
    texts = [text for text in request.GET.getlist("f") if text.startswith(queries.KNOWN_DIMENSIONS)]
    dropped = [name for name in request.GET if name not in {"preset", "from", "to", "basis"}]
    return filters.url(request, path=reverse("as_of"), drop=dropped, **({"f": texts} if texts else {}))


def _drill(request: HttpRequest, asked: filters.Asked, group: breakdown.Group) -> str:
    step = _NEXT.get(asked.group, "model" if asked.group != "model" else "feature")
    if group.key:
        return filters.drill_url(request, path=request.path, dimension=asked.group, value=group.key, group=step)
    chips = [*request.GET.getlist("f"), f"{asked.group}:", f"share_kind:{group.share}"]
    return filters.url(request, f=chips, group="service_name")


def _chart(request: HttpRequest, asked: filters.Asked, found: list[breakdown.Group], view: str) -> ChartCard:
    label = filters.by(asked.group)
    urls = {group.id: _drill(request, asked, group) for group in found}
    series = charts.fold(breakdown.daily(scope=asked.scope, dimension=asked.group, urls=urls), keep=_KEEP[view])
    rows = queries.spend_by_day(scope=asked.scope, group_by=None)
    days, slots = list(asked.scope.days), breakdown.slots(found)
    open_days = {row.day: "still arriving or estimated" for row in rows if not row.is_final}
    currency = asked.scope.currency
    if view == "bars":
        chart = charts.daily_bars(days=days, series=series, currency=currency, not_final=open_days, slots=slots)
    else:
        lines = [
            charts.Line(one.key, one.label, _running(one.values) if view == "cumulative" else one.values)
            for one in series[:7]
        ]
        chart = charts.lines(at=days, lines=lines, write=charts.money_writer(currency), slots=slots)
    hatched = "Hatched: still arriving or estimated. " if view == "bars" else ""
    return ChartCard(
        id="spend",
        title=f"{'Cumulative' if view == 'cumulative' else 'Daily'} spend by {label}",
        caption=f"{currency}, {asked.bar.basis_label.lower()}, UTC days. {hatched}Click a mark to look inside it.",
        chart=chart if asked.scope.days and rows else None,
        summary=f"{len(found)} groups; the figures are in the table below.",
        notice=None if rows else _nothing(request, asked),
    )


def _running(values: Iterable[Any]) -> list[Decimal]:
    found, running = [], Decimal(0)
    for value in values:
        running += Decimal(value or 0)
        found.append(running)
    return found


def _nothing(request: HttpRequest, asked: filters.Asked) -> Notice:
    return Notice(
        "nothing_matches",
        f"No spend in {asked.bar.label} matches",
        "Either nothing was spent, or the filters leave nothing.",
        [
            Link("Clear filters", filters.url(request, drop=["f"])),
            Link("Widen to 90 days", filters.url(request, preset="90d")),
        ],
    )


def _table(
    request: HttpRequest, asked: filters.Asked, found: list[breakdown.Group], total: queries.SpendTotal
) -> Table:
    units = {row.keys[0]: row for row in queries.unit_costs(scope=asked.scope, group_by=[asked.group])}
    sparks = {one.key: one.values for one in breakdown.daily(scope=asked.scope, dimension=asked.group, urls={})}
    slots = breakdown.slots(found)
    places = fmt.column_places([group.cost for group in found])
    rows = [
        Row(
            _cells(
                asked,
                group,
                units.get(group.key) if group.key else None,
                sparks.get(group.id, ()),
                total,
                places,
                _drill(request, asked, group),
            ),
            slot=slots.get(group.key, 10) if not group.kind else None,
            kind=group.kind,
        )
        for group in found
    ]
    note = f"Change {asked.compare_label}, complete days." if asked.compare else ""
    csv_url = f"{reverse('explore_export')}?{asked.query}"
    totals = _totals(asked, found, total, sum(row.tokens for row in units.values()), places)
    title = f"Spend by {filters.by(asked.group)}"
    return Table(title, _columns(asked), rows, totals, _nothing(request, asked), csv_url, note)


def _columns(asked: filters.Asked) -> list[Column]:
    return [
        Column(filters.LABELS[asked.group]),
        Column("Spend", numeric=True, sort="descending"),
        Column("Share", numeric=True),
        Column("Estimated", numeric=True, title="The part that no bill has confirmed yet"),
        Column("Change", numeric=True, title=asked.compare_label),
        Column("Tokens", numeric=True),
        Column("$ / 1M tokens", numeric=True),
        Column("$ / request", numeric=True),
        Column("By day"),
    ]


def _totals(
    asked: filters.Asked, found: list[breakdown.Group], total: queries.SpendTotal, tokens: int, places: int
) -> Row:
    currency = asked.scope.currency
    spent = sum((group.cost for group in found), Decimal(0))
    complete = sum((group.complete for group in found if group.complete is not None), Decimal(0))
    before = sum((group.before for group in found if group.before is not None), Decimal(0)) if asked.compare else None
    cells = [
        Cell(f"Total ({len(found)} rows)"),
        Cell(fmt.money(spent, currency, places=places)),
        Cell(fmt.percent(Decimal(1)) if spent else fmt.NOT_APPLICABLE),
        Cell(fmt.money(total.estimated_cost, currency, places=places)),
        Cell(delta=fmt.delta(complete, before, currency)) if before is not None else Cell(fmt.NOT_APPLICABLE),
        Cell(fmt.count(tokens)),
        *[Cell("")] * 3,
    ]
    return Row(cells, kind="total")


def _cells(
    asked: filters.Asked,
    group: breakdown.Group,
    unit: queries.UnitCost | None,
    spark: Iterable[Any],
    total: queries.SpendTotal,
    places: int,
    url: str,
) -> list[Cell]:
    currency = asked.scope.currency
    tokens = unit.cost_per_million_tokens if unit else None
    per_million = fmt.unit_cost(None if tokens is None else tokens / 1_000_000, "token", currency, scale=1_000_000)
    per_request = fmt.unit_cost(unit.cost_per_request if unit else None, "request", currency, scale=1)
    return [
        Cell(group.label, url, title=group.key or group.label),
        Cell(fmt.money(group.cost, currency, places=places)),
        Cell(fmt.percent(group.cost / total.cost) if total.cost else fmt.NOT_APPLICABLE),
        Cell(fmt.money(group.estimated_cost, currency, places=places)),
        Cell(delta=fmt.delta(group.complete, group.before, currency))
        if group.before is not None
        else Cell(fmt.NOT_APPLICABLE),
        Cell(fmt.count(unit.tokens) if unit and unit.tokens else fmt.NOT_APPLICABLE),
        Cell(per_million.amount if per_million else fmt.NOT_APPLICABLE),
        Cell(per_request.amount if per_request else fmt.NOT_APPLICABLE),
        Cell(spark=Spark(list(spark), open_end=True, label=f"{group.label} by day")),
    ]


def _pivot(request: HttpRequest, asked: filters.Asked, dimension: str) -> Table:
    found = breakdown.groups(scope=asked.scope, dimension=dimension)
    currency, label = asked.scope.currency, filters.LABELS[dimension]
    top = found[:8]
    rest = sum((group.cost for group in found[8:]), Decimal(0))
    rows = [
        Row(
            [Cell(group.label, filters.url(request, group=dimension)), Cell(fmt.money(group.cost, currency))],
            kind=group.kind,
        )
        for group in top
    ]
    if rest:
        rows.append(Row([Cell(f"Other ({len(found) - 8})"), Cell(fmt.money(rest, currency))], kind="other"))
    whole = sum((group.cost for group in found), Decimal(0))
    total = Row([Cell("Total"), Cell(fmt.money(whole, currency))], kind="total")
    return Table(f"By {label.lower()}", [Column(label), Column("Spend", numeric=True)], rows, total)
