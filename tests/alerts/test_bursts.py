"""The burn of an hour against the same hour of past weeks."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from alerts import bursts

NOW = datetime(2026, 11, 24, 14, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


def usual(weeks: int, *, cost: str = "10", until: datetime = NOW) -> list[tuple[datetime, Decimal]]:
    """The same cost in every hour of so many weeks before `until`."""
    return [(until - HOUR * back, Decimal(cost)) for back in range(1, weeks * 7 * 24 + 1)]


def test_it_is_a_hundred_when_all_is_as_always() -> None:
    hours = [*usual(4), (NOW, Decimal(5))]

    assert bursts.level(hours, NOW + HOUR / 2) == 100


@pytest.mark.parametrize("weeks", [0, 1, 2])
def test_it_says_nothing_with_too_few_weeks(weeks: int) -> None:
    assert bursts.level([*usual(weeks), (NOW, Decimal(500))], NOW + HOUR / 2) is None


def test_it_does_not_blow_up_the_first_minute_of_an_hour() -> None:
    hours = [*usual(4), (NOW, Decimal(1))]

    found = bursts.level(hours, NOW + timedelta(minutes=1))

    assert found is not None
    assert Decimal(100) < found < Decimal(115)


def test_it_compares_with_the_same_hour_and_not_with_the_average() -> None:
    busy = [(at, Decimal(40) if at.hour in {13, 14} else Decimal(1)) for at, _cost in usual(4)]

    assert bursts.level([*busy, (NOW, Decimal(20))], NOW + HOUR / 2) == 100


def test_it_wakes_nobody_for_cents() -> None:
    found = bursts.level([*usual(4, cost="0.01"), (NOW, Decimal("0.50"))], NOW + HOUR / 2)

    assert found is not None
    assert found < 100


def test_it_adds_up_rows_of_the_same_hour_in_any_order() -> None:
    halves = [(at, cost / 2) for at, cost in [*usual(4), (NOW, Decimal(30))]]

    assert bursts.level([*halves, *reversed(halves)], NOW + HOUR / 2) == bursts.level(
        [*usual(4), (NOW, Decimal(30))], NOW + HOUR / 2
    )


def minutes_to_alarm(*, times: int, starts_at_minute: int) -> int | None:
    """A scripted stream of one call a minute: how many minutes after the runaway began it is told."""
    hours = dict(usual(4))
    for minute in range(180):
        now = NOW + timedelta(minutes=minute)
        at = now.replace(minute=0)
        rate = Decimal(10) / 60 * (times if minute >= starts_at_minute else 1)
        hours[at] = hours.get(at, Decimal(0)) + rate
        found = bursts.level(list(hours.items()), now + timedelta(minutes=1))
        if found is not None and found >= bursts.ALARM_PERCENT:
            return minute + 1 - starts_at_minute
    return None


@pytest.mark.parametrize(("times", "expected"), [(4, 50), (6, 28), (10, 16), (30, 5)])
@pytest.mark.parametrize("starts_at_minute", [0, 20, 50, 59])
def test_it_catches_a_runaway_within_the_hour(times: int, expected: int, starts_at_minute: int) -> None:
    found = minutes_to_alarm(times=times, starts_at_minute=starts_at_minute)

    assert found is not None
    assert found <= expected


def test_it_does_not_alarm_for_a_stream_as_always() -> None:
    assert minutes_to_alarm(times=1, starts_at_minute=0) is None
    assert minutes_to_alarm(times=2, starts_at_minute=0) is None
