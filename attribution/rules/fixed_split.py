"""Fixed shares by team."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Self

from attribution.rules.base import PICKED, SELECT, Field, SplitRule, picked, weights


@dataclass(frozen=True, slots=True)
class FixedSplit(SplitRule):
    """Splits the selected charges by fixed shares.

    `select` picks charges by their columns, `pools` by what the money is; with both, both must hold. `shares` are weights:
    60 and 40 are the same as 3 and 2. An amount below zero keeps its sign in every part.

    Example: {"select": {"service_name": ["AWS Support*"]}, "shares": {"search": "60", "growth": "40"}}
    """

    kind = "fixed_split"
    title = "Fixed shares"

    shares: Mapping[str, Decimal]

    @classmethod
    def fields(cls) -> Sequence[Field]:
        return (SELECT, PICKED, Field("shares", "Shares", "weights", "A weight for each team.", {}, is_required=True))

    @classmethod
    def parse(cls, config: Mapping[str, Any]) -> Self:
        return cls(*picked(config), weights(config, "shares"))

    def team_weights(self) -> dict[str, Decimal]:
        return dict(self.shares)
