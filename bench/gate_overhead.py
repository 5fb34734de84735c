"""What the gate adds to a request: paired with and without it, in random order, before a model that does nothing.

python -m bench.gate_overhead [--pairs 3000] [--no-proxy]
python -m bench.gate_overhead --vllm URL --direct URL --key KEY --model NAME [--pairs 300]

First inside a server, in one process. Then as a proxy (`bench.gate_proxy`), beside the model itself and beside a bare
pass-through. With `--vllm` before a real model server: `--vllm` is its address with the gate,
`--direct` the same server without it.
"""

import argparse
import hashlib
import http.client
import json
import os
import random
import statistics
import tempfile
import threading
import time
import urllib.parse
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import uvicorn

from bench import gate_proxy

KEY, BLOCKED = "sk-bench", "sk-bench-blocked"
BODY = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x" * 2000}]}).encode()
STREAM = json.dumps({"model": "m", "messages": [], "stream": True}).encode()
ANSWER = json.dumps(
    {
        "model": "m",
        "choices": [{"message": {"content": "y" * 500}}],
        "usage": {"prompt_tokens": 500, "completion_tokens": 100},
    }
).encode()
CHUNK = b'data: {"id":"chatcmpl-1","model":"m","choices":[{"index":0,"delta":{"content":"word"}}]}\n\n'
CHUNKS = 200


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=3000)
    parser.add_argument("--no-proxy", action="store_true")
    for name in ("--vllm", "--direct", "--key", "--model"):
        parser.add_argument(name)
    asked = parser.parse_args()
    pairs = asked.pairs
    if asked.vllm:
        _real(asked)
        return
    with tempfile.TemporaryDirectory() as directory:
        costobs = _costobs()
        os.environ |= {
            "COSTOBS_URL": f"http://127.0.0.1:{costobs.server_address[1]}",
            "COSTOBS_GATE_TOKEN": "bench",
            "COSTOBS_GATE_DIR": directory,
        }
        port, stop = _serve()
        client = http.client.HTTPConnection("127.0.0.1", port)
        while _ask(client, BODY, KEY, gated=True) != 200:
            time.sleep(0.05)
        print(f"{'case':<34}{'pairs':>7}{'without p50/p99 ms':>22}{'with p50/p99 ms':>20}{'difference p50':>16}")
        _pairs("chat, 2 kB in, one answer", pairs, lambda gated: _ask(client, BODY, KEY, gated=gated))
        _pairs(f"chat, {CHUNKS} streamed chunks", pairs // 5, lambda gated: _ask(client, STREAM, KEY, gated=gated))
        times = [_timed(lambda: _ask(client, BODY, BLOCKED, gated=True)) for _ in range(pairs)]
        print(f"{'429 end to end':<34}{pairs:>7}{'':>22}{_shown(times):>20}")
        stop()
        if not asked.no_proxy:
            gate_proxy.measure(f"http://127.0.0.1:{costobs.server_address[1]}", pairs)


def _real(asked: argparse.Namespace) -> None:
    """The same request to a real server with and without the gate, in random order."""
    gated, direct = (urllib.parse.urlsplit(url) for url in (asked.vllm, asked.direct))
    clients = {
        True: http.client.HTTPConnection(gated.hostname or "", gated.port),
        False: http.client.HTTPConnection(direct.hostname or "", direct.port),
    }
    question = {"model": asked.model, "messages": [{"role": "user", "content": "Say one word."}]}
    one = json.dumps({**question, "max_tokens": 1}).encode()
    stream = json.dumps({**question, "max_tokens": 32, "stream": True, "ignore_eos": True}).encode()
    print(f"{'case':<34}{'pairs':>7}{'without p50/p99 ms':>22}{'with p50/p99 ms':>20}{'difference p50':>16}")
    for name, body, count in (("vLLM, one token", one, asked.pairs), ("vLLM, 32 streamed", stream, asked.pairs // 3)):
        _pairs(name, count, lambda with_gate, body=body: _ask(clients[with_gate], body, asked.key, gated=with_gate))


def _pairs(name: str, count: int, ask: Callable[[bool], int]) -> None:
    times: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(count):
        for gated in random.sample([True, False], 2):
            times[gated].append(_timed(lambda gated=gated: ask(gated)))
    difference = statistics.median(a - b for a, b in zip(times[True], times[False], strict=True))
    print(f"{name:<34}{count:>7}{_shown(times[False]):>22}{_shown(times[True]):>20}{difference:>+13.3f} ms")


def _shown(times: list[float]) -> str:
    return f"{statistics.median(times):.3f} / {statistics.quantiles(times, n=100)[98]:.3f}"


def _timed(ask: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    ask()
    return (time.perf_counter() - begun) * 1000


def _ask(client: http.client.HTTPConnection, body: bytes, key: str, *, gated: bool) -> int:
    headers = {
        "Authorization": f"Bearer {key}",
        "Content-Type": "application/json",
        "X-Bench": "gate" if gated else "none",
    }
    client.request("POST", "/v1/chat/completions", body, headers)
    answer = client.getresponse()
    answer.read()
    return answer.status


async def _model(scope: Any, receive: Any, send: Any) -> None:
    """A model that does nothing."""
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    request = b""
    while (message := await receive())["type"] == "http.request":
        request += message["body"]
        if not message.get("more_body"):
            break
    streams = b'"stream"' in request
    content_type = b"text/event-stream" if streams else b"application/json"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", content_type)]})
    for _ in range(CHUNKS if streams else 0):
        await send({"type": "http.response.body", "body": CHUNK, "more_body": True})
    await send({"type": "http.response.body", "body": b"data: [DONE]\n\n" if streams else ANSWER})


def _serve() -> tuple[int, Callable[[], None]]:
    from costobs_gate import Gate

    gate = Gate(_model)

    async def either(scope: Any, receive: Any, send: Any) -> None:
        bypasses = scope["type"] == "http" and (b"x-bench", b"none") in scope["headers"]
        await (_model if bypasses else gate)(scope, receive, send)

    server = uvicorn.Server(uvicorn.Config(either, host="127.0.0.1", port=0, log_level="error", access_log=False))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)

    def stop() -> None:
        server.should_exit = True
        thread.join(10)

    return server.servers[0].sockets[0].getsockname()[1], stop


def _costobs() -> ThreadingHTTPServer:
    """Answers as costobs does, and takes every batch."""
    keys = [
        {
            "sha256": hashlib.sha256(key.encode()).hexdigest(),
            "key_id": key,
            "team": team,
            "features": None,
            "models": None,
        }
        for key, team in ((KEY, "served"), (BLOCKED, "blocked"))
    ]
    rules = [{"id": "r", "match": {"team": "blocked"}, "action": "block"}]
    policy = json.dumps({"version": "1", "poll_seconds": 1, "keys": keys, "rules": rules, "leases": []}).encode()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(304 if self.headers["If-None-Match"] else 200, policy)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self._answer(202, b"{}")

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("ETag", '"1"')
            self.send_header("Content-Length", str(0 if status == 304 else len(body)))
            self.end_headers()
            self.wfile.write(b"" if status == 304 else body)

        def log_message(self, *args: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


if __name__ == "__main__":
    main()
