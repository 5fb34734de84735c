"""One metered request of a known key, from its body to its settlement."""

import asyncio
import contextlib
import logging
import time
from dataclasses import replace
from datetime import datetime, timezone

from costobs_gate import (
    accounts,
    admission,
    answers,
    bodies,
    events,
    headers,
    paths,
    pricing,
    receiving,
    refusals,
    routes,
)
from costobs_gate.admission import Decision, Request, Ticket
from costobs_gate.asgi_types import App, RawHeaders, Receive, Scope, Send
from costobs_gate.events import Ending, Event, Served
from costobs_gate.exchange import Exchange
from costobs_gate.headers import Headers
from costobs_gate.leases import Reservation
from costobs_gate.metering import Reading
from costobs_gate.policy import Key, Policy
from costobs_gate.refusals import Refusal
from costobs_gate.routes import Forward, Routes, Target
from costobs_gate.runtime import Runtime

log = logging.getLogger("costobs_gate")

ABORT_SECONDS = 5.0  # what a server may take to notice that a client has gone


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
        place: paths.Place,
        ways: Routes | None,
    ) -> None:
        self._app, self._runtime, self._policy, self._key = app, runtime, policy, key
        self._given, self._scope, self._receive, self._send = given, scope, receive, send
        self._path, self._operation, self._path_model = place.path, paths.METERED[place.path], place.model
        self._started, self._now = time.perf_counter(), datetime.now(timezone.utc)
        self._id = events.new_id(key.team)
        self._ways = ways
        self._target, self._because = routes.MIDDLEWARE, ""
        self._raw = b""
        self._document: dict[str, object] | None = None
        self._strips_usage = False
        self._event: Event = {}
        self._decision = Decision()
        self._notes: RawHeaders = []
        self._used: float | None = None
        self._reserved: Reservation | None = None

    async def run(self) -> None:
        """Read, decide, forward."""
        limit = self._runtime.config.max_body_bytes
        try:
            raw = await receiving.whole_body(self._receive, self._given.content_length, limit)
        except receiving.TooLarge:
            self._runtime.metrics.add("costobs_gate_refused_total", reason="size")
            await answers.too_large(self._send, limit)
            return
        if raw is None:
            return  # the client left before it had asked anything
        begun = time.perf_counter()
        if not await self._is_still_known():
            return
        self._raw, self._document = raw, bodies.read(raw)
        request, refusal = self._routed(Request(self._key, self._feature(), self._model()))
        self._event = self._admitted(request)
        refusal = refusal or self._refused_by_rules(request) or self._may_serve(request)
        if refusal is not None:
            self._used = 0.0
            self._leave()
            await self._refuse(refusal)
            return
        if not self._recorded():
            self._used = 0.0
            self._leave()
            await answers.cannot_record(self._send)
            return
        forward = self._forwarded(self._target)
        self._runtime.metrics.observe(time.perf_counter() - begun)
        await self._forward(forward)

    async def _is_still_known(self) -> bool:
        """A client may take hours over its body: what counts is what holds when it is whole."""
        self._now = datetime.now(timezone.utc)
        if self._runtime.drain.is_on():
            self._runtime.metrics.add("costobs_gate_refused_total", reason="draining")
            await answers.draining(self._send)
            return False
        policy = self._runtime.policy()
        if policy is None or policy is self._policy:
            return True
        key = policy.find_key(self._given.credential or "")
        if key is None:
            self._runtime.metrics.add("costobs_gate_refused_total", reason="key")
            await answers.unknown_key(self._send)
            return False
        self._policy, self._key = policy, key
        return True

    def _routed(self, request: Request) -> tuple[Request, Refusal | None]:
        """The request with the model that will serve it, and what the key or the upstreams have against it."""
        if self._key.models is not None and request.model not in self._key.models:
            return request, refusals.model_not_allowed(request.model)
        if bodies.runs_in_background(self._document):
            return request, refusals.background()
        way = admission.reroute(request, self._policy.rules, self._now) if self._document is not None else None
        if way is not None and way.model != request.model:
            request = replace(request, served=way.model)
        if way is not None:
            self._because = ",".join(way.rules)
        if self._ways is None:
            return request, None
        target = self._ways.target(request.serving, way.upstream if way else None)
        if target is None:
            return request, refusals.no_upstream(request.serving)
        return self._spread(request, target), None

    def _spread(self, request: Request, target: Target) -> Request:
        """The request at its upstream, or at the next one when that is full and the rules let it go there."""
        self._target = target
        monotonic = time.monotonic()
        while (over := self._overflow(self._target)) is not None:
            most, beyond = over
            if not self._runtime.admission.is_full(self._target.upstream, most, monotonic):
                break
            moved = _served_by(request, beyond)
            if not self._lets(moved):
                break
            self._overflowed(beyond, "full")
            request = moved
        return _served_by(request, self._target)

    def _overflow(self, target: Target) -> tuple[int, Target] | None:
        return self._ways.overflow(target) if self._ways is not None and self._document is not None else None

    def _counted(self, target: Target) -> str:
        """The upstream under whose name requests are counted; nothing where no number of them is too many."""
        over = self._ways.overflow(target) if self._ways is not None else None
        return target.upstream if over is not None and over[0] < routes.NEVER else ""

    def _lets(self, request: Request) -> bool:
        return self._runtime.admission.may_serve(
            request=request, rules=self._policy.rules, now=self._now, monotonic=time.monotonic()
        )

    def _overflowed(self, beyond: Target, reason: str) -> None:
        self._runtime.metrics.add(
            "costobs_gate_overflowed_total", upstream=self._target.upstream, to=beyond.upstream, reason=reason
        )
        self._target = beyond
        self._because = ",".join(part for part in (self._because, "overflow") if part)

    def _refused_by_rules(self, request: Request) -> Refusal | None:
        decision = self._runtime.admission.decide(
            request=request,
            rules=self._policy.rules,
            now=self._now,
            monotonic=time.monotonic(),
            estimate=bodies.estimate(len(self._raw), self._document, None),
            upstream=self._counted(self._target),
        )
        self._decision = decision
        if decision.refused_by is None:
            return None
        return refusals.by_rule(decision.refused_by, self._key.team, decision.retry_after_seconds)

    def _may_serve(self, request: Request) -> Refusal | None:
        """Reserve the most that the request can cost at the model that serves it (`request.serving`); why not, where a
        hard budget has no room for it. Asked again when another model is to serve it: the reservation is exchanged."""
        found = self._runtime.leases.reserve(
            policy=self._policy,
            request=request,
            model=request.serving,
            path=self._path,
            document=self._document,
            size=len(self._raw),
            cap=self._decision.max_tokens,
            monotonic=time.monotonic(),
        )
        if isinstance(found, Refusal):
            return found
        self._release()
        self._reserved = found
        if found is not None and found.max_tokens is not None:
            self._decision = self._decision._replace(max_tokens=found.max_tokens)
        return None

    def _release(self) -> None:
        if self._reserved is not None:
            self._runtime.leases.release(self._reserved)
            self._reserved = None

    def _recorded(self) -> bool:
        if self._reserved is not None:
            self._event.update(
                {accounts.COST: pricing.text(self._reserved.cost), accounts.ACCOUNTS: self._reserved.ids}
            )
        try:
            self._runtime.spool.admit(self._event)
        except OSError as error:
            log.error("a request is refused because the spool cannot be written: %s", error)
            self._runtime.metrics.add("costobs_gate_refused_total", reason="spool")
            self._release()
            return False
        return True

    def _forwarded(self, target: Target) -> Forward:
        """The body as it goes to a target, and the notes on the answer that say who served."""
        asked = bodies.model_of(self._document)
        serving = self._ticket.request.serving if self._ticket is not None else None
        changes = bodies.Changes(
            max_tokens=self._decision.max_tokens,
            priority=self._decision.priority if target.takes_priority else None,
            model=serving if serving != asked else None,
            cap_field=target.cap_field,
        )
        rewritten = bodies.rewrite(self._raw, self._document, self._path, changes)
        self._strips_usage = rewritten.strips_usage
        if self._because:
            self._notes[:] = [(b"x-costobs-served-model", (serving or "").encode("ascii", "replace"))]
            if target.upstream:
                self._notes.append((b"x-costobs-served-by", target.upstream.encode()))
        return Forward(target, rewritten.raw, serving, self._fallback)

    def _fallback(self, reason: str) -> Forward | None:
        """Where the request goes when its upstream cannot serve it; None: nowhere, the client gets what came."""
        over, ticket = self._overflow(self._target), self._ticket
        if over is None or ticket is None:
            return None
        before, request = self._target, _served_by(ticket.request, over[1])
        if not self._lets(request) or self._may_serve(request) is not None:
            return None
        self._overflowed(over[1], reason)
        ticket.request = request
        self._runtime.admission.move(ticket, before.upstream, self._counted(self._target), time.monotonic())
        # The same id: what the spool holds last is what counts.
        self._event = self._admitted(request)
        return self._forwarded(self._target) if self._recorded() else None

    async def _forward(self, forward: Forward) -> None:
        exchange = Exchange(
            receive=self._receive,
            send=self._send,
            body=forward.body,
            request_id=self._id,
            operation=self._operation,
            path=self._path,
            strips_usage=self._strips_usage,
            started=self._started,
            settle=self._settle,
            notes=self._notes,
            closes=self._runtime.drain.is_on,
        )
        upstream = headers.for_upstream(
            self._scope["headers"],
            upstream_key=self._runtime.config.upstream_key,
            request_id=self._id,
            length=len(forward.body),
        )
        self._arm(exchange)
        self._runtime.metrics.add("costobs_gate_admitted_total", team=self._key.team)
        if self._because:
            # The name that the client wrote would be a series of its own for each name.
            model = self._ticket.request.served if self._ticket is not None else None
            self._runtime.metrics.add("costobs_gate_rerouted_total", team=self._key.team, model=model or "as asked")
        failed = True
        try:
            await self._app(
                {**self._scope, "headers": upstream, routes.FORWARD: forward}, exchange.receive, exchange.send
            )
            failed = False
        except (Exception, asyncio.CancelledError):
            if not exchange.aborted:
                raise
        finally:
            if exchange.aborted:
                with contextlib.suppress(OSError):
                    await exchange.end_aborted()
            exchange.close(failed=failed)
            self._leave()

    def _arm(self, exchange: Exchange) -> None:
        """Make the running request one that can be ended."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()

        def abort(message: str) -> None:
            exchange.abort(message)
            if exchange.aborted and task is not None:
                loop.call_later(ABORT_SECONDS, task.cancel)  # nothing happens when it is over by then

        if self._ticket is not None:
            self._ticket.abort = abort

    @property
    def _ticket(self) -> Ticket | None:
        return self._decision.ticket

    def _leave(self) -> None:
        ticket = self._decision.ticket
        if ticket is not None:
            ticket.abort = None  # it holds this call: a ring that only the search for garbage could open
            self._runtime.admission.leave(ticket, used=self._used, monotonic=time.monotonic())

    def _model(self) -> str | None:
        """The model that the body names, or an Azure path. For a body that cannot be read, like a form with a model of its own,
        the path counts only where it is what the upstream goes by."""
        if self._document is not None:
            return self._path_model or bodies.model_of(self._document)
        target = self._ways.target(self._path_model, None) if self._ways is not None and self._path_model else None
        return self._path_model if target is not None and target.goes_by_path else None

    def _feature(self) -> str | None:
        """The feature that counts: the header's if the key allows it, the key's own if it has exactly one."""
        allowed, asked = self._key.features, self._given.feature
        if asked is not None and asked in allowed:
            return asked
        if asked is not None:
            self._runtime.metrics.add("costobs_gate_feature_ignored_total", team=self._key.team)
        return allowed[0] if len(allowed) == 1 else None

    def _admitted(self, request: Request) -> Event:
        target = self._target
        return events.admitted(
            event_id=self._id,
            config=self._runtime.config,
            policy=self._policy,
            key=self._key,
            feature=request.feature,
            headers=self._given,
            operation=self._operation,
            model=request.model,
            stream=bodies.is_stream(self._document),
            now=self._now,
            served=Served(target.provider, target.deployment, target.upstream, request.served, self._because),
        )

    async def _refuse(self, refusal: Refusal) -> None:
        self._runtime.metrics.add("costobs_gate_refused_total", reason=refusal.reason)
        latency = (time.perf_counter() - self._started) * 1000
        ending = Ending("refused", refusal.status, Reading(known=True), latency)
        self._settle(ending, refused_by=refusal.refused_by)
        await refusal.send(self._send, self._id)

    def _settle(self, ending: Ending, *, refused_by: str | None = None) -> None:
        metrics, team, reading = self._runtime.metrics, self._key.team, ending.reading
        if self._reserved is not None:
            self._event[accounts.COST] = pricing.text(self._runtime.leases.settle(self._reserved, reading))
        self._runtime.spool.settle(events.settled(self._event, ending, refused_by=refused_by))
        if reading.known:
            self._used = reading.input_tokens + reading.output_tokens
        of_team = ("team", team)
        metrics.add_all(
            (
                ("costobs_gate_requests_total", 1, (("outcome", ending.outcome), of_team)),
                ("costobs_gate_tokens_total", reading.input_tokens, (("direction", "input"), of_team)),
                ("costobs_gate_tokens_total", reading.output_tokens, (("direction", "output"), of_team)),
            )
        )
        if not reading.known:
            metrics.add("costobs_gate_usage_unknown_total", team=team)


def _served_by(request: Request, target: Target) -> Request:
    if target.model is None or target.model == request.serving:
        return request
    return replace(request, served=target.model)
