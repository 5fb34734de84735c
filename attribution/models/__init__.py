"""The tables of attribution: rules, who owns what, the parts of splits, the daily books and the months they close in."""

from attribution.models.books import AllocatedCharge, DailyCost, FineTuneCost, Pool
from attribution.models.owners import Ownership, Rule, RulesetVersion, Team
from attribution.models.periods import ClosedTeam, ExchangeRate, PeriodBook
from attribution.models.statements import ChargebackTerms, Markup

__all__ = [
    "AllocatedCharge",
    "ChargebackTerms",
    "ClosedTeam",
    "DailyCost",
    "ExchangeRate",
    "FineTuneCost",
    "Markup",
    "Ownership",
    "PeriodBook",
    "Pool",
    "Rule",
    "RulesetVersion",
    "Team",
]
