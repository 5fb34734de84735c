"""Steps of ladders and what they did."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any


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
    has_targets: bool = False  # it scales or stops resources, too
    trigger: str = "actual"
    approvals_needed: int = 1  # different people
    approvals: tuple[tuple[str, datetime], ...] = ()  # who agreed so far, and when
    is_too_wide: bool = False  # it was to be automatic, but would hit more than it may
    reach_words: str = ""  # what it hits: shares of the last 7 days, keys
    saves_words: str = ""
    criticality: str = "normal"


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
    expected_on: date | None  # when it would, by the forecast
    run: RunLine | None
    earliest_on: date | None = None  # the days between which it would in 80 of 100 cases; None: not in this period
    latest_on: date | None = None
    trigger: str = "actual"
    needs: str = "automatic"  # the approval as it counts, with what the criticality demands
    when_words: str = ""  # at 75 %
    level: Decimal | None = None  # what its trigger measured last, in percent
