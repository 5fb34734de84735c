"""The list of budgets as a tree: children below their parent, the roots in the order given; and what a filter leaves of it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from alerts.queries import BudgetLine
from costobs.web.states import STATES

_MOST_DEPTH = 7  # as many as the stylesheet indents


@dataclass(frozen=True, slots=True)
class Placed:
    """A budget and how deep it stands."""

    line: BudgetLine
    depth: int
    parent: str  # its name where it is not the row above; empty: none, or not to be seen


@dataclass(frozen=True, slots=True)
class Choice:
    """One option of a filter."""

    value: str
    label: str
    is_chosen: bool


@dataclass(frozen=True, slots=True)
class Filter:
    """What the list is narrowed to; empty is everything."""

    state: str = ""
    owner: str = ""

    def __bool__(self) -> bool:
        return bool(self.state or self.owner)

    def takes(self, line: BudgetLine) -> bool:
        """Whether this budget stays."""
        return (not self.state or line.state == self.state) and (not self.owner or line.owner_email == self.owner)


def read(values: Mapping[str, str]) -> Filter:
    """The filter in the address."""
    return Filter(values.get("state", ""), values.get("owner", ""))


def placed(lines: Sequence[BudgetLine], asked: Filter) -> list[Placed]:
    """Depth first: each budget above its children. Narrowed, the rows are flat and say what they belong to."""
    by_id = {line.id: line for line in lines}
    if asked:
        return [Placed(line, 0, _parent(line, by_id)) for line in lines if asked.takes(line)]
    roots = [line for line in lines if line.terms.parent_id not in by_id]
    return [one for root in roots for one in _below(root, lines, 0)]


def ancestors(line: BudgetLine, lines: Sequence[BudgetLine]) -> set[int]:
    """The budgets above one, of those that are seen."""
    by_id = {one.id: one for one in lines}
    found: set[int] = set()
    above = line.terms.parent_id
    while above in by_id and above not in found:
        found.add(above)
        above = by_id[above].terms.parent_id
    return found


def states(lines: Sequence[BudgetLine], asked: Filter) -> list[Choice]:
    """The states there are, with how many are in each."""
    found = sorted({line.state for line in lines} | ({asked.state} & STATES.keys()))
    counts = {state: sum(line.state == state for line in lines) for state in found}
    return [Choice(state, f"{STATES[state].word} ({counts[state]})", state == asked.state) for state in found]


def owners(lines: Sequence[BudgetLine], asked: Filter) -> list[Choice]:
    """The owners there are."""
    found = sorted({line.owner_email for line in lines if line.owner_email})
    return [Choice(owner, owner, owner == asked.owner) for owner in found]


def _below(line: BudgetLine, lines: Sequence[BudgetLine], depth: int) -> Iterator[Placed]:
    yield Placed(line, min(depth, _MOST_DEPTH), "")
    for child in lines:
        if child.terms.parent_id == line.id and depth <= len(lines):
            yield from _below(child, lines, depth + 1)


def _parent(line: BudgetLine, by_id: Mapping[int, BudgetLine]) -> str:
    above = line.terms.parent_id
    return by_id[above].name if above is not None and above in by_id else ""
