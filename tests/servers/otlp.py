"""What real instrumentations export: an application runs against a model server, and its requests are kept."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.servers import models

_PROGRAM = Path(__file__).with_name("instrumented.py")


@dataclass(slots=True)
class Exported:
    """The bodies of requests, with their headers."""

    requests: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    @property
    def bodies(self) -> list[bytes]:
        return [body for _, body in self.requests]


def run(instrumentations: str, *, traces: str, token: str = "none", packing: str = "") -> None:
    """Runs the application to its end; its spans go to `traces`."""
    with models.started() as address:
        command = [sys.executable, str(_PROGRAM), instrumentations, address, traces, token, packing]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise RuntimeError(f"the instrumented application failed:\n{done.stderr[-3000:]}")


def recorded(instrumentations: str) -> Exported:
    """What the application exports."""
    found = Exported()
    with _collector(found) as address:
        run(instrumentations, traces=f"{address}/v1/traces")
    return found


@contextmanager
def _collector(found: Exported) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            found.requests.append((dict(self.headers), body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=10)
