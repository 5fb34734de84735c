"""The tables of alerts: budgets and their ladder, what was done, and who was told."""

from alerts.models.budgets import (
    Budget,
    BudgetState,
    Rung,
)
from alerts.models.drift import (
    DriftItem,
)
from alerts.models.gates import (
    Gate,
    GateKey,
    GateProcess,
)
from alerts.models.leases import (
    GatePrice,
    Lease,
    LeaseAccount,
)
from alerts.models.periods import (
    BooksCheck,
    BudgetPeriod,
)
from alerts.models.resources import (
    Resource,
    ResourceChange,
)
from alerts.models.runs import (
    ActionRun,
)
from alerts.models.statements import (
    StatementDispatch,
    StatementSchedule,
)
from alerts.models.telling import (
    Alert,
    AlertDelivery,
    Channel,
)

__all__ = [
    "ActionRun",
    "Alert",
    "AlertDelivery",
    "BooksCheck",
    "Budget",
    "BudgetPeriod",
    "BudgetState",
    "Channel",
    "DriftItem",
    "Gate",
    "GateKey",
    "GatePrice",
    "GateProcess",
    "Lease",
    "LeaseAccount",
    "Resource",
    "ResourceChange",
    "Rung",
    "StatementDispatch",
    "StatementSchedule",
]
