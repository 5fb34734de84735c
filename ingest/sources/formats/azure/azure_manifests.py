"""Manifests of Azure cost exports, and which runs make up a scope's month: never two of actual, amortised and FOCUS added."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal

import orjson

from ingest.sources.formats import instants, openings
from ingest.sources.formats.azure import azure_dates

Kind = Literal["ActualCost", "AmortizedCost", "FocusCost"]
_KINDS: dict[str, Kind] = {
    "actualcost": "ActualCost",
    "usage": "ActualCost",  # what exports were before amortised ones came
    "amortizedcost": "AmortizedCost",
    "focuscost": "FocusCost",
}
_OLDEST = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Run:
    """One run of an export. `kind` is "" for what is no charge (price sheets, reservation details)."""

    path: str
    kind: Kind | Literal[""]
    type: str
    scope: str
    export: str
    run_id: str
    period: azure_dates.Period
    submitted: datetime
    modified: datetime
    files: tuple[tuple[str, int | None], ...]
    rows: int | None

    @property
    def is_empty(self) -> bool:
        """A month in which nothing was used yet has a manifest without blobs, or with a blob without rows."""
        counts = [rows for _, rows in self.files]
        return not any(counts) if self.rows == 0 else self.rows is None and all(count == 0 for count in counts)


@dataclass(frozen=True, slots=True)
class Month:
    """One scope's charges of one calendar month: the runs whose rows land, and what a person should know about it."""

    scope: str
    first: date
    runs: tuple[Run, ...]
    note: str = ""

    @property
    def last(self) -> date:
        return _last(self.first)

    @property
    def name(self) -> str:
        """What it is called whatever is delivered for it."""
        return f"{self.first:%Y-%m} of {self.scope}"

    @property
    def title(self) -> str:
        return f"{' + '.join(run.kind for run in self.runs)} {self.name}"

    @property
    def is_empty(self) -> bool:
        return all(run.is_empty for run in self.runs)


def parse(content: bytes, *, path: str, modified: datetime) -> Run | None:
    """The run that a manifest describes, None when it is another vendor's. BadDelivery names what is missing."""
    try:
        document = orjson.loads(content.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError as problem:
        raise openings.broken(path, f"the manifest is not valid JSON: {problem}") from problem
    if not isinstance(document, dict) or "exportConfig" not in document:
        return None
    config, run = _object(document, "exportConfig"), _object(document, "runInfo")
    kind: Kind | Literal[""] = _KINDS.get(str(config.get("type", "")).lower(), "")
    blobs = document.get("blobs")
    if not isinstance(blobs, list):
        raise openings.broken(path, "the manifest lists no blobs", field="blobs")
    rows = document.get("dataRowCount")
    return Run(
        path=path,
        kind=kind,
        type=str(config.get("type", "")),
        scope="/" + str(config.get("resourceId") or path.rsplit("/", 1)[0]).strip("/").lower(),
        export=str(config.get("exportName", "")),
        run_id=str(run.get("runId", "")),
        period=_period(run, path),
        submitted=instants.one(str(run.get("submittedTime", ""))) or _OLDEST,
        modified=modified,
        files=tuple(_file(each, path) for each in blobs),
        rows=rows if isinstance(rows, int) else None,
    )


def months(runs: Iterable[Run]) -> list[Month]:
    """What lands of each scope and month, the oldest month first.

    The newest run of each kind counts, whatever its folder. FocusCost has both costs and wins alone; else ActualCost and
    AmortizedCost are joined to one set; else the one that is there stands for both. A scope inside another one that
    is delivered too is left out.
    """
    newest: dict[tuple[str, date], dict[str, Run]] = defaultdict(dict)
    for run in runs:
        for first in _months_of(run.period) if run.kind else ():
            held = newest[run.scope, first]
            if run.kind not in held or _age(run, first) > _age(held[run.kind], first):
                held[run.kind] = run
    found = []
    for scope, first in sorted(newest, key=lambda key: (key[1], key[0])):
        if not any(month == first and _is_inside(scope, other) for other, month in newest):
            found.append(_month(scope, first, newest[scope, first]))
    return found


def left_out(runs: Sequence[Run]) -> list[str]:
    """What is delivered and not loaded, in words."""
    said = []
    if others := sorted({run.type or "an unnamed type" for run in runs if not run.kind}):
        said.append(f"exports that hold no charges: {', '.join(others)}")
    if parts := sorted({run.export for run in runs if run.kind and not _months_of(run.period)}):
        said.append(f"runs that cover no whole month and so can replace none: {', '.join(parts)}")
    scopes = {run.scope for run in runs if run.kind}
    if inner := sorted(scope for scope in scopes if any(_is_inside(scope, other) for other in scopes)):
        said.append(f"scopes inside another one that is delivered too: {', '.join(inner)}")
    return said


def _month(scope: str, first: date, kinds: Mapping[str, Run]) -> Month:
    focus = kinds.get("FocusCost")
    pair = [kinds[kind] for kind in ("ActualCost", "AmortizedCost") if kind in kinds]
    if focus and (not focus.is_empty or all(run.is_empty for run in pair)):
        note = f"FocusCost counts, {' and '.join(run.kind for run in pair)} beside it not" if pair else ""
        return Month(scope, first, (focus,), note)
    if len(pair) == 2:
        return Month(scope, first, tuple(pair))
    other = "AmortizedCost" if pair[0].kind == "ActualCost" else "ActualCost"
    note = f"only {pair[0].kind} is delivered, so billed and effective cost are both of it; add an export of {other}"
    return Month(scope, first, tuple(pair), note)


def _months_of(period: azure_dates.Period) -> list[date]:
    """The calendar months a run covers from their first day on; the one it ends in may go on."""
    if period.first.day != 1:
        return []
    found, first = [], period.first
    while first <= period.last:
        found.append(first)
        first = _last(first) + timedelta(days=1)
    return found


def _age(run: Run, first: date) -> tuple[date, datetime, datetime, str]:
    """What is newer of two runs for a month. One that ends early in it never replaces one that goes on."""
    return min(run.period.last, _last(first)), run.submitted, run.modified, run.path


def _last(first: date) -> date:
    return (first.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1)


def _is_inside(scope: str, other: str) -> bool:
    return scope.startswith(f"{other}/")


def _period(run: Mapping[str, Any], path: str) -> azure_dates.Period:
    """The days a run covers: as it says, else as its folder says (…/20261101-20261130/…)."""
    told = [instants.one(str(run.get(name, ""))) for name in ("startDate", "endDate")]
    if told[0] and told[1]:
        return azure_dates.Period(told[0].date(), told[1].date())
    for folder in path.split("/"):
        start, _, end = folder.partition("-")
        if len(start) == len(end) == 8 and start.isdigit() and end.isdigit():
            days = [instants.one(f"{each[:4]}-{each[4:6]}-{each[6:]}") for each in (start, end)]
            if days[0] and days[1]:
                return azure_dates.Period(days[0].date(), days[1].date())
    raise openings.broken(path, "neither the manifest nor its folder says which days it covers", field="startDate")


def _file(entry: Any, path: str) -> tuple[str, int | None]:
    name = entry.get("blobName") if isinstance(entry, dict) else None
    if not name or not isinstance(name, str):
        raise openings.broken(path, f"the manifest has a blob without a name: {str(entry)[:200]}", field="blobs")
    rows = entry.get("dataRowCount")
    return name, rows if isinstance(rows, int) else None


def _object(document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = document.get(key)
    return found if isinstance(found, dict) else {}
