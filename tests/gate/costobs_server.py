"""A server with the addresses of costobs that a gate uses, on loopback, with switches for trouble."""

import copy
import gzip
import hashlib
import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "gate-token-for-tests"
ALPHA, BETA, NARROW = "sk-alpha-secret", "sk-beta-secret", "sk-narrow-secret"


def sha256(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def key(secret: str, key_id: str, team: str, **more: Any) -> dict[str, Any]:
    return {"sha256": sha256(secret), "key_id": key_id, "team": team, "features": None, "models": None, **more}


def rule(id_: str, action: str, match: dict[str, Any], **more: Any) -> dict[str, Any]:
    empty = {"requests_per_minute": None, "max_inflight": None, "max_tokens": None, "until": None}
    return {"id": id_, "match": match, "action": action, **empty, "retry_after_seconds": 30, "message": "", **more}


def policy(*rules: dict[str, Any]) -> dict[str, Any]:
    return {
        "generated_at": "2026-11-21T10:00:00Z",
        "poll_seconds": 0.2,
        "provider": "self_hosted",
        "deployment": "vllm-eu-1",
        "keys": [
            key(ALPHA, "key_alpha", "alpha", features=["answers", "search"]),
            key(BETA, "key_beta", "beta", features=["chat"]),
            key(NARROW, "key_narrow", "alpha", models=["small"]),
        ],
        "rules": list(rules),
        "leases": [],
    }


class CostobsServer:
    """Plays costobs. `events` and `batches` hold what was acknowledged; `asked` each question for the policy."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.asked: list[int] = []
        self.instances: set[str] = set()
        self.inflight: set[str | None] = set()
        self.batches: dict[str, list[dict[str, Any]]] = {}
        self.posts: list[tuple[str, int]] = []
        self.lends: dict[int, str] = {}  # what is left of each hard budget, and lent to whoever asks
        self.reports: list[dict[str, Any]] = []
        self.usage_status = 202
        self.gone = False
        self.acknowledges = True  # False: commit, then hang up without an answer
        self.policy_body: bytes | None = None
        self._version = 0
        self._etag = ""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def events(self) -> list[dict[str, Any]]:
        return [event for batch in self.batches.values() for event in batch]

    def publish(self, document: dict[str, Any]) -> str:
        """Serve a policy from now on; gives its version."""
        self._version += 1
        version = f"v{self._version}"
        self.publish_raw(json.dumps({**copy.deepcopy(document), "version": version}).encode())
        return version

    def publish_raw(self, body: bytes) -> None:
        self.policy_body, self._etag = body, f'"{hashlib.sha256(body).hexdigest()[:12]}"'

    def wait_for(self, condition: Callable[[], bool], *, seconds: float = 30.0) -> None:
        """Wait until a condition on what was received holds."""
        with self.changed:
            assert self.changed.wait_for(condition, seconds), f"not within {seconds} s; events: {self.events}"

    def event(self, **wanted: Any) -> dict[str, Any]:
        """Wait for the one event with these values."""

        def matching() -> list[dict[str, Any]]:
            return [event for event in self.events if all(event.get(name) == value for name, value in wanted.items())]

        self.wait_for(lambda: bool(matching()))
        (event,) = matching()
        return event

    def lend(self, report: dict[str, Any]) -> dict[str, Any]:
        """Take a report and lend all that is left; the account of budget 3 is 30."""
        with self.changed:
            self.reports.append(report)
            self.changed.notify_all()
        terms = {"granted": "1", "standing": "0", "seconds": 15, "ends_in_seconds": 3600, "is_pressed": False}
        wanted = [want["budget"] for want in report["wants"]]
        leases = [{"budget": id_, "account": id_ * 10, "left": self.lends[id_], **terms} for id_ in wanted]
        return {"leases": leases, "closed": []}

    def held(self) -> dict[int, tuple[str, str]]:
        """What was settled and what is reserved in each account, by the last report."""
        accounts = self.reports[-1]["held"] if self.reports else []
        return {one["account"]: (one["settled"], one["reserved"]) for one in accounts}

    def close(self) -> None:
        self.gone = True
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        costobs = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                if costobs.gone:
                    self.close_connection = True
                    return
                allowed = self.headers["Authorization"] == f"Bearer {TOKEN}"
                known = self.path == "/api/v1/gate/policy" and costobs.policy_body is not None
                unchanged = self.headers["If-None-Match"] == costobs._etag
                status = 401 if not allowed else 503 if not known else 304 if unchanged else 200
                body = costobs.policy_body if status == 200 and costobs.policy_body else b""
                self._answer(status, body, [("ETag", costobs._etag)])
                with costobs.changed:
                    costobs.asked.append(status)
                    costobs.instances.add(self.headers["X-Costobs-Gate-Instance"])
                    said = dict(part.split("=") for part in self.headers["X-Costobs-Gate-Report"].split(";"))
                    costobs.inflight.add(said["inflight"])
                    costobs.changed.notify_all()

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                assert self.headers["Authorization"] == f"Bearer {TOKEN}"
                if self.path == "/api/v1/gate/leases":
                    self._answer(200, json.dumps(costobs.lend(json.loads(body))).encode(), [])
                    return
                assert (self.path, self.headers["Content-Type"]) == ("/api/v1/usage-events", "application/x-ndjson")
                assert self.headers["Content-Encoding"] == "gzip"
                batch_id, status = self.headers["Idempotency-Key"], costobs.usage_status
                lines = [json.loads(line) for line in gzip.decompress(body).splitlines()]
                with costobs.changed:
                    costobs.posts.append((batch_id, status))
                    if status == 202:
                        costobs.batches[batch_id] = lines
                    costobs.changed.notify_all()
                if costobs.gone or not costobs.acknowledges:
                    self.close_connection = True
                    return
                self._answer(status, json.dumps({"accepted": len(lines), "batch_id": batch_id}).encode(), [])

            def _answer(self, status: int, body: bytes, headers: list[tuple[str, str]]) -> None:
                self.send_response(status)
                for name, value in headers:
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                """Quiet."""

        return Handler


def wait_until(condition: Callable[[], bool], *, seconds: float = 30.0) -> None:
    """Wait for something that announces itself nowhere."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.01)
