"""The periods of a budget: days of a named zone, clipped to those it holds."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts import spans

MADE = datetime(2026, 3, 1, 12, tzinfo=UTC)


@dataclass
class Timed:
    period: str = "month"
    rolling_days: int | None = None
    zone: str = "UTC"
    starts_on: date | None = None
    ends_on: date | None = None
    created_at: datetime = MADE


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Berlin", "2026-03-29", 23),
        ("Europe/Berlin", "2026-10-25", 25),
        ("Europe/Berlin", "2026-06-01", 24),
        ("America/New_York", "2026-03-08", 23),
        ("America/New_York", "2026-11-01", 25),
        ("Africa/Cairo", "2026-04-24", 23),  # the clock skips midnight itself
        ("Asia/Kathmandu", "2026-06-01", 24),
    ],
)
def test_it_gives_a_day_as_many_hours_as_it_has(zone: str, day: str, hours: int) -> None:
    span = spans.on(Timed(period="day", zone=zone), date.fromisoformat(day))

    assert span.ends_at - span.starts_at == timedelta(hours=hours)


def test_it_begins_a_month_at_midnight_of_the_zone() -> None:
    span = spans.current(Timed(zone="America/New_York"), moment("2026-12-01T04:30"))

    assert span.days.start == date(2026, 11, 1)
    assert (span.starts_at, span.ends_at) == (moment("2026-11-01T04:00"), moment("2026-12-01T05:00"))


@given(
    kind=st.sampled_from(["day", "week", "month", "quarter"]),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "America/St_Johns", "Pacific/Apia", "Australia/Lord_Howe"]),
    day=st.dates(date(2020, 1, 1), date(2030, 1, 1)),
)
def test_it_leaves_no_gap_and_no_overlap_between_periods(kind: str, zone: str, day: date) -> None:
    timed = Timed(period=kind, zone=zone)
    span = spans.on(timed, day)

    following, before = spans.after(timed, span), spans.before(timed, span)

    assert following is not None and before is not None
    assert following.starts_at == span.ends_at
    assert before.ends_at == span.starts_at
    assert spans.keyed(timed, span.key_date, MADE) == span


def test_it_clips_the_first_and_the_last_period_and_keeps_their_names() -> None:
    timed = Timed(starts_on=date(2026, 11, 16), ends_on=date(2026, 12, 11))

    first = spans.current(timed, moment("2026-11-20T00:00"))
    last = spans.current(timed, moment("2026-12-05T00:00"))

    assert (first.key_date, first.days.start, first.days.end) == (
        date(2026, 11, 1),
        date(2026, 11, 16),
        date(2026, 12, 1),
    )
    assert (last.key_date, last.days.end) == (date(2026, 12, 1), date(2026, 12, 11))
    assert spans.before(timed, first) is None
    assert spans.after(timed, last) is None
    standings = [
        spans.standing(timed, moment(text)) for text in ("2026-11-15", "2026-11-16", "2026-12-10", "2026-12-11")
    ]
    assert standings == ["upcoming", "running", "running", "ended"]


def test_it_prorates_by_days_at_the_minor_unit() -> None:
    span = spans.current(Timed(starts_on=date(2026, 11, 16)), moment("2026-11-20"))

    assert spans.base_amount(Decimal(1000), "USD", is_prorated=True, span=span) == Decimal("500.00")
    assert spans.base_amount(Decimal(1000), "JPY", is_prorated=True, span=span) == Decimal(500)
    assert spans.base_amount(Decimal(1000), "USD", is_prorated=False, span=span) == Decimal(1000)


def test_it_rolls_over_today_and_the_days_before_under_one_name() -> None:
    timed = Timed(period="rolling", rolling_days=30, zone="Europe/Berlin")

    one, other = spans.current(timed, moment("2026-11-30T12:00")), spans.current(timed, moment("2026-12-01T12:00"))

    assert (one.days.start, one.days.end) == (date(2026, 11, 1), date(2026, 12, 1))
    assert one.key_date == other.key_date == date(2026, 3, 1)
    assert other.days.start == date(2026, 11, 2)
    assert spans.acts_until(timed, one, moment("2026-11-30T12:00")) == moment("2026-12-29T23:00")


def test_it_counts_the_time_gone_in_seconds_of_the_period() -> None:
    span = spans.on(Timed(period="day", zone="Europe/Berlin"), date(2026, 10, 25))

    assert spans.elapsed_percent(span, span.starts_at + timedelta(hours=12, minutes=30)) == Decimal(50)
    assert spans.elapsed_percent(span, span.ends_at + timedelta(days=9)) == Decimal(100)
