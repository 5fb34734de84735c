"""Bills of Google Cloud from the billing export in BigQuery: an invoice month is read whole whenever any of it changed."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import ClassVar

import polars as pl

from ingest.rows import Rejected
from ingest.sources.base import (
    BadDelivery,
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
from ingest.sources.formats import charge_rows
from ingest.sources.formats.gcp import gcp_catalogue, gcp_charges, gcp_export, gcp_months, gcp_queries
from ingest.sources.stores import google_login

_STALE = timedelta(hours=48)
_MODELS = "Vertex AI"  # the service that bills models
_ENABLE = "enable the detailed usage cost export to this dataset (the first rows take some hours), or name the table"


class _NoExport(SourceUnavailable):
    """The dataset can be read and holds no billing export."""


@dataclass(frozen=True, slots=True)
class GcpBillingConfig:
    """Where the export is and how its labels are read."""

    project: str = setting("", hint="The project that holds the dataset of the billing export", required=True)
    dataset: str = setting("", hint="The dataset chosen under Billing export, BigQuery export", required=True)
    table: str = setting("", hint="Only to read another table or view than gcp_billing_export_…")
    billing_account: str = setting("", hint="Only one account of several in the dataset, such as 01AB23-45CD67-89EF01")
    job_project: str = setting("", hint="The project that queries run in and are billed to, if it is another one")
    maximum_bytes_billed: int = setting(
        0, hint="A query that would scan more bytes than this is refused; 0 is no limit"
    )
    endpoint_url: str = setting("", hint="Only for a BigQuery that is not at Google's address (private, an emulator)")
    billing_endpoint_url: str = setting("", hint="The same, for the Cloud Billing API")
    tag_map: Mapping[str, str] = setting(dict, hint="Our attribute and your label key, such as team = squad")
    tag_keys: Sequence[str] = setting(tuple, hint="Further label keys that rules may use")


class GcpBilling(Source):
    """The billing export of Google Cloud to BigQuery, detailed or standard.

    Enable it under Billing, Billing export, BigQuery export; the detailed usage cost export tells resources and prices.
    Of a billing account that has both, a month is read from the detailed table where that has all of it, else from the
    standard one, never from the two together. It is read whole when rows were added to it since the last time (late
    usage, corrections), and replaces what was loaded of it. A row's cost and each of its credits are charges of their
    own, so that the month's sum is that of the invoice.

    Example configuration:

        {"project": "billing-prod", "dataset": "billing_export", "table": "", "billing_account": "01AB23-45CD67-89EF01",
         "job_project": "", "maximum_bytes_billed": 107374182400, "tag_map": {"team": "squad"}, "tag_keys": ["product"]}

    The key file of a service account, or nothing where this machine has an identity at Google Cloud.
    """

    kind: ClassVar[str] = "gcp_billing"
    title: ClassVar[str] = "Google Cloud billing"
    produces: ClassVar[Produces] = "charges"
    Config: ClassVar[type[GcpBillingConfig]] = GcpBillingConfig
    secrets: ClassVar[Sequence[Secret]] = (
        Secret(
            "service_account_json", "IAM, Service accounts, Keys: the key file. Empty: this machine's identity.", True
        ),
    )
    grants: ClassVar[Sequence[str]] = (
        "roles/bigquery.dataViewer on the dataset",
        "roles/bigquery.jobUser on the project that queries run in",
        "roles/billing.viewer (billing.accounts.get) on the billing account",
    )
    expected_lag_seconds: ClassVar[int] = 36 * 3600
    # The month before the last one is still corrected: invoices close about the 5th, adjustments follow.
    restatement_days: ClassVar[int] = 62
    poll_seconds: ClassVar[int] = 3600

    def read(self, cursor: Cursor, window: Window) -> Iterator[Raw]:
        """Invoice months to which rows were added since the cursor, the oldest first."""
        seen = dict(cursor.get("months", {}))
        warehouse = self._warehouse()
        for account, tables in self._exports(warehouse).items():
            for found in gcp_months.changed(warehouse, tables, window):
                key = f"{account}/{found.month}"
                if seen.get(key) == found.state:
                    continue
                seen[key] = found.state
                export = found.export
                yield Raw(
                    name=f"{export.table} {found.month}",
                    payload=found,
                    content_hash=hashlib.sha256(f"{key} {found.state}".encode()).hexdigest(),
                    cursor={"months": dict(seen)},
                    # Of the account, not of the table: a month of the detailed export replaces that of the standard one.
                    export=account,
                    run_id=f"{found.newest}-{found.rows}",
                    files=(f"{export.project}.{export.dataset}.{export.table}",),
                )

    def normalize(self, raw: Raw) -> Iterator[Normalized]:
        """The charges of a month, page by page. SourceUnavailable when the table changed since the month was counted."""
        found: gcp_months.Month = raw.payload
        reading = charge_rows.Reading(tag_map=dict(self.config.tag_map), tag_keys=tuple(self.config.tag_keys))
        rows = charges = 0
        pages = self._warehouse().ask(
            gcp_export.rows_query(found.export),
            floor=gcp_export.floor(found.month),
            month=found.month,
            newest=found.newest,
        )
        for page in pages:
            lines = pl.Series(page.column("line"), dtype=pl.String)
            if lines.is_empty():
                continue
            part = gcp_charges.charges(
                lines, found.export, reading, month=found.month, file=raw.name, first_row=charges + 1
            )
            rows += len(lines)
            charges += part.batch.num_rows + len(part.rejected)
            yield part
        if rows != found.rows:
            raise SourceUnavailable(
                f"{raw.name} had {found.rows:,} rows when it was counted and {rows:,} when it was read "
                f"(difference {rows - found.rows:+,}): the table changed; the next run reads it again"
            )

    def probe(self, window: Window) -> Iterator[Finding]:
        """Credentials, dataset, tables and their columns, the right to run queries, newest rows, accounts and prices."""
        try:
            warehouse = self._warehouse()
            exports = self._exports(warehouse)
        except _NoExport as problem:
            yield Finding(f"Read the dataset {self.config.dataset}", "missing", str(problem), _ENABLE)
            return
        except (SourceUnavailable, BadDelivery) as problem:
            yield Finding(f"Read the dataset {self.config.dataset}", "missing", str(problem), self.grants[0])
            return
        for tables in exports.values():
            for export in tables:
                yield from _columns(export)
            try:
                yield from _freshness(warehouse, tables, window)
            except (SourceUnavailable, BadDelivery) as problem:
                yield Finding(f"Query {tables[0].table}", "missing", str(problem), "; ".join(self.grants[:2]))
        yield from self._billing()

    def sku_prices(self, service_id: str, currency: str = "USD") -> Iterator[gcp_catalogue.SkuPrice]:
        """Google's public list prices of a service; their `sku_price_id` is the one of the charges."""
        own = google_login.credentials(self.credentials, endpoint_url=self.config.billing_endpoint_url)
        return gcp_catalogue.prices(own, self._billing_endpoint(), service_id=service_id, currency=currency)

    def _warehouse(self) -> gcp_queries.Warehouse:
        config = self.config
        place = gcp_queries.Place(
            config.project, config.dataset, config.job_project, config.endpoint_url, config.maximum_bytes_billed
        )
        return gcp_queries.Warehouse(place, self.credentials)

    def _exports(self, warehouse: gcp_queries.Warehouse) -> dict[str, list[gcp_export.Export]]:
        """The tables to read of each account, described, the best first. SourceUnavailable when there is none."""
        config = self.config
        if config.table:
            names = gcp_export.chosen([config.table]) or {config.table: [config.table]}
        else:
            names = gcp_export.chosen(warehouse.tables(), account=config.billing_account)
        if not names:
            of = f" of the account {config.billing_account}" if config.billing_account else ""
            raise _NoExport(f"the dataset {config.dataset} holds no table gcp_billing_export_…{of}; {_ENABLE}")
        found = {account: [warehouse.export(table) for table in tables] for account, tables in names.items()}
        for export in (export for tables in found.values() for export in tables):
            if missing := export.missing:
                reason = f"is no billing export: it has no column {', '.join(missing)}"
                raise BadDelivery(Rejected(export.table, 0, missing[0], reason))
        return found

    def _billing_endpoint(self) -> str:
        url: str = self.config.billing_endpoint_url
        return google_login.checked(url) if url else ""

    def _billing(self) -> Iterator[Finding]:
        config = self.config
        if config.endpoint_url and not config.billing_endpoint_url:
            yield Finding(
                "Cloud Billing API", "note", "It is not asked, for no address of it is set beside the other one."
            )
            return
        try:
            endpoint = self._billing_endpoint()
            own = google_login.credentials(self.credentials, endpoint_url=endpoint)
            accounts = gcp_catalogue.accounts(own, endpoint)
            services = gcp_catalogue.services(own, endpoint)
        except SourceUnavailable as problem:
            # Bills are read without it.
            yield Finding("Cloud Billing API", "note", str(problem), self.grants[2])
            return
        shown = ", ".join(f"{each.name or each.id}{'' if each.is_open else ' (closed)'}" for each in accounts[:10])
        yield Finding("Billing accounts", "ok" if accounts else "note", shown or "None may be seen.")
        yield Finding("Public prices", "ok", f"{len(services):,} services")
        yield from self._prices(services)

    def _prices(self, services: Mapping[str, str]) -> Iterator[Finding]:
        """What the models of Google cost at list price, as far as these credentials may see it."""
        for service_id in (each for each, name in services.items() if name == _MODELS):
            try:
                found = list(self.sku_prices(service_id))
            except SourceUnavailable as problem:
                yield Finding(f"Prices of {_MODELS}", "note", str(problem), self.grants[2])
                continue
            told = f"{len(found):,} list prices of {len({each.sku_id for each in found}):,} SKUs"
            yield Finding(f"Prices of {_MODELS}", "ok" if found else "note", told)


def _columns(export: gcp_export.Export) -> Iterator[Finding]:
    what = "detailed" if export.is_detailed else "standard"
    yield Finding(f"Table {export.table}", "ok", f"{what} export, {len(export.columns)} columns are read")
    for column, effect in gcp_export.effects(export):
        yield Finding(f"Column {column} of {export.table}", "note", f"It is missing: {effect}.")
    if export.unread:
        yield Finding(
            f"Columns of {export.table}", "note", f"Not read, because not known: {', '.join(export.unread[:20])}"
        )


def _freshness(
    warehouse: gcp_queries.Warehouse, tables: Sequence[gcp_export.Export], window: Window
) -> Iterator[Finding]:
    name = tables[0].table
    found = gcp_months.changed(warehouse, tables, window)
    if not found:
        yield Finding(f"Query {name}", "note", "Queries may be run, and it has no rows in this time.")
        return
    newest = datetime.fromtimestamp(max(each.newest for each in found) / 1_000_000, tz=UTC)
    of = {False: " of the standard export", True: ""}
    told = ", ".join(f"{each.month}: {each.rows:,} rows{of[each.export.table == name]}" for each in found)
    yield Finding(f"Query {name}", "ok", told)
    if window.end - newest > _STALE:
        words = f"The newest row was exported {newest:%Y-%m-%d %H:%M} UTC"
        yield Finding(f"Newest rows of {name}", "note", words, "check that the export is still enabled")
    else:
        yield Finding(f"Newest rows of {name}", "ok", f"exported {newest:%Y-%m-%d %H:%M} UTC")
