"""Closing a month: how far it is, what is left to do, and the acts of the people who may close and open it again."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from urllib.parse import urlencode

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST

from attribution import close, periods, queries
from attribution.checklist import Line
from costobs.access import scopes
from costobs.audit import record
from costobs.kernel import fmt
from costobs.kernel.period import Days, parse_month
from costobs.kernel.period import month as month_of
from costobs.kernel.scope import BadScope, SpendScope
from costobs.web.page import no_permission
from costobs.web.page import page as page_view
from costobs.web.parts import Cell, Column, Row, Table

_NOT_YOURS = "Administrators and finance close months. Leads see how far a month is, and their own statement."
_MOST_LINES = 50
_REASON, _SHOWN = "reason_", "shown_"
_DONE = {
    "review": "{month} is reviewed. It can close while no figure changes.",
    "ask": "You have asked for {month} to be opened again. Another person has to agree.",
    "agree": "{month} is open again; its days are rolled up anew within minutes.",
    "decline": "{month} stays closed.",
}


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a month."""

    label: str
    done: bool
    current: bool


@dataclass(frozen=True, slots=True)
class Card:
    """What the chargeback page shows about closing a month; without `may_act` only how far it is."""

    title: str
    state: str
    steps: Sequence[Step]
    words: str
    may_act: bool
    book: close.Book | None = None
    checklist: Table | None = None
    facts: Sequence[tuple[str, str]] = ()
    may_review: bool = False
    may_close: bool = False
    asked: str = ""
    asked_by_viewer: bool = False
    deliveries: Table | None = None
    restatement: Table | None = None
    adjustments: Table | None = None
    month: str = ""


def card(request: HttpRequest, scope: SpendScope) -> Card:
    """The card of the month of `scope`, for whoever asks."""
    viewer, now = scopes.viewer(request.user), timezone.now()
    month = scope.days.start
    name, restated, adjusted = fmt.month(month), _restatement(scope), _adjustments(scope)
    if not viewer.may_act_for(None):
        state = close.state(month=month, now=now)
        return Card(
            f"Closing {name}",
            state,
            _steps(state),
            _words(name, state),
            False,
            restatement=restated,
            adjustments=adjusted,
        )
    book = close.status(month=month, now=now)
    state, is_over = book.state, now >= scope.days.end_at
    has_rows = state != "closed" and is_over and bool(queries.currencies_of(days=scope.days))
    return Card(
        title=f"Closing {name}: {_left(book)}",
        state=state,
        steps=_steps(state),
        words=_words(name, state),
        may_act=True,
        book=book,
        checklist=_checklist(book, scope.days) if book.checklist else None,
        facts=_facts(book),
        may_review=has_rows,
        may_close=has_rows,
        asked=_asked(book),
        asked_by_viewer=record.is_same_person(book.reopen_asked_by, viewer.name),
        deliveries=_deliveries(book) if book.deliveries else None,
        restatement=restated,
        adjustments=adjusted,
        month=f"{month:%Y-%m}",
    )


def ready() -> int:
    """How many months are billed to their last day and not closed: the number in the navigation."""
    final, extent = queries.last_final_day(), queries.extent()
    if final is None or extent is None:
        return 0
    first = max(extent.start, periods.closed_until() or extent.start)
    end = final + timedelta(days=1)  # a month counts once its last day is billed
    return max((end.year - first.year) * 12 + end.month - first.month, 0)


@require_http_methods(["GET", "POST"])
@page_view
def page(request: HttpRequest, month: str) -> HttpResponse:
    """Asks for a note and for reasons, and closes the month."""
    viewer, now, days = scopes.viewer(request.user), timezone.now(), _month(month)
    if not viewer.may_act_for(None):
        return no_permission(request, _NOT_YOURS)
    problem = ""
    typed = {key.removeprefix(_REASON): request.POST.get(key, "") for key in request.POST if key.startswith(_REASON)}
    note = request.POST.get("note", "")
    if request.method == "POST":
        given = {key: reason for key, reason in typed.items() if reason.strip()}
        try:
            _as_shown(request, close.status(month=days.start, now=now), given)
            close.close(month=days.start, by=viewer.name, now=now, note=note, waive=given)
        except close.Refused as refused:
            problem = str(refused)
        else:
            messages.success(
                request, f"{fmt.month(days.start)} is closed. What comes late is booked in the next open month."
            )
            return _back(month)
    book = close.status(month=days.start, now=now)
    lines = [(line, typed.get(line.key, "")) for line in book.open_lines]
    context = {
        "page": "chargeback",
        "scope": None,
        "heading": f"Close {fmt.month(days.start)}? {_left(book)}",
        "sub": "A closed month never changes: its rules, cost centres, deliveries and exchange rates are kept as they are.",
        "name": fmt.month(days.start),
        "back": reverse("chargeback_month", args=[month]),
        "problem": problem,
        "note": note,
        "blocking": [line for line, _ in lines if not line.may_be_waived],
        "waivable": [(line, reason) for line, reason in lines if line.may_be_waived],
        "checklist": _checklist(book, days) if book.checklist else None,
        "is_closed": book.state == "closed",
    }
    return render(request, "pages/month_close.html", context, status=400 if problem else 200)


@require_POST
@page_view
def decide(request: HttpRequest, month: str, verb: str) -> HttpResponse:
    """Reviews a month, asks for a closed one to be opened again, agrees or declines."""
    viewer, now, days = scopes.viewer(request.user), timezone.now(), _month(month)
    if not viewer.may_act_for(None):
        return no_permission(request, _NOT_YOURS)
    acts: dict[str, Callable[[], None]] = {
        "review": lambda: close.review(month=days.start, by=viewer.name, now=now),
        "ask": lambda: close.ask_reopen(
            month=days.start, reason=request.POST.get("reason", ""), by=viewer.name, now=now
        ),
        "agree": lambda: close.agree_reopen(month=days.start, by=viewer.name, now=now),
        "decline": lambda: close.decline_reopen(month=days.start, by=viewer.name, now=now),
    }
    if verb not in acts:
        raise BadScope(f"expected one of {', '.join(acts)}, found {verb!r}")
    try:
        acts[verb]()
    except close.Refused as refused:
        messages.error(request, f"{str(refused)[:1].upper()}{str(refused)[1:]}. Nothing was changed.")
    else:
        messages.success(request, _DONE[verb].format(month=fmt.month(days.start)))
    return _back(month)


def _as_shown(request: HttpRequest, book: close.Book, given: Mapping[str, str]) -> None:
    """A reason is for what stood beside it: five percent without an owner are not fifty. Raises Refused."""
    for line in book.open_lines:
        shown = request.POST.get(f"{_SHOWN}{line.key}", line.words)
        if line.key in given and shown != line.words:
            raise close.Refused(f"{line.title}: it said {shown!r} when you gave a reason, and now {line.words!r}")


def _month(text: str) -> Days:
    try:
        return parse_month(text)
    except (ValueError, OverflowError) as problem:
        raise BadScope(f"expected a month as YYYY-MM, found {text!r}") from problem


def _back(month: str) -> HttpResponse:
    return redirect(f"{reverse('chargeback_month', args=[month])}#closing")


def _steps(state: str) -> list[Step]:
    at, last = close.STATES.index(state), len(close.STATES) - 1
    return [
        Step(one.capitalize(), index < at or index == at == last, index == at) for index, one in enumerate(close.STATES)
    ]


def _words(name: str, state: str) -> str:
    return {
        "open": f"Days of {name} still arrive: every figure may change.",
        "provisional": f"Every day of {name} is billed. A later bill or another rule may still change it, until it closes.",
        "reviewed": f"The figures of {name} were looked at. A later bill or another rule may still change them, until it closes.",
        "closed": f"Nothing of {name} changes any more. What comes late is booked as an adjustment in the next open month.",
    }[state]


def _left(book: close.Book) -> str:
    if book.state == "closed":
        return "done"
    left = len(book.open_lines)
    return "everything is ready" if not left else "1 thing is left" if left == 1 else f"{left} things are left"


def _asked(book: close.Book) -> str:
    if not book.reopen_asked_by:
        return ""
    return f"{book.reopen_asked_by} asked on {fmt.moment(book.reopen_asked_at, year=True)}: {book.reopen_reason}"


def _facts(book: close.Book) -> list[tuple[str, str]]:
    if not book.sha256:
        return []
    facts = [("Closed", f"{fmt.moment(book.closed_at, year=True)} by {book.closed_by}")]
    if book.reviewed_by:
        facts.append(("Reviewed", f"{fmt.moment(book.reviewed_at, year=True)} by {book.reviewed_by}"))
    if book.version > 1:
        facts.append(("Closed before", f"{book.version - 1} times, and opened again"))
    if book.note:
        facts.append(("Note", book.note))
    facts.append(("Rules", f"version {book.ruleset}"))
    if book.exchange_rates:
        names = ", ".join(sorted(name for name in book.exchange_rates if "/" not in name))
        facts.append(("Exchange rates", f"{names} into {settings.COSTOBS_CURRENCY}, by day"))
    facts.append(("SHA-256", book.sha256))
    return facts


def _checklist(book: close.Book, days: Days) -> Table:
    columns = [Column("Condition"), Column("State"), Column("What was found", wide=True)]
    rows = [
        Row(
            [
                Cell(line.title, _target(line, days)),
                Cell(state=_mark(line), text="To do" if line.state == "open" else ""),
                Cell(line.words, note=f"waived by {line.waived_by}: {line.reason}" if line.reason else ""),
            ]
        )
        for line in book.checklist
    ]
    return Table(f"Checklist of {fmt.month(days.start)}", columns, rows)


def _mark(line: Line) -> str:
    """What has to be done without exception looks different from what may be waived."""
    return "open" if line.state == "open" and line.may_be_waived else "due" if line.state == "open" else line.state


def _target(line: Line, days: Days) -> str:
    """Where to see to a line."""
    if line.state == "done":
        return ""
    whole = {"preset": "custom", "from": days.start, "to": days.last}
    unowned = {**whole, "group": "service_name", "f": "share_kind:unallocated"}
    targets: Mapping[str, str] = {
        "earlier": reverse("chargeback"),
        "sources": reverse("settings_sources"),
        "quarantined": reverse("sources"),
        "reconciled": f"{reverse('reconciliation')}?{urlencode(whole)}",
        "unallocated": f"{reverse('explore')}?{urlencode(unowned)}",
        "unpriced": reverse("sources"),
        "rates": "/settings/rates/",
    }
    return targets.get(line.key, "")


def _deliveries(book: close.Book) -> Table:
    columns = [
        Column("Source"),
        Column("Delivery", wide=True),
        Column("Rows", numeric=True),
        Column("Delivered"),
        Column("Since then"),
    ]
    rows = [
        Row(
            [
                Cell(one.source),
                Cell(one.export, title=f"run {one.run_id}", note=f"run {one.run_id[:24]}"),
                Cell(fmt.integer(one.rows)),
                Cell(fmt.moment(one.delivered_at, year=True)),
                Cell("replaced; its rows are kept" if one.is_replaced else "still current"),
            ]
        )
        for one in book.deliveries
    ]
    return Table(f"Deliveries that {fmt.month(book.month)} rests on", columns, rows)


def _restatement(scope: SpendScope) -> Table | None:
    found = queries.restatement(scope=scope)
    if not found:
        return None
    name = fmt.month(scope.days.start)

    def money(amount: Decimal) -> Cell:
        return Cell(fmt.money(amount, scope.currency, mode="statement"), title=f"{amount:f}")

    rows = [
        Row(
            [
                *_line(one.provider_name, one.service_name, one.model, one.team, one.cost_centre),
                money(one.closed_cost),
                money(one.now_cost),
                money(one.change),
                Cell(fmt.month(one.booked_in), _month_url(one.booked_in)),
                Cell(one.source, note=_brought(one.brought_by, one.brought_at)),
            ]
        )
        for one in found[:_MOST_LINES]
    ]
    columns = [
        *_LINE_COLUMNS,
        Column("Closed", numeric=True),
        Column("Known now", numeric=True),
        Column("Change", numeric=True),
        Column("Booked in"),
        Column("Brought by", wide=True),
    ]
    change = sum((one.change for one in found), Decimal(0))
    total = Row([Cell("Total"), *([Cell("")] * 5), money(change), Cell(""), Cell("")], kind="total")
    return Table(f"What is known of {name} since it closed", columns, rows, total, note=_more(len(found), scope))


def _adjustments(scope: SpendScope) -> Table | None:
    found = queries.adjustments(scope=scope)
    if not found:
        return None
    columns = [Column("Corrects"), *_LINE_COLUMNS, Column("Source"), Column("Adjustment", numeric=True)]
    rows = [
        Row(
            [
                Cell(fmt.month(one.month), _month_url(one.month)),
                *_line(one.provider_name, one.service_name, one.model, one.team, one.cost_centre),
                Cell(one.source),
                Cell(fmt.money(one.cost, scope.currency, mode="statement"), title=f"{one.cost:f}"),
            ]
        )
        for one in found[:_MOST_LINES]
    ]
    whole = fmt.money(sum((one.cost for one in found), Decimal(0)), scope.currency, mode="statement")
    total = Row([Cell("Total"), *([Cell("")] * 5), Cell(whole)], kind="total")
    name = fmt.month(scope.days.start)
    return Table(f"Adjustments booked in {name}", columns, rows, total, note=_more(len(found), scope))


_LINE_COLUMNS = [Column("Service", wide=True), Column("Model"), Column("Team"), Column("Cost centre")]


def _line(provider: str, service: str, model: str, team: str, centre: str) -> list[Cell]:
    return [
        Cell(service or provider, note=provider if service else ""),
        Cell(model or fmt.NOT_APPLICABLE),
        Cell(team or "Unallocated"),
        Cell(centre or "No cost centre"),
    ]


def _more(count: int, scope: SpendScope) -> str:
    column = f"{scope.currency}, {scope.cost} cost"
    if count <= _MOST_LINES:
        return column
    return f"{column}; the {_MOST_LINES} largest of {fmt.integer(count)} lines, the total is of all"


def _brought(words: str, at: datetime | None) -> str:
    return f"{words}, {fmt.moment(at, year=True)}" if at else words


def _month_url(month: date) -> str:
    return reverse("chargeback_month", args=[f"{month_of(month).start:%Y-%m}"])
