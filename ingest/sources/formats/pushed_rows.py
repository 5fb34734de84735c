"""Small JSON objects that people and programs push: one, a list, or one a line; each field checked by its name."""

import hashlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import IO, Any

import orjson
import pyarrow as pa

from ingest.rows import ATTRIBUTES, Rejected
from ingest.sources.base import Normalized, Raw, SourceUnavailable
from ingest.sources.formats import instants, lines, openings

COUNT_LIMIT = 2**62
_MAX_BYTES = 64_000_000
_MOST_DIGITS = 60
# What an index of PostgreSQL holds (2,704 bytes) must hold every identity.
MOST_TEXT = 2_000

Row = dict[str, Any]  # values of an Arrow row, of the types its schema says


class Invalid(ValueError):
    """A field of an object cannot be what it has to be."""

    def __init__(self, found: str, reason: str) -> None:
        self.field = found
        super().__init__(reason)


def normalize(part: openings.Part, schema: pa.Schema, shape: Callable[[Mapping[str, Any], int], Row]) -> Normalized:
    """The rows of a batch in order; an object with a wrong field is rejected by that field's name."""
    kept: list[Row] = []
    rejected: list[Rejected] = []
    with openings.stream(part) as stream:
        for block in _objects(stream, part.name):
            rejected += block.rejected
            for index, row in enumerate(block.rows.to_list()):
                try:
                    kept.append(shape(_parsed(block.line(index)), row))
                except Invalid as problem:
                    rejected.append(Rejected(part.name, row, problem.field, str(problem), block.head(index)))
    return Normalized(pa.RecordBatch.from_pylist(kept, schema=schema), tuple(rejected), part.name)


def open_paths(paths: Sequence[str]) -> Iterator[Raw]:
    """One unit for each file."""
    for path in paths:
        part = openings.Part(name=path.rsplit("/", 1)[-1], path=path)
        try:
            yield unit(part)
        except OSError as problem:
            raise SourceUnavailable(f"{path} cannot be read: {problem}") from problem


def unit(part: openings.Part) -> Raw:
    """One file or pushed batch as a unit."""
    found, size = openings.digest([part])
    return Raw(name=part.name, payload=part, content_hash=found, size_bytes=size, files=(part.name,))


def pushed(name: str, content: bytes) -> Raw:
    """One pushed batch as a unit. Its name is part of what it is known by: a report may say again what an earlier one
    said, after another said otherwise."""
    made = unit(openings.Part(name=name, content=content))
    return replace(made, content_hash=hashlib.sha256(f"{name} {made.content_hash}".encode()).hexdigest())


def text(parsed: Mapping[str, Any], name: str, *, required: bool = False, most: int = MOST_TEXT) -> str:
    """A text of at most so many bytes, or a whole number as one; "" where nothing was said."""
    value = parsed.get(name)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if value is not None and not isinstance(value, str):
        raise Invalid(name, f"expected text, found {type(value).__name__}")
    if "\x00" in (value or ""):
        raise Invalid(name, "holds a NUL character, which no text can keep")
    if required and not (value or "").strip():
        raise Invalid(name, "is mandatory")
    found = (value or "").strip()
    if len(found.encode(errors="replace")) > most:
        raise Invalid(name, f"expected at most {most} bytes, found {len(found):,} characters")
    return found


def one_of(parsed: Mapping[str, Any], name: str, allowed: Sequence[str], default: str) -> str:
    """A text of a closed list, in whatever case."""
    value = text(parsed, name).lower() or default
    if value not in allowed:
        raise Invalid(name, f"expected one of {', '.join(allowed)}, found {value!r}")
    return value


def moment(parsed: Mapping[str, Any], name: str, *, required: bool = False) -> datetime | None:
    """A moment between 2015 and 2100."""
    value = text(parsed, name, required=required)
    found = instants.one(value) if value else None
    if value and (found is None or not instants.EARLIEST_USAGE <= found < instants.LATEST):
        raise Invalid(name, f"expected a moment between 2015 and 2100, found {value!r}")
    return found


def count(parsed: Mapping[str, Any], name: str) -> int | None:
    """A whole number of at least 0, None where nothing was said."""
    value = parsed.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < COUNT_LIMIT:
        raise Invalid(name, f"expected a whole number of at least 0, found {value!r}")
    return value


def number(parsed: Mapping[str, Any], name: str) -> str:
    """A number as plain text for PostgreSQL's numeric: of a JSON number up to 17 digits, of a text every digit."""
    value = parsed.get(name)
    if value is None:
        raise Invalid(name, "is mandatory")
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | str):
        raise Invalid(name, f"expected a number, found {type(value).__name__}")
    try:
        found = Decimal(str(value))  # of a binary number its shortest text, which is what was written
    except ArithmeticError:
        raise Invalid(name, f"expected a number, found {value!r}") from None
    if not found.is_finite() or len(found.as_tuple().digits) > _MOST_DIGITS or abs(found.adjusted()) > _MOST_DIGITS:
        raise Invalid(name, f"expected a finite number, found {value!r}")
    return format(found, "f")


def attributes(parsed: Mapping[str, Any]) -> dict[str, str]:
    """The attribution attributes of an object, as columns; a key that is none of them is a tag."""
    given = parsed.get("attributes") or {}
    if not isinstance(given, dict):
        raise Invalid("attributes", f"expected an object, found {type(given).__name__}")
    known = {name: given[name] for name in ATTRIBUTES if name in given}
    if further := {name: value for name, value in given.items() if name not in ATTRIBUTES}:
        tags = known.get("tags")
        known["tags"] = {**further, **(tags if isinstance(tags, dict) else {"tags": tags} if tags else {})}
    return {f"attr_{name}": _shown(known.get(name)) for name in ATTRIBUTES}


def content_id(parsed: Mapping[str, Any]) -> str:
    """An identity for an object that brings none: from its content, so that a repeat is the same."""
    return hashlib.sha256(orjson.dumps(parsed, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _shown(value: Any) -> str:
    if value is None:
        return ""
    found = value if isinstance(value, str) else orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    if "\x00" in found:
        raise Invalid("attributes", "hold a NUL character, which no text can keep")
    return found


def _objects(stream: IO[bytes], name: str) -> Iterator[lines.Block]:
    """One object for each line; a single object or a list of them may be spread over several."""
    content = stream.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise openings.broken(name, f"a batch has at most {_MAX_BYTES:,} bytes; send it in parts")
    try:
        whole = orjson.loads(content)
    except orjson.JSONDecodeError:
        whole = None
    if isinstance(whole, dict):
        content = orjson.dumps(whole)
    elif isinstance(whole, list):
        content = b"\n".join(orjson.dumps(each) for each in whole)
    yield from lines.blocks(io.BytesIO(content), name=name)


def _parsed(line: bytes) -> Mapping[str, Any]:
    try:
        parsed = orjson.loads(line)
    except orjson.JSONDecodeError as problem:
        raise Invalid("line", f"not valid JSON: {problem}") from problem
    if not isinstance(parsed, dict):
        raise Invalid("line", f"expected a JSON object, found {type(parsed).__name__}")
    return parsed
