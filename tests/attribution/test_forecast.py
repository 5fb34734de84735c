"""Forecasts of the days ahead: what they may know, what they say about weekdays and months, and how sure they are."""

from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal

import numpy as np
import pytest

from attribution import forecast
from attribution.forecast_paths import METHODS

UNTIL = date(2026, 11, 10)
SHARE = {5: Decimal("0.4"), 6: Decimal("0.3")}


def weekday_cost(day: date) -> Decimal:
    """A hundred on working days, less on weekends."""
    return 100 * SHARE.get(day.weekday(), Decimal(1))


def history(days: int, cost: Callable[[date], Decimal] = weekday_cost, *, noise: float = 0.0) -> list[Decimal | None]:
    """The days before UNTIL."""
    random = np.random.default_rng(5)
    dates = [UNTIL - timedelta(days=days - index) for index in range(days)]
    return [cost(day) * Decimal(str(round(1 + noise * random.standard_normal(), 6))) for day in dates]


def made(costs: list[Decimal | None], *, ahead: int = 21, elapsed: int = 9) -> forecast.Forecast:
    found = forecast.of(costs=costs, until=UNTIL, ahead=ahead, elapsed=elapsed)
    assert found is not None
    return found


def ahead_cost(days: int, cost: Callable[[date], Decimal] = weekday_cost) -> Decimal:
    return sum((cost(UNTIL + timedelta(days=offset)) for offset in range(days)), Decimal(0))


def test_it_knows_weekdays_that_a_naive_pace_does_not() -> None:
    found = made(history(90), ahead=4)

    assert abs(found.days[-1].expected - ahead_cost(4)) < 1
    assert found.method != forecast.NAIVE_PACE
    assert found.error_percent is not None and found.pace_error_percent is not None
    assert found.error_percent < 2 < found.pace_error_percent


@pytest.mark.parametrize("days", [0, 2, 30])
def test_it_says_nothing_with_fewer_than_31_complete_days(days: int) -> None:
    assert forecast.of(costs=history(days), until=UNTIL, ahead=21, elapsed=9) is None


def test_it_says_something_with_31() -> None:
    assert made(history(31)).history_days == 31


def test_it_does_not_count_days_before_the_first_cost_as_history() -> None:
    costs: list[Decimal | None] = [Decimal(0)] * 100

    assert forecast.of(costs=[*costs, *history(30)], until=UNTIL, ahead=21, elapsed=9) is None
    assert made([*costs, *history(40)]).history_days == 40


def test_it_does_not_take_missing_days_for_zero() -> None:
    costs = history(60)
    for index in (20, 21, 22, 50, 51):
        costs[index] = None

    found = made(costs, ahead=14)

    assert found.history_days == 55
    assert abs(found.days[-1].expected - ahead_cost(14)) < ahead_cost(14) / 20


def test_it_sees_what_comes_at_the_end_of_each_month() -> None:
    def cost(day: date) -> Decimal:
        return weekday_cost(day) + (600 if (day + timedelta(days=1)).day == 1 else 0)

    found = made(history(130, cost, noise=0.05))

    jump = found.days[-1].expected - found.days[-2].expected
    assert found.days[-1].day == date(2026, 11, 30)
    assert 600 < jump < 800


def test_it_follows_a_new_level() -> None:
    def cost(day: date) -> Decimal:
        return weekday_cost(day) * (3 if day >= UNTIL - timedelta(days=25) else 1)

    found = made(history(100, cost, noise=0.05), ahead=14)

    assert abs(found.days[-1].expected / (3 * ahead_cost(14)) - 1) < Decimal("0.2")


def test_it_does_not_carry_on_one_accident() -> None:
    costs = history(90, noise=0.03)
    costs[-5] = Decimal(5000)

    found = made(costs, ahead=14)

    assert abs(found.days[-1].expected / ahead_cost(14) - 1) < Decimal("0.15")


def test_it_lives_with_credits_and_never_unspends_what_is_spent() -> None:
    costs = history(60, noise=0.1)
    for index in (10, 31, 59):
        costs[index] = Decimal(-4000)

    found = made(costs, ahead=3)

    assert all(day.low >= 0 and day.expected >= day.low and day.high >= day.expected for day in found.days)


@pytest.mark.parametrize("cost", ["0", "5"])
def test_it_expects_of_a_constant_the_constant(cost: str) -> None:
    costs: list[Decimal | None] = [Decimal(7), *[Decimal(cost)] * 40]

    found = made(costs, ahead=10)

    assert found.days[-1].expected == 10 * Decimal(cost)


def test_it_gives_an_interval_of_the_sum_and_not_the_sum_of_intervals() -> None:
    found = made(history(120, noise=0.2), ahead=21)

    one, whole = found.days[0], found.days[-1]
    assert (one.high - one.low) < (whole.high - whole.low) < 21 * (one.high - one.low)


def test_it_answers_the_same_twice() -> None:
    first = made(history(90, noise=0.2))
    forecast._of.cache_clear()

    assert made(history(90, noise=0.2)) == first


def test_it_knows_nothing_of_what_comes_after() -> None:
    whole = history(120, noise=0.2)
    other = [*whole[:100], *[Decimal(9999)] * 20]
    day = UNTIL - timedelta(days=20)

    assert forecast.of(costs=whole[:100], until=day, ahead=20, elapsed=9) == forecast.of(
        costs=other[:100], until=day, ahead=20, elapsed=9
    )


def test_it_leaves_the_naive_pace_out_in_the_first_days_of_a_period() -> None:
    found = made(history(90, noise=0.2), ahead=29, elapsed=1)

    assert found.method != forecast.NAIVE_PACE
    assert found.pace_error_percent is None


def test_it_says_by_how_much_it_missed_before_and_how_often_it_was_tried() -> None:
    found = made(history(90, noise=0.1))

    assert found.method in METHODS
    assert found.tests > 5 and found.tested_days == 21
    assert found.error_percent is not None and 0 < found.error_percent < 15


def test_it_holds_most_of_what_comes_in_its_interval() -> None:
    held = []
    for seed in range(25):
        random = np.random.default_rng([3, seed])
        noise = [Decimal(str(round(1 + 0.15 * random.standard_normal(), 6))) for _ in range(104)]
        days = [UNTIL - timedelta(days=90 - index) for index in range(104)]
        costs: list[Decimal | None] = [weekday_cost(day) * one for day, one in zip(days, noise, strict=True)]

        end = made(costs[:90], ahead=14).days[-1]

        came = sum((cost for cost in costs[90:] if cost is not None), Decimal(0))
        held.append(end.low <= came <= end.high)

    assert 16 <= sum(held) <= 25
