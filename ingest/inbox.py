"""The durable inbox: a pushed batch is committed before it is acknowledged, and drained by the tick."""

import gzip
import hashlib
import zlib
from dataclasses import dataclass
from datetime import datetime

import orjson
from django.db import IntegrityError, connection, transaction

from ingest import load
from ingest.models import InboxBatch


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
    may_be_document: bool = False,
) -> Receipt:
    """Commits one batch of lines; with `may_be_document` one JSON object or list, over however many lines, is one too.

    The same key sent again is acknowledged and stored once; without a key the bytes are the key. Raises BadBatch when the
    body is not what its encoding says, is empty, or is larger than `limit` bytes unpacked.
    """
    content = unpack(body, encoding, limit)
    if may_be_document:
        content = _as_lines(content)
    lines = content.count(b"\n") + (0 if content.endswith(b"\n") else 1)
    if not content.strip():
        raise BadBatch("expected at least one line of JSON, found an empty body")
    key = idempotency_key or hashlib.sha256(content).hexdigest()
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
    are known by their identity.
    """
    waiting = list(InboxBatch.objects.filter(drained_at=None).order_by("id").values("id", "source_id")[:limit])
    for source_id in sorted({row["source_id"] for row in waiting}):
        _drain_source(source_id, [row["id"] for row in waiting if row["source_id"] == source_id], now)
    return len(waiting)


def tidy(*, before: datetime) -> int:
    """Empties batches that were drained before `before`; their keys stay for idempotency."""
    return InboxBatch.objects.filter(drained_at__lt=before).exclude(payload=b"").update(payload=b"")


def _as_lines(content: bytes) -> bytes:
    """A JSON document as one object a line, for batches are joined when they are drained; what is none stays as it is."""
    try:
        whole = orjson.loads(content)
    except orjson.JSONDecodeError:
        return content
    return b"\n".join(orjson.dumps(each) for each in (whole if isinstance(whole, list) else [whole]))


def _drain_source(source_id: int, ids: list[int], now: datetime) -> None:
    kind = load.connect(source_id)
    batches = InboxBatch.objects.filter(pk__in=ids, drained_at=None).order_by("id")
    content = b"\n".join(gzip.decompress(bytes(batch.payload)) for batch in batches)
    if not content:
        return
    name = f"pushed batches {ids[0]}–{ids[-1]}" if len(ids) > 1 else f"pushed batch {ids[0]}"
    result = load.run_unit(source_id=source_id, raw=kind.open_bytes(name=name, content=content), now=now)
    if result.state in {"succeeded", "unchanged", "refused"}:
        InboxBatch.objects.filter(pk__in=ids, drained_at=None).update(drained_at=now, error=result.error)
