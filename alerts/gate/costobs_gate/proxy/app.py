"""The application behind the gate of a proxy: passes requests on to upstreams and their answers back, piece by piece."""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Callable, Sequence

from costobs_gate import answers, receiving, routes
from costobs_gate.asgi_types import Message, Receive, Scope, Send
from costobs_gate.exchange import NOTHING_USED
from costobs_gate.proxy import wire
from costobs_gate.proxy.client import Answer, Broken, Client, Late, Unreached, UpstreamError
from costobs_gate.proxy.upstreams import Upstream
from costobs_gate.proxy.ways import Ways
from costobs_gate.routes import Forward

log = logging.getLogger("costobs_gate")

ELSEWHERE = frozenset({429, 503})  # an upstream that has no room now; another one may
WHOLE_BYTES = 1024 * 1024  # an answer of a known size up to this is passed on in one piece
LEARN_SECONDS = 30.0
EVENTS = b"text/event-stream"
LISTEN_SECONDS = 0.02  # before it is worth to notice that a client leaves
LEARN_TIMEOUT_SECONDS = 10.0


class UpstreamBroke(Exception):
    """An answer ended in its middle; the client's must not look whole."""


class Proxy:
    """One ASGI application. `count` is told of failures: upstream and reason."""

    def __init__(
        self, upstreams: Sequence[Upstream], *, connect_seconds: float, idle_seconds: float, max_body_bytes: int
    ) -> None:
        self.ways = Ways(upstreams)
        self.count: Callable[[str, str], None] = lambda _upstream, _reason: None
        self._connect_seconds, self._idle_seconds = connect_seconds, idle_seconds
        self._max_body_bytes = max_body_bytes
        self._client: Client | None = None
        self._learning: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        path = scope["path"]
        if path in ("/health", "/ping", "/version") or scope["method"] == "OPTIONS":
            await answers.send_json(send, 200, {"status": "ok"})
        elif path == "/v1/models" or path.startswith("/v1/models/"):
            await self._models(path, scope, send)
        else:
            await self._until_gone(scope, receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        async for message in _messages(receive):
            if message["type"] == "lifespan.startup":
                self._open()
            elif message["type"] == "lifespan.shutdown":
                self._close()
            await send({"type": message["type"] + ".complete"})

    def _open(self) -> Client:
        if self._client is None:
            self._client = Client(connect_seconds=self._connect_seconds, idle_seconds=self._idle_seconds)
            self._learning = asyncio.create_task(self._learn())
        return self._client

    def _close(self) -> None:
        if self._learning is not None:
            self._learning.cancel()
        if self._client is not None:
            self._client.close()
            self._client = None

    async def _until_gone(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve; when the client leaves, the upstream is let go at once, so that it stops computing."""
        forward = scope.get(routes.FORWARD)
        if forward is None:
            try:
                body = await receiving.whole_body(receive, 0, self._max_body_bytes)
            except receiving.TooLarge:
                await answers.too_large(send, self._max_body_bytes)
                return
            if body is None:
                return  # the client left in the middle of it
            forward = Forward(_first(self.ways), body, None, lambda _reason: None)
        else:
            await receive()
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        listeners: list[asyncio.Future[Message]] = []
        is_over = False

        def leave(_: object) -> None:
            if not is_over and task is not None:
                task.cancel()

        def listen() -> None:
            listeners.append(asyncio.ensure_future(receive()))
            listeners[0].add_done_callback(leave)

        # A listener costs as much as half a request; what is answered at once needs none.
        timer = loop.call_later(LISTEN_SECONDS, listen)
        try:
            await self._serve(scope, forward, send)
        except asyncio.CancelledError:
            if not any(listener.done() and not listener.cancelled() for listener in listeners):
                raise
        finally:
            is_over = True
            timer.cancel()
            for listener in listeners:
                listener.cancel()

    async def _serve(self, scope: Scope, forward: Forward, send: Send) -> None:
        while True:
            upstream = self.ways.upstreams[forward.target.upstream]
            try:
                answer = await self._ask(upstream, scope, forward)
            except UpstreamError as error:
                following = forward.fallback("unreachable") if isinstance(error, Unreached) else None
                if following is None:
                    await self._failed(upstream, error, send)
                    return
            else:
                following = forward.fallback(str(answer.status)) if answer.status in ELSEWHERE else None
                if following is None:
                    await self._pass(upstream, answer, send)
                    return
                answer.close()
            self.count(upstream.name, "overflowed")
            forward = following

    async def _ask(self, upstream: Upstream, scope: Scope, forward: Forward) -> Answer:
        method, body = scope["method"], forward.body
        asked = wire.target(upstream, scope["path"], scope.get("query_string", b""), forward.model)
        head = wire.head(method, asked, scope["headers"], upstream, len(body))
        return await self._open().ask(upstream.origin, head, body, has_no_body=method == "HEAD")

    async def _pass(self, upstream: Upstream, answer: Answer, send: Send) -> None:
        try:
            if answer.status >= 500:
                self.count(upstream.name, "status")
            is_stream = answer.header(b"content-type").startswith(EVENTS)
            headers = wire.response_headers(answer.headers)
            start = {"type": "http.response.start", "status": answer.status, "headers": headers}
            if not is_stream and answer.size is not None and answer.size <= WHOLE_BYTES:
                try:
                    content = await answer.read()
                except UpstreamError as error:
                    await self._failed(upstream, error, send)
                    return
                await send(start)
                await send({"type": "http.response.body", "body": content, "more_body": False})
                return
            await send(start)
            await self._stream(upstream, answer, send, is_stream=is_stream)
        finally:
            # Nothing happens when it came to its end; else the connection is closed, and the upstream notices.
            answer.close()

    async def _stream(self, upstream: Upstream, answer: Answer, send: Send, *, is_stream: bool) -> None:
        try:
            while piece := await answer.piece():
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        except (Late, Broken) as error:
            self.count(upstream.name, "broken")
            log.warning("upstream %s broke off an answer: %s", upstream.name, error)
            if not is_stream:
                raise UpstreamBroke(upstream.name) from None
            event = b"\n\ndata: " + json.dumps({"error": _error(upstream, "broke off its answer")}).encode() + b"\n\n"
            await send({"type": "http.response.body", "body": event, "more_body": False})
            return
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _failed(self, upstream: Upstream, error: UpstreamError, send: Send) -> None:
        """502 or 504 for the client; the reason stays here, it may name hosts inside."""
        is_late, unreached = isinstance(error, Late), isinstance(error, Unreached)
        self.count(upstream.name, "timeout" if is_late else "connect" if unreached else "broken")
        log.warning("upstream %s failed: %s", upstream.name, error)
        words = "did not answer in time" if is_late else "cannot be reached" if unreached else "broke off its answer"
        body = json.dumps({"error": _error(upstream, words)}).encode()
        start: Message = {
            "type": "http.response.start",
            "status": 504 if is_late else 502,
            "headers": [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())],
            NOTHING_USED: unreached,
        }
        await send(start)
        await send({"type": "http.response.body", "body": body, "more_body": False})

    async def _models(self, path: str, scope: Scope, send: Send) -> None:
        """What the key may use of all that the upstreams serve; or one of these."""
        allowed: frozenset[str] | None = scope.get(routes.MODELS)
        listed = [
            {"id": model, "object": "model", "created": 0, "owned_by": self.ways.upstreams[name].provider}
            for model, name in sorted(self._served().items())
            if allowed is None or model in allowed
        ]
        wanted = path[len("/v1/models/") :]
        if not wanted:
            await answers.send_json(send, 200, {"object": "list", "data": listed})
            return
        found = next((entry for entry in listed if entry["id"] == wanted), None)
        if found is not None:
            await answers.send_json(send, 200, found)
            return
        message = f"The model {wanted[:100]!r} is not served here."
        await answers.send_error(send, 404, message, kind="invalid_request_error", code="model_not_found")

    def _served(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for name, models in self.ways.models.items():
            for model in models or ():
                found.setdefault(model, name)
        return found

    async def _learn(self) -> None:
        while True:
            await asyncio.gather(*(self._learn_from(one) for one in self.ways.upstreams.values()))
            await asyncio.sleep(LEARN_SECONDS)

    async def _learn_from(self, upstream: Upstream) -> None:
        """Ask an upstream what it serves. One that does not say may serve anything."""
        if upstream.kind == "azure":
            return  # it lists the models of the region, not the deployments of this resource
        head = wire.head("GET", f"{upstream.path}/v1/models", (), upstream, 0)
        try:
            content = await asyncio.wait_for(self._listing(upstream, head), LEARN_TIMEOUT_SECONDS)
            entries = wire.models_in(json.loads(content))
        except (OSError, asyncio.TimeoutError, ValueError) as error:
            log.warning("upstream %s does not say what it serves: %s", upstream.name, error or type(error).__name__)
            self.ways.learn(upstream.name, None)
            return
        found = frozenset(str(entry["id"]) for entry in entries)
        self.ways.learn(upstream.name, found)

    async def _listing(self, upstream: Upstream, head: bytes) -> bytes:
        answer = await self._open().ask(upstream.origin, head, b"")
        try:
            return await answer.read() if answer.status == 200 else b"{}"
        finally:
            answer.close()


def _first(ways: Ways) -> routes.Target:
    target = ways.target(None, None)
    assert target is not None
    return target


def _error(upstream: Upstream, words: str) -> dict[str, object]:
    message = f"The upstream {upstream.name!r} {words}."
    return {"message": message, "type": "server_error", "param": None, "code": "upstream_failed"}


async def _messages(receive: Receive) -> AsyncIterator[Message]:
    with contextlib.suppress(asyncio.CancelledError):
        while True:
            message = await receive()
            yield message
            if message["type"] == "lifespan.shutdown":
                return
