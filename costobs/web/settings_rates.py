"""Settings, exchange rates: which are known, which are missing, and where they come from."""

from datetime import datetime

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST

from attribution import rates
from costobs.access import scopes
from costobs.kernel import fmt, http, money
from costobs.web.parts import Cell, Column, Kpi, Notice, Row, Table
from costobs.web.price_access import looking, managing

_SHOWN_PROBLEMS = 5


@looking
def page(request: HttpRequest) -> HttpResponse:
    """The rates, their coverage of the books, and the feed."""
    now, viewer = timezone.now(), scopes.viewer(request.user)
    into = settings.COSTOBS_CURRENCY
    found, covered, feed_row = rates.lines(now=now), rates.coverage(into=into), rates.feed()
    context = {
        "page": "settings",
        "scope": None,
        "heading": _heading(found, covered, into),
        "sub": f"Reports are in {into}. A day without a rate takes the one of the latest day before it, at most"
        f" {rates.LONGEST_GAP_DAYS} days back. A closed month keeps the rates it was closed with.",
        "kpis": _kpis(found, covered, feed_row, now),
        "coverage": _coverage(covered, into),
        "rates": _rates(found),
        "corrections": _corrections(),
        "feed": feed_row,
        "feed_words": _feed_words(feed_row, now),
        "is_stale": _is_stale(feed_row, now),
        "may_manage": viewer.may_manage,
        "default_url": rates.ECB,
    }
    return render(request, "pages/settings_rates.html", context)


@require_POST
@managing
def upload(request: HttpRequest) -> HttpResponse:
    """Takes in a file of rates: the bank's CSV, XML or zip, or a table of date, currency and rate."""
    viewer, now = scopes.viewer(request.user), timezone.now()
    file = request.FILES.get("file")
    if file is None:
        messages.error(request, "Nothing was loaded: choose a file first.")
        return redirect("settings_rates")
    name = (file.name or "file")[:100].replace("\x00", "")
    base = request.POST.get("base", "").strip() or "EUR"
    try:
        if (file.size or 0) > rates.MOST_BYTES:
            raise rates.BadFile(f"{name}: expected at most {rates.MOST_BYTES:,} bytes, found {file.size:,}")
        found = rates.load(content=file.read(), name=name, base=base, publisher=name, by=viewer.name, now=now)
    except rates.BadFile as problem:
        messages.error(request, f"Nothing was loaded: {problem}")
        return redirect("settings_rates")
    messages.success(request, f"{name}: {_words(found)}")
    for words in found.problems[:_SHOWN_PROBLEMS]:
        messages.warning(request, f"Left out: {words}")
    if found.left_out > _SHOWN_PROBLEMS:
        messages.warning(request, f"{fmt.integer(found.left_out - _SHOWN_PROBLEMS)} more rows were left out.")
    return redirect("settings_rates")


@require_POST
@managing
def feed(request: HttpRequest) -> HttpResponse:
    """Says where rates are fetched from, and switches it on or off."""
    viewer, now = scopes.viewer(request.user), timezone.now()
    url, base = request.POST.get("url", "").strip(), request.POST.get("base", "").strip() or "EUR"
    is_active = "is_active" in request.POST
    try:
        rates.set_feed(url=url, base=base, is_active=is_active, by=viewer.name, now=now)
    except (rates.BadFile, http.BlockedAddress) as problem:
        messages.error(request, f"The feed was not changed: {problem}")
    else:
        messages.success(request, "Rates are fetched once a day from now on." if is_active else "No rates are fetched.")
    return redirect("settings_rates")


@require_POST
@managing
def fetch(request: HttpRequest) -> HttpResponse:
    """Fetches the feed now."""
    viewer, now = scopes.viewer(request.user), timezone.now()
    if not rates.feed().is_active:
        messages.error(request, "Nothing was fetched: switch the feed on first.")
        return redirect("settings_rates")
    found = rates.fetch(by=viewer.name, now=now)
    if found is None:
        messages.error(request, f"Nothing was fetched: {rates.feed().error}")
    else:
        messages.success(request, f"Fetched: {_words(found)}")
    return redirect("settings_rates")


def _words(found: rates.Loaded) -> str:
    told = f"{fmt.integer(found.added)} rates are new, {fmt.integer(found.corrected)} corrected others"
    return f"{told}, {fmt.integer(found.known)} were known."


def _heading(found: list[rates.CurrencyLine], covered: list[rates.Coverage], into: str) -> str:
    missing = [one.currency for one in covered if one.missing]
    if missing:
        verb = "have" if len(missing) > 1 else "has"
        return f"{', '.join(missing)} {verb} days in the books without a rate into {into}"
    if covered:
        return f"Every day of {', '.join(one.currency for one in covered)} in the books has a rate into {into}"
    if not found:
        return f"The books are in {into} alone, no exchange rate is needed"
    return f"{fmt.integer(len(found))} currencies have rates, and the books are in {into} alone"


def _kpis(found: list[rates.CurrencyLine], covered: list[rates.Coverage], row: rates.Feed, now: datetime) -> list[Kpi]:
    last = max((one.last for one in found), default=None)
    missing = sum(one.missing for one in covered)
    return [
        Kpi("Currencies with rates", fmt.integer(len(found))),
        Kpi("Newest rate", fmt.day(last) if last else fmt.NOT_APPLICABLE, note="Banks publish on working days"),
        Kpi("Days without a rate", fmt.integer(missing), note="Of currencies found in the books"),
        Kpi("Feed", "On" if row.is_active else "Off", note=_feed_words(row, now)),
    ]


def _feed_words(row: rates.Feed, now: datetime) -> str:
    if not row.is_active:
        return "Nothing is fetched"
    if row.fetched_at is None:
        return "Nothing was fetched yet"
    return f"Last fetched {fmt.ago(row.fetched_at, now)}"


def _is_stale(row: rates.Feed, now: datetime) -> bool:
    return row.is_active and (row.fetched_at is None or row.fetched_at < now - rates.STALE_AFTER) and bool(row.failures)


def _coverage(covered: list[rates.Coverage], into: str) -> Table:
    columns = [
        Column("Currency"),
        Column("Days in the books", numeric=True),
        Column("Without a rate", numeric=True),
        Column("Which days", wide=True),
    ]
    rows = [
        Row(
            [
                Cell(one.currency, mono=True),
                Cell(fmt.integer(one.days)),
                Cell(fmt.integer(one.missing), tone="unfavourable" if one.missing else ""),
                Cell(_which(one)),
            ]
        )
        for one in covered
    ]
    empty = Notice("empty", f"Everything in the books is in {into}", "Spend in another currency would be listed here.")
    return Table("Currencies of the books", columns, rows, empty=empty)


def _which(one: rates.Coverage) -> str:
    if one.first_missing is None or one.last_missing is None:
        return "none"
    if one.first_missing == one.last_missing:
        return fmt.day(one.first_missing)
    return f"between {fmt.day(one.first_missing)} and {fmt.day(one.last_missing)}"


def _rates(found: list[rates.CurrencyLine]) -> Table:
    columns = [
        Column("Currency"),
        Column("For one", title="The currency these rates are told for one unit of"),
        Column("Newest rate", numeric=True),
        Column("Of day"),
        Column("First day"),
        Column("Days", numeric=True),
        Column("Publisher", wide=True),
    ]
    rows = [
        Row(
            [
                Cell(one.currency, mono=True),
                Cell(one.base, mono=True),
                Cell(money.text(one.rate)),
                Cell(fmt.day(one.last)),
                Cell(fmt.day(one.first)),
                Cell(fmt.integer(one.days)),
                Cell(one.publisher),
            ]
        )
        for one in found
    ]
    empty = Notice("empty", "No rates yet", "Upload the European Central Bank's file, or a table of your own.")
    return Table("Rates", columns, rows, empty=empty)


def _corrections() -> Table:
    columns = [
        Column("Currency"),
        Column("Of day"),
        Column("Was", numeric=True),
        Column("Is", numeric=True),
        Column("Corrected", wide=True),
    ]
    rows = [
        Row(
            [
                Cell(f"{old.currency} for one {old.base}", mono=True),
                Cell(fmt.day(old.day)),
                Cell(money.text(old.rate)),
                Cell(money.text(new.rate) if new else fmt.NOT_APPLICABLE),
                Cell(fmt.moment(old.known_to), note=new.publisher if new else ""),
            ]
        )
        for old, new in rates.corrections(limit=20)
    ]
    empty = Notice("empty", "No rate was corrected", "What was believed before a correction would be listed here.")
    return Table("Corrections", columns, rows, empty=empty)
