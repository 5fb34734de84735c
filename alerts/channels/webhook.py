"""Alerts to a program of the user's own, signed."""

from collections.abc import Mapping
from typing import Any, ClassVar

import httpx
import orjson

from alerts.channels.base import (
    BadConfig,
    Channel,
    Field,
    Letter,
    PermanentFailure,
    Position,
    TemporaryFailure,
    judge,
    known,
    signature,
)
from costobs.kernel import http

SCHEMA = "costobs.alert.v1"
_SHORTEST = 16
_MOST_BYTES = 1 << 20


class Webhook(Channel):
    """A POST with JSON for each alert. Example configuration:

    {"url": "https://ops.example.com/hooks/costobs"}

    `Idempotency-Key` is the same each time an alert is sent. `X-Costobs-Signature: t=…,v1=…` is the HMAC-SHA256 of the seconds
    in t, a dot and the body, with the secret: check it, and that t is not long ago. The secret lies in the credentials:

        {"secret": "at least 16 characters"}
    """

    kind: ClassVar[str] = "webhook"
    title: ClassVar[str] = "Webhook"
    settings: ClassVar = (Field("url", "Address", "It answers 2xx once it has kept the alert.", is_needed=True),)
    secrets: ClassVar = (
        Field(
            "secret", "Signing secret", f"At least {_SHORTEST} characters; the receiver knows it too.", is_needed=True
        ),
    )
    hears_answers: ClassVar[bool] = True

    def check(self, config: Mapping[str, Any], credentials: Mapping[str, str] | None) -> None:
        known(config, self.kind, ("url",))
        try:
            http.check(str(config.get("url", "")))
        except http.BlockedAddress as problem:
            raise BadConfig(f"url: {problem}") from None
        if len((credentials or {}).get("secret", "")) < _SHORTEST:
            raise BadConfig(f"secret: use at least {_SHORTEST} characters")

    def send(self, letter: Letter, config: Mapping[str, Any], credentials: Mapping[str, str] | None) -> Position | None:
        body = orjson.dumps(document(letter))
        moment = letter.sent_at or letter.raised_at
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": f"costobs-alert-{letter.id}",
            "X-Costobs-Signature": signature(body, (credentials or {})["secret"], int(moment.timestamp())),
        }
        post("the address", str(config["url"]), body, headers)
        return None

    def place(self, config: Mapping[str, Any]) -> str:
        return str(config.get("url", "")).partition("://")[2].partition("/")[0]


def document(letter: Letter) -> dict[str, Any]:
    """What is posted; names and meanings stay, new names may come."""
    notice = letter.notice
    return {
        "schema": SCHEMA,
        "id": letter.id,
        "thread": letter.thread,
        "kind": letter.kind,
        "topic": letter.topic,
        "severity": letter.severity,
        "status": "acknowledged" if letter.is_answer else "resolved" if letter.is_closing else "open",
        "raised_at": letter.raised_at.isoformat(),
        "about": notice.about,
        "title": notice.first_line,
        "header": notice.header,
        "lead": notice.lead,
        "facts": [{"label": fact.label, "value": fact.value} for fact in notice.facts],
        "steps": list(notice.steps),
        "sections": [
            {"title": one.title, "lead": one.lead, "columns": one.columns, "rows": one.rows, "note": one.note}
            for one in notice.sections
        ],
        "links": [{"label": one.label, "url": f"{letter.base_url}{one.path}"} for one in notice.buttons],
        "why": letter.why_url,
        "footer": notice.footer,
    }


def post(name: str, url: str, body: bytes, headers: Mapping[str, str]) -> None:
    """A POST to an address of the user's own. Raises TemporaryFailure or PermanentFailure; neither repeats the address."""
    try:
        checked = http.check(url)
        with http.client() as client:
            status, answered, _ = http.fetch(
                client, "POST", checked, content=body, headers=dict(headers), most_bytes=_MOST_BYTES
            )
    except http.BlockedAddress:
        raise PermanentFailure(
            f"{name} may not be called; list its host in COSTOBS_PRIVATE_HOSTS if it is meant"
        ) from None
    except (httpx.HTTPError, http.TooLong) as problem:
        raise TemporaryFailure(f"{name} could not be reached ({type(problem).__name__})") from None
    judge(name, status, answered)
