"""The excerpts of real traces that the sample takes its shapes from."""

import csv
from bisect import bisect_left
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from importlib import resources
from itertools import accumulate

RESOLUTION = 4096
_MOST_WATTS = 700  # of the GPUs in the excerpt


@dataclass(frozen=True, slots=True)
class Trace:
    """The sizes and the bursts of one real service, relative to their means."""

    context: tuple[float, ...]
    generated: tuple[float, ...]
    arrival_seconds: tuple[float, ...]  # the inverse of the arrivals' distribution over an hour, RESOLUTION + 1 values


@cache
def trace(service: str) -> Trace:
    """The trace of a service of the Azure excerpt: conv or code."""
    pairs = [(int(row["context_tokens"]), int(row["generated_tokens"])) for row in _rows("azure_requests.csv", service)]
    context, generated = (
        tuple(value / (sum(column) / len(column)) for value in column) for column in zip(*pairs, strict=True)
    )
    counts = [(int(row["second"]), int(row["requests"])) for row in _rows("azure_arrivals.csv", service)]
    return Trace(context, generated, _inverse(counts))


@cache
def services() -> tuple[dict[str, str], ...]:
    """Services of a cloud bill with their descriptions, units, list prices and SKUs."""
    return tuple(_read("focus_services.csv"))


@cache
def idle_power() -> tuple[float, ...]:
    """What free GPUs of a real node draw, as shares of the 700 W they may draw."""
    return tuple(_share(row["power_watts"]) for row in _read("dcgm_h100.csv") if row["memory_used_mib"] == "0")


@cache
def loaded_power() -> float:
    """What a real GPU draws that has a model loaded and nothing to do, as a share of what it may draw."""
    return next(_share(row["power_watts"]) for row in _read("dcgm_h100.csv") if row["memory_used_mib"] != "0")


@cache
def exporter() -> tuple[str, str]:
    """The namespace and workload that free GPUs carry in a real Prometheus: the exporter's own."""
    row = next(row for row in _read("dcgm_h100.csv") if row["memory_used_mib"] == "0")
    return row["namespace"], row["workload"]


def _share(watts: str) -> float:
    part = Fraction(watts) / _MOST_WATTS
    return part.numerator / part.denominator


def _inverse(counts: list[tuple[int, int]]) -> tuple[float, ...]:
    # A tenth of the calls arrives evenly, so that no moment of an hour is impossible.
    floor = sum(requests for _, requests in counts) / len(counts) / 10
    sums = list(accumulate(requests + floor for _, requests in counts))
    stretch = 3600 / (counts[-1][0] + 10)
    result = []
    for step in range(RESOLUTION + 1):
        wanted = sums[-1] * step / RESOLUTION
        at = min(bisect_left(sums, wanted), len(sums) - 1)
        before = sums[at - 1] if at else 0.0
        part = (wanted - before) / (sums[at] - before)
        result.append((counts[at][0] + 10 * part) * stretch)
    return tuple(result)


def _rows(name: str, service: str) -> list[dict[str, str]]:
    return [row for row in _read(name) if row["service"] == service]


@cache
def _read(name: str) -> tuple[dict[str, str], ...]:
    text = resources.files("costobs.embedded.sample").joinpath("data").joinpath(name).read_text("utf-8")
    return tuple(csv.DictReader(text.splitlines()))
