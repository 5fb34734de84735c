"""Ways a run of daily costs may go on: each method makes many equally likely paths, in statsmodels or by resampled errors.

Pure statistics on arrays of numbers. A method gets a cleaned history (one number for each day, the last one yesterday) and
answers with an array of days by paths; the sum of a path is one possible cost of those days, so an interval of the sum has
the errors of neighbouring days in it as they hang together.
"""

import warnings
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]

WEEK = 7
PATHS = 400
_SEED = 20261128
_AVERAGED_WEEKS = 4


def weekday_average(history: Array, ahead: int, elapsed: int) -> Array:
    """The average of the last four same weekdays; errors in blocks of a week, as the same average made them in the past."""
    weeks = min(_AVERAGED_WEEKS, len(history) // WEEK)
    recent = history[-weeks * WEEK :].reshape(weeks, WEEK).mean(axis=0)
    lagged = np.mean([history[WEEK * back : len(history) - WEEK * (weeks - back)] for back in range(weeks)], axis=0)
    errors = history[weeks * WEEK :] - lagged
    return _around(np.resize(recent, ahead), errors if len(errors) >= 2 * WEEK else _scatter(history))


def seasonal_naive(history: Array, ahead: int, elapsed: int) -> Array:
    """The last week once more; its errors add up from week to week."""
    errors = history[WEEK:] - history[:-WEEK]
    weeks = -(-ahead // WEEK)
    blocks = _blocks(errors, weeks * WEEK).reshape(weeks, WEEK, PATHS).cumsum(axis=0).reshape(weeks * WEEK, PATHS)
    shown: Array = np.resize(history[-WEEK:], ahead)[:, None] + blocks[:ahead]
    return shown


def naive_pace(history: Array, ahead: int, elapsed: int) -> Array:
    """The average of the `elapsed` days of the period so far; errors in blocks of a week."""
    return _around(np.full(ahead, history[-elapsed:].mean()), _scatter(history))


def smoothing(history: Array, ahead: int, elapsed: int) -> Array:
    """Exponential smoothing with a weekly season (additive, ETS ANA)."""
    return _smoothed(history, ahead, has_trend=False)


def trend(history: Array, ahead: int, elapsed: int) -> Array:
    """Exponential smoothing with a weekly season and a damped trend (ETS AAdA)."""
    return _smoothed(history, ahead, has_trend=True)


def growth(history: Array, ahead: int, elapsed: int) -> Array:
    """The same with trend in logarithms: growth and weekdays in percent. Only for costs that are always above zero."""
    if history.min() <= 0 or history.max() > 50 * np.median(history):
        raise ValueError("logarithms need costs above zero of one order")
    ceiling = 4 * history[-8 * WEEK :].max()
    paths: Array = np.minimum(np.exp(_smoothed(np.log(history), ahead, has_trend=True)), ceiling)
    return paths


def combined(history: Array, ahead: int, elapsed: int) -> Array:
    """Half the weekday average, half exponential smoothing: slower to be fooled than either."""
    paths: Array = (weekday_average(history, ahead, elapsed) + smoothing(history, ahead, elapsed)) / 2
    return paths


METHODS: Mapping[str, Callable[[Array, int, int], Array]] = {
    "weekday average": weekday_average,
    "average and smoothing": combined,
    "exponential smoothing": smoothing,
    "exponential smoothing with trend": trend,
    "exponential smoothing of growth": growth,
    "last week repeated": seasonal_naive,
    "naive pace": naive_pace,
}


def _smoothed(history: Array, ahead: int, *, has_trend: bool) -> Array:
    """Simulated paths of a fitted ETS model: a surprise moves the level, and with it every later day of the path."""
    scale = np.abs(history).mean() or 1.0
    random = np.random.default_rng(_SEED)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        fitted = _fitted((history / scale).tobytes(), has_trend)
        paths = fitted.simulate(ahead, anchor="end", repetitions=PATHS, random_errors="bootstrap", rng=random)
    found: Array = np.asarray(paths, dtype=np.float64).reshape(ahead, PATHS) * scale
    if not np.isfinite(found).all():
        raise ValueError("the fit has no finite paths")
    return found


@lru_cache(maxsize=128)
def _fitted(history: bytes, has_trend: bool) -> Any:  # a fit of statsmodels, which ships no types
    # Takes seconds to import, and only what forecasts needs it.
    from statsmodels.tsa.exponential_smoothing.ets import ETSModel

    terms = {"trend": "add", "damped_trend": True} if has_trend else {}
    model = ETSModel(
        np.frombuffer(history),
        error="add",
        seasonal="add",
        seasonal_periods=WEEK,
        initialization_method="heuristic",
        **terms,
    )
    return model.fit(disp=False, maxiter=80)  # one that did not converge shows it in its backtest


def _scatter(history: Array) -> Array:
    """How days lie around the average of the days around them."""
    kernel = np.ones(2 * WEEK) / (2 * WEEK)
    averages = np.convolve(history, kernel, mode="valid")
    errors: Array = history[2 * WEEK - 1 :] - averages
    return errors if len(errors) >= WEEK else history - history.mean()


def _around(expected: Array, errors: Array) -> Array:
    paths: Array = expected[:, None] + _blocks(errors, len(expected))
    return paths


def _blocks(errors: Array, days: int) -> Array:
    """Errors drawn in blocks of up to a week, so that neighbours stay together; centred, so that paths keep their mean."""
    length = min(WEEK, len(errors))
    random = np.random.default_rng(_SEED)
    starts = random.integers(0, len(errors) - length + 1, size=(-(-days // length), PATHS))
    index = starts[:, None, :] + np.arange(length)[None, :, None]
    drawn: Array = (errors - errors.mean())[index].reshape(-1, PATHS)[:days]
    return drawn
