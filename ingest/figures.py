"""Figures of the business from a file a person uploads: read for a preview, then loaded like pushed ones."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from costobs.audit import record
from ingest import configure, load
from ingest.sources import KINDS
from ingest.sources.formats import figures
from ingest.sources.formats.pushed_rows import Invalid

MOST_BYTES = 1_000_000
MOST_ROWS = 20_000
_LONGEST = 200
SOURCE = "uploaded figures"
_KIND = "business_metrics"


class BadFile(ValueError):
    """The file is no table of figures; the message says what was expected."""


@dataclass(frozen=True, slots=True)
class Wrong:
    """One line that is no figure: which, what about it, and why."""

    line: int
    field: str
    reason: str


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the file as it would be loaded."""

    line: int
    name: str
    period_start: datetime
    period_end: datetime
    value: str
    unit: str
    team: str
    feature: str
    document: Mapping[str, Any]  # as the API would take it


@dataclass(frozen=True, slots=True)
class Figures:
    """What a file holds. A wrong line costs no other."""

    rows: Sequence[Figure]
    wrong: Sequence[Wrong]


def read(*, content: bytes, name: str = "", unit: str = "", period: str = "day") -> Figures:
    """The figures of a CSV with commas, semicolons or tabs, whose first line names its columns. Raises BadFile.

    `name`, `unit` and `period` stand where a line is silent: `date, team, count` is enough with a name.
    """
    for told in (name, unit):
        if len(told) > _LONGEST or not told.isprintable():
            raise BadFile(f"expected a name and a unit of at most {_LONGEST} printable characters, found {told[:40]!r}")
    columns, lines = _table(content)
    rows: list[Figure] = []
    wrong: list[Wrong] = []
    for number, cells in lines:
        try:
            if len(cells) > len(columns):
                raise Invalid("line", f"has {len(cells)} cells, the first line names {len(columns)} columns")
            rows.append(_figure(dict(zip(columns, cells, strict=False)), number, name, unit, period))
        except Invalid as problem:
            wrong.append(Wrong(number, problem.field, str(problem)))
    return Figures(rows, wrong)


def upload(*, found: Figures, file: str, by: str, now: datetime) -> load.LoadResult:
    """Loads what was read. A figure of the same name, period and attributes replaces the earlier one of an upload."""
    source_id = configure.create_source(kind=_KIND, name=SOURCE, now=now)
    content = b"\n".join(orjson.dumps(row.document) for row in found.rows)
    name = f"{file or 'pasted figures'}, {now:%Y-%m-%d %H:%M:%S}"
    raw = KINDS[_KIND](KINDS[_KIND].Config()).open_bytes(name=name, content=content)
    result = load.run_unit(source_id=source_id, raw=raw, now=now)
    record.write(
        actor=by,
        act="figures.uploaded",
        subject=f"source:{_KIND}/{SOURCE}",
        at=now,
        after={"file": file, "figures": len(found.rows), "left_out": len(found.wrong), "state": result.state},
    )
    return result


def _table(content: bytes) -> tuple[list[str], list[tuple[int, list[str]]]]:
    if len(content) > MOST_BYTES:
        raise BadFile(
            f"expected a file of at most {MOST_BYTES // 1_000_000} MB, found {len(content):,} bytes; split it"
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise BadFile(
            f"expected UTF-8, found another encoding at byte {problem.start}; save the file as UTF-8"
        ) from None
    if not text.strip() or "\x00" in text:
        raise BadFile("expected a CSV whose first line names its columns, such as date, team, count")
    header = text.lstrip("\r\n").splitlines()[0]
    mark = next((one for one in ("\t", ";") if one in header), ",")
    reader = csv.reader(io.StringIO(text), delimiter=mark, skipinitialspace=True, strict=True)
    try:
        lines = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader if any(map(str.strip, cells))]
    except csv.Error as problem:
        raise BadFile(f"the file cannot be read near line {reader.line_num}: {problem}") from None
    columns = lines[0][1]
    if len(columns) < 2 or "" in columns or len({one.lower() for one in columns}) != len(columns):
        raise BadFile("expected a first line that names each column once, such as date, team, count")
    if len(lines) - 1 > MOST_ROWS:
        raise BadFile(f"expected at most {MOST_ROWS:,} lines, found {len(lines) - 1:,}; split the file")
    if len(lines) == 1:
        raise BadFile("the file names its columns and has no line below them")
    return columns, lines[1:]


def _figure(cells: Mapping[str, str], number: int, name: str, unit: str, period: str) -> Figure:
    told = figures.canonical(cells)
    row = figures.row(told, number, name=name, unit=unit, period=period)
    document = {
        "name": row["name"],
        "period_start": row["period_start"].isoformat(),
        "period_end": row["period_end"].isoformat(),
        "value": row["value"],
        "unit": row["unit"],
        "attributes": told["attributes"],
    }
    start, end = row["period_start"], row["period_end"]
    owner = (row["attr_team"], row["attr_feature"])
    return Figure(number, row["name"], start, end, row["value"], row["unit"], *owner, document)
