"""HTTP/1.1 to upstreams: kept connections, and answers piece by piece.

The parser is llhttp (httptools), sockets and TLS are the event loop's. A general client library costs more processor time
for a request than everything else the gate does for it.
"""

import asyncio
import ssl
import urllib.parse
from collections import deque
from dataclasses import dataclass, field
from typing import cast

import httptools

from costobs_gate.asgi_types import RawHeaders

KEPT_SECONDS = 4.0  # uvicorn, and vLLM with it, closes what is idle for five
HELD_BYTES = 256 * 1024  # read ahead of a slow client; then the upstream waits too
HEADER_BYTES = 64 * 1024
SWEEPS = 10  # looks at the clock within `idle_seconds`


class UpstreamError(OSError):
    """No whole answer came."""


class Unreached(UpstreamError):
    """It never got to the upstream: nothing was computed there."""


class Late(UpstreamError):
    """Nothing came for too long."""


class Broken(UpstreamError):
    """The connection ended before the answer did, or what came is not HTTP."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where connections go. `authority` is what the Host header says."""

    host: str
    port: int
    is_tls: bool
    authority: bytes = field(compare=False)


def origin(url: str) -> Origin:
    """The origin of an http(s) address."""
    parts = urllib.parse.urlsplit(url)
    is_tls = parts.scheme == "https"
    return Origin(parts.hostname or "", parts.port or (443 if is_tls else 80), is_tls, parts.netloc.encode("idna"))


class Answer:
    """What an upstream answers: the head once `Client.ask` gives it, the body as it is read."""

    __slots__ = ("_connection", "_error", "_pieces", "_waiter", "headers", "held", "is_whole", "size", "status")

    def __init__(self, connection: "_Connection") -> None:
        self.status = 0
        self.headers: RawHeaders = []  # names in lower case
        self.size: int | None = None  # of the body, where the upstream says it
        self.is_whole = False
        self.held = 0
        self._pieces: deque[bytes] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._error: UpstreamError | None = None
        self._connection: _Connection | None = connection

    def header(self, name: bytes) -> bytes:
        """The first value of a header; empty without one."""
        return next((value for each, value in self.headers if each == name), b"")

    async def read(self) -> bytes:
        """The rest of the body. Raises Late and Broken."""
        while not self.is_whole:
            await self._more()
        whole = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        return whole

    async def piece(self) -> bytes:
        """What has come of the body since; empty at its end. Raises Late and Broken."""
        while not self._pieces:
            if self.is_whole:
                return b""
            await self._more()
        piece = self._pieces.popleft() if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        self.held = 0
        if self._connection is not None:
            self._connection.resume()
        return piece

    def close(self) -> None:
        """Done with it. An answer that has not come to its end costs its connection, and so the upstream notices."""
        if self._connection is not None:
            self._connection.abort()

    async def begun(self) -> None:
        """Wait for the head."""
        while not self.status:
            await self._more()

    async def _more(self) -> None:
        if self._error is not None:
            raise self._error
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def take(self, piece: bytes) -> None:
        """The connection has read a piece."""
        self._pieces.append(piece)
        self.held += len(piece)
        self.wake()

    def end(self, error: UpstreamError | None) -> None:
        """The connection has nothing more to say."""
        self._connection = None
        if error is None:
            self.is_whole = True
        else:
            self._error = error
        self.wake()

    def wake(self) -> None:
        """Let the reader look."""
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)


class Client:
    """Connections to any number of upstreams. Belongs to one event loop.

    `connect_seconds` to reach an upstream, `idle_seconds` without a byte from it (with a tenth of it for looking).
    """

    def __init__(self, *, connect_seconds: float, idle_seconds: float) -> None:
        self._connect_seconds, self._idle_seconds = connect_seconds, idle_seconds
        self._loop = asyncio.get_running_loop()
        self._tls: ssl.SSLContext | None = None
        self._idle: dict[Origin, list[_Connection]] = {}
        self._busy: set[_Connection] = set()
        self._sweeper = self._loop.call_later(self._sweep_seconds, self._sweep)

    async def ask(self, to: Origin, head: bytes, body: bytes, *, has_no_body: bool = False) -> Answer:
        """Send a request as it is, and give the answer when its head is here. `has_no_body`: an answer to HEAD.

        Raises Unreached, Late and Broken. A request is never repeated: what it cost the first time nobody would know.
        """
        connection = self._kept(to) or await self._connect(to)
        self._busy.add(connection)
        answer = connection.send(head, body, has_no_body=has_no_body)
        try:
            await answer.begun()
        except BaseException:
            answer.close()
            raise
        return answer

    def close(self) -> None:
        """Let go of all connections."""
        self._sweeper.cancel()
        for connection in [*self._busy, *(each for kept in self._idle.values() for each in kept)]:
            connection.abort()
        self._idle.clear()

    def released(self, connection: "_Connection", *, is_kept: bool) -> None:
        """The answer of a connection is at its end."""
        self._busy.discard(connection)
        if is_kept:
            self._idle.setdefault(connection.origin, []).append(connection)
        else:
            connection.abort()

    def lost(self, connection: "_Connection") -> None:
        """A connection is no more."""
        self._busy.discard(connection)
        kept = self._idle.get(connection.origin)
        if kept is not None and connection in kept:
            kept.remove(connection)

    def _kept(self, to: Origin) -> "_Connection | None":
        kept, now = self._idle.get(to), self._loop.time()
        while kept:
            connection = kept.pop()  # the one used last: it is the least likely to be closed now
            if connection.is_usable(now - KEPT_SECONDS):
                return connection
            connection.abort()
        return None

    async def _connect(self, to: Origin) -> "_Connection":
        if to.is_tls and self._tls is None:
            self._tls = ssl.create_default_context()
            self._tls.set_alpn_protocols(["http/1.1"])
        tls = {"ssl": self._tls, "server_hostname": to.host} if to.is_tls else {}
        opening = self._loop.create_connection(lambda: _Connection(self, to), to.host, to.port, **tls)  # type: ignore[arg-type]
        try:
            _, connection = await asyncio.wait_for(opening, self._connect_seconds)
        except (OSError, asyncio.TimeoutError) as error:
            raise Unreached(type(error).__name__) from None
        return connection

    @property
    def _sweep_seconds(self) -> float:
        return min(self._idle_seconds / SWEEPS, 1.0)

    def _sweep(self) -> None:
        """One look at the clock for all connections is cheaper than a timer for each request."""
        now = self._loop.time()
        for connection in [each for each in self._busy if each.is_silent_since(now - self._idle_seconds)]:
            connection.fail(Late("nothing came"))
        for kept in self._idle.values():
            for connection in [each for each in kept if not each.is_usable(now - KEPT_SECONDS)]:
                connection.abort()
        self._sweeper = self._loop.call_later(self._sweep_seconds, self._sweep)


class _Connection(asyncio.Protocol):
    """One connection: one request at a time. Its `on_…` methods are the parser's."""

    def __init__(self, client: Client, to: Origin) -> None:
        self.origin = to
        self._client = client
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._answer: Answer | None = None
        self._headers: RawHeaders = []
        self._header_bytes = 0
        self._has_no_body = self._ends_with_connection = self._is_paused = False
        self._heard = 0.0

    def send(self, head: bytes, body: bytes, *, has_no_body: bool) -> Answer:
        """Begin an exchange."""
        self._answer = answer = Answer(self)
        self._has_no_body, self._ends_with_connection = has_no_body, False
        self._heard = self._loop.time()
        if self._transport is None:
            self.fail(Broken("closed before it was used"))
        elif len(body) <= HEADER_BYTES:
            self._transport.write(head + body)
        else:
            self._transport.write(head)
            self._transport.write(body)
        return answer

    def is_usable(self, since: float) -> bool:
        """Whether it can take a request: open, and used after `since`."""
        return self._transport is not None and not self._transport.is_closing() and self._heard > since

    def is_silent_since(self, moment: float) -> bool:
        """Whether the upstream owes something and nothing came after `moment`."""
        return not self._is_paused and self._heard < moment

    def resume(self) -> None:
        """The reader has caught up."""
        if self._is_paused and self._transport is not None:
            self._is_paused = False
            self._heard = self._loop.time()
            self._transport.resume_reading()

    def fail(self, error: UpstreamError) -> None:
        """Give up what is under way, and the connection."""
        answer, self._answer = self._answer, None
        if answer is not None:
            answer.end(error)
        self.abort()

    def abort(self) -> None:
        """Close at once."""
        self._client.lost(self)
        if self._answer is not None:
            self.fail(Broken("closed here"))
        elif self._transport is not None:
            self._transport.abort()
            self._transport = None

    # The event loop's

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are of no class of asyncio's

    def data_received(self, data: bytes) -> None:
        if self._answer is None:
            self.abort()  # what nobody asked for would be taken for the answer to the next request
            return
        self._heard = self._loop.time()
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.fail(Broken("what came is not HTTP"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._answer is not None and self._answer.status and self._ends_with_connection and exc is None:
            answer, self._answer = self._answer, None
            answer.end(None)
        self.fail(Broken("the connection was closed"))

    # The parser's

    def on_message_begin(self) -> None:
        if self._answer is None:
            raise ValueError("more than was asked for")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > HEADER_BYTES:
            raise ValueError("the head is too long")
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        headers, self._headers, self._header_bytes = self._headers, [], 0
        status, answer = self._parser.get_status_code(), self._answer
        if status < 200 or answer is None:
            return  # an answer that only says that one will come
        answer.headers, answer.status = headers, status
        length, coding = answer.header(b"content-length"), answer.header(b"transfer-encoding")
        answer.size = int(length) if length.isdigit() else None
        self._ends_with_connection = answer.size is None and not coding.lower().endswith(b"chunked")
        if self._has_no_body:
            self._finish(is_kept=False)
        else:
            answer.wake()

    def on_body(self, body: bytes) -> None:
        answer = self._answer
        if answer is None:
            return
        answer.take(body)
        if answer.held > HELD_BYTES and not self._is_paused and self._transport is not None:
            self._is_paused = True
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        if self._answer is not None and self._answer.status:
            self._finish(is_kept=self._parser.should_keep_alive())

    def _finish(self, *, is_kept: bool) -> None:
        answer, self._answer = self._answer, None
        self.resume()
        transport = self._transport
        # A request that is still on its way out when its answer is whole: the upstream has not read all of it.
        is_free = transport is not None and not transport.is_closing() and not transport.get_write_buffer_size()
        if answer is not None:
            answer.end(None)
        self._client.released(self, is_kept=is_kept and is_free)
