"""One unit of one source, loaded exactly once: claimed, staged, and put in place in one closing transaction."""

import os
import socket
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import chain, islice
from typing import Any

from django.db import IntegrityError, connection, transaction

from ingest import ahead
from ingest.models import Load, QuarantinedRow, Source
from ingest.rows import Rejected
from ingest.sinks import SINKS, Sink
from ingest.sinks.base import Context, Placed
from ingest.sources import KINDS, config
from ingest.sources.base import BadDelivery, Normalized, Raw, SourceUnavailable, Window
from ingest.sources.base import Source as Kind

_KEPT_REJECTS = 1000
_LOCK_TIMEOUT = "30s"


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What one unit came to. `state`: succeeded, unchanged (loaded before), busy (another worker has it), refused, failed."""

    name: str
    state: str
    rows_read: int = 0
    rows_loaded: int = 0
    rows_duplicate: int = 0
    rows_quarantined: int = 0
    rows_skipped: int = 0
    error: str = ""


@dataclass(slots=True)
class _Tally:
    """What was found in the parts of a unit so far."""

    read: int = 0
    refused: int = 0
    rejected: list[Rejected] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    files: dict[str, Counter[str]] = field(default_factory=dict)
    reasons: dict[str, Counter[str]] = field(default_factory=dict)

    def add(self, part: Normalized) -> None:
        skipped = sum(part.skipped.values())
        read = part.batch.num_rows + len(part.rejected) + skipped
        self.read += read
        self.refused += len(part.rejected)
        self.rejected.extend(part.rejected[: max(0, _KEPT_REJECTS - len(self.rejected))])
        self.skipped.update(part.skipped)
        if part.file:
            counts = {"read": read, "quarantined": len(part.rejected), "skipped": skipped}
            self.files.setdefault(part.file, Counter()).update(counts)
            self.reasons.setdefault(part.file, Counter()).update(part.skipped)

    def add_late(self, rejected: Sequence[Rejected], rows: int) -> None:
        """Rows that were refused after they had been read, to their file; to the only one when there is no other."""
        if len(self.files) == 1:
            next(iter(self.files.values()))["quarantined"] += rows
            return
        for one in rejected:
            if one.file in self.files:
                self.files[one.file]["quarantined"] += 1

    def columns(self) -> dict[str, Any]:  # values of columns of Load
        """What a Load keeps of it."""
        names = ("read", "quarantined", "skipped")
        return {
            "rows_read": self.read,
            "rows_skipped": self.skipped.total(),
            "skipped": dict(self.skipped),
            "files": [
                {"name": file, **{name: found[name] for name in names}, "reasons": dict(self.reasons[file])}
                for file, found in self.files.items()
            ],
        }


class UnknownSource(LookupError):
    """There is no such source."""


def run_unit(*, source_id: int, raw: Raw, now: datetime, advances: bool = True) -> LoadResult:
    """Loads one unit; with `advances` false (a backfill) the cursor of the source stays where it is.

    Safe to repeat: bytes that are in the books are answered with `unchanged`, rows that are known are
    counted as duplicates. Killed anywhere before the closing commit it leaves nothing but a Load row that the next try
    takes over; the claim is a lock of the database session, so it ends with the process.
    """
    source = Source.objects.get(pk=source_id)
    lock = f"load {source_id} {raw.content_hash or raw.name}"
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", [lock])
        if not cursor.fetchone()[0]:
            return LoadResult(raw.name, "busy")
    try:
        load = _claim(source=source, raw=raw, now=now)
        if load is None:
            return LoadResult(raw.name, "unchanged")
        return _load(Context(source, load, raw, now, advances))
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", [lock])


def from_paths(*, source_id: int, paths: Sequence[str], now: datetime) -> Iterator[LoadResult]:
    """Loads every unit found at `paths`; one bad unit does not stop the others."""
    kind = connect(source_id)
    for raw in kind.open_paths(paths):
        yield run_unit(source_id=source_id, raw=raw, now=now)


def sync(*, source_id: int, window: Window | None = None, now: datetime) -> Iterator[LoadResult]:
    """Reads what is new since the source's cursor. A source that cannot be reached is marked and raises nothing more.

    Without a window it is as far back as the vendor restates, and two days at least.
    """
    source = Source.objects.get(pk=source_id)
    Source.objects.filter(pk=source_id).update(last_read_at=now)
    kind = connect(source_id)
    asked = window or Window(now - timedelta(days=max(2, kind.restatement_days)), now)
    try:
        for raw in kind.read(source.cursor, asked):
            yield run_unit(source_id=source_id, raw=raw, now=now)
    except (SourceUnavailable, BadDelivery) as problem:
        _mark(source, str(problem), now)
        yield LoadResult(str(source), "failed", error=str(problem))
    except Exception as problem:
        # Not its text: nobody foresaw it, so nobody knows what it quotes.
        _mark(source, f"the source could not be read ({type(problem).__name__}); the worker's log says where", now)
        raise


def connect(source_id: int) -> Kind:
    """The configured connector. Raises UnknownSource."""
    try:
        source = Source.objects.get(pk=source_id)
    except Source.DoesNotExist as problem:
        raise UnknownSource(f"there is no source {source_id}") from problem
    kind = KINDS[source.kind]
    return kind(config.made(kind, source.config), source.credentials)


def _claim(*, source: Source, raw: Raw, now: datetime) -> Load | None:
    """A running Load, or None when these bytes are in the books. Whoever holds the lock may take over a dead try."""
    same = (
        Load.objects.filter(source=source, content_hash=raw.content_hash) if raw.content_hash else Load.objects.none()
    )
    same.filter(state="running").update(state="failed", error="interrupted; loaded again", finished_at=now)
    if same.filter(state="succeeded").exists():
        return None
    try:
        return Load.objects.create(
            source=source,
            name=raw.name,
            content_hash=raw.content_hash,
            attempt=same.count() + 1,
            state="running",
            claimed_by=f"{socket.gethostname()}:{os.getpid()}",
            started_at=now,
            heartbeat_at=now,
            size_bytes=raw.size_bytes,
        )
    except IntegrityError:
        return None


def _load(context: Context) -> LoadResult:
    kind = connect(context.source.pk)
    sink = SINKS[kind.produces](context)
    tally = _Tally()
    try:
        sink.open()
        with closing(ahead.of(kind.normalize(context.raw))) as parts:
            early = list(islice(parts, 2))
            staging = _staging(context, sink, chain(early, parts), tally)
            # Not inside a caller's transaction: the other connection would not see what that has written.
            if sink.may_copy_ahead and len(early) > 1 and not connection.in_atomic_block:
                return _close_while_staging(context, sink, staging, tally)
            deque(staging, maxlen=0)
        if context.raw.expected_rows is not None and context.raw.expected_rows != tally.read and sink.is_all_or_nothing:
            reason = f"the manifest promises {context.raw.expected_rows} rows, {tally.read} were found"
            raise BadDelivery(Rejected(context.raw.name, tally.read, "row count", reason))
        if tally.refused + context.late_rows and sink.is_all_or_nothing:
            return _refuse(context, [*tally.rejected, *context.late], tally, tally.refused + context.late_rows)
        return _close(context, sink, tally)
    except BadDelivery as problem:
        return _refuse(context, [problem.rejected], tally, tally.refused + 1)
    except Exception as problem:
        Load.objects.filter(pk=context.load.pk).update(
            state="failed", error=f"{type(problem).__name__}: {problem}"[:2000], finished_at=context.now
        )
        raise
    finally:
        sink.drop()


def _staging(context: Context, sink: Sink, parts: Iterable[Normalized], tally: _Tally) -> Iterator[None]:
    """Stages part after part, each committed at once, and lets the caller do something after each."""
    for part in parts:
        sink.stage(part.batch)
        tally.add(part)
        Load.objects.filter(pk=context.load.pk).update(rows_read=tally.read)
        yield


def _close_while_staging(context: Context, sink: Sink, staging: Iterator[None], tally: _Tally) -> LoadResult:
    """The closing transaction of a long unit: rows are copied while a thread with a connection of its own stages the rest.

    That thread must not wait for a lock of this transaction, which in turn waits for the thread: it only adds what loads
    share (attribute sets, offerings, prices, partitions), which this transaction does not touch before the thread ends.
    """
    with closing(ahead.of(_on_own_connection(staging))) as staged, transaction.atomic():
        for _ in staged:
            sink.copy_staged()
        return _close(context, sink, tally)


def _on_own_connection(staging: Iterator[None]) -> Iterator[None]:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('lock_timeout', %s, false)", [_LOCK_TIMEOUT])
        yield from staging
    finally:
        connection.close()


def _close(context: Context, sink: Sink, tally: _Tally) -> LoadResult:
    rejected, refused = [*tally.rejected, *context.late], tally.refused + context.late_rows
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL synchronous_commit = on")
        placed = sink.place()
        _quarantine(context, [*rejected, *placed.quarantined])
        _touch(context.source.pk, placed)
        quarantined = refused + len(placed.quarantined)
        tally.add_late([*context.late, *placed.quarantined], context.late_rows + len(placed.quarantined))
        Load.objects.filter(pk=context.load.pk).update(
            state="succeeded",
            **tally.columns(),
            rows_loaded=placed.loaded,
            rows_duplicate=placed.duplicate,
            rows_quarantined=quarantined,
            finished_at=context.now,
        )
        _advance(context, placed)
    return LoadResult(
        context.raw.name,
        "succeeded",
        tally.read,
        placed.loaded,
        placed.duplicate,
        quarantined,
        tally.skipped.total(),
    )


def _refuse(context: Context, rejected: Sequence[Rejected], tally: _Tally, refused: int) -> LoadResult:
    first = rejected[0]
    more = f" (and {refused - 1} more)" if refused > 1 else ""
    error = f"{first.file}, row {first.row}, {first.field}: {first.reason}{more}"
    with transaction.atomic():
        _quarantine(context, rejected)
        Load.objects.filter(pk=context.load.pk).update(
            state="refused",
            **tally.columns(),
            rows_quarantined=refused,
            error=error[:2000],
            finished_at=context.now,
        )
        _mark(context.source, f"refused: {error}", context.now)
    return LoadResult(context.raw.name, "refused", tally.read, rows_quarantined=refused, error=error)


def _quarantine(context: Context, rejected: Sequence[Rejected]) -> None:
    QuarantinedRow.objects.bulk_create(
        QuarantinedRow(
            load=context.load,
            source=context.source,
            file=one.file,
            row_number=one.row,
            field=one.field,
            reason=one.reason[:2000].replace("\x00", ""),
            raw=one.raw[:2000].replace("\x00", ""),
        )
        for one in rejected[:_KEPT_REJECTS]
    )


def _touch(source_id: int, placed: Placed) -> None:
    touch_days(source_id=source_id, days=placed.days)


def touch_days(*, source_id: int, days: Sequence[object]) -> None:
    """Says that these days of a source have changed. Part of the caller's transaction."""
    with connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO ingest_touched AS old (source_id, day) SELECT %s, d FROM unnest(%s::date[]) AS days (d) ORDER BY d
               ON CONFLICT (source_id, day) DO UPDATE SET version = old.version + 1""",
            [source_id, list(days)],
        )


def _advance(context: Context, placed: Placed) -> None:
    source = Source.objects.select_for_update().get(pk=context.source.pk)
    if context.advances:
        source.cursor = {**source.cursor, **context.raw.cursor}
    source.last_load_at = context.now
    source.last_error = ""
    known = [moment for moment in (source.complete_through, placed.complete_through) if moment is not None]
    source.complete_through = min(max(known), context.now) if known else None
    source.save(update_fields=["cursor", "last_load_at", "last_error", "complete_through"])


def _mark(source: Source, error: str, now: datetime) -> None:
    Source.objects.filter(pk=source.pk).update(last_error=error[:2000], last_error_at=now)
