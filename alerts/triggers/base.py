"""The contract of a trigger: check its configuration, measure a level in percent; it touches no database."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, ClassVar

MOST_PERCENT = Decimal(1000)


class BadConfig(ValueError):
    """The configuration does not fit the trigger; the message names the setting and what was expected."""


@dataclass(frozen=True, slots=True)
class Activity:
    """What is known of the use of a scope, by the hour. `complete_through`: everything before it has been delivered."""

    complete_through: datetime | None
    last_request_hour: datetime | None  # the newest hour with a request; None: none is known
    has_gpus: bool  # whether it runs on GPUs of our own
    gpu_percents: Mapping[datetime, Decimal]  # the busiest GPU of each measured hour
    gpu_gaps: Set[datetime] = frozenset()  # of these, the hours whose greater part nobody measured


@dataclass(frozen=True, slots=True)
class Sight:
    """What is known of a budget at a moment; a part that no trigger asked for is None."""

    now: datetime
    zone: str
    amount: Decimal
    starts_at: datetime
    ends_at: datetime
    spend_cost: Decimal
    forecast_cost: Decimal | None
    is_naive: bool  # the forecast is the naive pace
    hours: Sequence[tuple[datetime, Decimal]] | None = None  # effective cost, billed and estimated
    calls: Sequence[tuple[datetime, Decimal]] | None = None  # the calls alone, at their list prices
    activity: Activity | None = None


class Trigger(ABC):
    """One kind of trigger. Its class docstring says what it measures and shows a configuration."""

    kind: ClassVar[str]
    title: ClassVar[str]
    settings: ClassVar[frozenset[str]] = frozenset()
    # Measured once a minute by `measure`, since it asks more than the evaluation knows.
    is_measured: ClassVar[bool] = False
    # A rung of it is at 100 %, whatever was asked for: it holds or it does not.
    is_switch: ClassVar[bool] = False
    cooldown: ClassVar[timedelta] = timedelta(minutes=60)

    def check(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The settings of this kind out of a rung's configuration, checked. Raises BadConfig."""
        return self.clean({name: config[name] for name in self.settings if config.get(name) not in (None, "")})

    def clean(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The given settings, checked. Raises BadConfig."""
        return {}

    @abstractmethod
    def level(self, config: Mapping[str, Any], sight: Sight, *, is_enforcing: bool) -> Decimal | None:
        """What is compared with the rung, in percent; None: not known."""

    @abstractmethod
    def words(self, percent: Decimal, config: Mapping[str, Any]) -> str:
        """When a rung of it fires: `at 75 % used`."""

    @abstractmethod
    def passed(self, percent: Decimal, config: Mapping[str, Any]) -> str:
        """What a budget did when it fires, as the end of a sentence: `passed 75 %`."""

    def reason(self, level: Decimal, percent: Decimal, config: Mapping[str, Any], amount: str) -> str:
        """Why it fired, for people; `amount` is the budget's in words."""
        return f"{shown(level)} {self.title.lower()} ≥ {shown(percent)}"

    def until(self, config: Mapping[str, Any], zone: str, now: datetime) -> datetime | None:
        """When what it started ends by itself; None: with the period, or as its rung says."""
        return None

    def needs_hours(self, config: Mapping[str, Any]) -> timedelta | None:
        """How far back it wants `Sight.hours`."""
        return None

    def needs_calls(self, config: Mapping[str, Any]) -> timedelta | None:
        """How far back it wants `Sight.calls`."""
        return None

    def needs_activity(self) -> bool:
        """Whether it wants `Sight.activity`."""
        return False


def shown(percent: Decimal) -> str:
    """`75 %`, without needless decimals."""
    return f"{percent.normalize():f} %"


def whole_number(config: Mapping[str, Any], name: str, *, least: int, most: int) -> int | None:
    """The setting as a whole number, None when it is absent. Raises BadConfig."""
    value = config.get(name)
    if value is None or value == "":
        return None
    try:
        number = int(str(value))
    except ValueError:
        raise BadConfig(f"{name}: expected a whole number, found {value!r}") from None
    if not least <= number <= most:
        raise BadConfig(f"{name}: expected {least} to {most}, found {number}")
    return number
