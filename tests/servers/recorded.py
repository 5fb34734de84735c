"""An HTTP server on loopback that answers as it was recorded or written down: for APIs of which no server can be had."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True, slots=True)
class Asked:
    """One request that came; `body` is parsed JSON, None where there was none."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: Any


@dataclass(slots=True)
class Recorded:
    """Where the server listens, and what it was asked."""

    url: str = ""
    asked: list[Asked] = field(default_factory=list)


@contextmanager
def started(answer: Callable[[Asked], tuple[int, Any]]) -> Iterator[Recorded]:
    """A server that gives `answer`'s status and JSON document."""
    found = Recorded()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._reply()

        def do_POST(self) -> None:
            self._reply()

        def log_message(self, *_: Any) -> None:
            """Tests are quiet."""

        def _reply(self) -> None:
            parts = urlsplit(self.path)
            content = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = json.loads(content) if content else None
            asked = Asked(self.command, parts.path, parse_qs(parts.query), headers, body)
            found.asked.append(asked)
            status, document = answer(asked)
            told = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(told)))
            self.end_headers()
            self.wfile.write(told)

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listening.serve_forever, daemon=True)
    thread.start()
    found.url = f"http://127.0.0.1:{listening.server_address[1]}"
    try:
        yield found
    finally:
        listening.shutdown()
        listening.server_close()
        thread.join()
