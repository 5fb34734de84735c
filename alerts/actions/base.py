"""The contract of an action: check its configuration, plan what it would do; it touches no database."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

# The dimensions of a scope that a gate can resolve, and what the policy calls them.
GATE_NAMES = {"team": "team", "feature": "feature", "model": "model", "key": "key_id"}
MAX_MATCHES = 100


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


@dataclass(frozen=True, slots=True)
class Plan:
    """What would be done, for people and for the hook."""

    hook: str  # which hook carries it out; empty: nothing is carried out
    rules: tuple[Mapping[str, Any], ...]  # rules of the gate policy, without id and end


class Action(ABC):
    """One kind of action. Its class docstring says what it does and shows a configuration."""

    kind: ClassVar[str]
    is_enforcing: ClassVar[bool] = True
    settings: ClassVar[frozenset[str]] = frozenset()

    def check(self, config: Mapping[str, Any], scope: Mapping[str, Sequence[str]]) -> dict[str, Any]:
        """The configuration with numbers as numbers. Raises BadConfig."""
        known = self.settings | {"cooldown_minutes"}
        unknown = sorted(set(config) - known)
        if unknown:
            raise BadConfig(f"{self.kind} has no setting {unknown[0]!r}; known: {', '.join(sorted(known))}")
        if self.is_enforcing:
            check_scope(self.kind, scope)
        return self.clean(config)

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


def whole_number(config: Mapping[str, Any], name: str, *, least: int = 1) -> int | None:
    """The setting as a whole number, None when it is absent. Raises BadConfig."""
    value = config.get(name)
    if value is None or value == "":
        return None
    try:
        number = int(str(value))
    except ValueError:
        raise BadConfig(f"{name}: expected a whole number, found {value!r}") from None
    if not least <= number <= 1_000_000_000:
        raise BadConfig(f"{name}: expected {least} or more, found {number}")
    return number


def present(**settings: int | str | None) -> dict[str, Any]:
    """The settings that have a value."""
    return {name: value for name, value in settings.items() if value is not None}
