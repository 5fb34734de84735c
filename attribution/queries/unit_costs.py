"""What one unit costs: per million tokens of each kind, per request, per agent run, with latency and errors beside."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from typing import Any

from attribution.queries.scoped import Scoped, books, fetch, usage
from costobs.kernel import histogram
from costobs.kernel.scope import SpendScope

_MILLION = Decimal(1_000_000)
_PLACES = Decimal("1e-12")
_PROMPT = ("input_uncached", "cache_read", "cache_write_5m", "cache_write_1h", "audio_input", "image_input")
_COUNTED = (*_PROMPT, "output", "audio_output")
_PERMILLES = {"p50_ms": 500, "p90_ms": 900, "p95_ms": 950, "p99_ms": 990}
_COLUMNS = ("requests", "errors", "refused", "unknown_usage", *_COUNTED, "reasoning")


@dataclass(frozen=True, slots=True)
class UnitCost:
    """Unit costs of one group, in the scope's cost column and currency.

    `cost` is all spend of the group. `usage_cost` is the part that logged tokens carry: estimates, bills tied to usage, and
    busy GPU time; unit costs divide it, not the bypass, idle and overhead, which would make a token look dearer than it is.
    `loaded_cost` adds the idle time and overhead of the group's own deployments. A unit cost is None where its
    denominator is zero or not known (requests, where a source did not count them), or its cost is not known by token kind.
    Quotients are cut to 12 decimals.
    """

    keys: tuple[str, ...]
    cost: Decimal
    usage_cost: Decimal
    loaded_cost: Decimal
    estimated_cost: Decimal
    requests: int
    errors: int
    refused: int
    unknown_usage: int
    input_uncached: int
    cache_read: int
    cache_write: int  # five-minute and one-hour
    output: int
    reasoning: int  # part of output
    tokens: int  # all kinds, each once
    uncounted_tokens: int  # of them, those of calls that nobody counted: a vendor's sums without a number of requests
    cost_per_million_input: Decimal | None
    cost_per_million_cached: Decimal | None
    cost_per_million_output: Decimal | None
    cost_per_million_tokens: Decimal | None
    loaded_cost_per_million_tokens: Decimal | None
    cost_per_request: Decimal | None
    cost_per_thousand_requests: Decimal | None
    agent_runs: int
    cost_per_agent_run: Decimal | None  # list cost of the runs of two calls or more, by run
    tokens_per_request: Decimal | None
    cache_hit_rate: Decimal | None  # cached share of prompt tokens, 0..1
    error_rate: Decimal | None  # 0..1
    p50_ms: int | None = None
    p90_ms: int | None = None
    p95_ms: int | None = None
    p99_ms: int | None = None
    ttft_p50_ms: int | None = None
    ttft_p95_ms: int | None = None


@dataclass(frozen=True, slots=True)
class DayUnitCost:
    """Unit costs of one group on one day."""

    day: date
    unit_cost: UnitCost


@dataclass(frozen=True, slots=True)
class _Costs:
    cost: Decimal = Decimal(0)
    usage: Decimal = Decimal(0)
    loaded: Decimal = Decimal(0)
    estimated: Decimal = Decimal(0)
    input: Decimal = Decimal(0)
    cached: Decimal = Decimal(0)
    output: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class _Counts:
    requests: int = 0
    errors: int = 0
    refused: int = 0
    unknown_usage: int = 0
    input_uncached: int = 0
    cache_read: int = 0
    cache_write: int = 0
    output: int = 0
    reasoning: int = 0
    prompt: int = 0
    tokens: int = 0
    uncounted_tokens: int = 0

    @property
    def priced_requests(self) -> int:
        """What the cost of usage may be divided by: nothing, where a part of it belongs to calls that nobody counted."""
        return 0 if self.uncounted_tokens else self.requests


_NO_COSTS, _NO_COUNTS = _Costs(), _Counts()
# What tokens pay for: a fine-tune run is not an inference, a bypass has no tokens, and the tokens behind an adjustment are
# those of a closed month.
_BY_USAGE = """((d.basis = 'estimated' AND d.method <> 'adjustment') OR d.method = 'tie_out'
    OR (d.method = 'gpu_share' AND d.token_kind <> ''))"""
_USED = f"{_BY_USAGE} AND d.share_kind IN ('direct', 'shared')"
_LOADED = f"({_USED} OR (d.method = 'gpu_share' AND d.share_kind IN ('idle_workload', 'overhead')))"

Key = tuple[Any, ...]


def unit_costs(*, scope: SpendScope, group_by: Sequence[str]) -> list[UnitCost]:
    """Unit costs by `group_by`, dearest group first. Groups without any usage are left out. Raises BadScope."""
    found = _by(scope, group_by, by_day=False)
    return sorted(found.values(), key=lambda row: (-row.cost, row.keys))


def unit_cost_by_day(*, scope: SpendScope, group_by: Sequence[str] = ()) -> list[DayUnitCost]:
    """Unit costs by day and `group_by`, by day, then dearest first."""
    found = [DayUnitCost(key[0], row) for key, row in _by(scope, group_by, by_day=True).items()]
    return sorted(found, key=lambda row: (row.day, -row.unit_cost.cost, row.unit_cost.keys))


def _by(scope: SpendScope, group_by: Sequence[str], *, by_day: bool) -> dict[Key, UnitCost]:
    fold = not by_day
    counts = _counts(usage(scope, group_by, sums=_COLUMNS if fold else (), kept=["is_current"]), by_day)
    costs = _costs(books(scope, group_by, folded=fold, kept=["basis", "method", "token_kind", "share_kind"]), by_day)
    runs = _runs(usage(scope, group_by, table="ingest_agentrun"), by_day)
    buckets = usage(
        scope, group_by, table="ingest_latencyday", sums=["count"] if fold else (), kept=["measure", "bucket"]
    )
    latency = _latency(buckets, by_day)
    return {
        key: replace(
            _unit_cost(key[1:] if by_day else key, costs.get(key, _NO_COSTS), count, runs.get(key, (0, Decimal(0)))),
            **latency.get(key, {}),  # type: ignore[arg-type]  # only the fields of latency
        )
        for key, count in counts.items()
    }


def _unit_cost(keys: Key, cost: _Costs, count: _Counts, runs: tuple[int, Decimal]) -> UnitCost:
    return UnitCost(
        keys=keys,
        cost=cost.cost,
        usage_cost=cost.usage,
        loaded_cost=cost.loaded,
        estimated_cost=cost.estimated,
        requests=count.requests,
        errors=count.errors,
        refused=count.refused,
        unknown_usage=count.unknown_usage,
        input_uncached=count.input_uncached,
        cache_read=count.cache_read,
        cache_write=count.cache_write,
        output=count.output,
        reasoning=count.reasoning,
        tokens=count.tokens,
        uncounted_tokens=count.uncounted_tokens,
        cost_per_million_input=_quotient(cost.input * _MILLION, count.input_uncached),
        cost_per_million_cached=_quotient(cost.cached * _MILLION, count.cache_read),
        cost_per_million_output=_quotient(cost.output * _MILLION, count.output),
        cost_per_million_tokens=_quotient(cost.usage * _MILLION, count.tokens),
        loaded_cost_per_million_tokens=_quotient(cost.loaded * _MILLION, count.tokens),
        cost_per_request=_quotient(cost.usage, count.priced_requests),
        cost_per_thousand_requests=_quotient(cost.usage * 1000, count.priced_requests),
        agent_runs=runs[0],
        cost_per_agent_run=_quotient(runs[1], runs[0]),
        tokens_per_request=_quotient(Decimal(count.tokens - count.uncounted_tokens), count.requests),
        cache_hit_rate=_quotient(Decimal(count.cache_read), count.prompt),
        error_rate=_quotient(Decimal(count.errors), count.requests),
    )


def _costs(scoped: Scoped, by_day: bool) -> dict[Key, _Costs]:
    conditions = ["TRUE", _USED, _LOADED, "d.basis = 'estimated'"]
    conditions += [f"{_USED} AND d.token_kind = '{kind}'" for kind in ("input_uncached", "cache_read", "output")]
    sums = [f"coalesce(sum({scoped.cost}) FILTER (WHERE {one}), 0)" for one in conditions]
    return {key: _Costs(*row) for key, row in _grouped(scoped, by_day, sums, "d.is_current")}


def _counts(scoped: Scoped, by_day: bool) -> dict[Key, _Counts]:
    columns = ["requests", "errors", "refused", "unknown_usage", "input_uncached", "cache_read"]
    sums = [f"sum(d.{name})" for name in columns]
    sums += ["sum(d.cache_write_5m + d.cache_write_1h)", "sum(d.output)", "sum(d.reasoning)"]
    prompt, tokens = (" + ".join(f"d.{kind}" for kind in kinds) for kinds in (_PROMPT, _COUNTED))
    # A row is of one source and offering: its tokens without a request are those of a source that does not count requests.
    sums += [f"sum({prompt})", f"sum({tokens})", f"coalesce(sum({tokens}) FILTER (WHERE d.requests = 0), 0)"]
    return {key: _Counts(*map(int, row)) for key, row in _grouped(scoped, by_day, sums, "d.is_current")}


def _runs(scoped: Scoped, by_day: bool) -> dict[Key, tuple[int, Decimal]]:
    scoped.parameters["currency"] = scoped.scope.currency
    rows = _grouped(scoped, by_day, ["count(*)", "sum(d.list_cost)"], "d.requests > 1 AND d.currency = %(currency)s")
    return {key: (row[0], row[1]) for key, row in rows}


def _latency(scoped: Scoped, by_day: bool) -> dict[Key, dict[str, int | None]]:
    keys = _keys(scoped, by_day)
    listed = "".join(f"{key}, " for key in keys)
    places = ", ".join(str(index + 1) for index in range(len(keys) + 2))
    sql = f"SELECT {listed} d.measure, d.bucket, sum(d.count) {scoped.source()} GROUP BY {places}"
    found: dict[Key, dict[str, list[tuple[int, int]]]] = {}
    for *key, measure, bucket, count in fetch(sql, scoped.parameters):
        found.setdefault(tuple(key), {"latency": [], "ttft": []})[measure].append((bucket, int(count)))
    return {
        key: {
            **{name: histogram.percentile(measures["latency"], permille=one) for name, one in _PERMILLES.items()},
            "ttft_p50_ms": histogram.percentile(measures["ttft"], permille=500),
            "ttft_p95_ms": histogram.percentile(measures["ttft"], permille=950),
        }
        for key, measures in found.items()
    }


def _keys(scoped: Scoped, by_day: bool) -> list[str]:
    return [*(["d.day"] if by_day else []), *scoped.keys()]


def _grouped(scoped: Scoped, by_day: bool, sums: Sequence[str], condition: str) -> list[tuple[Key, tuple[Any, ...]]]:
    keys = _keys(scoped, by_day)
    group = f"GROUP BY {', '.join(str(index + 1) for index in range(len(keys)))}" if keys else "HAVING count(*) > 0"
    sql = f"SELECT {', '.join([*keys, *sums])} {scoped.source()} AND {condition} {group}"
    return [(tuple(row[: len(keys)]), tuple(row[len(keys) :])) for row in fetch(sql, scoped.parameters)]


def _quotient(amount: Decimal, units: int) -> Decimal | None:
    return (amount / units).quantize(_PLACES) if units else None
