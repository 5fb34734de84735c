"""What units should cost at most, and at which scale they are shown."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from attribution.models import UnitTarget


@dataclass(frozen=True, slots=True)
class Target:
    """The aim of one unit. `amount` is of one, None where only the scale was said."""

    unit: str
    currency: str
    scale: int
    amount: Decimal | None
    set_by: str
    set_at: datetime

    @property
    def scaled(self) -> Decimal | None:
        """The aim for `scale` units."""
        return None if self.amount is None else self.amount * self.scale

    def is_missed_by(self, cost: Decimal | None) -> bool:
        """Whether one unit at `cost` is dearer than the aim; what is not known misses nothing."""
        return self.amount is not None and cost is not None and cost > self.amount


def unit_targets(*, currency: str) -> dict[str, Target]:
    """The aims in one currency by unit. They are the company's, like prices: everybody may read them."""
    return {
        row.unit: Target(row.unit, row.currency, row.scale, row.amount, row.set_by, row.set_at)
        for row in UnitTarget.objects.filter(currency=currency).order_by("unit")
    }
