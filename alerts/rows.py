"""What the queries of this room answer with: frozen rows about budgets, rungs, runs, keys and gates."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from costobs.kernel.period import Days


@dataclass(frozen=True, slots=True)
class NextStep:
    """What the ladder does next: `Throttle to 6 requests/min at 100 %`, and about when (None: not in this period)."""

    text: str
    on: date | None


@dataclass(frozen=True, slots=True)
class BudgetLine:
    """One budget in its current period. Percents count from 0 to 100 and beyond; the ratios are the same over 100.

    `spend_cost` is billed and estimated effective cost, unpriced usage at its conservative price; None: not evaluated.
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
class RunLine:
    """One firing of a rung. `version` goes back with approve, decline and undo."""

    id: int
    version: int
    budget_id: int
    budget_name: str
    teams: tuple[str, ...]
    percent: Decimal
    action: str
    words: str  # Throttle to 6 requests/min
    effect: str  # what callers see
    target: str
    target_words: str
    before_words: str
    state: str
    state_words: str
    reason: str
    asked_at: datetime
    expires_at: datetime | None
    decided_at: datetime | None
    decided_by: str
    applied_at: datetime | None
    verified_at: datetime | None
    ended_at: datetime | None
    ended_by: str
    error: str
    may_undo: bool
    may_approve: bool
    confirm_phrase: str  # what must be typed to approve; empty: nothing
    is_sample: bool


@dataclass(frozen=True, slots=True)
class RungRow:
    """One step of a ladder. `state`: armed, or the state of its newest run in this period."""

    id: int
    percent: Decimal
    threshold_cost: Decimal
    action: str
    words: str
    config: Mapping[str, Any]  # as stored: only names of `actions`, values text or numbers
    approval: str
    expires_after_hours: int | None
    state: str
    state_words: str
    at: datetime | None  # when it fired
    expected_on: date | None  # when it would, at the naive pace
    run: RunLine | None


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
    """Budget against actual for one period, newest first; `forecast_cost` for the current one only."""

    days: Days
    label: str
    amount: Decimal
    actual_cost: Decimal
    forecast_cost: Decimal | None
    variance_cost: Decimal  # (forecast or actual) - amount
    variance_percent: Decimal
    is_favourable: bool
    is_current: bool


@dataclass(frozen=True, slots=True)
class KeyLine:
    """One client key of the gates; never the key itself."""

    id: int
    key_id: str
    name: str
    team: str
    features: tuple[str, ...] | None
    models: tuple[str, ...] | None
    created_at: datetime
    revoked_at: datetime | None
    is_sample: bool


@dataclass(frozen=True, slots=True)
class GateLine:
    """One model server with a gate; `is_live`: it asked for its policy within the last minute."""

    id: int
    name: str
    provider: str
    deployment: str
    source_id: int
    last_seen_at: datetime | None
    seen_policy_version: str
    processes: int
    is_live: bool
    is_sample: bool


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
    overlaps: tuple[str, ...]  # names of other active budgets that may count the same spend


@dataclass(frozen=True, slots=True)
class Counts:
    """For the badge of the navigation and for /metrics."""

    attention: int  # budgets that are not on track, and actions that wait
    waiting: int
    in_force: int
    failed: int
    by_state: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Fact:
    """One labelled value of a notice."""

    label: str
    value: str


@dataclass(frozen=True, slots=True)
class Button:
    """A link to a page of this installation; it never acts by itself."""

    label: str
    path: str
    style: str = ""  # primary, danger or nothing


@dataclass(frozen=True, slots=True)
class Offer:
    """An act that a channel with buttons of its own may offer; the server checks everything again when it is pressed.

    `subject` is id and version, `51:v2`. `asks` is what is asked before: title, text, and the word of the button.
    """

    act: str
    label: str
    subject: str
    style: str = ""
    asks: tuple[str, str, str] | None = None


@dataclass(frozen=True, slots=True)
class Section:
    """One part of a review pack: a sentence, and a table whose columns after the first are figures."""

    title: str
    lead: str
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Notice:
    """What people are told, in the one anatomy of every alert; channels give it their form.

    `first_line` alone is enough: state, thing, amount, consequence. It is the subject and the notification.
    """

    about: str  # Budget · Search answers
    first_line: str
    header: str
    lead: str  # how much: now, expected, forecast
    facts: tuple[Fact, ...]
    steps: tuple[str, ...]  # what was done, what happens next
    consequence: str  # the preview line of a mail
    buttons: tuple[Button, ...]
    footer: str
    tone: str  # ok, watch, thr, over, stop, stale
    bar_percent: int | None = None  # how full the bar is, 0 to 100; None: no bar
    bar_words: str = ""
    sections: tuple[Section, ...] = ()
    offers: tuple[Offer, ...] = ()
