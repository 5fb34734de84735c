"""One metered exchange: the server's answer passes through here, is read on the way and settled exactly once."""

import asyncio
import json
import time
from collections.abc import Callable

from costobs_gate import answers, metering
from costobs_gate.asgi_types import Message, RawHeaders, Receive, Send
from costobs_gate.events import Ending

CLIENT_CLOSED = 499  # nginx's number for a client that left before there was a status
YIELD_SECONDS = 0.02
NO_ROOM = 503  # a server says so instead of beginning
NOTHING_USED = "costobs.nothing_used"  # in a start message: the request never reached a model
ABORT_KIND, ABORT_CODE = "insufficient_quota", "budget_exceeded"


class ClientGone(OSError):
    """What a server of a newer ASGI version raises when it is sent more for a client that has gone."""


class Exchange:
    """Wraps `receive` and `send` of one request.

    `settle` is called once: before the last piece of the answer is passed on, so that no complete answer exists whose
    usage is not recorded, or by `close` when the answer does not come to its end.
    """

    def __init__(
        self,
        *,
        receive: Receive,
        send: Send,
        body: bytes,
        request_id: str,
        operation: str,
        path: str,
        strips_usage: bool,
        started: float,
        settle: Callable[[Ending], None],
        notes: RawHeaders,
        closes: Callable[[], bool],
    ) -> None:
        self._receive, self._send = receive, send
        self._body: bytes | None = body
        self._request_id = request_id
        self._operation, self._path, self._strips_usage = operation, path, strips_usage
        self._started = started
        self._settle = settle
        self._notes = notes  # headers that the answer gets; the caller may still change them
        self._closes = closes
        self._nothing_used = False
        self._listening: asyncio.Future[Message] | None = None
        self.aborted = ""
        self._status = 0
        self._meter: metering.Meter = metering.BodyMeter(operation)
        self._ttft_ms: float | None = None
        self._streams = False
        self._settled = False
        self._disconnected = False
        self._yielded = started

    async def receive(self) -> Message:
        """The body that was read before admission, then whatever comes (a disconnect)."""
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        if self.aborted:
            return {"type": "http.disconnect"}
        self._listening = asyncio.ensure_future(self._receive())
        try:
            message = await self._listening
        except asyncio.CancelledError:
            if not self.aborted:
                raise
            return {"type": "http.disconnect"}
        if message["type"] == "http.disconnect":
            self._disconnected = True
        return message

    def abort(self, message: str) -> None:
        """Tell the server that the client has gone, and the client (by `end_aborted`) why its answer ends. Nothing
        happens when the answer is a whole that comes already: all of it is computed."""
        if self._settled or (self._status and not self._streams):
            return
        self.aborted = message
        if self._listening is not None:
            self._listening.cancel()

    async def end_aborted(self) -> None:
        """The last words to the client of an aborted request."""
        if not self._status:
            self._status = 429
            self._end("cancelled", 429)
            extra = [("x-request-id", self._request_id)]
            await answers.send_error(self._send, 429, self.aborted, kind=ABORT_KIND, code=ABORT_CODE, headers=extra)
            return
        self._end("cancelled", self._status)
        error = {"message": self.aborted, "type": ABORT_KIND, "param": None, "code": ABORT_CODE}
        prefix = b"event: error\n" if self._path == "/v1/messages" else b""
        event = prefix + b"data: " + json.dumps({"type": "error", "error": error}).encode() + b"\n\n"
        await self._send({"type": "http.response.body", "body": event, "more_body": False})

    async def send(self, message: Message) -> None:
        """Pass a message on, read on the way."""
        now = time.perf_counter()
        if now - self._yielded > YIELD_SECONDS:
            # A server that computes faster than it writes never waits: without this, nobody else would come to their
            # turn, and an abort only after the last piece.
            self._yielded = now
            await asyncio.sleep(0)
        if self.aborted:
            raise ClientGone("the request was aborted")
        if message["type"] == "http.response.start":
            message = self._begin(message)
        elif message["type"] == "http.response.body":
            last = not message.get("more_body", False)
            chunk = message.get("body", b"")
            if chunk and self._ttft_ms is None:
                self._ttft_ms = self._elapsed_ms()
            passed = self._meter.feed(chunk, last=last)
            if last:
                self._finish()
            elif not passed:
                return
            message = {**message, "body": passed}
        try:
            await self._send(message)
        except OSError:
            # Servers of newer ASGI versions say so that the client has gone.
            self._disconnected = True
            raise

    def close(self, *, failed: bool) -> None:
        """The server is done with the request. Without a complete answer, what was seen is a lower bound."""
        if not self._settled:
            outcome = "error" if failed and not self._disconnected else "cancelled"
            self._end(outcome, self._status or (500 if outcome == "error" else CLIENT_CLOSED))

    def _begin(self, message: Message) -> Message:
        self._status = message["status"]
        self._nothing_used = bool(message.get(NOTHING_USED))
        headers = [(name, value) for name, value in message.get("headers", ()) if name.lower() != b"x-request-id"]
        content_type = next((value for name, value in headers if name.lower() == b"content-type"), b"")
        self._meter = metering.meter(
            content_type=content_type.decode("latin-1").lower(),
            operation=self._operation,
            path=self._path,
            strips_usage=self._strips_usage,
        )
        self._streams = isinstance(self._meter, metering.StreamMeter)
        if self._streams and self._strips_usage:
            headers = [(name, value) for name, value in headers if name.lower() != b"content-length"]
        if self._closes():
            headers.append((b"connection", b"close"))
        return {**message, "headers": [*headers, (b"x-request-id", self._request_id.encode()), *self._notes]}

    def _finish(self) -> None:
        # A server that notices a client's leaving may still end the answer in good order.
        cut = self._disconnected and not self._meter.reading().known
        failed = self._status >= 400 or self._meter.failed
        self._end("cancelled" if cut else "error" if failed else "ok", self._status)

    def _end(self, outcome: str, status: int) -> None:
        self._settled = True
        reading = self._meter.reading()
        if self._nothing_used or (outcome == "error" and (400 <= status < 500 or status == NO_ROOM)):
            # The server refused it, or it never got there: nothing was computed, and that is known. What other errors
            # of a server had cost by then nobody knows.
            reading = metering.Reading(known=True, model=reading.model)
        ttft = self._ttft_ms if self._streams else None
        self._settle(Ending(outcome, status, reading, self._elapsed_ms(), ttft))

    def _elapsed_ms(self) -> float:
        return (time.perf_counter() - self._started) * 1000
