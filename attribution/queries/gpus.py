"""What GPUs did by hour, and what was paid for it: used, idle, or not known."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from attribution.queries.scoped import books, fetch, usage
from costobs.kernel.scope import SpendScope

_MILLION = Decimal(1_000_000)
_HOUR_MS = Decimal(3_600_000)
_PLACES = Decimal("1e-12")


@dataclass(frozen=True, slots=True)
class GpuHourCell:
    """One hour of one GPU or MIG slice. `busy_permille` is None where nothing was measured: unknown, not idle."""

    node: str
    gpu: str  # index and, under MIG, the slice
    gpu_model: str
    deployment: str  # "" = nothing was loaded; several are joined by ", "
    hour: datetime
    busy_permille: int | None
    covered_ms: int
    memory_used_mib: int | None
    memory_total_mib: int | None
    activity_source: str  # what busy was measured by: gr_engine_active or gpu_util


@dataclass(frozen=True, slots=True)
class GpuCost:
    """What was paid for the GPUs behind one deployment ("" = nothing loaded) in scope, and what became of it.

    paid = used + overhead + fine_tuned + idle_workload + idle_infrastructure + no_telemetry, exactly.
    """

    deployment: str
    paid_cost: Decimal
    used_cost: Decimal  # busy with logged requests
    overhead_cost: Decimal  # busy without any request
    fine_tuned_cost: Decimal
    idle_workload_cost: Decimal  # loaded, not busy
    idle_infrastructure_cost: Decimal  # nothing loaded
    no_telemetry_cost: Decimal
    gpu_ms: int  # measured on the days that are paid, in whole-GPU milliseconds, of everybody who shares the deployment
    busy_ms: int
    tokens: int  # of the scope, on the days that are paid
    bought_as: tuple[
        tuple[str, Decimal], ...
    ] = ()  # purchase option ("" = not told) and its part of paid, largest first

    @property
    def cost_per_gpu_hour(self) -> Decimal | None:
        """Paid for one measured GPU-hour."""
        measured = self.paid_cost - self.no_telemetry_cost
        return (measured * _HOUR_MS / self.gpu_ms).quantize(_PLACES) if self.gpu_ms else None

    @property
    def cost_per_million_tokens(self) -> Decimal | None:
        """Of busy time only."""
        return (self.used_cost * _MILLION / self.tokens).quantize(_PLACES) if self.tokens else None

    @property
    def loaded_cost_per_million_tokens(self) -> Decimal | None:
        """With the deployment's idle time and overhead."""
        whole = self.used_cost + self.overhead_cost + self.idle_workload_cost
        return (whole * _MILLION / self.tokens).quantize(_PLACES) if self.tokens else None


@dataclass(frozen=True, slots=True)
class GpuNodeCost:
    """What was paid for one node in scope, by what became of it; the parts add to `paid_cost` exactly."""

    node: str
    paid_cost: Decimal
    used_cost: Decimal
    overhead_cost: Decimal
    fine_tuned_cost: Decimal
    idle_workload_cost: Decimal
    idle_infrastructure_cost: Decimal
    no_telemetry_cost: Decimal
    bought_as: tuple[tuple[str, Decimal], ...] = ()  # as in GpuCost


_FATES = {
    "used": "x.share_kind = 'direct' AND x.token_kind <> ''",
    "overhead": "x.share_kind = 'overhead'",
    "fine_tuned": "x.share_kind = 'direct' AND x.token_kind = ''",
    "idle_workload": "x.share_kind = 'idle_workload'",
    "idle_infrastructure": "x.share_kind = 'idle_infrastructure'",
    "no_telemetry": "x.share_kind IN ('unallocated', 'shared')",
}
_SUMS = ", ".join(f"coalesce(sum(x.cost) FILTER (WHERE {test}), 0)" for test in _FATES.values())


def gpu_utilisation(*, scope: SpendScope) -> list[GpuHourCell]:
    """The heat map: every GPU-hour that has samples, by node, GPU and hour; hours without samples are absent.

    Someone who may not see everything sees the deployments that carry spend of their teams.
    """
    parameters = {"start": scope.days.start_at, "end": scope.days.end_at, "deployments": visible(scope)}
    sql = """
        SELECT node, gpu_index || CASE WHEN mig_instance <> '' THEN '/' || mig_instance ELSE '' END, max(gpu_model),
            coalesce(string_agg(DISTINCT nullif(deployment, ''), ', '), ''), hour,
            CASE WHEN sum(covered_ms) > 0 THEN (sum(busy_ms) * 1000 / sum(covered_ms))::int END,
            sum(covered_ms)::bigint, avg(memory_used_mib)::int, max(memory_total_mib)::int, max(activity_source)
        FROM ingest_gpuhour
        WHERE hour >= %(start)s AND hour < %(end)s
            AND (%(deployments)s::text[] IS NULL OR deployment = ANY(%(deployments)s))
        GROUP BY node, gpu_uuid, gpu_index, mig_instance, hour ORDER BY 1, 2, hour"""
    return [GpuHourCell(*row) for row in fetch(sql, parameters)]


def gpu_costs(*, scope: SpendScope) -> list[GpuCost]:
    """What became of the money paid for GPUs, by deployment, dearest first."""
    scoped = books(scope)
    sql = f"""
        SELECT x.deployment, coalesce(sum(x.cost), 0), {_SUMS}
        FROM (SELECT d.deployment, {scoped.cost} AS cost, d.share_kind, d.token_kind
              {scoped.source()} AND d.is_current AND d.method = 'gpu_share') x GROUP BY 1 ORDER BY 2 DESC, 1"""
    telemetry, tokens = _telemetry(scope), _tokens(scope)
    bought = _bought(
        f"""SELECT d.deployment, d.purchase_option, sum({scoped.cost}) {scoped.source()}
            AND d.is_current AND d.method = 'gpu_share' GROUP BY 1, 2 ORDER BY 1, 3 DESC, 2""",
        scoped.parameters,
    )
    return [
        GpuCost(*(*row, *telemetry.get(row[0], (0, 0)), tokens.get(row[0], 0), bought.get(row[0], ())))
        for row in fetch(sql, scoped.parameters)
    ]


def gpu_node_costs(*, scope: SpendScope) -> list[GpuNodeCost]:
    """What became of the money paid for GPUs, by node. The parts of a split know their node; filters by owner do not apply,
    so only someone who may see everything gets an answer.
    """
    if scope.teams is not None:
        return []
    parts = """FROM attribution_allocatedcharge
        WHERE day >= %(start)s AND day < %(end)s AND currency = %(currency)s AND method = 'gpu_share'"""
    sql = f"""
        SELECT substr(x.pool, 5), coalesce(sum(x.cost), 0), {_SUMS}
        FROM (SELECT pool, {scope.cost}_cost AS cost, share_kind, token_kind {parts}) x
        GROUP BY 1 ORDER BY 2 DESC, 1"""
    parameters = {"start": scope.days.start, "end": scope.days.end, "currency": scope.currency}
    bought = _bought(
        f"""SELECT substr(pool, 5), purchase_option, sum({scope.cost}_cost) {parts}
            GROUP BY 1, 2 ORDER BY 1, 3 DESC, 2""",
        parameters,
    )
    return [GpuNodeCost(*(*row, bought.get(row[0], ()))) for row in fetch(sql, parameters)]


def _bought(sql: str, parameters: dict[str, Any]) -> dict[str, tuple[tuple[str, Decimal], ...]]:
    """How the capacity of each row was bought, from a query of key, option and cost."""
    found: dict[str, list[tuple[str, Decimal]]] = {}
    for key, option, cost in fetch(sql, parameters):
        found.setdefault(key, []).append((option, cost))
    return {key: tuple(options) for key, options in found.items()}


def visible(scope: SpendScope) -> list[str] | None:
    """The deployments whose telemetry the viewer may see: those that carry spend of their teams. None = all."""
    if scope.teams is None:
        return None
    scoped = books(scope)
    return [
        row[0]
        for row in fetch(f"SELECT DISTINCT d.deployment {scoped.source()} AND d.deployment <> ''", scoped.parameters)
    ]


# Hours and tokens of days without a bill would make an hour and a token look cheaper than they are.
_PAID = """(SELECT DISTINCT day, deployment FROM attribution_dailycost
    WHERE day >= %(start)s AND day < %(end)s AND currency = %(currency)s AND method = 'gpu_share' AND is_current)"""


def _telemetry(scope: SpendScope) -> dict[str, tuple[int, int]]:
    sql = f"""
        SELECT deployment, sum(covered_ms * w / 7)::bigint, sum(busy_ms * w / 7)::bigint
        FROM (SELECT deployment, hour, covered_ms, busy_ms,
                CASE WHEN mig_profile ~ '^[1-7]g' THEN left(mig_profile, 1)::int ELSE 7 END AS w
            FROM ingest_gpuhour WHERE hour >= %(start_at)s AND hour < %(end_at)s) g
        WHERE ((hour AT TIME ZONE 'UTC')::date, deployment) IN {_PAID} GROUP BY 1"""
    days = scope.days
    parameters: dict[str, Any] = {
        "start": days.start,
        "end": days.end,
        "start_at": days.start_at,
        "end_at": days.end_at,
    }
    parameters |= {"currency": scope.currency}
    return {name: (covered, busy) for name, covered, busy in fetch(sql, parameters)}


def _tokens(scope: SpendScope) -> dict[str, int]:
    scoped = usage(scope, ["deployment"])
    scoped.parameters["currency"] = scope.currency
    kinds = "d.input_uncached + d.cache_read + d.cache_write_5m + d.cache_write_1h + d.output"
    sql = f"""SELECT f.deployment, sum({kinds})::bigint {scoped.source()}
        AND d.is_current AND f.deployment <> '' AND (d.day, f.deployment) IN {_PAID} GROUP BY 1"""
    return dict(fetch(sql, scoped.parameters))
