"""Budgets in their periods: terms, amounts, forecasts, families and what their spend is made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from alerts.rows.gates import GateLine, KeyLine
from alerts.rows.runs import RungRow, RunLine
from costobs.kernel.period import Days


@dataclass(frozen=True, slots=True)
class BudgetTerms:
    """What a budget says beside its scope, amount, currency and period; see `Budget` for each field."""

    rolling_days: int | None = None
    zone: str = "UTC"
    parent_id: int | None = None
    starts_on: date | None = None
    ends_on: date | None = None  # the first day that is not its own any more
    is_prorated: bool = False
    rollover: str = "none"
    rollover_cap_percent: Decimal | None = None
    borrow_percent: Decimal | None = None
    is_hard: bool = False
    on_unreachable: str = "closed"
    default_max_tokens: int | None = None
    aborts_running: bool = False
    criticality: str = "normal"
    protected: Sequence[Mapping[str, Sequence[str]]] = ()


@dataclass(frozen=True, slots=True)
class NextStep:
    """What the ladder does next: `Throttle to 6 requests/min at 100 %`, and about when (None: not in this period)."""

    text: str
    on: date | None


@dataclass(frozen=True, slots=True)
class BudgetLine:
    """One budget in its current period. Percents count from 0 to 100 and beyond; the ratios are the same over 100.

    `spend_cost` is billed and estimated effective cost, unpriced usage at its conservative price; None: not evaluated.
    `amount` is what the period may cost: `base_amount` (by days where it has a part of it only) + `carried_cost` +
    `borrowed_cost`; `own_amount` is that of a whole period, as it was set. `days` are days of its zone.
    """

    id: int
    name: str
    scope: Mapping[str, tuple[str, ...]]
    scope_words: str
    teams: tuple[str, ...]  # () : not bound to teams
    owner_email: str
    period: str
    days: Days
    amount: Decimal
    currency: str
    spend_cost: Decimal | None
    estimated_cost: Decimal | None
    unpriced_cost: Decimal | None
    used_percent: Decimal | None
    elapsed_percent: Decimal
    forecast_cost: Decimal | None
    forecast_method: str
    forecast_low_cost: Decimal | None  # an 80 % interval; None for a naive pace
    forecast_high_cost: Decimal | None
    forecast_error_percent: Decimal | None  # by how much this method missed in the past
    variance_cost: Decimal | None  # forecast - amount; positive = over
    variance_percent: Decimal | None
    state: str
    state_words: str
    is_forecast_over: bool
    is_waiting_approval: bool
    next_step: NextStep | None
    ladder_words: str
    evaluated_at: datetime | None
    complete_through: datetime | None
    paused_until: datetime | None
    is_active: bool
    is_sample: bool
    own_amount: Decimal
    base_amount: Decimal
    carried_cost: Decimal
    borrowed_cost: Decimal
    converted_cost: Decimal  # of the spend, what came in other currencies
    rates: str  # where their exchange rates come from
    unconverted: tuple[str, ...]  # currencies without a rate, in no figure
    is_unbalanced: bool
    late: str  # the sources that make it stale
    starts_at: datetime
    ends_at: datetime
    key_date: date  # what tables call the period
    today: date  # in its zone
    standing: str  # running, upcoming, ended
    terms: BudgetTerms
    is_everything_paused: bool = False  # by the break-glass pause

    @property
    def criticality(self) -> str:
        """How much a stop hurts: low, normal, high or critical."""
        return self.terms.criticality

    @property
    def protected(self) -> tuple[Mapping[str, Sequence[str]], ...]:
        """Scopes that no action of the budget touches."""
        return tuple(self.terms.protected)

    @property
    def used_ratio(self) -> Decimal | None:
        return None if self.used_percent is None else self.used_percent / 100

    @property
    def elapsed_ratio(self) -> Decimal:
        return self.elapsed_percent / 100

    @property
    def variance_ratio(self) -> Decimal | None:
        return None if self.variance_percent is None else self.variance_percent / 100


@dataclass(frozen=True, slots=True)
class AheadDay:
    """The running total at the end of a day that is not over, as it is expected; between low and high in 80 of 100 cases."""

    day: date
    expected_cost: Decimal
    low_cost: Decimal
    high_cost: Decimal


@dataclass(frozen=True, slots=True)
class Ahead:
    """The forecast of the current period, day by day, and how it did before; sums of `tested_days` days in `tests` forecasts."""

    days: tuple[AheadDay, ...]
    method: str
    error_percent: Decimal | None
    pace_error_percent: Decimal | None
    tests: int
    tested_days: int
    history_days: int
    through: date  # the first day that was not complete


@dataclass(frozen=True, slots=True)
class Said:
    """What was expected on a day of a period that is over, and what it became."""

    days: Days
    label: str
    through: date  # the days before it were known
    forecast_cost: Decimal
    low_cost: Decimal
    high_cost: Decimal
    actual_cost: Decimal
    method: str
    is_later: bool  # worked out afterwards from the books as they are now

    @property
    def known_days(self) -> int:
        """How many days of the period were complete."""
        return (self.through - self.days.start).days

    @property
    def error_cost(self) -> Decimal:
        """Forecast minus actual."""
        return self.forecast_cost - self.actual_cost

    @property
    def is_inside(self) -> bool:
        """Whether it lay in the interval."""
        return self.low_cost <= self.actual_cost <= self.high_cost


@dataclass(frozen=True, slots=True)
class BurnDay:
    """The running total at the end of a day."""

    day: date
    cost: Decimal
    cumulative_cost: Decimal
    is_final: bool
    adjusted_cost: Decimal = Decimal(0)  # of `cost`: what corrects closed months


@dataclass(frozen=True, slots=True)
class PeriodVariance:
    """Budget against actual for one period, newest first; `forecast_cost` for the current one only.

    `is_settled`: the amount is the one of then, with what was carried and borrowed; else today's.
    """

    days: Days
    label: str
    amount: Decimal
    actual_cost: Decimal
    forecast_cost: Decimal | None
    variance_cost: Decimal  # (forecast or actual) - amount
    variance_percent: Decimal
    is_favourable: bool
    is_current: bool
    is_settled: bool = False
    carried_cost: Decimal = Decimal(0)
    borrowed_cost: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class Relative:
    """A budget above or below another one. `spend_cost` None: not evaluated."""

    id: int
    name: str
    period: str
    currency: str
    base_amount: Decimal
    spend_cost: Decimal | None
    state: str


@dataclass(frozen=True, slots=True)
class Family:
    """Where a budget stands among others. `ancestors` begin with the outermost; `children` are those right below.

    `allocated_cost` is the sum of the children's amounts, `unallocated_cost` the amount minus that (negative: over-allocated);
    None where they have another currency or period, so that a sum says nothing.
    """

    ancestors: tuple[Relative, ...]
    children: tuple[Relative, ...]
    allocated_cost: Decimal | None
    unallocated_cost: Decimal | None


@dataclass(frozen=True, slots=True)
class Overlap:
    """Another budget, and the spend of this period that both count. `relation`: above, below or beside it.

    One that the viewer may not see has no name and no amount here.
    """

    id: int
    name: str
    relation: str
    shared_cost: Decimal | None  # None: too many to ask, or in another currency
    may_see: bool = True


@dataclass(frozen=True, slots=True)
class BlendPart:
    """One part of the true cost: api, gpu, commitments, idle, shared, other, unallocated, unpriced or converted."""

    part: str
    cost: Decimal


@dataclass(frozen=True, slots=True)
class BudgetDetail:
    """Everything the page of one budget shows."""

    line: BudgetLine
    rungs: tuple[RungRow, ...]
    burn_up: tuple[BurnDay, ...]
    not_final_from: date | None
    periods: tuple[PeriodVariance, ...]
    keys: tuple[KeyLine, ...]
    gates: tuple[GateLine, ...]
    runs: tuple[RunLine, ...]
    family: Family
    overlaps: tuple[Overlap, ...]  # other active budgets that may count the same spend
    blend: tuple[BlendPart, ...]  # what the spend is made of; the parts add to it
    ahead: Ahead | None = None  # None: no forecast that was tested on the past


@dataclass(frozen=True, slots=True)
class Counts:
    """For the badge of the navigation and for /metrics."""

    attention: int  # budgets that are not on track, and actions that wait
    waiting: int
    in_force: int
    failed: int
    by_state: Mapping[str, int]
