"""Settings, hooks: what budgets may scale or stop, where it stands, and what was done to it."""

from collections.abc import Sequence

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_safe

from alerts import resources
from alerts.resource_lines import ChangeLine, ResourceLine
from costobs.access import scopes
from costobs.web import csv_file, hook_tables
from costobs.web.parts import Link
from costobs.web.settings_access import looking

_CSV_MOST = 10_000


@require_safe
@looking
def page(request: HttpRequest) -> HttpResponse:
    """Every hook and the newest changes; with `format=csv` the changes as a file."""
    now, may_manage = timezone.now(), scopes.viewer(request.user).may_manage
    if request.GET.get("format") == "csv":
        return _csv(resources.recent(limit=_CSV_MOST), str(now.date()))
    lines, recent = resources.resources(), resources.recent()
    csv_url = f"{reverse('settings_hooks')}?format=csv"
    context = {
        "page": "settings",
        "scope": None,
        "heading": _heading(lines),
        "sub": "A budget scales or stops these only when it owns them, after its requests were refused and have ended."
        " Amounts are effective cost; times are UTC.",
        "actions": [Link("Add a hook", reverse("settings_hook_new"), icon="plus", primary=True)] if may_manage else [],
        "hooks": hook_tables.hooks(
            lines, resources.savings(now=now), currency=settings.COSTOBS_CURRENCY, may_manage=may_manage
        ),
        "changes": hook_tables.changes(recent, may_manage=may_manage, csv_url=csv_url),
    }
    return render(request, "pages/settings_hooks.html", context)


def _heading(lines: Sequence[ResourceLine]) -> str:
    """`3 hooks: 1 is held by a budget, 1 cannot be looked at`."""
    if not lines:
        return "Nothing is scaled or stopped by a budget"
    whole = f"{len(lines)} hook{'' if len(lines) == 1 else 's'}"
    held = sum(1 for one in lines if one.held_by)
    silent = sum(1 for one in lines if one.look_error)
    parts = []
    if silent:
        parts.append(f"{silent} cannot be looked at")
    if held:
        parts.append(f"{held} {'is' if held == 1 else 'are'} held by a change")
    return f"{whole}: {', '.join(parts) if parts else 'none is held'}"


def _csv(found: Sequence[ChangeLine], day: str) -> HttpResponse:
    columns = [
        "change", "hook", "what", "state", "saves_cost_per_day", "currency", "budget", "action", "asked_at", "asked_by",
        "applied_at", "verified_at", "ended_at", "ended_by", "error",
    ]  # fmt: skip
    rows = [
        (
            one.id, one.resource_name, one.words, one.state, one.saves_cost, one.currency, one.budget_name, one.run_id,
            one.asked_at, one.asked_by, one.applied_at, one.verified_at, one.ended_at, one.ended_by, one.error,
        )
        for one in found
    ]  # fmt: skip
    return csv_file.response(name=f"hooks-{day}.csv", columns=columns, rows=rows)
