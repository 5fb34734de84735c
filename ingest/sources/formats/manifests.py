"""Delivery manifests of AWS, Azure and our own simple kind, read into one form."""

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from ingest.sources.formats import instants, openings

_FILE_LISTS = ("dataFiles", "reportKeys", "blobs", "files", "data_files")
_FILE_NAMES = ("blobName", "path", "key", "name", "url", "file")
_FILE_ROWS = ("dataRowCount", "rowCount", "row_count", "rows")


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
    return Manifest(
        export=_export(document, name),
        run_id=_first(run, "runId", "run_id")
        or _first(document, "executionId", "assemblyId", "run_id", "runId", "reportId"),
        period=f"{start}/{end}" if start or end else "",
        files=tuple(_file(entry, name) for entry in listed),
        rows=next((document[key] for key in _FILE_ROWS if isinstance(document.get(key), int)), None),
        submitted=_moment(_first(run, "submittedTime") or _first(document, "submittedTime", "createdTime", "created")),
        complete_through=_complete(document),
    )


def resolve(entry: str, *, manifest: str, present: Sequence[str]) -> str:
    """The file among `present` that a manifest's entry means, "" when it is not there.

    Entries are full URLs, keys from the bucket's root, or names beside the manifest, so the longest ending that both
    share decides; among equals the one nearest to the manifest.
    """
    wanted = entry.replace("\\", "/").split("://", 1)[-1].strip("/").split("/")
    best, rank = "", (0, 0)
    for path in present:
        parts = path.replace("\\", "/").split("/")
        same = 0
        while same < min(len(parts), len(wanted)) and parts[-1 - same] == wanted[-1 - same]:
            same += 1
        if same and (same, _nearness(path, manifest)) > rank:
            best, rank = path, (same, _nearness(path, manifest))
    return best


def _nearness(path: str, manifest: str) -> int:
    if path.startswith("/") != manifest.startswith("/"):
        return 0
    return len(posixpath.commonpath([posixpath.dirname(path) or ".", posixpath.dirname(manifest) or "."]))


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
    return start[:10], end[:10]


def _complete(document: Mapping[str, Any]) -> datetime | None:
    """The moment up to which the vendor calls its data complete: said outright, or by FOCUS 1.3 recency sectors."""
    if told := _moment(_first(document, "complete_through", "completeThrough")):
        return told
    recency = _object(document, "Recency") or document
    sectors = recency.get("TimeSectors")
    if not isinstance(sectors, list):
        return None
    through = None
    for sector in sorted(
        (each for each in sectors if isinstance(each, dict)), key=lambda each: str(each.get("TimeSectorStart"))
    ):
        if sector.get("Complete", sector.get("TimeSectorComplete")) is not True:
            break
        through = _moment(_first(sector, "TimeSectorEnd", "End"))
    return through


def _object(document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = document.get(key)
    return found if isinstance(found, dict) else {}


def _first(document: Mapping[str, Any], *keys: str) -> str:
    return next((str(document[key]) for key in keys if document.get(key) not in (None, "")), "")


def _moment(text: str) -> datetime | None:
    return instants.one(text) if text else None
