"""Telling people of trouble with a resource, once for each kind of trouble of a change."""

from datetime import datetime, timedelta

from alerts import notices, resource_messages
from alerts.models import ResourceChange
from costobs.kernel import fmt
from costobs.kernel.period import Days


def raise_for(change: ResourceChange, what: str, error: str, now: datetime) -> None:
    """Raises the alert of the budget whose run wanted the change. What a person asked for is answered on the page."""
    run_ = change.action_run
    if run_ is None:
        return
    saves = "not known" if change.saves_cost is None else fmt.money(change.saves_cost, change.currency)
    notice = resource_messages.trouble(
        what=what.partition(":")[0],
        name=change.resource_name,
        plan=change.change.get("words") or f"To {change.to_units} units",
        error=error,
        budget=run_.budget.name,
        why=run_.reason,
        run_id=run_.pk,
        saves=saves,
        state=change.state,
    )
    notices.raise_alert(
        kind="action_failed",
        budget=run_.budget,
        run=run_,
        notice=notice,
        key=f"change:{change.pk}:{what}",
        period=Days(run_.period_start, run_.period_start + timedelta(days=1)),
        now=now,
    )
