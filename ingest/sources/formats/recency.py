"""How far a delivery is complete: FOCUS 1.3's recency metadata, in a manifest or as a JSON file beside the data."""

import posixpath
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import orjson

from ingest.sources.formats import instants

# Names that metadata of FOCUS come under; other JSON files below a prefix are not opened.
_NAME = re.compile(r"(?i)(?:metadata|recency)[^/]*\.json$")
MAX_BYTES = 1 << 20


def is_metadata(path: str) -> bool:
    """Whether a file's name is one of recency metadata: metadata.json, focus-recency.json, bill.metadata.json."""
    return bool(_NAME.search(posixpath.basename(path.replace("\\", "/"))))


def through(document: object) -> datetime | None:
    """The moment up to which everything is complete, None where the document does not say.

    Time sectors count from the first on as long as each is complete and follows the one before; several data sets are as
    complete as the least of them.
    """
    if isinstance(document, list):
        found = [moment for each in document if (moment := through(each)) is not None]
        return min(found, default=None)
    if not isinstance(document, dict):
        return None
    told = document.get("Recency", document)
    if isinstance(told, list):
        return through(told)
    if not isinstance(told, dict):
        return None
    sectors = told.get("TimeSectors")
    if isinstance(sectors, list) and sectors:
        return _of_sectors(each for each in sectors if isinstance(each, dict))
    return _moment(told, "DatasetInstanceLastUpdated") if told.get("DatasetInstanceComplete") is True else None


def beside(path: str, known: Mapping[str, datetime]) -> datetime | None:
    """What the metadata nearest to a file say: in its folder or in one above it, the least of several."""
    folder = posixpath.dirname(path.replace("\\", "/"))
    while True:
        found = [each for name, each in known.items() if posixpath.dirname(name.replace("\\", "/")) == folder]
        if found or not folder:
            return min(found, default=None)
        folder = posixpath.dirname(folder) if folder != "/" else ""


def parse(content: bytes) -> datetime | None:
    """The same of a file; one that is no JSON says nothing: the bill does not depend on it."""
    try:
        return through(orjson.loads(content.removeprefix(b"\xef\xbb\xbf")))
    except orjson.JSONDecodeError:
        return None


def _of_sectors(sectors: Iterable[Mapping[str, Any]]) -> datetime | None:
    spans = [
        (start, _moment(each, "TimeSectorEnd", "End"), each.get("TimeSectorComplete", each.get("Complete")) is True)
        for each in sectors
        if (start := _moment(each, "TimeSectorStart", "Start")) is not None
    ]
    if not spans:
        return None
    reached = min(start for start, _, _ in spans)
    for start, end, is_complete in sorted(spans, key=lambda span: span[0]):
        if start > reached:
            break
        if end is None or not is_complete:
            return min(reached, start)
        reached = max(reached, end)
    return reached


def _moment(document: Mapping[str, Any], *names: str) -> datetime | None:
    told = next((document[name] for name in names if isinstance(document.get(name), str)), "")
    return instants.one(told)
