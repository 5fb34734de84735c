"""A vendor's admin API read with care: answers checked, throttling obeyed, each page and each bucket of time taken once."""

import email.utils
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Self

import httpx

from costobs.kernel import http
from ingest.rows import Rejected
from ingest.sources.base import BadDelivery, SourceUnavailable, Window

Parameters = Sequence[tuple[str, str]]

_TRIES = 6
_LONGEST_WAIT_SECONDS = 60
_MOST_BYTES = 64 * 1024 * 1024
_MOST_PAGES = 10_000
# 529 is Anthropic's "overloaded". All of them may be asked again: reading changes nothing.
_AGAIN = frozenset({408, 429, 500, 502, 503, 504, 529})


class Refused(SourceUnavailable):
    """The API said no; `status` is what it answered."""

    def __init__(self, status: int, text: str) -> None:
        self.status = status
        super().__init__(text)


@dataclass(frozen=True, slots=True)
class Access:
    """Whose API it is, where it is, what is sent along, and what a person must do when the key is not let in."""

    vendor: str
    base_url: str
    headers: Mapping[str, str]
    secret: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Bucket:
    """What one answer says about one bucket of time."""

    starts_at: datetime
    ends_at: datetime
    results: tuple[Mapping[str, Any], ...]


@dataclass(slots=True)
class AdminApi:
    """One conversation. `answered_at` is the vendor's own clock in its newest answer: what it had told by then."""

    access: Access
    sleep: Callable[[int], None] = time.sleep
    answered_at: datetime | None = None
    tries: int = _TRIES
    longest_wait_seconds: int = _LONGEST_WAIT_SECONDS
    _client: httpx.Client = field(default_factory=http.client)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def hurry(self) -> Self:
        """The same with little patience: a person waits for the answer."""
        self.tries, self.longest_wait_seconds = 2, 5
        return self

    def get(self, path: str, parameters: Parameters = ()) -> Mapping[str, Any]:
        """The JSON object at a path, its numbers with every digit. Raises SourceUnavailable, Refused, BadDelivery."""
        return self._answer(path, parameters, None)

    def post(self, path: str, question: Mapping[str, Any]) -> Mapping[str, Any]:
        """The same for APIs whose questions are JSON objects; asking changes nothing there either."""
        return self._answer(path, (), json.dumps(question).encode())

    def _answer(self, path: str, parameters: Parameters, question: bytes | None) -> Mapping[str, Any]:
        for wait in (*(2**number for number in range(self.tries - 1)), None):
            try:
                status, headers, content = self._ask(path, parameters, question)
            except httpx.HTTPError as problem:
                if wait is None:
                    reason = problem or type(problem).__name__
                    raise SourceUnavailable(f"{self._at(path)} cannot be reached: {reason}") from problem
                self.sleep(wait)
                continue
            if status == 200:
                self.answered_at = _moment(headers.get("date", "")) or self.answered_at
                return _document(content, self._at(path))
            if status not in _AGAIN or wait is None:
                raise self._refused(path, status, content)
            self.sleep(self._wait(path, status, headers, wait))
        raise AssertionError("the last try answers or raises")

    def buckets(self, path: str, parameters: Parameters, *, span: Window) -> Iterator[Bucket]:
        """The buckets of a span over all pages. A bucket is never spread over pages, so one that comes twice, or lies
        outside what was asked, would be counted twice and ends the reading.
        """
        seen: set[datetime] = set()
        for document in self._pages(path, parameters):
            for found in _list(document, "data", self._at(path)):
                bucket = _bucket(found, self._at(path))
                if bucket.starts_at in seen:
                    raise broken(self._at(path), f"gives the bucket {bucket.starts_at:%Y-%m-%dT%H:%MZ} twice", "data")
                if not span.start <= bucket.starts_at < span.end:
                    reason = f"gives the bucket {bucket.starts_at:%Y-%m-%dT%H:%MZ}, which was not asked for"
                    raise broken(self._at(path), reason, "data")
                seen.add(bucket.starts_at)
                yield bucket

    def objects(self, path: str, parameters: Parameters, *, after: str) -> Iterator[Mapping[str, Any]]:
        """The objects of a list; `after` is the parameter that names the last one seen."""
        last, seen = "", set()
        for _ in range(_MOST_PAGES):
            document = self.get(path, [*parameters, *([(after, last)] if last else [])])
            found = [each for each in _list(document, "data", self._at(path)) if isinstance(each, dict)]
            yield from found
            if not document.get("has_more") or not found:
                return
            last = text(document.get("last_id")) or text(found[-1].get("id"))
            if last in seen:
                raise broken(self._at(path), f"gives the page after {last!r} twice", "last_id")
            seen.add(last)
        raise broken(self._at(path), f"goes on for more than {_MOST_PAGES} pages", "has_more")

    def follow(
        self, path: str, ask: Callable[[str], Mapping[str, Any]], following: Callable[[Mapping[str, Any]], str]
    ) -> Iterator[Mapping[str, Any]]:
        """Answer after answer of `ask`, which is given what `following` finds in the one before ("" for the first)."""
        mark, seen = "", set[str]()
        for _ in range(_MOST_PAGES):
            answer = ask(mark)
            yield answer
            mark = following(answer)
            if not mark:
                return
            if mark in seen:
                raise broken(self._at(path), f"gives the same page twice, {mark[:60]!r}", "page")
            seen.add(mark)
        raise broken(self._at(path), f"goes on for more than {_MOST_PAGES} pages", "page")

    def _pages(self, path: str, parameters: Parameters) -> Iterator[Mapping[str, Any]]:
        page, seen = "", set()
        for _ in range(_MOST_PAGES):
            document = self.get(path, [*parameters, *([("page", page)] if page else [])])
            yield document
            if not document.get("has_more"):
                return
            page = text(document.get("next_page"))
            if not page:
                raise broken(self._at(path), "says has_more and names no next_page", "next_page")
            if page in seen:
                raise broken(self._at(path), f"gives the page {page[:60]!r} twice", "next_page")
            seen.add(page)
        raise broken(self._at(path), f"goes on for more than {_MOST_PAGES} pages", "has_more")

    def _ask(self, path: str, parameters: Parameters, question: bytes | None) -> tuple[int, httpx.Headers, bytes]:
        try:
            address = http.check(self.access.base_url.rstrip("/") + path)
            httpx.URL(address)
        except (ValueError, httpx.InvalidURL) as problem:
            raise SourceUnavailable(str(problem)) from problem
        if not self.access.secret.isascii() or not self.access.secret.isprintable():
            said = f"the key for {self.access.vendor} holds a character that no key has; copy it again, without what surrounds it"
            raise SourceUnavailable(said)
        headers = {**self.access.headers, **({"content-type": "application/json"} if question is not None else {})}
        asked = {"params": list(parameters)} if question is None else {"content": question}
        method = "GET" if question is None else "POST"
        try:
            return http.fetch(self._client, method, address, most_bytes=_MOST_BYTES, headers=headers, **asked)
        except http.TooLong as problem:
            raise broken(self._at(path), str(problem), "body") from problem

    def _wait(self, path: str, status: int, headers: httpx.Headers, otherwise: int) -> int:
        """Seconds: what the vendor asks for (a number, or a moment by its own clock), if that is worth holding a worker."""
        asked, retry_after = otherwise, headers.get("retry-after", "").strip()
        if retry_after.isascii() and retry_after.isdigit():
            asked = int(retry_after)
        elif (until := _moment(retry_after)) and (at := _moment(headers.get("date", ""))):
            asked = max(0, -((at - until) // timedelta(seconds=1)))
        if asked > self.longest_wait_seconds:
            said = f"{self._at(path)} answered {status} and asks to wait {asked} seconds; it is read again at the next poll"
            raise Refused(status, said)
        return asked

    def _refused(self, path: str, status: int, content: bytes) -> Refused:
        said = content[:2000].decode("utf-8", "replace")
        try:
            error = json.loads(content)["error"]
            said = str(error["message"] if isinstance(error, dict) else error)
        except (ValueError, KeyError, TypeError, RecursionError):
            pass
        if self.access.secret:
            said = said.replace(self.access.secret, "…")
        remedy = f" {self.access.remedy}" if status in (401, 403) else ""
        return Refused(status, f"{self._at(path)} answered {status}: {said[:300].strip()}.{remedy}")

    def _at(self, path: str) -> str:
        return f"{self.access.vendor} {path}"


def text(value: object) -> str:
    """Text of an answer, "" for null. Half characters, which JSON can hold and no table can, are marked as such."""
    if value is None:
        return ""
    found = value if isinstance(value, str) else str(value)
    return found.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def label(found: Mapping[str, Any]) -> str:
    """The name of an object. A NUL in it must not cost the rows of all that is called so."""
    return text(found.get("name")).replace("\x00", "")


def broken(file: str, reason: str, at: str, raw: object = "") -> BadDelivery:
    """An answer that cannot be understood; nothing of it is loaded."""
    return BadDelivery(Rejected(file, 0, at, reason, text(raw)[:2000]))


def _document(content: bytes, file: str) -> Mapping[str, Any]:
    try:
        # Money may come as a JSON number: its digits are kept. NaN is no JSON, though Python would read it.
        found = json.loads(content, parse_float=Decimal, parse_constant=_no_number)
    except (ValueError, RecursionError) as problem:
        raise broken(file, f"is no JSON: {problem}", "body", content[:300].decode("utf-8", "replace")) from problem
    if not isinstance(found, dict):
        raise broken(file, f"expected a JSON object, found {type(found).__name__}", "body")
    return found


def _no_number(name: str) -> object:
    raise ValueError(f"{name} is no number")


def _list(document: Mapping[str, Any], name: str, file: str) -> list[Any]:
    found = document.get(name)
    if not isinstance(found, list):
        raise broken(file, f"expected a list, found {text(found)[:60]!r}", name, document)
    return found


def _bucket(found: Any, file: str) -> Bucket:
    if not isinstance(found, dict):
        raise broken(file, f"expected a bucket, found {text(found)[:60]!r}", "data")
    starts_at = _edge(found, ("start_time", "starting_at"), file)
    ends_at = _edge(found, ("end_time", "ending_at"), file)
    if ends_at <= starts_at:
        raise broken(file, f"the bucket of {starts_at:%Y-%m-%dT%H:%MZ} ends before it begins", "end_time", found)
    results = _list(found, "results", file)
    for one in results:
        if not isinstance(one, dict):
            raise broken(file, f"expected a result, found {text(one)[:60]!r}", "results", found)
    return Bucket(starts_at, ends_at, tuple(results))


def _edge(found: Mapping[str, Any], names: tuple[str, str], file: str) -> datetime:
    """OpenAI gives seconds since 1970, Anthropic RFC 3339."""
    name = next((each for each in names if each in found), names[0])
    value = found.get(name)
    try:
        if isinstance(value, int) and not isinstance(value, bool):
            return datetime.fromtimestamp(value, UTC)
        moment = datetime.fromisoformat(str(value))
    except (ValueError, OverflowError, OSError) as problem:
        raise broken(file, f"expected a moment in time, found {text(value)[:60]!r}", name, found) from problem
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def _moment(header: str) -> datetime | None:
    try:
        moment = email.utils.parsedate_to_datetime(header)
    except ValueError:
        return None
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
