"""Buttons pressed in Slack, heard by Socket Mode: acknowledged at once, judged on the server, answered in the thread.

It holds connections and knows no rule of who may do what: `Desk` does, and is given by whoever runs this.
"""

import logging
import urllib.error
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from threading import Event
from typing import Any, Protocol

import orjson
from django.db import close_old_connections, connection
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.socket_mode import SocketModeClient
from slack_sdk.socket_mode.client import BaseSocketModeClient
from slack_sdk.socket_mode.request import SocketModeRequest
from slack_sdk.socket_mode.response import SocketModeResponse

from alerts.channels import blocks, slack_app
from alerts.models import Channel
from costobs.kernel import secrets

log = logging.getLogger("costobs.alerts")

KIND = "slack_app"
_LOOK_SECONDS = 5.0
_GONE = (SlackApiError, SlackClientError, urllib.error.URLError, OSError)


class Refusal(Exception):
    """It was not done; the message may be read by whoever pressed."""


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a workspace, as Slack vouches for them. `email` is empty where Slack has not confirmed it."""

    workspace: str
    id: str
    email: str


@dataclass(frozen=True, slots=True)
class Press:
    """One button that was pressed."""

    act: str
    subject: str
    member: Member
    channel_id: int
    now: datetime
    confirm: str = ""


class Desk(Protocol):
    """Who decides: raises Refusal."""

    def question(self, press: Press) -> tuple[str, str] | None:
        """What must be typed first: title and text; None when nothing is."""

    def carry_out(self, press: Press) -> str:
        """Does it; what was done, in words."""


@dataclass(frozen=True, slots=True)
class _Place:
    """The message a button stands in."""

    channel: str
    ts: str
    thread: str
    blocks: list[dict[str, Any]]


def serve(*, desk: Desk, stop: Event, clock: Callable[[], datetime], seconds: float = _LOOK_SECONDS) -> None:
    """Listens for every active Slack app until `stop` is set; follows channels that come, change and go."""
    ears: dict[int, Ear] = {}
    try:
        while not stop.is_set():
            try:
                _follow(ears, desk, clock)
            except Exception as problem:  # the database may be away for a while; the sockets stay
                log.warning("chat could not look at its channels (%s); again soon", type(problem).__name__)
                close_old_connections()
            stop.wait(seconds)
    finally:
        for ear in ears.values():
            ear.close()
        connection.close()


def _follow(ears: dict[int, "Ear"], desk: Desk, clock: Callable[[], datetime]) -> None:
    wanted = {one.pk: one for one in Channel.objects.filter(kind=KIND, is_active=True)}
    for pk in [pk for pk, ear in ears.items() if pk not in wanted or ear.is_other(wanted[pk])]:
        ears.pop(pk).close()
    for pk, row in wanted.items():
        if pk not in ears:
            ear = Ear.open(row, desk, clock)
            if ear is None:
                continue
            ears[pk] = ear
        if ears[pk].is_connected():
            Channel.objects.filter(pk=pk).update(heard_at=clock())


class Ear:
    """The connection of one Slack app. It reconnects by itself."""

    def __init__(self, row: Channel, desk: Desk, clock: Callable[[], datetime]) -> None:
        credentials = row.credentials or {}
        self._key = orjson.dumps([row.config, credentials], option=orjson.OPT_SORT_KEYS)
        self._row_id, self._name = row.pk, row.name
        self._desk, self._clock = desk, clock
        self._web = slack_app.web_client(credentials["bot_token"])
        self._workspace = str(self._web.auth_test()["team_id"])
        self._client = SocketModeClient(
            app_token=credentials["app_token"], web_client=slack_app.web_client(credentials["app_token"]), concurrency=4
        )
        self._client.socket_mode_request_listeners.append(self._hear)

    @classmethod
    def open(cls, row: Channel, desk: Desk, clock: Callable[[], datetime]) -> "Ear | None":
        """Connected, or None when Slack does not let it in now; the channel says why."""
        made: Ear | None = None
        try:
            made = cls(row, desk, clock)
            made._client.connect()
        except (*_GONE, KeyError, secrets.Unreadable) as problem:
            error = str(slack_app.failure(problem)) if isinstance(problem, SlackApiError) else type(problem).__name__
            log.warning("chat of channel %s is not connected: %s", row.name, error)
            Channel.objects.filter(pk=row.pk).update(
                last_error=f"its buttons are not heard: {error}", last_error_at=clock()
            )
            if made is not None:
                made.close()
            return None
        log.info("chat of channel %s is connected", row.name)
        return made

    def is_other(self, row: Channel) -> bool:
        """Whether the channel was changed since."""
        return self._key != orjson.dumps([row.config, row.credentials or {}], option=orjson.OPT_SORT_KEYS)

    def is_connected(self) -> bool:
        return bool(self._client.is_connected())

    def close(self) -> None:
        self._client.close()

    def _hear(self, client: BaseSocketModeClient, request: SocketModeRequest) -> None:
        # Within three seconds, whatever the answer takes; Slack would show a failure and send it again.
        client.send_socket_mode_response(SocketModeResponse(envelope_id=request.envelope_id))
        if request.type != "interactive":
            return
        try:
            self._answer(request.payload)
        except Exception as problem:
            # A text could hold a secret; the kind does not.
            log.error("a button in channel %s broke: %s", self._name, type(problem).__name__)
        finally:
            connection.close()

    def _answer(self, payload: Mapping[str, Any]) -> None:
        press, place = self._read(payload)
        if press is None or place is None:
            return
        user = str(payload["user"]["id"])
        try:
            if not press.confirm and payload["type"] == "block_actions":
                asks = self._desk.question(press)
                if asks is not None:
                    self._open(str(payload["trigger_id"]), asks, press, place)
                    return
            words = self._desk.carry_out(press)
        except Refusal as problem:
            self._refuse(place, user, f"Not done: {problem}.")
            return
        self._settle(place, words)

    def _read(self, payload: Mapping[str, Any]) -> tuple[Press | None, _Place | None]:
        now = self._clock()
        if payload.get("type") == "block_actions":
            action = next((one for one in payload.get("actions", ()) if one.get("value")), None)
            message = payload.get("message") or {}
            if action is None or not message.get("ts"):
                return None, None  # a link was opened
            place = _Place(
                str(payload["channel"]["id"]),
                str(message["ts"]),
                str(message.get("thread_ts") or message["ts"]),
                list(message.get("blocks", ())),
            )
            act, subject, confirm = str(action["action_id"]), str(action["value"]), ""
        elif payload.get("type") == "view_submission":
            view = payload["view"]
            act = str(view["callback_id"])
            kept = orjson.loads(view["private_metadata"])
            subject, place = kept["subject"], _Place(kept["channel"], kept["ts"], kept["thread"], [])
            confirm = str(view["state"]["values"]["name"]["name"].get("value") or "") or "-"
        else:
            return None, None
        member = self._member(payload)
        return Press(act, subject, member, self._row_id, now, confirm), place

    def _member(self, payload: Mapping[str, Any]) -> Member:
        """Who pressed, asked from Slack: a payload is heard only over our own socket, but a name in it proves no address."""
        user = str(payload["user"]["id"])
        found = self._web.users_info(user=user)["user"]
        is_ours = str(found.get("team_id", "")) == self._workspace
        is_person = not (found.get("deleted") or found.get("is_bot") or found.get("is_restricted"))
        is_proven = is_ours and is_person and bool(found.get("is_email_confirmed"))
        email = str((found.get("profile") or {}).get("email") or "") if is_proven else ""
        # Somebody of another workspace, in a shared channel, is nobody here, linked or not.
        return Member(self._workspace if is_ours and is_person else "", user, email)

    def _open(self, trigger: str, asks: tuple[str, str], press: Press, place: _Place) -> None:
        kept = {"subject": press.subject, "channel": place.channel, "ts": place.ts, "thread": place.thread}
        view = blocks.asking(*asks, metadata=orjson.dumps(kept).decode(), callback=press.act)
        self._web.views_open(trigger_id=trigger, view=view)

    def _settle(self, place: _Place, words: str) -> None:
        text = blocks.escaped(words)
        self._say(self._web, "chat_postMessage", channel=place.channel, thread_ts=place.thread, text=text)
        if place.blocks:
            edited = blocks.settled(place.blocks, words)
            self._say(self._web, "chat_update", channel=place.channel, ts=place.ts, text=text, blocks=edited)

    def _refuse(self, place: _Place, user: str, words: str) -> None:
        self._say(
            self._web,
            "chat_postEphemeral",
            channel=place.channel,
            user=user,
            thread_ts=place.thread,
            text=blocks.escaped(words),
        )

    def _say(self, client: WebClient, method: str, **what: Any) -> None:
        """Tells Slack what was done; that it could not be told undoes nothing."""
        try:
            getattr(client, method)(**what)
        except _GONE as problem:
            log.warning("channel %s could not be answered: %s", self._name, type(problem).__name__)
