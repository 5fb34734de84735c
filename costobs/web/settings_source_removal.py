"""Removing a source: what goes with it, and its name typed before anything does."""

from datetime import datetime, timedelta

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods

from attribution import forget
from costobs import pipeline
from costobs.access import scopes, tokens
from costobs.kernel import fmt
from costobs.web import settings_backfill
from costobs.web.settings_access import managing
from ingest import removal
from ingest.source_detail import SourceDetail


@require_http_methods(["GET", "POST"])
@managing
def page(request: HttpRequest, source_id: int) -> HttpResponse:
    """Says what goes with the source, and takes it out once its name is typed."""
    viewer, now = scopes.viewer(request.user), timezone.now()
    found = settings_backfill.own(source_id, now)
    if found is None:
        return settings_backfill.missing(request)
    problem = ""
    if request.method == "POST":
        problem = _removed(request, found, viewer.name, now)
        if not problem:
            return redirect("settings_sources")
    held = removal.holdings(source_id=source_id)
    spend = [
        (currency, fmt.money(cost, currency, mode="statement")) for currency, cost in forget.spend(source_id=source_id)
    ]
    context = {
        "page": "settings",
        "scope": None,
        "source": found,
        "problem": problem,
        "heading": f"Remove {found.line.name}? {_leaves(held)}",
        "sub": "This cannot be undone: what it delivered has to be read again from the vendor.",
        "back": reverse("settings_source", args=[source_id]),
        "rows": [(words, fmt.integer(count)) for words, count in held.rows],
        "total_rows": fmt.integer(held.total_rows),
        "billed": [(currency, fmt.money(cost, currency, mode="statement")) for currency, cost in held.billed_cost],
        "spend": spend,
        "span": _days(held),
        "tokens": tokens.of_source(source_id=source_id),
    }
    return render(request, "pages/settings_source_remove.html", context, status=400 if problem else 200)


def _removed(request: HttpRequest, found: SourceDetail, by: str, now: datetime) -> str:
    """Takes the source out, or says why not."""
    name = found.line.name
    if request.POST.get("confirm", "").strip() != name:
        return f"Type {name} to remove it. Nothing was deleted."
    try:
        pipeline.forget_source(source_id=found.line.id, by=by, now=now, rebuilds=False)
    except pipeline.InUse as problem:
        return f"Nothing was deleted: {problem}."
    ended = tokens.revoke_of_source(source_id=found.line.id, revoked_by=by, now=now)
    more = f" Revoked tokens: {', '.join(ended)}." if ended else ""
    messages.success(request, f"{name} is removed; the books are rebuilt without it within minutes.{more}")
    return ""


def _leaves(held: removal.Holdings) -> str:
    """What goes, in one sentence."""
    if not held.total_rows:
        return "It brought in nothing yet"
    money = " and ".join(fmt.money(cost, currency, mode="statement") for currency, cost in held.billed_cost)
    rows = f"{fmt.integer(held.total_rows)} rows"
    return f"{rows} and {money} of bills go with it" if money else f"{rows} go with it"


def _days(held: removal.Holdings) -> str:
    if held.first_day is None or held.last_day is None:
        return "no day"
    return f"{fmt.integer(held.days)} days, {fmt.period(held.first_day, held.last_day + timedelta(days=1))}"
