"""A program of the user's own that scales something when it is asked by signed requests, as the manual shows it."""

import hmac
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SECRET = "shared-secret-of-both"


@dataclass(slots=True)
class Scaler:
    """What it runs, and what it was asked."""

    url: str = ""
    units: int = 3
    is_settled: bool = True
    is_slow: bool = False  # it accepts, and goes later
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    done: set[str] = field(default_factory=set)
    fails_with: list[int] = field(default_factory=list)
    answer: bytes | None = None

    def standing(self) -> dict[str, Any]:
        return {
            "units": self.units,
            "words": f"{self.units} machines",
            "is_settled": self.is_settled,
            "details": {"units": self.units},
        }

    def acts(self) -> list[str]:
        return [one["act"] for one in self.asked if one["act"] != "look"]


@contextmanager
def started() -> Iterator[Scaler]:
    """The program with three machines."""
    scaler = Scaler()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            t, v1 = (part.split("=")[1] for part in self.headers["X-Costobs-Signature"].split(","))
            made = hmac.new(SECRET.encode(), t.encode() + b"." + body, "sha256").hexdigest()
            if not hmac.compare_digest(made, v1):
                return self._send(401, b"{}")
            if scaler.fails_with:
                return self._send(scaler.fails_with.pop(0), b"{}")
            if body:
                asked = json.loads(body)
                scaler.asked.append(asked)
                self._do(asked, self.headers.get("Idempotency-Key", ""))
            content = json.dumps(scaler.standing()).encode() if scaler.answer is None else scaler.answer
            return self._send(200, content)

        do_POST = do_GET

        def _do(self, asked: dict[str, Any], key: str) -> None:
            if asked["act"] == "look":
                return
            scaler.keys.append(key)
            if key not in scaler.done and not scaler.is_slow:
                scaler.units = asked["to_units"] if asked["act"] == "apply" else asked["before"]["units"]
            scaler.done.add(key)

        def _send(self, status: int, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    scaler.url = f"http://127.0.0.1:{server.server_address[1]}/costobs"
    try:
        yield scaler
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=10)
