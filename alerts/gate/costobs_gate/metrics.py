"""The gate's own counters as Prometheus text. A model server does not count what is refused before it."""

import bisect
import itertools
import threading
from collections.abc import Iterable, Mapping

COUNTERS: Mapping[str, str] = {
    "costobs_gate_requests_total": "Metered requests by team and outcome (ok, error, cancelled, refused).",
    "costobs_gate_admitted_total": "Requests that were forwarded, by team.",
    "costobs_gate_refused_total": "Refused requests by reason.",
    "costobs_gate_rerouted_total": "Requests that a rule sent to another model or upstream, by the model that served.",
    "costobs_gate_overflowed_total": "Requests that went from a full upstream to another, by both and the reason.",
    "costobs_gate_aborted_total": "Running requests that a rule ended, by team.",
    "costobs_gate_upstream_errors_total": "Failures of an upstream by reason (connect, timeout, broken, status).",
    "costobs_gate_tokens_total": "Tokens metered by team and direction; cached ones are part of the input.",
    "costobs_gate_usage_unknown_total": "Requests whose usage could not be read to its end.",
    "costobs_gate_feature_ignored_total": "Feature headers outside the allow-list of their key.",
    "costobs_gate_policy_fetches_total": "Policy requests by result (changed, unchanged, failed, broken).",
    "costobs_gate_batches_total": "Batches by result (acknowledged, failed, rejected).",
    "costobs_gate_renewals_total": "Questions for leases by result (renewed, failed).",
    "costobs_gate_over_reserved_total": "Requests that used more than the bound of what they could cost.",
    "costobs_gate_adopted_total": "Spools of dead processes that were delivered.",
}
GAUGES: Mapping[str, str] = {
    "costobs_gate_inflight": "Requests in flight in this process.",
    "costobs_gate_draining": "1 while new requests are refused because the server is to stop.",
    "costobs_gate_policy_age_seconds": "Seconds since costobs last confirmed the policy; absent before the first time.",
    "costobs_gate_spool_batches": "Batches of this process that wait for costobs.",
    "costobs_gate_info": "The policy in force.",
}

HISTOGRAM = "costobs_gate_added_seconds"
HISTOGRAM_HELP = "Time from the whole request to its being forwarded: what the gate adds before the model server."
BUCKETS = (0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05)

Labels = tuple[tuple[str, str], ...]


class Metrics:
    """Counters that the event loop and the threads add to."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._values: dict[str, dict[Labels, int]] = {name: {} for name in COUNTERS}
        self._observed = [0] * (len(BUCKETS) + 1)
        self._observed_sum = 0.0

    def add(self, name: str, amount: int = 1, **labels: str) -> None:
        """Add to a counter; `name` is one of COUNTERS."""
        key = tuple(labels.items()) if len(labels) < 2 else tuple(sorted(labels.items()))
        with self._guard:
            series = self._values[name]
            series[key] = series.get(key, 0) + amount

    def add_all(self, changes: Iterable[tuple[str, int, Labels]]) -> None:
        """Add to several counters at once: name, amount, and the labels in the order of their names."""
        with self._guard:
            for name, amount, key in changes:
                series = self._values[name]
                series[key] = series.get(key, 0) + amount

    def observe(self, seconds: float) -> None:
        """Add one request to the histogram of added time; called from the event loop only."""
        self._observed[bisect.bisect_left(BUCKETS, seconds)] += 1
        self._observed_sum += seconds

    def value(self, name: str, **labels: str) -> int:
        """The value of one series."""
        with self._guard:
            return self._values[name].get(tuple(sorted(labels.items())), 0)

    def total(self, name: str) -> int:
        """The sum of all series of a counter."""
        with self._guard:
            return sum(self._values[name].values())

    def render(self, gauges: Mapping[str, tuple[Labels, float] | None]) -> bytes:
        """The text exposition format, version 0.0.4."""
        with self._guard:
            values = {name: dict(series) for name, series in self._values.items()}
        lines: list[str] = []
        for name, series in values.items():
            lines += [f"# HELP {name} {COUNTERS[name]}", f"# TYPE {name} counter"]
            lines += [f"{name}{_labels(key)} {value}" for key, value in sorted(series.items())]
        for name, gauge in gauges.items():
            if gauge is not None:
                lines += [f"# HELP {name} {GAUGES[name]}", f"# TYPE {name} gauge"]
                lines.append(f"{name}{_labels(gauge[0])} {gauge[1]:g}")
        lines += self._histogram()
        return ("\n".join(lines) + "\n").encode()

    def _histogram(self) -> list[str]:
        found = itertools.accumulate(self._observed)
        lines = [f"# HELP {HISTOGRAM} {HISTOGRAM_HELP}", f"# TYPE {HISTOGRAM} histogram"]
        for bound, count in zip((*(f"{bound:g}" for bound in BUCKETS), "+Inf"), found, strict=True):
            lines.append(f'{HISTOGRAM}_bucket{{le="{bound}"}} {count}')
        lines.append(f"{HISTOGRAM}_sum {self._observed_sum:.6f}")
        lines.append(f"{HISTOGRAM}_count {sum(self._observed)}")
        return lines


def _labels(key: Labels) -> str:
    if not key:
        return ""
    return "{" + ",".join(f'{name}="{_escape(value)}"' for name, value in key) + "}"


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
