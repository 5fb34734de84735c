"""An API server of Kubernetes on loopback: every request is checked against the published schema, and conflicts are real.

It behaves as the controllers would: an autoscaler keeps replicas between its bounds, KEDA obeys its pause annotation.
"""

import json
import re
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from jsonschema import Draft202012Validator

TOKEN = "sa-token-very-secret"
PAUSED = "autoscaling.keda.sh/paused-replicas"
_FRAGMENT = json.loads((Path(__file__).parents[1] / "golden" / "kubernetes" / "openapi_fragment.json").read_text())


@dataclass(frozen=True, slots=True)
class Asked:
    """One request."""

    verb: str
    path: str
    body: Any


@dataclass(slots=True)
class Cluster:
    """What is in the namespace `chat`, and what the server does wrong on purpose."""

    url: str = ""
    kind: str = "Deployment"
    replicas: int = 3
    placed: int | None = None  # None: as many as asked for
    ready: int | None = None  # of the placed ones; None: all
    autoscaler: dict[str, Any] | None = None
    scaled_object: dict[str, Any] | None = None
    has_keda: bool = True
    version: int = 100
    forbidden: set[tuple[str, str]] = field(default_factory=set)  # (verb, resource)
    conflicts: int = 0  # so many patches meet a change of somebody else
    fails_with: list[int] = field(default_factory=list)
    redirects_to: str = ""
    asked: list[Asked] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)  # requests that the schema does not know

    def patches(self) -> list[Asked]:
        return [one for one in self.asked if one.verb == "PATCH"]

    def scale(self) -> dict[str, Any]:
        placed = self.replicas if self.placed is None else self.placed
        return {
            "apiVersion": "autoscaling/v1",
            "kind": "Scale",
            "metadata": {"name": "vllm", "namespace": "chat", "resourceVersion": str(self.version)},
            "spec": {"replicas": self.replicas},
            "status": {"replicas": placed, "selector": "app=vllm"},
        }

    def workload(self) -> dict[str, Any]:
        placed = self.replicas if self.placed is None else self.placed
        labels = {"app": "vllm"}
        template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "vllm", "image": "vllm"}]}}
        spec = {"replicas": self.replicas, "selector": {"matchLabels": labels}, "template": template}
        return {
            "apiVersion": "apps/v1",
            "kind": self.kind,
            "metadata": {"name": "vllm", "namespace": "chat", "resourceVersion": str(self.version)},
            "spec": {**spec, **({"serviceName": "vllm"} if self.kind == "StatefulSet" else {})},
            "status": {"replicas": placed, "readyReplicas": placed if self.ready is None else self.ready},
        }

    def control(self) -> None:
        """What the controllers do next."""
        if self.scaled_object is not None:
            paused = (self.scaled_object["metadata"].get("annotations") or {}).get(PAUSED)
            spec = self.scaled_object["spec"]
            least, most = int(spec.get("minReplicaCount") or 0), int(spec.get("maxReplicaCount") or 100)
            if paused is not None:
                self.replicas = int(paused)
            else:
                self.replicas = min(max(self.replicas, least), most)
        elif self.autoscaler is not None and self.replicas > 0:
            spec = self.autoscaler["spec"]
            self.replicas = min(max(self.replicas, int(spec.get("minReplicas") or 1)), int(spec["maxReplicas"]))


def autoscaler(least: int | None, most: int) -> dict[str, Any]:
    spec: dict[str, Any] = {"maxReplicas": most, "scaleTargetRef": {"kind": "Deployment", "name": "vllm"}}
    if least is not None:
        spec["minReplicas"] = least
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "vllm-hpa", "namespace": "chat"},
        "spec": spec,
    }


def scaled_object(**spec: int) -> dict[str, Any]:
    aim = {"name": "vllm"}
    triggers = [{"type": "prometheus", "metadata": {"query": "vllm:num_requests_waiting", "threshold": "5"}}]
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": "vllm-so", "namespace": "chat", "annotations": {"team": "search"}},
        "spec": {"scaleTargetRef": aim, "triggers": triggers, **spec},
    }


@contextmanager
def started(context: ssl.SSLContext | None = None) -> Iterator[Cluster]:
    """The server, until the block ends; with a context it speaks TLS."""
    cluster = Cluster()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = json.loads(content) if content else None
            cluster.asked.append(Asked(self.command, parts.path, body))
            given = self.headers.get("Content-Type", "").partition(";")[0]
            if cluster.redirects_to:
                self._send(302, {}, {"Location": cluster.redirects_to})
            elif self.headers.get("Authorization", "").partition(" ")[::2] not in {
                ("Bearer", TOKEN),
                ("bearer", TOKEN),
            }:
                self._send(401, _status(401, "Unauthorized"))
            elif cluster.fails_with:
                status = cluster.fails_with.pop(0)
                self._send(status, _status(status, "etcdserver: request timed out"))
            else:
                self._send(*_answer(cluster, self.command, parts.path, parts.query, given, body))

        do_PATCH = do_PUT = do_POST = do_DELETE = do_GET

        def _send(self, status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> None:
            content = json.dumps(body).encode()
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    cluster.url = f"{'http' if context is None else 'https'}://127.0.0.1:{server.server_address[1]}"
    try:
        yield cluster
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=10)


def _answer(cluster: Cluster, verb: str, path: str, query: str, given: str, body: Any) -> tuple[int, dict[str, Any]]:
    operation, names = _operation(verb, path)
    if operation is None:
        cluster.wrong.append(f"{verb} {path}: no such operation")
        return 404, _status(404, "the server could not find the requested resource")
    foreign = set(parse_qs(query)) - set(operation["query"])
    if foreign:
        cluster.wrong.append(f"{verb} {path}: unknown query {sorted(foreign)}")
    if verb == "PATCH" and given not in operation["content"]:
        cluster.wrong.append(f"{verb} {path}: content type {given!r}")
        return 415, _status(415, "unsupported media type")
    resource = path.partition("/namespaces/")[2].split("/")[1] + ("/scale" if path.endswith("/scale") else "")
    if (_right(verb, names), resource) in cluster.forbidden:
        return 403, _status(403, f'{resource} is forbidden: User "system:serviceaccount:costobs" cannot {verb.lower()}')
    found = _thing(cluster, resource, names)
    if found is None:
        return 404, _status(404, f"{resource} not found")
    if verb == "GET":
        return 200, _checked(cluster, operation, found)
    return _patched(cluster, operation, resource, found, body)


def _right(verb: str, names: dict[str, str]) -> str:
    return verb.lower() if verb != "GET" or "name" in names else "list"


def _thing(cluster: Cluster, resource: str, names: dict[str, str]) -> dict[str, Any] | None:
    if names.get("namespace") != "chat":
        return None
    if resource in {"deployments", "statefulsets", "deployments/scale", "statefulsets/scale"}:
        if names["name"] != "vllm" or resource.partition("/")[0] != f"{cluster.kind.lower()}s":
            return None
        return cluster.scale() if resource.endswith("/scale") else cluster.workload()
    one, kind, version = {
        "horizontalpodautoscalers": (cluster.autoscaler, "HorizontalPodAutoscaler", "autoscaling/v2"),
        "scaledobjects": (cluster.scaled_object, "ScaledObject", "keda.sh/v1alpha1"),
    }[resource]
    if resource == "scaledobjects" and not cluster.has_keda:
        return None
    shown = None if one is None else deepcopy(one)
    if shown is not None:
        shown["metadata"]["resourceVersion"] = str(cluster.version)
    if "name" in names:
        return shown if shown is not None and shown["metadata"]["name"] == names["name"] else None
    return {"apiVersion": version, "kind": f"{kind}List", "metadata": {}, "items": [] if shown is None else [shown]}


def _patched(
    cluster: Cluster, operation: dict[str, Any], resource: str, found: dict[str, Any], patch: dict[str, Any]
) -> tuple[int, dict[str, Any]]:
    if cluster.conflicts:
        cluster.conflicts -= 1
        cluster.version += 1  # somebody else was faster
    held = patch.get("metadata", {}).get("resourceVersion")
    if held is not None and held != str(cluster.version):
        return 409, _status(409, "the object has been modified; please apply your changes to the latest version")
    merged = _checked(cluster, operation, _merged(found, patch))
    spec = merged["spec"]
    if spec.get("minReplicas", 1) > spec.get("maxReplicas", 10**9):
        return 422, _status(422, "spec.maxReplicas: Invalid value: must be greater than or equal to `minReplicas`")
    cluster.version += 1
    if resource.endswith("/scale"):
        cluster.replicas = spec["replicas"]
    elif resource == "scaledobjects":
        cluster.scaled_object = merged
    else:
        cluster.autoscaler = merged
    cluster.control()
    merged["metadata"]["resourceVersion"] = str(cluster.version)
    return 200, merged


def _merged(found: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(found) if isinstance(found, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = _merged(merged.get(name), value)
    return merged


def _operation(verb: str, path: str) -> tuple[dict[str, Any] | None, dict[str, str]]:
    for template, verbs in _FRAGMENT["paths"].items():
        pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", template)
        found = re.fullmatch(pattern, path)
        if found is not None:
            return verbs.get(verb.lower()), found.groupdict()
    return None, {}


def _checked(cluster: Cluster, operation: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
    """Unknown fields are wrong too: a server drops them, and then nothing happens."""
    if operation["schema"] is None:
        return body
    schema = {"$ref": f"#/$defs/{operation['schema']}", "$defs": _strict(_FRAGMENT["$defs"])}
    for problem in Draft202012Validator(schema).iter_errors(body):
        cluster.wrong.append(f"{operation['schema']}: {problem.message[:300]}")
    return body


def _strict(schema: Any) -> Any:
    if isinstance(schema, dict):
        made = {name: _strict(value) for name, value in schema.items()}
        if isinstance(schema.get("properties"), dict) and "type" in schema:
            made.setdefault("additionalProperties", False)
        return made
    return [_strict(one) for one in schema] if isinstance(schema, list) else schema


def _status(code: int, message: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure", "message": message, "code": code}
