"""Whose spend a proposed price would move: the effect that `ingest.price_diff` has staged, by owner."""

from dataclasses import dataclass
from decimal import Decimal

from attribution.queries import ownership
from attribution.queries.ownership import TEAM
from attribution.queries.scoped import fetch
from costobs.kernel.scope import SpendScope


@dataclass(frozen=True, slots=True)
class TeamEffect:
    """The estimated cost of one team's usage, as it is priced and as it would be. "" is usage nobody owns."""

    team: str
    currency: str
    old_cost: Decimal
    new_cost: Decimal

    @property
    def change(self) -> Decimal:
        """New minus old."""
        return self.new_cost - self.old_cost


def price_effects(*, scope: SpendScope) -> list[TeamEffect]:
    """The staged effect in the scope's days by team, in every currency, the largest change first.

    To be asked in the transaction in which the effect was staged.
    """
    seen = "" if scope.teams is None else f"AND {TEAM} = ANY(%(viewer_teams)s)"
    sql = f"""
        SELECT {TEAM}, d.currency, sum(d.old_cost), sum(d.new_cost)
        FROM price_effect d {ownership.owner_join(ownership.every_pin(), model="d.model", day="d.day")}
        WHERE d.day >= %(start)s AND d.day < %(end)s {seen}
        GROUP BY 1, 2 ORDER BY abs(sum(d.new_cost) - sum(d.old_cost)) DESC, 1, 2"""
    values = {
        "start": scope.days.start,
        "end": scope.days.end,
        "viewer_teams": [team for team in scope.teams or () if team],
    }
    return [TeamEffect(*row) for row in fetch(sql, values)]
