"""Leases: hard budgets lend their gates amounts to spend, and take back what was not used.

`answer` is asked by gate processes every few seconds; `run` reads the books, refreshes prices and frees what dead processes
left. Both lock the accounts they touch in the order of their ids, so any number of them may run at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db import connection, transaction

from alerts import gate_prices, grants, lease_lines, reckoning
from alerts.grants import Holding, Report
from alerts.models import Gate, Lease, LeaseAccount
from costobs.kernel import money

LEASE = timedelta(seconds=15)
# How long a lease that ended is kept for a process that is silent: time for its machine to come back and give its spool.
GRACE = timedelta(minutes=10)
_PRESSED = timedelta(seconds=10)
_RECKONED = timedelta(seconds=10)
_MOST = 1000  # accounts one report may name


class NotAGate(LookupError):
    """The token belongs to no gate."""


class BadReport(ValueError):
    """The report is not what a gate says; the message says what was expected."""


@dataclass(frozen=True, slots=True)
class Want:
    """What a process wants to hold of a budget; None where it has never held any. `need`: what a waiting request takes."""

    budget_id: int
    hold: Decimal | None
    need: Decimal


@dataclass(frozen=True, slots=True)
class Asked:
    """One question of a gate process."""

    process: str
    held: Mapping[int, Report]  # by account
    wants: Sequence[Want]


def parse(document: object) -> Asked:
    """The question in a JSON document. Raises BadReport."""
    if not isinstance(document, Mapping):
        raise BadReport("expected an object with process, sequence, held and wants")
    process, sequence = document.get("process"), document.get("sequence")
    if not isinstance(process, str) or not 0 < len(process) <= 100 or not process.isprintable():
        raise BadReport(f"process: expected a name of 1 to 100 printable characters, found {process!r}"[:200])
    if isinstance(sequence, bool) or not isinstance(sequence, int) or not 0 <= sequence < grants.FINAL:
        raise BadReport(f"sequence: expected a whole number, found {sequence!r}"[:200])
    is_final = document.get("final") is True
    held: dict[int, Report] = {}
    for item in _objects(document, "held"):
        held[_id(item, "account")] = Report(
            settled=_amount(item, "settled"),
            returned=_amount(item, "returned"),
            reserved=_amount(item, "reserved"),
            sequence=sequence,
            is_final=is_final,
        )
    wants = [
        Want(_id(item, "budget"), None if item.get("hold") is None else _amount(item, "hold"), _amount(item, "need"))
        for item in _objects(document, "wants")
    ]
    return Asked(process, held, () if is_final else wants)


def answer(*, source_id: int | None, asked: Asked, now: datetime) -> dict[str, Any]:
    """What the process holds from now on. Raises NotAGate.

    Everything in it is cumulative: asking again after a lost answer gives the same leases.
    """
    gate = Gate.objects.filter(source_id=source_id).first() if source_id is not None else None
    if gate is None:
        raise NotAGate("this token belongs to no gate; make one with: costobs gate create")
    accounts = _accounts(gate, asked, now)
    with transaction.atomic():
        locked = _lock({*asked.held, *accounts.values()}, is_sample=gate.is_sample)
        taken = _take(gate, asked, locked, now)
        leases = [
            _lend(gate, asked.process, locked[accounts[want.budget_id]], want, now)
            for want in sorted(asked.wants, key=lambda want: want.budget_id)
            if accounts.get(want.budget_id) in locked
        ]
    gone = asked.held.keys() - locked.keys()  # deleted, with their budget or for their age: nobody counts them any more
    return {"leases": leases, "closed": sorted({*_over(locked, taken, now), *gone})}


def run(*, now: datetime) -> int:
    """Reads the books of accounts that were not read for ten seconds, refreshes prices and frees what dead processes left.

    Returns how many leases it freed.
    """
    gate_prices.refresh(now=now)
    for is_sample in (False, True):
        for row in reckoning.hard_budgets(now=now, is_sample=is_sample):
            _open(row, now)
    ended = Lease.objects.filter(state=grants.OPEN, expires_at__lt=now - GRACE)
    ids = set(ended.values_list("account_id", flat=True))
    if not ids:
        return 0
    with transaction.atomic():
        return sum(_free(one, now) for one in _lock(ids).values())


def tidy(*, before: datetime) -> int:
    """Deletes the accounts, with their leases, of periods that ended before then; returns how many.

    What they say is history by then: the events and the books keep what was spent. A spool that is read later still
    brings its events.
    """
    gone = LeaseAccount.objects.filter(ends_at__lt=before)
    count = gone.count()
    gone.delete()
    return count


def _accounts(gate: Gate, asked: Asked, now: datetime) -> dict[int, int]:
    """The account in force of each budget that is asked for; made, with a look into the books, where there is none yet."""
    wanted = {want.budget_id for want in asked.wants}
    rows = reckoning.hard_budgets(now=now, is_sample=gate.is_sample) if wanted else []
    return {row.pk: _open(row, now) for row in rows if row.pk in wanted}


def _open(row: Any, now: datetime) -> int:
    """The id of a budget's account in its present period, read from the books if that was long ago."""
    found = reckoning.period(row, now)
    of_period = LeaseAccount.objects.filter(budget=row, starts_at=found.starts_at, ends_at=found.ends_at)
    known = of_period.first()
    # Long ago, or after a clock was set back, in the future.
    is_fresh = known is not None and known.reckoned_at is not None and abs(now - known.reckoned_at) < _RECKONED
    if known is not None and is_fresh:
        if known.limit_cost != found.limit:
            of_period.update(limit_cost=found.limit)
        return known.pk
    spent = reckoning.spent(row, found, now)
    figures = {
        "limit_cost": found.limit, "gate_cost": spent.gate, "other_cost": spent.other, "reckoned_at": now,
        "currency": settings.COSTOBS_CURRENCY,
    }  # fmt: skip
    account, _ = LeaseAccount.objects.update_or_create(
        budget=row,
        starts_at=found.starts_at,
        ends_at=found.ends_at,
        defaults=figures,
        create_defaults={**figures, "opening_cost": spent.gate},
    )
    return account.pk


def _lock(ids: set[int], *, is_sample: bool | None = None) -> dict[int, LeaseAccount]:
    """These accounts, locked in the order of their ids until the transaction ends, which is then on the disk; with
    `is_sample`, only those of sample budgets or only the others.
    """
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL synchronous_commit = on")
    rows = LeaseAccount.objects.select_for_update(of=("self",)).filter(pk__in=ids)
    if is_sample is not None:
        rows = rows.filter(budget__is_sample=is_sample)
    return {row.pk: row for row in rows.order_by("pk")}


def _take(gate: Gate, asked: Asked, locked: Mapping[int, LeaseAccount], now: datetime) -> dict[int, Lease]:
    """Writes down what the process says of what it holds."""
    taken: dict[int, Lease] = {}
    for account_id in sorted(asked.held.keys() & locked.keys()):
        row = _lease(gate, asked.process, locked[account_id], now)
        before, report = lease_lines.holding(row), asked.held[account_id]
        after = grants.take(before, report)
        if after != before:
            _keep(row, after, now + LEASE)
        taken[account_id] = row
    return taken


def _lend(gate: Gate, process: str, account: LeaseAccount, want: Want, now: datetime) -> dict[str, Any]:
    """Tops a lease up and describes it."""
    _free(account, now)
    row = _lease(gate, process, account, now)
    sharers = _sharers(account, row, now)
    before = lease_lines.holding(row)
    standing = lease_lines.standing_of(account)
    is_pressed = account.pressed_until is not None and account.pressed_until > now
    idle = grants.ZERO if is_pressed else grants.lent_to_idle(standing, sharers)
    hold = idle if want.hold is None else want.hold
    after, is_met = grants.grant(before, hold=hold, need=want.need, free=standing.free, sharers=sharers)
    if before.state == grants.CLOSED:
        after, is_met = before, True
    _keep(row, after, max(now, min(now + LEASE, account.ends_at)))
    if not is_met and standing.left > 0:
        account.pressed_until = now + _PRESSED
        account.save(update_fields=["pressed_until"])
        is_pressed = True
    lasts = grants.ZERO if after.state == grants.CLOSED else after.granted - after.freed
    return {
        "budget": account.budget_id,
        "account": account.pk,
        "granted": money.text(max(grants.ZERO, lasts)),
        "left": money.text(standing.left),
        "standing": money.text(idle),
        "seconds": int((row.expires_at - now).total_seconds()),
        "ends_in_seconds": max(0, int((account.ends_at - now).total_seconds())),
        "is_pressed": is_pressed,
    }


def _lease(gate: Gate, process: str, account: LeaseAccount, now: datetime) -> Lease:
    """The lease of a process; its account is locked, so nobody else makes one meanwhile."""
    row, _ = Lease.objects.get_or_create(
        account=account, gate_id=gate.pk, process=process, defaults={"gate_name": gate.name, "expires_at": now}
    )
    return row


def _keep(row: Lease, found: Holding, expires_at: datetime) -> None:
    row.granted_cost, row.settled_cost, row.returned_cost = found.granted, found.settled, found.returned
    row.freed_cost, row.reserved_cost = found.freed, found.reserved
    row.state, row.sequence, row.expires_at = found.state, found.sequence, expires_at
    row.save()


def _sharers(account: LeaseAccount, own: Lease, now: datetime) -> int:
    """Processes that hold a lease in force, this one included."""
    others = account.leases.filter(state=grants.OPEN, expires_at__gt=now).exclude(pk=own.pk)
    return 1 + others.count()


def _free(account: LeaseAccount, now: datetime) -> int:
    """Frees what processes hold that were silent for the grace; their requests in flight stay spent."""
    rows = list(account.leases.filter(state=grants.OPEN, expires_at__lt=now - GRACE))
    for row in rows:
        _keep(row, grants.free_orphan(lease_lines.holding(row)), row.expires_at)
    return len(rows)


def _over(locked: Mapping[int, LeaseAccount], taken: Mapping[int, Lease], now: datetime) -> list[int]:
    """Accounts of periods past in which the process has nothing left: it may forget them."""
    return [
        id_
        for id_, row in taken.items()
        if locked[id_].ends_at + LEASE < now and row.reserved_cost == 0 and lease_lines.holding(row).balance <= 0
    ]


def _objects(document: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    items = document.get(name, [])
    if not isinstance(items, list) or len(items) > _MOST or not all(isinstance(item, Mapping) for item in items):
        raise BadReport(f"{name}: expected a list of at most {_MOST} objects")
    return items


def _id(item: Mapping[str, Any], name: str) -> int:
    value = item.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 2**63:
        raise BadReport(f"{name}: expected the number of one, found {value!r}"[:200])
    return value


def _amount(item: Mapping[str, Any], name: str) -> Decimal:
    value = item.get(name, "0")
    try:
        amount = money.parse(value) if isinstance(value, str) and len(value) <= 40 else None
    except money.MoneyError:
        amount = None
    if amount is None or amount < 0 or not money.fits(amount):
        raise BadReport(f"{name}: expected an amount as text, like '0.25', found {value!r}"[:200])
    return amount
