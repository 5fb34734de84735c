"""What the triggers of a budget's rungs measure now, out of its evaluation and what was measured beside it."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from alerts import ladder
from alerts.models import Budget, BudgetState, Rung
from alerts.triggers import KINDS
from alerts.triggers.base import Sight
from costobs.kernel import period as periods

# What was measured longer ago is not known any more: nobody measures.
MEASURED_WITHIN = timedelta(minutes=10)


def sight(state: BudgetState, now: datetime) -> Sight:
    """What the evaluation of a budget knows."""
    budget: Budget = state.budget
    days = periods.budget_period(budget.period, periods.day_of(now))
    return Sight(
        now=now,
        zone=budget.zone,
        amount=amount_of(state),
        starts_at=state.starts_at or days.start_at,
        ends_at=state.ends_at or days.end_at,
        spend_cost=state.spend_cost,
        forecast_cost=state.forecast_cost,
        is_naive=state.forecast_method == ladder.NAIVE_PACE,
    )


def amount_of(state: BudgetState) -> Decimal:
    """What the period may cost: with what is carried and borrowed."""
    amount: Decimal | None = state.amount
    return Decimal(state.budget.amount) if amount is None else amount


def levels(rungs: Sequence[Rung], state: BudgetState, now: datetime) -> dict[int, Decimal | None]:
    """The level of each rung in percent; None where it is not known."""
    seen = sight(state, now)
    return {rung.pk: level(rung, seen) for rung in rungs}


def level(rung: Rung, seen: Sight) -> Decimal | None:
    """The level of one rung; of one that is measured beside the evaluation what was measured last."""
    kind = KINDS[rung.trigger]()
    if not kind.is_measured:
        return kind.level(rung.config, seen, is_enforcing=rung.action in ladder.ENFORCING)
    measured = getattr(rung, "measured", None)
    if measured is None or measured.config != rung.config or seen.now - measured.measured_at > MEASURED_WITHIN:
        return None
    found: Decimal | None = measured.level
    return found
