"""A recording of a real vLLM (`tests/golden/vllm_steps/`) as costobs would have seen it, and the truth beside it."""

import gzip
import json
import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from attribution import queries, token_weights
from ingest import partitions
from ingest.models import GpuHour, GpuSample, Offering, UsageEvent
from tests.attribution import world

GOLDEN = Path(__file__).parents[1] / "golden" / "vllm_steps"
DEPLOYMENT = "vllm-m200"
EVERY = 10  # seconds between two readings of the GPU
WARM_UP = 2  # requests that were sent before the traffic


@dataclass(frozen=True)
class Recording:
    """One recording: steps as (epoch seconds, ms, {request: (context, generated)}), and the gate's events."""

    steps: list[tuple[float, float, dict[str, tuple[int, int]]]]
    events: list[dict[str, Any]]

    def second_half(self) -> "Recording":
        """The later steps and the requests in them."""
        steps = self.steps[len(self.steps) // 2 :]
        live = {request for _, _, tokens in steps for request in tokens}
        return Recording(steps, [event for event in self.events if event["event_id"] in live])

    def teams(self) -> dict[str, str]:
        return {event["event_id"]: event["attributes"]["team"] for event in self.events}


def load(name: str) -> Recording:
    events = _lines(name, "gate")
    warm = {event["event_id"] for event in events[:WARM_UP]}
    steps = [
        (step["at"], step["ms"], {request: (share[0], share[1]) for request, share in step["tokens"].items()})
        for step in _lines(name, "steps")
        if not warm & set(step["tokens"])
    ]
    return Recording(steps, events[WARM_UP:])


def iterations(name: str) -> list[str]:
    with gzip.open(GOLDEN / name / "iterations.log.gz", "rt") as file:
        return file.readlines()


def truth(recording: Recording, fit: token_weights.Fit) -> dict[str, float]:
    """The milliseconds of each request: of every step its own tokens and an even part of what a step costs anyway, to the
    step's own duration.
    """
    a, b, c = (float(value) for value in (fit.a_ms, fit.b_ms, fit.c_ms))
    found: dict[str, float] = defaultdict(float)
    for _, ms, tokens in recording.steps:
        weights = {name: a / len(tokens) + b * context + c * made for name, (context, made) in tokens.items()}
        whole = sum(weights.values())
        for name, weight in weights.items():
            found[name] += ms * weight / whole
    return found


def place(recording: Recording, *, cost: str) -> None:
    """Puts the recording into the tables as the gate, dcgm and a bill would have: the bill is of the time that was sampled."""
    start = math.floor(recording.steps[0][0] / EVERY) * EVERY
    shift = world.at(10) - datetime.fromtimestamp(start, UTC)
    covered = _samples(recording, start, shift)
    log = world.source("gate", "gate")
    partitions.ensure_days([world.DAY])
    for event in recording.events:
        _event(log, event, shift)
    world.charge(world.source(), cost, starts=world.at(10), hours=1, resource_id="gpu-1")
    # The node is paid for the hour; all of it is watched, and nothing ran after the recording.
    GpuHour.objects.filter(hour=world.at(10)).update(covered_ms=3_600_000)
    assert covered <= 3_600_000


def _samples(recording: Recording, start: int, shift: timedelta) -> int:
    busy: dict[int, float] = defaultdict(float)
    for at, ms, _ in recording.steps:
        at -= start
        while ms > 1e-6:
            window = int(at // EVERY)
            inside = min(ms, ((window + 1) * EVERY - at) * 1000)
            busy[window] += inside
            at, ms = at + inside / 1000 + 1e-9, ms - inside
    dcgm, end = world.source("dcgm", "dcgm"), max(busy)
    texts = {"mig_instance": "", "mig_profile": "", "namespace": "llm", "pod": "vllm-0", "container": "vllm"}
    joules, sums = 5_000_000, 0
    for window in range(end + 1):
        share = min(1.0, busy[window] / (EVERY * 1000))
        joules += round(EVERY * (70_000 + 500_000 * share))
        sums += round(share * EVERY * 1000)
        GpuSample.objects.create(
            source=dcgm,
            gpu_uuid="GPU-a",
            sampled_at=datetime.fromtimestamp(start + (window + 1) * EVERY, UTC) + shift,
            interval_seconds=EVERY,
            node="gpu-1",
            gpu_index="0",
            gpu_model="H100",
            deployment=DEPLOYMENT,
            activity=share,
            activity_source="gr_engine_active",
            energy_millijoules=joules,
            **texts,
        )
    world.gpu_hour(dcgm, world.at(10), busy=sums, covered=(end + 1) * EVERY * 1000, deployment=DEPLOYMENT)
    GpuHour.objects.update(energy_millijoules=joules - 5_000_000)
    return (end + 1) * EVERY * 1000


def _event(log: Any, event: Mapping[str, Any], shift: timedelta) -> None:
    """As the gate pushes it; every request is an attribute set of its own, so that its cost can be told."""
    cached = event["gen_ai.usage.cache_read.input_tokens"]
    counts = {
        "input_uncached": event["gen_ai.usage.input_tokens"] - cached,
        "cache_read": cached,
        "output": event["gen_ai.usage.output_tokens"],
    }
    attributes = {"team": event["attributes"]["team"], "key": event["event_id"]}
    own = {"provider": "self_hosted", "model": "m200", "deployment": DEPLOYMENT}
    world.usage(log, attributes=attributes, hour=world.at(10), **own, **counts)
    others = ("cache_write_5m", "cache_write_1h", "reasoning", "audio_input", "audio_output", "image_input")
    UsageEvent.objects.create(
        source=log,
        event_id=event["event_id"],
        occurred_at=datetime.fromisoformat(event["occurred_at"]) + shift,
        attribute_set_id=world.attribute_set(log, **attributes),
        offering=Offering.objects.get(deployment=DEPLOYMENT),
        price=world.price("self_hosted", "m200"),
        usage_known=event["usage_known"],
        latency_ms=round(event["latency_ms"]),
        ttft_ms=None if event["ttft_ms"] is None else round(event["ttft_ms"]),
        status=event["http.response.status_code"],
        outcome=event["outcome"],
        trace_id="",
        session_id="",
        **counts,
        **dict.fromkeys(others, 0),
    )


def costs() -> dict[str, float]:
    """What the books say of each request."""
    rows = queries.spend(scope=world.scope(), group_by=["key", "share_kind"])
    return {row.keys[0]: float(row.cost) for row in rows if row.keys[1] == "direct"}


@dataclass(frozen=True)
class Errors:
    """How far a split is from the truth: the part of the money on the wrong request, and the worst error of a team."""

    wrong: float
    worst_team: float


def errors(found: Mapping[str, float], true: Mapping[str, float], teams: Mapping[str, str]) -> Errors:
    whole, paid = sum(true.values()), sum(found.values())
    off = {name: found.get(name, 0) / paid - true.get(name, 0) / whole for name in {*found, *true}}
    by_team: dict[str, float] = defaultdict(float)
    due: dict[str, float] = defaultdict(float)
    for name, difference in off.items():
        by_team[teams[name]] += difference
        due[teams[name]] += true.get(name, 0) / whole
    wrong = sum(abs(value) for value in off.values()) / 2
    return Errors(wrong, max(abs(by_team[team] / due[team]) for team in due))


def _lines(name: str, what: str) -> list[dict[str, Any]]:
    with gzip.open(GOLDEN / name / f"{what}.ndjson.gz", "rt") as file:
        return [json.loads(line) for line in file]
