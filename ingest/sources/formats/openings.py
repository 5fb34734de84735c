"""Opening delivered files: by their first bytes rather than their names, as streams, with their hash."""

import gzip
import hashlib
import io
import os
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pyarrow as pa

from ingest.rows import Rejected
from ingest.sources.base import BadDelivery

_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_ZIP = b"PK\x03\x04"
_PARQUET = b"PAR1"
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Part:
    """One file of a unit: on disk (`path`), or pushed and held in memory (`content`)."""

    name: str
    path: str = ""
    content: bytes = b""
    expected_rows: int | None = None


@contextmanager
def stream(part: Part) -> Iterator[IO[bytes]]:
    """The decompressed bytes of a file. BadDelivery names it when it is missing, truncated or damaged."""
    try:
        with _raw(part) as raw:
            magic = raw.peek(4)[:4]
            if magic.startswith(_GZIP):
                with gzip.open(raw) as unpacked:
                    yield unpacked  # type: ignore[misc]  # GzipFile reads like IO[bytes]
            elif magic == _ZSTD:
                yield pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), "zstd")
            elif magic == _ZIP:
                with zipfile.ZipFile(raw) as archive, archive.open(_only(archive, part.name)) as unpacked:
                    yield unpacked
            else:
                yield raw
    except (EOFError, gzip.BadGzipFile, zipfile.BadZipFile, zlib.error) as problem:
        raise broken(
            part.name, f"the compressed file is truncated or damaged ({problem}); deliver it again"
        ) from problem
    except FileNotFoundError as problem:
        raise broken(part.name, "the file is named but does not exist") from problem
    except pa.ArrowInvalid:
        raise
    except OSError as problem:
        raise broken(part.name, f"the file cannot be read to its end ({problem}); deliver it again") from problem


def is_parquet(part: Part) -> bool:
    """Whether the file begins as Parquet does."""
    with _raw(part) as raw:
        return raw.read(4) == _PARQUET


def is_compressed(part: Part) -> bool:
    """Whether the file begins as gzip or zstd do."""
    with _raw(part) as raw:
        magic = raw.read(4)
    return magic.startswith(_GZIP) or magic in (_ZSTD, _ZIP)


def digest(parts: Sequence[Part]) -> tuple[str, int]:
    """SHA-256 over the bytes of all parts in order, and how many bytes those are."""
    found, size = hashlib.sha256(), 0
    for part in parts:
        with _raw(part) as raw:
            while block := raw.read(_BLOCK):
                found.update(block)
                size += len(block)
    return found.hexdigest(), size


def within(path: str, suffixes: Sequence[str]) -> list[str]:
    """The files below a directory whose name ends in one of the suffixes, in a fixed order, without hidden ones."""
    found = []
    for folder, folders, files in os.walk(path):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        wanted = (name for name in files if not name.startswith(".") and name.lower().endswith(tuple(suffixes)))
        found += [str(Path(folder, name)) for name in wanted]
    return sorted(found)


def broken(file: str, reason: str, *, field: str = "file", row: int = 0, raw: str = "") -> BadDelivery:
    """The refusal of a whole file."""
    return BadDelivery(Rejected(file=file, row=row, field=field, reason=reason, raw=raw[:2000]))


def _only(archive: zipfile.ZipFile, name: str) -> str:
    held = [each for each in archive.namelist() if not each.endswith("/")]
    if len(held) != 1:
        raise broken(name, f"the archive holds {len(held)} files; expected one")
    return held[0]


def _raw(part: Part) -> io.BufferedReader:
    if part.path:
        return Path(part.path).open("rb")
    return io.BufferedReader(io.BytesIO(part.content))
