"""The admin API of LiteLLM on loopback: `/key/…` and `/team/…` info, block, unblock and update, as version 1.82.0 answers them.

Read from its source (`proxy/management_endpoints/key_management_endpoints.py`, `team_endpoints.py`, `proxy/_types.py`): info of a
key is `{"key", "info"}` without the token, that of a team `{"team_id", "team_info", "keys", "team_memberships"}`; block and unblock
answer with the row; an update takes a null as a null.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

ADMIN_KEY = "sk-master-very-secret"
KEY_HASH = "88dc28d0f030c55ed4ab77ed8faf098196cb1c05df778539800c9f1243fe6b4b"
TEAM = "team-search"
# What the request models name (BlockKeyRequest, BlockTeamRequest, UpdateKeyRequest, UpdateTeamRequest), as far as is used here.
_FIELDS = {
    "/key/block": {"key"},
    "/key/unblock": {"key"},
    "/key/update": {"key", "rpm_limit", "tpm_limit"},
    "/team/block": {"team_id"},
    "/team/unblock": {"team_id"},
    "/team/update": {"team_id", "rpm_limit", "tpm_limit"},
}


@dataclass(slots=True)
class Proxy:
    """The proxy: its rows may change between requests."""

    url: str = ""
    key: dict[str, Any] = field(
        default_factory=lambda: {"key_alias": "search", "blocked": None, "rpm_limit": None, "tpm_limit": None}
    )
    team: dict[str, Any] = field(
        default_factory=lambda: {"team_alias": "search", "blocked": False, "rpm_limit": 100, "tpm_limit": None}
    )
    posts: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    fails_with: int = 0

    def change(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """What a POST does; the row after it."""
        self.posts.append((path, body))
        if set(body) - _FIELDS.get(path, set()):
            self.wrong.append(f"{path} {sorted(body)}")
        row = self.key if path.startswith("/key/") else self.team
        if path.endswith("/update"):
            row.update({name: value for name, value in body.items() if name.endswith("_limit")})
        else:
            row["blocked"] = path.endswith("/block")
        return row

    def info(self, path: str, asked: dict[str, str]) -> dict[str, Any] | None:
        """What a GET is answered with."""
        if path == "/key/info" and asked.get("key") == KEY_HASH:
            return {"key": KEY_HASH, "info": self.key}
        if path == "/team/info" and asked.get("team_id") == TEAM:
            return {"team_id": TEAM, "team_info": self.team, "keys": [], "team_memberships": []}
        return None


@contextmanager
def started() -> Iterator[Proxy]:
    """A proxy with one key and one team."""
    proxy = Proxy()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
            if self._is_refused():
                return
            found = proxy.info(parts.path, asked)
            missing = {"error": {"message": "not found", "type": "not_found_error", "code": "404"}}
            self._send(404 if found is None else 200, missing if found is None else found)

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self._is_refused():
                return
            self._send(200, proxy.change(self.path, body))

        def _is_refused(self) -> bool:
            status = 401 if self.headers.get("Authorization") != f"Bearer {ADMIN_KEY}" else proxy.fails_with
            if status:
                told = f"Authentication Error, Received API Key = {self.headers.get('Authorization')}"
                self._send(status, {"error": {"message": told, "type": "auth_error", "code": str(status)}})
            return bool(status)

        def _send(self, status: int, body: dict[str, Any]) -> None:
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    proxy.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=10)
