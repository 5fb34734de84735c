"""A Slack-shaped server on loopback: the methods of the Web API that are used, with Block Kit's limits, and Socket Mode."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import WSMsgType, web

BOT_TOKEN = "xoxb-verysecretbot"
APP_TOKEN = "xapp-verysecretapp"
WORKSPACE = "T000"
_SECONDS = 120


def broken_limits(blocks: list[dict[str, Any]]) -> list[str]:
    """What Slack would refuse in these blocks (docs.slack.dev/reference/block-kit/blocks)."""
    found = ["more than 50 blocks"] if len(blocks) > 50 else []
    for block in blocks:
        kind, text = block["type"], (block.get("text") or {}).get("text", "")
        if kind == "header" and (len(text) > 150 or block["text"]["type"] != "plain_text"):
            found.append("header")
        if kind == "section" and (len(text) > 3000 or not (text or block.get("fields"))):
            found.append("section")
        fields = block.get("fields", [])
        if len(fields) > 10 or any(len(one["text"]) > 2000 for one in fields):
            found.append("fields")
        elements = block.get("elements", [])
        if kind == "actions" and not 0 < len(elements) <= 25:
            found.append("elements")
        for one in elements if kind == "actions" else []:
            confirm = one.get("confirm", {})
            if len(one["text"]["text"]) > 75 or len(one.get("value", "")) > 2000:
                found.append("button")
            if confirm and (len(confirm["title"]["text"]) > 100 or len(confirm["text"]["text"]) > 300):
                found.append("confirm")
    return found


@dataclass
class SlackApi:
    """What it was asked, and what it answers; `users` are members by id."""

    url: str = ""
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    answers: dict[str, list[tuple[int, dict[str, Any], dict[str, str]]]] = field(default_factory=dict)
    users: dict[str, dict[str, Any]] = field(default_factory=dict)
    acknowledged: dict[str, float] = field(default_factory=dict)
    connections: int = 0
    loop: asyncio.AbstractEventLoop | None = None
    sockets: list[web.WebSocketResponse] = field(default_factory=list)
    _ts: int = 0

    def member(self, user: str, email: str, **given: Any) -> str:
        """A member of the workspace, whose address Slack has confirmed unless told otherwise."""
        self.users[user] = {
            "id": user, "team_id": WORKSPACE, "deleted": False, "is_bot": False, "is_email_confirmed": True,
            "profile": {"email": email}, **given,
        }  # fmt: skip
        return user

    def of(self, method: str) -> list[dict[str, Any]]:
        """The bodies of the calls of one method."""
        return [body for name, body in self.calls if name == method]

    def wait_for(self, method: str, count: int) -> list[dict[str, Any]]:
        """The bodies, once there are so many."""
        deadline = time.monotonic() + _SECONDS
        while len(self.of(method)) < count:
            assert time.monotonic() < deadline, f"{method} was called {len(self.of(method))} times, expected {count}"
            time.sleep(0.02)
        return self.of(method)

    def wait_connected(self, count: int = 1) -> None:
        """Until so many sockets were opened."""
        deadline = time.monotonic() + _SECONDS
        while self.connections < count or not self.sockets:
            assert time.monotonic() < deadline, "nobody connected"
            time.sleep(0.02)

    def send(self, envelope_id: str, payload: dict[str, Any]) -> None:
        """An interactive payload over the socket; returns when it was acknowledged."""
        assert self.loop is not None
        body = orjson.dumps({"envelope_id": envelope_id, "type": "interactive", "payload": payload}).decode()
        asyncio.run_coroutine_threadsafe(self.sockets[-1].send_str(body), self.loop).result(_SECONDS)
        deadline = time.monotonic() + _SECONDS
        while envelope_id not in self.acknowledged:
            assert time.monotonic() < deadline, f"{envelope_id} was never acknowledged"
            time.sleep(0.02)

    def drop(self) -> None:
        """Closes the newest socket, as Slack does every few hours."""
        assert self.loop is not None
        socket = self.sockets.pop()
        asyncio.run_coroutine_threadsafe(socket.close(), self.loop).result(_SECONDS)

    async def answer(self, request: web.Request) -> web.Response:
        method = request.match_info["method"]
        if request.content_type == "application/json":
            body = orjson.loads(await request.read() or b"{}")
        else:
            body = dict(await request.post())
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        self.calls.append((method, body))
        wanted = APP_TOKEN if method == "apps.connections.open" else BOT_TOKEN
        if token != wanted:
            return web.json_response({"ok": False, "error": "invalid_auth"})
        if queued := self.answers.get(method):
            status, content, headers = queued.pop(0)
            return web.json_response(content, status=status, headers=headers)
        return web.json_response(self._result(method, body))

    def _result(self, method: str, body: dict[str, Any]) -> dict[str, Any]:
        blocks = body.get("blocks", [])
        blocks = orjson.loads(blocks) if isinstance(blocks, str) else blocks
        if wrong := broken_limits(blocks):
            return {"ok": False, "error": "invalid_blocks", "errors": wrong}
        match method:
            case "auth.test":
                return {"ok": True, "team_id": WORKSPACE, "user_id": "UBOT", "team": "Acme", "user": "costobs"}
            case "chat.postMessage":
                self._ts += 1
                return {"ok": True, "channel": body["channel"], "ts": f"1764000000.{self._ts:06}", "message": {}}
            case "chat.update":
                return {"ok": True, "channel": body["channel"], "ts": body["ts"]}
            case "users.info":
                found = self.users.get(str(body["user"]))
                return {"ok": True, "user": found} if found else {"ok": False, "error": "user_not_found"}
            case "apps.connections.open":
                return {"ok": True, "url": self.url.replace("http://", "ws://").replace("/api/", "/link/")}
        return {"ok": True}

    async def link(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.connections += 1
        self.sockets.append(socket)
        await socket.send_str(orjson.dumps({"type": "hello", "num_connections": 1}).decode())
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                self.acknowledged[str(orjson.loads(message.data)["envelope_id"])] = time.monotonic()
        return socket


@contextmanager
def slack_api() -> Iterator[SlackApi]:
    """The server, for as long as the block lasts."""
    state, started, stop = SlackApi(), threading.Event(), threading.Event()

    async def main() -> None:
        app = web.Application()
        app.router.add_post("/api/{method}", state.answer)
        app.router.add_get("/link/", state.link)
        runner = web.AppRunner(app, shutdown_timeout=1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        state.url, state.loop = f"http://127.0.0.1:{port}/api/", asyncio.get_running_loop()
        started.set()
        while not stop.is_set():
            await asyncio.sleep(0.02)
        for socket in list(state.sockets):
            await socket.close()
        await runner.cleanup()

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    assert started.wait(_SECONDS)
    try:
        yield state
    finally:
        stop.set()
        thread.join(_SECONDS)


def press(api: SlackApi, number: str, user: str, act: str, value: str, message: dict[str, Any]) -> None:
    """A press of a button in a message that was posted."""
    api.send(
        number,
        {
            "type": "block_actions",
            "trigger_id": f"trigger-{number}",
            "user": {"id": user, "team_id": WORKSPACE, "username": user.lower()},
            "channel": {"id": "C0123456789"},
            "message": {"ts": message.get("ts", "1764000000.000001"), "blocks": message.get("blocks", [])},
            "actions": [{"action_id": act, "value": value, "type": "button"}],
        },
    )


def type_name(api: SlackApi, number: str, user: str, view: dict[str, Any], name: str) -> None:
    """The name typed into the window that a button opened."""
    state = {"values": {"name": {"name": {"type": "plain_text_input", "value": name}}}}
    api.send(
        number,
        {
            "type": "view_submission",
            "user": {"id": user, "team_id": WORKSPACE},
            "view": {**{key: view[key] for key in ("callback_id", "private_metadata")}, "state": state},
        },
    )
