"""Google's and Microsoft's machine APIs as recorded: each request is checked against the published description, then obeyed.

Machines take a step at each look, as real ones take time: STOPPING, then TERMINATED.
"""

import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

GOLDEN = Path(__file__).parent.parent / "golden" / "hooks"
GOOGLE = json.loads((GOLDEN / "google_compute.json").read_text())
AZURE = json.loads((GOLDEN / "azure_compute.json").read_text())
TOKEN = "token-of-the-tests"
SUBSCRIPTION = "00000000-0000-0000-0000-000000000001"

_GOOGLE_STEPS = {"STOPPING": "TERMINATED", "STAGING": "RUNNING"}
_AZURE_STEPS = {"deallocating": "deallocated", "starting": "running"}
_TYPES = {"string": str, "integer": int, "boolean": bool, "array": list, "object": dict}


class BadRequest(Exception):
    """The request is not one of the published API."""


@dataclass(slots=True)
class Machines:
    """What runs there, and what was asked of it; a test sets and reads these. Not frozen for that reason."""

    url: str = ""
    states: dict[str, str] = field(default_factory=dict)
    extras: dict[str, dict[str, Any]] = field(default_factory=dict)  # further columns of a machine
    sizes: dict[str, int] = field(default_factory=dict)  # of groups and scale sets
    autoscaled: set[str] = field(default_factory=set)
    refusals: list[int] = field(default_factory=list)  # statuses that are answered first, each once
    asked: list[str] = field(default_factory=list)  # VirtualMachines_Deallocate vllm-1
    problems: list[str] = field(default_factory=list)

    def reset(self) -> None:
        """Forgets what a test before has set."""
        fresh = Machines(url=self.url)
        for name in ("states", "extras", "sizes", "autoscaled", "refusals", "asked", "problems"):
            setattr(self, name, getattr(fresh, name))

    def answer(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, dict[str, str], Any]:
        """Status, headers and document."""
        parts = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        is_google = parts.path.startswith(f"/{GOOGLE['servicePath']}")
        try:
            if self.refusals:
                return self._refused(self.refusals.pop(0), is_google=is_google)
            if is_google:
                return self._google(method, parts.path.removeprefix(f"/{GOOGLE['servicePath']}"), query, body)
            return self._azure(method, parts.path, query, headers, body)
        except BadRequest as problem:
            self.problems.append(f"{method} {target}: {problem}")
            return 400, {}, {"error": {"code": 400, "message": str(problem)}}

    def _refused(self, status: int, *, is_google: bool) -> tuple[int, dict[str, str], Any]:
        if is_google:
            told = {"message": "Required permission is missing.", "domain": "global", "reason": "forbidden"}
            return status, {}, {"error": {"code": status, "message": told["message"], "errors": [told]}}
        return status, {}, {"error": {"code": "AuthorizationFailed", "message": "The client has no authorization."}}

    def _google(self, method: str, path: str, query: Mapping[str, str], body: bytes) -> tuple[int, dict[str, str], Any]:
        name, values = _google_method(method, path)
        described = GOOGLE["methods"][name]
        _check_google(described, {**values, **query})
        if body:
            raise BadRequest(f"{name} takes no body")
        thing = values.get("instance") or values["instanceGroupManager"]
        self.asked.append(f"{name} {thing}")
        known = self.states if "instance" in values else self.sizes
        if thing not in known:
            return 404, {}, {"error": {"code": 404, "message": f"The resource {thing!r} was not found", "errors": []}}
        document = self._google_answer(name, thing, query)
        _conforms(document, described["response"])
        return 200, {}, document

    def _google_answer(self, name: str, thing: str, query: Mapping[str, str]) -> dict[str, Any]:
        match name:
            case "instances.get":
                now = self.states[thing]
                self.states[thing] = _GOOGLE_STEPS.get(now, now)
                plain = {"kind": "compute#instance", "name": thing, "status": now, "disks": [{"type": "PERSISTENT"}]}
                return plain | self.extras.get(thing, {})
            case "instances.stop":
                self.states[thing] = "STOPPING" if self.states[thing] == "RUNNING" else self.states[thing]
            case "instances.start":
                self.states[thing] = "STAGING" if self.states[thing] == "TERMINATED" else self.states[thing]
            case "instanceGroupManagers.get":
                status = {"isStable": True} | ({"autoscaler": "on"} if thing in self.autoscaled else {})
                return {"name": thing, "targetSize": self.sizes[thing], "status": status}
            case "instanceGroupManagers.resize":
                self.sizes[thing] = int(query["size"])
        return {"kind": "compute#operation", "name": "operation-1", "status": "RUNNING"}

    def _azure(
        self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes
    ) -> tuple[int, dict[str, str], Any]:
        if headers.get("Authorization") != f"Bearer {TOKEN}":
            return 401, {}, {"error": {"code": "InvalidAuthenticationToken", "message": "The access token is invalid."}}
        name, values = _azure_operation(method, path)
        described = AZURE["operations"][name]
        _check_azure(described, query, body)
        thing = values.get("vmName") or values["vmScaleSetName"]
        self.asked.append(f"{name} {thing}")
        if thing not in (self.states if "vmName" in values else self.sizes):
            return 404, {}, {"error": {"code": "ResourceNotFound", "message": f"The resource {thing} was not found."}}
        match name:
            case "VirtualMachines_Get":
                return 200, {}, self._azure_machine(thing)
            case "VirtualMachines_Deallocate":
                self.states[thing] = "deallocating" if self.states[thing] == "running" else self.states[thing]
            case "VirtualMachines_Start":
                self.states[thing] = "starting" if self.states[thing] == "deallocated" else self.states[thing]
            case "VirtualMachineScaleSets_Update":
                self.sizes[thing] = json.loads(body)["sku"]["capacity"]
        if name.startswith("VirtualMachineScaleSets"):
            sku = {"name": "Standard_NC24ads_A100_v4", "tier": "Standard", "capacity": self.sizes[thing]}
            return 200, {}, {"name": thing, "sku": sku, "properties": {"provisioningState": "Succeeded"}}
        return 202, {"Location": f"{self.url}/operations/1", "Retry-After": "10"}, None

    def _azure_machine(self, name: str) -> dict[str, Any]:
        now = self.states[name]
        self.states[name] = _AZURE_STEPS.get(now, now)
        statuses = [
            {"code": "ProvisioningState/succeeded", "level": "Info"},
            {"code": f"PowerState/{now}", "level": "Info"},
        ]
        properties = {"instanceView": {"statuses": statuses}} | self.extras.get(name, {})
        return {"name": name, "location": "westeurope", "properties": properties}


def _matched(template: str, path: str) -> dict[str, str] | None:
    pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", template)
    found = re.fullmatch(pattern, path)
    return {name: unquote(value) for name, value in found.groupdict().items()} if found else None


def _google_method(method: str, path: str) -> tuple[str, dict[str, str]]:
    for name, described in GOOGLE["methods"].items():
        values = _matched(described["path"], path) if described["httpMethod"] == method else None
        if values is not None:
            return name, values
    raise BadRequest("no method of the discovery document has this path and verb")


def _check_google(described: Mapping[str, Any], given: Mapping[str, str]) -> None:
    known = described["parameters"]
    for name in given:
        # Every Google API takes these two.
        if name not in known and name not in {"$alt", "alt"}:
            raise BadRequest(f"unknown parameter {name}")
    for name, rule in known.items():
        if rule.get("required") and name not in given:
            raise BadRequest(f"parameter {name} is missing")
        if name in given and "pattern" in rule and not re.fullmatch(rule["pattern"], given[name]):
            raise BadRequest(f"parameter {name} is not valid: {given[name]!r}")
        if name in given and rule["type"] == "integer" and not given[name].isdigit():
            raise BadRequest(f"parameter {name} is no number: {given[name]!r}")


def _conforms(document: Mapping[str, Any], schema: str) -> None:
    """Our own answers have the published shape, too; else the client would be tested against a fancy."""
    properties = GOOGLE["schemas"][schema]["properties"]
    for name, value in document.items():
        rule = properties[name]
        if "$ref" in rule:
            _conforms(value, rule["$ref"])
        elif rule["type"] == "array":
            for one in value:
                _conforms(one, rule["items"]["$ref"])
        else:
            assert isinstance(value, _TYPES[rule["type"]]), (schema, name, value)
            assert value in rule.get("enum", [value]), (schema, name, value)


def _azure_operation(method: str, path: str) -> tuple[str, dict[str, str]]:
    for name, described in AZURE["operations"].items():
        values = _matched(described["path"], path) if described["method"] == method else None
        if values is not None:
            return name, values
    raise BadRequest("no operation of the specification has this path and verb")


def _check_azure(described: Mapping[str, Any], query: Mapping[str, str], body: bytes) -> None:
    if query.get("api-version") != AZURE["api-version"]:
        raise BadRequest(f"unknown api-version {query.get('api-version')}")
    for name, value in query.items():
        allowed = described["query"].get(name, "unknown")
        if name != "api-version" and (allowed == "unknown" or (allowed and value not in allowed)):
            raise BadRequest(f"unknown parameter {name}={value}")
    if bool(body) != ("body" in described):
        raise BadRequest("expected a body" if "body" in described else "expected no body")
    for name, value in (json.loads(body) if body else {}).items():
        rule = described["body"].get(name)
        if rule is None:
            raise BadRequest(f"unknown property {name}")
        for inner, given in value.items() if name == "sku" else ():
            if not isinstance(given, _TYPES[rule[inner]]):
                raise BadRequest(f"sku.{inner} is not of type {rule[inner]}")


@contextmanager
def started() -> Iterator[Machines]:
    """The server from when it listens until the block ends."""
    server = Machines()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, headers, document = server.answer(self.command, self.path, self.headers, body)
            content = b"" if document is None else json.dumps(document).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Type": "application/json"}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_PATCH = do_PUT = do_DELETE = do_GET

        def log_message(self, *_: Any) -> None:
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listening.daemon_threads = True
    server.url = f"http://127.0.0.1:{listening.server_address[1]}"
    thread = threading.Thread(target=listening.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listening.shutdown()
        listening.server_close()
        thread.join()
