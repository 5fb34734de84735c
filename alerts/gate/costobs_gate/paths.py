"""Which paths mean what: deny by default, because the key of a model server does not cover all that it serves."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

OWN_METRICS = "/costobs/gate/metrics"

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
    OPERATOR = "operator"  # allowed by the operator; needs a key, is not metered
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class PathTable:
    """The classes of paths of one gate. Only exact matches count: `//v1/…` or `/v1/…/` are unknown, thus refused."""

    operator: frozenset[tuple[str, str]] = frozenset()  # (method or *, path)

    def classify(self, method: str, path: str) -> Kind:
        """What to do with a request to `path`, as the server's router will see it."""
        if method == "POST" and path in METERED:
            return Kind.METERED
        if method in ("GET", "HEAD"):
            if path in HARMLESS:
                return Kind.OPEN
            if path == "/metrics":
                return Kind.GUARDED
            if path == OWN_METRICS:
                return Kind.OWN_METRICS
        if method == "OPTIONS" and (path in METERED or path in HARMLESS):
            return Kind.OPEN  # what a browser asks before a request; no route runs
        if (method, path) in self.operator or ("*", path) in self.operator:
            return Kind.OPERATOR
        return Kind.REFUSED


def table(allowed: Iterable[str]) -> PathTable:
    """A table with the operator's own paths: `/tokenize` or `POST /tokenize`."""
    entries = (entry.split() for entry in allowed)
    return PathTable(frozenset((words[0].upper() if len(words) == 2 else "*", words[-1]) for words in entries if words))


def routed_path(scope: Mapping[str, object]) -> str:
    """The path that the server's router will match: without the root path of its mount, as Starlette computes it."""
    path, root = str(scope["path"]), str(scope.get("root_path") or "")
    if root and (path == root or path.startswith(root + "/")):
        return path[len(root) :]
    return path
