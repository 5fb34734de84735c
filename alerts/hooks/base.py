"""The contract of a hook: carry out a plan in the serving layer, say whether it took effect. It touches no database."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class ProcessFact:
    """One process of the serving layer: when it was heard of, and the rules it proved to hold."""

    name: str
    last_seen_at: datetime
    rules: frozenset[str]


@dataclass(frozen=True, slots=True)
class PlaceFact:
    """One place where a rule must hold: a gate and its processes."""

    name: str
    processes: tuple[ProcessFact, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """How many places confirmed out of how many; `waiting` names the others."""

    confirmed: int
    expected: int
    waiting: tuple[str, ...]

    @property
    def is_in_effect(self) -> bool:
        return self.expected > 0 and self.confirmed == self.expected


class Hook(ABC):
    """One kind of serving layer."""

    kind: ClassVar[str]

    @abstractmethod
    def verify(self, *, rules: Sequence[str], places: Sequence[PlaceFact], now: datetime) -> Verdict:
        """Whether these rules hold everywhere, as proved by the places themselves and not by what we sent."""
