"""Slack, through an incoming webhook: Block Kit, with links to the pages that act."""

import logging
from collections.abc import Mapping
from typing import Any, ClassVar

import httpx

from alerts.channels.base import BadConfig, Channel, Letter, PermanentFailure, TemporaryFailure, truncated
from alerts.rows import Notice
from costobs.kernel import http

# Limits of Block Kit (docs.slack.dev/reference/block-kit/blocks, read 2026-11-21).
HEADER_LIMIT = 150
SECTION_LIMIT = 3000
FIELD_LIMIT = 2000
FIELDS_LIMIT = 10
BUTTONS_LIMIT = 25
BUTTON_TEXT_LIMIT = 75
TEXT_LIMIT = 4000
_TIMEOUT_SECONDS = 5
# httpx logs every address it calls at INFO, and the address of a webhook is a secret.
logging.getLogger("httpx").setLevel(logging.WARNING)


class Slack(Channel):
    """One message for each alert in the channel of the webhook. Buttons are links; nothing acts from Slack.

    The webhook's address is a secret and lies in the credentials:

        {"webhook_url": "https://hooks.slack.com/services/…"}
    """

    kind: ClassVar[str] = "slack"

    def check(self, config: Mapping[str, Any], credentials: Mapping[str, str] | None) -> None:
        if config:
            raise BadConfig(f"slack has no setting {min(config)!r}; the webhook_url belongs to the credentials")
        try:
            _address(credentials)
        except PermanentFailure as problem:
            raise BadConfig(str(problem)) from problem

    def send(self, letter: Letter, config: Mapping[str, Any], credentials: Mapping[str, str] | None) -> None:
        address = _address(credentials)
        try:
            # Not the client of slack-sdk: it follows redirects, away from the address that was checked.
            with http.client() as client:
                answer = client.post(address, json=message(letter), timeout=_TIMEOUT_SECONDS)
        except httpx.HTTPError as problem:
            # The text of the problem may hold the address; its kind does not.
            raise TemporaryFailure(f"Slack could not be reached ({type(problem).__name__})") from None
        _judge(answer.status_code, answer.headers)


def message(letter: Letter) -> dict[str, Any]:
    """The text and the blocks of one alert, within the limits."""
    notice = letter.notice
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": _plain(notice.header, HEADER_LIMIT)},
        {"type": "section", "text": _markdown(_lead(notice), SECTION_LIMIT)},
    ]
    if notice.facts:
        fields = [_markdown(f"*{_escaped(fact.label)}*\n{_escaped(fact.value)}", FIELD_LIMIT) for fact in notice.facts]
        blocks.append({"type": "section", "fields": fields[:FIELDS_LIMIT]})
    buttons = [
        {
            "type": "button",
            "text": _plain(button.label, BUTTON_TEXT_LIMIT),
            "url": f"{letter.base_url}{button.path}",
            **({"style": button.style} if button.style else {}),
        }
        for button in notice.buttons
    ]
    if buttons:
        block = {"type": "actions", "block_id": f"alert:{letter.id}", "elements": buttons[:BUTTONS_LIMIT]}
        blocks.append(block)
    blocks.append({"type": "context", "elements": [_markdown(_escaped(notice.footer), FIELD_LIMIT)]})
    return {"text": truncated(_escaped(notice.first_line), TEXT_LIMIT), "blocks": blocks}


def _lead(notice: Notice) -> str:
    return "\n".join([f"*{_escaped(notice.lead)}*", *(_escaped(step) for step in notice.steps)])


def _escaped(text: str) -> str:
    """The three characters that mean something to Slack; a team called <!here> must not call anybody."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _plain(text: str, limit: int) -> dict[str, Any]:
    return {"type": "plain_text", "text": truncated(text, limit), "emoji": False}


def _markdown(text: str, limit: int) -> dict[str, Any]:
    return {"type": "mrkdwn", "text": truncated(text, limit)}


def _address(credentials: Mapping[str, str] | None) -> str:
    """The webhook's address, if it may be called. No message repeats it, since knowing it is all it takes to post."""
    url = (credentials or {}).get("webhook_url", "")
    if not url:
        raise PermanentFailure("the channel has no webhook_url in its credentials")
    try:
        return http.check(url)
    except http.BlockedAddress:
        raise PermanentFailure(
            "the address of the webhook is not http(s), cannot be resolved, or is a private one;"
            " list its host in COSTOBS_PRIVATE_HOSTS if it is meant"
        ) from None


def _judge(status: int, headers: Mapping[str, str]) -> None:
    if status == 200:
        return
    if status == 429:
        after = headers.get("Retry-After", "")
        raise TemporaryFailure("Slack answered 429: too many messages", int(after) if after.isdigit() else None)
    if status >= 500 or status == 408:
        raise TemporaryFailure(f"Slack answered {status}")
    raise PermanentFailure(f"Slack answered {status}: the webhook is gone or refuses the message; make a new one")
