"""One metered request of a known key, from its body to its settlement."""

import logging
import time
from dataclasses import replace
from datetime import datetime, timezone

from costobs_gate import accounts, answers, bodies, events, headers, paths, pricing, refusals
from costobs_gate.admission import Decision, Request
from costobs_gate.asgi_types import App, Receive, Scope, Send
from costobs_gate.events import Ending, Event
from costobs_gate.exchange import Exchange
from costobs_gate.headers import Headers
from costobs_gate.leases import Reservation
from costobs_gate.metering import Reading
from costobs_gate.policy import Key, Policy
from costobs_gate.refusals import Refusal
from costobs_gate.runtime import Runtime

log = logging.getLogger("costobs_gate")


class TooLarge(Exception):
    """The body of a request is above the limit."""


class Call:
    """Reads, decides, records, forwards, settles."""

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
        self._reserved: Reservation | None = None

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
        refusal, decision = self._decided(request, document)
        if refusal is None:
            refusal = self._may_serve(request, document, len(raw), decision.max_tokens)
        if refusal is not None:
            await self._refuse(event, refusal)
            return
        if self._reserved is not None:
            event.update({accounts.COST: pricing.text(self._reserved.cost), accounts.ACCOUNTS: self._reserved.ids})
            if self._reserved.max_tokens is not None:
                decision = replace(decision, max_tokens=self._reserved.max_tokens)
        try:
            self._runtime.spool.admit(event)
        except OSError as error:
            log.error("a request is refused because the spool cannot be written: %s", error)
            self._runtime.metrics.add("costobs_gate_refused_total", reason="spool")
            if self._reserved is not None:
                self._runtime.leases.release(self._reserved)
            await answers.cannot_record(self._send)
            return
        await self._forward(raw, document, request, event, decision)

    def _decided(self, request: Request, document: dict[str, object] | None) -> tuple[Refusal | None, Decision]:
        """What the key allows, then what the rules do."""
        if self._key.models is not None and request.model not in self._key.models:
            return refusals.model_not_allowed(request.model), Decision()
        if bodies.runs_in_background(document):
            return refusals.background(), Decision()
        decision = self._runtime.admission.decide(
            request=request, rules=self._policy.rules, now=self._now, monotonic=time.monotonic()
        )
        if decision.refused_by is None:
            return None, decision
        return refusals.by_rule(decision.refused_by, self._key.team, decision.retry_after_seconds), decision

    def _may_serve(
        self, request: Request, document: dict[str, object] | None, size: int, cap: int | None
    ) -> Refusal | None:
        """Reserve the most that the request can cost; why not, where a hard budget has no room for it."""
        found = self._runtime.leases.reserve(
            policy=self._policy,
            request=request,
            model=request.model,
            path=self._path,
            document=document,
            size=size,
            cap=cap,
            monotonic=time.monotonic(),
        )
        if isinstance(found, Refusal):
            return found
        self._reserved = found
        return None

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

    async def _refuse(self, event: Event, refusal: Refusal) -> None:
        self._runtime.metrics.add("costobs_gate_refused_total", reason=refusal.reason)
        latency = (time.perf_counter() - self._started) * 1000
        ending = Ending("refused", refusal.status, Reading(known=True), latency)
        self._settle(event, ending, refused_by=refusal.refused_by)
        await refusal.send(self._send, self._id)

    def _settle(self, event: Event, ending: Ending, *, refused_by: str | None = None) -> None:
        metrics, team, reading = self._runtime.metrics, self._key.team, ending.reading
        if self._reserved is not None:
            event[accounts.COST] = pricing.text(self._runtime.leases.settle(self._reserved, reading))
        self._runtime.spool.settle(events.settled(event, ending, refused_by=refused_by))
        metrics.add("costobs_gate_requests_total", team=team, outcome=ending.outcome)
        metrics.add("costobs_gate_tokens_total", reading.input_tokens, team=team, direction="input")
        metrics.add("costobs_gate_tokens_total", reading.output_tokens, team=team, direction="output")
        if not reading.known:
            metrics.add("costobs_gate_usage_unknown_total", team=team)


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
