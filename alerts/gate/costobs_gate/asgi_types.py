"""The shapes of ASGI that the gate uses; the standard library has none."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

# Any: ASGI messages are open dictionaries by specification.
Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
RawHeaders = list[tuple[bytes, bytes]]
