"""The durable inbox: a pushed batch is committed before it is acknowledged, and drained by the tick."""

import gzip
import hashlib
import logging
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import uuid4

import orjson
from django.db import IntegrityError, InterfaceError, OperationalError, connection, transaction
from django.db.models import Q

from ingest import load
from ingest.models import InboxBatch
from ingest.sources.base import BadDelivery, SourceUnavailable

log = logging.getLogger("costobs.ingest")

# So many bytes are joined to one unit: the rows of a unit are held while it is read.
MOST_AT_ONCE = 64 * 1024 * 1024
MOST_LINES = 1_000_000  # a call told in less than 64 bytes is none; each wrong line costs an object of Python
_KEPT_FAILED = timedelta(days=30)


class BadBatch(ValueError):
    """The pushed bytes cannot be taken; the message says what was expected."""


class TooLarge(BadBatch):
    """More bytes than one batch may have."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the sender is told: how many lines are safe, under which id, and whether they had been sent before."""

    batch_id: str
    lines: int
    is_repeat: bool


def accept(
    *,
    source_id: int,
    body: bytes,
    encoding: str,
    idempotency_key: str,
    limit: int,
    now: datetime,
    is_report: bool = False,
) -> Receipt:
    """Commits one batch of lines. Of a report, of which the last one counts, one JSON object or list is a batch too.

    The same key sent again is acknowledged and stored once. Without a key the bytes are the key, except of a report: it may
    say again what an earlier one said, after another said otherwise. Raises BadBatch when the body is not what its encoding
    says, is empty, or is larger than `limit` bytes unpacked.
    """
    content = unpack(body, encoding, limit)
    if is_report:
        content = _as_lines(content)
    lines = content.count(b"\n") + (0 if content.endswith(b"\n") else 1)
    if lines > MOST_LINES:
        raise TooLarge(f"expected at most {MOST_LINES:,} lines, found {lines:,}; send smaller batches")
    if not content.strip():
        raise BadBatch("expected at least one line of JSON, found an empty body")
    key = idempotency_key or (uuid4().hex if is_report else hashlib.sha256(content).hexdigest())
    try:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SET LOCAL synchronous_commit = on")
            InboxBatch.objects.create(
                source_id=source_id,
                idempotency_key=key,
                payload=gzip.compress(content, 1),
                lines=lines,
                received_at=now,
            )
    except IntegrityError:
        return Receipt(key, lines, is_repeat=True)
    return Receipt(key, lines, is_repeat=False)


def unpack(body: bytes, encoding: str, limit: int) -> bytes:
    """The bytes of a body. Raises BadBatch, and TooLarge before more than `limit` bytes are held."""
    if encoding not in {"", "identity", "gzip"}:
        raise BadBatch(f"expected Content-Encoding gzip or none, found {encoding!r}")
    if encoding != "gzip":
        if len(body) > limit:
            raise TooLarge(f"expected at most {limit} bytes, found {len(body)}; send smaller batches")
        return body
    try:
        inflate = zlib.decompressobj(wbits=31)
        content = inflate.decompress(body, limit)
    except zlib.error as problem:
        raise BadBatch(f"expected gzip, found bytes that do not unpack: {problem}") from problem
    if inflate.unconsumed_tail:
        raise TooLarge(f"expected at most {limit} bytes unpacked; send smaller batches")
    if not inflate.eof:
        raise BadBatch("expected a whole gzip stream, found a truncated one")
    return content


def drain(*, now: datetime, limit: int = 200) -> int:
    """Loads waiting batches, oldest first, many in one unit for each source; returns how many batches were drained.

    A batch is marked in the transaction after its rows are in the books; dying in between, it is drained again and its rows
    are known by their identity. What cannot be loaded is set aside with the reason and costs no other batch; what the
    database could not do now is tried again.
    """
    waiting = list(InboxBatch.objects.filter(drained_at=None).order_by("id").values("id", "source_id")[:limit])
    for source_id in sorted({row["source_id"] for row in waiting}):
        _drain_source(source_id, [row["id"] for row in waiting if row["source_id"] == source_id], now)
    return len(waiting)


def tidy(*, before: datetime) -> int:
    """Empties batches that were drained before `before`; their keys stay for idempotency. Those that failed keep longer."""
    is_over = Q(error="", drained_at__lt=before) | Q(drained_at__lt=before - _KEPT_FAILED)
    return InboxBatch.objects.filter(is_over).exclude(payload=b"").update(payload=b"")


def _as_lines(content: bytes) -> bytes:
    """A JSON document as one object a line, for batches are joined when they are drained; what is none stays as it is."""
    try:
        whole = orjson.loads(content)
    except orjson.JSONDecodeError:
        return content
    return b"\n".join(orjson.dumps(each) for each in (whole if isinstance(whole, list) else [whole]))


def _drain_source(source_id: int, ids: list[int], now: datetime) -> None:
    for part, content in _parts(source_id, ids):
        try:
            _load(source_id, part, content, now)
        except Exception as problem:
            if not _is_lasting(problem):
                log.warning("pushed batches of source %s wait: %s", source_id, type(problem).__name__)
                if not connection.is_usable():
                    raise
                return
            log.exception("pushed batches of source %s cannot be loaded", source_id)
            if len(part) > 1:
                for each in part:
                    _drain_source(source_id, [each], now)
            else:
                _set_aside(source_id, part[0], problem, now)


def _parts(source_id: int, ids: list[int]) -> Iterator[tuple[list[int], bytes]]:
    """The batches joined, as many at once as may be held."""
    part, held, size, lines = list[int](), list[bytes](), 0, 0
    for batch in InboxBatch.objects.filter(source_id=source_id, pk__in=ids, drained_at=None).order_by("id").iterator(1):
        content = gzip.decompress(bytes(batch.payload))
        if part and (size + len(content) > MOST_AT_ONCE or lines + batch.lines > MOST_LINES):
            yield part, b"\n".join(held)
            part, held, size, lines = [], [], 0, 0
        part.append(batch.pk)
        held.append(content)
        size, lines = size + len(content), lines + batch.lines
    if part:
        yield part, b"\n".join(held)


def _load(source_id: int, ids: list[int], content: bytes, now: datetime) -> None:
    kind = load.connect(source_id)
    name = f"pushed batches {ids[0]}–{ids[-1]}" if len(ids) > 1 else f"pushed batch {ids[0]}"
    result = load.run_unit(source_id=source_id, raw=kind.open_bytes(name=name, content=content), now=now)
    if result.state in {"succeeded", "unchanged", "refused"}:
        InboxBatch.objects.filter(pk__in=ids, drained_at=None).update(drained_at=now, error=result.error)


def _is_lasting(problem: Exception) -> bool:
    """Whether the same batch would fail again: not when the database was busy or gone. A limit of PostgreSQL's stays."""
    if isinstance(problem, InterfaceError | OperationalError):
        return str(getattr(problem.__cause__, "sqlstate", "") or "").startswith("54")
    return True


def _set_aside(source_id: int, batch_id: int, problem: Exception, now: datetime) -> None:
    # What a person wrote for a person is said; of the rest nobody knows what it quotes.
    is_ours = isinstance(problem, SourceUnavailable | BadDelivery)
    error = str(problem) if is_ours else f"could not be loaded ({type(problem).__name__}); the worker's log says where"
    InboxBatch.objects.filter(pk=batch_id, drained_at=None).update(drained_at=now, error=error[:2000])
    load.mark(source_id=source_id, error=f"pushed batch {batch_id}: {error}", now=now)
