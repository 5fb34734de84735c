"""The servers behind a proxy, as the command line and the environment name them."""

import os
import re
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from costobs_gate.config import ConfigError, secret
from costobs_gate.proxy.client import Origin, origin

KINDS = ("vllm", "openai", "anthropic", "azure")
PROVIDERS = {"vllm": "self_hosted", "openai": "openai", "anthropic": "anthropic", "azure": "azure_openai"}
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")


@dataclass(frozen=True, slots=True)
class Overflow:
    """Where requests go when an upstream is full: `model` is the name there (None: the same)."""

    upstream: str
    model: str | None
    at: int | None  # requests at once; None: only when the upstream itself refuses (429, 503) or cannot be reached


@dataclass(frozen=True, slots=True)
class Upstream:
    """One server: a model server of our own, or a provider's API."""

    name: str
    url: str  # without a slash at the end and without /v1
    kind: str
    provider: str
    deployment: str | None
    key: str = field(default="", repr=False)
    models: frozenset[str] | None = None  # None: what its /v1/models says
    overflow: Overflow | None = None
    origin: Origin = field(init=False)
    path: str = field(init=False)  # before the paths of the API; nearly always empty

    def __post_init__(self) -> None:
        object.__setattr__(self, "origin", origin(self.url))
        object.__setattr__(
            self, "path", urllib.parse.quote(urllib.parse.urlsplit(self.url).path, safe="/%:@!$&'()*+,;=")
        )


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line said, each a list of NAME=VALUE."""

    upstream: Sequence[str] = ()
    kind: Sequence[str] = ()
    provider: Sequence[str] = ()
    deployment: Sequence[str] = ()
    models: Sequence[str] = ()
    overflow: Sequence[str] = ()
    overflow_at: Sequence[str] = ()


def read(options: Options, environ: Mapping[str, str] = os.environ) -> tuple[Upstream, ...]:
    """The upstreams in their order. Raises ConfigError, which says what is wrong and holds no key."""
    urls = _pairs(options.upstream, "--upstream", "URL")
    if not urls:
        raise ConfigError("name at least one upstream: --upstream own=http://127.0.0.1:8000")
    others = {
        name: _pairs(getattr(options, name), f"--{name.replace('_', '-')}", "VALUE", among=urls)
        for name in ("kind", "provider", "deployment", "models", "overflow", "overflow_at")
    }
    found = tuple(_one(name, url, {key: values.get(name, "") for key, values in others.items()}, environ)
                  for name, url in urls.items())  # fmt: skip
    for one in found:
        if one.overflow is not None and (one.overflow.upstream not in urls or one.overflow.upstream == one.name):
            raise ConfigError(f"--overflow {one.name}=…: {one.overflow.upstream!r} is no other upstream")
    _no_circle({one.name: one.overflow.upstream for one in found if one.overflow is not None})
    return found


def _pairs(given: Sequence[str], option: str, what: str, among: Mapping[str, str] | None = None) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in given:
        name, sign, value = text.partition("=")
        if not sign or not value or not NAME.fullmatch(name):
            raise ConfigError(
                f"{option} must be NAME={what}, with a name of small letters, digits, - and _: not {text!r}"
            )
        if name in found:
            raise ConfigError(f"{option} names {name!r} twice")
        if among is not None and name not in among:
            raise ConfigError(f"{option} {text}: there is no --upstream {name}=…")
        found[name] = value
    return found


def _one(name: str, url: str, said: Mapping[str, str], environ: Mapping[str, str]) -> Upstream:
    address = _url(name, url)
    kind = said["kind"] or _kind(address)
    if kind not in KINDS:
        raise ConfigError(f"--kind {name}=…: must be one of {', '.join(KINDS)}, not {kind!r}")
    models = frozenset(model.strip() for model in said["models"].split(",") if model.strip())
    return Upstream(
        name=name,
        url=address,
        kind=kind,
        provider=said["provider"] or PROVIDERS[kind],
        # The deployment of costobs is the own server's; a provider has none.
        deployment=said["deployment"] or (None if kind == "vllm" else ""),
        key=secret(environ, f"COSTOBS_UPSTREAM_KEY_{re.sub('[^A-Z0-9]', '_', name.upper())}"),
        models=models or None,
        overflow=_overflow(name, said["overflow"], said["overflow_at"]),
    )


def _url(name: str, url: str) -> str:
    try:
        parts = urllib.parse.urlsplit(url)
        has_port = parts.port is None or parts.port > 0
        parts.netloc.encode("idna")
    except ValueError as error:
        raise ConfigError(f"--upstream {name}=…: not an address: {error}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or not has_port:
        raise ConfigError(f"--upstream {name}=…: must be an http(s) address, like https://api.openai.com")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ConfigError(f"--upstream {name}=…: must have no user, password, query or fragment")
    path = parts.path.rstrip("/")
    return f"{parts.scheme}://{parts.netloc}{path[:-3] if path.endswith('/v1') else path}"


def _kind(url: str) -> str:
    host = urllib.parse.urlsplit(url).hostname or ""
    if host.endswith((".openai.azure.com", ".cognitiveservices.azure.com", ".services.ai.azure.com")):
        return "azure"
    return {"api.openai.com": "openai", "api.anthropic.com": "anthropic"}.get(host, "vllm")


def _overflow(name: str, said: str, at: str) -> Overflow | None:
    if at and not said:
        raise ConfigError(f"--overflow-at {name}=…: needs --overflow {name}=OTHER as well")
    if at and not (at.isdigit() and int(at) > 0):
        raise ConfigError(f"--overflow-at {name}=…: must be a whole number above 0, not {at!r}")
    if not said:
        return None
    upstream, _, model = said.partition(":")
    return Overflow(upstream, model or None, int(at) if at else None)


def _no_circle(ways: Mapping[str, str]) -> None:
    for begin in ways:
        at, seen = begin, {begin}
        while (following := ways.get(at)) is not None:
            if following in seen:
                raise ConfigError(f"--overflow: {following!r} would overflow into itself in a circle")
            seen.add(following)
            at = following
