"""A stand-in for the query API of Cost Management: checks what is asked, pages its answers, and throttles when told to."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

TOKEN = "token-of-the-tests"
CREDENTIALS = {"access_token": TOKEN}


@dataclass(slots=True)
class AzureQuery:
    """What it answers with and what it was asked; a test sets and reads these. Not frozen for that reason.

    A row is (cost as JSON text, day, *groups, currency). `refusals` are answered before anything else, one a request.
    """

    url: str = ""
    scope: str = "subscriptions/s1"
    rows: dict[str, list[tuple[Any, ...]]] = field(default_factory=lambda: {"ActualCost": [], "AmortizedCost": []})
    page: int = 100
    refusals: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    next_host: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)

    def reset(self) -> None:
        """Forgets what a test before has set."""
        fresh = AzureQuery(url=self.url)
        for name in ("scope", "rows", "page", "refusals", "next_host", "asked"):
            setattr(self, name, getattr(fresh, name))

    def answer(self, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, dict[str, str], str]:
        """Status, headers and body for a request."""
        if self.refusals:
            status, told = self.refusals.pop(0)
            return (
                status,
                told,
                _error("TooManyRequests" if status == 429 else "Refused", "Too many requests. Please retry."),
            )
        if headers.get("Authorization") != f"Bearer {TOKEN}":
            return 401, {}, _error("InvalidAuthenticationToken", "The access token is invalid.")
        parts = urlsplit(path)
        asked, query = json.loads(body), parse_qs(parts.query)
        if parts.path != f"/{self.scope}/providers/Microsoft.CostManagement/query":
            return 404, {}, _error("ResourceNotFound", "The scope was not found.")
        if problem := _problem(asked, query):
            return 400, {}, _error("BadRequest", problem)
        self.asked.append({**asked, "skip": query.get("$skiptoken", [""])[0]})
        first, last = (int(asked["timePeriod"][name][:10].replace("-", "")) for name in ("from", "to"))
        rows = [row for row in self.rows[asked["type"]] if first <= row[1] <= last]
        start = int(query.get("$skiptoken", ["0"])[0])
        return 200, {}, self._page(parts.path, rows, start, [each["name"] for each in asked["dataset"]["grouping"]])

    def _page(self, path: str, rows: list[tuple[Any, ...]], start: int, groups: list[str]) -> str:
        following = ""
        if start + self.page < len(rows):
            following = f"{self.next_host or self.url}{path}?api-version=2025-03-01&$skiptoken={start + self.page}"
        columns = [
            ("Cost", "Number"),
            ("UsageDate", "Number"),
            *((name, "String") for name in groups),
            ("Currency", "String"),
        ]
        # Costs go out as they are written here: a binary number would already be another one.
        lines = [f"[{cost}, {', '.join(map(json.dumps, rest))}]" for cost, *rest in rows[start : start + self.page]]
        properties = {
            "nextLink": following or None,
            "columns": [{"name": name, "type": kind} for name, kind in columns],
        }
        return f'{{"properties": {json.dumps(properties)[:-1]}, "rows": [{", ".join(lines)}]}}}}'


@contextmanager
def started() -> Iterator[AzureQuery]:
    """The server on a free port of this machine."""
    state = AzureQuery()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, headers, text = state.answer(self.path, dict(self.headers), content)
            payload = text.encode()
            self.send_response(status)
            for name, value in {
                "Content-Type": "application/json",
                "Content-Length": str(len(payload)),
                **headers,
            }.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, *_args: Any) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=10)


def _problem(asked: dict[str, Any], query: Mapping[str, list[str]]) -> str:
    """What the service would say about a question that it does not take."""
    dataset = asked.get("dataset", {})
    wanted = {
        "api-version": bool(query.get("api-version")),
        "type": asked.get("type") in {"ActualCost", "AmortizedCost"},
        "timeframe": asked.get("timeframe") == "Custom" and set(asked.get("timePeriod", {})) == {"from", "to"},
        "granularity": dataset.get("granularity") == "Daily",
        "aggregation": dataset.get("aggregation") == {"totalCost": {"name": "Cost", "function": "Sum"}},
        "grouping": 1 <= len(dataset.get("grouping", [])) <= 2,
    }
    return "".join(f"Invalid query definition: {name}. " for name, is_right in wanted.items() if not is_right)


def _error(code: str, message: str) -> str:
    return json.dumps({"error": {"code": code, "message": message}})
