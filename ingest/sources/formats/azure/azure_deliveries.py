"""Deliveries of Azure cost exports, in a container or a directory: one unit for each scope and month, with its files."""

import hashlib
import posixpath
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from pathlib import Path

from ingest.sources.base import BadDelivery, Raw, SourceUnavailable, Window
from ingest.sources.formats import deliveries, manifests, openings
from ingest.sources.formats.azure import azure_manifests
from ingest.sources.stores import Object, Store, listing_hash

SUFFIXES = (".csv", ".csv.gz", ".parquet")
_LAYOUT = deliveries.Layout(SUFFIXES)
# An export overwrites its files one by one and its manifest last; so long a file that is newer than its manifest is waited for.
_OVERWRITE = timedelta(hours=6)


@dataclass(frozen=True, slots=True)
class Delivered(deliveries.Delivered):
    """The files of a month, each with the run it is of. Without a month (a single file) both costs are the file's."""

    runs: tuple[azure_manifests.Run, ...] = ()  # one for each part
    month: azure_manifests.Month | None = None

    @property
    def is_empty(self) -> bool:
        return self.month is not None and self.month.is_empty


def runs_in_store(store: Store) -> tuple[list[azure_manifests.Run], dict[str, Object], BadDelivery | None]:
    """Every run below the store's prefix, all objects there, and the first problem of the manifests that cannot be read."""
    objects = {each.key: each for each in store.objects()}
    found = [key for key in objects if manifests.is_manifest(key)]
    runs, problem = _runs((key, store.content(key), objects[key].modified) for key in found)
    return runs, objects, problem


def in_store(store: Store, *, now: datetime) -> Iterator[Raw]:
    """One unit for each scope and month below the store's prefix, the oldest first. A damaged one is raised after the rest."""
    runs, objects, problem = runs_in_store(store)

    def unit(month: azure_manifests.Month) -> Raw | None:
        parts, of_runs = _parts(month, objects)
        listed = [objects[part.path] for part in parts]
        for each, run in zip(listed, of_runs, strict=True):
            if run.modified < each.modified > now - _OVERWRITE:
                return None
        return _unit(
            month,
            Delivered(
                tuple(parts),
                tuple(each.etag for each in listed),
                _period(month),
                _newest(month),
                runs=of_runs,
                month=month,
            ),
            listing_hash(listed),
            sum(each.size for each in listed),
        )

    yield from _each(azure_manifests.months(runs), unit, problem)


def in_paths(paths: Sequence[str]) -> Iterator[Raw]:
    """One unit for each scope and month of a directory, as it was copied from a container, or for each single file."""
    for path in paths:
        if Path(path).is_dir():
            yield from _in_directory(path)
        else:
            yield from map(_alone, deliveries.in_paths([path], _LAYOUT))


def pushed(name: str, content: bytes) -> Raw:
    """A pushed file as a unit."""
    return _alone(deliveries.pushed(name, content, _LAYOUT))


def _alone(raw: Raw) -> Raw:
    """A single file as a unit of its own: it is of no run, both costs are the one it states."""
    held: deliveries.Delivered = raw.payload
    return replace(raw, payload=Delivered(held.parts))


def _in_directory(root: str) -> Iterator[Raw]:
    found = {_below(path, root): path for path in openings.within(root, (*SUFFIXES, ".json"))}
    runs, problem = _runs(
        (name, Path(path).read_bytes(), datetime.fromtimestamp(Path(path).stat().st_mtime, tz=UTC))
        for name, path in found.items()
        if manifests.is_manifest(name)
    )
    if not runs and problem is None:
        raise SourceUnavailable(f"{root} holds no manifest.json of an export; name its files one by one")

    def unit(month: azure_manifests.Month) -> Raw:
        parts, of_runs = _parts(month, found)
        here = [openings.Part(part.name, found[part.path], expected_rows=part.expected_rows) for part in parts]
        digest, size = openings.digest(here)
        return _unit(
            month, Delivered(tuple(here), (), _period(month), _newest(month), runs=of_runs, month=month), digest, size
        )

    yield from _each(azure_manifests.months(runs), unit, problem)


def _runs(
    contents: Iterable[tuple[str, bytes, datetime]],
) -> tuple[list[azure_manifests.Run], BadDelivery | None]:
    """The runs of manifests (path, content, time), and the first problem of those that cannot be read."""
    runs: list[azure_manifests.Run] = []
    problem: BadDelivery | None = None
    for path, content, modified in contents:
        try:
            run = azure_manifests.parse(content, path=path, modified=modified)
        except BadDelivery as found:
            problem = problem or found
            continue
        runs += [run] if run else []
    return runs, problem


@contextmanager
def at_hand(part: openings.Part, etag: str, store: Callable[[], Store]) -> Iterator[openings.Part]:
    """The file on disk: where it lies, or a temporary copy of what was listed."""
    if not etag:
        yield part
        return
    with store().file(part.path, etag=etag) as path:
        yield openings.Part(name=part.name, path=path, expected_rows=part.expected_rows)


def _each(
    months: list[azure_manifests.Month],
    unit: Callable[[azure_manifests.Month], Raw | None],
    problem: BadDelivery | None,
) -> Iterator[Raw]:
    for month in months:
        try:
            raw = unit(month)
        except BadDelivery as found:
            problem = problem or found
            continue
        if raw is not None:
            yield raw
    if problem is not None:
        raise problem


def _parts(
    month: azure_manifests.Month, present: Mapping[str, object]
) -> tuple[list[openings.Part], tuple[azure_manifests.Run, ...]]:
    """The files of a month's runs: beside their manifest, or under their whole name. Another run's file is never taken."""
    parts: list[openings.Part] = []
    of_runs = []
    for run in month.runs:
        for name, rows in run.files:
            beside = posixpath.join(posixpath.dirname(run.path), posixpath.basename(name))
            path = next((each for each in (name.lstrip("/"), beside) if each in present), "")
            if not path:
                raise openings.broken(name, f"the manifest {run.path} lists this file, but it was not delivered")
            if any(part.path == path for part in parts):  # listed twice, it counts once
                continue
            parts.append(openings.Part(path, path, expected_rows=rows))
            of_runs.append(run)
    return parts, tuple(of_runs)


def _unit(month: azure_manifests.Month, delivered: Delivered, found: str, size: int) -> Raw:
    known = [run.rows for run in month.runs]
    begins, ends = (datetime.combine(day, time(), UTC) for day in (month.first, month.last + timedelta(days=1)))
    # A run may cover several months: the same bytes are then a unit of each.
    content = hashlib.sha256(f"{found} {month.title}".encode()).hexdigest()
    return Raw(
        name=month.name,
        payload=delivered,
        content_hash=content,
        size_bytes=size,
        export=month.scope,
        run_id=" + ".join(run.run_id for run in month.runs if run.run_id) or content,
        files=tuple(part.name for part in delivered.parts),
        expected_rows=None if None in known else sum(rows or 0 for rows in known),
        # A month that was charged and now is empty takes its charges back.
        span=Window(begins, ends),
    )


def _period(month: azure_manifests.Month) -> str:
    return f"{month.first.isoformat()}/{month.last.isoformat()}"


def _newest(month: azure_manifests.Month) -> datetime:
    return max(run.modified for run in month.runs)


def _below(path: str, root: str) -> str:
    return Path(path).relative_to(root).as_posix()
