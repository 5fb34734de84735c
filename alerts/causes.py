"""One anomaly for one cause: of scopes that are odd together, the most specific that explains most of it.

Pure. A runaway key makes its feature, its team, its model and the total odd; a new price makes all keys of a model odd. Both
are one cause: the first is the key's, the second the model's.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

Scope = tuple[tuple[str, str], ...]  # (dimension, value) pairs; () is all spend
Cube = Mapping[tuple[str, ...], Decimal]  # excess by the values of `CELL`

# What a scope is told by, the most general first.
GROUPS: tuple[tuple[str, ...], ...] = (
    (), ("provider_name",), ("deployment",), ("model",), ("team",), ("team", "feature"), ("team", "key"),
)  # fmt: skip
CELL = ("provider_name", "team", "model", "deployment", "feature", "key")

MOST = Decimal("0.7")  # a scope with so much of an excess explains it
COVERED = Decimal("0.6")  # so much of a scope's excess inside a cause, and the scope is no cause of its own
_NEARLY = Decimal("0.85")
_SEVERAL = 3
_PART = Decimal("0.15")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A scope that is odd, at these moments, by this much."""

    scope: Scope
    impact: Decimal
    at: frozenset[datetime]


@dataclass(frozen=True, slots=True)
class Cause:
    """A scope that stands for all that it explains."""

    scope: Scope
    absorbed: tuple[Scope, ...]


def group_of(scope: Scope) -> tuple[str, ...]:
    return tuple(name for name, _value in scope)


def find(candidates: Sequence[Candidate], cube_of: Callable[[Candidate], Cube]) -> list[Cause]:
    """The causes behind the candidates; every candidate is one of them or absorbed by one. Order does not matter.

    From the largest excess on: the most specific candidate that holds 70 % of it is its cause; else up to three of one kind
    that hold 70 % together; else it is its own. Whatever lies in a cause by 60 % and at the same time goes with it.
    """
    left = sorted(candidates, key=lambda one: (-one.impact, GROUPS.index(group_of(one.scope)), one.scope))
    found: list[Cause] = []
    while left:
        top = left[0]
        cube = cube_of(top)
        together = [one for one in left if one.at & top.at]
        chosen = _explaining(top, together, cube)
        gone: dict[Scope, list[Scope]] = {one.scope: [] for one in chosen}
        for one in together:
            best = max(chosen, key=lambda cause: (_excess(cube, one.scope, cause.scope), cause.scope))
            whole, inside = _excess(cube, one.scope), sum(_excess(cube, one.scope, cause.scope) for cause in chosen)
            if one not in chosen and (one is top or (whole > 0 and inside >= COVERED * whole)):
                gone[best.scope].append(one.scope)
        found += [Cause(scope, tuple(sorted(absorbed))) for scope, absorbed in gone.items()]
        taken = {*gone, *(scope for absorbed in gone.values() for scope in absorbed)}
        left = [one for one in left if one.scope not in taken]
    return found


def _explaining(top: Candidate, together: Sequence[Candidate], cube: Cube) -> list[Candidate]:
    whole = _excess(cube, top.scope)
    if whole <= 0:
        return [top]
    shares = {one.scope: _excess(cube, top.scope, one.scope) / whole for one in together}
    # A scope that holds clearly less than another one is not preferred for being more specific.
    most = max((shares[one.scope] for one in together if one is not top), default=Decimal(0)) * _NEARLY
    alone = [one for one in together if one is top or shares[one.scope] >= max(MOST, most)]
    best = min(alone, key=lambda one: (-GROUPS.index(group_of(one.scope)), -shares[one.scope], one.scope))
    if best is not top:
        return [best]
    for group in reversed(GROUPS):
        same = [one for one in together if group_of(one.scope) == group and one is not top]
        several = sorted(
            (one for one in same if shares[one.scope] >= _PART), key=lambda one: (-shares[one.scope], one.scope)
        )[:_SEVERAL]
        if len(several) > 1 and sum(shares[one.scope] for one in several) >= MOST:
            return several
    return [top]


def _excess(cube: Cube, *scopes: Scope) -> Decimal:
    """The excess of the cells that lie in all of these scopes."""
    wanted = [(CELL.index(name), value) for scope in scopes for name, value in scope]
    return sum((amount for cell, amount in cube.items() if all(cell[at] == value for at, value in wanted)), Decimal(0))
