"""GPU telemetry of NVIDIA's DCGM: from Prometheus, from an exporter directly, or from files of either."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, Literal

import httpx
import orjson
import polars as pl
from prometheus_client.parser import text_string_to_metric_families

from costobs.kernel import http
from ingest.rows import Rejected
from ingest.sources.base import Cursor, Normalized, Produces, Raw, Source, SourceUnavailable, Window
from ingest.sources.formats import dcgm_samples, instants, openings

# Prometheus refuses more than 11,000 points for each series; fewer keep one answer small.
CHUNK_POINTS = 2_880
SUFFIXES = (".prom", ".prom.txt", ".txt", ".json", ".prom.gz", ".json.gz", ".txt.gz")
_SERIES_LINE = re.compile(r"^(DCGM_FI_\w+)(\{.*\})?\s+\S+(?:\s+-?\d+)?$")


@dataclass(frozen=True, slots=True)
class DcgmConfig:
    """Where the telemetry is, how often it is sampled, and what its names mean."""

    mode: Literal["prometheus", "scrape"] = "prometheus"
    url: str = ""
    step_seconds: int = 60
    deployments: Mapping[str, str] = field(default_factory=dict)
    nodes: Mapping[str, str] = field(default_factory=dict)
    deployment_label: str = ""
    queries: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.mode not in ("prometheus", "scrape"):
            raise ValueError(f"mode: expected prometheus or scrape, found {self.mode!r}")
        if not 1 <= self.step_seconds <= 3600:
            raise ValueError(f"step_seconds: expected 1 to 3600, found {self.step_seconds}")


@dataclass(frozen=True, slots=True)
class _Telemetry:
    """Text of an exporter or of the Prometheus API; `at_millis` is when text without times was taken."""

    part: openings.Part
    at_millis: int | None = None
    answers: tuple[tuple[str, bytes], ...] = ()


class Dcgm(Source):
    """Activity, power, energy and memory of NVIDIA GPUs and MIG slices, with the workload that held them.

    `mode` "prometheus" asks a Prometheus server for ranges; "scrape" reads a dcgm-exporter's page directly. Files may
    hold either form. The deployment of a GPU is `deployment_label` if that label is set, else what `deployments` says
    about the pod or workload, else the pod's name without its hashes. Example configuration:

        {"mode": "prometheus", "url": "http://prometheus:9090", "step_seconds": 60,
         "deployments": {"serving/chat-small": "chat-small"}, "nodes": {"10.0.1.7:9400": "gpu-7"},
         "deployment_label": "", "queries": {"gr_engine_active": "DCGM_FI_PROF_GR_ENGINE_ACTIVE{cluster=\\"a\\"}"}}

    Credentials: bearer_token, or username and password.
    """

    kind: ClassVar[str] = "dcgm"
    title: ClassVar[str] = "NVIDIA DCGM"
    produces: ClassVar[Produces] = "gpu_samples"
    Config: ClassVar[type[DcgmConfig]] = DcgmConfig
    expected_lag_seconds: ClassVar[int] = 300

    def read(self, cursor: Cursor, window: Window) -> Iterator[Raw]:
        """Spans of samples from where the cursor ends. A scrape has one moment: the window's end, cut to the step."""
        if not self.config.url:
            return
        step = timedelta(seconds=self.config.step_seconds)
        through = instants.one(str(cursor.get("through", ""))) or window.start
        start, end = _ceiling(max(through, window.start), step), _ceiling(window.end, step)
        if self.config.mode == "scrape":
            moment = end - step if end > window.end else end
            if cursor.get("through") is None or moment >= through:
                yield self._scraped(moment, step)
            return
        while start < end:
            until = min(start + CHUNK_POINTS * step, end)
            yield self._ranged(start, until, step)
            start = until

    def normalize(self, raw: Raw) -> Iterator[Normalized]:
        """The samples of one span or file, in one batch. Lines that cannot be parsed are rejected."""
        telemetry: _Telemetry = raw.payload
        naming = dcgm_samples.Naming(self.config.deployments, self.config.nodes, self.config.deployment_label)
        gathering = dcgm_samples.Gathering(naming)
        rejected: list[Rejected] = []
        if telemetry.answers:
            for metric, answer in telemetry.answers:
                _gather_answer(gathering, answer, name=raw.name, metric=metric)
        else:
            with openings.stream(telemetry.part) as stream:
                content = stream.read()
            if content.lstrip()[:1] in (b"{", b"["):
                _gather_answer(gathering, content, name=raw.name, metric="")
            else:
                rejected = _gather_exposition(gathering, content, telemetry.at_millis, raw.name)
        yield Normalized(gathering.batch(interval_seconds=self.config.step_seconds), rejected)

    def open_paths(self, paths: Sequence[str]) -> Iterator[Raw]:
        """One unit for each file: exposition text (dated by when the file was last written) or Prometheus API JSON."""
        for path in paths:
            if not Path(path).exists():
                raise SourceUnavailable(f"{path} does not exist")
            for file in openings.within(path, SUFFIXES) if Path(path).is_dir() else [path]:
                written = datetime.fromtimestamp(int(Path(file).stat().st_mtime), tz=UTC)
                part = openings.Part(name=Path(file).name, path=file)
                yield _unit(part, _Telemetry(part, _millis(written)))

    def open_bytes(self, *, name: str, content: bytes) -> Raw:
        """Pushed text; text without times is dated by its name, as in `gpu-7@2026-11-21T10:00:00Z`."""
        moment = instants.one(name.rsplit("@", 1)[1]) if "@" in name else None
        part = openings.Part(name=name, content=content)
        return _unit(part, _Telemetry(part, _millis(moment) if moment else None))

    def _scraped(self, moment: datetime, step: timedelta) -> Raw:
        content = self._get(self.config.url, {})
        part = openings.Part(name=f"scrape@{moment.isoformat()}", content=content)
        raw = _unit(part, _Telemetry(part, _millis(moment)))
        # Two scrapes may read alike, and yet they are two moments.
        found = hashlib.sha256(f"{moment.isoformat()}\n".encode() + content).hexdigest()
        return _with_cursor(raw, found, moment + step)

    def _ranged(self, start: datetime, until: datetime, step: timedelta) -> Raw:
        answers = []
        address = self.config.url.rstrip("/") + "/api/v1/query_range"
        last = until - step
        for metric, query in dcgm_samples.metrics(self.config.queries):
            parameters = {
                "query": query,
                "start": start.isoformat(),
                "end": last.isoformat(),
                "step": str(self.config.step_seconds),
            }
            answers.append((metric, self._get(address, parameters)))
        name = f"{start:%Y-%m-%dT%H:%MZ} to {until:%Y-%m-%dT%H:%MZ}"
        content = b"\n".join(answer for _, answer in answers)
        part = openings.Part(name=name)
        raw = Raw(name=name, payload=_Telemetry(part, None, tuple(answers)), size_bytes=len(content), files=(name,))
        found = hashlib.sha256(f"{name}\n".encode() + content).hexdigest()
        return _with_cursor(raw, found, until)

    def _get(self, address: str, parameters: Mapping[str, str]) -> bytes:
        headers, auth = {}, None
        if token := self.credentials.get("bearer_token"):
            headers["Authorization"] = f"Bearer {token}"
        elif user := self.credentials.get("username"):
            auth = (user, self.credentials.get("password", ""))
        try:
            with http.client() as client:
                answer = client.get(http.check(address), params=dict(parameters), headers=headers, auth=auth)
        except http.BlockedAddress as problem:
            raise SourceUnavailable(str(problem)) from problem
        except httpx.HTTPError as problem:
            raise SourceUnavailable(f"{address} cannot be reached: {problem or type(problem).__name__}") from problem
        if answer.status_code != 200:
            raise SourceUnavailable(f"{address} answered {answer.status_code}: {answer.text[:300]}")
        return answer.content


def _gather_answer(gathering: dcgm_samples.Gathering, content: bytes, *, name: str, metric: str) -> None:
    """Adds the series of an answer of the Prometheus API (vector or matrix)."""
    try:
        document: Any = orjson.loads(content)
        series = document["data"]["result"]
    except (orjson.JSONDecodeError, KeyError, TypeError) as problem:
        raise openings.broken(
            name, "expected an answer of the Prometheus API with data.result", raw=str(problem)
        ) from problem
    times: list[int] = []
    texts: list[str] = []
    owners: list[Mapping[str, str]] = []
    for one in series:
        labels = one.get("metric", {})
        for moment, text in one["values"] if "values" in one else [one["value"]]:
            times.append(round(moment * 1000))
            texts.append(text)
            owners.append(labels)
    numbers = pl.Series(texts, dtype=pl.String).cast(pl.Float64, strict=False)
    for labels, at_millis, value in zip(owners, times, numbers, strict=True):
        if value is not None:
            named = metric or labels.get("__name__", "")
            gathering.add(metric=named, labels=labels, at_millis=at_millis, value=value)


def _gather_exposition(
    gathering: dcgm_samples.Gathering, content: bytes, at_millis: int | None, name: str
) -> list[Rejected]:
    """Adds the DCGM series of an exporter's page. Titles, comments and other exporters' series are passed over."""
    rejected = []
    for row, line in enumerate(content.decode("utf-8", "replace").splitlines(), start=1):
        line = line.strip()
        if not line.startswith("DCGM_FI_"):
            continue
        try:
            if not _SERIES_LINE.match(line):
                raise ValueError("expected a series, its labels and a number")
            for labels, value, moment in _parsed(line):
                taken = moment if moment is not None else at_millis
                if taken is None:
                    raise openings.broken(
                        name,
                        "the text has no times; name it with one, as in gpu-7@2026-11-21T10:00:00Z",
                        field="sampled_at",
                    )
                gathering.add(metric=line.split("{")[0].split()[0], labels=labels, at_millis=taken, value=value)
        except ValueError as problem:
            rejected.append(Rejected(name, row, "line", f"not exposition format: {problem}", line[:2000]))
    return rejected


def _parsed(line: str) -> Iterable[tuple[Mapping[str, str], float, int | None]]:
    for family in text_string_to_metric_families(line + "\n"):
        for sample in family.samples:
            stamp = sample.timestamp
            yield sample.labels, sample.value, None if stamp is None else _stamp_millis(stamp)


def _stamp_millis(stamp: Any) -> int:
    """The parser gives seconds as a float, or its own Timestamp of seconds and nanoseconds."""
    if hasattr(stamp, "nsec"):
        return int(stamp.sec) * 1000 + int(stamp.nsec) // 1_000_000
    millis: int = round(stamp * 1000)
    return millis


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


def _ceiling(moment: datetime, step: timedelta) -> datetime:
    """The first multiple of the step since 1970 that is not before `moment`: re-reading asks for the same points."""
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    return epoch - (epoch - moment) // step * step


def _millis(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
