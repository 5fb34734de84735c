"""Events for on-call, in the form of PagerDuty's Events API v2, which many others take as well."""

from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import urlsplit

import orjson

from alerts.channels.base import BadConfig, Channel, Field, Letter, Position, known, truncated
from alerts.channels.webhook import post
from costobs.kernel import http

URL = "https://events.pagerduty.com/v2/enqueue"
SUMMARY_LIMIT = 1024  # of the Events API (developer.pagerduty.com, PD-CEF)
_SEVERITIES = {"info": "info", "warning": "warning", "high": "error", "critical": "critical"}


class PagerDuty(Channel):
    """An incident for each open item: the first alert triggers it, "I'm on it" acknowledges it, its end resolves it. Example
    configuration, where `url` is only for another service that takes the same events:

    {"url": "https://events.eu.pagerduty.com/v2/enqueue"}

    The key of the integration lies in the credentials:

        {"routing_key": "32 letters and digits"}
    """

    kind: ClassVar[str] = "pagerduty"
    title: ClassVar[str] = "PagerDuty events"
    settings: ClassVar = (Field("url", "Address", "Empty: PagerDuty's own. It takes events v2."),)
    secrets: ClassVar = (Field("routing_key", "Routing key", "Of an Events API v2 integration.", is_needed=True),)
    hears_answers: ClassVar[bool] = True

    def check(self, config: Mapping[str, Any], credentials: Mapping[str, str] | None) -> None:
        known(config, self.kind, ("url",))
        if config.get("url"):
            try:
                http.check(str(config["url"]))
            except http.BlockedAddress as problem:
                raise BadConfig(f"url: {problem}") from None
        if not (credentials or {}).get("routing_key", "").strip():
            raise BadConfig("routing_key: expected the key of an Events API v2 integration, found nothing")

    def send(self, letter: Letter, config: Mapping[str, Any], credentials: Mapping[str, str] | None) -> Position | None:
        body = orjson.dumps({"routing_key": (credentials or {})["routing_key"], **event(letter)})
        post("the events address", str(config.get("url") or URL), body, {"Content-Type": "application/json"})
        return Position(letter.thread) if letter.is_first else None

    def place(self, config: Mapping[str, Any]) -> str:
        return urlsplit(str(config.get("url") or URL)).hostname or ""


def event(letter: Letter) -> dict[str, Any]:
    """The event without its routing key. `dedup_key` is the item's thread, so repeats and changes meet one incident."""
    notice = letter.notice
    action = "acknowledge" if letter.is_answer else "resolve" if letter.is_closing else "trigger"
    return {
        "event_action": action,
        "dedup_key": truncated(letter.thread, 255),
        "client": "costobs",
        "client_url": letter.why_url,
        "links": [{"href": f"{letter.base_url}{one.path}", "text": one.label} for one in notice.buttons],
        "payload": {
            "summary": truncated(notice.first_line, SUMMARY_LIMIT),
            "source": urlsplit(letter.base_url).hostname or "costobs",
            "severity": _SEVERITIES[letter.severity],
            "timestamp": letter.raised_at.isoformat(),
            "component": notice.about,
            "class": letter.kind,
            "custom_details": {
                "now": notice.lead,
                "next": list(notice.steps),
                **{fact.label: fact.value for fact in notice.facts},
                "freshness": notice.footer,
            },
        },
    }
