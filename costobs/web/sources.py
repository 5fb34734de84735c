"""Sources: is the data complete, fresh and fully priced?"""

from datetime import date, timedelta
from decimal import Decimal

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST

from attribution import close, queries
from costobs import repricing
from costobs.access import scopes
from costobs.kernel import fmt, money
from costobs.kernel.period import Days
from costobs.sample import install
from costobs.web import csv_file, settings_source_tables
from costobs.web.page import no_permission
from costobs.web.page import page as page_view
from costobs.web.parts import Cell, Column, Kpi, Link, Notice, Row, Table
from ingest import price, price_changes, price_tiers
from ingest import queries as ingest_queries
from ingest.price_lines import Line
from ingest.price_usage import Unpriced
from ingest.queries import UnknownUsage

_DAYS = 28
_MOST_MODELS = 25
_NO_CALLS = Notice("empty", "No call was logged in these days", "Bills alone do not tell one call from another.")
# Rows that come when something happens, not every day.
_AS_IT_HAPPENS = frozenset({"fine_tunes", "quality_scores", "business_metrics", "markers"})


@page_view
def page(request: HttpRequest) -> HttpResponse:
    now, viewer = timezone.now(), scopes.viewer(request.user)
    if not viewer.may_see_all:
        return no_permission(
            request, "Sources show every team's data. Ask an administrator or finance to look for you."
        )
    lines = ingest_queries.sources(now=now)
    days = Days(now.date() - timedelta(days=_DAYS - 1), now.date() + timedelta(days=1))
    unpriced, unknown = price.unpriced(days=days), ingest_queries.unknown_usage(days=days)
    calls = ingest_queries.calls(days=days)
    rows = fmt.count(sum(line.rows_28d for line in lines))
    context = {
        "page": "sources",
        "heading": _heading(lines),
        "sub": f"{rows} rows loaded in {_DAYS} days. As of {fmt.moment(now)}; days and times are UTC.",
        "kpis": _kpis(unpriced, unknown, calls),
        "sources": _sources(lines, may_manage=viewer.may_manage),
        "actions": [Link("Set up sources", reverse("settings_sources"), icon="sliders-horizontal")],
        "completeness": _completeness(lines, now.date()),
        "unpriced": _unpriced(unpriced, has_calls=calls > 0),
        "unknown": _unknown(unknown, has_calls=calls > 0),
        "loads": settings_source_tables.loads(ingest_queries.loads(limit=30), shows_source=True),
        "quarantined": _quarantined(),
        "may_manage": viewer.may_manage,
        "is_busy": ingest_queries.is_sample_loading() or bool(ingest_queries.open_days()),
        "today": now.date(),
        "scope": None,
    }
    return render(request, "pages/sources.html", context)


@require_POST
@page_view
def set_price(request: HttpRequest) -> HttpResponse:
    """The operator's price for a model; the first one counts at once, one that moves much waits for another person."""
    viewer, now = scopes.viewer(request.user), timezone.now()
    if not viewer.may_manage:
        return no_permission(request, "Only administrators set prices.")
    change_id = 0
    try:
        amounts = {
            kind: money.parse(request.POST[kind])
            for kind in ("input", "output", "cache_read")
            if request.POST.get(kind)
        }
        day = date.fromisoformat(request.POST.get("valid_from", ""))
        provider, model = request.POST.get("provider", "").strip().lower(), request.POST.get("model", "").strip()
        line = Line(provider, model, price_tiers.STANDARD, day, "USD", {0: amounts})
        change_id = price_changes.propose(kind="price", lines=[line], by=viewer.name, now=now)
        moved = repricing.apply(change_id=change_id, by=viewer.name, now=now)
    except repricing.NotNow as problem:
        messages.warning(request, f"The price is proposed and does not count yet: {problem}.")
        return redirect("settings_price_change", change_id=change_id)
    except (price.BadPrice, price.PriceMoved, ValueError) as problem:
        messages.error(request, f"The price was not set: {problem}")
        return redirect("sources")
    messages.success(request, f"The price is set; {fmt.integer(moved.events)} calls are priced anew.")
    return redirect("sources")


@require_POST
@page_view
def remove_sample(request: HttpRequest) -> HttpResponse:
    """Takes the sample organisation out of the books; own data stay."""
    viewer = scopes.viewer(request.user)
    if not viewer.may_manage:
        return no_permission(request, "Only administrators remove the sample.")
    try:
        install.remove(by=viewer.name, now=timezone.now())
    except close.Refused as problem:
        messages.error(request, f"Nothing was removed: {problem}.")
        return redirect("sources")
    messages.success(request, "The sample organisation is removed. Connect your own sources to go on.")
    return redirect("sources")


@page_view
def quarantined_csv(request: HttpRequest) -> HttpResponse:
    """Quarantined rows as they came, for repair; with `load` those of one load."""
    if not scopes.viewer(request.user).may_see_all:
        return no_permission(request, "Quarantined rows show every team's data.")
    load = request.GET.get("load", "")
    load_id = int(load) if load.isascii() and load.isdigit() and len(load) < 18 else None
    return csv_file.response(
        name="quarantined.csv",
        columns=["source", "file", "row", "field", "reason", "raw", "loaded_at"],
        rows=[
            [row.source, row.file, row.row_number, row.field, row.reason, row.raw, row.loaded_at]
            for row in ingest_queries.quarantined(load_id=load_id, limit=100_000)
        ],
    )


def _heading(lines: list[ingest_queries.SourceLine]) -> str:
    if not lines:
        return "No source is connected yet"
    good = sum(line.status == "on_time" for line in lines)
    if good == len(lines):
        return f"All {len(lines)} sources are up to date"
    return f"{good} of {len(lines)} sources are up to date"


def _kpis(unpriced: list[Unpriced], unknown: list[UnknownUsage], calls: int) -> list[Kpi]:
    final = queries.last_final_day()
    waiting = ingest_queries.quarantined_count()
    cost = sum((one.cost_at_conservative_price for one in unpriced), Decimal(0))
    open_days = len(ingest_queries.open_days())
    without = sum(one.unknown for one in unknown)
    share = f"{fmt.percent(Decimal(without) / calls)} of {fmt.count(calls)} calls" if calls else "No call was logged"
    return [
        Kpi(
            "Billed and complete through",
            fmt.day(final) if final else fmt.NOT_APPLICABLE,
            note="Later days are estimated from usage",
        ),
        Kpi(
            "Quarantined rows",
            fmt.integer(waiting),
            note="Kept as they came; the rest of their file is loaded",
            url="#quarantined",
        ),
        Kpi(
            "Unpriced calls, 28 days",
            fmt.integer(sum(one.requests for one in unpriced)),
            note=f"{fmt.money(cost, places=2)} at conservative prices"
            + (f"; {open_days} days being recomputed" if open_days else ""),
            url="#unpriced",
        ),
        Kpi(
            "Calls of unknown usage, 28 days",
            fmt.integer(without),
            note=f"{share}; their tokens are missing, not zero" if without else f"None; {share.lower()}",
            url="#unknown-usage",
        ),
    ]


def _sources(lines: list[ingest_queries.SourceLine], *, may_manage: bool) -> Table:
    columns = [
        Column("Source", wide=True),
        Column("Kind"),
        Column("Status"),
        Column("Complete through"),
        Column("Expected lag"),
        Column("Last load"),
        Column("Rows 28 d", numeric=True),
        Column("Quarantined", numeric=True),
    ]
    rows = [
        Row(
            [
                Cell(line.name, url=reverse("settings_source", args=[line.id]), note=line.last_error or _late(line)),
                Cell(line.title, title=line.kind),
                Cell("", state=line.status),
                Cell(fmt.moment(line.complete_through) if line.complete_through else "no data yet"),
                Cell(fmt.duration(timedelta(seconds=line.expected_lag_seconds))),
                Cell(fmt.moment(line.last_load_at) if line.last_load_at else fmt.NOT_APPLICABLE),
                Cell(fmt.count(line.rows_28d)),
                Cell(fmt.integer(line.quarantined_28d)),
            ]
        )
        for line in lines
    ]
    empty = Notice(
        "empty",
        "Connect one source",
        "A bill in a bucket, an admin key of a vendor, the log of a gateway. On the command line: costobs load focus_export"
        " bill.csv.",
        [Link("Connect a source", reverse("settings_source_new"), icon="plug", primary=True)] if may_manage else [],
    )
    return Table("Sources", columns, rows, empty=empty)


def _late(line: ingest_queries.SourceLine) -> str:
    if line.status != "late":
        return ""
    return (
        f"late by {fmt.duration(timedelta(seconds=line.late_seconds))}; totals of these days are low until it arrives"
    )


def _completeness(lines: list[ingest_queries.SourceLine], today: date) -> Table:
    first = today - timedelta(days=_DAYS - 1)
    found = ingest_queries.completeness(first=first, last=today)
    days = [first + timedelta(days=offset) for offset in range(_DAYS)]
    rows = []
    for line in lines:
        have = found.get(line.name, set())
        begun = min(have, default=today)
        missing = [day for day in days if begun < day < _through(line, today) and day not in have]
        gaps = Cell(", ".join(fmt.short_day(day) for day in missing[:6]) + ("…" if len(missing) > 6 else "") or "none")
        if line.produces in _AS_IT_HAPPENS:
            gaps = Cell(fmt.NOT_APPLICABLE, title="Such rows come when something happens: a day without one is no gap")
        share = Decimal(len(have)) / _DAYS
        rows.append(Row([Cell(line.name), Cell(f"{len(have)} of {_DAYS}", share=share), gaps]))
    columns = [
        Column("Source", wide=True),
        Column("Days with data", numeric=True),
        Column("Gaps before the newest day", wide=True),
    ]
    return Table("Completeness, last 28 days", columns, rows, empty=Notice("empty", "Nothing to check yet", ""))


def _through(line: ingest_queries.SourceLine, today: date) -> date:
    return line.complete_through.date() if line.complete_through else today


def _unpriced(found: list[Unpriced], *, has_calls: bool) -> Table:
    columns = [
        Column("Model"),
        Column("Calls", numeric=True),
        Column("Tokens", numeric=True),
        Column("At conservative price", numeric=True, title="The dearest known price of the provider"),
    ]
    rows = [
        Row(
            [
                Cell(
                    one.model,
                    mono=True,
                    title=one.model,
                    note=f"{one.provider}, last {fmt.short_day(one.last_seen.date())}",
                ),
                Cell(fmt.integer(one.requests), title=f"the last at {fmt.moment(one.last_seen)}"),
                Cell(fmt.count(one.tokens)),
                Cell(fmt.money(one.cost_at_conservative_price, one.currency, places=2), title=one.provenance),
            ],
            kind="unpriced",
        )
        for one in found
    ]
    empty = Notice(
        "info", "Every call has a price", "Models without one would be listed here and counted at a conservative price."
    )
    empty = empty if has_calls else _NO_CALLS
    return Table("Unpriced usage, last 28 days", columns, rows, empty=empty)


def _unknown(found: list[UnknownUsage], *, has_calls: bool) -> Table:
    columns = [
        Column("Model"),
        Column("Source", wide=True),
        Column("Of unknown usage", numeric=True),
        Column("Of its calls", numeric=True),
        Column("Newest hour"),
    ]
    rows = [
        Row(
            [
                Cell(one.model or "not named", mono=bool(one.model), title=one.model, note=one.provider),
                Cell(one.source, url=reverse("settings_source", args=[one.source_id])),
                Cell(fmt.integer(one.unknown)),
                Cell(fmt.percent(Decimal(one.unknown) / one.requests), title=f"of {fmt.integer(one.requests)} calls"),
                Cell(fmt.moment(one.last_hour)),
            ]
        )
        for one in found
    ]
    empty = Notice("info", "Every call says what it used", "Spans without usage and cut streams would be counted here.")
    empty = empty if has_calls else _NO_CALLS
    return Table("Calls of unknown usage, last 28 days", columns, rows[:_MOST_MODELS], empty=empty)


def _quarantined() -> Table:
    columns = [
        Column("File"),
        Column("Row", numeric=True),
        Column("Field"),
        Column("Why", wide=True),
        Column("Source", wide=True),
        Column("Loaded"),
    ]
    rows = [
        Row(
            [
                Cell(one.file, title=one.raw[:300]),
                Cell(fmt.integer(one.row_number)),
                Cell(one.field, mono=True),
                Cell(one.reason),
                Cell(one.source),
                Cell(fmt.moment(one.loaded_at)),
            ]
        )
        for one in ingest_queries.quarantined(limit=50)
    ]
    csv_url = reverse("quarantined_csv") if rows else ""
    empty = Notice(
        "info", "No row is quarantined", "Rows that cannot be understood are kept here with file, row and field."
    )
    return Table("Quarantined rows", columns, rows, empty=empty, csv_url=csv_url)
