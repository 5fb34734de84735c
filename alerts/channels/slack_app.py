"""Slack, through an app of one's own: messages that are edited and answered in their thread, and buttons that ask to act."""

import logging
import os
import re
import urllib.error
from collections.abc import Mapping
from typing import Any, ClassVar

from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError, SlackClientError

from alerts.channels import blocks
from alerts.channels.base import (
    BadConfig,
    Channel,
    Field,
    Letter,
    PermanentFailure,
    Position,
    TemporaryFailure,
    known,
)

_TIMEOUT_SECONDS = 5
_WORD = re.compile(r"[a-z_]{1,60}")
_PASSING = {"fatal_error", "internal_error", "request_timeout", "service_unavailable", "team_added_to_org"}
# The client logs requests and answers at DEBUG, and the address of the socket at INFO: it opens a door by itself.
logging.getLogger("slack_sdk").setLevel(logging.WARNING)


class SlackApp(Channel):
    """A bot in one channel. The first message of an item is edited when it changes, news are answers in its thread, and its
    buttons approve, decline, undo, acknowledge and mute by Socket Mode: no public address is needed. Example configuration:

    {"channel": "C0123456789"}

    The bot needs chat:write, users:read and users:read.email; the app-level token needs connections:write. Both tokens lie in
    the credentials:

        {"bot_token": "xoxb-…", "app_token": "xapp-…"}
    """

    kind: ClassVar[str] = "slack_app"
    title: ClassVar[str] = "Slack app"
    settings: ClassVar = (
        Field("channel", "Channel", "Its id, as C0123456789; the bot must be a member of it.", is_needed=True),
    )
    secrets: ClassVar = (
        Field("bot_token", "Bot token", "It begins with xoxb-.", is_needed=True),
        Field("app_token", "App-level token", "It begins with xapp- and has connections:write.", is_needed=True),
    )
    can_edit: ClassVar[bool] = True
    hears_answers: ClassVar[bool] = True

    def check(self, config: Mapping[str, Any], credentials: Mapping[str, str] | None) -> None:
        known(config, self.kind, ("channel",))
        place = config.get("channel")
        if not isinstance(place, str) or not place[1:].isalnum() or place[0] not in "CGD":
            raise BadConfig(f"channel: expected an id as C0123456789, found {place!r}")
        for name, begins in (("bot_token", "xoxb-"), ("app_token", "xapp-")):
            if not (credentials or {}).get(name, "").startswith(begins):
                raise BadConfig(f"{name}: expected a token that begins with {begins}")

    def send(self, letter: Letter, config: Mapping[str, Any], credentials: Mapping[str, str] | None) -> Position | None:
        client = web_client((credentials or {}).get("bot_token", ""))
        try:
            return _say(client, letter, str(config["channel"]))
        except SlackApiError as problem:
            raise failure(problem) from None
        except (SlackClientError, urllib.error.URLError, OSError) as problem:
            raise TemporaryFailure(f"Slack could not be reached ({type(problem).__name__})") from None

    def place(self, config: Mapping[str, Any]) -> str:
        return f"channel {config.get('channel', '')}"


def web_client(token: str) -> WebClient:
    """Slack's Web API, with an end to every call. COSTOBS_SLACK_API is for Slack's own other addresses."""
    base = os.environ.get("COSTOBS_SLACK_API", "").strip() or WebClient.BASE_URL
    return WebClient(token=token, base_url=base.rstrip("/") + "/", timeout=_TIMEOUT_SECONDS)


def failure(problem: SlackApiError) -> TemporaryFailure | PermanentFailure:
    """What a refusal of Slack means. Its error is a word of Slack's, never a secret."""
    status = problem.response.status_code
    error = str(problem.response.get("error", ""))
    if not _WORD.fullmatch(error):
        error = ""  # not Slack's word: the client puts whole answers there
    if status == 429 or error in {"ratelimited", "rate_limited"}:
        after = str(problem.response.headers.get("Retry-After", ""))
        return TemporaryFailure("Slack answered 429: too many messages", int(after) if after.isdigit() else None)
    if status >= 500 or error in _PASSING:
        return TemporaryFailure(f"Slack answered {status}: {error or 'no reason'}")
    return PermanentFailure(f"Slack refused it: {error or status}")


def _say(client: WebClient, letter: Letter, channel: str) -> Position | None:
    position = letter.position
    if position is not None and not _edited(client, letter, position):
        position = None  # somebody deleted the first message: the thread begins again
    if position is None:
        answer = client.chat_postMessage(
            channel=channel, unfurl_links=False, unfurl_media=False, **blocks.message(letter)
        )
        return Position(str(answer["ts"]), str(answer["channel"]))
    if letter.is_news:
        client.chat_postMessage(
            channel=position.place,
            thread_ts=position.ref,
            unfurl_links=False,
            unfurl_media=False,
            **blocks.reply(letter),
        )
    return None


def _edited(client: WebClient, letter: Letter, position: Position) -> bool:
    if letter.is_answer:
        return True  # only the thread is told; the message stays what it says
    try:
        client.chat_update(channel=position.place, ts=position.ref, **blocks.message(letter))
    except SlackApiError as problem:
        if problem.response.get("error") not in {"message_not_found", "cant_update_message"}:
            raise
        return False
    return True
