"""Turn evaluations into action runs: every rung once for a period and an episode, the strongest first, one alert."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.db.models import F, Q

from alerts import (
    blast,
    brakes,
    decisions,
    ladder,
    lines,
    messages,
    notices,
    queries,
    sights,
    spans,
    terms,
    triggers,
    wording,
)
from alerts.actions import KINDS
from alerts.actions.base import GATE_NAMES, Occasion
from alerts.blast import Reach
from alerts.brakes import Brakes
from alerts.models import ActionRun, Budget, BudgetState, Rung
from alerts.rows import BudgetLine, Notice
from costobs.kernel import fmt
from costobs.kernel.period import Days

APPROVAL_ENDS_AFTER = timedelta(hours=24)
# An older evaluation is no ground to act on; it means that evaluation does not run.
_EVALUATED_WITHIN = timedelta(minutes=5)


def run(*, now: datetime) -> list[int]:
    """The ids of the runs that were started. Safe to repeat and to run twice at once.

    What the clock ends is ended first. While the break-glass pause holds, and in a paused budget, nothing starts. On stale
    data nothing but notices starts. The budgets of the least critical scopes act first.
    """
    _end_by_clock(now)
    hold = brakes.now_on(now=now)
    if hold.pause is not None:
        return []
    return [run_id for budget_id, state in _due(hold, now) for run_id in _climb(budget_id, state, hold, now)]


def _due(hold: Brakes, now: datetime) -> list[tuple[int, BudgetState]]:
    """The budgets where something changes, found without a lock; `_climb` looks again under one."""
    states = BudgetState.objects.filter(
        Q(budget__paused_until=None) | Q(budget__paused_until__lte=now),
        budget__is_active=True,
        starts_at__lte=now,
        ends_at__gt=now,
        evaluated_at__gt=now - _EVALUATED_WITHIN,
        evaluated_at__lte=now,
    )
    found = list(states.select_related("budget").order_by("budget_id"))
    ladders = _ladders([state.budget for state in found], {state.budget_id: state.period_start for state in found})
    due = [state for state in found if _decide(ladders.get(state.budget_id, []), state, hold, now)]
    due.sort(key=lambda state: ladder.CRITICALITIES.index(state.budget.criticality))
    return [(state.budget_id, state) for state in due]


def _decide(
    rungs: Sequence[tuple[Rung, ActionRun | None]],
    state: BudgetState,
    hold: Brakes,
    now: datetime,
    wide: frozenset[int] = frozenset(),
) -> decisions.Decision:
    """What happens now; the actions of the rungs in `wide` would hit too much to be automatic."""
    budget: Budget = state.budget
    return decisions.decide(
        rungs=[_facts(rung, run_, budget, rung.pk in wide) for rung, run_ in rungs],
        levels=sights.levels([rung for rung, _ in rungs], state, now),
        is_stale=state.is_untrusted,
        is_maintenance=hold.open_until("maintenance", budget.scope) is not None,
        is_quiet=hold.open_until("quiet", budget.scope) is not None,
        now=now,
    )


def _ladders(budgets: Sequence[Budget], starts: dict[int, Any]) -> dict[int, list[tuple[Rung, ActionRun | None]]]:
    """The active rungs of each budget with what they did last in this period."""
    newest: dict[int, ActionRun] = {}
    # Scheduled hours know no period: what they started before it goes on.
    scheduled = Q(rung__trigger="schedule", state__in=ladder.OPEN)
    runs = ActionRun.objects.filter(
        Q(period_start__in=set(starts.values())) | scheduled, budget__in=budgets, rung__is_active=True
    )
    for run_ in runs.select_related("rung").order_by("rung_id", "period_start", "episode"):
        goes_on = run_.rung.trigger == "schedule" and run_.state in ladder.OPEN
        if run_.period_start == starts[run_.budget_id] or goes_on:
            newest[run_.rung_id] = run_
    found: dict[int, list[tuple[Rung, ActionRun | None]]] = {}
    rungs = Rung.objects.filter(budget__in=budgets, is_active=True).select_related("measured")
    for rung in rungs.order_by("percent", "pk"):
        found.setdefault(rung.budget_id, []).append((rung, newest.get(rung.pk)))
    return found


def _facts(rung: Rung, run_: ActionRun | None, budget: Budget, is_too_wide: bool) -> decisions.RungFacts:
    minutes = rung.config.get("cooldown_minutes")
    last = None
    if run_ is not None:
        last = decisions.LastRun(run_.pk, run_.state, run_.episode, run_.under_since, run_.rearmed_at is not None)
    return decisions.RungFacts(
        id=rung.pk,
        percent=rung.percent,
        action=rung.action,
        approval=ladder.approval(
            rung.approval, action=rung.action, criticality=budget.criticality, is_too_wide=is_too_wide
        ),
        trigger=rung.trigger,
        cooldown=triggers.KINDS[rung.trigger].cooldown if minutes is None else timedelta(minutes=minutes),
        hysteresis=Decimal(rung.config.get("hysteresis_percent", 0)),
        last=last,
    )


@transaction.atomic
def _climb(budget_id: int, state: BudgetState, hold: Brakes, now: datetime) -> list[int]:
    """Carries out the decision for one budget under its lock; if another worker holds it, that one does."""
    budget = Budget.objects.select_for_update(skip_locked=True).filter(pk=budget_id, is_active=True).first()
    if budget is None or (budget.paused_until is not None and budget.paused_until > now):
        return []
    current = BudgetState.objects.filter(pk=state.pk).first()
    if current is None:  # the budget was changed since, and what was found for it does not stand any more
        return []
    state = current
    state.budget = budget
    state.amount = terms.term(budget, now).amount  # it may have changed just now
    state.used_percent = ladder.percent_of(state.spend_cost, state.amount)
    rungs = _ladders([budget], {budget_id: state.period_start}).get(budget_id, [])
    reach, decision = _within_reach(budget, rungs, state, hold, now)
    days = Days(state.period_start, state.period_end)
    ActionRun.objects.filter(pk__in=decision.went_under).update(under_since=now)
    ActionRun.objects.filter(pk__in=decision.went_over).update(under_since=None)
    for run_id in decision.rearmed:
        _rearm(budget, days, run_id, now)
    by_id = {rung.pk: rung for rung, _ in rungs}
    started = [
        made
        for firing in decision.firings
        if (made := _start(Start(budget, by_id[firing.rung_id], state, days, firing, reach, now)))
    ]
    if started:
        _tell(budget, state, days, started, now)
    return [run_.pk for run_ in started]


def _within_reach(
    budget: Budget,
    rungs: Sequence[tuple[Rung, ActionRun | None]],
    state: BudgetState,
    hold: Brakes,
    now: datetime,
) -> tuple[Reach | None, decisions.Decision]:
    """The decision in which no automatic action hits more than its rung allows, and what an action would hit."""
    by_id = {rung.pk: rung for rung, _ in rungs}
    reach: Reach | None = None
    wide: set[int] = set()
    while True:
        decision = _decide(rungs, state, hold, now, frozenset(wide))
        acting = [by_id[one.rung_id] for one in decision.firings if one.state in {"running", "waiting_approval"}]
        if acting and reach is None:
            reach = blast.reach(budget=budget, now=now)
        automatic = {one.rung_id for one in decision.firings if one.state == "running"}
        found = {rung.pk for rung in acting if rung.pk in automatic and reach and _is_too_wide(rung, budget, reach)}
        if not found:
            return reach, decision
        wide |= found


def _is_too_wide(rung: Rung, budget: Budget, reach: Reach) -> bool:
    own = rung.config.get("max_share_percent")
    share = ladder.widest_percent(None if own is None else Decimal(own), criticality=budget.criticality)
    return reach.is_too_wide(max_share_percent=share, max_keys=rung.config.get("max_keys"))


@dataclass(frozen=True, slots=True)
class Start:
    """What a run is written from."""

    budget: Budget
    rung: Rung
    state: BudgetState
    days: Days
    firing: decisions.Firing
    reach: Reach | None
    now: datetime


def _start(start: Start) -> ActionRun | None:
    """Writes one run; None when it exists already."""
    budget, rung, days, firing, now = start.budget, start.rung, start.days, start.firing, start.now
    is_over = firing.state in {"done", "superseded"}
    ends_at = _ends_at(rung, budget, now)
    expires_at = None if is_over else _expires_at(rung, ends_at, firing.state, now)
    run_, created = ActionRun.objects.get_or_create(
        rung=rung,
        target=ladder.target(budget.scope),
        period_start=days.start,
        episode=firing.episode,
        defaults={
            "budget": budget,
            "action": rung.action,
            "state": firing.state,
            "plan": _plan(start, ends_at, expires_at or ends_at),
            "reason": _reason(start),
            "asked_at": now,
            "expires_at": expires_at,
            "ended_at": now if is_over else None,
            "ended_by": "ladder" if is_over else "",
        },
    )
    return run_ if created else None


def _ends_at(rung: Rung, budget: Budget, now: datetime) -> datetime:
    """When what a rung starts ends by itself at the latest: with the period; with its scheduled hours, which know none."""
    until = triggers.KINDS[rung.trigger]().until(rung.config, budget.zone, now)
    return spans.acts_until(budget, spans.current(budget, now), now) if until is None else until


def _expires_at(rung: Rung, ends_at: datetime, state: str, now: datetime) -> datetime:
    if state == "waiting_approval":
        return min(ends_at, now + APPROVAL_ENDS_AFTER)
    if rung.expires_after_hours is not None:
        return min(ends_at, now + timedelta(hours=rung.expires_after_hours))
    return ends_at


def _plan(start: Start, ends_at: datetime, until: datetime) -> dict[str, Any]:
    """What will be done, fixed now: later changes of the budget do not change a run."""
    budget, rung, state = start.budget, start.rung, start.state
    kind = KINDS[rung.action]()
    days = spans.current(budget, state.evaluated_at).days
    occasion = Occasion(
        budget_name=budget.name,
        scope=budget.scope,
        matches=ladder.matches(budget.scope, GATE_NAMES) if kind.is_enforcing else (),
        percent_words=fmt.percent(state.used_percent / 100),
        amount_words=f"{fmt.money(sights.amount_of(state), budget.currency)} for {wording.period(budget.period, days)}",
        until=until,
        aborts=budget.aborts_running,
    )
    plan = kind.plan(rung.config, occasion)
    needed = ladder.approval(rung.approval, action=rung.action, criticality=budget.criticality)
    return {
        "hook": plan.hook,
        "rules": [dict(rule) for rule in plan.rules],
        **plan.resources,
        "words": wording.action(rung.action, rung.config),
        "effect": wording.effect(rung.action, rung.config, aborts=budget.aborts_running),
        "target_words": wording.scope(budget.scope),
        "ends_at": ends_at.isoformat(),
        "expires_after_hours": rung.expires_after_hours,
        "approvals": max(ladder.APPROVALS[needed], 1) if start.firing.state == "waiting_approval" else 0,
        "is_too_wide": start.firing.state == "waiting_approval" and needed == "automatic",
        "criticality": budget.criticality,
        **({} if start.reach is None else _reached(start.reach)),
    }


def _reached(reach: Reach) -> dict[str, Any]:
    per_day = fmt.money(reach.per_day_cost, reach.currency)
    return {"reach": reach.words(), "saves": f"at most {per_day} a day: what its scope cost on an average of 7 days"}


def _reason(start: Start) -> str:
    rung = start.rung
    level = sights.level(rung, sights.sight(start.state, start.now))
    amount = fmt.money(sights.amount_of(start.state), start.budget.currency)
    return triggers.KINDS[rung.trigger]().reason(level or Decimal(0), rung.percent, rung.config, amount)


def _tell(budget: Budget, state: BudgetState, days: Days, started: Sequence[ActionRun], now: datetime) -> None:
    """One alert for everything that started at once."""
    active = [run_ for run_ in started if run_.state != "superseded"]
    if not active:
        return
    line = queries.budget_line(budget_id=budget.pk, now=now)
    driver = notices.driver(budget, line.days)
    asking = next((run_ for run_ in active if run_.state == "waiting_approval"), None)
    ordered = sorted(active, key=lambda run_: -ladder.STRENGTH[run_.action])
    highest = _highest(started)
    shown = [lines.run_line(run_) for run_ in ordered]
    if asking is not None:
        others = [one for one in shown if one.id != asking.pk]
        notice = messages.approval(line, lines.run_line(asking), started=others, driver=driver)
    else:
        rung = highest.rung
        passed = triggers.KINDS[rung.trigger]().passed(rung.percent, rung.config)
        is_forecast = rung.trigger == "forecast"
        notice = messages.threshold(line, passed=passed, is_forecast=is_forecast, runs=shown, driver=driver)
    subject = asking or ordered[0]
    notices.raise_alert(
        kind="action_waiting" if asking else "budget_threshold",
        budget=budget,
        run=subject,
        notice=notice,
        key=f"run:{subject.pk}:raised",
        period=days,
        now=now,
        # Whatever else is asked for in the same alert, a shutdown is neither muted nor held.
        severity="critical" if any(run_.action == "shutdown" for run_ in active) else "",
    )


def _highest(started: Sequence[ActionRun]) -> ActionRun:
    """The run whose rung names the alert: the highest of the trigger that does the most."""
    strongest = max(started, key=lambda run_: (run_.state != "superseded", ladder.STRENGTH[run_.action]))
    return max(
        (run_ for run_ in started if run_.rung.trigger == strongest.rung.trigger), key=lambda run_: run_.rung.percent
    )


def _rearm(budget: Budget, days: Days, run_id: int, now: datetime) -> None:
    """Ends the episode of a rung: what it has in force ends, and it may fire again."""
    ActionRun.objects.filter(pk=run_id).update(rearmed_at=now)
    changed = ActionRun.objects.filter(pk=run_id, state__in=ladder.OPEN).update(
        state="ended", ended_at=now, ended_by="ladder", version=F("version") + 1
    )
    if changed:
        _tell_ended(budget, days, run_id, "spend is back under it", now)


def _end_by_clock(now: datetime) -> None:
    """What has reached its end: requests expire, actions end. Needs no figures, so stale books do not stop it."""
    late = ActionRun.objects.filter(expires_at__lte=now, state__in=ladder.OPEN).select_related("budget").order_by("pk")
    for run_ in late:
        with transaction.atomic():
            state = "expired" if run_.state == "waiting_approval" else "ended"
            changed = ActionRun.objects.filter(pk=run_.pk, state=run_.state, expires_at__lte=now).update(
                state=state, ended_at=run_.expires_at, ended_by="clock", version=F("version") + 1
            )
            if changed and run_.budget.period == spans.ROLLING and _until(run_) <= now:
                # It has no next period to be armed in again.
                ActionRun.objects.filter(pk=run_.pk).update(rearmed_at=now)
            if changed and state == "ended":
                days = Days(run_.period_start, spans.keyed(run_.budget, run_.period_start, now).whole.end)
                _tell_ended(run_.budget, days, run_.pk, "its time is over", now)
    finished = ActionRun.objects.filter(state="failed", ended_at=None).select_related("budget")
    _close_failed(finished, now)


def _close_failed(runs: Iterable[ActionRun], now: datetime) -> None:
    over = [one.pk for one in runs if _until(one) <= now]
    ActionRun.objects.filter(pk__in=over, state="failed").update(ended_at=now, ended_by="clock")


def _until(run_: ActionRun) -> datetime:
    """When its period was over, or will be."""
    return spans.acts_until(run_.budget, spans.keyed(run_.budget, run_.period_start, run_.asked_at), run_.asked_at)


def _tell_ended(budget: Budget, days: Days, run_id: int, why: str, now: datetime) -> None:
    run_ = ActionRun.objects.select_related("budget", "rung").get(pk=run_id)
    if run_.applied_at is None:
        return
    line: BudgetLine = queries.budget_line(budget_id=budget.pk, now=now)
    notice: Notice = messages.ended(line, lines.run_line(run_), why=why)
    notices.raise_alert(
        kind="action_ended", budget=budget, run=run_, notice=notice, key=f"run:{run_id}:ended", period=days, now=now
    )
