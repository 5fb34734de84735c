"""What the queries of this room answer with: frozen rows about budgets, rungs, runs, keys and gates."""

from alerts.rows.budgets import (
    Ahead,
    AheadDay,
    BlendPart,
    BudgetDetail,
    BudgetLine,
    BudgetTerms,
    BurnDay,
    Counts,
    Family,
    NextStep,
    Overlap,
    PeriodVariance,
    Relative,
    Said,
)
from alerts.rows.gates import (
    GateLine,
    KeyLine,
)
from alerts.rows.runs import (
    RungRow,
    RunLine,
)
from alerts.rows.told import (
    Button,
    Fact,
    Notice,
    Offer,
    Section,
)

__all__ = [
    "Ahead",
    "AheadDay",
    "BlendPart",
    "BudgetDetail",
    "BudgetLine",
    "BudgetTerms",
    "BurnDay",
    "Button",
    "Counts",
    "Fact",
    "Family",
    "GateLine",
    "KeyLine",
    "NextStep",
    "Notice",
    "Offer",
    "Overlap",
    "PeriodVariance",
    "Relative",
    "RunLine",
    "RungRow",
    "Said",
    "Section",
]
