"""Fixed shares by team."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Self

from attribution.rules.base import Field, SplitRule, conditions, weights


@dataclass(frozen=True, slots=True)
class FixedSplit(SplitRule):
    """Splits the selected charges by fixed shares.

    Example: {"select": {"service_name": ["AWS Support*"]}, "shares": {"search": "60", "growth": "40"}}
    """

    kind = "fixed_split"
    title = "Fixed shares"

    shares: Mapping[str, Decimal]

    @classmethod
    def fields(cls) -> Sequence[Field]:
        return (
            Field("select", "Charges", "conditions", "All of them must hold; without any nothing is split.", {}),
            Field("shares", "Shares", "weights", "team = share; they need not add to 100.", is_required=True),
        )

    @classmethod
    def parse(cls, config: Mapping[str, Any]) -> Self:
        return cls(conditions(config, "select"), weights(config, "shares"))

    def team_weights(self) -> dict[str, Decimal]:
        return dict(self.shares)
