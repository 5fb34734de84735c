"""The tables of alerts: budgets and their ladder, what was done, and who was told."""

from alerts.models.anomalies import (
    Anomaly,
    AnomalyCheck,
    AnomalyFeedback,
)
from alerts.models.budgets import (
    Budget,
    BudgetState,
    Rung,
)
from alerts.models.drift import (
    DriftItem,
)
from alerts.models.forecasts import (
    BudgetForecast,
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
from alerts.models.thresholds import (
    AnomalyThreshold,
)
from alerts.models.windows import (
    HoldWindow,
    LadderPause,
    ProtectedScope,
    RunApproval,
    RungLevel,
)

__all__ = [
    "ActionRun",
    "Alert",
    "AlertDelivery",
    "Anomaly",
    "AnomalyCheck",
    "AnomalyFeedback",
    "AnomalyThreshold",
    "BooksCheck",
    "Budget",
    "BudgetForecast",
    "BudgetPeriod",
    "BudgetState",
    "Channel",
    "ChatPerson",
    "DigestIssue",
    "DigestSchedule",
    "DriftItem",
    "EscalationStep",
    "Gate",
    "GateKey",
    "GatePrice",
    "GateProcess",
    "HoldWindow",
    "LadderPause",
    "Lease",
    "LeaseAccount",
    "Mute",
    "OpenItem",
    "ProtectedScope",
    "QuietHours",
    "Resource",
    "ResourceChange",
    "Route",
    "RunApproval",
    "Rung",
    "RungLevel",
    "StatementDispatch",
    "StatementSchedule",
    "ThreadPosition",
]
