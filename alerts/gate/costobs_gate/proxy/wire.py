"""What goes over the wire to an upstream and back: addresses, and headers that belong to one hop only."""

from collections.abc import Mapping, Sequence
from urllib.parse import quote

from costobs_gate import headers, paths
from costobs_gate.asgi_types import RawHeaders
from costobs_gate.proxy.upstreams import Upstream

HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
# Ours, or about the way here; a cookie of one client must never reach another one through the upstream.
NOT_FORWARDED = HOP_BY_HOP | headers.CREDENTIALS | {b"host", b"content-length", b"cookie", b"expect", b"accept-encoding",
    b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-real-ip",
    b"x-costobs-feature",
    # Whose account at the provider is billed goes with the key, which is ours.
    b"openai-organization", b"openai-project"}  # fmt: skip
NOT_RETURNED = HOP_BY_HOP | {b"set-cookie", b"strict-transport-security", b"alt-svc"}
ANTHROPIC_VERSION = b"2023-06-01"


def target(upstream: Upstream, path: str, query: bytes, model: str | None) -> str:
    """What to ask an upstream for. Azure's paths hold the model; they are turned into plain ones for everybody else."""
    if upstream.kind != "azure" and path in paths.METERED:
        return _with(upstream.path + path, query)
    deployment = paths.AZURE.fullmatch(path)
    plain = quote(path[len("/openai") :] if path.startswith("/openai/v1/") else path, safe="/:@!$&'()*+,;=")
    if upstream.kind != "azure":
        return upstream.path + (f"/v1/{deployment[2]}" if deployment else _with(plain, query))
    if deployment:
        name = quote(model or deployment[1], safe="")
        return _with(f"{upstream.path}/openai/deployments/{name}/{deployment[2]}", query)
    return _with(f"{upstream.path}/openai{plain}", query)


def head(method: str, asked: str, raw: Sequence[tuple[bytes, bytes]], upstream: Upstream, length: int) -> bytes:
    """The head of a request to an upstream: its own key in place of the client's, nothing of the hop before.

    What clients sent has been through a parser that lets no line end into a header or a query.
    """
    dropped = _with_named(NOT_FORWARDED, raw)
    lines = [f"{method} {asked} HTTP/1.1".encode("latin-1"), *_own_lines(upstream)]
    lines += [b"%b: %b" % pair for pair in raw if pair[0] not in dropped]
    if upstream.kind == "anthropic" and not any(name == b"anthropic-version" for name, _ in raw):
        lines.append(b"anthropic-version: " + ANTHROPIC_VERSION)
    if length or method in ("POST", "PUT", "PATCH"):
        lines.append(b"content-length: %d" % length)
    return b"\r\n".join(lines) + b"\r\n\r\n"


def _own_lines(upstream: Upstream) -> tuple[bytes, ...]:
    """What every request to an upstream says. What is compressed cannot be metered as it passes."""
    lines = [b"host: " + upstream.origin.authority, b"accept-encoding: identity"]
    if upstream.key:
        name = {"anthropic": "x-api-key: ", "azure": "api-key: "}.get(upstream.kind, "authorization: Bearer ")
        lines.append(f"{name}{upstream.key}".encode("latin-1"))
    return tuple(lines)


def response_headers(raw: RawHeaders) -> RawHeaders:
    """The headers for the client; names come and go in lower case."""
    dropped = _with_named(NOT_RETURNED, raw)
    return [pair for pair in raw if pair[0] not in dropped]


def models_in(document: object) -> list[Mapping[str, object]]:
    """The entries of an answer of /v1/models, OpenAI's or Anthropic's."""
    data = document.get("data") if isinstance(document, dict) else None
    return (
        [entry for entry in data if isinstance(entry, dict) and isinstance(entry.get("id"), str)]
        if isinstance(data, list)
        else []
    )


def _with_named(dropped: frozenset[bytes], pairs: Sequence[tuple[bytes, bytes]]) -> frozenset[bytes]:
    """What `Connection` names belongs to this hop as well."""
    listed = [value for name, value in pairs if name == b"connection"]
    if not listed:
        return dropped
    return dropped | {part.strip().lower() for part in b",".join(listed).split(b",")}


def _with(url: str, query: bytes) -> str:
    return f"{url}?{query.decode('latin-1')}" if query else url
