"""Reading the past of a source again: asking for a span, its progress, cancelling and going on."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST

from costobs.access import scopes
from costobs.kernel import fmt
from costobs.web.page import no_permission, notice
from costobs.web.parts import Link, Notice
from costobs.web.settings_access import looking, managing
from ingest import backfill, source_detail
from ingest.source_detail import BackfillLine, SourceDetail
from ingest.sources import KINDS

_STATES = {
    "waiting": "pending",
    "running": "running",
    "cancelling": "running",
    "cancelled": "ended",
    "succeeded": "done",
    "failed": "failed",
}
_WORDS = {
    "waiting": "Waiting",
    "running": "Reading",
    "cancelling": "Ending",
    "cancelled": "Cancelled",
    "succeeded": "Done",
}
_FIRST_DAYS = 90


@require_http_methods(["GET", "POST"])
@looking
def card(request: HttpRequest, source_id: int) -> HttpResponse:
    """The card alone, which asks for itself again while a backfill is open; a POST asks for a new one."""
    viewer, now = scopes.viewer(request.user), timezone.now()
    found = source_detail.source(source_id=source_id, now=now)
    if found is None:
        return missing(request)
    if request.method == "GET":
        return render(request, "_backfill.html", context(found, now, may_manage=viewer.may_manage))
    if not viewer.may_manage:
        return no_permission(request, "Only administrators ask for a backfill.")
    try:
        start = _midnight(date.fromisoformat(request.POST.get("from", "")))
        end = _midnight(date.fromisoformat(request.POST.get("to", "")) + timedelta(days=1))
    except (ValueError, OverflowError):
        messages.error(request, "Expected the first and the last day, such as 2026-01-31. Nothing was changed.")
        return redirect("settings_source", source_id)
    try:
        backfill.request(source_id=source_id, start=start, end=end, by=viewer.name, now=now)
    except backfill.Refused as problem:
        messages.error(request, f"No backfill was started: {problem}.")
    else:
        messages.success(request, "The backfill begins within seconds. You can leave this page.")
    return redirect("settings_source", source_id)


@require_POST
@managing
def decide(request: HttpRequest, source_id: int, verb: str) -> HttpResponse:
    """Cancels an open backfill, or lets a failed one go on where it was."""
    by, now = scopes.viewer(request.user).name, timezone.now()
    try:
        if verb == "cancel":
            state = backfill.cancel(source_id=source_id, by=by, now=now)
            words = "It ends after the file in hand." if state == "cancelling" else "It is cancelled."
            messages.success(request, f"{words} What it loaded stays.")
        elif verb == "retry":
            backfill.retry(source_id=source_id, by=by, now=now)
            messages.success(request, "It goes on where it was, within seconds.")
        else:
            return missing(request)
    except backfill.Refused as problem:
        messages.error(request, f"Nothing was changed: {problem}.")
    return redirect("settings_source", source_id)


def own(source_id: int, now: datetime) -> SourceDetail | None:
    """A source that may be changed: there is one, and it does not belong to the sample."""
    found = source_detail.source(source_id=source_id, now=now)
    return None if found is None or found.line.is_sample else found


def missing(request: HttpRequest) -> HttpResponse:
    """What is shown instead of a source that is not there."""
    back = [Link("All sources", reverse("settings_sources"), icon="database")]
    found = Notice(
        "nothing_matches",
        "There is no such source",
        "It was removed, or it never was; those of the sample go with the sample.",
        back,
    )
    return notice(request, found, status=404)


def context(found: SourceDetail, now: datetime, *, may_manage: bool) -> dict[str, object]:
    """What the card shows."""
    past = source_detail.backfills(source_id=found.line.id)
    newest = past[0] if past else None
    today = now.date()
    kind = KINDS[found.line.kind]
    return {
        "source": found,
        "may_manage": may_manage,
        "backfill": newest,
        "backfill_state": _STATES[newest.state] if newest else "",
        "backfill_word": _WORDS.get(newest.state, "") if newest else "",
        "backfill_sentence": _sentence(newest) if newest else "",
        "backfill_percent": int(newest.share * 100) if newest else 0,
        "backfill_poll": _poll(newest, now) if newest and newest.is_open else "",
        "earlier": [_sentence(one) for one in past[1:]],
        "may_ask": may_manage and not (newest and newest.is_open) and found.line.is_active and not found.line.is_sample,
        "may_retry": may_manage and newest is not None and newest.state in {"failed", "cancelled"},
        "first_day": today - timedelta(days=_FIRST_DAYS),
        "last_day": today,
        "piece_words": "month by month" if kind.produces == "charges" else f"{kind.backfill_days} days at a time",
    }


def _sentence(one: BackfillLine) -> str:
    span = fmt.period(one.start.date(), _after(one.end))
    units = "1 file or batch" if one.units == 1 else f"{fmt.integer(one.units)} files or batches"
    rows = "1 row" if one.rows_loaded == 1 else f"{fmt.integer(one.rows_loaded)} rows"
    counts = f"{rows} of {units}"
    if one.rows_quarantined:
        counts += f", {fmt.integer(one.rows_quarantined)} quarantined"
    by = f"asked by {one.requested_by} on {fmt.moment(one.requested_at)}"
    if one.state == "succeeded":
        return f"{span}: {counts}; {by}"
    reached = f"read back to {fmt.day(one.remaining_end.date())}" if one.remaining_end < one.end else "nothing read yet"
    return f"{span}: {reached}, {counts}; {by}"


def _after(end: datetime) -> date:
    """The day after the last one of a span."""
    at = end.astimezone(UTC)
    return at.date() if at.time() == time() else at.date() + timedelta(days=1)


def _poll(one: BackfillLine, now: datetime) -> str:
    """How often the card asks again: often at first, then less."""
    waited = now - one.requested_at
    steps: Sequence[tuple[timedelta, str]] = ((timedelta(minutes=1), "2s"), (timedelta(minutes=10), "5s"))
    return next((every for limit, every in steps if waited < limit), "15s")


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
