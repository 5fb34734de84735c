"""Cutting a stream into blocks of whole lines, with the number of each line, without ever holding a huge one."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO

import polars as pl
import pyarrow as pa

from ingest.rows import Rejected

MAX_LINE_BYTES = 1_000_000
BLOCK_BYTES = 8 << 20  # large enough for columnar reading, small enough to stay in the allocator's reach
_HEAD = 2_000


@dataclass(frozen=True, slots=True)
class Block:
    """Whole lines: `data[starts[i]:ends[i]]` is line number `rows[i]` of the file. Blank lines are left out."""

    data: bytes
    starts: pl.Series
    ends: pl.Series
    rows: pl.Series
    rejected: list[Rejected] = field(default_factory=list)

    def line(self, index: int) -> bytes:
        return self.data[self.starts[index] : self.ends[index]]

    def head(self, index: int) -> str:
        """The beginning of a line, as it is shown to a person."""
        start = self.starts[index]
        return self.data[start : min(self.ends[index], start + _HEAD)].decode("utf-8", "replace")


def blocks(stream: IO[bytes], *, name: str, block_bytes: int = BLOCK_BYTES) -> Iterator[Block]:
    """The lines of a stream. A line above MAX_LINE_BYTES is rejected with its size and never held in memory."""
    carry, row, dropped, head = b"", 1, 0, b""
    rejected: list[Rejected] = []
    for chunk, is_last in _chunks(stream, block_bytes):
        if dropped:
            newline = chunk.find(b"\n")
            if newline < 0:
                dropped += len(chunk)
                continue
            rejected.append(_too_long(name, row, dropped + newline, head))
            row, dropped, chunk = row + 1, 0, chunk[newline + 1 :]
        cut = len(chunk) if is_last else chunk.rfind(b"\n") + 1
        data = b"".join((carry, memoryview(chunk)[:cut])) if cut else b""
        carry = chunk[cut:] if cut else carry + chunk
        if len(carry) > MAX_LINE_BYTES:
            dropped, head, carry = len(carry), carry[:_HEAD], b""
        block, row = _block(data, row, name, rejected)
        rejected = []
        yield block
    if dropped:
        rejected.append(_too_long(name, row, dropped, head))
    if carry or rejected:
        yield _block(carry, row, name, rejected)[0]


def _chunks(stream: IO[bytes], size: int) -> Iterator[tuple[bytes, bool]]:
    """The stream in pieces, and whether each is the last one: a short file is one block, ended by a newline or not."""
    chunk = stream.read(size)
    while chunk:
        following = stream.read(size)
        yield chunk, not following
        chunk = following


def _block(data: bytes, row: int, name: str, rejected: list[Rejected]) -> tuple[Block, int]:
    view = pl.Series(pa.Array.from_buffers(pa.uint8(), len(data), [None, pa.py_buffer(data)]))
    ends = (view == 0x0A).arg_true().cast(pl.Int64)
    if data and not data.endswith(b"\n"):
        ends = pl.concat([ends, pl.Series([len(data)], dtype=pl.Int64)])
    starts = (ends.shift(1, fill_value=-1) + 1).alias("start")
    found = pl.DataFrame({"start": starts, "end": ends}).with_columns(
        size=pl.col("end") - pl.col("start"), row=pl.int_range(row, row + pl.len(), dtype=pl.Int64)
    )
    for start, _, size, at in found.filter(pl.col("size") > MAX_LINE_BYTES).iter_rows():
        rejected.append(_too_long(name, at, size, data[start : start + _HEAD]))
    kept = found.filter((pl.col("size") > 0) & (pl.col("size") <= MAX_LINE_BYTES))
    if b"\r" in data:
        kept = kept.filter(
            (pl.col("size") > 1) | pl.Series([data[start] != 0x0D for start in kept["start"]], dtype=pl.Boolean)
        )
    return Block(data, kept["start"], kept["end"], kept["row"], rejected), row + len(ends)


def _too_long(name: str, row: int, size: int, head: bytes) -> Rejected:
    return Rejected(
        file=name,
        row=row,
        field="line",
        reason=f"the line has {size:,} bytes; at most {MAX_LINE_BYTES:,} are read",
        raw=head.decode("utf-8", "replace"),
    )
