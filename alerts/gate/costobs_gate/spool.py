"""The spool: what was admitted and what it came to, on disk until costobs has acknowledged it.

One directory for each process, held by a file lock:

    spool/<id>/lock             held while the process lives; whoever gets it may adopt the rest
    spool/<id>/segment-7.ndjson lines: {"admitted": event} before forwarding, {"settled": event} after
    spool/<id>/batch-7.gz       the settled events of segment 7, ready to be sent; replaces the segment
    rejected/<batch id>.gz      what costobs refused for good; kept for people

A batch is named after its segment, so a crash between any two steps repeats the same batch under the same id.
"""

import fcntl
import gzip
import json
import logging
import os
import shutil
import threading
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from costobs_gate import accounts
from costobs_gate.compact import encode as _encode

log = logging.getLogger("costobs_gate")

Event = Mapping[str, object]
SEGMENT_BYTES = 2 * 1024 * 1024  # about 4,000 requests; a longer backlog becomes several batches
ADOPTED = "adopted"
WAITING = 10_000  # settlements in memory; beyond them a client that is refused again and again may not take all of it


@dataclass(frozen=True, slots=True)
class Batch:
    """Events ready to be sent: gzipped lines under an id that never changes."""

    id: str
    path: Path
    adopted: bool


class Spool:
    """The spool of this process. `admit` and `settle` belong to the event loop, the rest to the sending thread."""

    def __init__(self, directory: Path, *, fsync: str) -> None:
        self.directory = directory
        self.id = f"{os.getpid()}-{uuid.uuid4().hex[:12]}"
        self.home = directory / "spool" / self.id
        self._fsync = fsync
        self._guard = threading.Lock()
        self._open: dict[str, bytes] = {}  # admitted and not settled, carried from segment to segment
        self._unwritten: dict[str, bytes] = {}  # settlements that the disk refused
        self._closed: list[Path] = []  # segments that are not batches yet
        self._torn: set[Path] = set()  # segments in which a line may be cut
        self._number = 0
        self._size = 0
        self._settled = 0  # settlements in the open segment
        self._synced = True
        self._lock_file = self._make_home()
        self._segment = self._new_segment(())

    def admit(self, event: Event) -> None:
        """Write that a request will be forwarded. Raises OSError: what cannot be recorded must not be forwarded."""
        line = _line("admitted", event)
        with self._guard:
            self._write(line)
            self._open[str(event["event_id"])] = line

    def settle(self, event: Event) -> None:
        """Write what a request came to; it replaces its admission. Never raises: a disk that refuses is tried again."""
        id_, line = str(event["event_id"]), _line("settled", event)
        with self._guard:
            try:
                self._write(line)
            except OSError as error:
                if event["outcome"] == "refused" and len(self._unwritten) >= WAITING:
                    log.error("a refusal is left out of the books, the spool cannot be written: %s", error)
                    return
                self._unwritten[id_] = line
                log.error("a settlement waits in memory, the spool cannot be written: %s", error)
            else:
                self._settled += 1
                self._open.pop(id_, None)

    def sync(self) -> None:
        """Bring what was written to the disk itself; called each second by the sending thread."""
        if self._fsync == "second" and not self._synced:
            self._synced = True
            os.fsync(self._segment)

    def is_due(self, *, backlog: bool) -> bool:
        """Whether the open segment should become a batch: at once normally, only when large while batches pile up."""
        news = self._settled > 0 and (not backlog or self._size > SEGMENT_BYTES)
        return news or bool(self._closed) or bool(self._unwritten)

    def rotate(self) -> None:
        """Close the open segment and make it a batch; what is still in flight is carried over. Raises OSError, and then
        loses nothing: the next call goes on."""
        with self._guard:
            self._swap()
        if self._closed and self._fsync != "never":
            # What was carried over must be on the disk before the segment that it came from goes. Not under the guard:
            # the event loop would wait for the disk.
            os.fsync(self._segment)
        while self._closed:
            segment = self._closed[0]
            durable = self._fsync != "never"
            lines = _torn_apart(segment) if segment in self._torn else _settled_lines(segment)
            _write_batch(self.home / f"batch-{_number(segment)}.gz", lines, durable=durable)
            accounts.add(self.home, _number(segment), _accounted(lines), durable=durable)
            self._torn.discard(segment)
            segment.unlink()
            self._closed.pop(0)

    def batches(self) -> list[Batch]:
        """What is ready to be sent, the oldest first."""
        return _batches(self.home, self.id, adopted=False)

    @property
    def open_requests(self) -> int:
        """Requests that were admitted and are not settled."""
        return len(self._open)

    def close(self, *, has_account: bool = False) -> None:
        """Give the lock back; what is left is adopted by the next process, and with it the account of leases that
        costobs does not have yet (`has_account`: it has)."""
        with self._guard:
            os.close(self._segment)
            self._segment = -1  # a late write fails instead of reaching a file that got the same number
            kept = (self.home / accounts.FILE).exists() and not has_account
            if not (self._settled or self._open or self._closed or kept or any(self.home.glob("batch-*"))):
                shutil.rmtree(self.home, ignore_errors=True)
            os.close(self._lock_file)

    def orphans(self) -> "list[Orphan]":
        """Spools whose process is dead, each held by its lock until released."""
        found = []
        for home in sorted((self.directory / "spool").iterdir()):
            if home != self.home and not home.name.startswith("."):
                orphan = Orphan.take(home)
                if orphan is not None:
                    found.append(orphan)
        return found

    def _make_home(self) -> int:
        """Make the directory under a hidden name and lock it before it can be seen, so nobody adopts it half made."""
        draft = self.home.with_name(f".{self.id}")
        draft.mkdir(parents=True, mode=0o700)
        lock = os.open(draft / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        draft.rename(self.home)
        return lock

    def _swap(self) -> None:
        if not self._settled and not self._unwritten:
            return
        unsettled = {id_: line for id_, line in self._open.items() if id_ not in self._unwritten}
        previous, closed = self._segment, self.home / f"segment-{self._number}.ndjson"
        self._segment = self._new_segment([*unsettled.values(), *self._unwritten.values()])
        self._settled = len(self._unwritten)
        self._open = unsettled
        self._unwritten = {}
        self._closed.append(closed)
        os.close(previous)

    def _new_segment(self, lines: Iterable[bytes]) -> int:
        """A segment that begins with `lines`, or nothing at all when the disk does not take them."""
        path = self.home / f"segment-{self._number + 1}.ndjson"
        content = b"".join(lines)
        segment = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
        try:
            if os.write(segment, content) != len(content):
                raise OSError("the disk took only a part of the new segment")
        except OSError:
            os.close(segment)
            path.unlink()
            raise
        self._number += 1
        self._size = len(content)
        return segment

    def _write(self, line: bytes) -> None:
        written = os.write(self._segment, line)
        self._size += written
        self._synced = False
        if written != len(line):
            self._torn.add(self.home / f"segment-{self._number}.ndjson")
            os.write(self._segment, b"\n")  # keep the torn line apart from the next one
            raise OSError("the disk took only a part of the line")
        if self._fsync == "always":
            os.fsync(self._segment)


class Orphan:
    """The spool of a dead process, held by its lock."""

    def __init__(self, home: Path, lock: int) -> None:
        self.home = home
        self._lock = lock

    @classmethod
    def take(cls, home: Path) -> "Orphan | None":
        """Get the lock of a spool; None while its process lives or another gate is at it."""
        try:
            lock = os.open(home / "lock", os.O_RDWR)
        except OSError:
            return None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            return None
        return cls(home, lock)

    def batches(self) -> list[Batch]:
        """All it left, ready to be sent. What was admitted and never settled becomes an event of unknown usage."""
        final = self.home / f"batch-{ADOPTED}.gz"
        segments = sorted(self.home.glob("segment-*.ndjson"), key=_number)
        if not final.exists():
            fresh = [s for s in segments if not (self.home / f"batch-{_number(s)}.gz").exists()]
            settled, unsettled = _read(segments)
            fresh_settled, _ = _read(fresh)
            unknown = [_unknown(event) for id_, event in unsettled.items() if id_ not in settled]
            self._account(segments, unknown)
            found = {**fresh_settled, **{str(event["event_id"]): event for event in unknown}}
            _write_batch(final, _lines(found), durable=True)
        for segment in segments:
            segment.unlink()
        return _batches(self.home, self.home.name, adopted=True)

    def account(self) -> dict[int, str]:
        """What its requests cost, by lease account; complete once `batches` was asked."""
        return accounts.settled(self.home)

    def _account(self, segments: list[Path], unknown: list[Event]) -> None:
        """What was in flight counts as it was reserved: nobody knows what it used."""
        last = accounts.through(self.home)
        later = [segment for segment in segments if _number(segment) > last]
        if later:
            settled, _ = _read(later)
            accounts.add(self.home, _number(later[-1]), [*settled.values(), *unknown], durable=True)

    def release(self, *, done: bool) -> None:
        """Give the lock back; remove the spool when all of it was delivered."""
        if done:
            shutil.rmtree(self.home, ignore_errors=True)
        os.close(self._lock)

    def __enter__(self) -> "Orphan":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        left = [*self.home.glob("batch-*"), *self.home.glob("segment-*"), *self.home.glob(accounts.FILE)]
        self.release(done=not left)


def reject(batch: Batch, directory: Path) -> Path:
    """Move a batch that costobs refuses for good where people can look at it."""
    kept = directory / "rejected"
    kept.mkdir(parents=True, exist_ok=True, mode=0o700)
    return batch.path.rename(kept / f"{batch.id}.gz")


def _line(kind: str, event: Event) -> bytes:
    return _encode({kind: event}).encode() + b"\n"


def _number(path: Path) -> int:
    return int(path.stem.partition("-")[2])


def _batches(home: Path, id_: str, *, adopted: bool) -> list[Batch]:
    def order(path: Path) -> tuple[bool, int]:
        last = path.stem == f"batch-{ADOPTED}"
        return last, 0 if last else _number(path)

    found = sorted(home.glob("batch-*.gz"), key=order)
    return [Batch(f"{id_}-{path.stem.partition('-')[2]}", path, adopted) for path in found]


def _read(segments: Iterable[Path]) -> tuple[dict[str, Event], dict[str, Event]]:
    """The settled and the admitted events of segments by event id. A torn line (power loss) is logged and left out."""
    settled: dict[str, Event] = {}
    admitted: dict[str, Event] = {}
    for segment in segments:
        for number, line in enumerate(segment.read_bytes().splitlines(), start=1):
            try:
                ((kind, event),) = json.loads(line).items()
                (settled if kind == "settled" else admitted)[event["event_id"]] = event
            except (ValueError, KeyError, TypeError, AttributeError):
                log.error("%s line %d cannot be read and is left out", segment.name, number)
    return settled, admitted


def _unknown(event: Event) -> Event:
    return {**event, "outcome": "unknown", "usage_known": False}


def _lines(events: Mapping[str, Event]) -> bytes:
    return b"".join(_encode(event).encode() + b"\n" for event in events.values())


def _torn_apart(segment: Path) -> bytes:
    settled, _ = _read([segment])
    return _lines(settled)


def _settled_lines(segment: Path) -> bytes:
    """The settled events of a segment of this process, as they were written. Reading them would take the event loop's
    turn for as long as it lasts, since only one thread runs Python at a time."""
    begin, end = b'{"settled":', b"}\n"
    with segment.open("rb") as lines:
        return b"".join(line[len(begin) : -len(end)] + b"\n" for line in lines if line.startswith(begin))


def _accounted(lines: bytes) -> list[Event]:
    """The events under hard budgets. Only these are read: the others would hold up the event loop for nothing."""
    name = f'"{accounts.ACCOUNTS}":'.encode()
    return [json.loads(line) for line in lines.splitlines() if name in line] if name in lines else []


def _write_batch(path: Path, lines: bytes, *, durable: bool) -> None:
    """Write a batch as a whole or not at all. No events, no batch."""
    if not lines:
        return
    draft = path.with_suffix(".draft")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(gzip.compress(lines, 6, mtime=0))
        if durable:
            file.flush()
            os.fsync(file.fileno())
    draft.rename(path)
    if durable:
        _sync_directory(path.parent)


def _sync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
