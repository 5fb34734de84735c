"""Bills of Microsoft Azure: cost exports in a storage account, or the Cost Management query API where there is none."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from ingest.sources import stores
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
from ingest.sources.formats import charge_rows, deliveries
from ingest.sources.formats.azure import azure_charges, azure_deliveries, azure_manifests, azure_query

_STORAGE = "Storage Blob Data Reader on the container of the exports"
_COSTS = "Cost Management Reader on the scope"


@dataclass(frozen=True, slots=True)
class AzureCostsConfig:
    """Where the costs are read, and how their rows are read."""

    mode: str = setting(
        "exports",
        hint="exports: files in a container; query: the API, for a scope without exports",
        choices=("exports", "query"),
    )
    url: str = setting("", hint="Exports: az://account/container/prefix of the exports, or a directory")
    endpoint_url: str = setting("", hint="Exports: only where the account is not at blob.core.windows.net")
    scope: str = setting("", hint="Query: /subscriptions/ID or /providers/Microsoft.Billing/billingAccounts/ID")
    management_url: str = setting(
        "", hint="Query: only outside the public cloud, such as https://management.chinacloudapi.cn"
    )
    group_by: Sequence[str] = setting(
        ("ResourceId", "Meter"), hint="Query: one or two dimensions, or tags as tag:name; more the API does not take"
    )
    date_order: str = setting(
        "", hint="Only for files whose dates could be read in two ways", choices=("", "month first", "day first")
    )
    default_currency: str = setting("", hint="For files that do not say their currency, such as EUR")
    tag_map: Mapping[str, str] = setting(dict, hint="Our attribute and your tag key, such as team = squad")
    tag_keys: Sequence[str] = setting(tuple, hint="Further tag keys that rules may use")


class AzureCosts(Source):
    """Cost exports of Microsoft Cost Management (ActualCost, AmortizedCost, FocusCost), or its query API.

    Exports: make one of FocusCost, or one of ActualCost and one of AmortizedCost, daily, month to date, on the highest scope
    you have (billing account or profile), into one container; give its address as `url`. Of a scope and month exactly one set
    of charges counts: FocusCost if it is there; else ActualCost (billed cost) joined with AmortizedCost (effective cost); with
    only one of these both costs are its own. Row counts are compared with the manifest; a newer run replaces the month.

    Query: for a scope without exports. Each calendar month is asked for ActualCost and AmortizedCost by day and two
    dimensions, and replaced as a whole. It has no tags, unless a dimension is one, and no quantities.

    Example configuration:

        {"mode": "exports", "url": "az://finops/exports/costs", "tag_map": {"team": "squad"}, "tag_keys": ["product"]}

    Credentials: a service principal (tenant_id, client_id, client_secret) or this machine's identity; for exports also an
    account key or a shared access signature with read and list.
    """

    kind: ClassVar[str] = "azure_costs"
    title: ClassVar[str] = "Microsoft Azure costs"
    produces: ClassVar[Produces] = "charges"
    Config: ClassVar[type[AzureCostsConfig]] = AzureCostsConfig
    # Usage arrives within 8 to 24 hours, exports run once a day.
    expected_lag_seconds: ClassVar[int] = 36 * 3600
    # A month is restated until its invoice, by the 5th day of the next one; so the whole last month is read again.
    restatement_days: ClassVar[int] = 36
    poll_seconds: ClassVar[int] = 3600
    secrets: ClassVar[Sequence[Secret]] = (
        Secret(
            "tenant_id", "Microsoft Entra ID: the directory of the service principal. Empty: this machine's identity."
        ),
        Secret("client_id", "Microsoft Entra ID: the application id of the service principal."),
        Secret("client_secret", "Microsoft Entra ID: shown once, when the secret is made."),
        Secret("account_key", "Exports: one of the two keys of the storage account, instead of a service principal."),
        Secret("sas_token", "Exports: a shared access signature with read and list on the container."),
        Secret("access_token", "For a trial: what `az account get-access-token` prints; it ends after an hour."),
    )
    grants: ClassVar[Sequence[str]] = (_STORAGE, _COSTS)

    def read(self, cursor: Cursor, window: Window) -> Iterator[Raw]:
        """Months that are new or were delivered again since the cursor, the oldest first."""
        if self.config.mode == "query":
            yield from self._query().months(cursor, window)
        elif stores.is_remote(self.config.url):
            found = azure_deliveries.in_store(self._store(), now=window.end)
            yield from _that_say_something(deliveries.changed(found, cursor, window), cursor)
        elif self.config.url:
            found = azure_deliveries.in_paths([self.config.url])
            yield from _that_say_something(deliveries.changed(found, cursor, window), cursor)

    def probe(self, window: Window) -> Iterator[Finding]:
        """Whether the container or the API can be read, then which charges of which month count, and why."""
        try:
            if self.config.mode == "query":
                yield from self._query().probe(window, remedy=_COSTS)
            elif stores.is_remote(self.config.url):
                yield from self._store().probe()
                runs, _, problem = azure_deliveries.runs_in_store(self._store())
                yield from _found(runs)
                if problem is not None:
                    raise problem
            elif self.config.url:
                yield from super().probe(window)
            else:
                yield Finding("Address", "missing", "no url is set", "set url to az://account/container/prefix")
        except (SourceUnavailable, BadDelivery) as problem:
            remedy = _COSTS if self.config.mode == "query" else _STORAGE
            yield Finding("Read", "missing", str(problem), remedy)

    def open_paths(self, paths: Sequence[str]) -> Iterator[Raw]:
        """One unit for each month of a directory with manifests, or for each file."""
        yield from azure_deliveries.in_paths(paths)

    def open_bytes(self, *, name: str, content: bytes) -> Raw:
        """A pushed file: both costs are its own."""
        return azure_deliveries.pushed(name, content)

    def normalize(self, raw: Raw) -> Iterator[Normalized]:
        """The charges of a month. BadDelivery when a file is damaged or its rows are not all there."""
        reading = charge_rows.Reading(
            default_currency=self.config.default_currency.upper(),
            tag_map=dict(self.config.tag_map),
            tag_keys=tuple(self.config.tag_keys),
        )
        if isinstance(raw.payload, azure_query.Answer):
            yield from azure_query.charges(raw.payload, reading, name=raw.name)
        else:
            yield from azure_charges.charges(raw.payload, reading, self.config.date_order or None, self._store)

    def _store(self) -> stores.Store:
        return stores.open_store(self.config.url, stores.Options(self.config.endpoint_url), self.credentials)

    def _query(self) -> azure_query.Query:
        config = self.config
        return azure_query.Query(config.scope, config.management_url, tuple(config.group_by), self.credentials)


def _that_say_something(found: Iterator[Raw], cursor: Cursor) -> Iterator[Raw]:
    """A first reading without the months that are empty so far. Later one may have been loaded by a backfill, and takes its
    charges back.
    """
    yield from (raw for raw in found if cursor or not raw.payload.is_empty)


def _found(runs: Sequence[azure_manifests.Run]) -> Iterator[Finding]:
    months = azure_manifests.months(runs)
    if not months:
        remedy = "in Cost Management, make a daily export of FocusCost, or of ActualCost and AmortizedCost, to this container"
        yield Finding("Exports", "note" if runs else "missing", "no month is delivered yet", remedy)
    for month in months[-6:]:
        rows = [run.rows for run in month.runs]
        counted = f"{sum(each or 0 for each in rows):,} rows" if None not in rows else "rows not counted"
        yield Finding(month.title, "note" if month.note else "ok", f"{counted}{'; ' if month.note else ''}{month.note}")
    for text in azure_manifests.left_out(runs):
        yield Finding("Not loaded", "note", text)
