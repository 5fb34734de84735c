"""What the scope bar shows; a page fills it, `_scope_bar.html` draws it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Literal


@dataclass(frozen=True, slots=True)
class Choice:
    """One option of a select or preset list; `value` is what the URL carries."""

    value: str
    label: str


@dataclass(frozen=True, slots=True)
class Chip:
    """One filter in force: `value` is the readable list, `query` its form in the URL (`env:prod`)."""

    dim: str
    op: str
    value: str
    query: str
    remove_url: str


@dataclass(frozen=True, slots=True)
class SourceFreshness:
    """One row of the freshness popover; every text is ready to show, `state` is a key of states.STATES."""

    name: str
    state: str
    complete_through: str
    expected_lag: str = ""
    last_sync: str = ""


@dataclass(frozen=True, slots=True)
class Freshness:
    """`text` is `Complete to 20 Nov, 23:00 UTC`; amber only when something is later than expected."""

    text: str
    state: Literal["on_time", "late", "failed", "unknown"] = "on_time"
    rows: Sequence[SourceFreshness] = ()


@dataclass(frozen=True, slots=True)
class ScopeBar:
    """The scope of the page. `start` and `last` are the first and the last day, both inside, as people read them.

    Empty `presets`, `groups`, `bases` or `dims` hide that control: what does not apply is left out, never greyed.
    The form submits from, to, preset, cmp, group, f (repeated), basis and `hidden` by GET to the page itself.
    """

    start: date
    last: date
    label: str
    preset: str = ""
    presets: Sequence[Choice] = ()
    compare: str = ""
    compare_label: str = ""
    compares: Sequence[Choice] = ()
    group: str = ""
    groups: Sequence[Choice] = ()
    filters: Sequence[Chip] = ()
    dims: Sequence[Choice] = ()
    basis: str = "effective"
    bases: Sequence[Choice] = ()
    currency: str = "USD"
    freshness: Freshness | None = None
    hidden: Sequence[tuple[str, str]] = field(default=())
    previous_url: str = ""
    next_url: str = ""
    share_url: str = ""

    @property
    def group_label(self) -> str:
        return next((choice.label for choice in self.groups if choice.value == self.group), self.group)

    @property
    def basis_label(self) -> str:
        return next((choice.label for choice in self.bases if choice.value == self.basis), self.basis)
