"""What one unit costs: per million tokens of each kind, per request, per agent run, with latency and errors beside."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from attribution.queries import unit_sums
from attribution.queries.scoped import Scoped, books, usage
from attribution.queries.unit_sums import Costs, Counts, Durations, Key, Runs
from costobs.kernel.period import Days
from costobs.kernel.scope import SpendScope

_MILLION = Decimal(1_000_000)
_PLACES = Decimal("1e-12")
_NO_COSTS, _NO_COUNTS, _NO_RUNS = Costs(), Counts(), Runs()


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
class UnitReport:
    """Everything a page compares, out of one reading of each table: `now` are the complete days, `before` what they are
    compared with. Rows of `now` and `before` have no latency. A whole without any usage is None."""

    rows: list[UnitCost]  # of the scope by the group, dearest first
    whole: UnitCost | None
    whole_now: UnitCost | None
    whole_before: UnitCost | None
    now: dict[str, UnitCost]
    before: dict[str, UnitCost]
    days: dict[date, UnitCost]  # of the scope, and without latency of what it is compared with


def unit_costs(*, scope: SpendScope, group_by: Sequence[str]) -> list[UnitCost]:
    """Unit costs by `group_by`, dearest group first. Groups without any usage are left out. Raises BadScope."""
    found = _by(scope, group_by, by_day=False)
    return _dearest(found.values())


def unit_cost_by_day(*, scope: SpendScope, group_by: Sequence[str] = ()) -> list[DayUnitCost]:
    """Unit costs by day and `group_by`, by day, then dearest first."""
    found = [DayUnitCost(key[0], row) for key, row in _by(scope, group_by, by_day=True).items()]
    return sorted(found, key=lambda row: (row.day, -row.unit_cost.cost, row.unit_cost.keys))


def unit_report(*, scope: SpendScope, complete: Days, compare: Days | None, group: str) -> UnitReport:
    """Unit costs by `group`, in all and by day, of the scope, its complete days and those they are compared with.

    The same figures as `unit_costs` and `unit_cost_by_day` of each of them, but the rows are read once. Raises BadScope.
    """
    spans = {1: scope.days, 2: complete, 4: compare or Days(scope.days.start, scope.days.start)}
    first, last = min(one.start for one in spans.values()), max(one.end for one in spans.values())
    reading = _Reading(scope.during(Days(first, last)), spans, group)
    costs = reading.read(unit_sums.costs, books(reading.scope, [group]))
    counts = reading.read(unit_sums.counts, usage(reading.scope, [group]))
    runs = reading.read(unit_sums.runs, usage(reading.scope, [group], table="ingest_agentrun"))
    by_day = unit_sums.durations(usage(reading.scope, table="ingest_latencyday"), ["d.day"])
    by_key = usage(scope, [group], table="ingest_latencyday", sums=["count"], kept=["measure", "bucket"])
    durations = unit_sums.durations(by_key, by_key.keys())

    def rows(mark: int) -> dict[str, UnitCost]:
        found = [_keyed(reading.marked(sums, mark)) for sums in (costs, counts, runs)]
        latency = durations if mark == 1 else {}
        return {key: _unit_cost((key,), *_of(found, key), latency.get((key,))) for key in found[1]}

    def whole(mark: int) -> UnitCost | None:
        latency = Durations.total(one for (day,), one in by_day.items() if day in spans[mark])
        parts = [list(reading.marked(sums, mark).values()) for sums in (costs, counts, runs)]
        made = _unit_cost((), Costs.total(parts[0]), Counts.total(parts[1]), Runs.total(parts[2]), latency)
        return made if made.requests or made.tokens else None

    timed = {day: one for (day,), one in by_day.items() if day in scope.days}
    days = {
        key[2]: _unit_cost((), costs.get(key, _NO_COSTS), count, runs.get(key, _NO_RUNS), timed.get(key[2]))
        for key, count in counts.items()
        if key[2] is not None
    }
    return UnitReport(_dearest(rows(1).values()), whole(1), whole(2), whole(4), rows(2), rows(4), days)


@dataclass(frozen=True, slots=True)
class _Reading:
    """Days that several spans may hold, read once: sums by the spans a day is in and the group, and by day."""

    scope: SpendScope
    spans: dict[int, Days]
    group: str

    def read[Sums](self, of: Callable[[Scoped, list[str], str], dict[Key, Sums]], scoped: Scoped) -> dict[Key, Sums]:
        """Keys are (marks, group, None) and (None, None, day)."""
        marks = " + ".join(
            f"CASE WHEN d.day >= %(from_{mark})s AND d.day < %(until_{mark})s THEN {mark} ELSE 0 END"
            for mark in self.spans
        )
        for mark, days in self.spans.items():
            scoped.parameters |= {f"from_{mark}": days.start, f"until_{mark}": days.end}
        return of(scoped, [marks, *scoped.keys(), "d.day"], "GROUP BY GROUPING SETS ((1, 2), (3))")

    @staticmethod
    def marked(sums: dict[Key, Any], mark: int) -> dict[Key, Any]:
        """Those of one span, by (marks, group, None)."""
        return {key: one for key, one in sums.items() if key[0] is not None and key[0] & mark}


def _keyed(sums: dict[Key, Any]) -> dict[str, Any]:
    """By group, over the spans that overlap."""
    found: dict[str, list[Any]] = {}
    for key, one in sums.items():
        found.setdefault(key[1], []).append(one)
    return {key: type(parts[0]).total(parts) for key, parts in found.items()}


def _of(found: list[dict[str, Any]], key: str) -> tuple[Costs, Counts, Runs]:
    return found[0].get(key, _NO_COSTS), found[1].get(key, _NO_COUNTS), found[2].get(key, _NO_RUNS)


def _dearest(rows: Iterable[UnitCost]) -> list[UnitCost]:
    return sorted(rows, key=lambda row: (-row.cost, row.keys))


def _by(scope: SpendScope, group_by: Sequence[str], *, by_day: bool) -> dict[Key, UnitCost]:
    fold = not by_day
    counting = usage(scope, group_by, sums=unit_sums.COLUMNS if fold else (), kept=["is_current"])
    spending = books(scope, group_by, folded=fold, kept=unit_sums.KEPT)
    timing = usage(
        scope, group_by, table="ingest_latencyday", sums=["count"] if fold else (), kept=["measure", "bucket"]
    )
    day = ["d.day"] if by_day else []
    costs = unit_sums.costs(spending, [*day, *spending.keys()])
    running = usage(scope, group_by, table="ingest_agentrun")
    runs = unit_sums.runs(running, [*day, *running.keys()])
    durations = unit_sums.durations(timing, [*day, *timing.keys()])
    return {
        key: _unit_cost(
            key[1:] if by_day else key,
            costs.get(key, _NO_COSTS),
            count,
            runs.get(key, _NO_RUNS),
            durations.get(key),
        )
        for key, count in unit_sums.counts(counting, [*day, *counting.keys()]).items()
    }


def _unit_cost(keys: Key, cost: Costs, count: Counts, runs: Runs, durations: Durations | None) -> UnitCost:
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
        agent_runs=runs.runs,
        cost_per_agent_run=_quotient(runs.cost, runs.runs),
        tokens_per_request=_quotient(Decimal(count.tokens - count.uncounted_tokens), count.requests),
        cache_hit_rate=_quotient(Decimal(count.cache_read), count.prompt),
        error_rate=_quotient(Decimal(count.errors), count.requests),
        **(durations.percentiles() if durations else {}),
    )


def _quotient(amount: Decimal, units: int) -> Decimal | None:
    return (amount / units).quantize(_PLACES) if units else None
