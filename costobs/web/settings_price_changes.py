"""Changes of prices: proposed by form, table or discount, looked at as a difference, decided by another person."""

from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST

from costobs import repricing
from costobs.access import scopes
from costobs.audit import record
from costobs.kernel import fmt, money
from costobs.web import price_tables
from costobs.web.page import no_permission, notice
from costobs.web.parts import Kpi, Link, Notice
from costobs.web.price_access import looking, managing
from ingest import price_changes, price_lines
from ingest.price import BadPrice, PriceMoved

_KINDS = ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h", "request")
_MOST_BYTES = 2 * 1024 * 1024
_VERBS = ("approve", "apply", "decline", "withdraw", "undo")
_DONE = {
    "approve": "Approved. Anybody who decides on prices may put it in force now.",
    "decline": "Declined. No price has changed.",
    "withdraw": "Withdrawn. No price has changed.",
}


@require_http_methods(["GET", "POST"])
@managing
def new(request: HttpRequest) -> HttpResponse:
    """Three ways to propose prices; what is proposed is looked at before it counts."""
    problem, by = "", request.POST.get("way", "")
    if request.method == "POST":
        try:
            change_id = _proposed(request, by)
        except (BadPrice, money.MoneyError) as wrong:
            problem = str(wrong)
        else:
            return redirect("settings_price_change", change_id=change_id)
    context = {
        "page": "settings",
        "scope": None,
        "heading": "Propose prices",
        "sub": "Nothing changes yet: the next page shows what it would move, by month, model and team.",
        "problem": problem,
        "way": by,
        "sent": request.POST,
        "today": timezone.now().date(),
        "columns": ", ".join((*price_lines.NAMED, *price_lines.KINDS)),
    }
    return render(request, "pages/settings_price_new.html", context, status=400 if problem else 200)


@looking
def page(request: HttpRequest, change_id: int) -> HttpResponse:
    """What a change would move, or what it did."""
    change = price_changes.get(change_id)
    if change is None:
        back = [Link("All prices", reverse("settings_prices"))]
        return notice(request, Notice("nothing_matches", "There is no such change", "", back), status=404)
    viewer = scopes.viewer(request.user)
    is_open = change.state in price_changes.OPEN_STATES
    found = repricing.preview(change_id=change_id) if is_open else None
    context: dict[str, Any] = {
        "page": "settings",
        "scope": None,
        "change": change,
        "heading": _heading(change, found),
        "sub": _sub(change),
        "is_open": is_open,
        "acts": _acts(change, found, viewer),
        "may_end": is_open,
        "is_own": record.is_same_person(viewer.name, change.proposed_by),
        "may_undo": change.state == "applied",
        "reasons": found.reasons if found else (),
        "lines": price_tables.proposed(price_changes.lines_of(change)) if change.lines else None,
    }
    if found is not None:
        context |= _previewed(found)
    return render(request, "pages/settings_price_change.html", context)


@require_POST
@looking
def decide(request: HttpRequest, change_id: int, verb: str) -> HttpResponse:
    """Approves, applies, declines, withdraws or takes back a change."""
    viewer, now = scopes.viewer(request.user), timezone.now()
    if verb not in _VERBS:
        return notice(request, Notice("nothing_matches", "There is no such act", ""), status=404)
    change = price_changes.get(change_id)
    is_own = change is not None and record.is_same_person(change.proposed_by, viewer.name)
    if verb == "withdraw" and change is not None and not is_own and not viewer.may_manage:
        return no_permission(request, "Only its proposer or an administrator withdraws a change.")
    reason = request.POST.get("reason", "").replace("\x00", "")[:500]
    try:
        if verb == "approve":
            repricing.approve(change_id=change_id, by=viewer.name, now=now, seen=_seen(request))
            said = _DONE[verb]
        else:
            said = _decided(verb, change_id, viewer.name, now, reason)
    except (price_changes.NotNow, BadPrice, PriceMoved) as problem:
        messages.error(request, f"Nothing was done: {problem}.")
    else:
        messages.success(request, said)
    return redirect("settings_price_change", change_id=change_id)


def _decided(verb: str, change_id: int, by: str, now: Any, reason: str) -> str:
    match verb:
        case "apply":
            moved = repricing.apply(change_id=change_id, by=by, now=now)
            return f"In force; {fmt.integer(moved.events)} calls are priced anew."
        case "undo":
            moved = repricing.undo(change_id=change_id, by=by, now=now, reason=reason)
            return f"Taken back; {fmt.integer(moved.events)} calls have their former price."
        case _:
            state = "declined" if verb == "decline" else "withdrawn"
            price_changes.end(change_id=change_id, state=state, by=by, now=now, reason=reason)
    return _DONE[verb]


def _seen(request: HttpRequest) -> dict[str, Decimal] | None:
    """What the page showed that the change would move, by currency; an empty `seen` is nothing."""
    if "seen" not in request.GET:
        return None
    pairs = [one.partition(":") for one in request.GET.getlist("seen") if one]
    try:
        return {currency: money.parse(amount) for currency, _, amount in pairs}
    except money.MoneyError as problem:
        raise BadPrice(f"seen: {problem}") from problem


def _proposed(request: HttpRequest, way: str) -> int:
    viewer, now = scopes.viewer(request.user), timezone.now()
    note = _text(request, "note")[:500]
    match way:
        case "one":
            lines = [_line(request)]
            return price_changes.propose(kind="price", lines=lines, by=viewer.name, now=now, note=note)
        case "discount":
            percent = _number(request, "percent")
            provider, model = _text(request, "provider").lower(), _text(request, "model")
            found = price_lines.discounted(
                provider=provider, model=model, percent=percent, valid_from=_day(request, "valid_from")
            )
            return price_changes.propose(
                kind="discount", lines=found, by=viewer.name, now=now, note=note, percent=percent
            )
        case "file":
            text, name = _table(request)
            rows, problems = price_lines.read(text, file=name)
            if not rows:
                raise BadPrice(f"no row can be used. {' '.join(problems[:5])}")
            return price_changes.propose(kind="file", lines=rows, by=viewer.name, now=now, note=note, problems=problems)
    raise BadPrice("expected one price, a discount or a table, found none of them")


def _line(request: HttpRequest) -> price_lines.Line:
    prices = {kind: _number(request, kind) for kind in _KINDS if _text(request, kind)}
    return price_lines.Line(
        _text(request, "provider").lower(),
        _text(request, "model"),
        _text(request, "tier") or "standard",
        _day(request, "valid_from"),
        (_text(request, "currency") or "USD").upper(),
        {0: prices},
    )


def _table(request: HttpRequest) -> tuple[str, str]:
    file = request.FILES.get("file")
    if file is None:
        if text := request.POST.get("rows", "").strip():
            return text, "pasted rows"
        raise BadPrice("expected a file or pasted rows, found neither")
    if (file.size or 0) > _MOST_BYTES:
        raise BadPrice(f"expected at most {_MOST_BYTES:,} bytes, found {file.size:,}")
    try:
        return file.read().decode("utf-8-sig"), (file.name or "file")[:100]
    except UnicodeDecodeError as problem:
        raise BadPrice("expected a CSV file in UTF-8, found other bytes") from problem


def _text(request: HttpRequest, name: str) -> str:
    return request.POST.get(name, "").replace("\x00", "").strip()


def _number(request: HttpRequest, name: str) -> Decimal:
    try:
        return money.parse(_text(request, name))
    except (money.MoneyError, InvalidOperation) as problem:
        raise BadPrice(f"{name}: {problem}") from problem


def _day(request: HttpRequest, name: str) -> date:
    try:
        return date.fromisoformat(_text(request, name))
    except ValueError as problem:
        raise BadPrice(f"{name}: expected a day as YYYY-MM-DD, found {_text(request, name)!r}") from problem


def _heading(change: price_changes.Change, found: repricing.Preview | None) -> str:
    if found is None:
        state = {"applied": "is in force", "undone": "was taken back"}.get(change.state, f"was {change.state}")
        return f"{change.title} {state}"
    moved = [(amount, currency) for currency, amount in found.effect.change().items() if amount]
    if not moved:
        return f"{change.title} would move no spend of open months"
    told = " and ".join(fmt.money(amount, currency, mode="kpi", signed=True) for amount, currency in moved)
    return f"{change.title} would change open months by {told}"


def _sub(change: price_changes.Change) -> str:
    told = [f"Proposed by {change.proposed_by}, {fmt.moment(change.proposed_at)}"]
    if change.approved_at:
        told.append(f"approved by {change.approved_by}, {fmt.moment(change.approved_at)}")
    if change.applied_at:
        calls = fmt.integer(change.moved_calls or 0)
        told.append(f"put in force by {change.applied_by}, {fmt.moment(change.applied_at)}: {calls} calls priced anew")
    if change.ended_at:
        because = f" ({change.reason})" if change.reason else ""
        told.append(f"{change.state} by {change.ended_by}, {fmt.moment(change.ended_at)}{because}")
    return "; ".join(told) + "."


def _acts(change: price_changes.Change, found: repricing.Preview | None, viewer: scopes.Viewer) -> list[Link]:
    if found is None:
        return []
    effect = found.effect.change()
    own = record.is_same_person(viewer.name, change.proposed_by)

    def act(label: str, verb: str, icon: str) -> Link:
        url = reverse("settings_price_decide", args=[change.pk, verb])
        if verb == "approve":
            seen = [f"{currency}:{amount:f}" for currency, amount in effect.items()] or [""]
            url = f"{url}?{urlencode({'seen': seen}, doseq=True)}"
        return Link(label, url, icon=icon, primary=True, post=True)

    if change.state == "approved" or not found.needs_approval:
        return [act("Put in force", "apply", "check")]
    return [] if own else [act("Approve", "approve", "check")]


def _why(found: repricing.Preview) -> str:
    if not found.reasons:
        return "It moves little, or gives a first price"
    return f"{found.reasons[0][:1].upper()}{found.reasons[0][1:]}"


def _previewed(found: repricing.Preview) -> dict[str, Any]:
    effect = found.effect
    change = effect.change()
    moved = [fmt.money(amount, currency, mode="kpi", signed=True) for currency, amount in change.items()]
    closed = found.effect.closed
    since = f"Since {fmt.day(found.open_from)}" if found.open_from else "No month is closed"
    none = Notice("empty", "No usage of open months would move", "It counts for calls from its first day on.")
    return {
        "kpis": [
            Kpi("Change of open months", " and ".join(moved) or "$0", note=f"Of estimates. {since}"),
            Kpi("Calls priced anew", fmt.integer(effect.calls), note=f"In {fmt.integer(effect.hours)} hours of usage"),
            Kpi("Days touched", fmt.integer(effect.days), note="Their books are made anew within seconds"),
            Kpi(
                "Needs a second person",
                "Yes" if found.needs_approval else "No",
                note=f"{found.reasons[0][:1].upper()}{found.reasons[0][1:]}"
                if found.reasons
                else "It moves little, or gives a first price",
            ),
        ],
        "effect": price_tables.effect("Open months, by month and model", effect.lines, none),
        "teams": price_tables.teams(found.teams),
        "closed": price_tables.effect("Closed months", closed, none) if closed else None,
    }
