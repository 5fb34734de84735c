"""The tables of attribution: rules, who owns what, the parts of splits, the daily books and the months they close in."""

from attribution.models.books import AllocatedCharge, DailyCost, FineTuneCost, Pool
from attribution.models.known import KnownCost, KnownRuleset, RateFeed
from attribution.models.owners import Ownership, Rule, RulesetVersion, Team
from attribution.models.periods import ClosedTeam, ExchangeRate, PeriodBook

__all__ = [
    "AllocatedCharge",
    "ClosedTeam",
    "DailyCost",
    "ExchangeRate",
    "FineTuneCost",
    "KnownCost",
    "KnownRuleset",
    "Ownership",
    "PeriodBook",
    "Pool",
    "RateFeed",
    "Rule",
    "RulesetVersion",
    "Team",
]
