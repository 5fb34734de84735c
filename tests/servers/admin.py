"""An HTTP server on loopback that pages, throttles and groups as the vendors' admin APIs do; what it tells can be corrected."""

import email.utils
import json
import re
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Query = dict[str, list[str]]


@dataclass(frozen=True, slots=True)
class Asked:
    """One request that came."""

    path: str
    query: Query
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer; a `body` of bytes goes out as it is."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)


class Refusal(Exception):
    """An answer that is not 200."""

    def __init__(self, status: int, message: str, **headers: str) -> None:
        self.status, self.message, self.headers = status, message, headers
        super().__init__(message)


@dataclass
class AdminServer:
    """The state of a server. `faults` are answered first, each once; `now` is its clock."""

    now: datetime
    key: str = "sk-admin-test"
    page_size: int = 31
    faults: deque[Answer] = field(default_factory=deque)
    asked: list[Asked] = field(default_factory=list)
    denied: set[str] = field(default_factory=set)
    lies: str = ""  # same_page, same_bucket, other_bucket, no_token
    address: str = ""

    def throttle(self, times: int = 1, *, status: int = 429, **headers: str) -> None:
        """The next requests are refused."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.faults.extend([Answer(status, self.error("slow down", "rate_limit_error"), named)] * times)

    def answer(self, asked: Asked) -> Any:
        """What is at a path, or a Refusal."""
        raise NotImplementedError

    def error(self, message: str, kind: str) -> Any:
        """A refusal as the vendor words it."""
        return {"error": {"message": message, "type": kind, "code": None, "param": None}}

    def paged(self, buckets: Sequence[dict[str, Any]], query: Query, *, default: int, most: int) -> dict[str, Any]:
        """One page of buckets."""
        limit = int(query.get("limit", [str(default)])[0])
        if not 1 <= limit <= most:
            raise Refusal(400, f"limit must be between 1 and {most}")
        size, page = min(limit, self.page_size), int(query.get("page", ["page_0"])[0].removeprefix("page_"))
        held, has_more = list(buckets[page * size : (page + 1) * size]), (page + 1) * size < len(buckets)
        following: str | None = f"page_{page + 1}" if has_more else None
        if self.lies == "same_page":
            has_more, following = True, "page_0"
        elif self.lies == "same_bucket":
            held, has_more, following = list(buckets[:1]), True, f"page_{page + 1}"
        elif self.lies == "no_token":
            has_more, following = True, None
        return {"data": held, "has_more": has_more, "next_page": following}

    def spans(self, start: datetime, end: datetime, width: timedelta) -> Iterator[tuple[datetime, datetime]]:
        """The buckets between two moments that have begun."""
        if self.lies == "other_bucket":
            start -= timedelta(days=40)
        while start < min(end, self.now):
            yield start, start + width
            start += width


def grouped(
    rows: Sequence[dict[str, Any]], by: Sequence[str], sums: Sequence[str], fields: Sequence[str]
) -> list[dict[str, Any]]:
    """Rows summed by what was asked for; the fields that were not asked for are null."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        key = tuple(row.get(name) for name in by)
        told = found.setdefault(key, {name: row.get(name) if name in by else None for name in fields})
        for name in sums:
            if row.get(name) is not None:
                # Adding even nothing would round a decimal to 28 digits.
                told[name] = told[name] + row[name] if name in told else row[name]
    return list(found.values())


def as_json(value: Any) -> bytes:
    """JSON whose decimals are numbers with the digits they were given, which Python would not write."""
    marked = json.dumps(value, default=lambda each: f"@@{each}@@" if isinstance(each, Decimal) else str(each))
    return re.sub(r'"@@([^"]*)@@"', r"\1", marked).encode()


@contextmanager
def started(server: AdminServer) -> Iterator[AdminServer]:
    """The server from when it listens until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            headers = {name.lower(): value for name, value in self.headers.items()}
            asked = Asked(parts.path, parse_qs(parts.query, keep_blank_values=True), headers)
            server.asked.append(asked)
            if server.faults:
                found = server.faults.popleft()
            else:
                try:
                    found = Answer(200, server.answer(asked))
                except Refusal as refusal:
                    found = Answer(
                        refusal.status, server.error(refusal.message, "invalid_request_error"), refusal.headers
                    )
            content = found.body if isinstance(found.body, bytes) else as_json(found.body)
            self.send_response(found.status)
            for name, value in found.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def date_time_string(self, timestamp: float | None = None) -> str:
            return email.utils.format_datetime(server.now.astimezone(UTC), usegmt=True)

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listening.daemon_threads = True
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    server.address = f"http://127.0.0.1:{listening.server_address[1]}"
    try:
        yield server
    finally:
        listening.shutdown()
        listening.server_close()
        thread.join()
