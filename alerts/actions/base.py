"""The contract of an action: check its configuration, plan what it would do; it touches no database."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar

# The dimensions of a scope that a gate can resolve, and what the policy calls them.
GATE_NAMES = {
    "team": "team",
    "feature": "feature",
    "model": "model",
    "key": "key_id",
    "environment": "environment",
}
MAX_MATCHES = 100
# What every rung may set: how soon and how far under it the level must be before it may fire again.
PACING = {"cooldown_minutes", "hysteresis_percent"}
# What an automatic action may hit at most; above it, it is asked for.
REACH = {"max_share_percent", "max_keys"}


class BadConfig(ValueError):
    """The configuration or the scope does not fit the action; the message names the setting and what was expected."""


@dataclass(frozen=True, slots=True)
class Occasion:
    """Why and for what an action is planned."""

    budget_name: str
    scope: Mapping[str, Sequence[str]]
    matches: Sequence[Mapping[str, str]]  # the scope in the names of a gate
    percent_words: str  # 112 %
    amount_words: str  # $24,000 for November 2026
    until: datetime  # when the action ends by itself
    aborts: bool = False  # a shutdown ends running requests, too


@dataclass(frozen=True, slots=True)
class Plan:
    """What would be done, for people and for the hook."""

    hook: str  # which hook carries it out; empty: nothing is carried out
    rules: tuple[Mapping[str, Any], ...]  # rules of the gate policy, without id and end
    resources: Mapping[str, Any] = field(default_factory=dict)  # targets and units of hooks, where the kind names any


class Action(ABC):
    """One kind of action. Its class docstring says what it does and shows a configuration."""

    kind: ClassVar[str]
    is_enforcing: ClassVar[bool] = True
    settings: ClassVar[frozenset[str]] = frozenset()

    def check(self, config: Mapping[str, Any], scope: Mapping[str, Sequence[str]]) -> dict[str, Any]:
        """The configuration with numbers as numbers. Raises BadConfig."""
        known = self.settings | PACING | (REACH if self.is_enforcing else set())
        unknown = sorted(set(config) - known)
        if unknown:
            raise BadConfig(f"{self.kind} has no setting {unknown[0]!r}; known: {', '.join(sorted(known))}")
        if self.is_enforcing:
            check_scope(self.kind, scope)
        return {**self.clean(config), **_common(config)}

    @abstractmethod
    def clean(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The settings of this kind, checked. Raises BadConfig."""

    @abstractmethod
    def plan(self, config: Mapping[str, Any], occasion: Occasion) -> Plan:
        """What would be done now."""


def check_scope(kind: str, scope: Mapping[str, Sequence[str]]) -> None:
    """Refuses a scope that no gate can resolve."""
    foreign = sorted(set(scope) - set(GATE_NAMES))
    if foreign:
        raise BadConfig(
            f"{kind} needs a scope of {', '.join(GATE_NAMES)} only, because a gate knows no more;"
            f" found {', '.join(foreign)}"
        )
    if not scope:
        raise BadConfig(
            f"{kind} needs a scope: name at least one of {', '.join(GATE_NAMES)}, or everything would be hit"
        )
    count = 1
    for values in scope.values():
        count *= len(values)
    if count > MAX_MATCHES:
        raise BadConfig(f"{kind} can name {MAX_MATCHES} combinations of values, found {count}; use several budgets")


def whole_number(config: Mapping[str, Any], name: str, *, least: int = 1, most: int = 1_000_000_000) -> int | None:
    """The setting as a whole number, None when it is absent. Raises BadConfig."""
    value = config.get(name)
    if value is None or value == "":
        return None
    try:
        number = int(str(value))
    except ValueError:
        raise BadConfig(f"{name}: expected a whole number, found {value!r}") from None
    if not least <= number <= most:
        wanted = f"{least} to {most}" if most < 1_000_000_000 else f"{least} or more"
        raise BadConfig(f"{name}: expected {wanted}, found {number}")
    return number


def names(config: Mapping[str, Any], name: str) -> list[str] | None:
    """The setting as a list of names, from a list or separated by commas; None when it names nothing."""
    value = config.get(name) or ()
    listed = value.split(",") if isinstance(value, str) else [str(one) for one in value]
    return sorted({one.strip() for one in listed if one.strip()}) or None


def flag(config: Mapping[str, Any], name: str, *, default: bool) -> bool:
    """The setting as yes or no. Raises BadConfig."""
    value = config.get(name, default)
    if isinstance(value, bool):
        return value
    words = {"": default, "true": True, "yes": True, "false": False, "no": False}
    if str(value).lower() not in words:
        raise BadConfig(f"{name}: expected yes or no, found {value!r}")
    return words[str(value).lower()]


def _common(config: Mapping[str, Any]) -> dict[str, Any]:
    return present(
        cooldown_minutes=whole_number(config, "cooldown_minutes", least=0),
        hysteresis_percent=whole_number(config, "hysteresis_percent", least=0, most=1000),
        max_share_percent=whole_number(config, "max_share_percent", least=0, most=100),
        max_keys=whole_number(config, "max_keys", least=0),
    )


def present(**settings: int | str | bool | list[str] | None) -> dict[str, Any]:
    """The settings that have a value."""
    return {name: value for name, value in settings.items() if value is not None}
