"""The tables of attribution: rules, who owns what, the parts of splits, the daily books and the months they close in."""

from attribution.models.books import AllocatedCharge, DailyCost, DayFigures, FineTuneCost, Pool
from attribution.models.books import AllocatedCharge, DailyCost, FineTuneCost, Pool
from attribution.models.drafts import RulesetDraft
from attribution.models.gpus import GpuShare, TokenWeights
from attribution.models.known import KnownCost, KnownRuleset, RateFeed
from attribution.models.owners import Ownership, Rule, RulesetVersion, Team
from attribution.models.periods import ClosedTeam, ExchangeRate, PeriodBook
from attribution.models.units import UnitTarget
from attribution.models.reconcile import DriftThreshold, ReconciledCause, ReconciledCell, ReconciledDay

__all__ = [
    "AllocatedCharge",
    "ClosedTeam",
    "DailyCost",
    "DayFigures",
    "DriftThreshold",
    "ExchangeRate",
    "FineTuneCost",
    "GpuShare",
    "KnownCost",
    "KnownRuleset",
    "Ownership",
    "PeriodBook",
    "Pool",
    "RateFeed",
    "ReconciledCause",
    "ReconciledCell",
    "ReconciledDay",
    "Rule",
    "RulesetDraft",
    "RulesetVersion",
    "Team",
    "TokenWeights",
    "UnitTarget",
]
