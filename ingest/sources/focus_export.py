"""Bills in the FOCUS format: CSV or Parquet, from files, directories or S3."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from ingest.sources import buckets, focus_columns, focus_rows, focus_tables, manifests, openings
from ingest.sources.base import Cursor, Normalized, Produces, Raw, Source, SourceUnavailable, Window

SUFFIXES = (".csv", ".csv.gz", ".csv.zst", ".parquet", ".tsv", ".tsv.gz")


@dataclass(frozen=True, slots=True)
class FocusExportConfig:
    """Where the export is delivered and how its tags are read."""

    url: str = ""
    endpoint_url: str = ""
    region: str = ""
    default_currency: str = ""
    tag_map: Mapping[str, str] = field(default_factory=dict)
    tag_keys: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class _Delivered:
    """The files of one delivery and where they are: on disk, or in a bucket under these keys and ETags."""

    parts: tuple[openings.Part, ...]
    etags: tuple[str, ...] = ()


class FocusExport(Source):
    """A FOCUS 1.0 to 1.4 export (AWS Data Exports, Microsoft Cost Management, Oracle, and everyone else who writes it).

    A single file, a directory, or `s3://bucket/prefix`. A directory or prefix with a manifest (AWS, Azure, or ours:
    `{"export": "e", "run_id": "r", "files": [{"path": "a.csv", "rows": 10}]}`) is read as the manifest says and its row
    counts are checked; without one all its files form one delivery. Each delivery replaces the earlier one of the same
    export and billing period; a row that cannot be read refuses it. Example configuration:

        {"url": "s3://bills/focus", "region": "eu-central-1", "endpoint_url": "", "default_currency": "",
         "tag_map": {"team": "squad"}, "tag_keys": ["product"]}

    Credentials: access_key_id, secret_access_key, session_token; without them the usual AWS chain (role, environment).
    """

    kind: ClassVar[str] = "focus_export"
    title: ClassVar[str] = "FOCUS export"
    produces: ClassVar[Produces] = "charges"
    Config: ClassVar[type[FocusExportConfig]] = FocusExportConfig
    expected_lag_seconds: ClassVar[int] = 36 * 3600
    restatement_days: ClassVar[int] = 45

    def read(self, cursor: Cursor, window: Window) -> Iterator[Raw]:
        """Deliveries that are new or changed since the cursor, the oldest first."""
        if not self.config.url:
            return
        found = self._from_bucket() if self.config.url.startswith("s3://") else self.open_paths([self.config.url])
        seen = dict(cursor.get("deliveries", {}))
        for raw in found:
            if seen.get(raw.name) == raw.content_hash:
                continue
            seen[raw.name] = raw.content_hash
            yield Raw(
                name=raw.name,
                payload=raw.payload,
                content_hash=raw.content_hash,
                size_bytes=raw.size_bytes,
                cursor={"deliveries": dict(seen)},
                export=raw.export,
                run_id=raw.run_id,
                files=raw.files,
                expected_rows=raw.expected_rows,
                complete_through=raw.complete_through,
            )

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
        reading = focus_rows.Reading(
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
        with self._bucket().file(part.path, etag=etag) as path:
            yield openings.Part(name=part.name, path=path, expected_rows=part.expected_rows)

    def _bucket(self) -> buckets.Bucket:
        return buckets.Bucket(
            self.config.url,
            region=self.config.region,
            endpoint_url=self.config.endpoint_url,
            credentials=self.credentials,
        )

    def _from_bucket(self) -> Iterator[Raw]:
        bucket = self._bucket()
        objects = {each.key: each for each in bucket.objects()}
        data = [key for key in objects if key.lower().endswith(SUFFIXES)]
        found = [key for key in objects if manifests.is_manifest(key)]
        if not found:
            if data:
                parts = [openings.Part(key, key) for key in data]
                yield _remote(self.config.url, parts, [objects[key] for key in data], _stem(bucket.prefix.rstrip("/")))
            return
        read = {key: manifests.parse(bucket.content(key), name=key) for key in found}
        modified = {key: objects[key].modified for key in found}
        for key in _current(read, modified):
            manifest = read[key]
            parts = _parts(manifest, key, data)
            listed = [objects[part.path] for part in parts]
            yield _remote(key, parts, listed, manifest.export or _stem(bucket.prefix.rstrip("/")), manifest)


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
    objects: list[buckets.Object],
    export: str,
    manifest: manifests.Manifest | None = None,
) -> Raw:
    found = buckets.listing_hash(objects)
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
