"""Reading a span of the past again because a person asked: piece by piece, from the newest to the oldest."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.db import IntegrityError, transaction
from django.db.models import F

from costobs.audit import record
from ingest import load
from ingest.claims import claimed
from ingest.models import Backfill, Source
from ingest.sources import KINDS, config
from ingest.sources.base import BadDelivery, SourceUnavailable, Window
from ingest.sources.base import Source as Kind

OPEN = ("waiting", "running", "cancelling")
_LONGEST_DAYS = 3660
_A_MONTH_DAYS = 31


class Refused(ValueError):
    """The backfill cannot be asked for, cancelled or retried; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Piece:
    """What one call of `run` did. `state` is that of the backfill after it; `busy` when another worker has it."""

    backfill_id: int
    state: str
    start: datetime
    end: datetime
    units: int = 0
    rows_loaded: int = 0
    error: str = ""


def request(*, source_id: int, start: datetime, end: datetime, by: str, now: datetime) -> int:
    """The id of a new backfill of [start, end), which the workers take up; of bills it is whole months.

    Raises Refused when the source cannot be asked for a past, or has an open backfill.
    """
    source = Source.objects.defer("credentials").filter(pk=source_id).first()
    if source is None:
        raise Refused(f"there is no source {source_id}")
    kind = KINDS[source.kind]
    window = _span(kind, start, end, now)
    _check(source, kind, window)
    try:
        with transaction.atomic():
            made = Backfill.objects.create(
                source=source,
                window_start=window.start,
                window_end=window.end,
                remaining_end=window.end,
                state="waiting",
                requested_by=by,
                requested_at=now,
            )
            _audit(made, "source.backfill_asked", by, now)
    except IntegrityError:
        raise Refused("this source has a backfill that is not done; cancel it first") from None
    return made.pk


def cancel(*, source_id: int, by: str, now: datetime) -> str:
    """Ends the open backfill of a source: at once while it waits, after the unit in hand while it runs. Its new state.

    What it has loaded stays. Raises Refused when none is open.
    """
    with transaction.atomic():
        found = Backfill.objects.select_for_update().filter(source_id=source_id, state__in=OPEN).first()
        if found is None:
            raise Refused("there is no backfill to cancel")
        if found.state != "cancelling":
            found.state = "cancelled" if found.state == "waiting" else "cancelling"
            found.finished_at = now if found.state == "cancelled" else None
            found.save(update_fields=["state", "finished_at"])
            _audit(found, "source.backfill_cancelled", by, now)
    return found.state


def retry(*, source_id: int, by: str, now: datetime) -> int:
    """Puts the newest backfill of a source back in line when it failed or was cancelled; it goes on where it was."""
    with transaction.atomic():
        found = Backfill.objects.select_for_update().filter(source_id=source_id).order_by("-pk").first()
        if found is None or found.state not in {"failed", "cancelled"}:
            raise Refused("there is no backfill that failed or was cancelled")
        found.state, found.error, found.finished_at = "waiting", "", None
        found.save(update_fields=["state", "error", "finished_at"])
        _audit(found, "source.backfill_retried", by, now)
    return found.pk


def run(*, now: datetime, source_id: int | None = None) -> Piece | None:
    """Works off one piece of the backfill that waited longest and that no other worker has; None when there is none.

    Safe to call from several workers at once and to kill anywhere: the claim is a lock of the database session, which
    ends with the process; the next call reads the same piece again, and what is in the books is known by its hash.
    """
    waiting = Backfill.objects.filter(state__in=OPEN, source__is_active=True)
    if source_id is not None:
        waiting = waiting.filter(source_id=source_id)
    busy = None
    for backfill_id in waiting.order_by("requested_at", "pk").values_list("pk", flat=True):
        with claimed(f"backfill {backfill_id}") as is_mine:
            found = Backfill.objects.get(pk=backfill_id)
            if not is_mine:
                busy = Piece(found.pk, "busy", found.window_start, found.remaining_end)
            elif found.state in OPEN:
                return _piece(found, now)
    return busy


def _piece(found: Backfill, now: datetime) -> Piece:
    kind = KINDS[Source.objects.values_list("kind", flat=True).get(pk=found.source_id)]
    piece = _Piece(found, Window(_piece_start(kind, found), found.remaining_end), now)
    # A cancellation that a killed worker did not live to see is seen here.
    if piece.is_cancelled():
        return piece.told("cancelled")
    piece.rows.filter(state="waiting").update(state="running")
    piece.rows.filter(started_at=None).update(started_at=now)
    try:
        for raw in load.connect(found.source_id).read({}, piece.window):
            piece.add(load.run_unit(source_id=found.source_id, raw=raw, now=now, advances=False))
            if piece.is_cancelled():
                return piece.told("cancelled")
    except (SourceUnavailable, BadDelivery) as problem:
        return piece.failed(config.without(_remedy(problem, kind), _secrets(found.source_id)))
    except Exception as problem:
        piece.failed(config.without(f"{type(problem).__name__}: {problem}", _secrets(found.source_id)))
        raise
    return piece.done()


class _Piece:
    """The piece in hand: every change of its backfill's row is made here, each at once, so that a kill loses no more."""

    def __init__(self, found: Backfill, window: Window, now: datetime) -> None:
        self.found, self.window, self.now = found, window, now
        self.rows = Backfill.objects.filter(pk=found.pk)
        self.units = self.loaded = 0
        self.is_unfinished = False

    def add(self, result: load.LoadResult) -> None:
        """Counts one unit. Should the process die before this, the unit is in the books and counted as known later."""
        is_new = result.state == "succeeded"
        self.units += is_new
        self.loaded += result.rows_loaded
        # Another worker has the unit in hand and may fail: this piece is read again.
        self.is_unfinished |= result.state == "busy"
        self.rows.update(
            units=F("units") + int(is_new),
            rows_loaded=F("rows_loaded") + result.rows_loaded,
            rows_quarantined=F("rows_quarantined") + result.rows_quarantined,
            heartbeat_at=self.now,
        )
        if result.state == "refused":
            self.rows.update(error=f"{result.name} was refused: {result.error}"[:2000])

    def is_cancelled(self) -> bool:
        """Ends the backfill when somebody asked for that."""
        return bool(self.rows.filter(state="cancelling").update(state="cancelled", finished_at=self.now))

    def failed(self, error: str) -> Piece:
        self.rows.filter(state__in=OPEN).update(state="failed", error=error[:2000], finished_at=self.now)
        return self.told("failed", error)

    def done(self) -> Piece:
        if self.is_unfinished:
            return self.told("running")
        self.rows.update(remaining_end=self.window.start, heartbeat_at=self.now)
        if self.window.start > self.found.window_start:
            return self.told("cancelled" if self.is_cancelled() else "running")
        # A cancellation that comes after the last unit has nothing left to cancel.
        self.rows.filter(state__in=OPEN).update(state="succeeded", finished_at=self.now)
        return self.told("succeeded")

    def told(self, state: str, error: str = "") -> Piece:
        return Piece(self.found.pk, state, self.window.start, self.window.end, self.units, self.loaded, error)


def _span(kind: type[Kind], start: datetime, end: datetime, now: datetime) -> Window:
    if kind.produces != "charges":
        return Window(start, min(end, now))
    # A bill is replaced by whole billing periods.
    last = (_month(end - timedelta(microseconds=1)) + timedelta(days=_A_MONTH_DAYS)) if end > start else end
    return Window(_month(start), min(_month(last), now))


def _check(source: Source, kind: type[Kind], window: Window) -> None:
    if kind.is_pushed:
        raise Refused(f"rows of {kind.title} are pushed; there is nothing to read. Send the past to its address")
    if source.is_sample:
        raise Refused("the sample organisation has no past to read")
    if not source.is_active:
        raise Refused("the source is paused; resume it first")
    if window.end <= window.start:
        raise Refused("the first day must lie before the last one and in the past")
    if (window.end - window.start).days > _LONGEST_DAYS:
        raise Refused(f"expected at most {_LONGEST_DAYS} days, found {(window.end - window.start).days}")


def _piece_start(kind: type[Kind], found: Backfill) -> datetime:
    """Where the next piece begins: at midnight, of bills at the first of a month, never before the span."""
    end = found.remaining_end
    if kind.produces == "charges":
        start = _month(end - timedelta(microseconds=1))
        for _ in range(kind.backfill_days // _A_MONTH_DAYS - 1):
            start = _month(start - timedelta(days=1))
    else:
        back = end - timedelta(days=max(1, kind.backfill_days))
        start = datetime(back.year, back.month, back.day, tzinfo=UTC)
    return max(start, found.window_start)


def _month(moment: datetime) -> datetime:
    at = moment.astimezone(UTC)
    return datetime(at.year, at.month, 1, tzinfo=UTC)


def _remedy(problem: Exception, kind: type[Kind]) -> str:
    missing = [grant for grant in kind.grants if grant not in str(problem)]
    return (
        f"{problem}; it needs: {'; '.join(missing)}"
        if missing and isinstance(problem, SourceUnavailable)
        else str(problem)
    )


def _secrets(source_id: int) -> dict[str, str]:
    return dict(Source.objects.get(pk=source_id).credentials or {})


def _audit(found: Backfill, act: str, by: str, now: datetime) -> None:
    source = Source.objects.defer("credentials").get(pk=found.source_id)
    after = {"from": found.window_start.isoformat(), "to": found.window_end.isoformat(), "state": found.state}
    record.write(actor=by, act=act, subject=f"source:{source}", at=now, after=after)
