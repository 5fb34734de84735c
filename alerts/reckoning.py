"""What a hard budget may spend in its period and what the books say was spent: through gates, and otherwise.

Everything is in the currency of the installation, which gates count in. A budget in another one is converted at today's
rate; without a rate nothing may be spent, because nobody could say how much that is.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.conf import settings
from django.db.models import Q

from alerts import brakes, grants, spans, terms
from alerts.models import Budget, BudgetState, Gate
from alerts.spent import Window, by_hour
from attribution import rates
from costobs.kernel import money
from costobs.kernel import period as periods

log = logging.getLogger("costobs.alerts")

# The dimensions of a scope that a gate resolves, and what the policy calls them.
GATE_NAMES = {"environment": "environment", "feature": "feature", "key": "key_id", "model": "model", "team": "team"}
ROLLING = "rolling"


@dataclass(frozen=True, slots=True)
class Period:
    """A budget's present period and its amount in it."""

    starts_at: datetime
    ends_at: datetime
    limit: Decimal
    spend: Decimal | None  # as it was evaluated; None: not yet


@dataclass(frozen=True, slots=True)
class Spent:
    """What the books say of a period."""

    gate: Decimal
    other: Decimal


def hard_budgets(*, now: datetime, is_sample: bool) -> list[Budget]:
    """The hard budgets that gates can hold now, by id: a gate resolves their scope, and they run in a period of their own.
    None while the break-glass pause holds.
    """
    if brakes.pause(now=now) is not None:
        return []
    rows = Budget.objects.filter(
        Q(paused_until=None) | Q(paused_until__lte=now), is_active=True, is_hard=True, is_sample=is_sample
    ).exclude(period=ROLLING)
    known = [row for row in rows.order_by("pk") if GATE_NAMES.keys() >= row.scope.keys()]
    return [row for row in known if spans.standing(row, now) == "running"]


def period(row: Budget, now: datetime) -> Period:
    """The period that holds now: as it was last evaluated, else, in its first minute, by the terms of the budget."""
    state = (
        BudgetState.objects.filter(
            Q(starts_at__lte=now, ends_at__gt=now) | Q(starts_at=None, period_start=spans.current(row, now).key_date),
            budget=row,
        )
        .order_by("-evaluated_at")
        .first()
    )
    if state is None or state.starts_at is None or state.ends_at is None or state.amount is None:
        term = terms.term(row, now)
        amount, starts_at, ends_at = term.amount, term.starts_at, term.ends_at
    else:
        amount, starts_at, ends_at = state.amount, state.starts_at, state.ends_at
    return Period(
        starts_at, ends_at, _own(amount, row, now) or grants.ZERO, None if state is None else state.spend_cost
    )


def spent(row: Budget, found: Period, now: datetime) -> Spent:
    """What the books say of the period. What is not in one of their hours is in none: it counts as not through a gate."""
    sources = list(Gate.objects.values_list("source_id", flat=True))
    # Asked in this order, a call that comes in between is counted twice for a moment, never not at all.
    gate = _sum(row, found, sources) if sources else grants.ZERO
    whole = max(_sum(row, found, None), found.spend or grants.ZERO)
    other = max(grants.ZERO, money.EXACT.subtract(whole, gate))
    own_gate, own_other = _own(gate, row, now), _own(other, row, now)
    return Spent(own_gate or grants.ZERO, own_other or grants.ZERO)


def _sum(row: Budget, found: Period, sources: Sequence[int] | None) -> Decimal:
    """What the books have in the period, of these sources or of all, what came in other currencies with it."""
    asked = Window(row.scope, row.currency, found.starts_at, found.ends_at, found.ends_at)
    return money.total(by_hour(asked, of_sources=sources).values())


def _own(amount: Decimal, row: Budget, now: datetime) -> Decimal | None:
    """An amount of a budget in the currency gates count in; None without a rate."""
    into = settings.COSTOBS_CURRENCY
    try:
        return rates.convert(amount, currency=row.currency, into=into, day=periods.day_of(now))
    except rates.MissingRate as problem:
        log.warning("hard budget %s admits nothing: %s", row.name, problem)
        return None
