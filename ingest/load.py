"""One unit of one source, loaded exactly once: claimed, staged, and put in place in one closing transaction."""

import os
import socket
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain, islice

from django.db import IntegrityError, connection, transaction

from ingest import ahead
from ingest.claims import claimed
from ingest.models import Load, QuarantinedRow, Source
from ingest.rows import Rejected
from ingest.sinks import SINKS, Sink
from ingest.sinks.base import Context, Placed
from ingest.sources import KINDS, config
from ingest.sources.base import BadDelivery, Normalized, Raw, SourceUnavailable, Window
from ingest.sources.base import Source as Kind
from ingest.tally import KEPT_REJECTS, Tally

_LOCK_TIMEOUT = "30s"
# A bill that was refused is tried again by itself once a day, at once when its source is changed or asked for.
_RETRY_REFUSED = timedelta(days=1)


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


class UnknownSource(LookupError):
    """There is no such source."""


class _RowsRefused(Exception):
    """A bill holds rows that cannot be read."""


def run_unit(
    *, source_id: int, raw: Raw, now: datetime, advances: bool = True, retries_after: timedelta = timedelta(0)
) -> LoadResult:
    """Loads one unit; with `advances` false (a backfill) the cursor of the source stays where it is. Bytes that were refused
    are tried again, but not within `retries_after`: until then the answer is the same refusal.

    Safe to repeat: bytes that are in the books are answered with `unchanged`, rows that are known are
    counted as duplicates. Killed anywhere before the closing commit it leaves nothing but a Load row that the next try
    takes over; the claim is a lock of the database session, so it ends with the process.
    """
    source = Source.objects.get(pk=source_id)
    with claimed(f"load {source_id} {raw.content_hash or raw.name}") as is_mine:
        if not is_mine:
            return LoadResult(raw.name, "busy")
        if (known := _refused_before(source, raw, now - retries_after)) is not None:
            return LoadResult(
                raw.name, "refused", known.rows_read, rows_quarantined=known.rows_quarantined, error=known.error
            )
        load = _claim(source=source, raw=raw, now=now)
        if load is None:
            return LoadResult(raw.name, "unchanged")
        return _load(Context(source, load, raw, now, advances))


def from_paths(*, source_id: int, paths: Sequence[str], now: datetime) -> Iterator[LoadResult]:
    """Loads every unit found at `paths`; one bad unit does not stop the others."""
    kind = connect(source_id)
    try:
        for raw in kind.open_paths(paths):
            yield run_unit(source_id=source_id, raw=raw, now=now)
    except BadDelivery as problem:
        yield LoadResult(problem.rejected.file, "refused", error=str(problem))


def sync(*, source_id: int, window: Window | None = None, now: datetime) -> Iterator[LoadResult]:
    """Reads what is new since the source's cursor. A source that cannot be reached is marked and raises nothing more.

    Without a window it is as far back as the vendor restates, and two days at least. A source is read by one worker at a
    time: one that takes minutes would else be read by the next round as well, until no worker is left.
    """
    with claimed(f"read {source_id}") as is_mine:
        if is_mine:
            yield from _read(source_id=source_id, window=window, now=now)
        else:
            yield LoadResult(f"source {source_id}", "busy")


def _read(*, source_id: int, window: Window | None, now: datetime) -> Iterator[LoadResult]:
    source = Source.objects.get(pk=source_id)
    Source.objects.filter(pk=source_id).update(last_read_at=now)
    kind = connect(source_id)
    is_bill = kind.produces == "charges"
    asked = window or Window(now - timedelta(days=max(2, kind.restatement_days)), now)
    refused: list[str] = []
    try:
        for raw in kind.read(source.cursor, asked):
            # The cursor stays before a bill that was refused, so that it is offered again; what follows is known by its hash.
            advances = not (refused and is_bill)
            result = run_unit(source_id=source_id, raw=raw, now=now, advances=advances, retries_after=_RETRY_REFUSED)
            refused += [result.error] if result.state == "refused" else []
            yield result
        _settle_error(source, refused if is_bill else [], now)
    except (SourceUnavailable, BadDelivery) as problem:
        said = config.without(str(problem), kind.credentials)  # a vendor may quote what it was sent
        mark(source_id=source_id, error=said, now=now)
        yield LoadResult(str(source), "failed", error=said)
    except Exception as problem:
        # Not its text: nobody foresaw it, so nobody knows what it quotes.
        said = f"the source could not be read ({type(problem).__name__}); the worker's log says where"
        mark(source_id=source_id, error=said, now=now)
        raise


def connect(source_id: int) -> Kind:
    """The configured connector. Raises UnknownSource."""
    try:
        source = Source.objects.get(pk=source_id)
    except Source.DoesNotExist as problem:
        raise UnknownSource(f"there is no source {source_id}") from problem
    kind = KINDS[source.kind]
    return kind(config.made(kind, source.config), source.credentials)


def _refused_before(source: Source, raw: Raw, after: datetime) -> Load | None:
    """The newest load of these bytes, if it was refused since `after`."""
    if not raw.content_hash:
        return None
    newest = Load.objects.filter(source=source, content_hash=raw.content_hash).order_by("-pk").first()
    return newest if newest is not None and newest.state == "refused" and newest.started_at > after else None


def _settle_error(source: Source, refused: Sequence[str], now: datetime) -> None:
    """After all was read: what is refused stays said although another unit loaded, what is overcome is said no more."""
    if refused:
        mark(source_id=source.pk, error=f"refused: {refused[0]}", now=now)
    elif source.last_error:
        Source.objects.filter(pk=source.pk, last_error=source.last_error).update(last_error="")


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
    tally = Tally()
    try:
        sink.open()
        with closing(ahead.of(kind.normalize(context.raw))) as parts:
            early = list(islice(parts, 2))
            staging = _staging(context, sink, chain(early, parts), tally)
            if sink.may_copy_ahead and len(early) > 1:
                return _close_while_staging(context, sink, staging, tally)
            deque(staging, maxlen=0)
        _check_whole(context, sink, tally)
        return _close(context, sink, tally)
    except _RowsRefused:
        return _refuse(context, [*tally.rejected, *context.late], tally, tally.refused + context.late_rows)
    except BadDelivery as problem:
        return _refuse(context, [problem.rejected], tally, tally.refused + 1)
    except Exception as problem:
        Load.objects.filter(pk=context.load.pk).update(
            state="failed",
            error=config.without(f"{type(problem).__name__}: {problem}", kind.credentials)[:2000].replace("\x00", ""),
            finished_at=context.now,
        )
        raise
    finally:
        sink.drop()


def _check_whole(context: Context, sink: Sink, tally: Tally) -> None:
    """Raises what refuses a bill: another number of rows than its manifest promises, or a row that cannot be read."""
    if not sink.is_all_or_nothing:
        return
    if context.raw.expected_rows is not None and context.raw.expected_rows != tally.read:
        reason = f"the manifest promises {context.raw.expected_rows} rows, {tally.read} were found"
        raise BadDelivery(Rejected(context.raw.name, tally.read, "row count", reason))
    if tally.refused + context.late_rows:
        raise _RowsRefused


def _staging(context: Context, sink: Sink, parts: Iterable[Normalized], tally: Tally) -> Generator[None]:
    """Stages part after part, each committed at once, and lets the caller do something after each.

    Of a bill that is refused already the rest is only counted.
    """
    for part in parts:
        tally.add(part)
        if not (sink.is_all_or_nothing and tally.refused):
            sink.stage(part.batch)
        Load.objects.filter(pk=context.load.pk).update(rows_read=tally.read)
        yield


def _close_while_staging(context: Context, sink: Sink, staging: Generator[None], tally: Tally) -> LoadResult:
    """The closing transaction of a long unit: rows are copied while a thread with a connection of its own stages the rest.
    Inside a caller's transaction, whose rows another connection would not see, they are staged and copied in turn.

    That thread must not wait for a lock of this transaction, which in turn waits for the thread: it only adds what loads
    share (attribute sets, offerings, prices, partitions), which this transaction does not touch before the thread ends.
    """
    turns = staging if connection.in_atomic_block else ahead.of(_on_own_connection(staging))
    with closing(turns) as staged, transaction.atomic():
        for _ in staged:
            if not (sink.is_all_or_nothing and tally.refused):
                sink.copy_staged()
        _check_whole(context, sink, tally)
        return _close(context, sink, tally)


def _on_own_connection(staging: Iterator[None]) -> Generator[None]:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('lock_timeout', %s, false)", [_LOCK_TIMEOUT])
        yield from staging
    finally:
        connection.close()


def _close(context: Context, sink: Sink, tally: Tally) -> LoadResult:
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


def _refuse(context: Context, rejected: Sequence[Rejected], tally: Tally, refused: int) -> LoadResult:
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
        mark(source_id=context.source.pk, error=f"refused: {error}", now=context.now)
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
        for one in rejected[:KEPT_REJECTS]
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


def mark(*, source_id: int, error: str, now: datetime) -> None:
    """Says on the page of a source what went wrong."""
    Source.objects.filter(pk=source_id).update(last_error=error[:2000], last_error_at=now)
