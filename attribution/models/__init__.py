"""The tables of attribution: rules, who owns what, the parts of splits, the daily books and the months they close in."""

from attribution.models.books import (
    AllocatedCharge,
    DailyCost,
    DayFigures,
    FineTuneCost,
    Pool,
)
from attribution.models.drafts import (
    RulesetDraft,
)
from attribution.models.gpus import (
    GpuShare,
    TokenWeights,
)
from attribution.models.known import (
    KnownCost,
    KnownRuleset,
    RateFeed,
)
from attribution.models.owners import (
    Ownership,
    Rule,
    RulesetVersion,
    Team,
)
from attribution.models.periods import (
    ClosedTeam,
    ExchangeRate,
    PeriodBook,
)
from attribution.models.reconcile import (
    DriftThreshold,
    ReconciledCause,
    ReconciledCell,
    ReconciledDay,
)
from attribution.models.statements import (
    ChargebackTerms,
    Markup,
)
from attribution.models.units import (
    UnitTarget,
)

__all__ = [
    "AllocatedCharge",
    "ChargebackTerms",
    "ClosedTeam",
    "DailyCost",
    "DayFigures",
    "DriftThreshold",
    "ExchangeRate",
    "FineTuneCost",
    "GpuShare",
    "KnownCost",
    "KnownRuleset",
    "Markup",
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
