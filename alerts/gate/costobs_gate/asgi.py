"""The middleware: `vllm serve … --middleware costobs_gate.Gate`."""

import asyncio
import hmac
import ipaddress
import os

from costobs_gate import answers, headers, paths
from costobs_gate.asgi_types import App, Message, Receive, Scope, Send
from costobs_gate.call import Call
from costobs_gate.config import from_environment
from costobs_gate.headers import Headers
from costobs_gate.paths import Kind
from costobs_gate.policy import Key
from costobs_gate.runtime import Runtime


class Gate:
    """Admits, refuses and meters the requests of a model server. Raises ConfigError when its environment is wrong."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._config = from_environment()
        self._paths = paths.table(self._config.allowed_paths)
        self._runtime: Runtime | None = None
        self._pid = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        runtime = self._started()
        if scope["type"] == "lifespan":
            await self._app(scope, receive, _StopsAfterShutdown(send, runtime))
        elif scope["type"] == "http":
            await self._http(runtime, scope, receive, send)
        else:
            # WebSockets (vLLM's /v1/realtime) cannot be metered yet. Closing before accepting is a 403.
            runtime.metrics.add("costobs_gate_refused_total", reason="path")
            await send({"type": "websocket.close", "code": 1008})

    def _started(self) -> Runtime:
        # A server that forks its workers after building the application must not share threads, spool and lock.
        if self._runtime is None or self._pid != os.getpid():
            self._runtime = Runtime(self._config)
            self._pid = os.getpid()
            self._runtime.start()
        return self._runtime

    async def _http(self, runtime: Runtime, scope: Scope, receive: Receive, send: Send) -> None:
        method, path = scope["method"], paths.routed_path(scope)
        kind = self._paths.classify(method, path)
        if kind is Kind.REFUSED:
            runtime.metrics.add("costobs_gate_refused_total", reason="path")
            await answers.not_allowed(send, method, path)
            return
        given = headers.read(scope["headers"])
        if kind in (Kind.GUARDED, Kind.OWN_METRICS):
            await self._guarded(runtime, kind, given, scope, receive, send)
            return
        policy = runtime.policy()
        key = policy.find_key(given.credential) if policy is not None and given.credential else None
        if kind is Kind.OPEN:
            await self._app(self._with_upstream_key(scope, key), receive, send)
            return
        if policy is None:
            runtime.metrics.add("costobs_gate_refused_total", reason="no_policy")
            await answers.no_policy(send)
            return
        if key is None:
            runtime.metrics.add("costobs_gate_refused_total", reason="key")
            await answers.unknown_key(send)
            return
        if kind is Kind.OPERATOR:
            await self._app(self._with_upstream_key(scope, key), receive, send)
            return
        await Call(self._app, runtime, policy, key, given, scope, receive, send, path).run()

    async def _guarded(
        self, runtime: Runtime, kind: Kind, given: Headers, scope: Scope, receive: Receive, send: Send
    ) -> None:
        token = self._config.metrics_token
        shown = given.credential or ""
        if not (_is_local(scope, given) or (token and hmac.compare_digest(shown.encode(), token.encode()))):
            runtime.metrics.add("costobs_gate_refused_total", reason="path")
            await answers.not_allowed(send, scope["method"], paths.routed_path(scope))
            return
        if kind is Kind.OWN_METRICS:
            content_type = "text/plain; version=0.0.4; charset=utf-8"
            await answers.send_body(send, 200, runtime.exposition(), content_type)
            return
        kept = [(name, value) for name, value in scope["headers"] if name not in headers.CREDENTIALS]
        await self._app({**scope, "headers": kept}, receive, send)

    def _with_upstream_key(self, scope: Scope, key: Key | None) -> Scope:
        """The upstream's key is lent only to those who show one of ours."""
        if key is None or not self._config.upstream_key:
            return scope
        return {
            **scope,
            "headers": headers.for_upstream(scope["headers"], upstream_key=self._config.upstream_key),
        }


class _StopsAfterShutdown:
    """Passes lifespan messages on and stops the gate when the server has shut down."""

    def __init__(self, send: Send, runtime: Runtime) -> None:
        self._send, self._runtime = send, runtime

    async def __call__(self, message: Message) -> None:
        if message["type"] in ("lifespan.shutdown.complete", "lifespan.shutdown.failed"):
            await asyncio.to_thread(self._runtime.stop)
        await self._send(message)


def _is_local(scope: Scope, given: Headers) -> bool:
    """Whether the client is on this machine itself, not merely behind a proxy on it."""
    client = scope.get("client")
    if not client or given.forwarded:
        return False
    try:
        return ipaddress.ip_address(client[0]).is_loopback
    except ValueError:
        return False
