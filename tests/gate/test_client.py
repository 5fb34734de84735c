"""The client of the proxy, in its event loop, before servers that say exactly these bytes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop
from costobs_gate.proxy.client import HELD_BYTES, Answer, Broken, Client, Late, Unreached, origin

from tests.servers import loops
from tests.servers.certificates import self_signed

WAIT_SECONDS = 30
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nhost: model\r\ncontent-length: 2\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
Ask = Callable[[], Awaitable[Answer]]


class Server:
    """Says a text for each request: `scripts` has one list for each connection that comes."""

    def __init__(self, *scripts: list[bytes], closes: bool = False) -> None:
        self._scripts, self._closes = scripts, closes
        self.connections = 0
        self.port = 0
        self.gone = asyncio.Event()
        self._writer: asyncio.StreamWriter | None = None

    def say(self, text: bytes) -> None:
        """To the last connection, without being asked."""
        assert self._writer is not None
        self._writer.write(text)

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        script = self._scripts[self.connections]
        self.connections += 1
        try:
            for text in script:
                await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(2)
                writer.write(text)
                await writer.drain()
            if not self._closes:
                await reader.read()
                self.gone.set()
        except (ConnectionError, asyncio.IncompleteReadError):
            self.gone.set()
        finally:
            writer.close()


@asynccontextmanager
async def asking(server: Server, *, idle_seconds: float = WAIT_SECONDS) -> AsyncIterator[Ask]:
    """The server is up, and a client asks it."""
    listening = await asyncio.start_server(server, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    client = Client(connect_seconds=WAIT_SECONDS, idle_seconds=idle_seconds)
    to = origin(f"http://127.0.0.1:{server.port}")
    try:
        yield lambda: client.ask(to, HEAD, b"{}")
    finally:
        client.close()
        listening.close()


def run(scenario: Coroutine[Any, Any, None]) -> None:
    """In the event loop of the proxy."""
    loops.run(asyncio.wait_for(scenario, 2 * WAIT_SECONDS), runner=uvloop.run)


def test_it_keeps_a_connection_for_the_next_request() -> None:
    async def scenario() -> None:
        server = Server([OK, OK, OK])
        async with asking(server) as ask:
            for _ in range(3):
                answer = await ask()
                assert (answer.status, answer.size, await answer.read()) == (200, 2, b"ok")
        assert server.connections == 1

    run(scenario())


@pytest.mark.parametrize(
    "text",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\non\r\n1\r\ne\r\n0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none",
        b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\none",
    ],
)
def test_it_reads_bodies_whatever_says_how_long_they_are(text: bytes) -> None:
    async def scenario() -> None:
        server = Server([text, OK])
        async with asking(server) as ask:
            answer = await ask()
            assert (answer.status, await answer.read()) == (200, b"one")
            assert not answer.header(b"link")
            assert await (await ask()).read() == b"ok"
        assert server.connections == 1

    run(scenario())


def test_it_takes_the_end_of_the_connection_for_the_end_of_a_body_without_a_length() -> None:
    async def scenario() -> None:
        server = Server([b"HTTP/1.1 200 OK\r\n\r\nto the end"], [OK], closes=True)
        async with asking(server) as ask:
            answer = await ask()
            assert (answer.size, await answer.read()) == (None, b"to the end")
            assert await (await ask()).read() == b"ok"
        assert server.connections == 2

    run(scenario())


def test_it_knows_that_an_answer_without_content_has_none() -> None:
    async def scenario() -> None:
        server = Server([b"HTTP/1.1 204 No Content\r\n\r\n", OK])
        async with asking(server) as ask:
            assert await (await ask()).read() == b""
            assert await (await ask()).read() == b"ok"

    run(scenario())


@pytest.mark.parametrize(
    "text",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nok",
        b"HTTP/1.1 200 OK\r\ncontent-len",
        b"",
    ],
)
def test_it_tells_an_answer_that_was_cut_from_a_whole_one(text: bytes) -> None:
    async def scenario() -> None:
        async with asking(Server([text], closes=True)) as ask:
            with pytest.raises(Broken):
                await (await ask()).read()

    run(scenario())


@pytest.mark.parametrize(
    "text",
    [
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\nok",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000 + b"\r\n\r\n",
    ],
)
def test_it_refuses_what_is_not_one_clear_answer(text: bytes) -> None:
    async def scenario() -> None:
        async with asking(Server([text])) as ask:
            with pytest.raises(Broken):
                await (await ask()).read()

    run(scenario())


def test_it_gives_nobody_an_answer_that_nobody_asked_for() -> None:
    async def scenario() -> None:
        smuggled = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"
        server = Server([OK + smuggled], [OK])
        async with asking(server) as ask:
            assert await (await ask()).read() == b"ok"
            assert await (await ask()).read() == b"ok"
        assert server.connections == 2

    run(scenario())


def test_it_closes_a_connection_on_which_something_comes_unasked() -> None:
    async def scenario() -> None:
        server = Server([OK], [OK])
        async with asking(server) as ask:
            await (await ask()).read()
            server.say(b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n")
            await server.gone.wait()
            assert (await ask()).status == 200

    run(scenario())


def test_it_does_not_wait_for_ever() -> None:
    async def scenario() -> None:
        server = Server([b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nbegun"])
        async with asking(server, idle_seconds=2) as ask:
            answer = await ask()
            assert await answer.piece() == b"begun"
            with pytest.raises(Late):
                await answer.piece()
            await server.gone.wait()

    run(scenario())


def test_it_lets_the_upstream_go_when_an_answer_is_closed_before_its_end() -> None:
    async def scenario() -> None:
        server = Server([b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nbegun"], [OK])
        async with asking(server) as ask:
            answer = await ask()
            answer.close()
            await server.gone.wait()
            assert await (await ask()).read() == b"ok"
        assert server.connections == 2

    run(scenario())


def test_it_lets_the_upstream_go_when_nobody_waits_for_the_head_any_more() -> None:
    async def scenario() -> None:
        server = Server([b"HTTP/1.1 100 Continue\r\n\r\n"])
        async with asking(server) as ask:
            waiting = asyncio.ensure_future(ask())
            while not server.connections:
                await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            await server.gone.wait()

    run(scenario())


def test_it_reads_no_further_ahead_than_a_slow_reader_bears() -> None:
    async def scenario() -> None:
        size = 64 * HELD_BYTES
        server = Server([b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size + bytes(size)])
        async with asking(server, idle_seconds=2) as ask:
            answer, read, most = await ask(), 0, 0
            await asyncio.sleep(3)  # more than the upstream may be silent, with all that may be held ahead
            assert answer.held > HELD_BYTES
            while read < size:
                await asyncio.sleep(0.001)
                most = max(most, answer.held)
                read += len(await answer.piece())
            assert await answer.piece() == b""
        # A slow reader is no silent upstream either; sockets hand over at most so much at once.
        assert 0 < most <= 2 * HELD_BYTES

    run(scenario())


def test_it_says_that_an_upstream_was_never_reached() -> None:
    async def scenario() -> None:
        server = Server([])
        async with asking(server):
            pass
        client = Client(connect_seconds=WAIT_SECONDS, idle_seconds=WAIT_SECONDS)
        with pytest.raises(Unreached):
            await client.ask(origin(f"http://127.0.0.1:{server.port}"), HEAD, b"{}")
        client.close()

    run(scenario())


def test_it_expects_no_body_after_the_head_that_was_asked_for() -> None:
    async def scenario() -> None:
        server = Server([b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n"])
        async with asking(server):
            client = Client(connect_seconds=WAIT_SECONDS, idle_seconds=WAIT_SECONDS)
            head = HEAD.replace(b"POST", b"HEAD")
            answer = await client.ask(origin(f"http://127.0.0.1:{server.port}"), head, b"{}", has_no_body=True)
            assert (answer.size, await answer.read()) == (900, b"")
            client.close()

    run(scenario())


def test_it_trusts_only_certificates_that_are_the_upstreams(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pem, context = self_signed(tmp_path / "server.pem")
    (tmp_path / "ca.crt").write_text(pem)

    async def ask(host: str) -> bytes:
        listening = await asyncio.start_server(Server([OK]), "127.0.0.1", 0, ssl=context)
        client = Client(connect_seconds=WAIT_SECONDS, idle_seconds=WAIT_SECONDS)
        try:
            port = listening.sockets[0].getsockname()[1]
            return await (await client.ask(origin(f"https://{host}:{port}"), HEAD, b"{}")).read()
        finally:
            client.close()
            listening.close()

    async def scenario() -> None:
        with pytest.raises(Unreached):
            await ask("127.0.0.1")
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.crt"))
        assert await ask("127.0.0.1") == b"ok"
        with pytest.raises(Unreached):
            await ask("localhost")

    run(scenario())
