"""Which paths mean what: deny by default, because the key of a model server does not cover all that it serves."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

OWN_METRICS = "/costobs/gate/metrics"
OWN_DRAIN = "/costobs/gate/drain"
OWN_READY = "/costobs/gate/ready"

# POST paths that make the model work, and the operation they are metered as (OpenTelemetry gen_ai.operation.name).
METERED: Mapping[str, str] = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "text_completion",
    "/v1/responses": "chat",
    "/v1/messages": "chat",
    "/v1/embeddings": "embeddings",
    "/v2/embed": "embeddings",
    "/pooling": "embeddings",
    "/classify": "classify",
    "/score": "score",
    "/v1/score": "score",
    "/rerank": "rerank",
    "/v1/rerank": "rerank",
    "/v2/rerank": "rerank",
    "/v1/audio/transcriptions": "transcription",
    "/v1/audio/translations": "transcription",
}
HARMLESS = frozenset({"/health", "/ping", "/version", "/v1/models"})


class Kind(Enum):
    """What the gate does with a request."""

    METERED = "metered"  # needs a key; rules and metering apply
    OPEN = "open"  # forwarded as it is
    GUARDED = "guarded"  # loopback or the metrics token
    OWN_METRICS = "own_metrics"  # as guarded, answered by the gate
    OWN_DRAIN = "own_drain"  # as guarded: see, begin (POST) and end (DELETE) draining
    OWN_READY = "own_ready"  # open: whether requests would be served now
    OPERATOR = "operator"  # allowed by the operator; needs a key, is not metered
    REFUSED = "refused"


AZURE = re.compile(r"/openai/deployments/([A-Za-z0-9._-]{1,100})/([a-z/]+)")
ONE_MODEL = re.compile(r"/v1/models/[^?#]{1,200}")


@dataclass(frozen=True, slots=True)
class Place:
    """A path by its plain name, and the model that it names itself."""

    path: str
    model: str | None = None


_PLAIN: Mapping[str, Place] = {path: Place(path) for path in METERED}  # nearly all requests

OWN: Mapping[str, Kind] = {
    OWN_METRICS: Kind.OWN_METRICS,
    OWN_DRAIN: Kind.OWN_DRAIN,
    OWN_READY: Kind.OWN_READY,
}


@dataclass(frozen=True, slots=True)
class PathTable:
    """The classes of paths of one gate. Only exact matches count: `//v1/…` or `/v1/…/` are unknown, thus refused."""

    operator: frozenset[tuple[str, str]] = frozenset()  # (method or *, path)
    is_proxy: bool = False

    def place(self, path: str) -> Place:
        """The path by its plain name. A proxy also knows the paths of Azure, which hold the model."""
        if path in _PLAIN:
            return _PLAIN[path]
        if self.is_proxy:
            if path == "/metrics":
                return Place(OWN_METRICS)
            deployment = AZURE.fullmatch(path)
            if deployment:
                return Place(f"/v1/{deployment[2]}", deployment[1])
            if path.startswith("/openai/v1/"):
                return Place(path[len("/openai") :])
            if ONE_MODEL.fullmatch(path):
                return Place("/v1/models")
        return Place(path)

    def classify(self, method: str, path: str) -> Kind:
        """What to do with a request to `path`, as the server's router will see it."""
        if method == "POST" and path in METERED:
            return Kind.METERED
        if method in ("GET", "HEAD"):
            if self.is_proxy and path == "/v1/models":
                return Kind.OPERATOR  # what a proxy serves is nobody's business but its clients'
            if path in HARMLESS:
                return Kind.OPEN
            if path == "/metrics":
                return Kind.GUARDED
            if path in OWN:
                return OWN[path]
        if path == OWN_DRAIN and method in ("POST", "DELETE"):
            return Kind.OWN_DRAIN
        if method == "OPTIONS" and (path in METERED or path in HARMLESS):
            return Kind.OPEN  # what a browser asks before a request; no route runs
        if (method, path) in self.operator or ("*", path) in self.operator:
            return Kind.OPERATOR
        return Kind.REFUSED


def table(allowed: Iterable[str], *, is_proxy: bool = False) -> PathTable:
    """A table with the operator's own paths: `/tokenize` or `POST /tokenize`."""
    entries = (entry.split() for entry in allowed)
    own = frozenset((words[0].upper() if len(words) == 2 else "*", words[-1]) for words in entries if words)
    return PathTable(own, is_proxy)


def routed_path(scope: Mapping[str, object]) -> str:
    """The path that the server's router will match: without the root path of its mount, as Starlette computes it."""
    path, root = str(scope["path"]), str(scope.get("root_path") or "")
    if root and (path == root or path.startswith(root + "/")):
        return path[len(root) :]
    return path
