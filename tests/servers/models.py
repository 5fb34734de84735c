"""A model provider on loopback: OpenAI's chat, responses and embeddings, and Anthropic's messages, plain and streamed."""

import itertools
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CHAT_USAGE = {
    "prompt_tokens": 1200,
    "completion_tokens": 90,
    "total_tokens": 1290,
    "prompt_tokens_details": {"cached_tokens": 800, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 40, "audio_tokens": 0},
}
RESPONSES_USAGE = {
    "input_tokens": 1200,
    "input_tokens_details": {"cached_tokens": 800},
    "output_tokens": 90,
    "output_tokens_details": {"reasoning_tokens": 40},
    "total_tokens": 1290,
}
# Anthropic's input leaves the cached tokens out: 10 + 1000 + 100 in all.
ANTHROPIC_USAGE = {
    "input_tokens": 10,
    "cache_read_input_tokens": 1000,
    "cache_creation_input_tokens": 100,
    "output_tokens": 50,
}
_NUMBERS = itertools.count(1)  # a response has an id of its own
ANSWER = "The secret answer is 42."


@contextmanager
def started() -> Iterator[str]:
    """The server's address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=10)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if asked.get("model") == "broken":
            self._answer({"error": {"message": "no", "type": "rate_limit_error"}}, status=429)
        elif self.path.endswith("/messages"):
            self._stream(_message_events(asked)) if asked.get("stream") else self._answer(_message(asked))
        elif self.path.endswith("/embeddings"):
            self._answer(_embedding(asked))
        elif self.path.endswith("/responses"):
            self._answer(_response(asked))
        else:
            self._stream(_chunks(asked), ends=b"data: [DONE]\n\n") if asked.get("stream") else self._answer(
                _chat(asked)
            )

    def _answer(self, body: dict[str, Any], *, status: int = 200) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _stream(self, events: list[tuple[str, dict[str, Any]]], *, ends: bytes = b"") -> None:
        lines = (
            (f"event: {name}\n" if name else "").encode() + b"data: " + json.dumps(data).encode() + b"\n\n"
            for name, data in events
        )
        content = b"".join(lines) + ends
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


def _chat(asked: dict[str, Any]) -> dict[str, Any]:
    message = {"role": "assistant", "content": ANSWER, "refusal": None}
    choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
    return {**_base(asked, "chat.completion"), "choices": [choice], "usage": CHAT_USAGE}


def _base(asked: dict[str, Any], kind: str) -> dict[str, Any]:
    model = f"{asked['model']}-2024-08-06"
    return {
        "id": f"chatcmpl-{next(_NUMBERS)}",
        "object": kind,
        "created": 1_795_000_000,
        "model": model,
        "service_tier": "default",
    }


def _chunks(asked: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    base = _base(asked, "chat.completion.chunk")
    texts = [{"role": "assistant", "content": ""}, {"content": ANSWER}]
    found = [{**base, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in texts]
    found.append({**base, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    if (asked.get("stream_options") or {}).get("include_usage"):
        found.append({**base, "choices": [], "usage": CHAT_USAGE})
    return [("", each) for each in found]


def _response(asked: dict[str, Any]) -> dict[str, Any]:
    content = [{"type": "output_text", "text": ANSWER, "annotations": []}]
    output = [{"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": content}]
    return {
        "id": f"resp_{next(_NUMBERS)}",
        "object": "response",
        "created_at": 1_795_000_000,
        "model": f"{asked['model']}-2024-08-06",
        "status": "completed",
        "output": output,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": RESPONSES_USAGE,
    }


def _embedding(asked: dict[str, Any]) -> dict[str, Any]:
    data = [{"object": "embedding", "index": 0, "embedding": [0.1, 0.2]}]
    return {
        "object": "list",
        "data": data,
        "model": asked["model"],
        "usage": {"prompt_tokens": 12, "total_tokens": 12},
    }


def _message(asked: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": f"msg_{next(_NUMBERS)}",
        "type": "message",
        "role": "assistant",
        "model": asked["model"],
        "content": [{"type": "text", "text": ANSWER}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": ANTHROPIC_USAGE,
    }


def _message_events(asked: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    begun = {**_message(asked), "content": [], "stop_reason": None, "usage": {**ANTHROPIC_USAGE, "output_tokens": 1}}
    events = [
        {"type": "message_start", "message": begun},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": ANSWER}},
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": 50},
        },
        {"type": "message_stop"},
    ]
    return [(str(each["type"]), each) for each in events]
