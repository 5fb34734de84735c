"""A page as an exporter serves it, on a free loopback port."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextmanager
def serving(text: str, *, bearer_token: str = "", asked: list[str] | None = None) -> Iterator[str]:
    """The address of the page; with a token it is shown to nobody else. What is asked for is added to `asked`."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if asked is not None:
                asked.append(self.path)
            is_let_in = not bearer_token or self.headers.get("Authorization") == f"Bearer {bearer_token}"
            self.send_response(200 if is_let_in else 401)
            self.end_headers()
            self.wfile.write(text.encode() if is_let_in else b"no")

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/metrics"
    finally:
        server.shutdown()
        server.server_close()
