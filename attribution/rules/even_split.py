"""Equal shares."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Self

from attribution.rules.base import PICKED, SELECT, TEAMS, Field, SplitRule, Weighing, names, picked


@dataclass(frozen=True, slots=True)
class EvenSplit(SplitRule):
    """Splits the selected charges equally over `teams`, or over all teams with direct cost on the day when none are named.

    Direct cost is counted in the currency of the charge; a day on which no team has any stays unallocated.

    Example: {"select": {"service_category": ["Networking"]}, "teams": ["search", "growth"]}
    """

    kind = "even_split"
    title = "Equal shares"

    teams: Sequence[str]

    @property
    def reads_owners(self) -> bool:
        return not self.teams or "unowned" in self.pools

    @classmethod
    def fields(cls) -> Sequence[Field]:
        return (SELECT, PICKED, TEAMS)

    @classmethod
    def parse(cls, config: Mapping[str, Any]) -> Self:
        return cls(*picked(config), names(config, "teams"))

    def team_weights(self) -> dict[str, Decimal]:
        return dict.fromkeys(self.teams, Decimal(1))

    def weighing(self) -> Weighing:
        return Weighing("shares", shares=self.team_weights()) if self.teams else Weighing("even")
