"""Google's REST APIs as recorded: BigQuery jobs and tables, Cloud Billing, and tokens, replayed to the real clients.

The answers have the shapes of https://cloud.google.com/bigquery/docs/reference/rest and
https://cloud.google.com/billing/docs/reference/rest (as known on 2026-11-28); no answer about a real account is public.
"""

import json
import re
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.servers import bigquery


@dataclass(frozen=True, slots=True)
class Asked:
    """One request that came."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: Any


@dataclass
class GoogleApi:
    """What the server answers. `faults` are answered first, each once; `answers` are those of queries, in their order."""

    address: str = ""
    tables: dict[str, dict[str, Any]] = field(default_factory=dict)
    answers: deque[Any] = field(default_factory=deque)
    faults: deque[tuple[int, Any]] = field(default_factory=deque)
    # Path, or path?pageToken=x -> status and body.
    fixed: dict[str, tuple[int, Any]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    page_size: int = 1000
    _jobs: dict[str, tuple[list[str], list[list[Any]]]] = field(default_factory=dict)

    @property
    def config(self) -> dict[str, Any]:
        """The settings of a source that reads from it."""
        return {"project": "costs", "dataset": "billing", "endpoint_url": self.address}

    def table(self, name: str = bigquery.DETAILED, **of: Any) -> None:
        """A table of the export, in ingestion-time partitions of a day as Google makes it."""
        self.tables[name] = {"schema": {"fields": bigquery.schema(**of)}, "timePartitioning": {"type": "DAY"}}

    def answer(self, columns: Sequence[str], *rows: Sequence[Any]) -> None:
        """The next query is answered so; every cell is a text, and null where a row has no more."""
        missing = [None] * len(columns)
        self.answers.append((list(columns), [[*row, *missing[len(row) :]] for row in rows]))

    def refuse(self, status: int, reason: str, message: str) -> None:
        """The next request is refused."""
        self.faults.append((status, refusal(status, reason, message)))

    @property
    def queries(self) -> list[dict[str, Any]]:
        """The configuration of each query that was asked, with its parameters by name."""
        found = []
        for each in self.asked:
            if each.method == "POST" and each.path.endswith("/jobs"):
                given = each.body["configuration"]
                parameters = given["query"].get("queryParameters", [])
                named = {one["name"]: one["parameterValue"]["value"] for one in parameters}
                found.append({**given["query"], "labels": given.get("labels"), "parameters": named})
        return found

    def respond(self, asked: Asked) -> tuple[int, Any]:
        """The answer to a request."""
        if self.faults:
            return self.faults.popleft()
        path = asked.path.removeprefix("/bigquery/v2/projects/costs")
        page = f"{asked.path}?pageToken={asked.query.get('pageToken', [''])[0]}"
        if found := self.fixed.get(page, self.fixed.get(asked.path)):
            return found
        if asked.path == "/token":
            return 200, {"access_token": "ya29.recorded", "expires_in": 3600, "token_type": "Bearer"}
        if path == "/datasets/billing/tables":
            return 200, {"tables": [self._described(name) for name in self.tables], "totalItems": len(self.tables)}
        if (match := re.fullmatch(r"/datasets/billing/tables/(\w+)", path)) and match[1] in self.tables:
            return 200, self._described(match[1])
        if path == "/jobs" and asked.method == "POST":
            return self._begun(asked)
        if match := re.fullmatch(r"/(?:queries|jobs)/([\w-]+)", path):
            return self._job(match[1], asked)
        return 404, refusal(404, "notFound", f"Not found: {asked.path}")

    def _described(self, name: str) -> dict[str, Any]:
        reference = {"projectId": "costs", "datasetId": "billing", "tableId": name}
        return {"kind": "bigquery#table", "tableReference": reference, "type": "TABLE", **self.tables[name]}

    def _begun(self, asked: Asked) -> tuple[int, Any]:
        given = self.answers.popleft()
        name = asked.body["jobReference"]["jobId"]
        status: dict[str, Any] = {"state": "DONE"}
        if isinstance(given, dict):
            status |= {"errorResult": given, "errors": [given]}
            given = ([], [])
        self._jobs[name] = given
        return 200, self._resource(name, asked.body["configuration"], status)

    def _resource(self, name: str, configuration: Any, status: dict[str, Any]) -> dict[str, Any]:
        return {
            "kind": "bigquery#job",
            "jobReference": {"projectId": "costs", "jobId": name, "location": "EU"},
            "configuration": {"jobType": "QUERY", **configuration},
            "status": status,
            "statistics": {"query": {"statementType": "SELECT"}},
        }

    def _job(self, name: str, asked: Asked) -> tuple[int, Any]:
        columns, rows = self._jobs[name]
        begin = int(asked.query.get("pageToken", ["0"])[0])
        size = min(self.page_size, int(asked.query.get("maxResults", ["1000000"])[0]))
        held = rows[begin : begin + size]
        more = {"pageToken": str(begin + size)} if begin + size < len(rows) else {}
        return 200, {
            "kind": "bigquery#getQueryResultsResponse",
            "jobReference": {"projectId": "costs", "jobId": name, "location": "EU"},
            "jobComplete": True,
            "schema": {"fields": [{"name": each, "type": "STRING"} for each in columns]},
            "totalRows": str(len(rows)),
            "rows": [{"f": [{"v": cell} for cell in row]} for row in held],
            **more,
        }


def refusal(status: int, reason: str, message: str) -> dict[str, Any]:
    """An error as Google words it."""
    told = {"message": message, "domain": "global", "reason": reason}
    return {"error": {"code": status, "message": message, "errors": [told], "status": reason.upper()}}


@contextmanager
def started() -> Iterator[GoogleApi]:
    """The server from when it listens until the block ends."""
    server = GoogleApi()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            is_json = "json" in self.headers.get("Content-Type", "")
            body = json.loads(content) if is_json and content else content.decode()
            headers = {name.lower(): value for name, value in self.headers.items()}
            asked = Asked(self.command, parts.path, parse_qs(parts.query), headers, body)
            server.asked.append(asked)
            status, found = server.respond(asked)
            answer = json.dumps(found).encode()
            self.send_response(status)
            if status in (301, 302, 307):
                self.send_header("Location", found["location"])
            self.send_header("Content-Type", "application/json; charset=UTF-8")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_POST = do_GET

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
