"""From tables to rows: how a budget, a rung and a run of an action are put into the answers of the queries."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from alerts import brakes, ladder, triggers, wording
from alerts.brakes import Pause
from alerts.curves import Crossing, Curve
from alerts.models import ActionRun, Budget, BudgetState, Rung
from alerts.rows import Ahead, AheadDay, BudgetLine, NextStep, RungRow, RunLine
from costobs.kernel import fmt
from costobs.kernel import period as periods
from costobs.kernel.period import Days

# Attributes that the queries prefetch onto a budget.
RUNGS = "ladder_rungs"
OPEN_RUNS = "open_runs"


def rungs_of(row: Budget) -> list[Rung]:
    """The rungs in force, lowest first."""
    return list(getattr(row, RUNGS))


def budget_line(row: Budget, state: BudgetState | None, now: datetime, pause: Pause | None = None) -> BudgetLine:
    """One budget in its current period; `state` is the evaluation of that period, if there is one, `pause` the break-glass
    pause that holds.
    """
    days = periods.budget_period(row.period, periods.day_of(now))
    paused = brakes.paused_until(row, pause, now)
    open_runs: list[ActionRun] = getattr(row, OPEN_RUNS)
    forecast = state.forecast_cost if state else None
    forecast_percent = None if forecast is None else ladder.percent_of(forecast, row.amount)
    used = ladder.percent_of(state.spend_cost, row.amount) if state else None
    rungs = rungs_of(row)
    standing = ladder.standing(_facts(rungs, open_runs, state, used, forecast_percent, is_paused=paused is not None))
    return BudgetLine(
        id=row.pk,
        name=row.name,
        scope={name: tuple(values) for name, values in row.scope.items()},
        scope_words=wording.scope(row.scope),
        teams=tuple(row.scope.get("team", ())),
        owner_email=row.owner_email,
        period=row.period,
        days=days,
        amount=row.amount,
        currency=row.currency,
        spend_cost=state.spend_cost if state else None,
        estimated_cost=state.estimated_cost if state else None,
        unpriced_cost=state.unpriced_cost if state else None,
        used_percent=used,
        elapsed_percent=ladder.elapsed_percent(days, int((now - days.start_at).total_seconds())),
        forecast_cost=forecast,
        forecast_method=state.forecast_method if state else "",
        forecast_low_cost=state.forecast_low_cost if state else None,
        forecast_high_cost=state.forecast_high_cost if state else None,
        forecast_error_percent=state.forecast_error_percent if state else None,
        variance_cost=None if forecast is None else forecast - row.amount,
        variance_percent=None if forecast_percent is None else forecast_percent - 100,
        state=standing,
        state_words=wording.STATES[standing],
        is_forecast_over=forecast is not None and forecast > row.amount,
        is_waiting_approval=any(run.state == "waiting_approval" for run in open_runs),
        next_step=_next_step(row, state, days, now, open_runs),
        ladder_words=_ladder_words(rungs, row),
        evaluated_at=state.evaluated_at if state else None,
        complete_through=state.complete_through if state else None,
        paused_until=paused,
        is_active=row.is_active,
        is_sample=row.is_sample,
        criticality=row.criticality,
        protected=tuple(row.protected),
        is_everything_paused=pause is not None,
    )


def _ladder_words(rungs: Sequence[Rung], row: Budget) -> str:
    return wording.ladder(
        [
            (rung.percent, rung.action, _approval(rung, row))
            if rung.trigger == "actual"
            else (rung.percent, f"{rung.action} {_when(rung)}", _approval(rung, row))
            for rung in rungs
        ]
    )


def _approval(rung: Rung, row: Budget) -> str:
    """What approval it needs as it counts, with what the criticality of the budget demands."""
    return ladder.approval(rung.approval, action=rung.action, criticality=row.criticality)


def _when(rung: Rung) -> str:
    return triggers.KINDS[rung.trigger]().words(rung.percent, rung.config)


def _facts(
    rungs: Sequence[Rung],
    open_runs: Sequence[ActionRun],
    state: BudgetState | None,
    used: Decimal | None,
    forecast: Decimal | None,
    *,
    is_paused: bool,
) -> ladder.Facts:
    return ladder.Facts(
        used_percent=used,
        forecast_percent=forecast,
        lowest_rung=min((rung.percent for rung in rungs if rung.trigger == "actual"), default=None),
        is_stale=state is None or state.is_stale,
        is_paused=is_paused,
        in_force=frozenset(run.action for run in open_runs if run.state in ladder.APPLYING),
    )


def rung_row(
    rung: Rung, line: BudgetLine, runs: Sequence[ActionRun], now: datetime, curve: Curve | None = None
) -> RungRow:
    """One step with what its newest run of this period did; `runs` are newest first.

    When it would fire next is read off the `curve` of the forecast, or off the naive pace.
    """
    run = next((run for run in runs if run.rung_id == rung.pk and run.period_start == line.days.start), None)
    if run is not None and run.rearmed_at is not None:
        run = None
    is_on_spend = rung.trigger == "actual"
    cost = ladder.threshold_cost(line.amount, rung.percent)
    today = periods.day_of(now)
    pace = ladder.pace_of(
        forecast_cost=line.forecast_cost, spend_cost=line.spend_cost or Decimal(0), period=line.days, today=today
    )
    pace_on = ladder.expected_on(pace=pace, period=line.days, cost=cost)
    crossing = curve.crossing(cost) if curve else Crossing(pace_on, None, None)
    if run is not None or not is_on_spend:
        crossing = Crossing(None, None, None)
    state = run.state if run else "armed"
    return RungRow(
        id=rung.pk,
        percent=rung.percent,
        threshold_cost=cost,
        action=rung.action,
        words=wording.action(rung.action, rung.config),
        config=rung.config,
        approval=rung.approval,
        needs=ladder.approval(rung.approval, action=rung.action, criticality=line.criticality),
        trigger=rung.trigger,
        when_words=_when(rung),
        level=_level(rung, line),
        expires_after_hours=rung.expires_after_hours,
        state=state,
        state_words=wording.STATES[state],
        at=run.asked_at if run else None,
        expected_on=crossing.expected_on,
        run=run_line(run) if run else None,
        earliest_on=crossing.earliest_on,
        latest_on=crossing.latest_on,
    )


def ahead(curve: Curve) -> Ahead:
    """The forecast of the current period as a page shows it."""
    return Ahead(
        days=tuple(AheadDay(one.day, one.expected, one.low, one.high) for one in curve.days),
        method=curve.method,
        error_percent=curve.error_percent,
        pace_error_percent=curve.pace_error_percent,
        tests=curve.tests,
        tested_days=curve.tested_days,
        history_days=curve.history_days,
        through=curve.through,
    )


def _level(rung: Rung, line: BudgetLine) -> Decimal | None:
    """What its trigger measured last, for people; of spend and forecast the line knows it."""
    if rung.trigger == "actual":
        return line.used_percent
    if rung.trigger == "forecast":
        return None if line.forecast_cost is None else ladder.percent_of(line.forecast_cost, line.amount)
    measured = getattr(rung, "measured", None)
    return None if measured is None or measured.config != rung.config else measured.level


def run_line(run: ActionRun) -> RunLine:
    """One firing of a rung, from what was written down when it fired."""
    needs_name = run.action == "shutdown" and run.state == "waiting_approval"
    return RunLine(
        id=run.pk,
        version=run.version,
        budget_id=run.budget_id,
        budget_name=run.budget.name,
        teams=tuple(run.budget.scope.get("team", ())),
        percent=run.rung.percent,
        trigger=run.rung.trigger,
        action=run.action,
        words=run.plan["words"],
        effect=run.plan["effect"],
        target=run.target,
        target_words=run.plan["target_words"],
        before_words=run.before.get("words", ""),
        state=run.state,
        state_words=wording.STATES[run.state],
        reason=run.reason,
        asked_at=run.asked_at,
        expires_at=run.expires_at,
        decided_at=run.decided_at,
        decided_by=run.decided_by,
        applied_at=run.applied_at,
        verified_at=run.verified_at,
        ended_at=run.ended_at,
        ended_by=run.ended_by,
        error=run.error,
        may_undo=run.state in ladder.APPLYING,
        may_approve=run.state == "waiting_approval",
        confirm_phrase=run.budget.name if needs_name else "",
        approvals_needed=run.plan.get("approvals", 1),
        approvals=tuple((approval.by, approval.at) for approval in run.approvals.all())
        if run.plan.get("approvals", 1) or run.decided_by
        else (),
        is_too_wide=run.plan.get("is_too_wide", False),
        reach_words=run.plan.get("reach", ""),
        saves_words=run.plan.get("saves", ""),
        criticality=run.plan.get("criticality", "normal"),
        is_sample=run.budget.is_sample,
    )


def _next_step(
    row: Budget, state: BudgetState | None, days: Days, now: datetime, open_runs: Sequence[ActionRun]
) -> NextStep | None:
    """What happens next: somebody decides, or the next rung is reached; None when nothing is left."""
    waiting = next((run for run in open_runs if run.state == "waiting_approval"), None)
    if waiting is not None:
        until = f" until {fmt.moment(waiting.expires_at)}" if waiting.expires_at else ""
        return NextStep(f"{waiting.plan['words']} waits for approval{until}", periods.day_of(waiting.asked_at))
    used = ladder.percent_of(state.spend_cost, row.amount) if state else None
    on_spend = [rung for rung in rungs_of(row) if rung.trigger == "actual"]
    rung = next((rung for rung in on_spend if used is None or rung.percent > used), None)
    if rung is None:
        return None
    mode = ladder.approval(rung.approval, action=rung.action, criticality=row.criticality)
    suffix = "" if mode == "automatic" else ", " + wording.approval(mode)
    text = f"{wording.action(rung.action, rung.config)} at {wording.rung(rung.percent)}{suffix}"
    pace = ladder.pace_of(
        forecast_cost=state.forecast_cost if state else None,
        spend_cost=state.spend_cost if state else Decimal(0),
        period=days,
        today=periods.day_of(now),
    )
    cost = ladder.threshold_cost(row.amount, rung.percent)
    return NextStep(text, ladder.expected_on(pace=pace, period=days, cost=cost))
