"""What the open days of a period will cost: expected, and an 80 % interval of their sum, by the method that did best before.

Pure: daily costs of complete days in, running totals of the days ahead out. Statsmodels does the smoothing; this module
cleans the history, plays each method over the past of the same history, takes the best and widens its interval to what it
missed. The same input gives the same answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from functools import lru_cache

import numpy as np

from attribution import forecast_paths
from attribution.forecast_paths import WEEK, Array

NAIVE_PACE = "naive pace"
MIN_DAYS = 31  # complete days of history; with fewer nothing can be tested on the past
MAX_DAYS = 196  # older days say little about the next weeks
MIN_PACE_DAYS = 3
COVERAGE = Decimal("0.8")  # of the interval

_ORIGINS = 10
_TRAINED_DAYS = 21  # the fewest days a method is tested on
_SPIKE = 6.0  # robust standard deviations from the level of its fortnight
_STEADY = 3.0  # the same for a day of the month, which has to be so in each of at least three months
_MONTHS = 3
_UNSURE = (
    1.5  # how much wider than its model says an interval is where nothing was tested: models are too sure of themselves
)
# What is best of many on ten tests was often lucky; the average of two methods has to be clearly worse to be passed over.
_TRUST = {"average and smoothing": 0.85}
_MICRO = Decimal("0.000001")
_CENTI = Decimal("0.01")
_MOST_PERCENT = Decimal("99999.99")


@dataclass(frozen=True, slots=True)
class DayAhead:
    """The running total of the days ahead at the end of `day`; between `low` and `high` in 80 of 100 cases."""

    day: date
    expected: Decimal
    low: Decimal
    high: Decimal


@dataclass(frozen=True, slots=True)
class Forecast:
    """What the days ahead cost together is the total of the last one.

    `error_percent` is what the sums of `tested_days` days were off in `tests` forecasts of the past, by this method;
    `pace_error_percent` by the naive pace on the same days (None: the period is too young for one).
    """

    days: tuple[DayAhead, ...]
    method: str
    error_percent: Decimal | None
    pace_error_percent: Decimal | None
    tests: int
    tested_days: int
    history_days: int


@dataclass(frozen=True, slots=True)
class _History:
    """Costs of consecutive days without what does not go on: spikes, and what falls on a day of the month."""

    costs: Array
    spikes: Array  # what was taken away, on the days that had it
    by_month_day: dict[int, float]  # day of the month (0: the last one) -> what comes on top there


@dataclass(slots=True)
class _Tried:
    """One method over the past: what it said and what came."""

    name: str
    said: list[float]
    came: list[float]
    misses: list[float]  # how often the half of the interval the miss was

    @property
    def score(self) -> float:
        """The sum of the misses over the sum of what came."""
        missed = sum(abs(said - came) for said, came in zip(self.said, self.came, strict=True))
        whole = sum(abs(came) for came in self.came)
        return missed / whole if whole else (np.inf if missed else 0.0)


def of(*, costs: Sequence[Decimal | None], until: date, ahead: int, elapsed: int) -> Forecast | None:
    """The `ahead` days from `until` on, from the costs of the complete days before it (None: not known, which is not zero).

    `elapsed` of them are the complete days of the period, which is what a naive pace knows. Days before the first cost do
    not count; None with fewer than 31 known days after that, and with no day ahead.
    """
    first = next((index for index, cost in enumerate(costs) if cost), len(costs))
    # The window moves on by four weeks at once, so that what was fitted to the past yesterday need not be fitted again.
    oldest = len(costs) - MAX_DAYS
    oldest += -(until.toordinal() + oldest - len(costs)) % (4 * WEEK)
    kept = tuple(costs[max(first, oldest, 0) :])
    if ahead < 1 or sum(cost is not None for cost in kept) < MIN_DAYS:
        return None
    return _of(kept, until, ahead, elapsed)


@lru_cache(maxsize=512)
def _of(costs: tuple[Decimal | None, ...], until: date, ahead: int, elapsed: int) -> Forecast:
    known = np.array([cost is not None for cost in costs])
    series = _filled(np.array([np.nan if cost is None else cost for cost in costs], dtype=np.float64))
    names = [name for name in forecast_paths.METHODS if name != NAIVE_PACE or elapsed >= MIN_PACE_DAYS]
    tested = min(ahead, max(WEEK, len(series) // 3), len(series) - _TRAINED_DAYS)
    tried = _backtest(series, known, until, tested, elapsed, names)
    best = _best(tried)
    paths = _paths(best.name, series, until, ahead, elapsed)
    while paths is None:  # it could be fitted on each part of the past, but not on the whole
        tried.remove(best)
        best = _best(tried)
        paths = _paths(best.name, series, until, ahead, elapsed)
    pace = next((one for one in tried if one.name == NAIVE_PACE), None)
    return Forecast(
        days=_days(paths, until, _widening(best.misses)),
        method=best.name,
        error_percent=_percent(best.score),
        pace_error_percent=None if pace is None else _percent(pace.score),
        tests=len(best.said),
        tested_days=tested,
        history_days=int(known.sum()),
    )


def _backtest(
    series: Array, known: Array, until: date, tested: int, elapsed: int, names: Sequence[str]
) -> list[_Tried]:
    """Every method from up to ten days of the past on, each knowing only what came before; those that never fail."""
    origins = _origins(len(series), tested, until)
    found = [_Tried(name, [], [], []) for name in names]
    for origin in origins:
        is_known = known[origin : origin + tested]
        came = series[origin : origin + tested][is_known].sum()
        day = until - timedelta(days=len(series) - origin)
        for one in list(found):
            paths = _paths(one.name, series[:origin], day, tested, elapsed)
            if paths is None:
                found.remove(one)
                continue
            sums = paths[is_known].sum(axis=0)
            said = sums.mean()
            low, high = np.quantile(sums, [0.1, 0.9])
            half = high - said if came > said else said - low
            one.said.append(said)
            one.came.append(came)
            one.misses.append(abs(came - said) / half if half > 0 else (0.0 if came == said else 4.0))
    return found


def _origins(length: int, tested: int, until: date) -> list[int]:
    """Where the tests begin: each Monday, the last ten that leave `tested` days; with a short history any days it has."""
    last = length - tested
    first_day = until.toordinal() - length
    mondays = [index for index in range(_TRAINED_DAYS, last + 1) if (first_day + index) % WEEK == 1][-_ORIGINS:]
    if len(mondays) >= _ORIGINS // 2:
        return mondays
    return sorted({round(origin) for origin in np.linspace(max(_TRAINED_DAYS, last - 5 * WEEK), last, _ORIGINS)})


def _best(tried: Sequence[_Tried]) -> _Tried:
    return min(tried, key=lambda one: one.score * _TRUST.get(one.name, 1.0))


def _paths(name: str, series: Array, day: date, ahead: int, elapsed: int) -> Array | None:
    """Paths of a method from the days before `day`; None where it cannot be fitted to them."""
    history = _cleaned(series.tobytes(), day)
    try:
        paths = forecast_paths.METHODS[name](history.costs, ahead, min(elapsed, len(series)))
    except (ValueError, ArithmeticError, np.linalg.LinAlgError):
        return None
    if len(history.spikes) > 1:
        # What happened once was an accident; what happened more often may happen again.
        random = np.random.default_rng(len(series))
        hits = random.random(paths.shape) < len(history.spikes) / len(series)
        paths = paths + hits * random.choice(history.spikes, size=paths.shape)
    if history.by_month_day and name != NAIVE_PACE:
        days = (day + timedelta(days=offset) for offset in range(ahead))
        paths = paths + np.array([history.by_month_day.get(_month_day(one), 0.0) for one in days])[:, None]
    return paths


def _days(paths: Array, until: date, widening: float) -> tuple[DayAhead, ...]:
    """The running totals of the paths. What is spent is spent: no total of days ahead is below zero."""
    running = np.cumsum(paths, axis=0)
    means = np.maximum(running.mean(axis=1), 0)
    lows, highs = np.quantile(running, [0.1, 0.9], axis=1)
    lows, highs = means - (means - lows) * widening, means + (highs - means) * widening
    return tuple(
        DayAhead(until + timedelta(days=index), _money(mean), _money(min(max(low, 0), mean)), _money(max(high, mean)))
        for index, (mean, low, high) in enumerate(zip(means, lows, highs, strict=True))
    )


def _widening(misses: Sequence[float]) -> float:
    """By what an interval has to be stretched to have held 80 % of the past; with few tests drawn towards a wide one."""
    if not misses:
        return _UNSURE
    rank = min(1.0, 0.8 * (len(misses) + 1) / len(misses))
    needed = np.quantile(np.array(misses), rank)
    weight = len(misses) / (len(misses) + 5)
    wanted: float = min(max(weight * needed + (1 - weight) * _UNSURE, 0.9), 4.0)
    return wanted


@lru_cache(maxsize=128)
def _cleaned(data: bytes, until: date) -> _History:
    """Takes out what falls on the same day of each month, and spikes of one or two days; from three days on it is a level."""
    series = np.frombuffer(data)
    weekdays = _weekly(series)
    off = series - _level(series) - weekdays
    # The scatter of most days; a flat series still has a scale, or every cent would be a spike.
    scale = max(1.4826 * np.median(np.abs(off)), 0.02 * np.abs(series).mean())
    by_month_day = _by_month_day(off, scale, until)
    days = [until - timedelta(days=len(series) - index) for index in range(len(series))]
    monthly = np.array([by_month_day.get(_month_day(day), 0.0) for day in days])
    is_spike = np.abs(off - monthly) > _SPIKE * scale if scale else np.zeros(len(series), dtype=bool)
    for start, end in _runs(is_spike):
        if end - start > 2:
            is_spike[start:end] = False
    costs = series - monthly
    spikes = (off - monthly)[is_spike]
    costs[is_spike] -= spikes
    return _History(costs, spikes, by_month_day)


def _by_month_day(off: Array, scale: float, until: date) -> dict[int, float]:
    """What comes on top on a day of the month, where it did so in every month there is, at least three."""
    found: dict[int, list[float]] = {}
    for index, extra in enumerate(off):
        found.setdefault(_month_day(until - timedelta(days=len(off) - index)), []).append(extra)
    return {
        day: np.median(extras)
        for day, extras in found.items()
        if len(extras) >= _MONTHS and scale and (min(extras) > _STEADY * scale or max(extras) < -_STEADY * scale)
    }


def _month_day(day: date) -> int:
    return 0 if (day + timedelta(days=1)).day == 1 else day.day


def _level(series: Array) -> Array:
    """The median of the fortnight around each day."""
    padded = np.pad(series, WEEK, mode="reflect")
    found: Array = np.median(np.lib.stride_tricks.sliding_window_view(padded, 2 * WEEK + 1), axis=1)
    return found


def _weekly(series: Array) -> Array:
    """What each weekday usually is above or below its level; robust against single days."""
    off = series - _level(series)
    shape = [np.median(off[start::WEEK]) for start in range(WEEK)]
    found: Array = np.resize(np.array(shape), len(series))
    return found


def _runs(marked: Array) -> list[tuple[int, int]]:
    """Where marked days stand side by side."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], marked.astype(int), [0]))))
    return [(int(start), int(end)) for start, end in edges.reshape(-1, 2)]


def _filled(series: Array) -> Array:
    """Unknown days get the average of the same weekday before and after, or of all days."""
    for index in np.flatnonzero(np.isnan(series)):
        near = [series[other] for other in (index - WEEK, index + WEEK) if 0 <= other < len(series)]
        usable = [one for one in near if not np.isnan(one)]
        series[index] = np.mean(usable) if usable else np.nanmean(series)
    return series


def _money(value: float) -> Decimal:
    return Decimal(str(round(value, 6))).quantize(_MICRO, ROUND_HALF_EVEN)


def _percent(score: float) -> Decimal | None:
    if not np.isfinite(score):
        return None
    return min(Decimal(str(round(100 * score, 2))).quantize(_CENTI), _MOST_PERCENT)
