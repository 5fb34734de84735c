"""Capacity that was bought, and what is paid by the month, as hourly charges beside those of the clouds."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any, ClassVar

import orjson
import polars as pl
import pyarrow as pa

from costobs.kernel.period import Days, month
from ingest.rows import CHARGE
from ingest.sources.base import Cursor, Finding, Normalized, Produces, Raw, Source, Window, setting
from ingest.sources.formats import charge_rows
from ingest.sources.formats.owned import owned_charges, owned_machines

# Part of every unit's hash: when the arithmetic changes, open months are made anew.
_ARITHMETIC = 1
_ROWS = 50_000
_NO_MODEL = ("model", "token_kind")


@dataclass(frozen=True, slots=True)
class OwnedCapacityConfig:
    """What is owned and what is paid by the month."""

    company: str = setting("", hint="Who owns it: the issuer of these charges", required=True)
    site: str = setting("", hint="Needed when there are several such sources, such as dc-1: their account")
    currency: str = setting("USD", hint="Of all amounts that name none")
    power_price: str | int | Sequence[Mapping[str, str]] = setting(
        "", hint='Per kWh, such as 0.19, or [{"from": "2026-01-01", "per_kwh": "0.19"}]'
    )
    pue: Decimal = setting(  # noqa: RUF009  # it makes a field
        Decimal(1), label="PUE", hint="Power of the site over power of the machines, such as 1.35"
    )
    machines: Sequence[Mapping[str, Any]] = setting(
        tuple, hint="Nodes by the name that telemetry knows, as in the manual"
    )
    monthly_lines: Sequence[Mapping[str, Any]] = setting(
        tuple, hint="Licences, staff, storage and others, as in the manual"
    )

    def __post_init__(self) -> None:
        defaults = self.defaults
        if self.power_price not in ("", None, [], ()):
            owned_machines.prices("power_price", self.power_price)
        owned_machines.machines(self.machines, defaults)
        owned_machines.lines(self.monthly_lines, defaults)

    @property
    def defaults(self) -> owned_machines.Defaults:
        """What machines and lines have that do not say otherwise."""
        code = owned_machines.currency("currency", self.currency)
        pue = owned_machines.amount("pue", self.pue, least=Decimal(1))
        return owned_machines.Defaults(code, pue, self.power_price)


class OwnedCapacity(Source):
    """GPU nodes and machines that a company bought, and amounts it pays by the month, so that a hybrid fleet is one ledger.

    Each hour of a machine is a charge for its amortisation, its energy and its hosting, under the name that telemetry knows
    it by, so that they are split by what its GPUs did. The price minus the residual value is spread evenly over the hours
    of `amortisation_months`; after them only energy and hosting are left. On `retired_on`, the first day it is gone, what is
    not amortised is charged at once. Energy is `power_watts` (or between `idle_watts` and `max_watts` by `load`, a share)
    times `pue` times `power_price`, for one kWh, which may change by date. Example configuration:

        {"company": "Quillfern Inc.", "site": "dc-1", "currency": "EUR", "pue": "1.35",
         "power_price": [{"from": "2025-01-01", "per_kwh": "0.21"}, {"from": "2026-07-01", "per_kwh": "0.19"}],
         "machines": [
            {"name": "gpu-1", "gpus": 8, "gpu_model": "NVIDIA H100", "purchase_price": "284000", "residual_value": "20000",
             "purchased_on": "2026-02-16", "amortisation_months": 48, "power_watts": 6800, "hosting_per_month": "950",
             "region": "fra", "team": "platform", "tags": {"environment": "prod"}}],
         "monthly_lines": [
            {"name": "ML platform team", "kind": "staff", "amount": "42000", "from": "2026-01-01", "team": "platform"},
            {"name": "Vector database", "kind": "vector_store", "amount": "1200", "from": "2026-03-01",
             "until": "2027-03-01", "owner": "search"}]}

    `kind` of a monthly line is licence, staff, storage, network, support, vector_store, energy, cpu_compute or another kind
    of cost, or other. The hours of a month add to its amount exactly; `until` is the first day that is no longer paid. A new
    amount is a new line. When the configuration changes, this month and the one before are charged anew; older ones by a
    backfill. Days are UTC.
    """

    kind: ClassVar[str] = "owned_capacity"
    title: ClassVar[str] = "Owned capacity"
    produces: ClassVar[Produces] = "charges"
    Config: ClassVar[type[OwnedCapacityConfig]] = OwnedCapacityConfig
    expected_lag_seconds: ClassVar[int] = 2 * 3600
    restatement_days: ClassVar[int] = 31
    poll_seconds: ClassVar[int] = 3600

    def read(self, cursor: Cursor, window: Window) -> Iterator[Raw]:
        """Each month that the window touches, up to its last complete hour; the hash is over the configuration and the span."""
        through = window.end.replace(minute=0, second=0, microsecond=0)
        days = month(window.start.date())
        while days.start_at < through:
            yield self._unit(days, Window(days.start_at, min(days.end_at, through)))
            days = month(days.end)

    def probe(self, window: Window) -> Iterator[Finding]:
        """What the configuration says, and what it leaves out."""
        defaults = self.config.defaults
        machines = owned_machines.machines(self.config.machines, defaults)
        lines = owned_machines.lines(self.config.monthly_lines, defaults)
        gpus = sum(one.gpus for one in machines)
        yield Finding(
            "Configuration",
            "ok" if machines or lines else "missing",
            f"machines: {len(machines)}, their GPUs: {gpus}, monthly lines: {len(lines)}",
            "" if machines or lines else "Add machines or monthly lines",
        )
        silent = [one.name for one in machines if one.watts is None]
        if silent:
            words = f"No energy is charged for {', '.join(silent[:5])}{' and others' if len(silent) > 5 else ''}"
            yield Finding("Energy", "note", words, "Give power_watts of each machine")
        if not self.config.site:
            words = "A second source of this company would be taken for the same bill"
            yield Finding("Site", "note", words, "Give each of several such sources its own site")

    def normalize(self, raw: Raw) -> Iterator[Normalized]:
        """The charges of a month, machine after machine."""
        span: Window = raw.payload
        reading = charge_rows.Reading(default_currency=self.config.defaults.currency)
        found: list[pl.DataFrame] = []
        row = 1
        for portion in self._portions(span):
            found.append(portion.frame())
            if sum(each.height for each in found) >= _ROWS:
                yield self._charges(found, reading, raw, row)
                row += sum(each.height for each in found)
                found = []
        if found:
            yield self._charges(found, reading, raw, row)

    def _portions(self, span: Window) -> Iterator[owned_charges.Portion]:
        defaults = self.config.defaults
        for machine in owned_machines.machines(self.config.machines, defaults):
            yield from owned_charges.of_machine(machine, span)
        for line in owned_machines.lines(self.config.monthly_lines, defaults):
            yield from owned_charges.of_line(line, span)

    def _charges(self, found: list[pl.DataFrame], reading: charge_rows.Reading, raw: Raw, row: int) -> Normalized:
        company, site = self.config.company, self.config.site
        frame = pl.concat(found, how="diagonal").with_columns(
            pl.col(pl.String).fill_null(""),
            pl.lit(company).alias("invoice_issuer_name"),
            pl.lit(company).alias("billing_account_name"),
            pl.lit(f"{company}/{site}" if site else company).alias("billing_account_id"),
            pl.lit(site).alias("sub_account_id"),
        )
        charges = charge_rows.finish(frame, (), reading, file=raw.name, file_index=0, first_row=row)
        return Normalized(_without_model(charges.batch), charges.rejected, raw.name)

    def _unit(self, days: Days, span: Window) -> Raw:
        said = [_ARITHMETIC, asdict(self.config), span.start.isoformat(), span.end.isoformat()]
        found = hashlib.sha256(orjson.dumps(said, option=orjson.OPT_SORT_KEYS, default=str)).hexdigest()
        name = f"{days.start:%Y-%m}"
        return Raw(
            name=name,
            payload=span,
            content_hash=found,
            export="owned",
            run_id=found,
            files=(name,),
            complete_through=span.end,
            span=Window(days.start_at, days.end_at),  # a month from which everything was taken out is empty
        )


def _without_model(batch: pa.RecordBatch) -> pa.RecordBatch:
    """A node called llama-1 is no model: these texts were written by hand and name none."""
    empty = pa.array([""] * batch.num_rows, pa.string())
    columns = [empty if name in _NO_MODEL else batch.column(name) for name in CHARGE.names]
    return pa.RecordBatch.from_arrays(columns, schema=CHARGE)
