"""LiteLLM's `/spend/logs/v2` on loopback, with the habits that its source shows (1.108.7): ends are included, rows of one
moment have no order among them, totals stop at 10,000, a page holds at most 1,000."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

KEY = "sk-viewer"
CAP = 10_000


@dataclass(slots=True)
class Proxy:
    """The proxy: its rows may change between requests."""

    url: str = ""
    rows: list[dict[str, Any]] = field(default_factory=list)
    asked: list[dict[str, str]] = field(default_factory=list)
    truncates_above: int = 0
    fails_with: int = 0


@contextmanager
def started() -> Iterator[Proxy]:
    """A proxy without rows."""
    proxy = Proxy()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
            proxy.asked.append(asked)
            if self.headers.get("Authorization") != f"Bearer {KEY}":
                self._send(401, {"error": {"message": "Authentication Error"}})
            elif proxy.fails_with:
                self._send(proxy.fails_with, {"error": {"message": "no"}})
            elif urlsplit(self.path).path != "/spend/logs/v2":
                self._send(404, {"detail": "Not Found"})
            elif int(asked["page_size"]) > 1000:
                self._send(422, {"detail": "page_size"})
            else:
                self._answer(asked)

        def _answer(self, asked: dict[str, str]) -> None:
            start, end = (_moment(asked[name]) for name in ("start_date", "end_date"))
            found = [row for row in proxy.rows if start <= _moment(str(row["startTime"])) <= end]
            # No tie-breaker: rows of one moment come in another order on every page.
            flip = -1 if len(proxy.asked) % 2 else 1
            found.sort(key=lambda row: (_moment(str(row["startTime"])), flip * hash(row["request_id"])))
            size, page = int(asked["page_size"]), int(asked["page"])
            is_cut = bool(proxy.truncates_above) and len(found) > proxy.truncates_above
            body = {
                "data": found[(page - 1) * size : page * size][: proxy.truncates_above or None],
                "total": min(len(found), CAP),
                "page": page,
                "page_size": size,
                "total_pages": -(-min(len(found), CAP) // size),
                "total_is_capped": len(found) > CAP,
            }
            self._send(200, body, {"x-litellm-spend-logs-truncated": "true"} if is_cut else {})

        def _send(self, status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> None:
            content = json.dumps(body).encode()
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    proxy.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=10)


def _moment(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)
