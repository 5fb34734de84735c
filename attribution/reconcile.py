"""Compares what was estimated with what was billed, names why they differ, and keeps the answer by day."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from django.db import connection, transaction

from attribution import calls, causes, periods, sides
from attribution.models import DriftThreshold, ReconciledCause, ReconciledCell, ReconciledDay
from attribution.queries import month_checks
from costobs.audit import record
from costobs.kernel.period import Days, day_of
from costobs.kernel.period import month as month_of

_DUE = f"""
SELECT s.day FROM ({month_checks.COMPARED_AS}) s LEFT JOIN attribution_reconciledday r ON r.day = s.day
WHERE r.seen IS DISTINCT FROM s.seen
UNION SELECT r.day FROM attribution_reconciledday r WHERE r.day >= %(start)s AND r.day < %(end)s
    AND NOT EXISTS (SELECT FROM ingest_touched t WHERE t.day = r.day)  -- its sources are gone
ORDER BY day DESC
"""
_BATCH = 2000


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What one run did: how many days it wrote, and how many cells and causes they have."""

    days: int
    cells: int
    causes: int


def due(*, now: datetime) -> list[Days]:
    """The months that have days to compare, the newest first. Closed days are never due, nor is a day before it is over."""
    until = periods.closed_until() or date(1970, 1, 1)
    today = day_of(now)
    with connection.cursor() as cursor:
        cursor.execute(_DUE, {"start": until, "end": max(until, today)})
        found = [day for (day,) in cursor.fetchall()]
    return [month_of(start) for start in dict.fromkeys(day.replace(day=1) for day in found)]


def run(*, month: Days, now: datetime) -> Reconciled:
    """Compares the days of a month that are over, all together, and writes those that are not closed.

    One transaction with a lock: two at once do it one after the other, and repeated it writes the same rows. What is
    committed while it reads makes the day due again, for its version was read first.
    """
    until = periods.closed_until()
    days = month.until(day_of(now))
    if not len(days):
        return Reconciled(0, 0, 0)
    written = Days(max(days.start, min(until or days.start, days.end)), days.end)
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(hashtext('costobs reconcile'), %s)", [days.start.toordinal()])
            cursor.execute("SET LOCAL jit = off")
            cursor.execute(month_checks.COMPARED_AS, {"start": written.start, "end": written.end})
            seen: dict[date, str] = dict(cursor.fetchall())
        known = ReconciledDay.objects.filter(day__gte=days.start, day__lt=days.end, repeats__isnull=False)
        kept = {one.day: calls.from_json(one.repeats or []) for one in known if seen.get(one.day) == one.seen}
        facts, repeats = sides.gather(days=days, kept=kept)
        found = [one for one in causes.explain(facts) if one.day in written]
        return _write(found, written, seen, {day: calls.to_json(rows) for day, rows in repeats.items()}, now)


def _write(
    found: Sequence[causes.Explained],
    days: Days,
    seen: dict[date, str],
    repeats: dict[date, list[list[Any]]],
    now: datetime,
) -> Reconciled:
    ReconciledCause.objects.filter(day__gte=days.start, day__lt=days.end).delete()
    ReconciledCell.objects.filter(day__gte=days.start, day__lt=days.end).delete()
    cells = ReconciledCell.objects.bulk_create([_row(one) for one in found], batch_size=_BATCH)
    told = [
        ReconciledCause(
            cell=cell,
            day=one.day,
            cause=cause.name,
            amount=cause.amount,
            tokens=cause.tokens,
            evidence=dict(cause.evidence),
        )
        for cell, one in zip(cells, found, strict=True)
        for cause in one.causes
    ]
    ReconciledCause.objects.bulk_create(told, batch_size=_BATCH)
    ReconciledDay.objects.filter(day__gte=days.start, day__lt=days.end).delete()
    ReconciledDay.objects.bulk_create(
        [
            ReconciledDay(day=day, seen=state, reconciled_at=now, repeats=repeats.get(day))
            for day, state in sorted(seen.items())
        ]
    )
    return Reconciled(len(seen), len(cells), len(told))


def _row(one: causes.Explained) -> ReconciledCell:
    cell = one.cell
    return ReconciledCell(
        day=one.day,
        provider=cell.provider,
        account=cell.account,
        model=cell.model,
        token_kind=cell.kind,
        currency=cell.currency,
        is_billed=one.is_billed,
        logged_tokens=one.logged_tokens,
        billed_tokens=one.billed_tokens,
        estimated_cost=one.estimated_cost,
        billed_cost=one.billed_cost,
        effective_cost=one.effective_cost,
        list_cost=one.list_cost,
        contracted_cost=one.contracted_cost,
        covered_cost=one.covered_cost,
    )


class BadThreshold(ValueError):
    """A threshold that cannot be; the message says what was expected."""


def set_threshold(*, provider: str, percent: Decimal, amount: Decimal, by: str, now: datetime) -> None:
    """From when on people are told about a provider; "" is for all without one of their own. Repeated, it changes nothing."""
    if "\x00" in provider or len(provider) > 200:
        raise BadThreshold("expected a provider as it is named on its bills")
    if not Decimal("0.001") <= percent <= 1000:
        raise BadThreshold(f"expected a percentage from 0.001 to 1000, found {percent}")
    if not 0 <= amount < Decimal("1e15"):
        raise BadThreshold(f"expected an amount of 0 or more, found {amount}")
    values = {"percent": percent.quantize(Decimal("0.001")), "amount": amount}
    with transaction.atomic():
        found = DriftThreshold.objects.select_for_update().filter(provider=provider).first()
        before = {"percent": f"{found.percent:f}", "amount": f"{found.amount:f}"} if found else {}
        after = {name: f"{value:f}" for name, value in values.items()}
        if before == after:
            return
        DriftThreshold.objects.update_or_create(provider=provider, defaults={**values, "set_by": by, "set_at": now})
        record.write(
            actor=by,
            act="drift_threshold.set",
            subject=f"provider:{provider or '*'}",
            at=now,
            before=before,
            after=after,
        )


def remove_threshold(*, provider: str, by: str, now: datetime) -> bool:
    """The provider has the threshold of all others again; False where it had none of its own."""
    with transaction.atomic():
        gone, _kinds = DriftThreshold.objects.filter(provider=provider).delete()
        if gone:
            record.write(actor=by, act="drift_threshold.removed", subject=f"provider:{provider or '*'}", at=now)
    return bool(gone)
