"""Overview: are we on plan this month, and what needs me today?"""

from decimal import Decimal

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse

from alerts import queries as alert_queries
from attribution import changes, outlook, queries
from costobs.kernel import fmt
from costobs.web import breakdown, budget_table, charts, filters, forecast_words, value_tables
from costobs.web.page import page as page_view
from costobs.web.parts import Cell, ChartCard, Column, Kpi, Link, Notice, Row, Table
from ingest import queries as ingest_queries

_KEEP = 5


@page_view
def page(request: HttpRequest) -> HttpResponse:
    asked = filters.read(request)
    total = queries.total(scope=asked.scope)
    context = {
        "page": "overview",
        "scope": asked.bar,
        "actions": _actions(request),
    }
    if not queries.extent():
        return render(request, "pages/overview.html", {**context, **_first_run(asked)})
    found = breakdown.groups(scope=asked.scope, dimension=asked.group)
    ahead = forecast_words.month_ahead(asked)
    budgets = alert_queries.budgets(now=asked.now, teams=asked.viewer.teams)
    change = _change(asked)
    context |= {
        "heading": _heading(asked, total, ahead),
        "sub": _sub(asked, budgets, total),
        "kpis": [_spend(asked, total), _forecast(asked, ahead), _unit(asked), _attributed(asked, total)],
        "daily": _daily(request, asked, found),
        "moved": _moved(asked, change) if change else None,
        "budgets": budget_table.table(budgets, asked.now, short=True),
        "attention": _attention(asked),
        "movers": _movers(request, asked),
    }
    return render(request, "pages/overview.html", context)


def _heading(asked: filters.Asked, total: queries.SpendTotal, ahead: outlook.Outlook | None) -> str:
    spent = fmt.money(total.cost, asked.scope.currency, mode="kpi")
    days = fmt.period(asked.scope.days.start, asked.scope.days.end)
    if ahead is None or asked.bar.preset != "mtd":
        return f"{spent} in {days}"
    whole = fmt.money(ahead.amount, asked.scope.currency, mode="short")
    corrected = fmt.money(ahead.adjusted_cost, asked.scope.currency, mode="kpi")
    of_it = f", {corrected} of it to correct closed months" if ahead.adjusted_cost else ""
    how = "at this pace the month ends at" if ahead.is_naive else "the month is expected to end at"
    return f"{spent} so far in {fmt.month(asked.scope.days.start)}{of_it}; {how} {whole}"


def _sub(asked: filters.Asked, budgets: list[alert_queries.BudgetLine], total: queries.SpendTotal) -> str:
    over = [line for line in budgets if line.is_forecast_over]
    held = [line for line in budgets if line.state in {"throttled", "stopped"}]
    parts = []
    if over:
        parts.append(f"{len(over)} of {len(budgets)} budgets would be passed")
    if held:
        parts.append(f"{', '.join(f'{line.name} is {line.state}' for line in held)}")
    if total.unpriced_requests:
        parts.append(
            f"{fmt.integer(total.unpriced_requests)} calls have no price and are counted at a conservative one"
        )
    return ". ".join(f"{part[0].upper()}{part[1:]}" for part in parts) + ("." if parts else "")


def _spend(asked: filters.Asked, total: queries.SpendTotal) -> Kpi:
    currency = asked.scope.currency
    delta = None
    if asked.compare:
        complete = queries.total(scope=asked.complete).cost
        delta = fmt.delta(complete, queries.total(scope=asked.compare).cost, currency)
    estimated = fmt.percent(total.estimated_cost / total.cost) if total.cost else fmt.NOT_APPLICABLE
    return Kpi(
        title=f"Spend, {asked.bar.label}",
        value=fmt.money(total.cost, currency, mode="kpi"),
        delta=delta,
        compare=f"{asked.compare_label}, complete days" if delta else "",
        note=f"{estimated} estimated, the rest billed",
        explain_url=f"{reverse('explore')}?{asked.query}&view=explain",
    )


def _forecast(asked: filters.Asked, ahead: outlook.Outlook | None) -> Kpi:
    title = "Forecast, month end"
    if ahead is None:
        note = "Not enough history: 31 complete days, or 3 of this month for a naive pace"
        return Kpi(title, fmt.NOT_APPLICABLE, note=note)
    return Kpi(
        title=title,
        value=fmt.money(ahead.amount, asked.scope.currency, mode="short"),
        compare=forecast_words.spread(ahead, asked.scope.currency),
        note=forecast_words.basis(ahead, asked.scope.currency),
    )


def _unit(asked: filters.Asked) -> Kpi:
    rows = queries.unit_costs(scope=asked.complete, group_by=[])
    now = rows[0].cost_per_million_tokens if rows else None
    shown = fmt.unit_cost(_per_token(now), "token", asked.scope.currency, scale=1_000_000)
    request = fmt.unit_cost(rows[0].cost_per_request if rows else None, "request", asked.scope.currency)
    if shown is None or request is None:
        return Kpi("Blended unit cost", fmt.NOT_APPLICABLE, note="No tokens in these days")
    before = queries.unit_costs(scope=asked.compare, group_by=[]) if asked.compare else []
    was = before[0].cost_per_million_tokens if before else None
    return Kpi(
        title="Blended unit cost",
        value=shown.amount,
        unit=shown.per,
        delta=fmt.unit_delta(_per_token(now), _per_token(was), "token", asked.scope.currency),
        compare=asked.compare_label,
        note=f"{request.amount} / {request.per}",
        url=f"{reverse('unit_costs')}?{asked.query}",
    )


def _per_token(per_million: Decimal | None) -> Decimal | None:
    return None if per_million is None else per_million / 1_000_000


def _attributed(asked: filters.Asked, total: queries.SpendTotal) -> Kpi:
    currency = asked.scope.currency
    owned = (total.cost - total.unallocated_cost) / total.cost if total.cost else None
    return Kpi(
        title="Attributed to a team",
        value=fmt.percent(owned),
        compare=f"{fmt.money(total.unallocated_cost, currency)} unallocated",
        note=f"{fmt.money(total.idle_cost, currency)} idle GPU, {fmt.money(total.shared_cost, currency)} shared",
        url=f"{reverse('explore')}?{asked.query}&group=team",
    )


def _daily(request: HttpRequest, asked: filters.Asked, found: list[breakdown.Group]) -> ChartCard:
    urls = {
        group.id: filters.drill_url(request, path=reverse("explore"), dimension=asked.group, value=group.key)
        for group in found
        if not group.kind
    }
    series = charts.fold(breakdown.daily(scope=asked.scope, dimension=asked.group, urls=urls), keep=_KEEP)
    rows = queries.spend_by_day(scope=asked.scope, group_by=None)
    open_days = {row.day: "still arriving or estimated" for row in rows if not row.is_final}
    label = filters.by(asked.group)
    chart = charts.daily_bars(
        days=list(asked.scope.days),
        series=series,
        currency=asked.scope.currency,
        not_final=open_days,
        marks=value_tables.marks(asked),
        slots=breakdown.slots(found),
    )
    return ChartCard(
        id="daily",
        title=f"Daily spend by {label}",
        caption=f"{asked.scope.currency}, {asked.bar.basis_label.lower()}, UTC days. Hatched: still arriving or estimated.",
        chart=chart,
        summary=_sentence(rows, asked),
        table=Table(
            caption=f"Daily spend by {label}",
            columns=[
                Column("Day"),
                *[Column(one.label, numeric=True) for one in series],
                Column("Total", numeric=True),
            ],
            rows=[
                Row(
                    [
                        Cell(fmt.day(day), note="estimated" if day in open_days else ""),
                        *[Cell(fmt.money(_value(one, index), asked.scope.currency, places=2)) for one in series],
                        Cell(
                            fmt.money(
                                sum((_value(one, index) for one in series), Decimal(0)), asked.scope.currency, places=2
                            )
                        ),
                    ]
                )
                for index, day in enumerate(asked.scope.days)
            ],
        ),
    )


def _value(series: charts.Series, index: int) -> Decimal:
    return Decimal(series.values[index] or 0)


def _sentence(rows: list[queries.DaySpend], asked: filters.Asked) -> str:
    final = [row for row in rows if row.is_final]
    if not final:
        return "None of these days is complete yet."
    top = max(final, key=lambda row: row.cost)
    average = sum((row.cost for row in final), Decimal(0)) / len(final)
    return (
        f"Complete days cost {fmt.money(average, asked.scope.currency)} on average;"
        f" the dearest was {fmt.day(top.day)} with {fmt.money(top.cost, asked.scope.currency)}."
    )


def _change(asked: filters.Asked) -> changes.Change | None:
    if asked.compare is None:
        return None
    grain = ["model", "feature"]
    return changes.explain(
        now=queries.unit_costs(scope=asked.complete, group_by=grain),
        before=queries.unit_costs(scope=asked.compare, group_by=grain),
        total_now=queries.total(scope=asked.complete).cost,
        total_before=queries.total(scope=asked.compare).cost,
    )


def _moved(asked: filters.Asked, change: changes.Change) -> ChartCard:
    currency = asked.scope.currency
    effects = [
        charts.Effect("Volume", change.volume),
        charts.Effect("Mix", change.mix),
        charts.Effect("Price", change.price),
        charts.Effect("Not tokens", change.other),
        charts.Effect("Net change", change.now - change.before, is_total=True),
    ]
    span = f"{fmt.money(change.before, currency)} → {fmt.money(change.now, currency)}"
    return ChartCard(
        id="moved",
        title=f"Why it moved: {span}",
        caption=f"Effects {asked.compare_label}, complete days, {currency}. They add up to the change.",
        chart=charts.bridge(effects=effects, currency=currency),
        summary=f"More or fewer tokens account for {fmt.money(change.volume, currency, signed=True)}, their price for"
        f" {fmt.money(change.price, currency, signed=True)}.",
        table=Table(
            caption="Effects",
            columns=[Column("Effect"), Column("Change", numeric=True)],
            rows=[
                Row([Cell(one.label), Cell(fmt.money(one.amount, currency, places=2, signed=True))]) for one in effects
            ],
        ),
    )


def _attention(asked: filters.Asked) -> Table:
    rows = []
    for run in alert_queries.waiting_actions(teams=asked.viewer.teams):
        until = fmt.moment(run.expires_at) if run.expires_at else "the period ends"
        text = f"{run.words}, asked {fmt.moment(run.asked_at)}, expires {until}"
        rows.append(
            Row(
                [
                    Cell(run.budget_name, reverse("action", args=[run.id])),
                    Cell(run.state_words, state=run.state),
                    Cell(text),
                ]
            )
        )
    for run in alert_queries.actions_in_force(teams=asked.viewer.teams):
        since = fmt.moment(run.applied_at) if run.applied_at else "now"
        text = f"{run.words} since {since}"
        rows.append(
            Row(
                [
                    Cell(run.budget_name, reverse("action", args=[run.id])),
                    Cell(run.state_words, state=run.state),
                    Cell(text),
                ]
            )
        )
    if asked.viewer.may_see_all:
        for line in ingest_queries.sources(now=asked.now):
            if line.status in {"late", "failed"}:
                text = (
                    line.last_error
                    or f"behind by {fmt.ago(line.complete_through, asked.now) if line.complete_through else 'all'}"
                )
                rows.append(Row([Cell(line.name, reverse("sources")), Cell("", state=line.status), Cell(text)]))
    return Table(
        caption="Needs attention",
        columns=[Column("What"), Column("State"), Column("Detail", wide=True)],
        rows=rows,
        empty=Notice("info", "Nothing needs you", f"Checked {fmt.moment(asked.now)}."),
    )


def _movers(request: HttpRequest, asked: filters.Asked) -> Table:
    empty = Notice("info", "No comparison", "Choose a comparison in the scope bar to see what moved.")
    columns = [
        Column("Feature"),
        Column("Now", numeric=True),
        Column("Before", numeric=True),
        Column("Change", numeric=True),
    ]
    if asked.compare is None:
        return Table("Top movers", columns, [], empty=empty)
    found = queries.movers(scope=asked.complete, compare=asked.compare, dimension="feature", limit=8)
    currency = asked.scope.currency
    return Table(
        caption="Top movers by feature, complete days",
        columns=columns,
        rows=[
            Row(
                [
                    Cell(
                        mover.key or "No feature",
                        filters.drill_url(
                            request, path=reverse("explore"), dimension="feature", value=mover.key, group="model"
                        ),
                    ),
                    Cell(fmt.money(mover.cost, currency)),
                    Cell(fmt.money(mover.before, currency)),
                    Cell(delta=fmt.delta(mover.cost, mover.before, currency)),
                ]
            )
            for mover in found
        ],
        empty=Notice("empty", "Nothing moved", "These days and the ones before cost the same."),
    )


def _actions(request: HttpRequest) -> list[Link]:
    return [
        Link("Export CSV", f"{reverse('explore_export')}?{request.GET.urlencode()}", icon="download"),
        Link(
            "Save view",
            f"{reverse('view_save')}?page=overview&{request.GET.urlencode()}",
            icon="plus",
            primary=True,
        ),
    ]


def _first_run(asked: filters.Asked) -> dict[str, object]:
    step = Link("Sources", reverse("sources"), icon="database", primary=True)
    if asked.viewer.may_manage:
        step = Link("Connect a source", reverse("settings_source_new"), icon="plug", primary=True)
    return {
        "heading": "No spend in the books yet",
        "sub": "Connect one source, map its keys to teams, set one budget.",
        "first_run": Notice(
            "empty",
            "Load a bill or a usage log to begin",
            "A bill in a bucket, an admin key of a vendor or the log of a gateway: the first figures are there within"
            " minutes. On the command line: costobs load focus_export bill.csv.",
            [step],
        ),
    }
