"""What a ladder would have done on days that are over, from the books as they are now.

Every hour that is over is evaluated once, a second before its end, with `decisions.decide`, as the live path does each second.
A forecast of a past day is made from the days before it. Nobody approves anything, no source is late, and what a throttle
or a shutdown would have kept from being spent stays spent: the hours are the ones that were.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import partial

from django.db import transaction

from alerts import blast, brakes, ladder, queries, replay, triggers, wording
from alerts.models import Budget, Rung
from alerts.refusals import Refused, refused
from alerts.replay import Event, Moment, Step
from alerts.triggers.base import Sight
from attribution import forecast, outlook
from attribution import queries as spend_queries
from costobs.kernel import fmt, money
from costobs.kernel import period as periods
from costobs.kernel.period import Days

MOST_DAYS = 366


class NotTestable(ValueError):
    """This kind of budget is not tested on the past; the message says which are."""


_HOUR = timedelta(hours=1)
_SECOND = timedelta(seconds=1)

ASSUMPTIONS = (
    "Evaluated once an hour, a second before its end, on the books as they are now: corrections that came later are in them.",
    "Forecasts are made from the days before them only, as they would have been then.",
    "Nobody approves: a step that needs approval is asked for and expires.",
    "What would have been refused stays spent, so later steps come as early as they did without the ladder.",
    (
        "Refused are the requests of an hour beyond the limit of one gate, spread evenly over its minutes, at their average cost"
        " by list prices; calls of own models without a price cost nothing. Limits on output tokens and on requests at a time"
        " refuse nothing here."
    ),
    "Each period has the amount of today, without what was prorated, carried over or borrowed.",
    "No source was late and nothing was paused; maintenance windows, quiet hours and the reach of actions are as they are now.",
    "Whether a scope was idle is not played: steps on idleness do nothing here.",
)


@dataclass(frozen=True, slots=True)
class Tested:
    """A budget and its steps, stored or drafted, in memory."""

    budget: Budget
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class PeriodPlayed:
    """One period (or the part of it in these days) with what it came to."""

    days: Days
    label: str
    amount: Decimal
    actual_cost: Decimal  # until the last day that was played
    is_over: bool  # the period ended in these days

    @property
    def used_percent(self) -> Decimal:
        return ladder.percent_of(self.actual_cost, self.amount)


@dataclass(frozen=True, slots=True)
class Backtest:
    """What would have happened on `days`; `events` in order of time, superseded ones with them."""

    name: str
    currency: str
    days: Days
    events: tuple[Event, ...]
    refusals: Mapping[int, Refused]  # by id of the event
    periods: tuple[PeriodPlayed, ...]
    false_alarms: tuple[Event, ...]  # on a forecast, in a period that then ended within its budget

    @property
    def told(self) -> list[Event]:
        """What was not superseded."""
        return [event for event in self.events if event.state != "superseded"]

    @property
    def notified(self) -> int:
        """How many alerts went out: what starts at once is told at once."""
        return len({event.at for event in self.told})

    @property
    def refused_requests(self) -> int:
        return sum(one.requests for one in self.refusals.values())

    @property
    def refused_cost(self) -> Decimal:
        return money.total(one.cost for one in self.refusals.values())

    def started_on(self, action: str) -> list[date]:
        """The days on which an action was applied without asking."""
        return sorted(
            {periods.day_of(one.at) for one in self.events if one.step.action == action and one.state == "running"}
        )

    @property
    def asked(self) -> int:
        """How often somebody was asked for approval."""
        return sum(1 for event in self.events if event.state == "waiting_approval")


def of_budget(*, budget_id: int, teams: queries.Teams) -> Tested:
    """A budget with its active steps. Raises queries.NotFound."""
    row = Budget.objects.filter(pk=budget_id).first()
    if row is None or not queries.may_see(row, teams):
        raise queries.NotFound(f"there is no budget {budget_id}")
    rungs = Rung.objects.filter(budget=row, is_active=True).order_by("percent", "pk")
    return Tested(row, tuple(_step(rung) for rung in rungs))


def of_draft(save: Callable[[], int | None], *, budget_id: int | None = None) -> Tested:
    """What `save` would keep, as a budget in memory: it is saved, read and taken back, so that a draft is checked like any
    budget. `save` answers with the id of a new one, or changes `budget_id`. Raises what it raises.
    """
    with transaction.atomic():
        made = save()
        found = of_budget(budget_id=made or budget_id or 0, teams=None)
        transaction.set_rollback(True)
    return found


def run(*, tested: Tested, days: int, now: datetime) -> Backtest:
    """The ladder on the last `days` complete days before `now`, hour by hour. Raises ValueError for a number of days that is
    not between 1 and 366. Nothing is written.
    """
    if not 1 <= days <= MOST_DAYS:
        raise ValueError(f"expected 1 to {MOST_DAYS} days, found {days}")
    today = periods.day_of(now)
    row = tested.budget
    if row.period == "rolling" or row.zone != "UTC":
        kind = "is rolling" if row.period == "rolling" else f"has its days in {row.zone}"
        raise NotTestable(
            f"expected a budget of UTC days, weeks, months or quarters to test on the past, found one that {kind}"
        )
    scope = queries.spend_scope(row, Days(today, today))
    until = min(today, spend_queries.known_until(scope=scope, now=now))
    played = Days(until - timedelta(days=days), until)
    past = _Past(tested, played)
    events = replay.play(
        steps=tested.steps,
        moments=past.moments(),
        criticality=row.criticality,
        brake=partial(_brake, row),
        is_too_wide=partial(_is_too_wide, row),
    )
    found = _periods(row, past, played)
    return Backtest(
        name=row.name,
        currency=row.currency,
        days=played,
        events=tuple(events),
        refusals=_refusals(row, events, played),
        periods=found,
        false_alarms=_false_alarms(events, found),
    )


def sentence(found: Backtest) -> str:
    """`On the last 90 days this ladder would have notified 4×, throttled on 12 Oct and 27 Oct, refused 31 requests worth
    $812, 2 false alarms.`
    """
    parts = [f"notified {found.notified}×"]
    for action, verb in (("throttle", "throttled"), ("reroute", "rerouted"), ("shutdown", "shut down")):
        days = found.started_on(action)
        if days:
            parts.append(f"{verb} on {_listed(days)}")
    if found.asked:
        parts.append(f"asked for approval {found.asked}×")
    if found.refusals:
        worth = fmt.money(found.refused_cost, found.currency, mode="kpi")
        parts.append(f"refused {fmt.integer(found.refused_requests)} requests worth {worth}")
    alarms = len(found.false_alarms)
    parts.append(f"{alarms or 'no'} false alarm{'' if alarms == 1 else 's'}")
    return (
        f"On the {len(found.days)} days to {fmt.short_day(found.days.last)} this ladder would have {', '.join(parts)}."
    )


def _listed(days: Sequence[date]) -> str:
    """`12 Oct and 27 Oct`, or the first few of many."""
    shown = [fmt.short_day(day) for day in days[:4]]
    if len(days) > len(shown):
        return f"{', '.join(shown)} and {len(days) - len(shown)} more days"
    return " and ".join(filter(None, [", ".join(shown[:-1]), shown[-1]]))


class _Past:
    """The hours of a budget's scope and what was expected on each of their days."""

    def __init__(self, tested: Tested, played: Days) -> None:
        self.row, self.played = tested.budget, played
        self.steps = [(step, triggers.KINDS[step.trigger]()) for step in tested.steps]
        self.is_forecast = any(step.trigger == "forecast" for step in tested.steps)
        first = periods.budget_period(self.row.period, played.start).start
        self.loaded = Days(min(first, played.start), played.end)
        asked = queries.spend_scope(self.row, self.loaded)
        self._read_hours()
        history = Days(self.loaded.start - timedelta(days=forecast.MAX_DAYS), played.end)
        wide = asked.during(history)
        self.by_day = {one.day: one.cost for one in spend_queries.spend_by_day(scope=wide)} if self.is_forecast else {}
        self.adjusted = spend_queries.adjusted_by_day(scope=wide) if self.is_forecast else {}

    def _read_hours(self) -> None:
        """Spend by the hour, and the calls, as far back as a step looks."""
        back = [ahead for step, kind in self.steps if (ahead := kind.needs_hours(step.config)) is not None]
        calls = [ahead for step, kind in self.steps if (ahead := kind.needs_calls(step.config)) is not None]
        self.hours_back, self.calls_back = max(back, default=timedelta(0)), max(calls, default=timedelta(0))
        days = Days(min(self.loaded.start, periods.day_of(self.played.start_at - self.hours_back)), self.loaded.end)
        scope = queries.spend_scope(self.row, days)
        self.hours = {one.hour: one.cost for one in spend_queries.spend_by_hour(scope=scope)}
        since, until = self.played.start_at - self.calls_back, self.played.end_at
        found = spend_queries.usage_by_hour(scope=scope, since=since, until=until) if calls else []
        self.calls = {one.hour: one.estimated_cost for one in found}

    def moments(self) -> Iterator[Moment]:
        """An evaluation a second before the end of each hour."""
        spent, period = Decimal(0), Days(date.min, date.min)
        for day in self.loaded:
            if day not in period:
                period, spent = periods.budget_period(self.row.period, day), Decimal(0)
            ahead = self._ahead(period, day) if day in self.played else None
            complete = spent
            start = Days(day, day + timedelta(days=1)).start_at
            for hour in (start + number * _HOUR for number in range(24)):
                spent = money.EXACT.add(spent, self.hours.get(hour, Decimal(0)))
                if day in self.played:
                    expected = self._forecast(ahead, period, day, complete, spent)
                    seen = self._sight(hour + _HOUR - _SECOND, period, spent, expected, is_naive=ahead is None)
                    yield self._moment(seen, period)

    def _sight(self, now: datetime, period: Days, spent: Decimal, expected: Decimal | None, *, is_naive: bool) -> Sight:
        return Sight(
            now=now,
            zone=self.row.zone,
            amount=self.row.amount,
            starts_at=period.start_at,
            ends_at=period.end_at,
            spend_cost=spent,
            forecast_cost=expected,
            is_naive=is_naive,
            hours=_recent(self.hours, now, self.hours_back),
            calls=_recent(self.calls, now, self.calls_back),
        )

    def _moment(self, seen: Sight, period: Days) -> Moment:
        """What each step measures, in percent; what is not measured here is unknown."""
        untils = {step.id: kind.until(step.config, seen.zone, seen.now) for step, kind in self.steps}
        return Moment(
            at=seen.now,
            period_start=period.start,
            ends_at=period.end_at,
            levels={
                step.id: kind.level(step.config, seen, is_enforcing=step.action in ladder.ENFORCING)
                for step, kind in self.steps
            },
            untils={number: until for number, until in untils.items() if until is not None},
        )

    def cost(self, days: Days) -> Decimal:
        """What the hours of these days cost."""
        return money.total(cost for hour, cost in self.hours.items() if days.start_at <= hour < days.end_at)

    def _ahead(self, period: Days, day: date) -> outlook.Outlook | None:
        """What was expected in the morning of a day, from the days before it."""
        if not self.is_forecast:
            return None
        known = {one: cost for one, cost in self.by_day.items() if one < day}
        adjusted = {one: cost for one, cost in self.adjusted.items() if one < day}
        found = outlook.with_costs(by_day=known, adjusted=adjusted, period=period, until=day, today=day)
        return found if found is not None and found.is_interval else None

    def _forecast(
        self, ahead: outlook.Outlook | None, period: Days, day: date, complete: Decimal, spent: Decimal
    ) -> Decimal | None:
        """The forecast of an evaluation: the morning's, lifted by what the day has cost, or the naive pace."""
        if not self.is_forecast:
            return None
        corrected = money.total(cost for one, cost in self.adjusted.items() if one in period and one < day)
        today = self.adjusted.get(day, Decimal(0))
        if ahead is not None:
            moved = [
                outlook.OutlookDay(one.day, one.expected + today, one.low + today, one.high + today)
                for one in ahead.days
            ]
            return outlook.lifted(moved, today=day, spent_cost=spent)[-1].expected
        pace = ladder.naive_pace(
            days=period,
            complete=period.until(day),
            complete_cost=complete - corrected,
            spend_cost=spent,
            adjusted_cost=corrected + today,
        )
        return None if pace is None else pace.forecast_cost


def _recent(costs: Mapping[datetime, Decimal], now: datetime, back: timedelta) -> list[tuple[datetime, Decimal]] | None:
    """The hours that begin in the time before `now`, in order; None where nobody looks back."""
    if not back:
        return None
    first = (now - back).replace(minute=0, second=0, microsecond=0) + _HOUR
    hours = (first + number * _HOUR for number in range(int((now - first) // _HOUR) + 1))
    return [(hour, costs[hour]) for hour in hours if hour in costs]


def _brake(row: Budget, at: datetime) -> replay.Brake:
    """The maintenance windows and quiet hours as they are set now, at that moment."""
    hold = brakes.now_on(now=at)
    return replay.Brake(
        is_maintenance=hold.open_until("maintenance", row.scope) is not None,
        is_quiet=hold.open_until("quiet", row.scope) is not None,
    )


def _is_too_wide(row: Budget, step: Step, at: datetime) -> bool:
    own = step.config.get("max_share_percent")
    share = ladder.widest_percent(None if own is None else Decimal(own), criticality=row.criticality)
    keys = step.config.get("max_keys")
    if share is None and keys is None:
        return False
    return blast.reach(budget=row, now=at).is_too_wide(max_share_percent=share, max_keys=keys)


def _periods(row: Budget, past: _Past, played: Days) -> tuple[PeriodPlayed, ...]:
    found, day = [], played.start
    while day < played.end:
        days = periods.budget_period(row.period, day)
        label = wording.period(row.period, days)
        actual = past.cost(Days(days.start, min(days.end, played.end)))
        found.append(PeriodPlayed(days, label, row.amount, actual, days.end <= played.end))
        day = days.end
    return tuple(found)


def _false_alarms(events: Sequence[Event], played: Sequence[PeriodPlayed]) -> tuple[Event, ...]:
    kept = {one.days.start for one in played if one.is_over and one.actual_cost <= one.amount}
    return tuple(
        event
        for event in events
        if event.state != "superseded" and event.period_start in kept and replay.is_warning(event.step)
    )


def _refusals(row: Budget, events: Sequence[Event], played: Days) -> dict[int, Refused]:
    if not any(event.state == "running" and event.step.action in ladder.ENFORCING for event in events):
        return {}
    calls = spend_queries.usage_by_hour(
        scope=queries.spend_scope(row, played), since=played.start_at, until=played.end_at
    )
    return refused(events=events, calls=calls, until=played.end_at)


def _step(rung: Rung) -> Step:
    return Step(
        id=rung.pk,
        percent=rung.percent,
        action=rung.action,
        config=rung.config,
        approval=rung.approval,
        expires_after_hours=rung.expires_after_hours,
        trigger=rung.trigger,
    )
