"""The typed contents of the list of rules."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    """One rule in its place. Amounts are formatted; `is_other` when the draft changes it."""

    key: str
    number: int
    name: str
    kind: str
    summary: str
    days: str
    owned: str
    split: str
    is_active: bool
    is_first: bool
    is_last: bool
    is_other: bool
    url: str


@dataclass(frozen=True, slots=True)
class Rest:
    """What no rule in the list owns."""

    name: str
    words: str
    cost: str
