"""What a ladder would have done on days that are over, from the books as they are now.

Every hour that is over is evaluated once, a second before its end, with `decisions.decide`, as the live path does each second.
A forecast of a past day is made from the days before it. Nobody approves anything, no source is late, and what a throttle
or a shutdown would have kept from being spent stays spent: the hours are the ones that were.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import partial
from zoneinfo import ZoneInfo

from django.db import transaction

from alerts import blast, brakes, expected, ladder, queries, replay, spans, wording
from alerts.models import Budget, Rung
from alerts.pasts import Past, utc_days
from alerts.refusals import Refused, refused, rerouted
from alerts.replay import Event, Step
from attribution import queries as spend_queries
from costobs.kernel import fmt, money
from costobs.kernel import period as periods
from costobs.kernel.period import Days

MOST_DAYS = 366


class NotTestable(ValueError):
    """The budget did not run on the days asked for; the message says when it does."""


_SECOND = timedelta(seconds=1)

ASSUMPTIONS = (
    "Evaluated once an hour, a second before its end, on the books as they are now: corrections that came later are in them.",
    "Forecasts are made from the days before them only, as they would have been then.",
    "Nobody approves: a step that needs approval is asked for and expires.",
    "What would have been refused stays spent, so later steps come as early as they did without the ladder.",
    (
        "Refused are the requests of an hour beyond the limit of one gate, spread evenly over its minutes, at their average cost"
        " by list prices; calls of own models without a price cost nothing. Limits on output tokens and on requests at a time"
        " refuse nothing here. Requests that a reroute would have sent elsewhere are counted; what that saves is not known."
    ),
    (
        "Each period has the amount as it is now, by days where the budget has only a part of it, with what was carried over"
        " and borrowed there where that was written down, else without."
    ),
    "Days, periods and exchange rates are the budget's own; a rolling budget has its window of each of these days.",
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
    """One period (or the part of it in these days) with what it came to; of a rolling budget one window beside the other."""

    days: Days
    starts_at: datetime
    ends_at: datetime
    label: str
    amount: Decimal
    actual_cost: Decimal  # until the last day that was played
    is_over: bool  # the period ended in these days

    @property
    def used_percent(self) -> Decimal:
        return ladder.percent_of(self.actual_cost, self.amount)

    def holds(self, event: Event) -> bool:
        """Whether the event was in it."""
        return self.starts_at <= event.at < self.ends_at


@dataclass(frozen=True, slots=True)
class Backtest:
    """What would have happened on `days` of the zone; `events` in order of time, superseded ones with them."""

    name: str
    currency: str
    zone: str
    days: Days
    events: tuple[Event, ...]
    refusals: Mapping[int, Refused]  # by id of the event
    rerouted: Mapping[int, int]  # requests, by id of the event
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
    def rerouted_requests(self) -> int:
        return sum(self.rerouted.values())

    @property
    def refused_cost(self) -> Decimal:
        return money.total(one.cost for one in self.refusals.values())

    def started_on(self, action: str) -> list[date]:
        """The days on which an action was applied without asking."""
        begun = [one.at for one in self.events if one.step.action == action and one.state == "running"]
        return sorted({at.astimezone(ZoneInfo(self.zone)).date() for at in begun})

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
    """The ladder on the last `days` complete days of its zone before `now`, hour by hour. Raises ValueError for a number of
    days that is not between 1 and 366, NotTestable where the budget did not run on them. Nothing is written.
    """
    if not 1 <= days <= MOST_DAYS:
        raise ValueError(f"expected 1 to {MOST_DAYS} days, found {days}")
    row = tested.budget
    played = _played(row, days, now)
    past = Past(row, tested.steps, played)
    events = replay.play(
        steps=tested.steps,
        moments=past.moments(),
        until=past.ends_at - _SECOND,
        criticality=row.criticality,
        brake=partial(_brake, row),
        is_too_wide=partial(_is_too_wide, row),
    )
    found = tuple(_periods(past))
    refusals, moved = _refusals(past, events)
    return Backtest(
        name=row.name,
        currency=row.currency,
        zone=row.zone,
        days=played,
        events=tuple(events),
        refusals=refusals,
        rerouted=moved,
        periods=found,
        false_alarms=_false_alarms(past, events, found),
    )


def _played(row: Budget, days: int, now: datetime) -> Days:
    """The last complete days. Raises NotTestable."""
    today = periods.day_of(now)
    known = spend_queries.known_until(scope=queries.spend_scope(row, Days(today, today)), now=now)
    until = min(spans.today(row, now), expected.complete_until(row, min(today, known)))
    played = Days(until - timedelta(days=days), until)
    begins_late = row.starts_on is not None and row.starts_on >= played.end
    if begins_late or (row.ends_on is not None and row.ends_on <= played.start):
        when = f"begins on {row.starts_on}" if begins_late else f"ended before {row.ends_on}"
        raise NotTestable(
            f"expected a budget that ran on some of the days from {played.start} to {played.last}, found one that {when}"
        )
    return played


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
    if found.rerouted_requests:
        parts.append(f"sent {fmt.integer(found.rerouted_requests)} requests elsewhere")
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


def _periods(past: Past) -> Iterable[PeriodPlayed]:
    """The periods of these days; of a rolling budget the windows that lie beside each other, back from the last."""
    row, played = past.row, past.played
    if row.period == spans.ROLLING:
        length = row.rolling_days or 1
        ends = range(len(played) % length or length, len(played) + 1, length)
        lasts = [played.start + timedelta(days=end - 1) for end in ends]
        found = [spans.on(row, last) for last in lasts]
    else:
        found, span = [], spans.on(row, played.start)
        while span.days.start < played.end:
            found.append(span)
            following = spans.after(row, span)
            if following is None:
                break
            span = following
    for span in found:
        yield PeriodPlayed(
            days=span.days,
            starts_at=span.starts_at,
            ends_at=span.ends_at,
            label=wording.period(row.period, span.days),
            amount=past.amount(span),
            actual_cost=past.cost(span.days.until(played.end)),
            is_over=span.days.end <= played.end,
        )


def _false_alarms(past: Past, events: Sequence[Event], played: Sequence[PeriodPlayed]) -> tuple[Event, ...]:
    warnings = [one for one in events if one.state != "superseded" and replay.is_warning(one.step)]
    if past.row.period == spans.ROLLING:
        return tuple(one for one in warnings if _stayed_within(past, one))
    kept = [one for one in played if one.is_over and one.actual_cost <= one.amount]
    return tuple(event for event in warnings if any(one.holds(event) for one in kept))


def _stayed_within(past: Past, event: Event) -> bool:
    """Of a rolling budget: whether no window of the days until it had turned over passed the amount."""
    first = event.at.astimezone(past.zone).date()
    days = Days(first, first + timedelta(days=past.row.rolling_days or 1))
    windows = (spans.on(past.row, day) for day in days)
    return days.end <= past.played.end and all(past.cost(one.days) <= past.amount(one) for one in windows)


def _refusals(past: Past, events: Sequence[Event]) -> tuple[dict[int, Refused], dict[int, int]]:
    """What would have been refused, and how many requests would have been answered elsewhere."""
    if not any(event.state == "running" and event.step.action in ladder.ENFORCING for event in events):
        return {}, {}
    scope = queries.spend_scope(past.row, utc_days(past.starts_at, past.ends_at))
    calls = spend_queries.usage_by_hour(scope=scope, since=past.starts_at, until=past.ends_at)
    until = past.ends_at
    return refused(events=events, calls=calls, until=until), rerouted(events=events, calls=calls, until=until)


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
