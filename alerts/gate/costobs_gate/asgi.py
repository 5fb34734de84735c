"""The middleware: `vllm serve … --middleware costobs_gate.Gate`."""

import asyncio
import hmac
import ipaddress
import logging
import os
import time
from datetime import datetime, timezone

from costobs_gate import answers, bodies, events, headers, paths
from costobs_gate.admission import Decision, Request
from costobs_gate.asgi_types import App, Message, Receive, Scope, Send
from costobs_gate.config import from_environment
from costobs_gate.events import Ending, Event
from costobs_gate.exchange import Exchange
from costobs_gate.headers import Headers
from costobs_gate.metering import Reading
from costobs_gate.paths import Kind
from costobs_gate.policy import Key, Policy, Rule
from costobs_gate.runtime import Runtime

log = logging.getLogger("costobs_gate")


class TooLarge(Exception):
    """The body of a request is above the limit."""


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
        await _Call(self._app, runtime, policy, key, given, scope, receive, send, path).run()

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


class _Call:
    """One metered request with a known key, from its body to its settlement."""

    def __init__(
        self,
        app: App,
        runtime: Runtime,
        policy: Policy,
        key: Key,
        given: Headers,
        scope: Scope,
        receive: Receive,
        send: Send,
        path: str,
    ) -> None:
        self._app, self._runtime, self._policy, self._key = app, runtime, policy, key
        self._given, self._scope, self._receive, self._send = given, scope, receive, send
        self._path, self._operation = path, paths.METERED[path]
        self._started, self._now = time.perf_counter(), datetime.now(timezone.utc)
        self._id = events.new_id(key.team)

    async def run(self) -> None:
        """Read, decide, forward."""
        limit = self._runtime.config.max_body_bytes
        try:
            raw = await _read_body(self._receive, self._given.content_length, limit)
        except TooLarge:
            self._runtime.metrics.add("costobs_gate_refused_total", reason="size")
            await answers.too_large(self._send, limit)
            return
        if raw is None:
            return  # the client left before it had asked anything
        document = bodies.read(raw)
        request = Request(self._key, self._feature(), bodies.model_of(document))
        event = self._event(request, stream=bodies.is_stream(document))
        if self._key.models is not None and request.model not in self._key.models:
            await self._refuse_model(event, request.model)
            return
        if bodies.runs_in_background(document):
            await self._refuse_background(event)
            return
        decision = self._runtime.admission.decide(
            request=request, rules=self._policy.rules, now=self._now, monotonic=time.monotonic()
        )
        if decision.refused_by is not None:
            await self._refuse_by_rule(event, decision.refused_by, decision)
            return
        try:
            self._runtime.spool.admit(event)
        except OSError as error:
            log.error("a request is refused because the spool cannot be written: %s", error)
            self._runtime.metrics.add("costobs_gate_refused_total", reason="spool")
            await answers.cannot_record(self._send)
            return
        await self._forward(raw, document, request, event, decision)

    async def _forward(
        self, raw: bytes, document: dict[str, object] | None, request: Request, event: Event, decision: Decision
    ) -> None:
        rewritten = bodies.rewrite(raw, document, self._path, decision.max_tokens)
        exchange = Exchange(
            receive=self._receive,
            send=self._send,
            body=rewritten.raw,
            request_id=self._id,
            operation=self._operation,
            path=self._path,
            strips_usage=rewritten.strips_usage,
            started=self._started,
            settle=lambda ending: self._settle(event, ending),
        )
        upstream = headers.for_upstream(
            self._scope["headers"],
            upstream_key=self._runtime.config.upstream_key,
            request_id=self._id,
            length=len(rewritten.raw),
        )
        failed = True
        self._runtime.admission.enter(request)
        try:
            await self._app({**self._scope, "headers": upstream}, exchange.receive, exchange.send)
            failed = False
        finally:
            exchange.close(failed=failed)
            self._runtime.admission.leave(request)

    def _feature(self) -> str | None:
        """The feature that counts: the header's if the key allows it, the key's own if it has exactly one."""
        allowed, asked = self._key.features, self._given.feature
        if asked is not None and asked in allowed:
            return asked
        if asked is not None:
            self._runtime.metrics.add("costobs_gate_feature_ignored_total", team=self._key.team)
        return allowed[0] if len(allowed) == 1 else None

    def _event(self, request: Request, *, stream: bool) -> Event:
        return events.admitted(
            event_id=self._id,
            config=self._runtime.config,
            policy=self._policy,
            key=self._key,
            feature=request.feature,
            headers=self._given,
            operation=self._operation,
            model=request.model,
            stream=stream,
            now=self._now,
        )

    def _settle(self, event: Event, ending: Ending, *, refused_by: str | None = None) -> None:
        metrics, team, reading = self._runtime.metrics, self._key.team, ending.reading
        self._runtime.spool.settle(events.settled(event, ending, refused_by=refused_by))
        metrics.add("costobs_gate_requests_total", team=team, outcome=ending.outcome)
        metrics.add("costobs_gate_tokens_total", reading.input_tokens, team=team, direction="input")
        metrics.add("costobs_gate_tokens_total", reading.output_tokens, team=team, direction="output")
        if not reading.known:
            metrics.add("costobs_gate_usage_unknown_total", team=team)

    async def _refuse_by_rule(self, event: Event, rule: Rule, decision: Decision) -> None:
        self._refused(event, 429, reason="rule", refused_by=rule.id)
        default = f"The budget of team '{self._key.team}' is used up."
        await answers.send_error(
            self._send,
            429,
            rule.message or default,
            kind="insufficient_quota",
            code="budget_exceeded",
            headers=[("retry-after", str(decision.retry_after_seconds)), ("x-request-id", self._id)],
        )

    async def _refuse_model(self, event: Event, model: str | None) -> None:
        self._refused(event, 403, reason="model", refused_by="model_not_allowed")
        named = f"model {model[:100]!r}" if model else "a request that names no model"
        await answers.send_error(
            self._send,
            403,
            f"This key may not use {named}.",
            kind="permission_error",
            code="model_not_allowed",
            headers=[("x-request-id", self._id)],
        )

    async def _refuse_background(self, event: Event) -> None:
        self._refused(event, 403, reason="background", refused_by="background_not_metered")
        await answers.send_error(
            self._send,
            403,
            "Responses in the background cannot be metered; send the request without 'background'.",
            kind="permission_error",
            code="background_not_allowed",
            headers=[("x-request-id", self._id)],
        )

    def _refused(self, event: Event, status: int, *, reason: str, refused_by: str) -> None:
        self._runtime.metrics.add("costobs_gate_refused_total", reason=reason)
        latency = (time.perf_counter() - self._started) * 1000
        self._settle(event, Ending("refused", status, Reading(known=True), latency), refused_by=refused_by)


class _StopsAfterShutdown:
    """Passes lifespan messages on and stops the gate when the server has shut down."""

    def __init__(self, send: Send, runtime: Runtime) -> None:
        self._send, self._runtime = send, runtime

    async def __call__(self, message: Message) -> None:
        if message["type"] in ("lifespan.shutdown.complete", "lifespan.shutdown.failed"):
            await asyncio.to_thread(self._runtime.stop)
        await self._send(message)


async def _read_body(receive: Receive, announced: int, limit: int) -> bytes | None:
    """The whole body; None when the client leaves before its end. Raises TooLarge."""
    if announced > limit:
        raise TooLarge
    pieces: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        piece = message.get("body", b"")
        size += len(piece)
        if size > limit:
            raise TooLarge
        pieces.append(piece)
        if not message.get("more_body", False):
            return b"".join(pieces)


def _is_local(scope: Scope, given: Headers) -> bool:
    """Whether the client is on this machine itself, not merely behind a proxy on it."""
    client = scope.get("client")
    if not client or given.forwarded:
        return False
    try:
        return ipaddress.ip_address(client[0]).is_loopback
    except ValueError:
        return False
