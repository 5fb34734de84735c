"""Delivery manifests of AWS, Azure and our own simple kind, read into one form."""

import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import orjson

from ingest.sources.base import Window
from ingest.sources.formats import instants, openings, recency

_FILE_LISTS = ("dataFiles", "reportKeys", "blobs", "files", "data_files")
_FILE_NAMES = ("blobName", "path", "key", "name", "url", "file")
_FILE_ROWS = ("dataRowCount", "rowCount", "row_count", "rows")
_MONTH_FOLDER = re.compile(r"(?i)(?:^|/)billing_period=(\d{4})-(0[1-9]|1[0-2])/")
_SPAN_FOLDER = re.compile(r"(?:^|/)(\d{8})-(\d{8})/")


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a delivery consists of. `rows` and each file's count are None where the manifest does not say."""

    export: str
    run_id: str
    period: str
    files: tuple[tuple[str, int | None], ...]
    rows: int | None
    submitted: datetime | None
    complete_through: datetime | None
    kind: str = ""  # Azure: ActualCost, AmortizedCost, FocusCost
    account: str = ""  # whose costs these are, where the manifest says: exports of two may have one name
    columns: tuple[str, ...] = ()  # as the header has them, where the manifest says

    @property
    def identity(self) -> str:
        """What tells these charges from all others. All exports of a scope of Azure hold the same ones: daily, monthly, by hand."""
        if self.account and (self.kind.lower() == "focuscost" or not self.export):
            return self.account
        return f"{self.account}/{self.export}" if self.account else self.export

    @property
    def last(self) -> date | None:
        """The last day that is covered; the end is written as that day, or as the first one of the month after."""
        begins, _, ends = self.period.partition("/")
        try:
            first, end = date.fromisoformat(begins), date.fromisoformat(ends)
        except ValueError:
            return None
        return end - timedelta(days=1) if end > first and end.day == 1 else end

    @property
    def month(self) -> Window | None:
        """The calendar month that a delivery is of: of those that begin with a month and end in it."""
        first = _moment(self.period.partition("/")[0])
        if (
            first is None
            or self.last is None
            or first.day != 1
            or (self.last.year, self.last.month) != (first.year, first.month)
        ):
            return None
        after = (first.date().replace(day=28) + timedelta(days=4)).replace(day=1)
        return Window(first, datetime.combine(after, time(), UTC))


def is_manifest(path: str) -> bool:
    """Whether a file's name is a manifest's: manifest.json (Azure, ours) or <export>-Manifest.json (AWS)."""
    name = posixpath.basename(path.replace("\\", "/")).lower()
    return name == "manifest.json" or name.endswith("-manifest.json")


def parse(content: bytes, *, name: str) -> Manifest:
    """The manifest, or BadDelivery naming the field that is missing."""
    try:
        document = orjson.loads(content.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError as problem:
        raise openings.broken(name, f"the manifest is not valid JSON: {problem}") from problem
    if not isinstance(document, dict):
        raise openings.broken(name, "the manifest is not a JSON object")
    listed = next((document[key] for key in _FILE_LISTS if isinstance(document.get(key), list)), None)
    if listed is None:
        raise openings.broken(
            name, f"the manifest lists no files; expected one of {', '.join(_FILE_LISTS)}", field="files"
        )
    run = _object(document, "runInfo")
    start, end = _period(document, run)
    if not start:
        start, end = _period_of_path(name)
    return Manifest(
        export=_export(document, name),
        run_id=_first(run, "runId", "run_id")
        or _first(document, "executionId", "assemblyId", "run_id", "runId", "reportId"),
        period=f"{start}/{end}" if start or end else "",
        files=tuple(_file(entry, name) for entry in listed),
        rows=next((document[key] for key in _FILE_ROWS if isinstance(document.get(key), int)), None),
        submitted=_moment(_first(run, "submittedTime") or _first(document, "submittedTime", "createdTime", "created")),
        complete_through=_complete(document),
        kind=_first(_object(document, "exportConfig"), "type"),
        account=_account(document),
        columns=_columns(document),
    )


def resolve(entry: str, *, manifest: str, present: Sequence[str]) -> str:
    """The file among `present` that a manifest's entry means, "" when it is not there.

    Entries are full URLs, keys from the bucket's root, or names beside the manifest, so the longest ending that both
    share decides; among equals the one nearest to the manifest. A copy may lie below another prefix, but all that tells a
    file from its manifest's neighbours must be the same: the file of an earlier run is another file.
    """
    wanted = entry.replace("\\", "/").split("://", 1)[-1].strip("/").split("/")
    best, rank = "", (0, 0)
    for path in present:
        parts = path.replace("\\", "/").split("/")
        same = 0
        while same < min(len(parts), len(wanted)) and parts[-1 - same] == wanted[-1 - same]:
            same += 1
        near = _nearness(path, manifest)
        if (same == len(wanted) or same >= len(parts) - near) and (same, near) > rank:
            best, rank = path, (same, near)
    return best


def _nearness(path: str, manifest: str) -> int:
    """How many folders from the top a path and its manifest share."""
    shared = 0
    for ours, theirs in zip(path.split("/")[:-1], manifest.split("/")[:-1], strict=False):
        if ours != theirs:
            break
        shared += 1
    return shared


def _file(entry: Any, name: str) -> tuple[str, int | None]:
    if isinstance(entry, str):
        return entry, None
    if isinstance(entry, dict) and (path := _first(entry, *_FILE_NAMES)):
        return path, next((entry[key] for key in _FILE_ROWS if isinstance(entry.get(key), int)), None)
    raise openings.broken(name, f"the manifest has a file without a name: {str(entry)[:200]}", field="files")


def _export(document: Mapping[str, Any], name: str) -> str:
    told = _first(_object(document, "exportConfig"), "exportName") or _first(
        document, "exportName", "export_name", "export", "reportName"
    )
    if told:
        return told
    arn = _first(document, "exportArn")
    if "/" in arn:
        return arn.rsplit("/", 1)[-1]
    stem = posixpath.basename(name)
    return stem.removesuffix(".json").removesuffix("-Manifest").removesuffix("-manifest") if "-" in stem else ""


def _period(document: Mapping[str, Any], run: Mapping[str, Any]) -> tuple[str, str]:
    billing = _object(document, "billingPeriod")
    start = (
        _first(run, "startDate") or _first(billing, "start") or _first(document, "billing_period_start", "periodStart")
    )
    end = _first(run, "endDate") or _first(billing, "end") or _first(document, "billing_period_end", "periodEnd")
    return _day(start), _day(end)


def _day(text: str) -> str:
    """The date of a moment however it is written: legacy AWS manifests say 20261001T000000.000Z."""
    moment = _moment(text)
    return moment.date().isoformat() if moment else text[:10]


def _period_of_path(name: str) -> tuple[str, str]:
    """The period that the folders of a manifest name: BILLING_PERIOD=2026-10 or 20261001-20261101."""
    if month := _MONTH_FOLDER.search(name):
        year, number = int(month.group(1)), int(month.group(2))
        after = date(year + number // 12, number % 12 + 1, 1)
        return date(year, number, 1).isoformat(), after.isoformat()
    if span := _SPAN_FOLDER.search(name):
        return _day(span.group(1)), _day(span.group(2))
    return "", ""


def root(path: str) -> str:
    """What lies above the folder of a manifest's period, the same for all runs of an export; "" where there is no such folder."""
    found = _MONTH_FOLDER.search(path) or _SPAN_FOLDER.search(path)
    return path[: found.start() + 1] if found else ""


def _columns(document: Mapping[str, Any]) -> tuple[str, ...]:
    listed = document.get("columns")
    found = []
    for each in listed if isinstance(listed, list) else ():
        if isinstance(each, str):
            found.append(each)
        elif isinstance(each, dict) and (name := _first(each, "name", "Name")):
            category = _first(each, "category")
            found.append(f"{category}/{name}" if category else name)
    return tuple(found)


def _account(document: Mapping[str, Any]) -> str:
    """The account of AWS, the scope of Azure."""
    parts = _first(document, "exportArn").split(":")
    told = _first(document, "account") or (parts[4] if len(parts) > 4 else "")
    return told or _first(_object(document, "exportConfig"), "resourceId").strip("/").lower()


def _complete(document: Mapping[str, Any]) -> datetime | None:
    """The moment up to which the vendor calls its data complete: said outright, or by FOCUS 1.3's recency metadata."""
    return _moment(_first(document, "complete_through", "completeThrough")) or recency.through(document)


def _object(document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = document.get(key)
    return found if isinstance(found, dict) else {}


def _first(document: Mapping[str, Any], *keys: str) -> str:
    return next((str(document[key]) for key in keys if document.get(key) not in (None, "")), "")


def _moment(text: str) -> datetime | None:
    return instants.one(text) if text else None
