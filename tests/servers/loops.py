"""An event loop of its own: the thread of the tests may have a browser's running."""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any


def run[T](work: Coroutine[Any, Any, T], *, runner: Callable[[Coroutine[Any, Any, T]], T] = asyncio.run) -> T:
    """What the work gives, done in a thread."""
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(runner, work).result()
