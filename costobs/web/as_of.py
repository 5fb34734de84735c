"""As we knew it: what the books said at an earlier moment, against what they say now, and what came in between."""

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse

from attribution import queries
from costobs.kernel import fmt, money
from costobs.kernel.scope import BadScope
from costobs.web import csv_file, filters
from costobs.web.page import page as page_view
from costobs.web.parts import Cell, Column, Kpi, Link, Notice, Row, Table
from costobs.web.scope_view import ScopeBar

_GROUPS = {"day": "Day", "provider_name": "Provider", "team": "Team", "basis": "Basis"}
_NAMED = 4


@page_view
def page(request: HttpRequest) -> HttpResponse:
    """Then and now, and the news between."""
    asked = filters.read(request)
    group, moment = _group(request), _moment(request, asked.now)
    rows = queries.then_and_now(scope=asked.scope, known_at=moment, group_by=group)
    news = queries.news_since(scope=asked.scope, known_at=moment)
    first = queries.first_known_at()
    is_too_early = first is None or moment <= first
    then, now = None if is_too_early else money.total(row.then for row in rows), money.total(row.now for row in rows)
    context = {
        "page": "explore",
        "scope": _bar(request, asked),
        "heading": _heading(asked, moment, then, now),
        "sub": f"What was known on {_written(moment)}, against what is known now. Beliefs are kept by the hour, by provider,"
        " team and basis; a team is the owner of that time.",
        "actions": [Link("Back to Explore", f"{reverse('explore')}?{_without(request)}", icon="undo-2")],
        "is_too_early": is_too_early,
        "first": first,
        "kpis": _kpis(asked, then, now, news),
        "known_on": _known_on(request, asked.now),
        "today": asked.now.date(),
        "hidden": [
            (name, value)
            for name in ("preset", "from", "to", "basis", "cmp", "f")
            for value in request.GET.getlist(name)
        ],
        "tabs": [(label, filters.url(request, by=key), key == group) for key, label in _GROUPS.items()],
        "table": _table(asked, group, rows, is_too_early, f"{reverse('as_of_export')}?{request.GET.urlencode()}"),
        "news": _news(asked, news),
    }
    return render(request, "pages/as_of.html", context)


@page_view
def export(request: HttpRequest) -> HttpResponse:
    """Then and now as CSV, with every digit."""
    asked = filters.read(request)
    group, moment = _group(request), _moment(request, asked.now)
    rows = queries.then_and_now(scope=asked.scope, known_at=moment, group_by=group)
    return csv_file.response(
        name=f"as-of-{moment:%Y-%m-%dT%H%M}-{group}.csv",
        columns=[group, "known_at", "then", "now", "change", "currency", "cost_column"],
        rows=[[row.key, moment, row.then, row.now, row.change, asked.scope.currency, asked.scope.cost] for row in rows],
    )


def _group(request: HttpRequest) -> str:
    group = request.GET.get("by", "day")
    if group not in _GROUPS:
        raise BadScope(f"unknown grouping {group!r}; known: {', '.join(_GROUPS)}")
    return group


def _bar(request: HttpRequest, asked: filters.Asked) -> ScopeBar:
    """The scope bar without what this page does not ask."""
    kept = [(name, request.GET[name]) for name in ("by", "known_on") if name in request.GET]
    known = [one for one in asked.bar.dims if one.value in queries.KNOWN_DIMENSIONS]
    return replace(asked.bar, compares=[], groups=[], dims=known, hidden=kept)


def _known_on(request: HttpRequest, now: datetime) -> date:
    text = request.GET.get("known_on", "")
    if not text:
        return now.date() - timedelta(days=7)
    try:
        day = date.fromisoformat(text)
    except ValueError as problem:
        raise BadScope(f"expected known_on as YYYY-MM-DD, found {text!r}") from problem
    if not date(2000, 1, 1) <= day <= now.date():
        raise BadScope(f"expected a day that has been, found {day}")
    return day


def _moment(request: HttpRequest, now: datetime) -> datetime:
    """The end of the day asked for, or this moment if the day is not over."""
    end = datetime.combine(_known_on(request, now) + timedelta(days=1), time(0), UTC)
    return queries.known_moment(known_at=min(end, now))


def _written(moment: datetime) -> str:
    if moment.time() == time(0):
        return f"{fmt.day(moment.date() - timedelta(days=1))} at its end"
    return fmt.moment(moment, year=True)


def _without(request: HttpRequest) -> str:
    query = request.GET.copy()
    for name in ("by", "known_on"):
        query.pop(name, None)
    return query.urlencode()


def _heading(asked: filters.Asked, moment: datetime, then: Decimal | None, now: Decimal) -> str:
    on = fmt.short_day(moment.date() - timedelta(days=1) if moment.time() == time(0) else moment.date())
    currency = asked.scope.currency
    if then == now:
        return f"{asked.bar.label} was known on {on} as it is known now: {fmt.money(now, currency, mode='kpi')}"
    if then is None:
        whole = fmt.money(now, currency, mode="kpi")
        return f"{asked.bar.label} costs {whole}; what was known on {on} was not written down"
    whole, was = fmt.money(now, currency, mode="kpi"), fmt.money(then, currency, mode="kpi")
    return f"{asked.bar.label} costs {whole}; on {on} we knew of {was}"


def _kpis(asked: filters.Asked, then: Decimal | None, now: Decimal, news: list[queries.News]) -> list[Kpi]:
    currency = asked.scope.currency
    adjusted = queries.adjusted_cost(scope=asked.scope)
    return [
        Kpi("Known then", fmt.money(then, currency, mode="kpi")),
        Kpi("Known now", fmt.money(now, currency, mode="kpi")),
        Kpi(
            "Difference",
            fmt.UNKNOWN if then is None else fmt.money(now - then, currency, mode="kpi", signed=True),
            note=_days_of_news(news),
        ),
        Kpi(
            "Corrections of closed months",
            fmt.money(adjusted, currency, mode="kpi", signed=True) if adjusted else fmt.money(adjusted, currency),
            note="Booked in these days, part of what is known now",
        ),
    ]


def _days_of_news(news: list[queries.News]) -> str:
    return "News on one day" if len(news) == 1 else f"News on {fmt.integer(len(news))} days"


def _table(asked: filters.Asked, group: str, rows: list[queries.ThenNow], is_too_early: bool, csv_url: str) -> Table:
    currency = asked.scope.currency
    places = fmt.column_places([*(row.then for row in rows), *(row.now for row in rows)])
    label = _GROUPS[group]
    columns = [
        Column(label),
        Column("Known then", numeric=True),
        Column("Known now", numeric=True),
        Column("Difference", numeric=True),
    ]

    def cells(name: str, then: Decimal, now: Decimal) -> list[Cell]:
        if is_too_early:
            return [Cell(name), Cell(fmt.UNKNOWN), Cell(fmt.money(now, currency, places=places)), Cell(fmt.UNKNOWN)]
        change = fmt.money(now - then, currency, places=places, signed=True) if now != then else fmt.NOT_APPLICABLE
        return [
            Cell(name),
            Cell(fmt.money(then, currency, places=places)),
            Cell(fmt.money(now, currency, places=places)),
            Cell(change),
        ]

    drawn = [
        Row(
            cells(_name(group, row.key), row.then, row.now),
            kind="unallocated" if group == "team" and not row.key else "",
        )
        for row in rows
    ]
    then, now = money.total(row.then for row in rows), money.total(row.now for row in rows)
    total = Row(cells("Total", then, now), kind="total") if rows else None
    empty = Notice("nothing_matches", f"No spend in {asked.bar.label}", "Neither then nor now.")
    return Table(f"Then and now by {label.lower()}", columns, drawn, total, empty, csv_url if rows else "")


def _name(group: str, key: str) -> str:
    if group == "day":
        return fmt.day(date.fromisoformat(key))
    if group == "team":
        return key or "No owner"
    return key.capitalize() if group == "basis" else key


def _news(asked: filters.Asked, news: list[queries.News]) -> Table:
    currency = asked.scope.currency
    places = fmt.column_places([one.change for one in news])
    columns = [Column("Day of knowing"), Column("Change", numeric=True), Column("What came in that day", wide=True)]
    rows = [
        Row(
            [
                Cell(fmt.day(one.known_on)),
                Cell(fmt.money(one.change, currency, places=places, signed=True) if one.change else fmt.NOT_APPLICABLE),
                Cell(_told(one)),
            ]
        )
        for one in news
    ]
    empty = Notice("info", "Nothing new came in since", "What was known then is what is known now.")
    note = "" if asked.scope.teams is None else "What came in is told to those who see every team."
    return Table("What changed it", columns, rows, empty=empty, note=note)


def _told(one: queries.News) -> str:
    parts = []
    if one.deliveries:
        parts.append(f"bills {_some(one.deliveries)}")
    if one.prices:
        parts.append(f"prices of {_some(one.prices)}")
    if one.rulesets:
        parts.append(f"rules published by {_some(one.rulesets)}")
    parts += [f"{fmt.month(month)} closed" for month in one.closed]
    return "; ".join(parts) or "usage, or telemetry"


def _some(names: tuple[str, ...]) -> str:
    rest = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")
