"""Closes a month: open, provisional, reviewed, closed; and opens the newest closed one again when two people agree."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from typing import Any

from django.conf import settings
from django.db import transaction

from attribution import checklist, known, own, periods
from attribution import forget as attribution_forget
from attribution.checklist import Line
from attribution.models import ClosedTeam, PeriodBook, RulesetVersion, Team
from attribution.queries import closed_months, extents, month_checks, statement_terms
from costobs.audit import record
from costobs.kernel import fmt
from costobs.kernel.period import Days, add_months
from costobs.kernel.period import month as month_of
from ingest import pinning

SAMPLE = "sample"  # who closes the months of the sample organisation
STATES = ("open", "provisional", "reviewed", "closed")


class Refused(ValueError):
    """The month may not take this step. `lines` are what is open, where that is the reason."""

    def __init__(self, message: str, lines: tuple[Line, ...] = ()) -> None:
        super().__init__(message)
        self.lines = lines


@dataclass(frozen=True, slots=True)
class Book:
    """A month and how far it has come. `version` counts how often it was closed."""

    month: date
    state: str
    checklist: tuple[Line, ...] = ()
    version: int = 0
    ruleset: int | None = None
    reviewed_by: str = ""
    reviewed_at: datetime | None = None
    closed_by: str = ""
    closed_at: datetime | None = None
    note: str = ""
    sha256: str = ""
    exchange_rates: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    deliveries: tuple[pinning.Kept, ...] = ()
    reopen_reason: str = ""
    reopen_asked_by: str = ""
    reopen_asked_at: datetime | None = None
    may_reopen: bool = False  # the newest closed month

    @property
    def open_lines(self) -> tuple[Line, ...]:
        """What is left to do."""
        return tuple(line for line in self.checklist if line.state == "open")


def status(*, month: date, now: datetime) -> Book:
    """How far a month has come, and what is left before it may close. Open and provisional are found, the rest was said by
    somebody. A month without a book that lies before a closed one had no rows and closed with it.
    """
    days, book = month_of(month), PeriodBook.objects.filter(month=month.replace(day=1)).first()
    if book is not None and book.state == "closed":
        return _closed(book)
    if periods.is_closed(days.start):
        return Book(days.start, "closed")
    lines = checklist.lines(month=days, now=now, book=book, is_exact=False)
    return _book(book, days.start, _found_state(days, now, book), lines)


def state(*, month: date, now: datetime) -> str:
    """One of STATES, without the checklist."""
    days, book = month_of(month), PeriodBook.objects.filter(month=month.replace(day=1)).first()
    if periods.is_closed(days.start):
        return "closed"
    return _found_state(days, now, book)


def review(*, month: date, by: str, now: datetime) -> None:
    """Says that somebody has looked at the figures of a month and found them right. Raises Refused.

    Repeated, the newest review counts. A figure that changes afterwards takes the review's word away.
    """
    days = month_of(month)
    with transaction.atomic():
        periods.hold()
        book = _locked(days.start)
        _needs_open(days.start)
        if now < days.end_at:
            raise Refused(f"{fmt.month(days.start)} is not over: it ends on {fmt.day(days.last)}, 24:00 UTC")
        if month_checks.is_empty(days=days):
            raise Refused(f"there is nothing in the books of {fmt.month(days.start)} to review")
        book.state, book.reviewed_by, book.reviewed_at = "reviewed", by, now
        book.reviewed_sha256 = closed_months.fingerprint(month=days, exchange_rates={})
        book.save()
        _record("month.reviewed", book, by, now, after={"sha256": book.reviewed_sha256})


def close(*, month: date, by: str, now: datetime, note: str = "", waive: Mapping[str, str] | None = None) -> Book:
    """Closes a month for good: pins its rules, teams, deliveries and exchange rates, and its hash. `waive` gives a reason for
    each open line of the checklist to close without.

    Raises Refused with the lines that are open. Of two who close at once one wins and the other is refused. No day is rebuilt
    meanwhile, and what is loaded meanwhile becomes an adjustment of the next open month.
    """
    days, reasons = month_of(month), dict(waive or {})
    with transaction.atomic():
        periods.hold()
        book = _locked(days.start)
        _needs_open(days.start)
        if month_checks.is_empty(days=days):
            raise Refused(f"there is nothing in the books of {fmt.month(days.start)} to close")
        own.run(now=now)
        deliveries = pinning.pin(days=days)  # before the checks: what is delivered from here on waits
        found = checklist.lines(month=days, now=now, book=book)
        lines = checklist.waived(found, reasons=reasons, by=by)
        _needs_done(days.start, lines, reasons)
        _pin(book, days, deliveries)
        book.state, book.version = "closed", book.version + 1
        book.closed_by, book.closed_at, book.note = by, now, note.strip()
        book.checklist = checklist.stored(lines)
        book.reopen_reason, book.reopen_asked_by, book.reopen_asked_at = "", "", None
        book.save()
        book.sha256 = closed_months.fingerprint(month=days, exchange_rates=book.exchange_rates)
        book.save(update_fields=["sha256"])
        # What is believed at this very moment can be asked for exactly, of this month and of the open ones.
        until = extents.extent() or days
        known.snapshot(first=days.start, last=max(days.last, until.last), now=now)
        told = {line.key: line.reason for line in lines if line.state == "waived"}
        after = {"version": book.version, "sha256": book.sha256, "ruleset": book.ruleset_id, "waived": told}
        _record("month.closed", book, by, now, after=after, reason=book.note)
    return _closed(book)


def ask_reopen(*, month: date, reason: str, by: str, now: datetime) -> None:
    """Asks for the newest closed month to be opened again; somebody else has to agree. Raises Refused."""
    if not reason.strip():
        raise Refused("say why the month has to be opened again")
    with transaction.atomic():
        periods.hold()
        book = _newest_closed(month.replace(day=1))
        if book.reopen_asked_by:
            raise Refused(f"{book.reopen_asked_by} has asked already; somebody else may agree or decline")
        book.reopen_reason, book.reopen_asked_by, book.reopen_asked_at = reason.strip(), by, now
        book.save()
        _record("month.reopen_asked", book, by, now, reason=book.reopen_reason)


def agree_reopen(*, month: date, by: str, now: datetime) -> None:
    """Opens a closed month again, as somebody else asked: its days are rolled up anew by the rules in force, which takes
    its adjustments back. Raises Refused.
    """
    days = month_of(month)
    with transaction.atomic():
        periods.hold()
        book = _asked(days.start)
        if record.is_same_person(book.reopen_asked_by, by):
            raise Refused(f"{by} has asked for it: another person has to agree")
        before = {"version": book.version, "sha256": book.sha256, "closed_by": book.closed_by}
        reason, asked_by, deliveries = book.reopen_reason, book.reopen_asked_by, list(book.deliveries)
        ClosedTeam.objects.filter(month=days.start).delete()
        PeriodBook.objects.filter(pk=book.pk).update(
            state="open",
            ruleset=None,
            reviewed_by="",
            reviewed_at=None,
            reviewed_sha256="",
            closed_by="",
            closed_at=None,
            note="",
            checklist=[],
            exchange_rates={},
            deliveries=[],
            sha256="",
            terms=None,
            reopen_reason="",
            reopen_asked_by="",
            reopen_asked_at=None,
        )
        others = PeriodBook.objects.filter(state="closed").values_list("deliveries", flat=True)
        still = {pk for one in others for pk in one}
        pinning.release(deliveries=[pk for pk in deliveries if pk not in still])
        # Its own days, and the closed ones whose corrections are booked from here on: they belong into this month now.
        for start in (days.start, *month_checks.adjusted_in(days=Days(days.start, date.max))):
            pinning.touch(days=month_of(start))
        _record("month.reopened", book, by, now, before=before, after={"asked_by": asked_by}, reason=reason)


def decline_reopen(*, month: date, by: str, now: datetime) -> None:
    """Leaves the month closed; whoever asked may take it back so, too. Raises Refused."""
    with transaction.atomic():
        periods.hold()
        book = _asked(month.replace(day=1))
        reason, asked_by = book.reopen_reason, book.reopen_asked_by
        book.reopen_reason, book.reopen_asked_by, book.reopen_asked_at = "", "", None
        book.save()
        _record("month.reopen_declined", book, by, now, after={"asked_by": asked_by}, reason=reason)


def has_books() -> bool:
    """Whether anybody ever reviewed or closed a month."""
    return PeriodBook.objects.exists()


def make_room(*, now: datetime) -> list[date]:
    """Opens the months that only the sample has closed, once other data come: nobody's own months are closed unasked.

    Returns them; repeated, none. Months that a person closed stay, and those before them with them.
    """
    closed = PeriodBook.objects.filter(state="closed")
    if not closed.filter(closed_by=SAMPLE).exists() or closed.exclude(closed_by=SAMPLE).exists():
        return []
    if not month_checks.has_others():
        return []
    with transaction.atomic():
        periods.hold()
        books = list(PeriodBook.objects.select_for_update().filter(state="closed", closed_by=SAMPLE).order_by("month"))
        for book in books:
            _record("month.reopened", book, SAMPLE, now, before={"sha256": book.sha256}, reason="other data have come")
            pinning.release(deliveries=list(book.deliveries))
        months = [book.month for book in books]
        ClosedTeam.objects.filter(month__in=months).delete()
        PeriodBook.objects.filter(pk__in=[book.pk for book in books]).delete()
        for month in months:
            pinning.touch(days=month_of(month))
    return months


def forget(*, source_ids: Sequence[int], by: str, now: datetime) -> list[date]:
    """Takes away the books of closed months that hold nothing but rows of these sources, which are about to go; returns the
    months. Raises Refused where others have rows in them, and takes nothing then.
    """
    with transaction.atomic():
        periods.hold()
        months = attribution_forget.closed_months(source_ids=source_ids)
        if not months:
            return []
        mixed = month_checks.of_others(months=months, source_ids=source_ids)
        if mixed:
            raise Refused(f"{fmt.month(mixed[0])} is closed and holds spend of other sources too: open it again first")
        for book in PeriodBook.objects.filter(state="closed", month__in=months):
            _record("month.forgotten", book, by, now, before={"sha256": book.sha256, "version": book.version})
            pinning.release(deliveries=list(book.deliveries))
        ClosedTeam.objects.filter(month__in=months).delete()
        PeriodBook.objects.filter(month__in=months).delete()
    return months


def _found_state(days: Days, now: datetime, book: PeriodBook | None) -> str:
    if book is not None and book.state == "reviewed":
        return "reviewed"
    final = extents.last_final_day()
    return "provisional" if now >= days.end_at and final is not None and final >= days.last else "open"


def _locked(month: date) -> PeriodBook:
    PeriodBook.objects.get_or_create(month=month, defaults={"state": "open"})
    return PeriodBook.objects.select_for_update().get(month=month)


def _needs_open(month: date) -> None:
    if periods.is_closed(month):
        raise Refused(f"{fmt.month(month)} is closed already")


def _needs_done(month: date, lines: tuple[Line, ...], reasons: Mapping[str, str]) -> None:
    unknown = sorted(set(reasons) - {line.key for line in lines})
    if unknown:
        known = ", ".join(line.key for line in lines)
        raise Refused(f"there is no line {unknown[0]!r} to waive; the checklist has: {known}")
    left = tuple(line for line in lines if line.state == "open")
    if left:
        told = "; ".join(f"{line.title}: {line.words}" for line in left)
        raise Refused(f"{fmt.month(month)} cannot close: {told}", left)


def _pin(book: PeriodBook, days: Days, deliveries: list[int]) -> None:
    """Keeps what the month rests on as it is now."""
    book.ruleset = RulesetVersion.objects.get(is_current=True)
    book.deliveries = deliveries
    others = checklist.other_currencies(month_checks.gaps(days=days))
    book.exchange_rates = month_checks.frozen_rates(days=days, currencies=others, into=settings.COSTOBS_CURRENCY)
    book.terms = asdict(statement_terms.terms())
    teams = list(Team.objects.order_by("name"))
    # A team that came with a late row of an earlier month was not there when that month closed.
    closed = list(PeriodBook.objects.filter(state="closed").order_by("month").values_list("month", flat=True))
    corrected = {next((one for one in closed if one >= origin), None) for origin in month_checks.adjusted_in(days=days)}
    ClosedTeam.objects.bulk_create(
        (
            ClosedTeam(month=month, team=team.name, title=team.title, cost_centre=team.cost_centre)
            for month in (days.start, *sorted(one for one in corrected if one is not None))
            for team in teams
        ),
        ignore_conflicts=True,
    )


def _newest_closed(month: date) -> PeriodBook:
    book = PeriodBook.objects.select_for_update().filter(month=month, state="closed").first()
    if book is None:
        raise Refused(f"{fmt.month(month)} is not closed")
    if periods.closed_until() != add_months(month, 1):
        raise Refused(f"{fmt.month(month)} is not the newest closed month: later ones have to be opened first")
    return book


def _asked(month: date) -> PeriodBook:
    book = _newest_closed(month)
    if not book.reopen_asked_by:
        raise Refused(f"nobody has asked for {fmt.month(month)} to be opened again")
    return book


def _closed(book: PeriodBook) -> Book:
    lines = tuple(Line(**one) for one in book.checklist)
    return _book(book, book.month, "closed", lines)


def _book(book: PeriodBook | None, month: date, found: str, lines: tuple[Line, ...]) -> Book:
    if book is None:
        return Book(month, found, lines)
    is_closed = found == "closed"
    return Book(
        month=month,
        state=found,
        checklist=lines,
        version=book.version,
        ruleset=book.ruleset_id,
        reviewed_by=book.reviewed_by,
        reviewed_at=book.reviewed_at,
        closed_by=book.closed_by,
        closed_at=book.closed_at,
        note=book.note,
        sha256=book.sha256,
        exchange_rates=book.exchange_rates,
        deliveries=tuple(pinning.kept(deliveries=book.deliveries)),
        reopen_reason=book.reopen_reason,
        reopen_asked_by=book.reopen_asked_by,
        reopen_asked_at=book.reopen_asked_at,
        may_reopen=is_closed and periods.closed_until() == add_months(month, 1),
    )


def _record(
    act: str,
    book: PeriodBook,
    by: str,
    now: datetime,
    *,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    reason: str = "",
) -> None:
    subject = f"month:{book.month:%Y-%m}"
    record.write(actor=by, act=act, subject=subject, at=now, before=before, after=after, reason=reason)
