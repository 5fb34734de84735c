"""Slack, through an incoming webhook: Block Kit, with links to the pages that act."""

import logging
from collections.abc import Mapping
from typing import Any, ClassVar

import httpx

from alerts.channels import blocks
from alerts.channels.base import (
    BadConfig,
    Channel,
    Field,
    Letter,
    PermanentFailure,
    Position,
    TemporaryFailure,
)
from costobs.kernel import http

_TIMEOUT_SECONDS = 5
# httpx logs every address it calls at INFO, and the address of a webhook is a secret.
logging.getLogger("httpx").setLevel(logging.WARNING)


class Slack(Channel):
    """One message for each alert in the channel of the webhook. Buttons are links; nothing acts from Slack.

    A webhook can neither edit nor answer, so an alert that says nothing new is not sent. Its address is a secret and lies in
    the credentials:

        {"webhook_url": "https://hooks.slack.com/services/…"}
    """

    kind: ClassVar[str] = "slack"
    title: ClassVar[str] = "Slack webhook"
    secrets: ClassVar = (
        Field("webhook_url", "Webhook address", "From Slack: an incoming webhook of the channel.", is_needed=True),
    )

    def check(self, config: Mapping[str, Any], credentials: Mapping[str, str] | None) -> None:
        if config:
            raise BadConfig(f"slack has no setting {min(config)!r}; the webhook_url belongs to the credentials")
        try:
            _address(credentials)
        except PermanentFailure as problem:
            raise BadConfig(str(problem)) from problem

    def send(self, letter: Letter, config: Mapping[str, Any], credentials: Mapping[str, str] | None) -> Position | None:
        address = _address(credentials)
        try:
            # Not the client of slack-sdk: it follows redirects, away from the address that was checked.
            with http.client() as client:
                answer = client.post(address, json=message(letter), timeout=_TIMEOUT_SECONDS)
        except httpx.HTTPError as problem:
            # The text of the problem may hold the address; its kind does not.
            raise TemporaryFailure(f"Slack could not be reached ({type(problem).__name__})") from None
        _judge(answer.status_code, answer.headers)
        return None


def message(letter: Letter) -> dict[str, Any]:
    """The text and the blocks of one alert, within the limits; what could act is left to the page behind the link."""
    return blocks.message(letter)


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
