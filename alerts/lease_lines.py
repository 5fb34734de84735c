"""What hard budgets have lent: the accounts in force, and what each process of a gate holds."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from alerts import grants
from alerts.grants import Holding
from alerts.models import Budget, Lease, LeaseAccount
from costobs.kernel import money


@dataclass(frozen=True, slots=True)
class LeaseLine:
    """One process of a gate. `outstanding_cost` counts as spent until it is used or given back."""

    gate: str
    process: str
    state: str  # open, silent, orphaned, closed
    settled_cost: Decimal
    outstanding_cost: Decimal
    reserved_cost: Decimal
    freed_cost: Decimal
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class AccountLine:
    """A hard budget in its present period: limit = settled + other + outstanding + free, unless it is passed."""

    budget_id: int
    budget: str
    currency: str
    starts_at: datetime
    ends_at: datetime
    limit_cost: Decimal
    settled_cost: Decimal  # used through gates, in gate cost, or what the books say of it if that is more
    other_cost: Decimal  # what the books say of everything else
    outstanding_cost: Decimal
    free_cost: Decimal
    freed_cost: Decimal  # the most by which the limit may be passed: taken back from dead processes, spool not read
    reckoned_at: datetime | None
    leases: Sequence[LeaseLine]


def of_budget(*, budget_id: int, now: datetime) -> AccountLine | None:
    """The account of a budget in force; None where it has none (not hard, or no gate has asked yet)."""
    found = accounts(now=now, budget_id=budget_id)
    return found[0] if found else None


def is_hard(*, budget_id: int) -> bool:
    """Whether gates hold this budget by leases."""
    return Budget.objects.filter(pk=budget_id, is_hard=True).exists()


def accounts(*, now: datetime, budget_id: int | None = None) -> list[AccountLine]:
    """The accounts in force, by budget."""
    rows = LeaseAccount.objects.filter(
        starts_at__lte=now, ends_at__gt=now, budget__is_hard=True, budget__is_active=True
    )
    if budget_id is not None:
        rows = rows.filter(budget_id=budget_id)
    # A budget whose period was changed has an account of the old one, too: the newest counts.
    newest = {row.budget_id: row for row in rows.select_related("budget").order_by("pk")}
    lines = [_line(row, now) for row in newest.values()]
    return sorted(lines, key=lambda line: line.budget)


def standing_of(account: LeaseAccount) -> grants.Standing:
    """An account now: what is spent, lent and left."""
    rows = list(account.leases.all())
    used = grants.used(
        opening=account.opening_cost,
        settled=money.total(row.settled_cost for row in rows),
        gate=account.gate_cost,
        other=account.other_cost,
    )
    return grants.standing(limit=account.limit_cost, used_cost=used, holdings=[holding(row) for row in rows])


def holding(row: Lease) -> Holding:
    """A lease as the arithmetic knows it."""
    return Holding(
        granted=row.granted_cost,
        settled=row.settled_cost,
        returned=row.returned_cost,
        freed=row.freed_cost,
        reserved=row.reserved_cost,
        state=row.state,
        sequence=row.sequence,
    )


def _line(row: LeaseAccount, now: datetime) -> AccountLine:
    leases = [_lease_line(lease, now) for lease in row.leases.order_by("gate_name", "process")]
    standing = standing_of(row)
    return AccountLine(
        budget_id=row.budget_id,
        budget=row.budget.name,
        currency=row.currency,
        starts_at=row.starts_at,
        ends_at=row.ends_at,
        limit_cost=row.limit_cost,
        settled_cost=money.EXACT.subtract(standing.used, row.other_cost),
        other_cost=row.other_cost,
        outstanding_cost=standing.outstanding,
        free_cost=standing.free,
        freed_cost=money.total(lease.freed_cost for lease in leases),
        reckoned_at=row.reckoned_at,
        leases=leases,
    )


def _lease_line(row: Lease, now: datetime) -> LeaseLine:
    return LeaseLine(
        gate=row.gate_name,
        process=row.process,
        state="silent" if row.state == grants.OPEN and row.expires_at <= now else row.state,
        settled_cost=row.settled_cost,
        outstanding_cost=holding(row).outstanding,
        reserved_cost=row.reserved_cost,
        freed_cost=row.freed_cost,
        expires_at=row.expires_at,
    )
