"""Deliveries of bills, in a directory or a store: one unit for each export and period, with its files at hand."""

import posixpath
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ingest.sources.base import BadDelivery, Cursor, Normalized, Raw, SourceUnavailable, Window
from ingest.sources.formats import manifests, openings
from ingest.sources.stores import Object, Store, listing_hash

# A file that is newer than the manifest that lists it is part of an overwrite that goes on. So long it is waited for: after
# that the files were copied here in another order.
_OVERWRITE = timedelta(hours=6)


def _all(found: Sequence[manifests.Manifest]) -> Sequence[manifests.Manifest]:
    return found


@dataclass(frozen=True, slots=True)
class Layout:
    """How a kind's deliveries look: how its data files end, which manifests are its own, whether it reads without one.

    `choose` gets the manifests that count and returns those to load; it may raise SourceUnavailable with a remedy.
    """

    suffixes: tuple[str, ...]
    choose: Callable[[Sequence[manifests.Manifest]], Sequence[manifests.Manifest]] = _all
    needs_manifest: bool = False


@dataclass(frozen=True, slots=True)
class Delivered:
    """The payload of a unit: its files on disk, or in a store under these keys and ETags."""

    parts: tuple[openings.Part, ...]
    etags: tuple[str, ...] = ()
    period: str = ""
    modified: datetime | None = None


def in_store(store: Store, layout: Layout, *, now: datetime) -> Iterator[Raw]:
    """One unit for each delivery below the store's prefix, the oldest period first.

    A delivery that lacks a file is BadDelivery, raised after the others were yielded.
    """
    objects = {each.key: each for each in store.objects()}
    data = [key for key in objects if key.lower().endswith(layout.suffixes)]
    found = [key for key in objects if manifests.is_manifest(key)]
    alone = stem(store.prefix.rstrip("/"), layout)
    if not found:
        if data and not layout.needs_manifest:
            parts = [openings.Part(key, key) for key in data]
            yield _remote(store.url, parts, [objects[key] for key in data], alone)
        return
    read, problem = _parsed((key, key, store.content(key)) for key in found)
    current = _current(read, {key: objects[key].modified for key in read}, layout)

    def unit(key: str) -> Raw | None:
        parts = _parts(read[key], key, data)
        listed = [objects[part.path] for part in parts]
        if any(objects[key].modified < each.modified > now - _OVERWRITE for each in listed):
            return None
        return _remote(key, parts, listed, read[key].export or alone, read[key], modified=objects[key].modified)

    yield from _each(current, unit, problem)


def in_paths(paths: Sequence[str], layout: Layout) -> Iterator[Raw]:
    """One unit for each file, for each delivery of a directory with manifests, or for a directory without one."""
    for path in paths:
        if not Path(path).exists():
            raise SourceUnavailable(f"{path} does not exist")
        if Path(path).is_dir():
            yield from _in_directory(path, layout)
        else:
            yield _local(Path(path).name, [openings.Part(Path(path).name, path)], export=stem(path, layout))


def pushed(name: str, content: bytes, layout: Layout) -> Raw:
    """A pushed file as a unit."""
    return _local(name, [openings.Part(name=name, content=content)], export=stem(name, layout))


def changed(found: Iterator[Raw], cursor: Cursor, window: Window) -> Iterator[Raw]:
    """The units that are new or changed since the cursor, each with the cursor after it.

    Without a cursor it is those whose period touches the window. Periods before the first window are left to a backfill,
    unless the vendor delivers one of them again after it.
    """
    seen = dict(cursor.get("deliveries", {}))
    is_first = not seen
    begun = cursor.get("begun") or [window.start.isoformat(), window.end.isoformat()]
    begun_from, begun_at = (datetime.fromisoformat(each) for each in begun)
    for raw in found:
        delivered: Delivered = raw.payload
        key = f"{raw.export} {delivered.period}" if delivered.period else raw.name
        if is_first:
            is_due = _touches(delivered.period, window)
        else:
            # What was before the first window was left to a backfill, which does not move the cursor; what the vendor
            # delivers again after it is news.
            is_again = delivered.modified is not None and delivered.modified > begun_at
            is_due = key in seen or is_again or _touches(delivered.period, Window(begun_from, window.end))
        if is_due and seen.get(key) != raw.content_hash:
            seen[key] = raw.content_hash
            yield replace(raw, cursor={"deliveries": dict(seen), "begun": begun})


def rows(
    raw: Raw,
    store: Callable[[], Store],
    read: Callable[[openings.Part, int], Iterator[Normalized]],
) -> Iterator[Normalized]:
    """What `read` finds in each file (given the file on disk and its index), its rows compared with the manifest's counts."""
    total = 0
    for index, part in enumerate(files(raw, store)):
        count = 0
        for found in read(part, index):
            count += found.batch.num_rows + len(found.rejected) + sum(found.skipped.values())
            yield found
        _compare(part.name, part.expected_rows, count)
        total += count
    _compare(raw.name, raw.expected_rows, total)


def files(raw: Raw, store: Callable[[], Store]) -> Iterator[openings.Part]:
    """Each file of a unit on disk; a copy of an object of a store is gone when the next one is asked for."""
    delivered: Delivered = raw.payload
    for index, part in enumerate(delivered.parts):
        if not delivered.etags:
            yield part
            continue
        with store().file(part.path, etag=delivered.etags[index]) as path:
            yield openings.Part(name=part.name, path=path, expected_rows=part.expected_rows)


def stem(path: str, layout: Layout) -> str:
    """A file's name without its ending: the export of a single file."""
    name = Path(path).name
    for suffix in sorted(layout.suffixes, key=len, reverse=True):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name


def _in_directory(root: str, layout: Layout) -> Iterator[Raw]:
    files = openings.within(root, layout.suffixes)
    found = [name for name in openings.within(root, (".json",)) if manifests.is_manifest(name)]
    whole = Path(root).resolve().name
    if not found:
        if not files:
            raise SourceUnavailable(f"{root} holds no file ending in {', '.join(layout.suffixes)}")
        yield _local(whole, [openings.Part(_below(file, root), file) for file in files], export=whole)
        return
    read, problem = _parsed((path, _below(path, root), Path(path).read_bytes()) for path in found)
    modified = {path: datetime.fromtimestamp(Path(path).stat().st_mtime, tz=UTC) for path in read}

    def unit(path: str) -> Raw:
        parts = _parts(read[path], path, files, root=root)
        export = read[path].export or whole
        return _local(_below(path, root), parts, export=export, manifest=read[path], modified=modified[path])

    yield from _each(_current(read, modified, layout), unit, problem)


def _parsed(
    contents: Iterable[tuple[str, str, bytes]],
) -> tuple[dict[str, manifests.Manifest], BadDelivery | None]:
    """The manifests that can be read, by their path, and the first problem of the others."""
    read: dict[str, manifests.Manifest] = {}
    problem: BadDelivery | None = None
    for path, name, content in contents:
        try:
            read[path] = manifests.parse(content, name=name)
        except BadDelivery as found:
            problem = problem or found
    return read, problem


def _each(current: Sequence[str], unit: Callable[[str], Raw | None], problem: BadDelivery | None) -> Iterator[Raw]:
    """The units that are whole, then the first problem of the others: one bad delivery does not stop the rest."""
    for path in current:
        try:
            raw = unit(path)
        except BadDelivery as found:
            problem = problem or found
            continue
        if raw is not None:
            yield raw
    if problem is not None:
        raise problem


def _current(read: Mapping[str, manifests.Manifest], modified: Mapping[str, datetime], layout: Layout) -> list[str]:
    """The newest manifest of each export and period, the oldest period first: folders of earlier runs stay around.

    Of two that are equally new the one higher up counts: AWS keeps the month's manifest above those of its assemblies.
    """
    newest: dict[tuple[str, str], str] = {}
    order = sorted(read, key=lambda path: (str(read[path].submitted or ""), modified[path], -path.count("/"), path))
    for path in order:
        newest[(read[path].export, read[path].period or path)] = path
    kept = {id(manifest) for manifest in layout.choose([read[path] for path in newest.values()])}
    wanted = [path for path in newest.values() if id(read[path]) in kept]
    return sorted(wanted, key=lambda path: (read[path].period, path))


def _parts(manifest: manifests.Manifest, name: str, present: Sequence[str], *, root: str = "") -> list[openings.Part]:
    by_name = defaultdict(list)
    for path in present:
        by_name[posixpath.basename(path.replace("\\", "/"))].append(path)
    parts = []
    for entry, count in manifest.files:
        path = manifests.resolve(entry, manifest=name, present=by_name[posixpath.basename(entry.replace("\\", "/"))])
        if not path:
            raise openings.broken(entry, f"the manifest {name} lists this file, but it was not delivered")
        parts.append(openings.Part(name=_below(path, root) if root else path, path=path, expected_rows=count))
    return parts


def _local(
    name: str,
    parts: list[openings.Part],
    *,
    export: str,
    manifest: manifests.Manifest | None = None,
    modified: datetime | None = None,
) -> Raw:
    found, size = openings.digest(parts)
    delivered = Delivered(tuple(parts), period=manifest.period if manifest else "", modified=modified)
    return _unit(name, delivered, found, size, export, manifest)


def _remote(
    name: str,
    parts: list[openings.Part],
    objects: list[Object],
    export: str,
    manifest: manifests.Manifest | None = None,
    modified: datetime | None = None,
) -> Raw:
    etags = tuple(each.etag for each in objects)
    delivered = Delivered(tuple(parts), etags, manifest.period if manifest else "", modified)
    return _unit(name, delivered, listing_hash(objects), sum(each.size for each in objects), export, manifest)


def _unit(
    name: str, delivered: Delivered, found: str, size: int, export: str, manifest: manifests.Manifest | None
) -> Raw:
    return Raw(
        name=name,
        payload=delivered,
        content_hash=found,
        size_bytes=size,
        export=export,
        run_id=(manifest.run_id if manifest else "") or found,
        files=tuple(part.name for part in delivered.parts),
        expected_rows=manifest.rows if manifest else None,
        complete_through=manifest.complete_through if manifest else None,
    )


def _touches(period: str, window: Window) -> bool:
    """Whether a period ("2026-10-01/2026-11-01", the end as the vendor writes it) is in a window; an unknown one may be."""
    begins, _, ends = period.partition("/")
    try:
        is_over = bool(ends) and datetime.fromisoformat(ends).replace(tzinfo=UTC) + timedelta(days=1) <= window.start
        return not is_over and (not begins or datetime.fromisoformat(begins).replace(tzinfo=UTC) < window.end)
    except ValueError:
        return True


def _compare(name: str, expected: int | None, found: int) -> None:
    if expected is not None and expected != found:
        reason = f"the manifest says {expected:,} rows, found {found:,} (difference {found - expected:+,})"
        raise openings.broken(name, reason, field="rows")


def _below(path: str, root: str) -> str:
    return str(Path(path).relative_to(root))
