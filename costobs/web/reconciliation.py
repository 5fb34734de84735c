"""Reconciliation: how far are our estimates from the bills, and why?"""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from functools import wraps
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST

from attribution import queries, reconcile
from costobs.access import scopes
from costobs.kernel import fmt, money
from costobs.kernel.scope import BadScope
from costobs.web import filters, reconciliation_parts
from costobs.web import reconciliation_rows as rows_page
from costobs.web.page import no_permission
from costobs.web.page import page as page_view
from costobs.web.parts import Kpi, Link

_LOOK = "Bills are about all teams at once. Administrators and finance compare them with estimates."
_SET = "Only administrators and finance set the thresholds of reconciliation."
_SETTERS = frozenset({"admin", "finance"})

View = Callable[..., HttpResponseBase]


def _for_those_who_see_all(view: View) -> View:
    @wraps(view)
    def wrapped(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not scopes.viewer(request.user).may_see_all:
            return no_permission(request, _LOOK)
        return view(request, *args, **kwargs)

    return page_view(wrapped)


@_for_those_who_see_all
def page(request: HttpRequest) -> HttpResponse:
    """The bridge from estimate to bill, by cause, provider and day."""
    if "from" not in request.GET and "preset" not in request.GET:
        newest = reconciliation_parts.newest_days()
        if newest is not None:
            changes: dict[str, Any] = {"preset": "custom", "from": newest.start, "to": newest.last}
            return redirect(filters.url(request, **changes))
    asked = _read(request)
    found = queries.compared(scope=asked.scope, provider=request.GET.get("provider", ""))
    asked = replace(asked, scope=replace(asked.scope, currency=found.currency))
    parts = reconciliation_parts.Parts(asked, found, request)
    context = {
        "page": "reconciliation",
        "scope": replace(asked.bar, currency=found.currency),
        "heading": parts.heading(),
        "sub": parts.sub(),
        "actions": [Link("CSV", f"{reverse('reconciliation_export')}?{asked.query}", icon="download")],
        "notice": parts.notice(),
        "kpis": _kpis(found),
        "bridge": parts.bridge(),
        "causes": parts.causes(),
        "providers": parts.providers(),
        "trend": parts.trend(),
        "currencies": parts.other_currencies(),
        "provider": request.GET.get("provider", ""),
        "all_url": filters.url(request, drop=["provider"]),
        "thresholds": parts.thresholds(),
        "known_providers": [one.provider for one in found.providers],
        "currency": found.currency,
        "may_set": asked.viewer.role in _SETTERS,
        "back": request.get_full_path(),
    }
    return render(request, "pages/reconciliation.html", context)


@_for_those_who_see_all
def export(request: HttpRequest) -> HttpResponse:
    """Every cell and cause of the days, with every digit."""
    asked = _read(request)
    found = queries.compared(scope=asked.scope, provider=request.GET.get("provider", ""))
    scope = replace(asked.scope, currency=found.currency)
    return rows_page.export_all(scope, found, request.GET.get("provider", ""))


@_for_those_who_see_all
def rows(request: HttpRequest) -> HttpResponse:
    """The rows behind one cause, or behind one cell of it."""
    return rows_page.page(request, _read(request))


@require_POST
@page_view
def set_threshold(request: HttpRequest) -> HttpResponse:
    """From when on people are told; with `remove` a provider has the threshold of all others again."""
    viewer = scopes.viewer(request.user)
    if viewer.role not in _SETTERS:
        return no_permission(request, _SET)
    provider, now = request.POST.get("provider", "").strip(), timezone.now()
    name = provider or "all other providers"
    try:
        if "remove" in request.POST:
            reconcile.remove_threshold(provider=provider, by=viewer.name, now=now)
            messages.success(request, f"{name} has the threshold of all others again.")
        else:
            percent, amount = (money.parse(request.POST.get(field, "").strip()) for field in ("percent", "amount"))
            reconcile.set_threshold(provider=provider, percent=percent, amount=amount, by=viewer.name, now=now)
            messages.success(request, f"People are told when {name} passes {fmt.percent(percent / 100)} of the bill.")
    except (reconcile.BadThreshold, ValueError, InvalidOperation) as problem:
        messages.error(request, f"The threshold was not set: {problem}")
    query = request.POST.get("query", "")
    return redirect(f"{reverse('reconciliation')}{f'?{query}' if query else ''}")


def _read(request: HttpRequest) -> filters.Asked:
    asked = filters.read(request, groups=())
    if asked.scope.filters:
        raise BadScope("bills are compared by provider: use provider=NAME instead of a filter")
    if "\x00" in request.GET.get("provider", ""):
        raise BadScope("expected a provider as it is named on its bills, found a null character")
    currency = request.GET.get("currency", asked.scope.currency)
    scope = replace(asked.scope, currency=currency)
    hidden = [(name, request.GET[name]) for name in ("provider", "currency", "cause") if name in request.GET]
    bar = replace(asked.bar, bases=(), dims=(), compares=(), groups=(), hidden=hidden, currency=scope.currency)
    return replace(asked, scope=scope, bar=bar)


def _kpis(found: queries.Comparison) -> list[Kpi]:
    if not found.providers:
        return []
    listed = sum((one.list_cost for one in found.providers), Decimal(0))
    covered = sum((one.covered_cost for one in found.providers), Decimal(0))
    explained = found.explained_share
    share = fmt.percent(found.difference / found.billed_cost, signed=True) if found.billed_cost > 0 else ""
    waits = fmt.money(found.waiting_cost, found.currency)
    return [
        Kpi("Estimated", fmt.money(found.estimated_cost, found.currency, mode="kpi"), note="list price, compared days"),
        Kpi("Billed", fmt.money(found.billed_cost, found.currency, mode="kpi"), note="as the invoices say"),
        Kpi(
            "Difference",
            fmt.money(found.difference, found.currency, mode="kpi", signed=True),
            note=f"{share} of the bill" if share else "",
        ),
        Kpi(
            "Logged share of the bill",
            fmt.percent(covered / listed) if listed > 0 else fmt.NOT_APPLICABLE,
            note=f"{waits} waits for its bill" if found.waiting_cost else "by list cost of calls",
        ),
        Kpi(
            "Explained",
            fmt.percent(explained) if explained is not None else fmt.NOT_APPLICABLE,
            note="of all differences, regardless of signs",
        ),
    ]
