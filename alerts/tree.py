"""Where a budget stands among the others: above and below it, and beside it where both count the same spend."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal

from alerts import spans, spent
from alerts.models import Budget, BudgetState
from alerts.rows import Family, Overlap, Relative
from alerts.spent import Window
from costobs.kernel import money

MOST_LEVELS = 8
_MOST_ASKED = 12  # shared spend is asked for each overlap by itself


def parents() -> dict[int, int | None]:
    """The parent of every budget."""
    return dict(Budget.objects.values_list("pk", "parent_id"))


def chain(known: Mapping[int, int | None], budget_id: int | None) -> list[int]:
    """The budget and those above it, the nearest first. A circle ends where it closes."""
    found: list[int] = []
    while budget_id is not None and budget_id not in found:
        found.append(budget_id)
        budget_id = known.get(budget_id)
    return found


def depth_below(known: Mapping[int, int | None], budget_id: int) -> int:
    """How many levels hang below a budget."""
    children = [child for child, parent in known.items() if parent == budget_id and child != budget_id]
    return max(
        (1 + depth_below({k: v for k, v in known.items() if k != budget_id}, child) for child in children), default=0
    )


def family(row: Budget, states: Mapping[int, BudgetState], seen: Iterable[Budget], now_amount: Decimal) -> Family:
    """The budgets above and below `row`; `seen` are those the viewer may see, `now_amount` is its base amount."""
    by_id = {one.pk: one for one in seen}
    known = {one.pk: one.parent_id for one in by_id.values()} | {row.pk: row.parent_id}
    above = [by_id[each] for each in chain(known, row.parent_id) if each in by_id and each != row.pk]
    below = sorted(
        (one for one in by_id.values() if one.parent_id == row.pk and one.is_active), key=lambda one: one.name
    )
    children = tuple(_relative(one, states) for one in below)
    alike = all(
        (one.currency, one.period, one.rolling_days) == (row.currency, row.period, row.rolling_days) for one in below
    )
    allocated = money.total(one.base_amount for one in children) if children and alike else None
    return Family(
        ancestors=tuple(_relative(one, states) for one in reversed(above)),
        children=children,
        allocated_cost=allocated,
        unallocated_cost=None if allocated is None else money.EXACT.subtract(now_amount, allocated),
    )


def overlaps(row: Budget, seen: Iterable[int], asked: Window) -> tuple[Overlap, ...]:
    """Active budgets that no dimension keeps apart from this one, and what both count in its window, in its own currency."""
    others = list(Budget.objects.filter(is_active=True, is_sample=row.is_sample).exclude(pk=row.pk).order_by("name"))
    known = {one.pk: one.parent_id for one in others} | {row.pk: row.parent_id}
    above, visible = set(chain(known, row.parent_id)), set(seen)
    found = [
        Overlap(
            other.pk,
            other.name if other.pk in visible else "",
            "above" if other.pk in above else "below" if row.pk in chain(known, other.parent_id) else "beside",
            None,
            other.pk in visible,
        )
        for other in others
        if is_overlapping(row.scope, other.scope)
    ]
    scopes = {other.pk: other.scope for other in others}
    return _with_shared(row, found, scopes, asked)


def is_overlapping(one: Mapping[str, Sequence[str]], other: Mapping[str, Sequence[str]]) -> bool:
    """Whether no dimension keeps the two scopes apart."""
    return all(set(one[name]) & set(other[name]) for name in one.keys() & other.keys())


def both(one: Mapping[str, Sequence[str]], other: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """The scope of what both count."""
    return {
        name: sorted(set(one.get(name, other.get(name, ()))) & set(other.get(name, one.get(name, ()))))
        for name in sorted({*one, *other})
    }


def _with_shared(
    row: Budget, found: Sequence[Overlap], scopes: Mapping[int, Mapping[str, Sequence[str]]], asked: Window
) -> tuple[Overlap, ...]:
    windows = {
        one.id: replace(asked, scope=both(row.scope, scopes[one.id])) for one in found[:_MOST_ASKED] if one.may_see
    }
    answers = spent.spent(windows)
    return tuple(replace(one, shared_cost=answers[one.id].cost if one.id in answers else None) for one in found)


def _relative(row: Budget, states: Mapping[int, BudgetState]) -> Relative:
    state = states.get(row.pk)
    span = spans.current(row, state.evaluated_at) if state else spans.on(row, spans.created_on(row))
    return Relative(
        id=row.pk,
        name=row.name,
        period=row.period,
        currency=row.currency,
        base_amount=spans.base_amount(row.amount, row.currency, is_prorated=row.is_prorated, span=span),
        spend_cost=state.spend_cost if state else None,
        state=state.state if state else "unknown",
    )
