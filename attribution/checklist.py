"""What has to be true before a month may close: each condition with its state, in words, and where to see to it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from django.conf import settings
from django.core.cache import cache

from attribution import verify
from attribution.models import PeriodBook
from attribution.queries import closed_months, month_checks, reconciling
from costobs.kernel import fmt
from costobs.kernel.period import Days
from ingest import queries as ingest_queries

# Nobody may wave these through: the month would not be a month, the months not in order, or its books not add up.
NEEDED = ("ended", "earlier", "balanced")
_KEPT_SECONDS = 3600
# A bill that ended so long before the month is history: it holds nothing back.
_HISTORY = timedelta(days=45)


@dataclass(frozen=True, slots=True)
class Line:
    """One condition. `state`: done, open or waived; `reason` and `waived_by` say why somebody closed without it."""

    key: str
    title: str
    state: str
    words: str
    reason: str = ""
    waived_by: str = ""

    @property
    def may_be_waived(self) -> bool:
        """Whether somebody may close without it."""
        return self.state == "open" and self.key not in NEEDED


def lines(*, month: Days, now: datetime, book: PeriodBook | None, is_exact: bool = True) -> tuple[Line, ...]:
    """The checklist of an open month. Without `is_exact` the proof of the sums may be the one of the last hour, if no source of
    the month has changed since.
    """
    gaps = month_checks.gaps(days=month)
    return (
        _ended(month, now),
        _earlier(month),
        _sources(month, now),
        _quarantined(month),
        _balanced(month, is_exact),
        _reconciled(month),
        _unallocated(gaps),
        _unpriced(gaps),
        _rates(month, gaps),
        _reviewed(month, book),
    )


def waived(found: Sequence[Line], *, reasons: Mapping[str, str], by: str) -> tuple[Line, ...]:
    """The lines with those waived that have a reason and may be."""
    return tuple(
        replace(line, state="waived", reason=reasons[line.key].strip(), waived_by=by)
        if line.may_be_waived and reasons.get(line.key, "").strip()
        else line
        for line in found
    )


def other_currencies(gaps: Sequence[month_checks.Gaps]) -> list[str]:
    """The currencies of a month besides the reporting currency."""
    return [one.currency for one in gaps if one.currency != settings.COSTOBS_CURRENCY]


def stored(found: Sequence[Line]) -> list[dict[str, str]]:
    """The lines as a closed book keeps them."""
    return [
        {
            "key": line.key,
            "title": line.title,
            "state": line.state,
            "words": line.words,
            "reason": line.reason,
            "waived_by": line.waived_by,
        }
        for line in found
    ]


def _line(key: str, title: str, is_done: bool, done: str, open_: str) -> Line:
    return Line(key, title, "done" if is_done else "open", done if is_done else open_)


def _ended(month: Days, now: datetime) -> Line:
    return _line(
        "ended", "The month is over", now >= month.end_at, f"it ended on {fmt.day(month.last)}",
        f"it ends on {fmt.day(month.last)}, 24:00 UTC",
    )  # fmt: skip


def _earlier(month: Days) -> Line:
    left = month_checks.open_before(month=month.start)
    names = ", ".join(fmt.month(one) for one in left[:3]) + (f" and {len(left) - 3} more" if len(left) > 3 else "")
    return _line("earlier", "Earlier months are closed", not left, "no month before it is open", f"still open: {names}")


def _sources(month: Days, now: datetime) -> Line:
    bills = [one for one in ingest_queries.sources(now=now) if one.is_active and one.produces == "charges"]
    asked = [one for one in bills if one.complete_through is None or one.complete_through > month.start_at - _HISTORY]
    late = [one for one in asked if one.complete_through is None or one.complete_through < month.end_at]
    failed = [one for one in asked if one.status == "failed" and one not in late]
    told = [
        f"{one.name} is complete to {fmt.moment(one.complete_through, year=True)}"
        if one.complete_through
        else f"{one.name} has delivered nothing"
        for one in late
    ]
    told += [f"{one.name} fails: {one.last_error[:120]}" for one in failed]
    reached = f"complete through {fmt.day(month.last)}"
    done = f"all {len(asked)} bills are {reached}" if len(asked) != 1 else f"{asked[0].name} is {reached}"
    if not asked:
        return _line("sources", "Bills are complete", False, "", "no bill has arrived: everything is estimated")
    return _line("sources", "Bills are complete", not told, done, "; ".join(told))


def _quarantined(month: Days) -> Line:
    count = ingest_queries.quarantined_since(at=month.start_at)
    return _line(
        "quarantined", "No row is left out", not count, "no row waits in quarantine",
        f"{fmt.integer(count)} rows loaded since {fmt.day(month.start)} are quarantined",
    )  # fmt: skip


def _balanced(month: Days, is_exact: bool) -> Line:
    changed, waiting = ingest_queries.versions(days=month)
    title = "Delivered equals booked"
    if waiting:
        return _line("balanced", title, False, "", f"{fmt.integer(waiting)} changed days wait to be rolled up")
    checks, failed = _verified(month, changed, is_exact)
    return _line(
        "balanced", title, not failed, f"{fmt.integer(checks)} sums agree to the last digit; difference 0",
        f"{failed}; run costobs verify --month {month.start:%Y-%m}",
    )  # fmt: skip


def _verified(month: Days, changed: str, is_exact: bool) -> tuple[int, str]:
    """How many sums were compared, and what did not agree."""
    key = f"costobs-verified-{month.start}-{changed}"
    known: tuple[int, str] | None = None if is_exact else cache.get(key)
    if known is None:
        result = verify.run(days=month)
        first = result.failures[0].check if result.failures else ""
        failed = f"{fmt.integer(len(result.failures))} sums differ, the first: {first}" if first else ""
        known = (result.checks, failed)
        cache.set(key, known, _KEPT_SECONDS)
    return known


def _reconciled(month: Days) -> Line:
    """Estimates against bills: every day compared, and no provider further apart than its threshold."""
    title = "Estimates agree with bills"
    if not month_checks.is_estimated(days=month):
        return _line("reconciled", title, True, "nothing was estimated from usage", "")
    waiting = month_checks.uncompared(days=month)
    if waiting:
        days = "1 day waits" if waiting == 1 else f"{fmt.integer(waiting)} days wait"
        how = f"costobs reconcile --month {month.start:%Y-%m} does it now"
        return _line("reconciled", title, False, "", f"{days} to be compared; {how}")
    found = reconciling.reconciled(month=month.start)
    explained = "nothing differs"
    if found.explained_share is not None:
        explained = f"{fmt.percent(found.explained_share)} of what differs has a named cause"
    told = [f"over the threshold: {', '.join(found.providers_over)}"] if found.providers_over else []
    if found.providers_waiting:
        told.append(f"no complete bill to compare with: {', '.join(found.providers_waiting)}")
    done = f"every day is compared, nobody is over a threshold; {explained}"
    return _line("reconciled", title, not told, done, "; ".join([*told, explained]))


def _unallocated(gaps: Sequence[month_checks.Gaps]) -> Line:
    most = Decimal(settings.COSTOBS_CLOSE_UNALLOCATED_PERCENT)
    told, is_done = [], True
    for one in gaps:
        share = abs(one.unallocated_cost) / one.cost if one.cost > 0 else Decimal(1 if one.unallocated_cost else 0)
        is_done &= share * 100 <= most
        money = fmt.money(one.unallocated_cost, one.currency, mode="statement")
        told.append(f"{money} ({fmt.percent(share)}) of {one.currency} has no owner")
    words = "; ".join(told) or "nothing is booked"
    return _line(
        "unallocated",
        "Spend has owners",
        is_done,
        f"{words}; at most {most:f} % may",
        f"{words}; at most {most:f} % may",
    )


def _unpriced(gaps: Sequence[month_checks.Gaps]) -> Line:
    bad = [one for one in gaps if one.unpriced_rows]
    told = "; ".join(fmt.money(one.unpriced_cost, one.currency, mode="statement") for one in bad)
    return _line(
        "unpriced", "Usage is priced", not bad, "every call that counts has a price",
        f"{told} is counted at a conservative price",
    )  # fmt: skip


def _rates(month: Days, gaps: Sequence[month_checks.Gaps]) -> Line:
    others = other_currencies(gaps)
    into = settings.COSTOBS_CURRENCY
    found = month_checks.exchange_rates(days=month, currencies=others, into=into)
    told = list(_missing(month, others, found))
    done = f"rates into {into} are known for {', '.join(others)}" if others else f"all of it is in {into}"
    return _line("rates", "Exchange rates are known", not told, done, "; ".join(told))


def _missing(month: Days, others: Sequence[str], found: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    for currency in others:
        days = [day for day in month if f"{day}" not in found.get(currency, {})]
        if days:
            yield f"{currency} has no rate into {settings.COSTOBS_CURRENCY} for {len(days)} days, the first {fmt.day(days[0])}"


def _reviewed(month: Days, book: PeriodBook | None) -> Line:
    title = "Somebody reviewed it"
    if book is None or book.state != "reviewed":
        return _line("reviewed", title, False, "", "nobody has reviewed its figures")
    who = f"{book.reviewed_by} on {fmt.moment(book.reviewed_at, year=True)}"
    same = closed_months.fingerprint(month=month, exchange_rates={}) == book.reviewed_sha256
    return _line("reviewed", title, same, f"{who}; no figure has changed since", f"figures have changed since {who}")
