"""A ladder played over moments of the past: pure, and deciding with `decisions.decide` as the live path does.

What the clock ends is ended first, then the ladder decides, as in `escalate`; nobody approves anything. The runs of a period
begin anew with it, as their unique key has it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from alerts import decisions, ladder, triggers

APPROVAL_ENDS_AFTER = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Step:
    """A rung, stored or only drafted; `id` tells steps apart."""

    id: int
    percent: Decimal
    action: str
    config: Mapping[str, Any]  # as of a rung
    approval: str
    expires_after_hours: int | None
    trigger: str = "actual"


@dataclass(frozen=True, slots=True)
class Moment:
    """What an evaluation at `at` finds; `period_start` names the period and `ends_at` is when what starts
    now ends at the latest: with the period.

    `levels` has by id of the step what its trigger measures, in percent; None is unknown. `untils` has for those in their
    scheduled hours when these end.
    """

    at: datetime
    period_start: date
    ends_at: datetime
    levels: Mapping[int, Decimal | None]
    untils: Mapping[int, datetime] = field(default_factory=dict)
    is_rolling: bool = False  # its period has no next one, so a step is armed again when the window has turned over


@dataclass(frozen=True, slots=True)
class Brake:
    """What holds a ladder back at a moment; asked only where something would start."""

    is_maintenance: bool = False
    is_quiet: bool = False


@dataclass(slots=True)
class Event:
    """One run of a step as the live path would have written it. `state` is what it began in, `ended_at` when it was over."""

    id: int
    step: Step
    at: datetime
    period_start: date
    episode: int
    state: str  # done, running, waiting_approval, superseded
    level: Decimal
    expires_at: datetime | None
    ended_at: datetime | None = None
    ended_by: str = ""


@dataclass(slots=True)
class _Run:
    """An event while it lasts: what `decisions.LastRun` is made of."""

    event: Event
    state: str
    under_since: datetime | None = None
    is_rearmed: bool = False
    turns_at: datetime | None = None  # of a rolling budget: when its window has turned over since


@dataclass(slots=True)
class _Ladder:
    steps: Sequence[Step]
    events: list[Event] = field(default_factory=list)
    runs: list[_Run] = field(default_factory=list)  # by id of the event
    newest: dict[tuple[int, date], _Run] = field(default_factory=dict)
    criticality: str = "normal"
    brake: Callable[[datetime], Brake] = lambda at: Brake()
    is_too_wide: Callable[[Step, datetime], bool] = lambda step, at: False


def play(
    *,
    steps: Sequence[Step],
    moments: Iterable[Moment],
    until: datetime | None = None,
    criticality: str = "normal",
    brake: Callable[[datetime], Brake] = lambda at: Brake(),
    is_too_wide: Callable[[Step, datetime], bool] = lambda step, at: False,
) -> list[Event]:
    """Every run that the steps would have started at these moments, in order of time; those not ended have no end.

    `until` is up to when the clock went on after the last moment: a budget may end before the days that are played do.
    `brake` says what held the ladder back at a moment, `is_too_wide` whether an action would hit more than an automatic one
    may; both are asked only where something would start.
    """
    ordered = sorted(steps, key=lambda step: (step.percent, step.id))
    played = _Ladder(ordered, criticality=criticality, brake=brake, is_too_wide=is_too_wide)
    for moment in moments:
        _end_by_clock(played, moment.at)
        _climb(played, moment)
    if until is not None:
        _end_by_clock(played, until)
    return played.events


def is_warning(step: Step) -> bool:
    """Whether the step looks at where spend leads instead of where it is, so that it can be wrong."""
    return step.trigger in {"forecast", "trend"}


def _end_by_clock(played: _Ladder, now: datetime) -> None:
    for run in played.runs:
        ends = run.event.expires_at
        if run.state in ladder.OPEN and ends is not None and ends <= now:
            run.state = "expired" if run.state == "waiting_approval" else "ended"
            run.event.ended_at, run.event.ended_by = ends, "clock"
            run.is_rearmed = run.is_rearmed or (run.turns_at is not None and run.turns_at <= now)


def _climb(played: _Ladder, moment: Moment) -> None:
    decision = _decision(played, moment)
    for run_id in decision.went_under:
        played.runs[run_id].under_since = moment.at
    for run_id in decision.went_over:
        played.runs[run_id].under_since = None
    for run_id in decision.rearmed:
        _rearm(played.runs[run_id], moment.at)
    steps = {step.id: step for step in played.steps}
    for firing in decision.firings:
        _start(played, steps[firing.rung_id], firing, moment)


def _decision(played: _Ladder, moment: Moment) -> decisions.Decision:
    """The decision under the brakes of the moment, in which no automatic action hits more than it may."""
    decision = _decide(played, moment, Brake(), frozenset())
    if not decision.firings:
        return decision
    brake, steps = played.brake(moment.at), {step.id: step for step in played.steps}
    wide: set[int] = set()
    while True:
        decision = _decide(played, moment, brake, frozenset(wide))
        automatic = {one.rung_id for one in decision.firings if one.state == "running"}
        found = {number for number in automatic if played.is_too_wide(steps[number], moment.at)}
        if not found:
            return decision
        wide |= found


def _decide(played: _Ladder, moment: Moment, brake: Brake, wide: frozenset[int]) -> decisions.Decision:
    return decisions.decide(
        rungs=[
            _facts(step, _last(played, step, moment.period_start), played.criticality, step.id in wide)
            for step in played.steps
        ],
        levels=moment.levels,
        is_stale=False,
        is_maintenance=brake.is_maintenance,
        is_quiet=brake.is_quiet,
        now=moment.at,
    )


def _last(played: _Ladder, step: Step, period_start: date) -> _Run | None:
    """The newest run of the period; scheduled hours know no period, so what they started before it goes on."""
    found = played.newest.get((step.id, period_start))
    if found is None and step.trigger == "schedule":
        runs = [run for (number, _), run in played.newest.items() if number == step.id and run.state in ladder.OPEN]
        return runs[-1] if runs else None
    return found


def _rearm(run: _Run, now: datetime) -> None:
    run.is_rearmed = True
    if run.state in ladder.OPEN:
        run.state, run.event.ended_at, run.event.ended_by = "ended", now, "ladder"


def _start(played: _Ladder, step: Step, firing: decisions.Firing, moment: Moment) -> None:
    is_over = firing.state in {"done", "superseded"}
    event = Event(
        id=len(played.events),
        step=step,
        at=moment.at,
        period_start=moment.period_start,
        episode=firing.episode,
        state=firing.state,
        level=moment.levels[step.id] or Decimal(0),
        expires_at=None if is_over else _expires_at(step, firing.state, moment),
        ended_at=moment.at if is_over else None,
        ended_by="ladder" if is_over else "",
    )
    run = _Run(event, firing.state, turns_at=moment.ends_at if moment.is_rolling else None)
    played.events.append(event)
    played.runs.append(run)
    played.newest[step.id, moment.period_start] = run


def _expires_at(step: Step, state: str, moment: Moment) -> datetime:
    """When a run of the step ends by the clock: with the period, or with its scheduled hours."""
    ends_at, now = moment.untils.get(step.id, moment.ends_at), moment.at
    if state == "waiting_approval":
        return min(ends_at, now + APPROVAL_ENDS_AFTER)
    if step.expires_after_hours is not None:
        return min(ends_at, now + timedelta(hours=step.expires_after_hours))
    return ends_at


def _facts(step: Step, run: _Run | None, criticality: str, is_too_wide: bool) -> decisions.RungFacts:
    minutes = step.config.get("cooldown_minutes")
    last = None
    if run is not None:
        last = decisions.LastRun(run.event.id, run.state, run.event.episode, run.under_since, run.is_rearmed)
    return decisions.RungFacts(
        id=step.id,
        percent=step.percent,
        action=step.action,
        approval=ladder.approval(step.approval, action=step.action, criticality=criticality, is_too_wide=is_too_wide),
        trigger=step.trigger,
        cooldown=triggers.KINDS[step.trigger].cooldown if minutes is None else timedelta(minutes=minutes),
        hysteresis=Decimal(step.config.get("hysteresis_percent", 0)),
        last=last,
    )
