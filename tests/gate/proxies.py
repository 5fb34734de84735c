"""The gate as a proxy in processes of its own, and model servers behind it."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import uvicorn

from tests.gate.conftest import ROOT, _listener
from tests.gate.costobs_server import ALPHA, wait_until
from tests.gate.upstream import Upstream


class Model(Upstream):
    """A model server that can also be full, break off or stay silent."""

    def __init__(self, *models: str) -> None:
        super().__init__()
        self.models = models
        self.status = 0  # answers with this, when it is not 0
        self.silent = False
        self.url = ""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"] == "/v1/models":
            await self._json(send, {"data": [{"id": model} for model in self.models]})
        elif scope["type"] == "http" and self.status:
            self.seen.append({"path": scope["path"], "body": (await receive())["body"]})
            await self._json(send, {"error": {"message": "no room"}}, status=self.status)
        elif scope["type"] == "http" and self.silent:
            await receive()
            await self._gone(receive)
            self.cancelled.set()
        else:
            await super().__call__(scope, receive, send)

    async def _stream(self, path: str, document: Any, steer: Any, receive: Any, send: Any) -> None:
        if not steer.get("breaks"):
            await super()._stream(path, document, steer, receive, send)
            return
        start = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]}
        await send(start)
        chunk = b'data: {"model":"small","choices":[{"delta":{"content":"one"}}]}\n\n'
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
        raise ConnectionResetError("the model server dies")

    def bodies(self) -> list[Any]:
        """The documents that reached it."""
        return [json.loads(each["body"]) for each in self.seen]


@contextlib.contextmanager
def serving(model: Model) -> Iterator[Model]:
    """Serve a model on loopback in a thread."""
    listener = _listener()
    server = uvicorn.Server(uvicorn.Config(model, log_level="critical", lifespan="on", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    wait_until(lambda: server.started)
    model.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    try:
        yield model
    finally:
        model.release.set()
        server.should_exit = True
        thread.join(30)


class Proxy:
    """A running `costobs-gate serve`."""

    def __init__(self, *arguments: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [sys.executable, "-m", "costobs_gate", "serve", "--port", str(port), *arguments]
        self.process = subprocess.Popen(command, cwd=ROOT, env={**os.environ}, stderr=subprocess.PIPE)
        self.said: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.url = f"http://127.0.0.1:{port}"
        self.client = httpx.Client(base_url=self.url, timeout=60)
        wait_until(self._is_ready, seconds=60)

    def ask(self, path: str = "/v1/chat/completions", *, key: str = ALPHA, **body: Any) -> httpx.Response:
        document = {"model": "small", "messages": [], **body}
        return self.client.post(path, json=document, headers={"Authorization": f"Bearer {key}"})

    def metrics(self) -> str:
        return self.client.get("/costobs/gate/metrics").text

    def wait_for_policy(self, version: str) -> None:
        wait_until(lambda: f'version="{version}"' in self.metrics())

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Stop it and wait; gives its exit status."""
        self.client.close()
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            status = self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        self._reader.join(30)
        return status

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as lines:
            self.said += [line.decode("utf-8", "replace") for line in lines]

    def _is_ready(self) -> bool:
        assert self.process.poll() is None, "".join(self.said)
        try:
            return self.client.get("/costobs/gate/ready").status_code == 200
        except httpx.HTTPError:
            return False


@contextlib.contextmanager
def held(proxy: Proxy, model: Model) -> Iterator[httpx.Response]:
    """A stream that the model server holds until the block ends; then it is read to its end."""
    body = {"model": "small", "messages": [], "stream": True, "metadata": {"hold": True}}
    headers = {"Authorization": f"Bearer {ALPHA}"}
    with (
        httpx.Client(base_url=proxy.url, timeout=60) as client,
        client.stream("POST", "/v1/chat/completions", json=body, headers=headers) as answer,
    ):
        try:
            yield answer
        finally:
            model.release.set()
            with contextlib.suppress(
                httpx.HTTPError, httpx.StreamError
            ):  # its server was killed, or it was read already
                answer.read()
