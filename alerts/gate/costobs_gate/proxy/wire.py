"""What goes over the wire to an upstream and back: addresses, and headers that belong to one hop only."""

from collections.abc import Iterable, Mapping

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
ANTHROPIC_VERSION = "2023-06-01"


def address(upstream: Upstream, path: str, query: bytes, model: str | None) -> str:
    """Where a request goes. Azure's paths hold the model; they are turned into plain ones for everybody else."""
    deployment = paths.AZURE.fullmatch(path)
    plain = path[len("/openai") :] if path.startswith("/openai/v1/") else path
    if upstream.kind != "azure":
        if deployment:
            return f"{upstream.url}/v1/{deployment[2]}"
        return _with(f"{upstream.url}{plain}", query)
    if deployment:
        return _with(f"{upstream.url}/openai/deployments/{model or deployment[1]}/{deployment[2]}", query)
    return _with(f"{upstream.url}/openai{plain}", query)


def request_headers(raw: Iterable[tuple[bytes, bytes]], upstream: Upstream) -> list[tuple[str, str]]:
    """The headers for an upstream: its own key in place of the client's, nothing of the hop before."""
    pairs = list(raw)
    dropped = NOT_FORWARDED | _named(pairs)
    kept = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in pairs if name not in dropped]
    kept.append(("accept-encoding", "identity"))  # what is compressed cannot be metered as it passes
    if upstream.kind == "anthropic":
        if not any(name == "anthropic-version" for name, _ in kept):
            kept.append(("anthropic-version", ANTHROPIC_VERSION))
        kept += [("x-api-key", upstream.key)] if upstream.key else []
    elif upstream.key:
        kept.append(
            ("api-key", upstream.key) if upstream.kind == "azure" else ("authorization", f"Bearer {upstream.key}")
        )
    return kept


def response_headers(raw: Iterable[tuple[bytes, bytes]]) -> RawHeaders:
    """The headers for the client."""
    pairs = [(name.lower(), value) for name, value in raw]
    dropped = NOT_RETURNED | _named(pairs)
    return [(name, value) for name, value in pairs if name not in dropped]


def models_in(document: object) -> list[Mapping[str, object]]:
    """The entries of an answer of /v1/models, OpenAI's or Anthropic's."""
    data = document.get("data") if isinstance(document, dict) else None
    return (
        [entry for entry in data if isinstance(entry, dict) and isinstance(entry.get("id"), str)]
        if isinstance(data, list)
        else []
    )


def _named(pairs: Iterable[tuple[bytes, bytes]]) -> set[bytes]:
    """The headers that `Connection` names belong to this hop as well."""
    listed = b",".join(value for name, value in pairs if name == b"connection")
    return {part.strip().lower() for part in listed.split(b",") if part.strip()} if listed else set()


def _with(url: str, query: bytes) -> str:
    return f"{url}?{query.decode('latin-1')}" if query else url
