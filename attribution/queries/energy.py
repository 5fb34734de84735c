"""The energy of own GPUs and what it emitted, by owner and by deployment, and what a token weighs on each deployment."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from attribution import token_weights as weights
from attribution.dimensions import SELF_HOSTED, provider_name_sql, service_name_sql
from attribution.models import Rule
from attribution.queries.gpus import visible
from attribution.queries.scoped import BOOKS, Scoped, fetch, usage
from attribution.rules.gpu_share import GpuShare
from costobs.kernel.scope import SpendScope

_MILLION = Decimal(1_000_000)
_PLACES = Decimal("1e-9")
_JOULES_PER_WH = 3600

# Shares know no bill: asked for what only bills know, they have nothing, and that is the answer.
_SHARES = BOOKS | {
    "provider_name": provider_name_sql(f"'{SELF_HOSTED}'"),
    "service_name": service_name_sql(f"'{SELF_HOSTED}'"),
    "charge_category": "'Usage'",
    "cost_kind": "'gpu_compute'",
    **dict.fromkeys(("sub_account", "region", "purchase_option", "basis", "invoice_issuer_name"), "''"),
}
_TABLE = """(SELECT g.*, coalesce(o.source_id, 0) AS source_id FROM attribution_gpushare g
    LEFT JOIN ingest_attributeset o ON o.id = g.attribute_set_id WHERE g.millijoules IS NOT NULL)"""
_GRAMS = "d.millijoules * d.pue * d.grams_per_kwh / 3600000000"
_USED = "d.share_kind = 'direct' AND d.run_id = 0"
_MEASURED = """(SELECT DISTINCT day, deployment FROM attribution_gpushare
    WHERE day >= %(start)s AND day < %(end)s AND millijoules IS NOT NULL)"""
_KINDS = "d.input_uncached + d.cache_read + d.cache_write_5m + d.cache_write_1h + d.output"


@dataclass(frozen=True, slots=True)
class EnergyUse:
    """What requests of one group drew from the cards that served them. `grams` is CO2e, with the PUE of their data centres.

    Tokens and requests are those of deployments and days whose cards were metered.
    """

    keys: tuple[str, ...]
    joules: Decimal  # exact: whole thousandths
    grams: Decimal
    tokens: int
    requests: int
    is_default_carbon: bool  # at least a part rests on the default PUE or intensity

    @property
    def wh(self) -> Decimal:
        return watt_hours(self.joules)

    @property
    def wh_per_million_tokens(self) -> Decimal | None:
        return _quotient(self.wh * _MILLION, self.tokens)

    @property
    def grams_per_million_tokens(self) -> Decimal | None:
        return _quotient(self.grams * _MILLION, self.tokens)

    @property
    def wh_per_request(self) -> Decimal | None:
        return _quotient(self.wh, self.requests)

    @property
    def grams_per_request(self) -> Decimal | None:
        return _quotient(self.grams, self.requests)


@dataclass(frozen=True, slots=True)
class GpuEnergy:
    """What the cards behind one deployment drew ("" = nothing loaded): the parts are the differences of their counters, exactly."""

    deployment: str
    used_joules: Decimal
    fine_tuned_joules: Decimal
    overhead_joules: Decimal
    idle_joules: Decimal
    unknown_joules: Decimal
    grams: Decimal  # of all of it
    used_grams: Decimal
    tokens: int
    is_default_carbon: bool

    @property
    def joules(self) -> Decimal:
        return self.used_joules + self.fine_tuned_joules + self.overhead_joules + self.idle_joules + self.unknown_joules

    @property
    def wh_per_million_tokens(self) -> Decimal | None:
        """Of what requests used."""
        return _quotient(watt_hours(self.used_joules) * _MILLION, self.tokens)

    @property
    def grams_per_million_tokens(self) -> Decimal | None:
        return _quotient(self.used_grams * _MILLION, self.tokens)


@dataclass(frozen=True, slots=True)
class WeightsLine:
    """What a token weighs on one deployment, against an uncached input token. `method` is stated (by a rule), step_log,
    counters, declared (fitted, and not good enough) or default. Milliseconds, R² and steps are None where nothing was fitted.
    """

    deployment: str
    method: str
    quantization: str
    cached_weight: Decimal
    output_weight: Decimal
    a_ms: Decimal | None
    b_ms: Decimal | None
    c_ms: Decimal | None
    r2: Decimal | None
    steps: int | None
    valid_from: date | None
    fitted_at: datetime | None

    @property
    def is_estimated(self) -> bool:
        return self.method in {"declared", "default"}


def watt_hours(joules: Decimal) -> Decimal:
    """Cut to nine decimals; joules are the exact ones."""
    return (joules / _JOULES_PER_WH).quantize(_PLACES)


def energy_use(*, scope: SpendScope, group_by: Sequence[str] = ()) -> list[EnergyUse]:
    """Energy of requests by `group_by`, most first; groups whose cards were not metered are absent. Raises BadScope."""
    scoped = Scoped(scope, table=_TABLE, expressions=_SHARES, dimensions=group_by)
    drawn = _grouped(
        scoped, [f"sum(d.millijoules)::numeric, sum({_GRAMS}), bool_or(d.is_default_carbon)"], f"AND {_USED}"
    )
    used = usage(scope, group_by)
    counted = _grouped(
        used,
        [f"sum({_KINDS})::bigint, sum(d.requests)::bigint"],
        f"AND d.is_current AND f.provider = '{SELF_HOSTED}' AND (d.day, f.deployment) IN {_MEASURED}",
    )
    rows = []
    for keys, (millijoules, grams, is_default) in drawn.items():
        tokens, requests = counted.get(keys, (0, 0))
        rows.append(EnergyUse(keys, millijoules / 1000, grams.quantize(_PLACES), tokens, requests, is_default))
    return sorted(rows, key=lambda row: (-row.joules, row.keys))


def gpu_energy(*, scope: SpendScope) -> list[GpuEnergy]:
    """What cards drew by deployment, most first. A viewer of teams sees what their requests used, not what was idle."""
    scoped = Scoped(scope, table=_TABLE, expressions=_SHARES, dimensions=("deployment",))
    tests = [
        _USED,
        "d.run_id <> 0",
        "d.share_kind = 'overhead'",
        "d.share_kind IN ('idle_workload', 'idle_infrastructure')",
        "d.share_kind = 'unallocated'",
    ]
    sums = [f"coalesce(sum(d.millijoules) FILTER (WHERE {test}), 0)::numeric" for test in tests]
    sums += [f"sum({_GRAMS})", f"coalesce(sum({_GRAMS}) FILTER (WHERE {_USED}), 0)", "bool_or(d.is_default_carbon)"]
    tokens = {row.keys: row.tokens for row in energy_use(scope=scope, group_by=("deployment",))}
    rows = []
    for keys, (*parts, grams, used_grams, is_default) in _grouped(scoped, sums).items():
        used, tuned, overhead, idle, unknown = (one / 1000 for one in parts)
        emitted, of_requests = grams.quantize(_PLACES), used_grams.quantize(_PLACES)
        rows.append(
            GpuEnergy(
                keys[0], used, tuned, overhead, idle, unknown, emitted, of_requests, tokens.get(keys, 0), is_default
            )
        )
    return sorted(rows, key=lambda row: (-row.joules, row.deployment))


def token_weights(*, scope: SpendScope) -> list[WeightsLine]:
    """The weights that hold on the last day of the scope, by deployment: those that telemetry or usage knows in the scope."""
    rule = _rule()
    fits = weights.in_force(day=scope.days.last)
    return [_line(name, rule, fits.get(name)) for name in _deployments(scope)]


def _line(name: str, rule: GpuShare, fit: weights.InForce | None) -> WeightsLine:
    stated = rule.deployment_weights.get(name)
    if stated and stated["input"]:
        return WeightsLine(name, "stated", "", *_ratios(stated), *[None] * 7)
    if fit is None:
        return WeightsLine(name, "default", "", *_ratios(rule.token_weights), *[None] * 7)
    ratios = (fit.cached_weight, fit.output_weight) if fit.is_fitted else _ratios(rule.token_weights)
    return WeightsLine(
        name,
        fit.method,
        fit.quantization,
        *ratios,
        a_ms=fit.a_ms,
        b_ms=fit.b_ms,
        c_ms=fit.c_ms,
        r2=fit.r2,
        steps=fit.steps,
        valid_from=fit.valid_from,
        fitted_at=fit.known_from,
    )


def _ratios(given: Any) -> tuple[Decimal, Decimal]:  # weights by name
    unit = given["input"] or Decimal(1)
    return (given["cached"] / unit).quantize(Decimal("1e-6")), (given["output"] / unit).quantize(Decimal("1e-6"))


def _rule() -> GpuShare:
    """The rule by telemetry in force; without one, its defaults."""
    found = (
        Rule.objects.filter(ruleset__is_current=True, is_active=True, kind=GpuShare.kind).order_by("position").first()
    )
    return GpuShare.parse(found.config if found else {})


def _deployments(scope: SpendScope) -> Iterable[str]:
    seen = fetch(
        """SELECT DISTINCT deployment FROM attribution_gpushare WHERE day >= %(start)s AND day < %(end)s AND deployment <> ''
           AND (%(visible)s::text[] IS NULL OR deployment = ANY(%(visible)s)) ORDER BY 1""",
        {"start": scope.days.start, "end": scope.days.end, "visible": visible(scope)},
    )
    return [row[0] for row in seen]


def _grouped(scoped: Scoped, sums: Sequence[str], condition: str = "") -> dict[tuple[str, ...], tuple[Any, ...]]:
    keys = scoped.keys()
    group = f"GROUP BY {', '.join(str(index + 1) for index in range(len(keys)))}" if keys else "HAVING count(*) > 0"
    rows = fetch(f"SELECT {', '.join([*keys, *sums])} {scoped.source()} {condition} {group}", scoped.parameters)
    return {tuple(row[: len(keys)]): tuple(row[len(keys) :]) for row in rows}


def _quotient(amount: Decimal, units: int) -> Decimal | None:
    return (amount / units).quantize(_PLACES) if units else None
