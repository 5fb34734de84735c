"""How sure a figure is: intervals that hold the true value 95 times in 100, and those of differences.

Everything here is an estimate, never money that is booked: amounts come in as Decimal, are computed with as binary numbers
by scipy, and leave as Decimal of twelve digits.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from costobs.kernel import histogram

LEVEL = "0.95"
FEWEST_DAYS = 7
_RESAMPLES = 1999
_SEED = 20_261_128  # fixed: the same figures have the same interval on every page


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with the interval it lies in at 95 %."""

    value: Decimal
    low: Decimal
    high: Decimal

    @property
    def excludes_zero(self) -> bool:
        """Whether a difference is told from nothing."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True, slots=True)
class Series:
    """Money and what it is divided by, day by day: `amounts[i]` and `units[i]` are of `days[i]`."""

    days: Sequence[Any]
    amounts: Sequence[Decimal]
    units: Sequence[Decimal]


def ratio(of: Series) -> Estimate | None:
    """The sum of amounts over the sum of units, with a bootstrap interval (BCa) over days: calls of one day resemble each
    other, so days are drawn, not calls. None below seven days with units.
    """
    if _busy_days(of) < FEWEST_DAYS:
        return None
    amounts, units = _arrays(of)
    return _bootstrap([len(amounts)], lambda one: _quotient(amounts, units, one))


def ratio_change(now: Series, base: Series) -> Estimate | None:
    """By how much the ratio of `now` is above that of `base`: -0.31 is 31 % less. Days that both share are drawn together
    where nearly all are shared, for what moves one day moves both; else each side by itself.
    """
    if min(_busy_days(now), _busy_days(base)) < FEWEST_DAYS:
        return None
    shared, union = set(now.days) & set(base.days), sorted({*now.days, *base.days})
    if len(shared) * 10 >= len(union) * 8:
        here, there = (_arrays(_over(one, union)) for one in (now, base))
        return _bootstrap([len(union)], lambda one: _quotient(*here, one) / _quotient(*there, one) - 1)
    here, there = _arrays(now), _arrays(base)
    sizes = [len(here[0]), len(there[0])]
    return _bootstrap(sizes, lambda one, other: _quotient(*here, one) / _quotient(*there, other) - 1)


def rate(successes: int, trials: int) -> Estimate | None:
    """A share with Wilson's score interval."""
    from scipy import stats

    if trials <= 0:
        return None
    found = stats.binomtest(successes, trials).proportion_ci(confidence_level=0.95, method="wilson")
    return Estimate(_decimal(successes / trials), _decimal(found.low), _decimal(found.high))


def percentile(counts: Sequence[tuple[int, int]], *, permille: int) -> Estimate | None:
    """A percentile of durations in ms, with the interval between two order statistics, whose ranks are binomial; the edges
    of their buckets, so that the width of a bucket (10 %) is in it. None where there are too few to have such ranks.
    """
    from scipy import stats

    ordered = sorted(counts)
    whole = sum(count for _, count in ordered)
    middle = histogram.percentile(ordered, permille=permille)
    if middle is None:
        return None
    low, high = stats.binom.ppf([0.025, 0.975], whole, permille / 1000)
    if low < 1 or high + 1 > whole:
        return None
    first, last = _bucket_at(ordered, int(low)), _bucket_at(ordered, int(high) + 1)
    return Estimate(Decimal(middle), _decimal(histogram.RATIO**first), _decimal(histogram.RATIO ** (last + 1)))


def mean(value: Decimal, deviation: Decimal | None, size: int) -> Estimate | None:
    """A mean with Student's t interval; None below two values."""
    import numpy
    from scipy import stats

    if size < 2 or deviation is None:
        return None
    centre, spread = numpy.asarray([value, deviation], dtype=numpy.float64)
    if spread == 0:
        return Estimate(value, value, value)
    low, high = stats.t.interval(0.95, df=size - 1, loc=centre, scale=spread / numpy.sqrt(size))
    return Estimate(value, _decimal(low), _decimal(high))


def difference(now: Estimate, base: Estimate) -> Estimate:
    """`now` less `base`, from their own intervals: the distances to their limits, added as squares (MOVER: Zou and Donner,
    Statistics in Medicine 2008, 27:1693; of two Wilson intervals it is Newcombe's tenth method)."""
    value = now.value - base.value
    below = ((now.value - now.low) ** 2 + (base.high - base.value) ** 2).sqrt()
    above = ((now.high - now.value) ** 2 + (base.value - base.low) ** 2).sqrt()
    return Estimate(value, value - below, value + above)


def _busy_days(of: Series) -> int:
    return sum(1 for units in of.units if units > 0)


def _over(of: Series, days: Sequence[Any]) -> Series:
    known = {day: (amount, units) for day, amount, units in zip(of.days, of.amounts, of.units, strict=True)}
    nothing = (Decimal(0), Decimal(0))
    pairs = [known.get(day, nothing) for day in days]
    return Series(days, [amount for amount, _ in pairs], [units for _, units in pairs])


def _arrays(of: Series) -> tuple[Any, Any]:
    import numpy

    return numpy.asarray(of.amounts, dtype=numpy.float64), numpy.asarray(of.units, dtype=numpy.float64)


def _quotient(amounts: Any, units: Any, drawn: Any) -> Any:
    return amounts[drawn].sum(axis=-1) / units[drawn].sum(axis=-1)


def _bootstrap(sizes: Sequence[int], statistic: Callable[..., Any]) -> Estimate | None:
    """Draws the numbers of days: the statistic looks up what belongs to them."""
    import numpy
    from scipy import stats

    places = [numpy.arange(size) for size in sizes]
    with warnings.catch_warnings(), numpy.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        value = statistic(*places)
        for method in ("BCa", "percentile"):
            found = stats.bootstrap(
                places,
                lambda *drawn, axis=-1: statistic(*drawn),
                vectorized=True,
                n_resamples=_RESAMPLES,
                method=method,
                rng=numpy.random.default_rng(_SEED),
            ).confidence_interval
            if numpy.isfinite([value, found.low, found.high]).all():
                return Estimate(_decimal(value), _decimal(found.low), _decimal(found.high))
    return None


def _bucket_at(ordered: Sequence[tuple[int, int]], rank: int) -> int:
    seen = 0
    for index, count in ordered:
        seen += count
        if seen >= rank:
            return index
    return ordered[-1][0]


def _decimal(value: Any) -> Decimal:
    return Decimal(f"{value:.12g}")
