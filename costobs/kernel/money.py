"""Exact money: sums that refuse to round, and splits whose parts add to the whole."""

from collections.abc import Iterable, Sequence
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, Context, Decimal, DivisionByZero, Inexact, InvalidOperation, Overflow

SPLIT_PLACES = 12
SPLIT_QUANTUM = Decimal(1).scaleb(-SPLIT_PLACES)

# Wide enough for 10^20 with 30 decimals; an operation that would lose a digit raises instead.
EXACT = Context(prec=60, traps=[Inexact, InvalidOperation, DivisionByZero, Overflow])
DIVISION = Context(prec=60, traps=[InvalidOperation, DivisionByZero, Overflow])  # half even
_WIDE = Context(prec=60, rounding=ROUND_DOWN, traps=[InvalidOperation, DivisionByZero, Overflow])

MINOR_UNITS = {"JPY": 0, "KRW": 0, "CLP": 0, "ISK": 0, "VND": 0, "BHD": 3, "KWD": 3, "OMR": 3, "TND": 3, "JOD": 3}


class MoneyError(ValueError):
    """An amount that cannot be money: not a number, infinite, or split by nothing."""


def parse(text: str | int | Decimal) -> Decimal:
    """The exact decimal of a vendor's text. Raises MoneyError for NaN, infinity and non-numbers."""
    try:
        value = Decimal(text)
    except (InvalidOperation, TypeError, ValueError) as problem:
        raise MoneyError(f"expected a decimal number, found {text!r}") from problem
    if not value.is_finite():
        raise MoneyError(f"expected a finite amount, found {text!r}")
    return value


def fits(amount: Decimal, *, digits: int = 15, places: int = SPLIT_PLACES) -> bool:
    """Whether it is up to 10^digits with at most so many decimals: a million digits are a number, and nothing counts with it."""
    exponent = amount.as_tuple().exponent
    return isinstance(exponent, int) and -places <= exponent <= digits and amount.adjusted() <= digits


def total(amounts: Iterable[Decimal]) -> Decimal:
    """The exact sum; raises decimal.Inexact if a digit would be lost."""
    result = Decimal(0)
    for amount in amounts:
        result = EXACT.add(result, amount)
    return result


def split(amount: Decimal, weights: Sequence[Decimal]) -> list[Decimal]:
    """Parts of `amount` proportional to `weights`, in their order, that sum to it exactly.

    Parts are cut (towards zero) at 12 decimals and the largest weight takes the remainder, the first one on a tie, so the
    result does not depend on anything but the inputs. The same rule is written once more in SQL
    (`attribution.splitting`). Raises MoneyError when there is no positive weight.
    """
    if any(weight < 0 for weight in weights):
        raise MoneyError("weights must not be negative")
    whole = total(weights)
    if whole == 0:
        raise MoneyError("cannot split by weights that are all zero")
    parts = [
        _WIDE.divide(_WIDE.multiply(amount, weight), whole).quantize(SPLIT_QUANTUM, rounding=ROUND_DOWN, context=_WIDE)
        for weight in weights
    ]
    heaviest = max(range(len(weights)), key=lambda index: (weights[index], -index))
    parts[heaviest] = EXACT.add(parts[heaviest], EXACT.subtract(amount, total(parts)))
    return parts


def round_minor(amount: Decimal, currency: str) -> Decimal:
    """`amount` at the currency's minor unit, half to even."""
    return amount.quantize(Decimal(1).scaleb(-MINOR_UNITS.get(currency, 2)), rounding=ROUND_HALF_EVEN)


def largest_remainder(amounts: Sequence[Decimal], currency: str, *, target: Decimal | None = None) -> list[Decimal]:
    """Amounts at the minor unit that add to the rounded total: the largest remainders move first, ties by position.

    `target` is what they add to instead, when the total was itself rounded to one of its two neighbours.
    """
    quantum = Decimal(1).scaleb(-MINOR_UNITS.get(currency, 2))
    target = round_minor(total(amounts), currency) if target is None else target
    floors = [_floor(amount, quantum) for amount in amounts]
    missing = int((target - total(floors)) / quantum)
    by_remainder = sorted(range(len(amounts)), key=lambda index: (-(amounts[index] - floors[index]), index))
    # A target that was rounded elsewhere may lie below the floors: then the smallest remainders give.
    order, step = (by_remainder, quantum) if missing > 0 else (by_remainder[::-1], -quantum)
    for place in range(abs(missing) if order else 0):
        floors[order[place % len(order)]] += step
    return floors


def text(amount: Decimal) -> str:
    """Plain digits, never an exponent; the form money takes in JSON and CSV."""
    return format(amount, "f")


def _floor(amount: Decimal, quantum: Decimal) -> Decimal:
    return (amount // quantum - (1 if amount % quantum < 0 else 0)) * quantum
