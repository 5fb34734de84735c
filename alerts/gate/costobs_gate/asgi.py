"""The middleware: `vllm serve … --middleware costobs_gate.Gate`."""

import asyncio
import hmac
import ipaddress
import os
import time

from costobs_gate import answers, headers, paths, routes
from costobs_gate.asgi_types import App, Message, Receive, Scope, Send
from costobs_gate.call import Call
from costobs_gate.config import from_environment
from costobs_gate.headers import Headers
from costobs_gate.paths import Kind
from costobs_gate.policy import Key, Policy
from costobs_gate.routes import Routes
from costobs_gate.runtime import Runtime

_GUARDED = frozenset({Kind.GUARDED, Kind.OWN_METRICS, Kind.OWN_DRAIN})
_HEALTH = frozenset({"/health", "/ping"})


class Gate:
    """Admits, refuses and meters the requests of a model server. Raises ConfigError when its environment is wrong.

    `ways` are the upstreams when the application behind it is a proxy; a model server has none.
    """

    def __init__(self, app: App, ways: Routes | None = None) -> None:
        self._app = app
        self._ways = ways
        self._config = from_environment()
        self._paths = paths.table(self._config.allowed_paths, is_proxy=ways is not None)
        self._runtime: Runtime | None = None
        self._pid = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        runtime = self.started()
        if scope["type"] == "lifespan":
            await self._app(scope, receive, _StopsAfterShutdown(send, runtime))
        elif scope["type"] == "http":
            await self._http(runtime, scope, receive, send)
        else:
            # WebSockets (vLLM's /v1/realtime) cannot be metered yet. Closing before accepting is a 403.
            runtime.metrics.add("costobs_gate_refused_total", reason="path")
            await send({"type": "websocket.close", "code": 1008})

    def started(self) -> Runtime:
        """What this process runs; begun by the first call. Called in the event loop."""
        # A server that forks its workers after building the application must not share threads, spool and lock.
        if self._runtime is None or self._pid != os.getpid():
            self._runtime = Runtime(self._config)
            self._pid = os.getpid()
            self._runtime.start()
        return self._runtime

    async def _http(self, runtime: Runtime, scope: Scope, receive: Receive, send: Send) -> None:
        method, place = scope["method"], self._paths.place(paths.routed_path(scope))
        kind = self._paths.classify(method, place.path)
        if kind is Kind.REFUSED:
            runtime.metrics.add("costobs_gate_refused_total", reason="path")
            await answers.not_allowed(send, method, place.path)
            return
        given = headers.read(scope["headers"])
        if kind in _GUARDED:
            await self._guarded(runtime, kind, given, scope, receive, send)
        elif kind is Kind.OWN_READY or (place.path in _HEALTH and runtime.drain.is_on()):
            await self._ready(runtime, send)
        else:
            await self._for_clients(runtime, kind, given, place, scope, receive, send)

    async def _for_clients(
        self,
        runtime: Runtime,
        kind: Kind,
        given: Headers,
        place: paths.Place,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        policy = runtime.policy()
        key = policy.find_key(given.credential) if policy is not None and given.credential else None
        if kind is Kind.OPEN:
            await self._app(self._with_upstream_key(scope, key), receive, send)
        elif kind is Kind.METERED and runtime.drain.is_on():
            runtime.metrics.add("costobs_gate_refused_total", reason="draining")
            await answers.draining(send)
        elif policy is None:
            runtime.metrics.add("costobs_gate_refused_total", reason="no_policy")
            await answers.no_policy(send)
        elif key is None:
            runtime.metrics.add("costobs_gate_refused_total", reason="key")
            await answers.unknown_key(send)
        elif kind is Kind.OPERATOR:
            passed = {**self._with_upstream_key(scope, key), routes.MODELS: key.models}
            await self._app(passed, receive, send)
        elif given.is_encoded:
            runtime.metrics.add("costobs_gate_refused_total", reason="encoding")
            await answers.encoded(send)
        else:
            await Call(self._app, runtime, policy, key, given, scope, receive, send, place, self._ways).run()

    async def _guarded(
        self, runtime: Runtime, kind: Kind, given: Headers, scope: Scope, receive: Receive, send: Send
    ) -> None:
        token = self._config.metrics_token
        shown = given.credential or ""
        if not (_is_local(scope, given) or (token and hmac.compare_digest(shown.encode(), token.encode()))):
            runtime.metrics.add("costobs_gate_refused_total", reason="path")
            await answers.not_allowed(send, scope["method"], paths.routed_path(scope))
        elif kind is Kind.OWN_METRICS:
            content_type = "text/plain; version=0.0.4; charset=utf-8"
            await answers.send_body(send, 200, runtime.exposition(), content_type)
        elif kind is Kind.OWN_DRAIN:
            await self._drain(runtime, scope["method"], send)
        else:
            kept = [(name, value) for name, value in scope["headers"] if name not in headers.CREDENTIALS]
            await self._app({**scope, "headers": kept}, receive, send)

    async def _drain(self, runtime: Runtime, method: str, send: Send) -> None:
        """Begin, end or show the draining of all processes of this server."""
        try:
            if method == "POST":
                runtime.drain.begin()
            elif method == "DELETE":
                runtime.drain.end()
        except OSError as error:
            message = f"The order cannot be written: {error.strerror}."
            await answers.send_error(send, 500, message, kind="server_error", code="gate_directory")
            return
        running = runtime.admission.running_everywhere(time.monotonic())
        await answers.send_json(send, 200, {"draining": runtime.drain.is_on(), "running": running})

    async def _ready(self, runtime: Runtime, send: Send) -> None:
        policy: Policy | None = runtime.policy()
        problems = {
            "draining": runtime.drain.is_on(),
            "no policy": policy is None,
            "no upstream": self._ways is not None and not self._ways.is_ready(),
        }
        reason = next((name for name, holds in problems.items() if holds), None)
        status, document = (200, {"ready": True}) if reason is None else (503, {"ready": False, "reason": reason})
        await answers.send_json(send, status, document, [("cache-control", "no-store")])

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
    """Whether the client is on this machine itself: not merely behind a proxy on it, nor a page in a browser on it."""
    client = scope.get("client")
    if not client or given.forwarded or given.from_page:
        return False
    try:
        return ipaddress.ip_address(client[0]).is_loopback
    except ValueError:
        return False
