"""From tables to rows: how a budget, a rung and a run of an action are put into the answers of the queries."""

from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime
from decimal import Decimal
from typing import Any

from alerts import brakes, ladder, spans, triggers, wording
from alerts.brakes import Pause
from alerts.curves import Crossing, Curve
from alerts.models import ActionRun, Budget, BudgetState, Rung
from alerts.rows import Ahead, AheadDay, BudgetLine, BudgetTerms, NextStep, RungRow, RunLine
from alerts.spans import Span
from costobs.kernel import fmt
from costobs.kernel import period as periods

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
    span = spans.current(row, now)
    base = spans.base_amount(row.amount, row.currency, is_prorated=row.is_prorated, span=span)
    amount = base if state is None or state.amount is None else state.amount
    paused = brakes.paused_until(row, pause, now)
    open_runs: list[ActionRun] = getattr(row, OPEN_RUNS)
    forecast = state.forecast_cost if state else None
    forecast_percent = None if forecast is None else ladder.percent_of(forecast, amount)
    used = ladder.percent_of(state.spend_cost, amount) if state else None
    rungs = rungs_of(row)
    standing = spans.standing(row, now)
    called = (
        ladder.standing(_facts(rungs, open_runs, state, used, forecast_percent, is_paused=paused is not None))
        if standing == "running"
        else standing
    )
    return BudgetLine(
        id=row.pk,
        name=row.name,
        scope={name: tuple(values) for name, values in row.scope.items()},
        scope_words=wording.scope(row.scope),
        teams=tuple(row.scope.get("team", ())),
        owner_email=row.owner_email,
        period=row.period,
        days=span.days,
        amount=amount,
        currency=row.currency,
        used_percent=used,
        elapsed_percent=spans.elapsed_percent(span, now),
        forecast_cost=forecast,
        variance_cost=None if forecast is None else forecast - amount,
        variance_percent=None if forecast_percent is None else forecast_percent - 100,
        state=called,
        state_words=wording.STATES[called],
        is_forecast_over=forecast is not None and forecast > amount,
        is_waiting_approval=any(run.state == "waiting_approval" for run in open_runs),
        next_step=_next_step(row, state, amount, now, open_runs) if standing == "running" else None,
        ladder_words=_ladder_words(row, rungs),
        paused_until=paused,
        is_active=row.is_active,
        is_sample=row.is_sample,
        **_of_period(row, state, span, base, now),
        standing=standing,
        terms=terms_of(row),
        is_everything_paused=pause is not None,
    )


def _of_period(row: Budget, state: BudgetState | None, span: Span, base: Decimal, now: datetime) -> dict[str, Any]:
    """What was found, how the amount of the period comes about, where it begins and ends, and what is in doubt."""
    nothing = Decimal(0)
    return {
        "spend_cost": state.spend_cost if state else None,
        "estimated_cost": state.estimated_cost if state else None,
        "unpriced_cost": state.unpriced_cost if state else None,
        "forecast_method": state.forecast_method if state else "",
        "forecast_low_cost": state.forecast_low_cost if state else None,
        "forecast_high_cost": state.forecast_high_cost if state else None,
        "forecast_error_percent": state.forecast_error_percent if state else None,
        "evaluated_at": state.evaluated_at if state else None,
        "complete_through": state.complete_through if state else None,
        "own_amount": row.amount,
        "base_amount": base,
        "carried_cost": state.carried_cost if state else nothing,
        "borrowed_cost": state.borrowed_cost if state else nothing,
        "converted_cost": state.converted_cost if state else nothing,
        "rates": state.rates if state else "",
        "unconverted": tuple(state.unconverted.split()) if state else (),
        "is_unbalanced": state.is_unbalanced if state else False,
        "late": state.late if state else "",
        "starts_at": span.starts_at,
        "ends_at": span.ends_at,
        "key_date": span.key_date,
        "today": spans.today(row, now),
    }


def terms_of(row: Budget) -> BudgetTerms:
    """The terms as they are kept."""
    return BudgetTerms(**{one.name: getattr(row, one.name) for one in fields(BudgetTerms)})


def _ladder_words(row: Budget, rungs: Sequence[Rung]) -> str:
    """The steps in one line; those that look at other things than spend say at what."""
    named = [
        (
            rung.percent if rung.trigger == "actual" else None,
            rung.action if rung.trigger == "actual" else f"{rung.action} {_when(rung)}",
            _approval(rung, row),
        )
        for rung in rungs
    ]
    return wording.ladder(named)


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
        is_stale=state is None or state.is_untrusted,
        is_paused=is_paused,
        in_force=frozenset(run.action for run in open_runs if run.state in ladder.APPLYING),
    )


def rung_row(
    rung: Rung, line: BudgetLine, runs: Sequence[ActionRun], now: datetime, curve: Curve | None = None
) -> RungRow:
    """One step with what its newest run of this period did; `runs` are newest first.

    When it would fire next is read off the `curve` of the forecast, or off the naive pace.
    """
    run = next((run for run in runs if run.rung_id == rung.pk and run.period_start == line.key_date), None)
    if run is not None and run.rearmed_at is not None:
        run = None
    is_on_spend = rung.trigger == "actual"
    cost = ladder.threshold_cost(line.amount, rung.percent)
    pace = ladder.pace_of(
        forecast_cost=line.forecast_cost, spend_cost=line.spend_cost or Decimal(0), period=line.days, today=line.today
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
        has_targets=bool(run.plan.get("targets")),
    )


def _next_step(
    row: Budget, state: BudgetState | None, amount: Decimal, now: datetime, open_runs: Sequence[ActionRun]
) -> NextStep | None:
    """What happens next: somebody decides, or the next rung is reached; None when nothing is left."""
    waiting = next((run for run in open_runs if run.state == "waiting_approval"), None)
    if waiting is not None:
        until = f" until {fmt.moment(waiting.expires_at)}" if waiting.expires_at else ""
        return NextStep(f"{waiting.plan['words']} waits for approval{until}", periods.day_of(waiting.asked_at))
    used = ladder.percent_of(state.spend_cost, amount) if state else None
    on_spend = [rung for rung in rungs_of(row) if rung.trigger == "actual"]
    rung = next((rung for rung in on_spend if used is None or rung.percent > used), None)
    if rung is None:
        return None
    mode = ladder.approval(rung.approval, action=rung.action, criticality=row.criticality)
    suffix = "" if mode == "automatic" else ", " + wording.approval(mode)
    text = f"{wording.action(rung.action, rung.config)} at {wording.rung(rung.percent)}{suffix}"
    days = spans.current(row, now).days
    pace = ladder.pace_of(
        forecast_cost=state.forecast_cost if state else None,
        spend_cost=state.spend_cost if state else Decimal(0),
        period=days,
        today=spans.today(row, now),
    )
    cost = ladder.threshold_cost(amount, rung.percent)
    return NextStep(text, ladder.expected_on(pace=pace, period=days, cost=cost))
