"""Deliveries of bills, in a directory or a store: one unit for each export and period, with its files at hand."""

import hashlib
import posixpath
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from urllib.parse import unquote

from ingest.sources.base import BadDelivery, Cursor, Normalized, Raw, SourceUnavailable, Window
from ingest.sources.formats import manifests, months, openings, recency
from ingest.sources.stores import Object, Store, listing_hash

# A file that is newer than the manifest that lists it is part of an overwrite that goes on. So long it is waited for: after
# that the files were copied here in another order.
_OVERWRITE = timedelta(hours=6)
# A client, and a role that it takes, serves so many files: there may be ten thousand, and a role ends after an hour.
_FILES_A_LOGIN = 100


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
    covers: Window | None = None  # where all of it is of one calendar month
    names: tuple[str, ...] = ()  # of the exports that hold these charges


def in_store(store: Store, layout: Layout, *, now: datetime) -> Iterator[Raw]:
    """One unit for each delivery below the store's prefix, the oldest period first.

    A delivery that lacks a file is BadDelivery, raised after the others were yielded.
    """
    objects = {each.key: each for each in store.objects()}
    data = [key for key in objects if key.lower().endswith(layout.suffixes)]
    found = [key for key in objects if manifests.is_manifest(key)]
    alone = stem(store.prefix.rstrip("/"), layout)
    complete = _complete((key, store.content(key)) for key in objects if _says_recency(key, objects[key].size))
    if not found:
        if data and not layout.needs_manifest:
            _without_manifest(data, layout)
            parts = [openings.Part(key, key) for key in data]
            through = min(complete.values(), default=None)
            yield _remote(store.url, parts, [objects[key] for key in data], export=alone, through=through)
        return
    read, problem = _parsed((key, key, store.content(key)) for key in found)
    current = _current(read, {key: objects[key].modified for key in read}, layout)

    def unit(key: str) -> Raw | None:
        parts = _parts(read[key], key, data)
        listed = [objects[part.path] for part in parts]
        if any(objects[key].modified < each.modified > now - _OVERWRITE for each in listed):
            return None
        through = _through(read[key], [key, *(part.path for part in parts)], complete)
        made = _about(read[key], read, objects[key].modified)
        export = read[key].identity or alone
        return _remote(key, parts, listed, export=export, manifest=read[key], made=made, through=through)

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
            yield months.placed(found, raw.payload.covers)
        _compare(part.name, part.expected_rows, count)
        total += count
    _compare(raw.name, raw.expected_rows, total)


def files(raw: Raw, store: Callable[[], Store]) -> Iterator[openings.Part]:
    """Each file of a unit on disk; a copy of an object of a store is gone when the next one is asked for."""
    delivered: Delivered = raw.payload
    opened: Store | None = None
    for index, part in enumerate(delivered.parts):
        if not delivered.etags:
            yield part
            continue
        if opened is None or index % _FILES_A_LOGIN == 0:
            opened = store()
        with opened.file(part.path, etag=delivered.etags[index]) as path:
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
    told = [path for path in openings.within(root, (".json",)) if _says_recency(path, Path(path).stat().st_size)]
    complete = _complete((path, Path(path).read_bytes()) for path in told)
    if not found:
        if not files:
            raise SourceUnavailable(f"{root} holds no file ending in {', '.join(layout.suffixes)}")
        _without_manifest(files, layout)
        through = min(complete.values(), default=None)
        yield _local(whole, [openings.Part(_below(file, root), file) for file in files], export=whole, through=through)
        return
    read, problem = _parsed((path, _below(path, root), Path(path).read_bytes()) for path in found)
    modified = {path: datetime.fromtimestamp(Path(path).stat().st_mtime, tz=UTC) for path in read}

    def unit(path: str) -> Raw:
        parts = _parts(read[path], path, files, root=root)
        export = read[path].identity or whole
        through = _through(read[path], [path, *(part.path for part in parts)], complete)
        made = _about(read[path], read, modified[path])
        return _local(_below(path, root), parts, export=export, manifest=read[path], made=made, through=through)

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


def _says_recency(path: str, size: int) -> bool:
    return recency.is_metadata(path) and not manifests.is_manifest(path) and size <= recency.MAX_BYTES


def _complete(contents: Iterable[tuple[str, bytes]]) -> dict[str, datetime]:
    """How far recency metadata say that data are complete, by their path; what says nothing is left out."""
    found = ((path, recency.parse(content)) for path, content in contents)
    return {path: through for path, through in found if through is not None}


def _through(manifest: manifests.Manifest, paths: Sequence[str], complete: Mapping[str, datetime]) -> datetime | None:
    """How far a delivery is complete: as its manifest says, else as the metadata nearest to it or to its files."""
    told = (recency.beside(path, complete) for path in paths)
    return manifest.complete_through or min((each for each in told if each is not None), default=None)


def _current(read: Mapping[str, manifests.Manifest], modified: Mapping[str, datetime], layout: Layout) -> list[str]:
    """The newest manifest of each export and period, the oldest period first: folders of earlier runs stay around.

    Of a month the one that goes on to the latest day counts, whichever is newer: a run over a part of it would take the rest
    away. Of two that are equally new the one higher up counts: AWS keeps the month's manifest above those of its assemblies.
    """
    newest: dict[tuple[str, str], str] = {}
    roots: dict[tuple[str, str], str] = {}

    def age(path: str) -> tuple[str, str, datetime, int, str]:
        told = read[path]
        return str(told.last or ""), str(told.submitted or ""), modified[path], -path.count("/"), path

    for path in sorted(read, key=age):
        month, root = read[path].month, manifests.root(path)
        slot = (read[path].identity, month.start.isoformat() if month else read[path].period or path)
        if not read[path].account and roots.setdefault(slot, root) != root:
            raise SourceUnavailable(
                f"two exports called {read[path].export} lie in {roots[slot]} and {root}, and their manifests do not say whose"
                " they are; give each a source of its own with a longer prefix"
            )
        newest[slot] = path
    kept = {id(manifest) for manifest in layout.choose([read[path] for path in newest.values()])}
    wanted = [path for path in newest.values() if id(read[path]) in kept]
    return sorted(wanted, key=lambda path: (read[path].period, path))


def _parts(manifest: manifests.Manifest, name: str, present: Sequence[str], *, root: str = "") -> list[openings.Part]:
    by_name = defaultdict(list)
    for path in present:
        by_name[_name(path)].append(path)
    parts: dict[str, openings.Part] = {}  # a file that is listed twice counts once
    for entry, count in manifest.files:
        spelled = (entry, unquote(entry))  # BILLING_PERIOD%3D2026-10 in an address
        found = (manifests.resolve(each, manifest=name, present=by_name[_name(each)]) for each in spelled)
        path = next(filter(None, found), "")
        if not path:
            raise openings.broken(entry, f"the manifest {name} lists this file, but it was not delivered")
        parts.setdefault(path, openings.Part(_below(path, root) if root else path, path, expected_rows=count))
    return list(parts.values())


def _without_manifest(paths: Sequence[str], layout: Layout) -> None:
    """BadDelivery where two files are one bill in two forms, such as bill.csv and bill.csv.gz: together they would count twice."""
    seen: dict[tuple[str, str], str] = {}
    for path in paths:
        form = (posixpath.dirname(path.replace("\\", "/")), stem(path, layout))
        if (other := seen.setdefault(form, path)) != path:
            raise openings.broken(
                path, f"it seems to be the same bill as {posixpath.basename(other)}; keep one of them"
            )


def _about(
    manifest: manifests.Manifest, read: Mapping[str, manifests.Manifest], modified: datetime
) -> Callable[..., Delivered]:
    """A maker of what is delivered, with what its manifest and those around it say."""
    names = {each.export for each in read.values() if each.identity == manifest.identity and each.export}
    return partial(
        Delivered, period=manifest.period, modified=modified, covers=manifest.month, names=tuple(sorted(names))
    )


def _local(
    name: str,
    parts: list[openings.Part],
    *,
    export: str,
    manifest: manifests.Manifest | None = None,
    made: Callable[..., Delivered] = Delivered,
    through: datetime | None = None,
) -> Raw:
    found, size = openings.digest(parts)
    return _unit(name, made(tuple(parts)), found, size, export, manifest, through)


def _remote(
    name: str,
    parts: list[openings.Part],
    objects: list[Object],
    *,
    export: str,
    manifest: manifests.Manifest | None = None,
    made: Callable[..., Delivered] = Delivered,
    through: datetime | None = None,
) -> Raw:
    delivered = made(tuple(parts), tuple(each.etag for each in objects))
    size = sum(each.size for each in objects)
    return _unit(name, delivered, listing_hash(objects), size, export, manifest, through)


def _unit(
    name: str,
    delivered: Delivered,
    found: str,
    size: int,
    export: str,
    manifest: manifests.Manifest | None,
    through: datetime | None,
) -> Raw:
    # Two months may have the same bytes (no row in either), and one month may only have become more complete.
    said = (found, f"{export} {delivered.period}" if manifest else "", through.isoformat() if through else "")
    return Raw(
        name=name,
        payload=delivered,
        content_hash=hashlib.sha256("\n".join(said).encode()).hexdigest() if any(said[1:]) else found,
        size_bytes=size,
        export=export,
        # Until two accounts could have exports of one name they were called by that name alone (0.1.0).
        exports_before=delivered.names,
        run_id=(manifest.run_id if manifest else "") or found,
        files=tuple(part.name for part in delivered.parts),
        expected_rows=manifest.rows if manifest else None,
        complete_through=through,
        # A month that had charges and is delivered without any takes them back.
        span=delivered.covers,
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


def _name(path: str) -> str:
    return posixpath.basename(path.replace("\\", "/"))


def _below(path: str, root: str) -> str:
    return str(Path(path).relative_to(root))
