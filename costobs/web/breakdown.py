"""Spend by one dimension as rows and as daily series: the same groups, colours and order on every page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from attribution import queries
from costobs.kernel.scope import SpendScope
from costobs.web import charts, words
from costobs.web.parts import RowKind

SLOTTED = 6  # the easiest to tell apart; a chart shows five and the rest


@dataclass(frozen=True, slots=True)
class Group:
    """One value of the dimension (or what has none, by share), with its spend now and before."""

    key: str
    share: str  # "" unless the key is empty
    label: str
    kind: RowKind
    cost: Decimal
    estimated_cost: Decimal
    complete: Decimal | None  # of its complete days, for comparison with `before`
    before: Decimal | None

    @property
    def id(self) -> str:
        return self.key or f"·{self.share}"


def groups(
    *, scope: SpendScope, dimension: str, complete: SpendScope | None = None, compare: SpendScope | None = None
) -> list[Group]:
    """Named values by spend, then what is shared, idle and unallocated. They add up to the scope's total.

    With `compare`, each has its cost in the `complete` days of the scope and before: a day that is still arriving would
    look like a fall.
    """
    now = _by_id(scope, dimension)
    whole = _by_id(complete, dimension) if complete and compare else {}
    before = _by_id(compare, dimension) if compare else {}
    nothing = (Decimal(0), Decimal(0))
    found = []
    for key, share in {**now, **before}:
        cost, estimated = now.get((key, share), nothing)
        compared = (
            (whole.get((key, share), nothing)[0], before.get((key, share), nothing)[0]) if compare else (None, None)
        )
        label, kind = _name(dimension, key, share)
        found.append(Group(key, share, label, kind, cost, estimated, *compared))
    order: tuple[RowKind, ...] = ("", "other", "shared", "idle", "unallocated")
    return sorted(found, key=lambda group: (order.index(group.kind), -group.cost, group.label))


def daily(*, scope: SpendScope, dimension: str, urls: Mapping[str, str]) -> list[charts.Series]:
    """One series for each group over the days of the scope; a day without rows of a group is zero, which is known."""
    days = list(scope.days)
    cells: dict[tuple[str, str], dict[date, Decimal]] = {}
    for row in queries.spend_by_day(scope=scope, group_by=dimension):
        if row.key or dimension == "share_kind":
            cells.setdefault((row.key, ""), {})[row.day] = row.cost
    if dimension != "share_kind":
        for row in queries.spend_by_day(scope=scope.where(dimension, ""), group_by="share_kind"):
            cells.setdefault(("", row.key), {})[row.day] = row.cost
    return [_series(dimension, key, share, days, amounts, urls) for (key, share), amounts in cells.items()]


def slots(found: Sequence[Group]) -> dict[str, int]:
    """Colours by key for the nine largest named values."""
    return charts.slots([group.key for group in found if not group.kind][:SLOTTED])


def _series(
    dimension: str, key: str, share: str, days: Sequence[date], amounts: Mapping[date, Decimal], urls: Mapping[str, str]
) -> charts.Series:
    label, kind = _name(dimension, key, share)
    url = urls.get(key or f"·{share}", "")
    return charts.Series(
        key or f"·{share}",
        label,
        [amounts.get(day, Decimal(0)) for day in days],
        kind="" if kind == "total" else kind,
        urls=[url] * len(days) if url else (),
    )


def _by_id(scope: SpendScope, dimension: str) -> dict[tuple[str, str], tuple[Decimal, Decimal]]:
    if dimension == "share_kind":
        rows = queries.spend(scope=scope, group_by=["share_kind"])
        return {(row.keys[0], ""): (row.cost, row.estimated_cost) for row in rows}
    found: dict[tuple[str, str], tuple[Decimal, Decimal]] = {}
    for row in queries.spend(scope=scope, group_by=[dimension, "share_kind"]):
        key, share = row.keys
        at = (key, "") if key else ("", share)
        cost, estimated = found.get(at, (Decimal(0), Decimal(0)))
        found[at] = (cost + row.cost, estimated + row.estimated_cost)
    return found


def _name(dimension: str, key: str, share: str) -> tuple[str, RowKind]:
    if dimension == "share_kind":
        return words.label(dimension, key), words.share_row(key)
    return (words.label(dimension, key), "") if key else words.nameless(dimension, share)
