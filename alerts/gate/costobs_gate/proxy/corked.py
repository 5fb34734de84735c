"""uvicorn's HTTP protocol, with the head of an answer and its first piece in one packet.

uvicorn writes both by themselves, and uvloop hands each to the system at once: twice the calls here, twice the
wake-ups at the client.
"""

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HELD_BYTES = 64 * 1024


class CorkedProtocol(HttpToolsProtocol):
    """What is written in one turn of the event loop goes out together at its end."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(cast("asyncio.Transport", _Cork(transport, self.loop)))


class _Cork:
    """A transport that gathers."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._held: list[bytes] = []
        self._size = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if not self._held:
            self._loop.call_soon(self._let_go)
        self._held.append(data)
        self._size += len(data)
        if self._size > HELD_BYTES:
            self._let_go()

    def close(self) -> None:
        self._let_go()
        self._transport.close()

    def _let_go(self) -> None:
        if self._held:
            held, self._held, self._size = self._held, [], 0
            self._transport.write(held[0] if len(held) == 1 else b"".join(held))
