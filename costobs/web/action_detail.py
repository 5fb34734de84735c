"""One action and whom it reaches: what, where, until when, who is hurt, how to undo it, and what happened when."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from urllib.parse import urlencode

from django.urls import reverse

from alerts.queries import BudgetDetail, BudgetLine, RunLine
from attribution import queries
from costobs.access.scopes import Viewer
from costobs.kernel import fmt
from costobs.kernel.scope import Filter, SpendScope
from costobs.web import action_tables

_EVENTS = 30


@dataclass(frozen=True, slots=True)
class Fact:
    """One row of a `facts` list."""

    label: str
    value: str
    url: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a timeline."""

    at: datetime
    when: str
    text: str
    url: str


def heading(run: RunLine) -> str:
    """`Approve? Throttle to 6 requests/min for team search`, or what became of it."""
    what = f"{run.words} for {run.target_words}"
    if run.may_approve:
        return f"Approve? {what}"
    if run.may_undo:
        return f"{what}: {run.state_words.lower()} since {fmt.moment(run.applied_at or run.asked_at)}"
    return f"{what}: {run.state_words.lower()}"


def facts(run: RunLine, found: BudgetDetail, viewer: Viewer, now: datetime) -> list[Fact]:
    """What, where, until when, who is hurt, how to undo it, and what happens if nobody answers."""
    line = found.line
    until = fmt.moment(run.expires_at) if run.expires_at else fmt.moment(line.days.end_at)
    shown = [
        Fact("What", run.words),
        Fact("For", run.target_words),
        Fact(
            "Budget",
            f"{line.name}, {fmt.money(line.amount, line.currency, mode='kpi')} a {line.period}",
            reverse("budget", args=[line.id]),
        ),
        Fact("Why", run.reason),
        Fact("Used now", f"{fmt.money(line.spend_cost, line.currency, mode='kpi')} ({_ratio(line.used_ratio)})"),
        Fact("Who is hurt", run.effect),
        *([Fact("How much it hits", run.reach_words)] if run.reach_words else []),
        *([Fact("What it saves", run.saves_words)] if run.saves_words else []),
        *affected(found, viewer, now)[:3],
    ]
    if run.may_approve:
        shown += [
            Fact("Approvals", _approvals(run)),
            Fact("Until", f"The end of its time, at the latest {fmt.moment(line.days.end_at)}, or undo"),
            Fact("How to undo", "One button on this page, at any time; it takes effect within seconds"),
            Fact("If nobody answers", f"The request expires {until} and nothing happens"),
        ]
    elif run.may_undo:
        shown += [
            Fact("Until", f"{until}, or undo"),
            Fact(
                "After undo",
                f"Back to: {run.before_words or 'no limit'}. The rung stays silent until spend was under it",
            ),
        ]
    if run.approvals and not run.may_approve:
        shown.append(Fact("Approved by", ", ".join(name for name, _ in run.approvals)))
    if run.error:
        shown.append(Fact("Not in effect", run.error))
    return shown


def _approvals(run: RunLine) -> str:
    """`1 of 2: ada@example.com`, and why it asks at all where its step would not."""
    names = ", ".join(name for name, _ in run.approvals) or "nobody yet"
    why = "; it asks because it would hit more than it may by itself" if run.is_too_wide else ""
    return f"{len(run.approvals)} of {run.approvals_needed}: {names}{why}"


def affected(found: BudgetDetail, viewer: Viewer, now: datetime) -> list[Fact]:
    """Whom a throttle or a shutdown would reach: keys, gates, requests, other budgets."""
    line = found.line
    names = ", ".join(key.name for key in found.keys[:4]) + (", …" if len(found.keys) > 4 else "")
    live = sum(1 for gate in found.gates if gate.is_live)
    gates = f"{live} of {len(found.gates)} live: {', '.join(gate.name for gate in found.gates)}" if found.gates else ""
    explore = f"{reverse('explore')}?{_query(line)}"
    return [
        Fact("Keys", f"{len(found.keys)}: {names}" if found.keys else "No key of a gate falls into this scope"),
        Fact("Gates", gates or "None is set up, so nothing enforces this budget"),
        Fact("Requests in this period", _requests(line, viewer, now), explore),
        Fact("Overlaps with", ", ".join(found.overlaps) or "no other budget"),
    ]


def timeline(runs: Sequence[RunLine]) -> list[Event]:
    """What happened, newest first: asked, decided, in force, ended."""
    events = []
    for run in runs:
        url = reverse("action", args=[run.id])
        asked = "asks for approval" if run.may_approve or run.decided_by else "fired"
        moments = [
            (run.asked_at, f"{run.words}: {asked}, {run.reason}"),
            (run.decided_at, f"{run.words}: decided by {action_tables.actor(run.decided_by)}"),
            (run.verified_at, f"{run.words}: in force, confirmed by every gate"),
            (run.ended_at, f"{run.words}: {run.state_words.lower()} by {action_tables.actor(run.ended_by)}"),
        ]
        events += [Event(at, fmt.moment(at), text, url) for at, text in moments if at is not None]
    return sorted(events, key=lambda event: event.at, reverse=True)[:_EVENTS]


def _ratio(value: Decimal | None) -> str:
    return fmt.UNKNOWN if value is None else fmt.percent(value)


def _scope(line: BudgetLine, viewer: Viewer) -> SpendScope:
    filters = tuple(Filter(name, tuple(line.scope[name])) for name in sorted(line.scope))
    return SpendScope(line.days, filters, "effective", line.currency, viewer.teams)


def _query(line: BudgetLine) -> str:
    chips = [("f", f"{name}:{'|'.join(values)}") for name, values in sorted(line.scope.items())]
    return urlencode([("preset", "custom"), ("from", line.days.start), ("to", line.days.last), *chips])


def _requests(line: BudgetLine, viewer: Viewer, now: datetime) -> str:
    rows = queries.unit_costs(scope=_scope(line, viewer), group_by=[])
    requests = rows[0].requests if rows else 0
    if not requests:
        return "none was logged"
    gone = max(Decimal(1), Decimal(int((now - line.days.start_at).total_seconds())) / 3600)
    return f"{fmt.count(requests)}, {fmt.count(requests / gone)} an hour"
