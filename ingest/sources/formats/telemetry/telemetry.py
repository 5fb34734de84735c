"""What the sources of GPU telemetry share: a Prometheus or an exporter's page becomes samples, and the connection test."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, Literal

from ingest.rows import Rejected
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
from ingest.sources.formats import instants, openings
from ingest.sources.formats.telemetry import prometheus
from ingest.sources.formats.telemetry.gpu_readings import Gathering, Naming, Vocabulary

SUFFIXES = (".prom", ".prom.txt", ".txt", ".json", ".prom.gz", ".json.gz", ".txt.gz")
_BUSY = 0.05


@dataclass(frozen=True, slots=True)
class TelemetryConfig:
    """Where the telemetry is, how often it is sampled, and what its names mean."""

    mode: Literal["prometheus", "scrape"] = setting(
        "prometheus",
        hint="Ask a Prometheus server, which also knows the past, or read one exporter's page directly",
        choices=("prometheus", "scrape"),
    )
    url: str = setting(
        "",
        hint="Address of Prometheus, such as http://prometheus:9090, or of the exporter's page. Empty for files only",
    )
    step_seconds: int = setting(60, hint="Time between two samples: no shorter than the exporter is scraped")
    late_minutes: int = setting(
        5, hint="How much of the time already read is asked for again, for samples that come late"
    )
    deployments: Mapping[str, str] = setting(
        dict, hint="Which deployment a pod, namespace/workload, workload, node/GPU or node is: one a line"
    )
    nodes: Mapping[str, str] = setting(dict, hint="Our name of a node for the host name that the exporter reports")
    deployment_label: str = setting("", hint="The label that names the deployment, where the series carry one")
    queries: Mapping[str, str] = setting(dict, hint="Another query for a column, to pick one cluster of several")

    def __post_init__(self) -> None:
        if self.mode not in ("prometheus", "scrape"):
            raise ValueError(f"mode: expected prometheus or scrape, found {self.mode!r}")
        if not 1 <= self.step_seconds <= 3600:
            raise ValueError(f"step_seconds: expected 1 to 3600, found {self.step_seconds}")
        if not 0 <= self.late_minutes <= 1440:
            raise ValueError(f"late_minutes: expected 0 to 1440, found {self.late_minutes}")


@dataclass(frozen=True, slots=True)
class _Telemetry:
    """Text of an exporter or of the Prometheus API; `at_millis` is when text without times was taken."""

    part: openings.Part
    at_millis: int | None = None
    answers: tuple[tuple[str, bytes], ...] = ()


class TelemetrySource(Source):
    """A source of GPU samples; a subclass says what its exporter's names mean, and what is worth saying of missing ones."""

    produces: ClassVar[Produces] = "gpu_samples"
    Config: ClassVar[type[TelemetryConfig]] = TelemetryConfig
    secrets: ClassVar[Sequence[Secret]] = prometheus.SECRETS
    grants: ClassVar[Sequence[str]] = (
        "read access to the query API of Prometheus (/api/v1/query and /api/v1/query_range)",
        "the host of Prometheus in COSTOBS_PRIVATE_HOSTS, where its address is a private one",
    )
    expected_lag_seconds: ClassVar[int] = 300
    backfill_days: ClassVar[int] = 2
    vocabulary: ClassVar[Vocabulary]
    # What cannot be known without a column, and what brings it, in the words of the exporter's configuration.
    lacks: ClassVar[Mapping[str, tuple[str, str]]] = {}
    exporter: ClassVar[str] = "exporter"

    def read(self, cursor: Cursor, window: Window) -> Iterator[Raw]:
        """Spans of samples from where the cursor ends. A scrape has one moment: the window's end, cut to the step."""
        if not self.config.url:
            return
        step = timedelta(seconds=self.config.step_seconds)
        through = instants.one(str(cursor.get("through", "")))
        end = prometheus.ceiling(window.end, step)
        if self.config.mode == "scrape":
            moment = end - step if end > window.end else end
            if through is None or moment >= through:
                yield self._scraped(moment, step)
            return
        start = window.start
        if through is not None:
            if through >= end:
                return
            # What came late is new, what is known already changes nothing. A source that was not read for long goes on where
            # it was, even before the window.
            start = min(through, max(through - timedelta(minutes=self.config.late_minutes), start))
        for span in prometheus.spans(prometheus.ceiling(start, step), end, step):
            yield self._ranged(span.start, span.end, step)

    def normalize(self, raw: Raw) -> Iterator[Normalized]:
        """The samples of one span or file, in one batch. Lines that cannot be parsed are rejected."""
        telemetry: _Telemetry = raw.payload
        gathering = self._gathering()
        rejected: list[Rejected] = []
        for column, answer in telemetry.answers:
            gathering.take(prometheus.series(answer, name=raw.name), column=column)
        if not telemetry.answers:
            with openings.stream(telemetry.part) as stream:
                content = stream.read()
            rejected = self._take(gathering, content, raw.name, telemetry.at_millis)
        yield Normalized(gathering.batch(interval_seconds=self.config.step_seconds), rejected)

    def probe(self, window: Window) -> Iterator[Finding]:
        """Whether it answers, which readings it has, how many GPUs it sees, and which of them name no deployment."""
        subject = "Prometheus" if self.config.mode == "prometheus" else self.exporter
        gathering = self._gathering()
        try:
            found = self._seen(gathering, window.end)
        except (SourceUnavailable, BadDelivery) as problem:
            yield Finding(subject, "missing", str(problem), "; ".join(self.grants))
            return
        yield Finding(subject, "ok", "It answers.")
        rows: list[dict[str, Any]] = gathering.batch(interval_seconds=self.config.step_seconds).to_pylist()
        if not rows:
            yield Finding("GPUs", "missing", "No reading of any GPU is there now.", self._no_rows())
            return
        yield from self._readings(found)
        yield from _fleet(rows)

    def open_paths(self, paths: Sequence[str]) -> Iterator[Raw]:
        """One unit for each file: exposition text (dated by when the file was last written) or Prometheus API JSON."""
        for path in paths:
            if not Path(path).exists():
                raise SourceUnavailable(f"{path} does not exist")
            for file in openings.within(path, SUFFIXES) if Path(path).is_dir() else [path]:
                written = datetime.fromtimestamp(int(Path(file).stat().st_mtime), tz=UTC)
                part = openings.Part(name=Path(file).name, path=file)
                yield _unit(part, _Telemetry(part, prometheus.millis(written)))

    def open_bytes(self, *, name: str, content: bytes) -> Raw:
        """Pushed text; text without times is dated by its name, as in `gpu-7@2026-11-21T10:00:00Z`."""
        moment = instants.one(name.rsplit("@", 1)[1]) if "@" in name else None
        part = openings.Part(name=name, content=content)
        return _unit(part, _Telemetry(part, prometheus.millis(moment) if moment else None))

    def _gathering(self) -> Gathering:
        naming = Naming(self.config.deployments, self.config.nodes, self.config.deployment_label)
        return Gathering(self.vocabulary, naming)

    def _client(self) -> prometheus.Client:
        return prometheus.Client(self.config.url, self.credentials)

    def _queries(self) -> Iterator[tuple[str, str]]:
        for column, query in self.vocabulary.queries.items():
            yield column, self.config.queries.get(column, query)

    def _take(self, gathering: Gathering, content: bytes, name: str, at_millis: int | None) -> list[Rejected]:
        if prometheus.is_answer(content):
            gathering.take(prometheus.series(content, name=name))
            return []
        found, rejected = prometheus.page(content, name=name, at_millis=at_millis, wanted=self.vocabulary.readings)
        gathering.take(found)
        return rejected

    def _scraped(self, moment: datetime, step: timedelta) -> Raw:
        content = self._client().page()
        part = openings.Part(name=f"scrape@{moment.isoformat()}", content=content)
        raw = _unit(part, _Telemetry(part, prometheus.millis(moment)))
        # Two scrapes may read alike, and yet they are two moments.
        found = hashlib.sha256(f"{moment.isoformat()}\n".encode() + content).hexdigest()
        return _with_cursor(raw, found, moment + step)

    def _ranged(self, start: datetime, until: datetime, step: timedelta) -> Raw:
        client = self._client()
        answers = tuple(
            (column, client.span(query, start, until - step, self.config.step_seconds))
            for column, query in self._queries()
        )
        name = f"{start:%Y-%m-%dT%H:%MZ} to {until:%Y-%m-%dT%H:%MZ}"
        content = b"\n".join(answer for _, answer in answers)
        part = openings.Part(name=name)
        raw = Raw(name=name, payload=_Telemetry(part, None, answers), size_bytes=len(content), files=(name,))
        found = hashlib.sha256(f"{name}\n".encode() + content).hexdigest()
        return _with_cursor(raw, found, until)

    def _seen(self, gathering: Gathering, now: datetime) -> Counter[str]:
        """Gathers what is there now; returns how many series each column has."""
        found: Counter[str] = Counter()
        if self.config.mode == "scrape":
            known = self.vocabulary.readings
            series, _ = prometheus.page(
                self._client().page(), name=self.config.url, at_millis=prometheus.millis(now), wanted=known
            )
            gathering.take(series)
            return Counter(known[one.name].column for one in series)
        for column, query in self._queries():
            series = prometheus.series(self._client().moment(query, now), name=query)
            gathering.take(series, column=column)
            found[column] += len(series)
        return found

    def _readings(self, found: Mapping[str, int]) -> Iterator[Finding]:
        first, *others = self.vocabulary.activities
        if not found.get(first):
            instead = next((column for column in others if found.get(column)), "")
            detail = (
                f"Activity is taken from {instead} instead." if instead else "How busy the GPUs are cannot be told."
            )
            yield Finding(first, "note" if instead else "missing", detail, self.lacks.get(first, ("", ""))[1])
        for column, (why, remedy) in self.lacks.items():
            if column != first and not found.get(column):
                yield Finding(column, "note", why, remedy)

    def _no_rows(self) -> str:
        if self.config.mode == "scrape":
            return f"Give the address of the page that {self.exporter} serves, with its path (/metrics)."
        return f"Have Prometheus scrape {self.exporter}, or give queries that find its series."


def _fleet(rows: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    nodes = {row["node"] for row in rows}
    gpus = {row["gpu_uuid"] for row in rows}
    slices = sum(bool(row["mig_instance"]) for row in rows)
    sliced = f", in {_many(slices, 'slice')}" if slices else ""
    yield Finding("GPUs", "ok", f"{_many(len(gpus), 'GPU')} on {_many(len(nodes), 'node')}{sliced}.")
    silent = sorted(
        {
            f"{row['node']}/{row['gpu_index']}"
            for row in rows
            if not row["deployment"] and (row["activity"] or 0) > _BUSY
        }
    )
    if silent:
        more = f" and {len(silent) - 5} more" if len(silent) > 5 else ""
        yield Finding(
            "Deployments",
            "note",
            f"Busy, and no workload is named: {', '.join(silent[:5])}{more}.",
            "Let the exporter label its series with pods, or name these GPUs or their nodes in deployments.",
        )


def _many(number: int, name: str) -> str:
    return f"{number} {name}" if number == 1 else f"{number} {name}s"


def _unit(part: openings.Part, telemetry: _Telemetry) -> Raw:
    found, size = openings.digest([part])
    return Raw(name=part.name, payload=telemetry, content_hash=found, size_bytes=size, files=(part.name,))


def _with_cursor(raw: Raw, content_hash: str, through: datetime) -> Raw:
    return Raw(
        name=raw.name,
        payload=raw.payload,
        content_hash=content_hash,
        size_bytes=raw.size_bytes,
        cursor={"through": through.isoformat()},
        files=raw.files,
    )
