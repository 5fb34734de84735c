"""From the request that crosses a rung to the first one refused: the web API, the tick, the policy pull and the gate.

    python -m bench.spend_to_effect [--rounds 30]

The gate stands in front of a model that does nothing and says that each call used a million tokens. Its spool is sent to the web
API of costobs over HTTP; a tick runs each second, as the clock of `costobs up` runs it; the gate pulls its policy each second.
Measured is from the end of the call that crosses the rung to the first HTTP 429, without leases. Each round has a budget of its
own, whose shutdown is undone after it.
"""

import argparse
import http.client
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

MODEL = "gpt-4o"
CALLS = 4  # to cross the rung
AIM_SECONDS = 5
BODY = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": "x"}]}).encode()
ANSWER = json.dumps(
    {
        "model": MODEL,
        "choices": [{"message": {"content": "y"}}],
        "usage": {"prompt_tokens": 1_000_000, "completion_tokens": 0, "total_tokens": 1_000_000},
    }
).encode()
_WAIT_SECONDS = 60


class _Web(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, *args: Any) -> None:
        """Says nothing."""


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--rounds", type=int, default=30)
    rounds = asked.parse_args().rounds
    with ExitStack() as stack:
        os.environ["COSTOBS_DATA"] = stack.enter_context(tempfile.TemporaryDirectory(prefix="costobs-bench-"))
        os.environ.pop("DATABASE_URL", None)
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "costobs.settings")
        import django

        from costobs.embedded import postgres

        django.setup()
        stack.enter_context(postgres.running())
        from django.core.management import call_command

        call_command("migrate", verbosity=0)
        key = _prepare()
        stop = threading.Event()
        stack.callback(stop.set)
        port = _serve(stack)
        threading.Thread(target=_tick, args=(stop,), daemon=True).start()
        client = http.client.HTTPConnection("127.0.0.1", port)
        _until(lambda: _ask(client, key) == 200, "the gate serves")
        found = [_round(number, client, key) for number in range(rounds)]
    p50, p95 = statistics.median(found), sorted(found)[max(0, -(-len(found) * 95 // 100) - 1)]
    print(f"{rounds} rounds: p50 {p50:.2f} s, p95 {p95:.2f} s, most {max(found):.2f} s; aim: p95 < {AIM_SECONDS} s")


def _prepare() -> str:
    """A gate with its source and token, and the text of a client key."""
    from alerts import gates
    from costobs.access import tokens
    from ingest import configure

    now = datetime.now(UTC)
    source_id = configure.create_source(kind="gate", name="bench", now=now)
    gates.create(name="bench", deployment="bench", provider="openai", source_id=source_id, by="bench", now=now)
    _, token = tokens.create(name="bench", grants=["gate"], source_id=source_id, created_by="bench", now=now)
    os.environ["COSTOBS_GATE_TOKEN"] = token
    _, key = gates.create_key(name="bench", team="search", by="bench", now=now)
    return key


def _serve(stack: ExitStack) -> int:
    """The web API and the gate; the port of the gate."""
    import uvicorn
    from costobs_gate import Gate

    from costobs.wsgi import application

    web = make_server("127.0.0.1", 0, application, server_class=_Web, handler_class=_Quiet)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    stack.callback(web.shutdown)
    os.environ["COSTOBS_URL"] = f"http://127.0.0.1:{web.server_port}"
    os.environ["COSTOBS_GATE_DIR"] = stack.enter_context(tempfile.TemporaryDirectory(prefix="costobs-gate-"))
    config = uvicorn.Config(Gate(_model), host="127.0.0.1", port=0, log_level="error", access_log=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    _until(lambda: server.started, "the gate starts")

    def stop() -> None:
        server.should_exit = True
        thread.join(10)

    stack.callback(stop)
    port: int = server.servers[0].sockets[0].getsockname()[1]
    return port


def _tick(stop: threading.Event) -> None:
    """One round of the pipeline each second, as the clock of the stack sends them."""
    from django.db import connection

    from costobs import pipeline

    while not stop.is_set():
        begun = time.monotonic()
        pipeline.run_once(datetime.now(UTC))
        stop.wait(max(0.0, 1 - (time.monotonic() - begun)))
    connection.close()


def _round(number: int, client: http.client.HTTPConnection, key: str) -> float:
    """Seconds from the call that crosses the rung to the first that is refused."""
    from alerts import budgets, execute, queries

    _settled()
    now, spent = datetime.now(UTC), _spent()
    budget_id = budgets.create(
        name=f"round {number}",
        scope={"model": [MODEL]},
        amount=spent + Decimal("2.5") * CALLS,
        currency="USD",
        period="month",
        rungs=[budgets.RungSpec(Decimal(100), "shutdown")],
        by="bench",
        now=now,
    )
    time.sleep(1 + (number % 10) / 10)  # at every phase of the second
    for _ in range(CALLS):
        if _ask(client, key) != 200:
            raise SystemExit("a call was refused before its budget was used")
    begun = time.monotonic()
    _until(lambda: _ask(client, key) == 429, "the first refusal")
    took = time.monotonic() - begun
    (run,) = [one for one in queries.action_log(teams=None, budget_id=budget_id) if one.may_undo]
    execute.undo(run_id=run.id, by="bench", now=datetime.now(UTC))
    budgets.delete(budget_id=budget_id, by="bench", now=datetime.now(UTC))
    _until(lambda: _ask(client, key) == 200, "the end of the refusals")
    return took


def _settled() -> None:
    """Waits until nothing that was called is missing in the books."""
    seen = [_spent()]
    while len(seen) < 4 or seen[-1] != seen[-4]:
        time.sleep(1)
        seen.append(_spent())


def _spent() -> Decimal:
    from attribution import queries
    from costobs.kernel.period import Days
    from costobs.kernel.scope import SpendScope

    today = datetime.now(UTC).date()
    scope = SpendScope(Days(today.replace(day=1), today + timedelta(days=1)), teams=None)
    return queries.total(scope=scope).cost


def _ask(client: http.client.HTTPConnection, key: str) -> int:
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    client.request("POST", "/v1/chat/completions", BODY, headers)
    answer = client.getresponse()
    answer.read()
    return answer.status


def _until(is_done: Any, what: str) -> None:
    ends = time.monotonic() + _WAIT_SECONDS
    while not is_done():
        if time.monotonic() > ends:
            raise SystemExit(f"waited {_WAIT_SECONDS} s in vain for {what}")
        time.sleep(0.02)


async def _model(scope: Any, receive: Any, send: Any) -> None:
    """A model that does nothing."""
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    while (message := await receive())["type"] == "http.request" and message.get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": ANSWER})


if __name__ == "__main__":
    main()
