"""Turn evaluations into action runs: every rung once for a period and an episode, the strongest first, one alert."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import F, Q

from alerts import decisions, ladder, lines, messages, notices, queries, wording
from alerts.actions import KINDS
from alerts.actions.base import GATE_NAMES, Occasion
from alerts.models import ActionRun, Budget, BudgetState, Rung
from alerts.rows import BudgetLine, Notice
from costobs.kernel import fmt
from costobs.kernel import period as periods
from costobs.kernel.period import Days

COOLDOWN = timedelta(minutes=60)
APPROVAL_ENDS_AFTER = timedelta(hours=24)
# An older evaluation is no ground to act on; it means that evaluation does not run.
_EVALUATED_WITHIN = timedelta(minutes=5)


def run(*, now: datetime) -> list[int]:
    """The ids of the runs that were started. Safe to repeat and to run twice at once.

    What the clock ends is ended first. A paused budget starts nothing. On stale data nothing but notices starts.
    """
    _end_by_clock(now)
    return [run_id for budget_id, state in _due(now) for run_id in _climb(budget_id, state, now)]


def _due(now: datetime) -> list[tuple[int, BudgetState]]:
    """The budgets where something changes, found without a lock; `_climb` looks again under one."""
    today = periods.day_of(now)
    states = BudgetState.objects.filter(
        Q(budget__paused_until=None) | Q(budget__paused_until__lte=now),
        budget__is_active=True,
        period_start__lte=today,
        period_end__gt=today,
        evaluated_at__gt=now - _EVALUATED_WITHIN,
        evaluated_at__lte=now,
    )
    found = list(states.select_related("budget").order_by("budget_id"))
    rungs = _rung_facts([state.budget for state in found], {state.budget_id: state.period_start for state in found})
    return [(state.budget_id, state) for state in found if _decide(rungs.get(state.budget_id, []), state, now)]


def _decide(rungs: Sequence[decisions.RungFacts], state: BudgetState, now: datetime) -> decisions.Decision:
    forecast = state.forecast_cost
    ahead = None if forecast is None else ladder.percent_of(forecast, state.budget.amount)
    return decisions.decide(
        rungs=rungs,
        levels={rung.id: ahead if rung.trigger == "forecast" else state.used_percent for rung in rungs},
        is_stale=state.is_stale,
        now=now,
    )


def _rung_facts(budgets: Sequence[Budget], starts: dict[int, Any]) -> dict[int, list[decisions.RungFacts]]:
    newest: dict[int, ActionRun] = {}
    runs = ActionRun.objects.filter(budget__in=budgets, rung__is_active=True).order_by("rung_id", "episode")
    for run_ in runs.filter(period_start__in=set(starts.values())):
        if run_.period_start == starts[run_.budget_id]:
            newest[run_.rung_id] = run_
    found: dict[int, list[decisions.RungFacts]] = {}
    for rung in Rung.objects.filter(budget__in=budgets, is_active=True).order_by("percent", "pk"):
        found.setdefault(rung.budget_id, []).append(_facts(rung, newest.get(rung.pk)))
    return found


def _facts(rung: Rung, run_: ActionRun | None) -> decisions.RungFacts:
    minutes = rung.config.get("cooldown_minutes")
    last = None
    if run_ is not None:
        last = decisions.LastRun(run_.pk, run_.state, run_.episode, run_.under_since, run_.rearmed_at is not None)
    return decisions.RungFacts(
        id=rung.pk,
        percent=rung.percent,
        action=rung.action,
        approval=rung.approval,
        trigger="forecast" if rung.config.get("on") == "forecast" else rung.trigger,
        cooldown=COOLDOWN if minutes is None else timedelta(minutes=minutes),
        last=last,
    )


@transaction.atomic
def _climb(budget_id: int, state: BudgetState, now: datetime) -> list[int]:
    """Carries out the decision for one budget under its lock; if another worker holds it, that one does."""
    budget = Budget.objects.select_for_update(skip_locked=True).filter(pk=budget_id, is_active=True).first()
    if budget is None or (budget.paused_until is not None and budget.paused_until > now):
        return []
    state.budget = budget
    state.used_percent = ladder.percent_of(state.spend_cost, budget.amount)  # the amount may have changed just now
    facts = _rung_facts([budget], {budget_id: state.period_start}).get(budget_id, [])
    decision = _decide(facts, state, now)
    days = Days(state.period_start, state.period_end)
    ActionRun.objects.filter(pk__in=decision.went_under).update(under_since=now)
    ActionRun.objects.filter(pk__in=decision.went_over).update(under_since=None)
    for run_id in decision.rearmed:
        _rearm(budget, days, run_id, now)
    started = [made for firing in decision.firings if (made := _start(budget, state, days, firing, now))]
    if started:
        _tell(budget, state, days, started, now)
    return [run_.pk for run_ in started]


def _start(budget: Budget, state: BudgetState, days: Days, firing: decisions.Firing, now: datetime) -> ActionRun | None:
    """Writes one run; None when it exists already."""
    rung = Rung.objects.get(pk=firing.rung_id)
    is_over = firing.state in {"done", "superseded"}
    expires_at = None if is_over else _expires_at(rung, days, firing.state, now)
    run_, created = ActionRun.objects.get_or_create(
        rung=rung,
        target=ladder.target(budget.scope),
        period_start=days.start,
        episode=firing.episode,
        defaults={
            "budget": budget,
            "action": rung.action,
            "state": firing.state,
            "plan": _plan(budget, rung, state, days, expires_at or days.end_at),
            "reason": _reason(budget, rung, state),
            "asked_at": now,
            "expires_at": expires_at,
            "ended_at": now if is_over else None,
            "ended_by": "ladder" if is_over else "",
        },
    )
    return run_ if created else None


def _expires_at(rung: Rung, days: Days, state: str, now: datetime) -> datetime:
    if state == "waiting_approval":
        return min(days.end_at, now + APPROVAL_ENDS_AFTER)
    if rung.expires_after_hours is not None:
        return min(days.end_at, now + timedelta(hours=rung.expires_after_hours))
    return days.end_at


def _plan(budget: Budget, rung: Rung, state: BudgetState, days: Days, until: datetime) -> dict[str, Any]:
    """What will be done, fixed now: later changes of the budget do not change a run."""
    kind = KINDS[rung.action]()
    occasion = Occasion(
        budget_name=budget.name,
        scope=budget.scope,
        matches=ladder.matches(budget.scope, GATE_NAMES) if kind.is_enforcing else (),
        percent_words=fmt.percent(state.used_percent / 100),
        amount_words=f"{fmt.money(budget.amount, budget.currency)} for {wording.period(budget.period, days)}",
        until=until,
    )
    plan = kind.plan(rung.config, occasion)
    return {
        "hook": plan.hook,
        "rules": [dict(rule) for rule in plan.rules],
        "words": wording.action(rung.action, rung.config),
        "effect": wording.effect(rung.action),
        "target_words": wording.scope(budget.scope),
        "ends_at": days.end_at.isoformat(),
        "expires_after_hours": rung.expires_after_hours,
    }


def _reason(budget: Budget, rung: Rung, state: BudgetState) -> str:
    level, what = state.used_percent, "used"
    if rung.config.get("on") == "forecast" and state.forecast_cost is not None:
        level, what = ladder.percent_of(state.forecast_cost, budget.amount), "forecast"
    amount = fmt.money(budget.amount, budget.currency)
    return f"{fmt.percent(level / 100)} {what} ≥ {wording.rung(rung.percent)} of {amount}"


def _tell(budget: Budget, state: BudgetState, days: Days, started: Sequence[ActionRun], now: datetime) -> None:
    """One alert for everything that started at once."""
    active = [run_ for run_ in started if run_.state != "superseded"]
    if not active:
        return
    line = queries.budget_line(budget_id=budget.pk, now=now)
    driver = notices.driver(budget, days)
    asking = next((run_ for run_ in active if run_.state == "waiting_approval"), None)
    ordered = sorted(active, key=lambda run_: -ladder.STRENGTH[run_.action])
    highest = max(started, key=lambda run_: run_.rung.percent)
    shown = [lines.run_line(run_) for run_ in ordered]
    if asking is not None:
        others = [one for one in shown if one.id != asking.pk]
        notice = messages.approval(line, lines.run_line(asking), started=others, driver=driver)
    else:
        on = highest.rung.config.get("on", "actual")
        notice = messages.threshold(line, percent=highest.rung.percent, on=on, runs=shown, driver=driver)
    subject = asking or ordered[0]
    notices.raise_alert(
        kind="action_waiting" if asking else "budget_threshold",
        budget=budget,
        run=subject,
        notice=notice,
        key=f"run:{subject.pk}:raised",
        period=days,
        now=now,
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
            if changed and state == "ended":
                days = periods.budget_period(run_.budget.period, run_.period_start)
                _tell_ended(run_.budget, days, run_.pk, "its time is over", now)
    finished = ActionRun.objects.filter(state="failed", ended_at=None).select_related("budget")
    _close_failed(finished, now)


def _close_failed(runs: Iterable[ActionRun], now: datetime) -> None:
    today = periods.day_of(now)
    over = [one.pk for one in runs if periods.budget_period(one.budget.period, one.period_start).end <= today]
    ActionRun.objects.filter(pk__in=over, state="failed").update(ended_at=now, ended_by="clock")


def _tell_ended(budget: Budget, days: Days, run_id: int, why: str, now: datetime) -> None:
    run_ = ActionRun.objects.select_related("budget", "rung").get(pk=run_id)
    if run_.applied_at is None:
        return
    line: BudgetLine = queries.budget_line(budget_id=budget.pk, now=now)
    notice: Notice = messages.ended(line, lines.run_line(run_), why=why)
    notices.raise_alert(
        kind="action_ended", budget=budget, run=run_, notice=notice, key=f"run:{run_id}:ended", period=days, now=now
    )
