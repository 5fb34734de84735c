"""Reading Prometheus and exporters' pages: guarded requests, answers of the API as series, pages as series."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import orjson
from prometheus_client.parser import text_string_to_metric_families

from costobs.kernel import http
from ingest.rows import Rejected
from ingest.sources.base import Secret, SourceUnavailable, Window
from ingest.sources.formats import openings

# Prometheus refuses more than 11,000 points for each series; fewer keep one answer small.
CHUNK_POINTS = 2_880
# A whole hour of a large fleet takes Prometheus a while.
TIMEOUT = httpx.Timeout(120.0, connect=5.0)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

SECRETS = (
    Secret("bearer_token", "A token, where Prometheus or the proxy before it asks for one. Instead of a user name."),
    Secret("username", "The user name of basic authentication, where it is asked for."),
    Secret("password", "The password to that user name."),
)

_LATEST = 4_102_444_800_000  # 2100
_NAME = re.compile(r"[A-Za-z_:][\w:]*")
_LINE = re.compile(r"^[A-Za-z_:][\w:]*(\{.*\})?\s+\S+(?:\s+-?[\d.]+)?$")
_REMEDIES = {
    401: "Prometheus asks for credentials: give a bearer token, or a user name and password.",
    403: "These credentials may not query: grant them read access to the query API.",
    404: "There is no query API at this address: give the address before /api/v1, with the prefix of a tenant if any.",
    422: "Prometheus cannot work off the query: ask for less, or raise its limits (--query.max-samples).",
    429: "Prometheus is asked too often: ask less often, or raise the limit of this tenant.",
    503: "Prometheus gave up (--query.timeout): ask for less, or raise its limits.",
}


@dataclass(frozen=True, slots=True)
class Series:
    """One series of an answer: its labels without the name, and its points as (milliseconds since 1970, number as text)."""

    name: str
    labels: Mapping[str, str]
    points: tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True)
class Client:
    """A Prometheus (or Thanos, Mimir, VictoriaMetrics) or an exporter's page at `url`, and how to be let in."""

    url: str
    credentials: Mapping[str, str] = field(default_factory=dict)

    def span(self, query: str, start: datetime, last: datetime, step_seconds: int) -> bytes:
        """The answer to a query at each step from `start` through `last`."""
        asked = {"query": query, "start": start.isoformat(), "end": last.isoformat(), "step": str(step_seconds)}
        return self._api("query_range", asked)

    def moment(self, query: str, at: datetime) -> bytes:
        """The answer to a query at one moment; of a range (`name[1h]`) it is the readings as they were scraped."""
        return self._api("query", {"query": query, "time": at.isoformat()})

    def page(self) -> bytes:
        """What the address itself shows: an exporter's page."""
        return self._get(self.url, {})

    def _api(self, path: str, asked: Mapping[str, str]) -> bytes:
        # Thanos answers with what it could reach unless told that a part is no answer; Prometheus knows no such word.
        return self._get(f"{self.url.rstrip('/')}/api/v1/{path}", {**asked, "partial_response": "false"})

    def _get(self, address: str, asked: Mapping[str, str]) -> bytes:
        headers, auth = {}, None
        if token := self.credentials.get("bearer_token"):
            headers["Authorization"] = f"Bearer {token}"
        elif user := self.credentials.get("username"):
            auth = (user, self.credentials.get("password", ""))
        try:
            with http.client() as client:
                status, _headers, content = http.fetch(
                    client, "GET", http.check(address), params=dict(asked), headers=headers, auth=auth, timeout=TIMEOUT
                )
        except (http.BlockedAddress, httpx.InvalidURL) as problem:
            raise SourceUnavailable(str(problem)) from problem
        except (httpx.HTTPError, http.TooLong) as problem:
            raise SourceUnavailable(f"{address} cannot be reached: {problem or type(problem).__name__}") from problem
        if status != 200:
            remedy = _REMEDIES.get(status, "")
            said = " ".join(content[:300].decode("utf-8", "replace").split())
            raise SourceUnavailable(f"{address} answered {status}: {said} {remedy}".rstrip())
        return content


def series(content: bytes, *, name: str) -> list[Series]:
    """The series of an answer of the API (vector or matrix). BadDelivery when it is none."""
    try:
        document: Any = orjson.loads(content)
        found = document["data"]["result"]
        return [_series(one) for one in found]
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as problem:
        reason = "expected an answer of the Prometheus API with data.result"
        raise openings.broken(name, reason, raw=f"{type(problem).__name__}: {problem}") from problem


def page(
    content: bytes, *, name: str, at_millis: int | None, wanted: Iterable[str]
) -> tuple[list[Series], list[Rejected]]:
    """The wanted series of an exporter's page. Titles, comments and other metrics are passed over; broken lines are rejected.

    `at_millis` is when a page without times was taken; BadDelivery when nobody says.
    """
    names = frozenset(wanted)
    found: list[Series] = []
    rejected: list[Rejected] = []
    for row, line in enumerate(content.decode("utf-8", "replace").splitlines(), start=1):
        line = line.strip()
        named = _NAME.match(line)
        if named is None or named[0] not in names:
            continue
        try:
            if not _LINE.match(line):
                raise ValueError("expected a series, its labels and a number")
            found += _of_line(line, named[0], at_millis, name)
        except ValueError as problem:
            rejected.append(Rejected(name, row, "line", f"not exposition format: {problem}", line[:2000]))
    return found, rejected


def is_answer(content: bytes) -> bool:
    """Whether these bytes are an answer of the API rather than a page."""
    return content.lstrip()[:1] in (b"{", b"[")


def spans(start: datetime, end: datetime, step: timedelta) -> Iterator[Window]:
    """The pieces, half open, in which a span of time can be asked for."""
    while start < end:
        until = min(start + CHUNK_POINTS * step, end)
        yield Window(start, until)
        start = until


def ceiling(moment: datetime, step: timedelta) -> datetime:
    """The first multiple of the step since 1970 that is not before `moment`: re-reading asks for the same points."""
    return EPOCH - (EPOCH - moment) // step * step


def floor(moment: datetime, step: timedelta) -> datetime:
    """The last multiple of the step since 1970 that is not after `moment`."""
    return EPOCH + (moment - EPOCH) // step * step


def millis(moment: datetime) -> int:
    """Milliseconds since 1970."""
    return (moment - EPOCH) // timedelta(milliseconds=1)


def _series(one: Any) -> Series:
    labels = {str(name): str(value) for name, value in one.get("metric", {}).items()}
    points = one["values"] if "values" in one else [one["value"]]
    return Series(labels.pop("__name__", ""), labels, tuple((_moment(at), str(text)) for at, text in points))


def _moment(seconds: Any) -> int:
    found: int = round(seconds * 1000)
    if not 0 <= found < _LATEST:
        raise ValueError(f"expected seconds since 1970, found {seconds}")
    return found


def _of_line(line: str, metric: str, at_millis: int | None, file: str) -> Iterator[Series]:
    for family in text_string_to_metric_families(line + "\n"):
        for sample in family.samples:
            taken = at_millis if sample.timestamp is None else _stamp_millis(sample.timestamp)
            if taken is None:
                reason = "the text has no times; name it with one, as in gpu-7@2026-11-21T10:00:00Z"
                raise openings.broken(file, reason, field="sampled_at")
            yield Series(metric, sample.labels, ((taken, repr(sample.value)),))


def _stamp_millis(stamp: Any) -> int:
    """The parser gives seconds as a float, or its own Timestamp of seconds and nanoseconds."""
    if hasattr(stamp, "nsec"):
        return int(stamp.sec) * 1000 + int(stamp.nsec) // 1_000_000
    return _moment(stamp)
