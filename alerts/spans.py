"""The periods of a budget in time: days of a named zone, clipped to those it holds, and their part of its amount."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Protocol
from zoneinfo import ZoneInfo

from costobs.kernel import money
from costobs.kernel import period as periods
from costobs.kernel.period import Days

ROLLING = "rolling"
KINDS = ("day", "week", "month", "quarter", ROLLING)
_CENTI = Decimal("0.01")
_SECOND = timedelta(seconds=1)


class Timed(Protocol):
    """What a budget says about its periods."""

    period: str
    rolling_days: int | None
    zone: str
    starts_on: date | None
    ends_on: date | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Span:
    """One period. `days` are local days; `whole` is the calendar's period where the budget has only a part of it.

    `key_date` names the period in tables: the first day of the whole one, and for a rolling budget always the same day.
    """

    key_date: date
    days: Days
    whole: Days
    starts_at: datetime
    ends_at: datetime


def zone_of(timed: Timed) -> ZoneInfo:
    """The zone whose midnights begin the days. Raises ZoneInfoNotFoundError."""
    return ZoneInfo(timed.zone)


def midnight(day: date, zone: ZoneInfo) -> datetime:
    """The moment the day begins there, in UTC; where the clock skips midnight, the moment it does so."""
    return datetime.combine(day, datetime.min.time(), zone).astimezone(UTC)


def today(timed: Timed, now: datetime) -> date:
    """The day it is in the budget's zone."""
    return now.astimezone(zone_of(timed)).date()


def standing(timed: Timed, now: datetime) -> str:
    """`running`, `upcoming` before its first day, `ended` from its end on."""
    day = today(timed, now)
    if timed.starts_on is not None and day < timed.starts_on:
        return "upcoming"
    return "ended" if timed.ends_on is not None and day >= timed.ends_on else "running"


def current(timed: Timed, now: datetime) -> Span:
    """The period that holds now; before the first day the first period, after the end the last."""
    return on(timed, today(timed, now))


def on(timed: Timed, day: date) -> Span:
    """The period that holds this local day, or the nearest one the budget has."""
    if timed.starts_on is not None:
        day = max(day, timed.starts_on)
    if timed.ends_on is not None:
        day = min(day, timed.ends_on - timedelta(days=1))
    zone = zone_of(timed)
    whole = _whole(timed, day)
    days = Days(max(whole.start, timed.starts_on or whole.start), min(whole.end, timed.ends_on or whole.end))
    key = created_on(timed) if timed.period == ROLLING else whole.start
    return Span(key, days, whole, midnight(days.start, zone), midnight(days.end, zone))


def keyed(timed: Timed, key_date: date, now: datetime) -> Span:
    """The period that tables call `key_date`; a rolling budget has one, which is where it stands now."""
    return current(timed, now) if timed.period == ROLLING else on(timed, key_date)


def before(timed: Timed, span: Span) -> Span | None:
    """The period before; None where the budget begins. A rolling budget has none: its window moves with each day."""
    if timed.period == ROLLING or (timed.starts_on is not None and span.whole.start <= timed.starts_on):
        return None
    return on(timed, span.whole.start - timedelta(days=1))


def after(timed: Timed, span: Span) -> Span | None:
    """The period after; None where the budget ends, and for a rolling one."""
    if timed.period == ROLLING or (timed.ends_on is not None and span.whole.end >= timed.ends_on):
        return None
    return on(timed, span.whole.end)


def acts_until(timed: Timed, span: Span, now: datetime) -> datetime:
    """When an action that nothing ends earlier ends: with the period; a rolling window has turned over once by then."""
    if timed.period != ROLLING:
        return span.ends_at
    return midnight(today(timed, now) + timedelta(days=timed.rolling_days or 1), zone_of(timed))


def created_on(timed: Timed) -> date:
    """The local day the budget was made."""
    return timed.created_at.astimezone(zone_of(timed)).date()


def base_amount(amount: Decimal, currency: str, *, is_prorated: bool, span: Span) -> Decimal:
    """The amount of the period before anything is carried: by days where it has only a part of it, at the minor unit."""
    if not is_prorated or span.days == span.whole:
        return amount
    share = money.DIVISION.divide(money.EXACT.multiply(amount, Decimal(len(span.days))), Decimal(len(span.whole)))
    return money.round_minor(share, currency)


def elapsed_percent(span: Span, now: datetime) -> Decimal:
    """How much of the period is gone, 0 to 100; a day of 23 or 25 hours is as long as it is."""
    whole = (span.ends_at - span.starts_at) // _SECOND
    gone = max(0, min(whole, (now - span.starts_at) // _SECOND))
    return (Decimal(100) * gone / whole).quantize(_CENTI, rounding=ROUND_HALF_EVEN) if whole else Decimal(100)


def _whole(timed: Timed, day: date) -> Days:
    if timed.period != ROLLING:
        return periods.budget_period(timed.period, day)
    return Days(day - timedelta(days=(timed.rolling_days or 1) - 1), day + timedelta(days=1))
