"""What the comparison of estimate and bill is given, and what it answers: plain values, no table, no clock."""

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from itertools import accumulate

ZERO = Decimal(0)

# In the order in which a difference is explained: first what changes the tokens, then what changes their price, then what the
# bill adds by itself. A difference that no evidence explains is `unknown`.
DUPLICATES = "duplicates"
DAY_BOUNDARY = "day_boundary"
CACHED = "cached_tokens"
CANCELLED = "cancelled"
BYPASS = "bypass"
TIER = "tier"
PRICE = "price"
UNPRICED = "unpriced"
FX = "fx"
DISCOUNT = "discount"
COMMITMENT = "commitment"
CREDIT = "credit"
TAX = "tax"
ADJUSTMENT = "adjustment"
NOT_CALLS = "not_calls"
ROUNDING = "rounding"
UNKNOWN = "unknown"
CAUSES = (
    DUPLICATES, DAY_BOUNDARY, CACHED, CANCELLED, BYPASS, TIER, PRICE, UNPRICED, FX, DISCOUNT, COMMITMENT, CREDIT, TAX,
    ADJUSTMENT, NOT_CALLS, ROUNDING, UNKNOWN,
)  # fmt: skip

# The kinds that partition the tokens of a call, each with a price of its own.
TOKEN_KINDS = (
    "input_uncached",
    "cache_read",
    "cache_write_5m",
    "cache_write_1h",
    "output",
    "audio_input",
    "audio_output",
    "image_input",
)

# A token counts at the price row it was logged at and as the kind it is: together they say what it should cost.
Class = tuple[int, str]
# Tokens by class.
Tokens = dict[Class, Decimal]


@dataclass(frozen=True, slots=True, order=True)
class Cell:
    """What one line of a bill is about. `model` and `kind` are "" where the bill does not tell them apart."""

    provider: str
    account: str
    model: str
    kind: str
    currency: str


@dataclass(frozen=True, slots=True)
class Price:
    """One row of the price list, or what it would be in another tier; per single token."""

    id: int
    tier: str
    currency: str
    by_kind: Mapping[str, Decimal]
    is_conservative: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """The calls that one SKU charges for in one cell and day. `quantum`: how far rounding may have moved the amount."""

    tokens: Decimal | None
    list_cost: Decimal
    billed_cost: Decimal
    effective_cost: Decimal
    contracted_cost: Decimal
    quantum: Decimal = ZERO
    is_committed: bool = False


@dataclass(slots=True)
class Logged:
    """What was logged of one class of a cell, by hour of the window; `twice` is the part that was logged before."""

    hours: dict[int, int] = field(default_factory=dict)
    twice: dict[int, int] = field(default_factory=dict)
    _sums: dict[bool, tuple[list[int], list[int]]] = field(default_factory=dict)

    def add(self, hour: int, count: int, *, is_twice: bool = False) -> None:
        """More tokens of an hour."""
        hours = self.twice if is_twice else self.hours
        hours[hour] = hours.get(hour, 0) + count
        self._sums.clear()

    def keep_repeats(self) -> None:
        """What looked like repeats were calls of their own."""
        self.twice.clear()
        self._sums.clear()

    def between(self, start: int, end: int) -> int:
        """The tokens of the hours from `start` up to `end`."""
        return self._between(False, start, end)

    def twice_between(self, start: int, end: int) -> int:
        """The part of them that was logged before."""
        return self._between(True, start, end)

    @property
    def total(self) -> int:
        """The tokens of the whole window."""
        return sum(self.hours.values())

    def _between(self, is_twice: bool, start: int, end: int) -> int:
        if is_twice not in self._sums:
            found = self.twice if is_twice else self.hours
            at = sorted(found)
            self._sums[is_twice] = (at, list(accumulate((found[hour] for hour in at), initial=0)))
        at, sums = self._sums[is_twice]
        return sums[bisect_left(at, end)] - sums[bisect_left(at, start)]


@dataclass(frozen=True, slots=True)
class Extra:
    """Money of the bill that no call pays for: a credit, a tax, a correction, storage."""

    cell: Cell
    day: date
    cause: str
    billed_cost: Decimal
    effective_cost: Decimal
    list_cost: Decimal
    contracted_cost: Decimal
    rows: int


@dataclass(frozen=True, slots=True)
class Calls:
    """How many calls of a model were logged on a day, and of how many nobody knows the usage."""

    requests: int
    unknown: int


@dataclass(slots=True)
class Month:
    """Everything known about consecutive days. Hours count from one day before the first day to one day after the last."""

    days: list[date]
    logged: dict[Cell, dict[Class, Logged]] = field(default_factory=dict)
    lines: dict[tuple[Cell, date], list[Line]] = field(default_factory=dict)
    extras: list[Extra] = field(default_factory=list)
    prices: dict[int, Price] = field(default_factory=dict)
    # What calls of a model could cost in other tiers, by provider and model.
    tiers: dict[tuple[str, str], list[int]] = field(default_factory=dict)
    calls: dict[tuple[str, str, str, date], Calls] = field(default_factory=dict)
    # What one unit of a price's currency was worth in the bill's, by day.
    rates: dict[tuple[date, str, str], Decimal] = field(default_factory=dict)
    # Providers and days whose bill is complete; others wait.
    complete: set[tuple[str, date]] = field(default_factory=set)

    def start(self, day: date) -> int:
        """The first hour of a day in the window."""
        return 24 * (1 + (day - self.days[0]).days)

    def price(self, of: Class) -> Decimal:
        """What one token of a class costs at list, in the currency of its price."""
        return self.prices[of[0]].by_kind.get(of[1], ZERO)


@dataclass(frozen=True, slots=True)
class Cause:
    """One part of a difference: how much, how many tokens are behind it, and by what it was recognised."""

    name: str
    amount: Decimal
    tokens: Decimal
    evidence: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Explained:
    """One cell of one day. The causes add to billed minus estimated exactly."""

    cell: Cell
    day: date
    is_billed: bool  # False: the bill of the day is not complete, so nothing is compared
    logged_tokens: Decimal
    billed_tokens: Decimal | None
    estimated_cost: Decimal
    billed_cost: Decimal
    effective_cost: Decimal
    list_cost: Decimal
    contracted_cost: Decimal
    covered_cost: Decimal  # of list_cost: what logged calls stand for
    causes: tuple[Cause, ...]

    @property
    def difference(self) -> Decimal:
        """Billed minus estimated."""
        return self.billed_cost - self.estimated_cost
