"""From the growth of servers' counters to usage by model and deployment: who serves what, and which counters count twice."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from ingest.rows import ATTRIBUTES, TOKEN_KINDS
from ingest.sources.base import Finding
from ingest.sources.formats.telemetry import server_counters
from ingest.sources.formats.telemetry.counter_growth import Grown
from ingest.sources.formats.telemetry.gpu_readings import workload_name
from ingest.sources.formats.telemetry.prometheus import Series

Labels = Mapping[str, str]

UNCOMPARED = "a counter with one reading, which nothing can be compared with"
STEP = "steps of a Triton ensemble, which counts each request for the whole"
NOTHING = "servers that nobody asked in this hour"


@dataclass(frozen=True, slots=True)
class Naming:
    """How servers are named after the fleet's own words."""

    deployments: Mapping[str, str] = field(default_factory=dict)
    deployment_label: str = ""
    models: Mapping[str, str] = field(default_factory=dict)
    attributes: Mapping[str, str] = field(default_factory=dict)

    def deployment(self, labels: Labels) -> str:
        """What `deployment_label` says, else the settings about the pod, its workload or its address, else the workload."""
        if self.deployment_label and labels.get(self.deployment_label):
            return labels[self.deployment_label]
        pod, known = _label(labels, "pod"), self.deployments
        address = labels.get("instance", "")
        if not pod:
            return known.get(address, "")
        name = workload_name(pod)
        namespace = _label(labels, "namespace")
        return known.get(pod) or known.get(f"{namespace}/{name}") or known.get(name) or known.get(address) or name

    def model(self, labels: Labels, deployment: str) -> str:
        """The model a server reports or, if it reports none, the one its deployment serves."""
        reported = labels.get("model_name") or labels.get("model") or ""
        return self.models.get(reported) or reported or self.models.get(deployment, "")


@dataclass(frozen=True, slots=True)
class Key:
    """What a bucket is about."""

    engine: str
    model: str
    deployment: str
    attributes: tuple[tuple[str, str], ...]


# Of each group the growth by role; None where it cannot be told.
Groups = dict[Key, dict[str, int | None]]
Server = frozenset[tuple[str, str]]


def groups(grown: Sequence[Grown], naming: Naming) -> tuple[Groups, Counter[str]]:
    """The growth by model and deployment, and how many groups were left out because others tell the same, by reason."""
    kept = [one for one in grown if not server_counters.is_repeated(one.labels)]
    token_models, ranks = _token_models(kept), _ranks(kept)
    found: Groups = {}
    steps: set[Key] = set()
    for one in kept:
        counter = server_counters.find(one.name)
        if counter is None or counter.rank != ranks[_told(counter, one.labels)]:
            continue
        deployment = naming.deployment(one.labels)
        attributes = tuple((name, _label(one.labels, label)) for name, label in sorted(naming.attributes.items()))
        key = Key(counter.engine, naming.model(one.labels, deployment), deployment, attributes)
        if _is_step(counter, one.labels, token_models):
            steps.add(key)
            continue
        sums, role = found.setdefault(key, {}), server_counters.role(counter, one.labels)
        sums[role] = sums.get(role) if one.growth is None else (sums.get(role) or 0) + one.growth
    return found, Counter({STEP: len(steps - found.keys())}) if steps - found.keys() else Counter()


def rows(found: Groups, starts_at: datetime, skipped: MutableMapping[str, int]) -> list[dict[str, object]]:
    """Buckets of an hour in the shape of USAGE_BUCKET; groups without any usage are counted in `skipped`."""
    told: list[dict[str, object]] = []
    for key in sorted(found, key=lambda key: (key.engine, key.model, key.deployment, key.attributes)):
        sums = found[key]
        if not any(sums.values()):
            reason = NOTHING if any(value is not None for value in sums.values()) else UNCOMPARED
            skipped[reason] = skipped.get(reason, 0) + 1
            continue
        told.append(_row(len(told) + 1, key, sums, starts_at))
    return told


def unnamed(series: Sequence[Series], naming: Naming) -> Iterator[Finding]:
    """What of these servers has no name or no count, and what to do about it."""
    nameless = sorted({_place(one.labels) for one in series if not naming.deployment(one.labels)})
    if nameless:
        yield Finding(
            "Deployments",
            "note",
            f"{_listed(nameless)} cannot be named.",
            "Name them in deployments by host:port, or have Prometheus add the label pod.",
        )
    models = sorted(
        {_place(one.labels) for one in series if not naming.model(one.labels, naming.deployment(one.labels))}
    )
    if models:
        yield Finding(
            "Models", "note", f"{_listed(models)} report no model.", "Say in models what their deployments serve."
        )
    counting = {server_counters.server(one.labels) for one in series if _role(one) in ("prompt", "output")}
    silent = sorted({_place(one.labels) for one in series if server_counters.server(one.labels) not in counting})
    if silent:
        yield Finding(
            "Tokens",
            "note",
            f"{_listed(silent)} count requests only: their tokens are unknown.",
            "Triton counts tokens with its TensorRT-LLM backend (24.12 or later) and --allow-metrics.",
        )


def _row(number: int, key: Key, sums: Mapping[str, int | None], starts_at: datetime) -> dict[str, object]:
    prompt, cached, output = sums.get("prompt"), sums.get("cached"), sums.get("output")
    requests, errors = sums.get("requests"), sums.get("errors")
    if requests is not None or errors is not None:
        requests = (requests or 0) + (errors or 0)
    if prompt is not None and cached is not None:
        # Hits are counted when a request is scheduled, prompts when it is worked off: at the edge of an hour they differ.
        cached = min(cached, prompt)
    attributes = dict(key.attributes)
    return {
        "row_number": number,
        "starts_at": starts_at,
        "interval_seconds": 3600,
        "provider": "self_hosted",
        "request_model": key.model,
        "response_model": key.model,
        "operation": "",
        "deployment": key.deployment,
        "service_tier": "",
        "context_from": 0,
        "requests": requests,
        "errors": errors,
        **dict.fromkeys(TOKEN_KINDS),
        "input_uncached": None if prompt is None else prompt - (cached or 0),
        "cache_read": cached if prompt is not None else None,
        "output": output,
        **{f"attr_{name}": attributes.get(name, "") for name in ATTRIBUTES},
    }


def _told(counter: server_counters.Counter, labels: Labels) -> tuple[str, str, Server]:
    return counter.engine, counter.role, server_counters.server(labels)


def _ranks(grown: Iterable[Grown]) -> dict[tuple[str, str, Server], int]:
    """The best of the counters with which a server tells the same."""
    found: dict[tuple[str, str, Server], int] = {}
    for one in grown:
        if counter := server_counters.find(one.name):
            told = _told(counter, one.labels)
            found[told] = min(counter.rank, found.get(told, counter.rank))
    return found


def _token_models(grown: Iterable[Grown]) -> dict[Server, set[str]]:
    """Of each Triton the models that count tokens."""
    found: dict[Server, set[str]] = {}
    for one in grown:
        if one.name.startswith("nv_llm_"):
            found.setdefault(server_counters.server(one.labels), set()).add(one.labels.get("model", ""))
    return found


def _is_step(counter: server_counters.Counter, labels: Labels, token_models: Mapping[Server, set[str]]) -> bool:
    """Whether these are requests to a step of a Triton ensemble: it counts each request for the whole and for every step."""
    if counter.engine != "Triton" or counter.role not in ("requests", "errors"):
        return False
    counting = token_models.get(server_counters.server(labels))
    return counting is not None and labels.get("model", "") not in counting


def _label(labels: Labels, name: str) -> str:
    return labels.get(f"exported_{name}") or labels.get(name, "")


def _place(labels: Labels) -> str:
    return (
        labels.get("instance") or _label(labels, "pod") or labels.get("model_name") or labels.get("model") or "a server"
    )


def _role(one: Series) -> str:
    counter = server_counters.find(one.name)
    return counter.role if counter else ""


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more
