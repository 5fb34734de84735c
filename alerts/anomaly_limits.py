"""From how much on an anomaly is worth looking at and telling: as set for its scope, for a wider one, or in the environment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from django.conf import settings

from alerts.causes import Scope
from alerts.models import AnomalyThreshold

NAMES = ("day_cost", "hour_cost", "impact_cost", "impact_percent")


@dataclass(frozen=True, slots=True)
class Limits:
    """What is worth looking at, in the currency of the books: a day or an hour that cost so much. Told is an impact of so much
    that it is also so many percent of what was expected.
    """

    day_cost: Decimal = Decimal(20)
    hour_cost: Decimal = Decimal(5)
    impact_cost: Decimal = Decimal(50)
    impact_percent: Decimal = Decimal(0)

    def least(self, grain: str) -> Decimal:
        """What the dearest day, or hour, of a scope must cost."""
        return self.day_cost if grain == "day" else self.hour_cost

    def is_told(self, *, impact: Decimal, expected: Decimal) -> bool:
        """Whether so much above so much expected is worth telling; above nothing, every amount is enough percent."""
        return impact >= self.impact_cost and impact * 100 >= self.impact_percent * expected


@dataclass(frozen=True, slots=True)
class Own:
    """What is set for one scope; None is as in the wider one."""

    scope: Scope
    day_cost: Decimal | None = None
    hour_cost: Decimal | None = None
    impact_cost: Decimal | None = None
    impact_percent: Decimal | None = None
    id: int = 0
    changed_by: str = ""
    changed_at: datetime | None = None

    @property
    def named(self) -> dict[str, Decimal]:
        """The limits that it sets."""
        return {name: value for name in NAMES if (value := getattr(self, name)) is not None}


@dataclass(frozen=True, slots=True)
class Book:
    """All that is set, over what the settings say."""

    usual: Limits
    owns: tuple[Own, ...] = ()

    def of(self, scope: Scope) -> Limits:
        """The limits of a scope: each from the most specific one that holds it."""
        return self._of(set(scope), self.owns)

    def around(self, scope: Scope) -> Limits:
        """What would hold for a scope if nothing were set for itself."""
        return self._of(set(scope), [one for one in self.owns if set(one.scope) != set(scope)])

    def _of(self, pairs: set[tuple[str, str]], owns: Sequence[Own]) -> Limits:
        found = self.usual
        for own in sorted(owns, key=lambda one: len(one.scope)):
            if set(own.scope) <= pairs:
                found = replace(found, **own.named)
        return found

    def default(self) -> Limits:
        """The limits of scopes for which nothing is set."""
        return self.of(())

    def having(self, own: Own) -> "Book":
        """This with another row for the scope of `own`."""
        others = tuple(one for one in self.owns if set(one.scope) != set(own.scope))
        return Book(self.usual, (*others, own))


def usual() -> Limits:
    """What holds where people set nothing: as the environment says."""
    return Limits(
        day_cost=settings.COSTOBS_ANOMALY_DAY_COST,
        hour_cost=settings.COSTOBS_ANOMALY_HOUR_COST,
        impact_cost=settings.COSTOBS_ANOMALY_IMPACT_COST,
    )


def book(limits: Limits | None = None) -> Book:
    """What is set now, over `limits` or what the environment says."""
    return Book(limits or usual(), tuple(own(row) for row in AnomalyThreshold.objects.order_by("scope_key")))


def own(row: AnomalyThreshold) -> Own:
    """A row as it is judged with."""
    values: Mapping[str, Decimal | None] = {name: getattr(row, name) for name in NAMES}
    return Own(tuple(row.scope.items()), **values, id=row.pk, changed_by=row.changed_by, changed_at=row.changed_at)
