"""Usage of our own model servers from their counters in Prometheus, where nothing logs the requests."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import ClassVar

import pyarrow as pa

from ingest.rows import ATTRIBUTES, USAGE_BUCKET, Rejected
from ingest.sources.base import (
    BadDelivery,
    Cursor,
    Finding,
    Normalized,
    Produces,
    Raw,
    Secret,
    Source,
    SourceUnavailable,
    Window,
    setting,
)
from ingest.sources.formats import instants
from ingest.sources.formats.telemetry import counter_growth, prometheus, server_counters, server_usage
from ingest.sources.formats.telemetry.prometheus import Series

_HOUR = timedelta(hours=1)
# A reading is not in Prometheus at the moment it is taken.
_SETTLED = timedelta(minutes=2)
# How far before an hour a counter is looked for: what it grew across a longer gap is not known.
_BEFORE = timedelta(hours=1)
_REMEDY = (
    "Have Prometheus scrape the servers: /metrics of vLLM, of SGLang (started with --enable-metrics) and of TGI, port 8002 of "
    "Triton; Ray Serve passes on vLLM's counters with log_engine_metrics. Or mend the matchers in `selector`."
)


@dataclass(frozen=True, slots=True)
class PrometheusLlmConfig:
    """Where Prometheus is, which servers count, and what their labels mean."""

    url: str = setting("", hint="Address of Prometheus, such as http://prometheus:9090", required=True)
    selector: str = setting(
        "", hint='Which servers count, as label matchers: cluster="a",namespace!="test". Empty for all'
    )
    deployments: Mapping[str, str] = setting(
        dict, hint="Which deployment a pod, namespace/workload, workload or host:port is: one a line"
    )
    deployment_label: str = setting("", hint="The label that names the deployment, where the series carry one")
    models: Mapping[str, str] = setting(
        dict, hint="Which model a deployment serves, or what a reported name stands for. TGI reports none"
    )
    attributes: Mapping[str, str] = setting(
        dict, hint="Which label says an attribute: namespace, service_name, team, environment, project …: one a line"
    )

    def __post_init__(self) -> None:
        unknown = sorted(set(self.attributes) - set(ATTRIBUTES))
        if unknown:
            raise ValueError(f"attributes: there is no attribute {unknown[0]!r}; known: {', '.join(ATTRIBUTES)}")


@dataclass(frozen=True, slots=True)
class _Hour:
    """What Prometheus has of an hour, and of the time before it from which its counters are measured."""

    span: Window
    since: datetime
    series: Sequence[Series]


class PrometheusLlm(Source):
    """Tokens and requests of vLLM, SGLang, TGI, Triton with TensorRT-LLM, and vLLM under Ray Serve, by model and hour.

    For servers whose requests nobody logs. Counters know the model and the server, and neither key nor team: what they
    tell is usage by model and deployment, of provider self_hosted. Where there is a gate or a log, use that instead,
    not both.

    Each hour is computed from the readings as they were scraped, so its numbers are whole and exact; a server that
    restarts counts from zero. The hour that runs is read again until it is over. A server without readings in an hour
    has no usage in it that is known: that is not zero. Model names of TGI come from `models`; tokens of Triton need the
    TensorRT-LLM backend, else only requests are known. Example configuration:

        {"url": "http://prometheus:9090", "selector": "cluster=\\"a\\"", "deployment_label": "",
         "deployments": {"serving/chat-small": "chat-small", "10.0.1.7:8000": "chat-large"},
         "models": {"chat-small": "meta-llama/Llama-3.1-8B-Instruct"}, "attributes": {"namespace": "namespace"}}

    Credentials: bearer_token, or username and password.
    """

    kind: ClassVar[str] = "prometheus_llm"
    title: ClassVar[str] = "Model servers by Prometheus"
    produces: ClassVar[Produces] = "usage_buckets"
    Config: ClassVar[type[PrometheusLlmConfig]] = PrometheusLlmConfig
    secrets: ClassVar[Sequence[Secret]] = prometheus.SECRETS
    grants: ClassVar[Sequence[str]] = (
        "read access to the query API of Prometheus (/api/v1/query)",
        "the host of Prometheus in COSTOBS_PRIVATE_HOSTS, where its address is a private one",
    )
    expected_lag_seconds: ClassVar[int] = 900
    poll_seconds: ClassVar[int] = 300
    backfill_days: ClassVar[int] = 2

    def read(self, cursor: Cursor, window: Window) -> Iterator[Raw]:
        """One unit for each hour that has begun: from the hour before the first that was not over when it was read."""
        if not self.config.url:
            return
        hour = prometheus.floor(window.start, _HOUR)
        if through := instants.one(str(cursor.get("through", ""))):
            # What came late to the hour before is read as well, and no hour is left out after a long pause.
            hour = min(through, max(hour, prometheus.floor(through, _HOUR) - _HOUR))
        while hour < window.end:
            yield self._hour(hour, window.end)
            hour += _HOUR

    def normalize(self, raw: Raw) -> Iterator[Normalized]:
        """The hour's buckets, one for each engine, model, deployment and set of attributes."""
        hour: _Hour = raw.payload
        counted = [one for one in hour.series if server_counters.find(one.name) is not None]
        found = counter_growth.measure(counted, hour.span, since=hour.since)
        groups, skipped = server_usage.groups(found.grown, self._naming())
        rows = server_usage.rows(groups, hour.span.start, skipped)
        rejected = [_unreadable(raw.name, row, one) for row, one in enumerate(found.unreadable, start=len(rows) + 1)]
        yield Normalized(pa.RecordBatch.from_pylist(rows, schema=USAGE_BUCKET), rejected, raw.name, skipped)

    def probe(self, window: Window) -> Iterator[Finding]:
        """Whether Prometheus answers, which servers it knows, and what of theirs cannot be told or named."""
        try:
            answer = self._client().moment(server_counters.selector(self.config.selector), window.end)
            series = prometheus.series(answer, name="Prometheus")
        except (SourceUnavailable, BadDelivery) as problem:
            yield Finding("Prometheus", "missing", str(problem), "; ".join(self.grants))
            return
        yield Finding("Prometheus", "ok", "It answers.")
        counters = [one for one in series if not server_counters.is_creation(one.name)]
        if not counters:
            yield Finding("Model servers", "missing", "There are no counters of model servers now.", _REMEDY)
            return
        servers = {server_counters.server(one.labels) for one in counters}
        engines = Counter(engine for engine in {(_engine(one), server_counters.server(one.labels)) for one in counters})
        told = Counter(engine for engine, _ in engines)
        listed = ", ".join(f"{number} of {engine}" for engine, number in sorted(told.items()))
        yield Finding("Model servers", "ok", f"{len(servers)} servers: {listed}.")
        yield from server_usage.unnamed(counters, self._naming())

    def _hour(self, start: datetime, now: datetime) -> Raw:
        span = Window(start, start + _HOUR)
        since = start - _BEFORE
        at = min(span.end, now)
        # A range ends at the moment asked for, and begins so many whole seconds before it.
        asked = f"{server_counters.selector(self.config.selector)}[{int((at - since).total_seconds()) + 1}s]"
        answer = self._client().moment(asked, at)
        name = f"{start:%Y-%m-%dT%H:%MZ}"
        series = prometheus.series(answer, name=name)
        is_over = span.end + _SETTLED <= now
        return Raw(
            name=name,
            payload=_Hour(span, since, series),
            content_hash=self._digest(name, series),
            size_bytes=len(answer),
            cursor={"through": (span.end if is_over else start).isoformat()},
            files=(name,),
            complete_through=span.end if is_over else None,
            # Prometheus forgets: an hour it has nothing of replaces nothing.
            span=span if series else None,
        )

    def _digest(self, name: str, series: Sequence[Series]) -> str:
        """The hash of what an hour's numbers come from: the readings, whatever their order in the answer, and their naming."""
        naming = asdict(self.config) | {"url": ""}
        found = hashlib.sha256(json.dumps([name, naming], sort_keys=True).encode())
        for one in sorted(series, key=lambda one: (one.name, sorted(one.labels.items()))):
            found.update(json.dumps([one.name, sorted(one.labels.items()), one.points]).encode())
        return found.hexdigest()

    def _naming(self) -> server_usage.Naming:
        config = self.config
        return server_usage.Naming(config.deployments, config.deployment_label, config.models, config.attributes)

    def _client(self) -> prometheus.Client:
        return prometheus.Client(self.config.url, self.credentials)


def _engine(one: Series) -> str:
    counter = server_counters.find(one.name)
    return counter.engine if counter else ""


def _unreadable(file: str, row: int, one: Series) -> Rejected:
    labels = ",".join(f"{name}={value}" for name, value in sorted(one.labels.items()))
    reason = "expected whole numbers below 2^53, as counters of tokens and requests are"
    return Rejected(file, row, one.name, reason, f"{{{labels}}} {one.points[-1][1]}"[:2000])
