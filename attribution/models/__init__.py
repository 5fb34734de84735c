"""The tables of attribution: rules, who owns what, the parts of splits, the daily books and the months they close in."""

from attribution.models.books import AllocatedCharge, DailyCost, FineTuneCost, Pool
from attribution.models.owners import Ownership, Rule, RulesetVersion, Team
from attribution.models.periods import ClosedTeam, ExchangeRate, PeriodBook
from attribution.models.reconcile import DriftThreshold, ReconciledCause, ReconciledCell, ReconciledDay

__all__ = [
    "AllocatedCharge",
    "ClosedTeam",
    "DailyCost",
    "DriftThreshold",
    "ExchangeRate",
    "FineTuneCost",
    "Ownership",
    "PeriodBook",
    "Pool",
    "ReconciledCause",
    "ReconciledCell",
    "ReconciledDay",
    "Rule",
    "RulesetVersion",
    "Team",
]
