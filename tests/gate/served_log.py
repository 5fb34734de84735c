"""A model server that writes down what it serves before it answers: the truth that no gate and no spool can change."""

import asyncio
import fcntl
import json
import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from costobs_gate import Gate

INPUT_PRICE, OUTPUT_PRICE = 1, 10  # millionths of a dollar for a token
INPUT_TOKENS = 60
MAX_TOKENS = 50


class LoggingServer:
    """Answers chat completions after a while; each one is a line `input output` of the log before that."""

    def __init__(self, log: Path) -> None:
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._random = random.Random(time.monotonic_ns())

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        document = json.loads(await _body(receive))
        output = self._random.randint(10, document["max_tokens"])
        os.write(self._log, f"{INPUT_TOKENS} {output}\n".encode())
        await asyncio.sleep(self._random.uniform(0.02, 0.15))  # how long a model takes
        usage = {"prompt_tokens": INPUT_TOKENS, "completion_tokens": output, "total_tokens": INPUT_TOKENS + output}
        await _answer(send, 200, {"model": document["model"], "choices": [], "usage": usage})


class NaiveGate:
    """What many gateways do: look at a shared counter, let the call through, add its cost when it is over."""

    def __init__(self, app: Any, counter: Path, limit: int) -> None:
        self._app, self._counter, self._limit = app, counter, limit

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if int(self._counter.read_text() or "0") >= self._limit:
            await _answer(send, 429, {"error": {"code": "budget_exceeded"}})
            return
        cost = 0

        async def metered(message: Any) -> None:
            nonlocal cost
            if message["type"] == "http.response.body":
                usage = json.loads(message["body"])["usage"]
                cost = usage["prompt_tokens"] * INPUT_PRICE + usage["completion_tokens"] * OUTPUT_PRICE
            await send(message)

        await self._app(scope, receive, metered)
        with _locked(self._counter) as file:
            spent = int(file.read() or "0") + cost
            file.seek(0)
            file.write(str(spent))


def served(log: Path) -> tuple[int, int]:
    """How many calls the log names, and what they cost, in millionths of a dollar."""
    lines = [line.split() for line in log.read_text().splitlines()]
    cost = sum(int(input_) * INPUT_PRICE + int(output) * OUTPUT_PRICE for input_, output in lines)
    return len(lines), cost


@contextmanager
def _locked(path: Path) -> Iterator[Any]:
    with path.open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file


async def _lifespan(receive: Any, send: Any) -> None:
    while True:
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def _body(receive: Any) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body


async def _answer(send: Any, status: int, document: object) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": json.dumps(document).encode()})


def leased() -> Gate:
    """The gate in front of the server, for uvicorn --factory."""
    return Gate(LoggingServer(Path(os.environ["SERVED_LOG"])))


def naive() -> NaiveGate:
    """The naive counter in front of the same server."""
    counter, limit = Path(os.environ["NAIVE_COUNTER"]), int(os.environ["NAIVE_LIMIT"])
    return NaiveGate(LoggingServer(Path(os.environ["SERVED_LOG"])), counter, limit)
