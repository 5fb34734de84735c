"""The sums that unit costs are made of: money by what carries it, counts of calls and tokens, agent runs, and durations."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Any, Self

from attribution.queries.scoped import Scoped, fetch
from costobs.kernel import histogram

PROMPT = ("input_uncached", "cache_read", "cache_write_5m", "cache_write_1h", "audio_input", "image_input")
COUNTED = (*PROMPT, "output", "audio_output")
COLUMNS = ("requests", "errors", "refused", "unknown_usage", *COUNTED, "reasoning")
KEPT = ("basis", "method", "token_kind", "share_kind")
_PERMILLES = {"p50_ms": 500, "p90_ms": 900, "p95_ms": 950, "p99_ms": 990}

# What tokens pay for: a fine-tune run is not an inference, a bypass has no tokens, and the tokens behind an adjustment are
# those of a closed month.
_BY_USAGE = """((d.basis = 'estimated' AND d.method <> 'adjustment') OR d.method = 'tie_out'
    OR (d.method = 'gpu_share' AND d.token_kind <> ''))"""
USED = f"({_BY_USAGE} AND d.share_kind = 'direct')"
LOADED = f"({USED} OR (d.method = 'gpu_share' AND d.share_kind IN ('idle_workload', 'overhead')))"

Key = tuple[Any, ...]


class _Sums:
    """Fields that add up."""

    @classmethod
    def total(cls, parts: Iterable[Self]) -> Self:
        """The parts together; nothing is zero."""
        rows = [tuple(getattr(part, one.name) for one in fields(cls)) for part in parts]  # type: ignore[arg-type]
        return cls(*(sum(column, type(column[0])()) for column in zip(*rows, strict=True)))


@dataclass(frozen=True, slots=True)
class Costs(_Sums):
    cost: Decimal = Decimal(0)
    usage: Decimal = Decimal(0)
    loaded: Decimal = Decimal(0)
    estimated: Decimal = Decimal(0)
    input: Decimal = Decimal(0)
    cached: Decimal = Decimal(0)
    output: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class Counts(_Sums):
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


@dataclass(frozen=True, slots=True)
class Runs(_Sums):
    runs: int = 0
    cost: Decimal = Decimal(0)


Buckets = list[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Durations:
    """Counts by bucket of whole answers and of first tokens."""

    latency: Buckets
    ttft: Buckets

    @classmethod
    def total(cls, parts: Iterable["Durations"]) -> "Durations":
        """The parts together; a bucket may repeat."""
        found = cls([], [])
        for part in parts:
            found.latency.extend(part.latency)
            found.ttft.extend(part.ttft)
        return found

    def percentiles(self) -> dict[str, int | None]:
        """By the names of UnitCost's fields; None where nothing was measured."""
        found = {name: histogram.percentile(self.latency, permille=one) for name, one in _PERMILLES.items()}
        return {
            **found,
            "ttft_p50_ms": histogram.percentile(self.ttft, permille=500),
            "ttft_p95_ms": histogram.percentile(self.ttft, permille=950),
        }


def costs(scoped: Scoped, keys: Sequence[str], group: str = "") -> dict[Key, Costs]:
    """Money of the books by `keys`; `group` replaces GROUP BY of all of them."""
    conditions = ["TRUE", USED, LOADED, "d.basis = 'estimated'"]
    conditions += [f"{USED} AND d.token_kind = '{kind}'" for kind in ("input_uncached", "cache_read", "output")]
    sums = [f"coalesce(sum({scoped.cost}) FILTER (WHERE {one}), 0)" for one in conditions]
    return {key: Costs(*row) for key, row in grouped(scoped, keys, sums, "d.is_current", group)}


def counts(scoped: Scoped, keys: Sequence[str], group: str = "") -> dict[Key, Counts]:
    """Calls and tokens by `keys`."""
    columns = ["requests", "errors", "refused", "unknown_usage", "input_uncached", "cache_read"]
    sums = [f"sum(d.{name})" for name in columns]
    sums += ["sum(d.cache_write_5m + d.cache_write_1h)", "sum(d.output)", "sum(d.reasoning)"]
    prompt, tokens = (" + ".join(f"d.{kind}" for kind in kinds) for kinds in (PROMPT, COUNTED))
    # A row is of one source and offering: its tokens without a request are those of a source that does not count requests.
    sums += [f"sum({prompt})", f"sum({tokens})", f"coalesce(sum({tokens}) FILTER (WHERE d.requests = 0), 0)"]
    return {key: Counts(*map(int, row)) for key, row in grouped(scoped, keys, sums, "d.is_current", group)}


def runs(scoped: Scoped, keys: Sequence[str], group: str = "") -> dict[Key, Runs]:
    """Agent runs of two calls or more by `keys`, with their list cost."""
    scoped.parameters["currency"] = scoped.scope.currency
    condition = "d.requests > 1 AND d.currency = %(currency)s"
    return {key: Runs(*row) for key, row in grouped(scoped, keys, ["count(*)", "sum(d.list_cost)"], condition, group)}


def durations(scoped: Scoped, keys: Sequence[str], extra: str = "") -> dict[Key, Durations]:
    """Counts of durations by `keys`."""
    named = [f"k{index}" for index in range(len(keys))]
    listed = "".join(f"{key} AS {name}, " for key, name in zip(keys, named, strict=True))
    places = ", ".join(str(index + 1) for index in range(len(keys) + 2))
    outer = "".join(f"x.{name}, " for name in named)
    # One row for each key and measure: a year of buckets is read as few arrays rather than as many rows.
    sql = f"""SELECT {outer} x.measure, array_agg(x.bucket::int), array_agg(x.n) FROM (
            SELECT {listed} d.measure, d.bucket, sum(d.count)::bigint AS n {scoped.source()} {extra} GROUP BY {places}) x
        GROUP BY {", ".join(str(index + 1) for index in range(len(keys) + 1))}"""
    found: dict[Key, Durations] = {}
    for *key, measure, buckets, numbers in fetch(sql, scoped.parameters):
        of = found.setdefault(tuple(key), Durations([], []))
        (of.latency if measure == "latency" else of.ttft).extend(zip(buckets, numbers, strict=True))
    return found


def grouped(
    scoped: Scoped, keys: Sequence[str], sums: Sequence[str], condition: str, group: str = ""
) -> list[tuple[Key, tuple[Any, ...]]]:
    """Sums by `keys` of what the condition leaves."""
    if not group:
        group = f"GROUP BY {', '.join(str(index + 1) for index in range(len(keys)))}" if keys else "HAVING count(*) > 0"
    sql = f"SELECT {', '.join([*keys, *sums])} {scoped.source()} AND {condition} {group}"
    return [(tuple(row[: len(keys)]), tuple(row[len(keys) :])) for row in fetch(sql, scoped.parameters)]
