"""A tiny model server: answers in the shapes of vLLM and remembers what reached it."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Mapping
from typing import Any

USAGE = {
    "prompt_tokens": 305,
    "completion_tokens": 4,
    "total_tokens": 309,
    "prompt_tokens_details": {"cached_tokens": 256, "created_cache_tokens": 0},
}
WORDS = ["one", "two", "three", "four"]


class Upstream:
    """The ASGI application behind the gate. A request's `metadata` steers it: hold, fail, split, continuous."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []
        self.release = threading.Event()
        self.cancelled = threading.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        assert scope["type"] == "http"
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        self.seen.append({"path": scope["path"], "method": scope["method"], "headers": headers, "body": body})
        try:
            document = json.loads(body or b"{}")
        except ValueError:
            await self._json(send, {"error": "not JSON"}, status=400)
            return
        await self._answer(scope["path"], document, receive, send)

    async def _lifespan(self, receive: Any, send: Any) -> None:
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return

    async def _answer(self, path: str, document: Mapping[str, Any], receive: Any, send: Any) -> None:
        steer = document.get("metadata") or {}
        if steer.get("fail"):
            raise RuntimeError("the model server broke")
        if steer.get("hold") and not document.get("stream"):
            await self._until_released(asyncio.ensure_future(self._gone(receive)))
        if document.get("stream"):
            await self._stream(path, document, steer, receive, send)
        elif path == "/v1/embeddings":
            vectors = [{"embedding": [0.125] * steer.get("width", 4)}]
            await self._json(
                send, {"data": vectors, "model": "embedder", "usage": {"prompt_tokens": 9, "total_tokens": 9}}
            )
        elif path == "/v1/messages":
            usage = {"input_tokens": 10, "output_tokens": 7, "cache_read_input_tokens": 90}
            await self._json(send, {"type": "message", "model": "small", "usage": usage})
        elif path == "/v1/responses":
            usage = {"input_tokens": 20, "output_tokens": 8, "output_tokens_details": {"reasoning_tokens": 5}}
            tools = [{"parameters": {"usage": {"input_tokens": 0, "output_tokens": 0}}}]
            await self._json(
                send, {"tools": tools, "model": "small", "usage": usage, "text": '"usage":{"input_tokens":1}'}
            )
        elif path in ("/v1/chat/completions", "/v1/completions"):
            await self._json(send, {"id": "x", "model": "small", "choices": [{"index": 0}], "usage": USAGE})
        else:
            await self._json(send, {"reached": path})

    async def _stream(
        self, path: str, document: Mapping[str, Any], steer: Mapping[str, Any], receive: Any, send: Any
    ) -> None:
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(b"content-type", b"text/event-stream; charset=utf-8")],
            }
        )
        gone = asyncio.ensure_future(self._gone(receive))
        async for event in self._events(path, document, steer, gone):
            if gone.done():
                self.cancelled.set()
                return
            pieces = [event[i : i + 7] for i in range(0, len(event), 7)] if steer.get("split") else [event]
            for piece in pieces:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        gone.cancel()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _events(
        self, path: str, document: Mapping[str, Any], steer: Mapping[str, Any], gone: asyncio.Future[None]
    ) -> AsyncIterator[bytes]:
        if path == "/v1/messages":
            for event in self._anthropic():
                yield event
            return
        wants_usage = (document.get("stream_options") or {}).get("include_usage")
        yield _sse({"model": "small", "choices": [{"delta": {"role": "assistant", "content": ""}}]})
        for index, word in enumerate(WORDS):
            chunk: dict[str, Any] = {"model": "small", "choices": [{"delta": {"content": word}}]}
            if steer.get("continuous"):
                chunk["usage"] = {"prompt_tokens": 305, "completion_tokens": index + 1, "total_tokens": 306 + index}
            yield _sse(chunk)
            if steer.get("hold") and index == 1:
                await self._until_released(gone)
        if wants_usage:
            yield _sse({"model": "small", "choices": [], "usage": USAGE})
        yield b"data: [DONE]\n\n"

    def _anthropic(self) -> list[bytes]:
        started = {"model": "small", "usage": {"input_tokens": 10, "cache_read_input_tokens": 90, "output_tokens": 0}}
        delta = {"type": "content_block_delta", "delta": {"text": "hi"}}
        return [
            _sse({"type": "message_start", "message": started}, "message_start"),
            _sse(delta, "content_block_delta"),
            _sse({"type": "message_delta", "usage": {"output_tokens": 7}}, "message_delta"),
            _sse({"type": "message_stop"}, "message_stop"),
        ]

    async def _until_released(self, gone: asyncio.Future[None]) -> None:
        while not self.release.is_set() and not gone.done():
            await asyncio.sleep(0.005)

    async def _gone(self, receive: Any) -> None:
        while (await receive())["type"] != "http.disconnect":
            continue

    async def _json(self, send: Any, document: Mapping[str, Any], *, status: int = 200) -> None:
        body = json.dumps(document, separators=(",", ":")).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send(
            {"type": "http.response.start", "status": status, "headers": [*headers, (b"x-request-id", b"its-own")]}
        )
        await send({"type": "http.response.body", "body": body})


def _sse(document: Mapping[str, Any], event: str = "") -> bytes:
    prefix = f"event: {event}\n".encode() if event else b""
    return prefix + b"data: " + json.dumps(document, separators=(",", ":")).encode() + b"\n\n"
