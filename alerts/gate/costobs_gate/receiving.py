"""The body of a request, as it comes in."""

from costobs_gate.asgi_types import Receive


class TooLarge(Exception):
    """The body of a request is above the limit."""


async def whole_body(receive: Receive, announced: int, limit: int) -> bytes | None:
    """The whole body; None when the client leaves before its end. `announced` and `limit` in bytes. Raises TooLarge."""
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
