"""Equal shares."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Self

from attribution.rules.base import BadRule, Field, SplitRule, conditions


@dataclass(frozen=True, slots=True)
class EvenSplit(SplitRule):
    """Splits the selected charges equally.

    Example: {"select": {"service_category": ["Networking"]}, "teams": ["search", "growth"]}
    """

    kind = "even_split"
    title = "Equal shares"

    teams: Sequence[str]

    @classmethod
    def fields(cls) -> Sequence[Field]:
        return (
            Field("select", "Charges", "conditions", "All of them must hold; without any nothing is split.", {}),
            Field("teams", "Teams", "lines", is_required=True),
        )

    @classmethod
    def parse(cls, config: Mapping[str, Any]) -> Self:
        teams = config.get("teams")
        if not isinstance(teams, list) or not teams or not all(isinstance(team, str) and team for team in teams):
            raise BadRule(f"expected teams as a list of names, found {teams!r}")
        return cls(conditions(config, "select"), tuple(dict.fromkeys(teams)))

    def team_weights(self) -> dict[str, Decimal]:
        return dict.fromkeys(self.teams, Decimal(1))
