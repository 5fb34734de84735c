"""Buckets of an admin API as units to load: whole months of a bill, whole days of usage, and what each is known by."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pyarrow as pa

from ingest.rows import ATTRIBUTES, TOKEN_KINDS, USAGE_BUCKET, Rejected
from ingest.sources.base import Raw, Window
from ingest.sources.formats.admin import admin_api

MOST_COUNT = 2**63 - 1
_MAX_RAW = 2_000


@dataclass(frozen=True, slots=True)
class Found:
    """One result of one bucket; `endpoint` says which list it is from."""

    starts_at: datetime
    ends_at: datetime
    endpoint: str
    result: Mapping[str, Any]

    def line(self) -> str:
        """The same for the same content, whatever the order of keys."""
        told = [self.starts_at.isoformat(), self.ends_at.isoformat(), self.endpoint, self.result]
        return json.dumps(told, sort_keys=True, default=str)


@dataclass(frozen=True, slots=True)
class Names:
    """What ids of projects (workspaces) and keys are called, as far as the admin key may see it."""

    projects: Mapping[str, str] = field(default_factory=dict)
    keys: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Unit:
    """The results of a span, and what their ids are called."""

    found: Sequence[Found]
    names: Names


def unit(
    *,
    name: str,
    found: Sequence[Found],
    names: Names,
    complete_through: datetime,
    export: str = "",
    span: Window,
) -> Raw:
    """A unit to load. The hash is over what was said in any order, and over how far it is complete: a day without usage
    must still become complete.
    """
    lines = sorted(each.line() for each in found)
    told = json.dumps([names.projects, names.keys, complete_through.isoformat()], sort_keys=True)
    content = "\n".join([*lines, told]).encode("utf-8", "surrogatepass")
    return Raw(
        name=name,
        payload=Unit(found, names),
        content_hash=hashlib.sha256(name.encode() + b"\n" + content).hexdigest(),
        size_bytes=len(content),
        cursor={"through": complete_through.isoformat()},
        files=(name,),
        export=export,
        complete_through=complete_through,
        span=span,
    )


def found(
    api: admin_api.AdminApi, path: str, parameters: admin_api.Parameters, *, span: Window, endpoint: str
) -> list[Found]:
    """The results of every bucket of a span."""
    return [
        Found(bucket.starts_at, bucket.ends_at, endpoint, result)
        for bucket in api.buckets(path, parameters, span=span)
        for result in bucket.results
    ]


def month_unit(
    api: admin_api.AdminApi,
    month: Window,
    window: Window,
    *,
    name: str,
    found: Sequence[Found],
    names: Names,
    settle_hours: int,
    export: str,
) -> Raw:
    """A whole month of a bill. A backfill's window ends in the past and its months are whole all the same: how far it is
    complete is told by the answer's own date."""
    told_at = max(filter(None, (window.end, api.answered_at)))
    settles, day = timedelta(hours=settle_hours), timedelta(days=1)
    through = complete(month, told_at=told_at, settles=settles, step=day)
    return unit(
        name=f"{name} {month.start:%Y-%m}",
        found=found,
        names=names,
        complete_through=through,
        export=export,
        span=month,
    )


def months(window: Window) -> Iterator[Window]:
    """The whole months that the window touches, oldest first: a part of one would take the place of all of it."""
    at = window.start.astimezone(UTC)
    start = datetime(at.year, at.month, 1, tzinfo=UTC)
    while start < window.end:
        end = _month_after(start)
        yield Window(start, end)
        start = end


def days(window: Window, *, at_most: int) -> Iterator[list[Window]]:
    """The whole UTC days that the window touches, oldest first, in groups that one request can ask for."""
    start, group = midnight(window.start), list[Window]()
    while start < window.end:
        group.append(Window(start, start + timedelta(days=1)))
        start += timedelta(days=1)
        if len(group) == at_most or start >= window.end:
            yield group
            group = []


def tags(**named: str) -> str:
    """Names as the attribute `tags`, "" where there is none: rules may match them, while ids stay in their own columns."""
    told = {name: value for name, value in sorted(named.items()) if value}
    return orjson.dumps(told).decode() if told else ""


def midnight(moment: datetime) -> datetime:
    """The start of the UTC day."""
    at = moment.astimezone(UTC)
    return datetime(at.year, at.month, at.day, tzinfo=UTC)


def complete(span: Window, *, told_at: datetime, settles: timedelta, step: timedelta) -> datetime:
    """Up to where a span is complete when it was told at a moment: whole steps, each so long after it ended."""
    past = told_at.astimezone(UTC) - settles
    whole = past - (past - datetime(1970, 1, 1, tzinfo=UTC)) % step
    return min(span.end, max(span.start, whole))


class BucketRows:
    """Rows of usage that are gathered one by one; what cannot be counted is rejected and named. Answers hold sums of keys
    and models, so there are thousands of them, not millions.
    """

    def __init__(self, *, file: str, provider: str) -> None:
        self._file, self._provider = file, provider
        self._rows: list[dict[str, Any]] = []  # rows of USAGE_BUCKET
        self.rejected: list[Rejected] = []

    def add(self, number: int, found: Found, told: "Told", counts: Mapping[str, int | None]) -> None:
        """One result as a row. Raises nothing: a text that no table can hold rejects the row."""
        texts = {"request_model": told.model, "response_model": told.model, "operation": told.operation}
        texts |= {"service_tier": told.service_tier, "provider": self._provider, "deployment": ""}
        texts |= {f"attr_{name}": told.attributes.get(name, "") for name in ATTRIBUTES}
        if odd := next((name for name, value in texts.items() if "\x00" in value), ""):
            self.reject(number, found, odd, "holds a NUL character, which no text can keep")
            return
        self._rows.append(
            {
                "row_number": number,
                "starts_at": found.starts_at,
                "interval_seconds": int((found.ends_at - found.starts_at).total_seconds()),
                "context_from": told.context_from,
                "requests": told.requests,
                "errors": None,
                **dict.fromkeys(TOKEN_KINDS),
                **counts,
                **texts,
            }
        )

    def reject(self, number: int, found: Found, at: str, reason: str) -> None:
        """One result that does not count, and why."""
        self.rejected.append(Rejected(self._file, number, at, reason, found.line()[:_MAX_RAW].replace("\x00", "")))

    def batch(self) -> pa.RecordBatch:
        """What was gathered."""
        return pa.RecordBatch.from_pylist(self._rows, schema=USAGE_BUCKET)


@dataclass(frozen=True, slots=True)
class Told:
    """What a result says besides its tokens."""

    model: str
    operation: str
    service_tier: str = ""
    context_from: int = 0
    requests: int | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)


class NotACount(ValueError):
    """A field that should hold a count and does not."""

    def __init__(self, name: str, value: object) -> None:
        self.field = name
        super().__init__(f"expected a whole number of 0 or more, found {admin_api.text(value)[:60]!r}")


def count(result: Mapping[str, Any], name: str) -> int | None:
    """A count of a result, None where it says none; a name with dots goes down. Raises NotACount."""
    value: Any = result
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST_COUNT:
        raise NotACount(name, value)
    return value


def _month_after(start: datetime) -> datetime:
    return datetime(start.year + start.month // 12, start.month % 12 + 1, 1, tzinfo=UTC)
