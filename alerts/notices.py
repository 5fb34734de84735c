"""Writing an alert down: once for each dedupe key, in the caller's transaction."""

from dataclasses import asdict
from datetime import datetime

from alerts import messages, queries
from alerts.models import ActionRun, Alert, Budget
from alerts.rows import Notice
from attribution import queries as spend_queries
from costobs.kernel import fmt
from costobs.kernel.period import Days


def raise_alert(
    *,
    kind: str,
    budget: Budget | None,
    run: ActionRun | None,
    notice: Notice,
    key: str,
    period: Days | None = None,
    now: datetime,
    thread: str = "",
) -> bool:
    """Adds the alert; False when one with this key exists. What it says is fixed from now on.

    Alerts with one `thread` are one open item (default: the budget in this period).
    """
    if not thread:
        if budget is None or period is None:
            raise ValueError("an alert that is not about a budget in a period needs a thread")
        thread = f"budget:{budget.pk}:{period.start:%Y-%m-%d}"
    _alert, created = Alert.objects.get_or_create(
        dedupe_key=key,
        defaults={
            "thread": thread,
            "kind": kind,
            "budget": budget,
            "action_run": run,
            "title": notice.first_line,
            "payload": asdict(notice),
            "raised_at": now,
        },
    )
    return created


def driver(budget: Budget, days: Days) -> messages.Driver | None:
    """The model that took the largest part of the budget."""
    rows = spend_queries.spend(scope=queries.spend_scope(budget, days), group_by=["model"])
    named = next((row for row in rows if row.keys[0] and row.cost > 0), None)
    return None if named is None else messages.Driver(named.keys[0], fmt.money(named.cost, budget.currency))
