"""Bills in the FOCUS format: CSV or Parquet, from files, directories, S3, Google Cloud Storage or Azure Blob."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
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
from ingest.sources.formats import charge_rows, deliveries, manifests, openings
from ingest.sources.formats.cur import cur_columns
from ingest.sources.formats.focus import focus_columns, focus_rows, focus_tables

_SUFFIXES = (".csv", ".csv.gz", ".csv.zst", ".parquet", ".tsv", ".tsv.gz")


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
    columns: Mapping[str, str] = setting(
        dict, hint="FOCUS column and the file's own title, such as BilledCost = Betrag netto"
    )
    service_provider_name: str = setting("", hint="Who bills, for exports that do not say")
    decimal_comma: bool = setting(False, hint="The file writes 1.234,56")
    day_first: bool = setting(False, hint="The file writes 21/11/2026")


class FocusExport(Source):
    """A FOCUS 1.0 to 1.4 export (AWS Data Exports, Microsoft Cost Management, Oracle, and everyone else who writes it).

    A single file, a directory, `s3://bucket/prefix`, `gs://bucket/prefix` or `az://account/container/prefix`. A directory
    or prefix with a manifest (AWS, Azure, or ours: `{"export": "e", "run_id": "r", "files": [{"path": "a.csv", "rows":
    10}]}`) is read as the manifest says and its row counts are checked; without one all its files form one delivery. Each
    delivery replaces the earlier one of the same export and billing period; a row that cannot be read refuses it.

    Bills of vendors that do not write FOCUS load too, in many languages, when they have a cost, a date and a currency: their
    own titles are known or named in `columns`, and what a number or a date means in two ways is refused until a setting
    says it.

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
        if stores.is_remote(self.config.url):
            found = deliveries.in_store(self._store(), self._layout(), now=window.end)
        else:
            found = self.open_paths([self.config.url])
        yield from deliveries.changed(found, cursor, window)

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
        yield from deliveries.in_paths(paths, self._layout())

    def open_bytes(self, *, name: str, content: bytes) -> Raw:
        """A pushed file."""
        return deliveries.pushed(name, content, self._layout())

    def normalize(self, raw: Raw) -> Iterator[Normalized]:
        """The charges of a delivery, file by file. BadDelivery when a file is damaged or its rows are not all there."""
        reading = charge_rows.Reading(
            default_currency=self.config.default_currency.upper(),
            tag_map=dict(self.config.tag_map),
            tag_keys=tuple(self.config.tag_keys),
            columns=dict(self.config.columns),
            has_decimal_comma=self.config.decimal_comma,
            has_day_first=self.config.day_first,
            service_provider_name=self.config.service_provider_name,
        )
        yield from deliveries.rows(raw, self._store, partial(_charges, reading=reading))

    def _layout(self) -> deliveries.Layout:
        return deliveries.Layout(_SUFFIXES, self._chosen)

    def _chosen(self, found: Sequence[manifests.Manifest]) -> Sequence[manifests.Manifest]:
        """The manifests of FOCUS exports: other exports beside them hold the same charges, as do two of one account."""
        chosen = [each for each in found if not _is_of_another_kind(each)]
        if found and not chosen:
            told = ", ".join(sorted({each.kind or each.export for each in found}))
            raise SourceUnavailable(
                f"there is no FOCUS export below {self.config.url}, but {told}; the kinds aws_cur and azure_costs read these"
            )
        names: dict[str, set[str]] = {}
        for each in chosen:
            if each.account:
                names.setdefault(each.account, set()).add(each.identity)
        for account, several in names.items():
            if len(several) > 1:
                told = ", ".join(sorted(several))
                raise SourceUnavailable(
                    f"several FOCUS exports of {account} lie below {self.config.url} and hold the same charges: {told};"
                    " set a longer prefix"
                )
        return chosen

    def _store(self) -> stores.Store:
        config = self.config
        options = stores.Options(config.endpoint_url, config.region, config.role_arn, config.external_id)
        return stores.open_store(config.url, options, self.credentials)


def _is_of_another_kind(manifest: manifests.Manifest) -> bool:
    """Whether a manifest is one of Azure's actual or amortised costs or price sheets, or of an AWS Cost and Usage Report."""
    return manifest.kind.lower() not in ("", "focuscost") or cur_columns.is_report(manifest.columns)


def _charges(part: openings.Part, file_index: int, *, reading: charge_rows.Reading) -> Iterator[Normalized]:
    """The charges of one file."""
    columns: focus_columns.Columns | None = None
    count = 0
    for table in focus_tables.tables(part):
        if columns is None:
            columns = focus_columns.match(
                table.column_names, file=part.name, default_currency=reading.default_currency, told=reading.columns
            )
        if not table.num_rows:
            continue
        yield focus_rows.charges(table, columns, reading, file=part.name, file_index=file_index, first_row=count + 1)
        count += table.num_rows
