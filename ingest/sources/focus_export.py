"""Bills in the FOCUS format: CSV or Parquet, from files, directories, S3, Google Cloud Storage or Azure Blob."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from ingest.sources import stores
from ingest.sources.base import (
    Cursor,
    Finding,
    Normalized,
    Produces,
    Raw,
    Secret,
    Source,
    SourceUnavailable,
    Window,
    setting,
)
from ingest.sources.formats import charge_rows, focus_columns, focus_rows, focus_tables, manifests, openings

SUFFIXES = (".csv", ".csv.gz", ".csv.zst", ".parquet", ".tsv", ".tsv.gz")


@dataclass(frozen=True, slots=True)
class FocusExportConfig:
    """Where the export is delivered and how its tags are read."""

    url: str = setting("", hint="s3://bucket/prefix, gs://bucket/prefix, az://account/container/prefix, or a path")
    endpoint_url: str = setting("", hint="Only for a store that is not the vendor's own (MinIO, an emulator)")
    region: str = setting("", hint="S3: the bucket's region, such as eu-central-1")
    role_arn: str = setting("", hint="S3: a role of your account to read the bucket in")
    external_id: str = setting("", hint="S3: the external id that role asks for")
    default_currency: str = setting("", hint="For exports that do not say their currency, such as EUR")
    tag_map: Mapping[str, str] = setting(dict, hint="Our attribute and your tag key, such as team = squad")
    tag_keys: Sequence[str] = setting(tuple, hint="Further tag keys that rules may use")


@dataclass(frozen=True, slots=True)
class _Delivered:
    """The files of one delivery and where they are: on disk, or in a bucket under these keys and ETags."""

    parts: tuple[openings.Part, ...]
    etags: tuple[str, ...] = ()


class FocusExport(Source):
    """A FOCUS 1.0 to 1.4 export (AWS Data Exports, Microsoft Cost Management, Oracle, and everyone else who writes it).

    A single file, a directory, `s3://bucket/prefix`, `gs://bucket/prefix` or `az://account/container/prefix`. A directory
    or prefix with a manifest (AWS, Azure, or ours: `{"export": "e", "run_id": "r", "files": [{"path": "a.csv", "rows":
    10}]}`) is read as the manifest says and its row counts are checked; without one all its files form one delivery. Each
    delivery replaces the earlier one of the same export and billing period; a row that cannot be read refuses it.

    Example configuration:

        {"url": "s3://bills/focus", "region": "eu-central-1", "endpoint_url": "", "default_currency": "",
         "tag_map": {"team": "squad"}, "tag_keys": ["product"]}

    Credentials of the store; without them the vendor's usual chain (role, environment).
    """

    kind: ClassVar[str] = "focus_export"
    title: ClassVar[str] = "FOCUS export"
    produces: ClassVar[Produces] = "charges"
    Config: ClassVar[type[FocusExportConfig]] = FocusExportConfig
    expected_lag_seconds: ClassVar[int] = 36 * 3600
    restatement_days: ClassVar[int] = 45
    poll_seconds: ClassVar[int] = 900
    secrets: ClassVar[Sequence[Secret]] = stores.SECRETS
    grants: ClassVar[Sequence[str]] = ("read and list on the bucket or container, below the prefix",)

    def read(self, cursor: Cursor, window: Window) -> Iterator[Raw]:
        """Deliveries that are new or changed since the cursor, the oldest first."""
        if not self.config.url:
            return
        found = self._from_store() if stores.is_remote(self.config.url) else self.open_paths([self.config.url])
        seen = dict(cursor.get("deliveries", {}))
        for raw in found:
            if seen.get(raw.name) == raw.content_hash:
                continue
            seen[raw.name] = raw.content_hash
            yield replace(raw, cursor={"deliveries": dict(seen)})

    def probe(self, window: Window) -> Iterator[Finding]:
        """Whether the place can be listed and read, then which deliveries it holds."""
        if stores.is_remote(self.config.url):
            try:
                yield from self._store().probe()
            except SourceUnavailable as problem:
                yield Finding(f"Reach {self.config.url}", "missing", str(problem), "; ".join(self.grants))
                return
        yield from super().probe(window)

    def open_paths(self, paths: Sequence[str]) -> Iterator[Raw]:
        """One unit for each file, for each manifest of a directory, or for a directory without a manifest."""
        for path in paths:
            if not Path(path).exists():
                raise SourceUnavailable(f"{path} does not exist")
            if not Path(path).is_dir():
                yield _unit(Path(path).name, [openings.Part(Path(path).name, path)], export=_stem(path))
                continue
            files = openings.within(path, SUFFIXES)
            listed = openings.within(path, (".json",))
            found = [name for name in listed if manifests.is_manifest(name)]
            if found:
                yield from _from_manifests(path, found, files)
            elif files:
                parts = [openings.Part(_below(file, path), file) for file in files]
                yield _unit(Path(path).resolve().name, parts, export=Path(path).resolve().name)
            else:
                raise SourceUnavailable(f"{path} holds no file ending in {', '.join(SUFFIXES)}")

    def open_bytes(self, *, name: str, content: bytes) -> Raw:
        """A pushed file."""
        return _unit(name, [openings.Part(name=name, content=content)], export=_stem(name))

    def normalize(self, raw: Raw) -> Iterator[Normalized]:
        """The charges of a delivery, file by file. BadDelivery when a file is damaged or its rows are not all there."""
        delivered: _Delivered = raw.payload
        reading = charge_rows.Reading(
            default_currency=self.config.default_currency.upper(),
            tag_map=dict(self.config.tag_map),
            tag_keys=tuple(self.config.tag_keys),
        )
        total = 0
        for file_index, part in enumerate(delivered.parts):
            rows = 0
            with self._local(part, delivered.etags[file_index] if delivered.etags else "") as local:
                columns: focus_columns.Columns | None = None
                for table in focus_tables.tables(local):
                    if columns is None:
                        columns = focus_columns.match(
                            table.column_names, file=part.name, default_currency=reading.default_currency
                        )
                    if not table.num_rows:
                        continue
                    yield focus_rows.charges(
                        table, columns, reading, file=part.name, file_index=file_index, first_row=rows + 1
                    )
                    rows += table.num_rows
            _compare(part.name, part.expected_rows, rows)
            total += rows
        _compare(raw.name, raw.expected_rows, total)

    @contextmanager
    def _local(self, part: openings.Part, etag: str) -> Iterator[openings.Part]:
        if not etag:
            yield part
            return
        with self._store().file(part.path, etag=etag) as path:
            yield openings.Part(name=part.name, path=path, expected_rows=part.expected_rows)

    def _store(self) -> stores.Store:
        config = self.config
        options = stores.Options(config.endpoint_url, config.region, config.role_arn, config.external_id)
        return stores.open_store(config.url, options, self.credentials)

    def _from_store(self) -> Iterator[Raw]:
        store = self._store()
        objects = {each.key: each for each in store.objects()}
        data = [key for key in objects if key.lower().endswith(SUFFIXES)]
        found = [key for key in objects if manifests.is_manifest(key)]
        if not found:
            if data:
                parts = [openings.Part(key, key) for key in data]
                yield _remote(self.config.url, parts, [objects[key] for key in data], _stem(store.prefix.rstrip("/")))
            return
        read = {key: manifests.parse(store.content(key), name=key) for key in found}
        modified = {key: objects[key].modified for key in found}
        for key in _current(read, modified):
            manifest = read[key]
            parts = _parts(manifest, key, data)
            listed = [objects[part.path] for part in parts]
            yield _remote(key, parts, listed, manifest.export or _stem(store.prefix.rstrip("/")), manifest)


def _from_manifests(root: str, found: Sequence[str], files: Sequence[str]) -> Iterator[Raw]:
    read = {}
    for path in found:
        read[path] = manifests.parse(Path(path).read_bytes(), name=_below(path, root))
    modified = {path: Path(path).stat().st_mtime for path in found}
    for path in _current(read, modified):
        manifest = read[path]
        parts = _parts(manifest, path, files, root=root)
        name = _below(path, root)
        export = manifest.export or Path(root).resolve().name
        yield _unit(name, parts, export=export, manifest=manifest)


def _current(read: Mapping[str, manifests.Manifest], modified: Mapping[str, object]) -> list[str]:
    """The newest manifest of each export and period, the oldest period first: folders of earlier runs stay around."""
    newest: dict[tuple[str, str], str] = {}
    order = sorted(read, key=lambda path: (str(read[path].submitted or ""), str(modified[path]), path))
    for path in order:
        manifest = read[path]
        newest[(manifest.export, manifest.period or path)] = path
    return sorted(newest.values(), key=lambda path: (read[path].period, path))


def _parts(manifest: manifests.Manifest, name: str, present: Sequence[str], *, root: str = "") -> list[openings.Part]:
    parts = []
    for entry, rows in manifest.files:
        path = manifests.resolve(entry, manifest=name, present=present)
        if not path:
            raise openings.broken(entry, f"the manifest {name} lists this file, but it was not delivered")
        shown = _below(path, root) if root else path
        parts.append(openings.Part(name=shown, path=path, expected_rows=rows))
    return parts


def _unit(name: str, parts: list[openings.Part], *, export: str, manifest: manifests.Manifest | None = None) -> Raw:
    found, size = openings.digest(parts)
    return Raw(
        name=name,
        payload=_Delivered(tuple(parts)),
        content_hash=found,
        size_bytes=size,
        export=export,
        run_id=(manifest.run_id if manifest else "") or found,
        files=tuple(part.name for part in parts),
        expected_rows=manifest.rows if manifest else None,
        complete_through=manifest.complete_through if manifest else None,
    )


def _remote(
    name: str,
    parts: list[openings.Part],
    objects: list[stores.Object],
    export: str,
    manifest: manifests.Manifest | None = None,
) -> Raw:
    found = stores.listing_hash(objects)
    return Raw(
        name=name,
        payload=_Delivered(tuple(parts), tuple(each.etag for each in objects)),
        content_hash=found,
        size_bytes=sum(each.size for each in objects),
        export=export,
        run_id=(manifest.run_id if manifest else "") or found,
        files=tuple(part.name for part in parts),
        expected_rows=manifest.rows if manifest else None,
        complete_through=manifest.complete_through if manifest else None,
    )


def _compare(name: str, expected: int | None, found: int) -> None:
    if expected is not None and expected != found:
        raise openings.broken(
            name,
            f"the manifest says {expected:,} rows, found {found:,} (difference {found - expected:+,})",
            field="rows",
        )


def _below(path: str, root: str) -> str:
    return str(Path(path).relative_to(root))


def _stem(path: str) -> str:
    name = Path(path).name
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name
