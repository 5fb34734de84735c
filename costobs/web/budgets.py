"""Budgets: who will pass their budget, when, and what happens then."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from alerts import execute, forecasts
from alerts import queries as alert_queries
from alerts.queries import BudgetLine, RunLine
from attribution import queries
from costobs.access import scopes
from costobs.kernel import fmt
from costobs.web import (
    action_detail,
    action_tables,
    budget_access,
    budget_detail,
    budget_forecast,
    budget_table,
    budget_terms,
    budget_tree,
    csv_file,
    filters,
    forecast_words,
    hook_tables,
    lease_table,
)
from costobs.web.page import no_permission
from costobs.web.page import page as page_view
from costobs.web.parts import Kpi, Link, Notice
from costobs.web.scope_view import ScopeBar

_LOG = 50
_DONE = {
    "approve": "Approved: {words} for {target}. It is in force once every gate has confirmed it.",
    "decline": "Declined: {words} for {target}. Nothing changes for anybody.",
    "undo": "Undone: {words} for {target}. Gates take it back with their next question, within seconds.",
}


@require_safe
@page_view
def page(request: HttpRequest) -> HttpResponse:
    now, viewer = timezone.now(), scopes.viewer(request.user)
    lines = alert_queries.budgets(now=now, teams=viewer.teams)
    asked = budget_tree.read(request.GET)
    if request.GET.get("format") == "csv":
        return _csv([one.line for one in budget_tree.placed(lines, asked)], now)
    waiting = alert_queries.waiting_actions(teams=viewer.teams)
    held = alert_queries.actions_in_force(teams=viewer.teams)
    context = {
        "page": "budgets",
        "scope": bar(now),
        "heading": _heading(lines),
        "sub": _sub(waiting, held),
        "actions": _list_actions(viewer, lines),
        "kpis": _kpis(lines) if lines else [],
        "budgets": budget_table.table(lines, now, short=False, asked=asked),
        "states": budget_tree.states(lines, asked),
        "owners": budget_tree.owners(lines, asked),
        "is_narrowed": bool(asked),
        "waiting": action_tables.waiting(waiting, viewer, now) if waiting else None,
        "in_force": action_tables.in_force(held, viewer, now),
        "log": action_tables.log(alert_queries.action_log(teams=viewer.teams, limit=_LOG)),
        "may_pause_all": budget_access.may_manage(viewer) and bool(lines) and not budget_access.all_paused(now),
        **budget_access.pause_context(viewer, now),
        "now": now,
    }
    return render(request, "pages/budgets.html", context)


@require_safe
@page_view
def detail(request: HttpRequest, budget_id: int) -> HttpResponse:
    now, viewer = timezone.now(), scopes.viewer(request.user)
    try:
        found = alert_queries.budget(id=budget_id, now=now, teams=viewer.teams)
    except alert_queries.NotFound:
        return budget_access.not_found(request, "budget")
    context = {
        "page": "budgets",
        "scope": bar(now),
        "line": found.line,
        "heading": budget_detail.heading(found, now),
        "sub": budget_detail.sub(found.line, now),
        "actions": _detail_actions(viewer, budget_id),
        "above": budget_terms.crumbs(found),
        "doubt": budget_terms.doubt(found.line),
        "terms": budget_terms.facts(found.line),
        "blend": budget_terms.blend(found),
        "children": budget_terms.children(found),
        "overlaps": budget_terms.overlaps(found),
        "kpis": budget_detail.kpis(found.line),
        "burn_up": budget_forecast.burn_up(found, now),
        "rungs": budget_detail.rungs(found, viewer),
        "variance": budget_detail.variance(found, queries.extent()),
        "said": budget_forecast.said(forecasts.said(budget_id=budget_id, now=now, teams=viewer.teams), found.line),
        "affected": action_detail.affected(found, viewer, now),
        "timeline": action_detail.timeline(found.runs),
        "may_manage": budget_access.may_manage(viewer),
        **budget_access.pause_context(viewer, now),
        **lease_table.context(found.line, now),
    }
    return render(request, "pages/budget.html", context)


@require_safe
@page_view
def action(request: HttpRequest, run_id: int) -> HttpResponse:
    """What it is, where, until when, who is hurt, how to undo it; it only asks."""
    return _action_page(request, run_id, asked=request.GET.get("version", ""))


@require_POST
@page_view
def decide(request: HttpRequest, run_id: int, verb: str) -> HttpResponse:
    """Approve, decline or undo; answers 409 when somebody or the clock was faster."""
    now, viewer = timezone.now(), scopes.viewer(request.user)
    try:
        run = alert_queries.action(id=run_id, teams=viewer.teams)
    except alert_queries.NotFound:
        return budget_access.not_found(request, "action")
    if verb not in _DONE:
        return budget_access.not_found(request, "action")
    if not budget_access.may_act(viewer, run.teams):
        return no_permission(request, budget_access.not_yours(run.teams))
    version, missing = budget_access.whole(request.POST.get("version", "")), 0
    if version is None:
        return _action_page(request, run_id, "The form had no version. Look at the action as it is now.", status=409)
    reason = request.POST.get("reason", "").strip()
    try:
        if verb == "approve":
            confirm = request.POST.get("confirm", "")
            missing = execute.approve(
                run_id=run_id,
                version=version,
                by=viewer.name,
                now=now,
                confirm=confirm,
                may_still=lambda name: scopes.may_decide(name, run.teams),
            )
        elif verb == "decline":
            execute.decline(run_id=run_id, version=version, by=viewer.name, now=now, reason=reason)
        else:
            execute.undo(run_id=run_id, version=version, by=viewer.name, now=now, reason=reason)
    except execute.Conflict as problem:
        return _action_page(request, run_id, str(problem), status=409)
    except execute.NotConfirmed as problem:
        return _action_page(request, run_id, confirm_error=str(problem), status=400)
    messages.success(request, _done(verb, run, missing))
    return redirect("action", run_id)


def _done(verb: str, run: RunLine, missing: int) -> str:
    if missing:
        return f"You approved: {run.words} for {run.target_words}. It waits for {missing} more, somebody else than you."
    return _DONE[verb].format(words=run.words, target=run.target_words)


def bar(now: datetime) -> ScopeBar:
    """Freshness only: a budget has its own period, so days, groups and filters do not apply."""
    today = now.date()
    return ScopeBar(start=today, last=today, label=fmt.day(today), freshness=filters.freshness(now))


def _action_page(
    request: HttpRequest,
    run_id: int,
    conflict: str = "",
    *,
    confirm_error: str = "",
    status: int = 200,
    asked: str = "",
) -> HttpResponse:
    now, viewer = timezone.now(), scopes.viewer(request.user)
    try:
        run = alert_queries.action(id=run_id, teams=viewer.teams)
        found = alert_queries.budget(id=run.budget_id, now=now, teams=viewer.teams)
    except alert_queries.NotFound:
        return budget_access.not_found(request, "action")
    if asked and asked != str(run.version):
        conflict = f"the message you came from asked about something that is {run.state_words.lower()} by now"
    context: dict[str, Any] = {
        "page": "budgets",
        "scope": bar(now),
        "run": run,
        "heading": action_detail.heading(run),
        "sub": run.reason,
        "facts": action_detail.facts(run, found, viewer, now),
        "conflict": _conflict(conflict, run) if conflict else None,
        "confirm_error": confirm_error,
        "may_act": budget_access.may_act(viewer, run.teams),
        "not_yours": budget_access.not_yours(run.teams),
        "changes": hook_tables.of_run(run_id) if run.has_targets else None,
        "timeline": action_detail.timeline([run]),
        "has_approved": any(name.casefold() == viewer.name.casefold() for name, _ in run.approvals),
        **budget_access.pause_context(viewer, now),
    }
    return render(request, "pages/action.html", context, status=status)


def _conflict(problem: str, run: RunLine) -> Notice:
    who = run.ended_by or run.decided_by
    title = f"Changed by {action_tables.actor(who)}" if who else "Changed since you opened it"
    return Notice("error", title, f"Nothing was done: {problem}. Below is what is true now.")


def _detail_actions(viewer: scopes.Viewer, budget_id: int) -> list[Link]:
    test = Link("Test this ladder on the last 90 days", reverse("budget_backtest", args=[budget_id]), icon="history")
    if not budget_access.may_manage(viewer):
        return [test]
    return [
        test,
        Link("Copy…", reverse("budget_copy", args=[budget_id]), icon="copy"),
        Link("Edit", reverse("budget_edit", args=[budget_id]), icon="pencil"),
    ]


def _list_actions(viewer: scopes.Viewer, lines: Sequence[BudgetLine]) -> list[Link]:
    found = [Link("Export CSV", f"{reverse('budgets')}?format=csv", icon="download")] if lines else []
    found.append(Link("What holds ladders back", reverse("budget_holds"), icon="pause"))
    if budget_access.may_manage(viewer):
        found.append(Link("Import…", reverse("budget_import"), icon="upload"))
        found.append(Link("New budget", reverse("budget_new"), icon="plus", primary=True))
    return found


def _heading(lines: Sequence[BudgetLine]) -> str:
    """`2 of 6 budgets would be passed; Search is throttled`."""
    if not lines:
        return "No budget yet"
    whole = f"{len(lines)} budget{'s' if len(lines) > 1 else ''}"
    passed = [line for line in lines if line.used_ratio is not None and line.used_ratio >= 1]
    ahead = [line for line in lines if line.is_forecast_over and line not in passed]
    parts = []
    if passed:
        parts.append(f"{len(passed)} of {whole} {'is' if len(passed) == 1 else 'are'} passed")
    if ahead:
        parts.append(f"{len(ahead)} more would be" if passed else f"{len(ahead)} of {whole} would be passed")
    if not parts:
        parts.append(f"None of {whole} would be passed")
    for state in ("stopped", "rerouted", "throttled", "unknown"):
        named = [line.name for line in lines if line.state == state]
        if named:
            shown = " and ".join(named) if len(named) < 3 else f"{len(named)} budgets"
            parts.append(f"{shown} {'is' if len(named) == 1 else 'are'} {state}")
    return "; ".join(parts)


def _sub(waiting: Sequence[RunLine], held: Sequence[RunLine]) -> str:
    failed = sum(1 for run in held if run.state == "failed")
    parts = []
    if failed:
        parts.append(f"{failed} action{'s' if failed > 1 else ''} failed and limit nothing")
    if waiting:
        parts.append(f"{len(waiting)} action{' waits' if len(waiting) == 1 else 's wait'} for approval")
    if len(held) > failed:
        parts.append(f"{len(held) - failed} in force")
    text = "; ".join(parts)
    return (
        f"{text}. Amounts are effective cost, billed and estimated; days are those of each budget's zone."
        if text
        else (
            "No action waits or holds. Amounts are effective cost, billed and estimated; days are those of each budget's zone."
        )
    )


def _kpis(lines: Sequence[BudgetLine]) -> list[Kpi]:
    attention = [line for line in lines if line.state not in {"on_track", "paused"} or line.is_waiting_approval]
    names = ", ".join(line.name for line in attention[:3]) + (
        f" and {len(attention) - 3} more" if len(attention) > 3 else ""
    )
    first = Kpi("Need attention", str(len(attention)), unit=f"{len(lines)} budgets", note=names or "All are on track")
    sums = budget_table.totals(lines)
    if sums is None:
        several = "No sum: the table says why"
        return [
            first,
            *(Kpi(title, fmt.NOT_APPLICABLE, note=several) for title in ("Budgeted", "Actual", "Forecast at end")),
        ]
    period, currency = sums.days, sums.currency
    forecast = "unknown until three days are complete" if sums.forecast_cost is None else ""
    naive = sum(1 for line in lines if line.forecast_method == forecast_words.NAIVE)
    how = "Sum of the forecasts" if not naive else f"{naive} of {len(lines)} at a naive pace: not enough history"
    if naive == len(lines):
        how = "Naive pace: the average of the complete days"
    return [
        first,
        Kpi(
            "Budgeted",
            fmt.money(sums.amount, currency, mode="kpi"),
            compare=fmt.period(period.start, period.end),
            note="Each dollar counted once" if sums.budgets < len(lines) else "",
        ),
        Kpi(
            "Actual",
            fmt.money(sums.spend_cost, currency, mode="kpi"),
            compare=f"{fmt.percent(sums.used_ratio)} used" if sums.used_ratio is not None else "not evaluated yet",
            note=f"{fmt.percent(sums.elapsed_ratio, places=0)} of the period is gone",
        ),
        Kpi(
            "Forecast at end",
            fmt.NOT_APPLICABLE if sums.forecast_cost is None else fmt.money(sums.forecast_cost, currency, mode="short"),
            compare=forecast or fmt.variance(sums.forecast_cost or sums.amount, sums.amount, currency),
            note="" if forecast else how,
        ),
    ]


def _csv(lines: Sequence[BudgetLine], now: datetime) -> HttpResponse:
    columns = [
        "budget", "scope", "owner", "period", "from", "to", "currency", "amount", "actual_cost", "estimated_cost",
        "unpriced_cost", "used_percent", "elapsed_percent", "forecast_cost", "forecast_low_cost", "forecast_high_cost",
        "forecast_method", "forecast_error_percent", "variance_cost", "variance_percent",
        "state", "next_step", "ladder", "evaluated_at", "zone", "belongs_to", "base_amount",
        "carried_cost", "borrowed_cost", "converted_cost", "exchange_rates", "unconverted", "is_hard", "criticality",
    ]  # fmt: skip
    names = {line.id: line.name for line in lines}
    rows = [
        (
            line.name, line.scope_words, line.owner_email, line.period, line.days.start, line.days.last, line.currency,
            line.amount, line.spend_cost, line.estimated_cost, line.unpriced_cost, line.used_percent,
            line.elapsed_percent, line.forecast_cost, line.forecast_low_cost, line.forecast_high_cost,
            line.forecast_method, line.forecast_error_percent, line.variance_cost, line.variance_percent,
            line.state, budget_table.next_step_words(line), line.ladder_words, line.evaluated_at,
            line.terms.zone, names.get(line.terms.parent_id or 0, ""), line.base_amount, line.carried_cost,
            line.borrowed_cost, line.converted_cost, line.rates, " ".join(line.unconverted),
            "yes" if line.terms.is_hard else "no", line.terms.criticality,
        )
        for line in lines
    ]  # fmt: skip
    return csv_file.response(name=f"budgets-{now.date()}.csv", columns=columns, rows=rows)
