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
from alerts.models.routing import (
    ChatPerson,
    DigestIssue,
    DigestSchedule,
    EscalationStep,
    Mute,
    OpenItem,
    QuietHours,
    Route,
    ThreadPosition,
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
    "Budget",
    "BudgetState",
    "Channel",
    "ChatPerson",
    "DigestIssue",
    "DigestSchedule",
    "DriftItem",
    "EscalationStep",
    "Gate",
    "GateKey",
    "GateProcess",
    "Mute",
    "OpenItem",
    "QuietHours",
    "Route",
    "Rung",
    "StatementDispatch",
    "StatementSchedule",
    "ThreadPosition",
]
