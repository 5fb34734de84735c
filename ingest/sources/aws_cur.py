"""AWS bills: Cost and Usage Reports, CUR 2.0 and legacy, from S3 or from files."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

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
from ingest.sources.formats import charge_rows, deliveries, manifests, openings
from ingest.sources.formats.cur import cur_columns, cur_costs, cur_rows, cur_split
from ingest.sources.formats.focus import focus_tables

_SUFFIXES = (".parquet", ".csv.gz", ".csv", ".csv.zip")
# Reports are wide: so many rows at a time keep a load well below a gigabyte.
_BATCH_ROWS = 10_000
_S3_SECRETS = ("access_key_id", "secret_access_key", "session_token")
_ROLE = "sts:AssumeRole on the role, and this installation's identity in the role's trust policy"
# Columns an export may lack, and what is then not known.
_USEFUL = {
    "line_item_resource_id": "no line says which resource it is for: tick 'Include resource IDs'",
    "savings_plan_savings_plan_effective_cost": "Savings Plans are not amortised: effective cost is what is billed",
    "reservation_effective_cost": "reservations are not amortised: effective cost is what is billed",
    "line_item_iam_principal": "calls of Bedrock are not told by IAM principal: include caller identity data (CUR 2.0)",
    "bill_billing_period_start_date": "the billing period is taken from the usage date",
}


@dataclass(frozen=True, slots=True)
class AwsCurConfig:
    """Where the report is delivered and how it is read."""

    url: str = setting("", hint="s3://bucket/prefix of the export, as its page in Data Exports shows it", required=True)
    region: str = setting("", hint="The bucket's region, such as us-east-1")
    role_arn: str = setting("", hint="A role of your account to read the bucket in, arn:aws:iam::…:role/…")
    external_id: str = setting("", hint="The external id that role asks for")
    export: str = setting("", hint="The export's name, where several lie below the prefix")
    split_cost_allocation: Literal["parents", "children"] = setting(
        "parents",
        hint="EKS and ECS: whether a machine's own line counts, or the pods and tasks on it",
        choices=("parents", "children"),
    )
    default_currency: str = setting("", hint="For exports without a currency column, such as USD")
    tag_map: Mapping[str, str] = setting(dict, hint="Our attribute and your tag key, such as team = squad")
    tag_keys: Sequence[str] = setting(tuple, hint="Further tag keys that rules may use")
    endpoint_url: str = setting("", hint="Only for a store that is not Amazon's own (an emulator)")

    def __post_init__(self) -> None:
        if self.split_cost_allocation not in ("parents", "children"):
            raise ValueError(f"split_cost_allocation is parents or children, not {self.split_cost_allocation!r}")


class AwsCur(Source):
    """The AWS bill: CUR 2.0 (Data Exports) or a legacy Cost and Usage Report, Parquet or CSV, overwritten or kept.

    The manifests below the prefix say what is read: the newest of each export and billing period. A period that is
    delivered again replaces the earlier delivery of that period, closed months included. BilledCost is the unblended cost,
    net of discounts where the account has them; EffectiveCost spreads Savings Plans and reservations over the usage they
    cover, and what nobody used stays with the commitment. `split_cost_allocation` says whether a machine of EKS or ECS
    counts ("parents") or its pods and tasks, with what they leave of it ("children"); the total is the same.

    Example configuration:

        {"url": "s3://acme-bills/cur2", "region": "us-east-1", "role_arn": "arn:aws:iam::111122223333:role/costobs",
         "external_id": "costobs-acme", "export": "", "split_cost_allocation": "parents", "default_currency": "",
         "tag_map": {"team": "squad"}, "tag_keys": ["product"], "endpoint_url": ""}

    Credentials: an access key that may read the bucket, or none for this machine's role; either may take `role_arn`.
    Hourly granularity, resource ids and split cost allocation data are worth including in the export.
    """

    kind: ClassVar[str] = "aws_cur"
    title: ClassVar[str] = "AWS Cost and Usage Report"
    produces: ClassVar[Produces] = "charges"
    Config: ClassVar[type[AwsCurConfig]] = AwsCurConfig
    # Delivered up to three times a day, about a day behind; a month is restated for two weeks after it closes, and
    # refunds come later still: those arrive as a new delivery, which is noticed however old its month is.
    expected_lag_seconds: ClassVar[int] = 36 * 3600
    restatement_days: ClassVar[int] = 45
    poll_seconds: ClassVar[int] = 900
    secrets: ClassVar[Sequence[Secret]] = tuple(each for each in stores.SECRETS if each.name in _S3_SECRETS)
    grants: ClassVar[Sequence[str]] = (
        "s3:ListBucket on arn:aws:s3:::BUCKET",
        "s3:GetObject on arn:aws:s3:::BUCKET/PREFIX/*",
        _ROLE,
    )

    def read(self, cursor: Cursor, window: Window) -> Iterator[Raw]:
        """Deliveries that are new or changed since the cursor, the oldest period first."""
        if not self.config.url:
            return
        if stores.is_remote(self.config.url):
            found = deliveries.in_store(self._store(), self._layout(), now=window.end)
        else:
            found = self.open_paths([self.config.url])
        yield from deliveries.changed(found, cursor, window)

    def open_paths(self, paths: Sequence[str]) -> Iterator[Raw]:
        """One unit for each file, for each delivery of a directory with manifests, or for a directory without one."""
        yield from deliveries.in_paths(paths, self._layout())

    def open_bytes(self, *, name: str, content: bytes) -> Raw:
        """A pushed file."""
        return deliveries.pushed(name, content, self._layout())

    def normalize(self, raw: Raw) -> Iterator[Normalized]:
        """The charges of a delivery, file by file. BadDelivery when a file is damaged or lacks a column."""
        split = cur_split.Split()
        if self.config.split_cost_allocation == "children":
            # Once over the whole bill for what the children take of each machine, whose line may be in any file.
            for index, part in enumerate(deliveries.files(raw, self._store)):
                self._collect(part, index, split)
            split.settle()
        yield from deliveries.rows(raw, self._store, lambda part, index: self._charges(part, index, split))

    def probe(self, window: Window) -> Iterator[Finding]:
        """Whether the bucket can be listed and read, which exports it holds, and what they leave out."""
        if not stores.is_remote(self.config.url):
            yield from super().probe(window)
            return
        try:
            store = self._store()
            yield from store.probe()
            found, damaged = _listed(store)
        except SourceUnavailable as problem:
            yield Finding(f"Reach {self.config.url}", "missing", str(problem), "; ".join(self.grants))
            return
        if damaged is not None:
            yield Finding("Manifests", "note", f"{damaged}; its delivery is not read, the others are")
        if found or damaged is None:
            yield from self._findings(found)
        if any(cur_columns.is_report(each.columns) or not each.columns for each in found):
            yield from super().probe(window)

    def _findings(self, found: Sequence[manifests.Manifest]) -> Iterator[Finding]:
        if not found:
            detail = (
                "There is no manifest below the prefix, so nothing is read. AWS writes the first one within 24 hours."
            )
            yield Finding("Manifests", "missing", detail, "check the prefix, and that the export's status is healthy")
            return
        for name in sorted({each.export for each in found}):
            of_export = [each for each in found if each.export == name]
            periods = ", ".join(sorted({each.period[:7] for each in of_export if each.period})) or "unknown"
            columns = next((each.columns for each in of_export if each.columns), ())
            if columns and not cur_columns.is_report(columns):
                yield Finding(f"Export {name}", "note", "It is not a Cost and Usage Report and is passed over.")
                continue
            yield Finding(f"Export {name}", "ok", f"Billing periods: {periods}")
            if columns:
                yield from _lacking(name, columns)

    def _layout(self) -> deliveries.Layout:
        return deliveries.Layout(_SUFFIXES, self._chosen, needs_manifest=True)

    def _chosen(self, found: Sequence[manifests.Manifest]) -> Sequence[manifests.Manifest]:
        """The manifests of reports. Two reports of one account hold the same money: one must be named."""
        reports = [each for each in found if not each.columns or cur_columns.is_report(each.columns)]
        if self.config.export:
            return [each for each in reports if each.export == self.config.export]
        by_account: dict[str, set[str]] = {}
        for each in reports:
            by_account.setdefault(each.account, set()).add(each.export)
        # A manifest that does not say its account may be of any.
        unknown = by_account.pop("", set())
        for account, known in by_account.items() or {"unknown": set[str]()}.items():
            if len(names := known | unknown) > 1:
                told = ", ".join(sorted(names))
                raise SourceUnavailable(
                    f"several exports of account {account} lie below {self.config.url} and hold the same"
                    f" charges: {told}; set the export's name, or a longer prefix"
                )
        return reports

    def _charges(self, part: openings.Part, index: int, split: cur_split.Split) -> Iterator[Normalized]:
        reading = self._reading()
        columns, count = None, 0
        for table in focus_tables.tables(part, cur_columns.is_wanted, rows=_BATCH_ROWS):
            if columns is None:
                columns = self._match(table.column_names, part)
            if table.num_rows:
                yield cur_rows.charges(
                    table, columns, reading, split, file=part.name, file_index=index, first_row=count + 1
                )
                count += table.num_rows

    def _collect(self, part: openings.Part, index: int, split: cur_split.Split) -> None:
        columns, count = None, 0
        for table in focus_tables.tables(part, cur_columns.is_of_split):
            if columns is None:
                columns = self._match(table.column_names, part)
            if table.num_rows:
                frame = cur_costs.costs(cur_rows.selected(table, columns, count + 1), columns.found)
                split.collect(frame, file=part.name, file_index=index)
                count += table.num_rows

    def _match(self, header: Sequence[str], part: openings.Part) -> cur_columns.Columns:
        return cur_columns.match(header, file=part.name, default_currency=self.config.default_currency)

    def _reading(self) -> charge_rows.Reading:
        return charge_rows.Reading(
            default_currency=self.config.default_currency.upper(),
            tag_map=dict(self.config.tag_map),
            tag_keys=tuple(self.config.tag_keys),
        )

    def _store(self) -> stores.Store:
        config = self.config
        options = stores.Options(config.endpoint_url, config.region, config.role_arn, config.external_id)
        return stores.open_store(config.url, options, self.credentials)


def _listed(store: stores.Store) -> tuple[list[manifests.Manifest], BadDelivery | None]:
    found: list[manifests.Manifest] = []
    damaged: BadDelivery | None = None
    for key in (each.key for each in store.objects() if manifests.is_manifest(each.key)):
        try:
            found.append(manifests.parse(store.content(key), name=key))
        except BadDelivery as problem:
            damaged = damaged or problem
    return found, damaged


def _lacking(name: str, columns: Sequence[str]) -> Iterator[Finding]:
    try:
        found = cur_columns.match(columns, file=name, default_currency="any").found
    except BadDelivery as problem:
        yield Finding(f"Columns of {name}", "missing", problem.rejected.reason, "edit the export's columns")
        return
    for column, effect in _USEFUL.items():
        if column not in found:
            yield Finding(f"Column {column} of {name}", "note", f"The export leaves it out: {effect}.")
