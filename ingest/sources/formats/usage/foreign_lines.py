"""Lines of somebody else's log as usage events: each is translated to our shape, left out with a reason, or rejected."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import orjson
import polars as pl

from ingest.rows import Rejected
from ingest.sources.base import Normalized
from ingest.sources.formats import lines, openings
from ingest.sources.formats.usage import usage_bodies, usage_rows
from ingest.sources.formats.usage.usage_bodies import Unreadable

# JSON of an event of our own shape, before its fields are checked; what has no column lies under `extra`.
Event = dict[str, Any]
Translate = Callable[[Mapping[str, Any], int], Event]


class LeftOut(Exception):
    """A line that was understood and rightly does not count. The message is one of few fixed reasons."""


def normalize(part: openings.Part, translate: Translate, defaults: usage_rows.Defaults) -> Iterator[Normalized]:
    """The events of one file in batches. `translate` gets the JSON object of a line and its number.

    What a rejected line looked like is told by our event, never by the vendor's line: that may hold what people wrote.
    """
    seen = usage_rows.Seen()
    with openings.stream(part) as stream:
        for block in lines.blocks(stream, name=part.name):
            translated, skipped = _translated(block, part.name, translate)
            for found in usage_rows.of_block(translated, part.name, defaults, seen):
                yield replace(found, file=part.name, skipped=skipped)
                skipped = {}


def _translated(block: lines.Block, name: str, translate: Translate) -> tuple[lines.Block, Mapping[str, int]]:
    rejected = [replace(each, raw="") for each in block.rejected]
    skipped: Counter[str] = Counter()
    events, rows = [], []
    for index, row in enumerate(block.rows.to_list()):
        try:
            events.append(_packed(translate(_parsed(block.line(index)), row)))
            rows.append(row)
        except LeftOut as reason:
            skipped[str(reason)] += 1
        except Unreadable as problem:
            rejected.append(Rejected(name, row, problem.field, str(problem)))
        except orjson.JSONEncodeError:
            rejected.append(Rejected(name, row, "line", "holds text or a number that JSON cannot keep"))
    return _block(events, rows, rejected), skipped


def _packed(event: Event) -> bytes:
    extra = orjson.dumps(event.pop("extra", {})).decode()
    return orjson.dumps({**event, usage_rows.EXTRA: extra})


def _parsed(line: bytes) -> Mapping[str, Any]:
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError as problem:
        raise Unreadable("line", f"not valid JSON: {problem}") from problem
    if not isinstance(found, dict):
        raise Unreadable("line", f"expected a JSON object, found {type(found).__name__}")
    return found


def _block(events: list[bytes], rows: list[int], rejected: list[Rejected]) -> lines.Block:
    sizes = pl.Series([len(each) + 1 for each in events], dtype=pl.Int64)
    ends = sizes.cum_sum() - 1
    starts = (ends + 1).shift(1, fill_value=0)
    return lines.Block(b"\n".join(events), starts, ends, pl.Series(rows, dtype=pl.Int64), rejected)


def whole(field: str, value: object) -> int | None:
    """A count of a vendor: a whole number however it is written, None where it says nothing. Raises Unreadable."""
    if value is None or value == "":
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and value.strip().removeprefix("-").isdigit() and len(value) < 18:
        return int(value)
    raise Unreadable(field, f"expected a whole number, found {str(value)[:100]!r}")


def inside(value: object, *path: str) -> Any:
    """What lies under the keys of a path of nested objects, None where one is missing or is no object."""
    for key in path:
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def text(value: object) -> str:
    """A text, "" for nothing and for what is no text or number."""
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else ""


USAGE = usage_bodies.PREFIX
