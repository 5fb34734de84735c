"""A program of the user's own that scales or stops something, asked by signed requests."""

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import urlsplit

import httpx
import orjson

from alerts.hooks.base import (
    BadConfig,
    Change,
    Field,
    PermanentFailure,
    ResourceHook,
    Standing,
    TemporaryFailure,
    checked,
)
from costobs.kernel import http

SHORTEST = 16
_MOST_BYTES = 1 << 20
_MOST_WORDS = 300
_MOST_UNITS = 1_000_000


class Webhook(ResourceHook):
    """Asks a program of yours, by signed POST, to go to a number of units and back. Example configuration:

        {"url": "https://ops.example.com/costobs", "resource": "vllm", "resume_seconds": "120"}

    The body is JSON: `act` (look, apply or undo), `resource`, and for apply and undo `from_units`, `to_units`, `words` and
    `before`. Each answer is the standing: {"units": 3, "words": "3 of 3 ready", "is_settled": true, "details": {}}; what is in
    `details` comes back as `before`. With a `status_url`, the standing is read from there by GET, signed over an empty body.

    `X-Costobs-Signature: t=…,v1=…` is the HMAC-SHA256 of the seconds in t, a dot and the body, with the secret: check it, and
    that t is not older than five minutes. `Idempotency-Key` is the same each time one change is sent: apply it once. In Python:

        t, v1 = (part.split("=")[1] for part in headers["X-Costobs-Signature"].split(","))
        made = hmac.new(secret, t.encode() + b"." + body, "sha256").hexdigest()
        trusted = hmac.compare_digest(made, v1) and abs(now - int(t)) < 300  # now: seconds since 1970
    """

    kind: ClassVar = "webhook"
    title: ClassVar = "Webhook"
    settings: ClassVar = (
        Field("url", "Address", "It gets look, apply and undo.", is_needed=True),
        Field("status_url", "Address of the standing", "Empty: the standing is asked for by POST, with look."),
        Field("resource", "Name in its words", "Sent as `resource`, where one program has several."),
        Field("resume_seconds", "Seconds to resume", "From 0 until it serves again."),
    )
    secrets: ClassVar = (
        Field("secret", "Signing secret", f"At least {SHORTEST} characters; the program knows it too.", is_needed=True),
    )

    def check(self, config: Mapping[str, Any], credentials: Mapping[str, str]) -> None:
        super().check(config, credentials)
        for name in ("url", "status_url"):
            if config.get(name):
                checked(name, str(config[name]))
        if config.get("status_url") and _origin(config["status_url"]) != _origin(config["url"]):
            raise BadConfig("status_url", "expected the host of the address: both are signed with one secret")
        if config.get("resume_seconds") and not str(config["resume_seconds"]).isdigit():
            raise BadConfig("resume_seconds", f"expected whole seconds, found {config['resume_seconds']!r}")
        if len(credentials["secret"]) < SHORTEST:
            raise BadConfig("secret", f"use at least {SHORTEST} characters")

    def look(self, config: Mapping[str, Any], credentials: Mapping[str, str]) -> Standing:
        if config.get("status_url"):
            return _standing(self._ask("GET", str(config["status_url"]), b"", "", credentials))
        body = _body("look", config)
        return _standing(self._ask("POST", str(config["url"]), body, "", credentials))

    def plan(self, standing: Standing, to_units: int, config: Mapping[str, Any]) -> Change:
        if to_units < 0:
            raise PermanentFailure(f"expected 0 units or more, found {to_units}")
        what = config.get("resource") or _origin(config["url"])[1]
        seconds = int(config["resume_seconds"]) if config.get("resume_seconds") else None
        resume = f"The program starts it again, about {seconds} s" if seconds else "The program starts it again"
        words = f"Ask {what} to go from {standing.units} to {to_units} units"
        return Change(
            standing.units,
            to_units,
            words,
            "What the program stops is its own to say",
            resume,
            seconds,
            standing.details,
        )

    def apply(self, change: Change, config: Mapping[str, Any], credentials: Mapping[str, str]) -> None:
        self._send("apply", change, config, credentials)

    def undo(self, change: Change, config: Mapping[str, Any], credentials: Mapping[str, str]) -> None:
        self._send("undo", change, config, credentials)

    def _send(self, act: str, change: Change, config: Mapping[str, Any], credentials: Mapping[str, str]) -> None:
        told = {name: getattr(change, name) for name in ("from_units", "to_units", "words")}
        body = _body(act, config, **told, before=dict(change.before))
        key = f"{change.key or hashlib.sha256(body).hexdigest()[:32]}-{act}"
        self._ask("POST", str(config["url"]), body, key, credentials)

    def _ask(self, method: str, address: str, body: bytes, key: str, credentials: Mapping[str, str]) -> bytes:
        assert self.now is not None, "a webhook is signed with the time: give it one"
        signed = signature(body, credentials.get("secret", ""), int(self.now.timestamp()))
        headers = {"X-Costobs-Signature": signed, "Accept": "application/json"}
        if body:
            headers["Content-Type"] = "application/json"
        if key:
            headers["Idempotency-Key"] = key
        try:
            url = http.check(address)
            with http.client() as client:
                status, _, content = http.fetch(
                    client, method, url, content=body or None, headers=headers, most_bytes=_MOST_BYTES
                )
        except http.BlockedAddress as problem:
            raise PermanentFailure(f"url: {problem}") from None
        except (httpx.HTTPError, http.TooLong) as problem:
            raise TemporaryFailure(f"the address could not be reached ({type(problem).__name__})") from None
        if not 200 <= status < 300:
            raise _refused(status)
        return content


def signature(body: bytes, secret: str, seconds: int) -> str:
    """The header that proves who sent the body, and when."""
    made = hmac.new(secret.encode(), f"{seconds}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={seconds},v1={made}"


def _body(act: str, config: Mapping[str, Any], **more: Any) -> bytes:
    return orjson.dumps({"act": act, "resource": config.get("resource") or "", **more})


def _standing(content: bytes) -> Standing:
    """The standing in an answer. Raises PermanentFailure."""
    try:
        found = orjson.loads(content)
    except orjson.JSONDecodeError:
        raise PermanentFailure("expected the standing as JSON, found something else; see the manual") from None
    units = found.get("units") if isinstance(found, dict) else None
    if not isinstance(units, int) or isinstance(units, bool) or not 0 <= units <= _MOST_UNITS:
        raise PermanentFailure("expected `units` as a whole number in the answer, found none; see the manual")
    if b"\\u0000" in content:
        raise PermanentFailure("expected text in the answer, found a NUL character, which no text can keep")
    details = found.get("details", {})
    if not isinstance(details, dict):
        raise PermanentFailure("expected `details` as an object in the answer; see the manual")
    words = str(found.get("words") or f"{units} units")[:_MOST_WORDS]
    return Standing(units, words, bool(found.get("is_settled", True)), details)


def _refused(status: int) -> Exception:
    if status in {408, 409, 425, 429} or status >= 500:
        return TemporaryFailure(f"the address answered {status}; it is tried again")
    words = {
        401: "the address refuses the signature (401): is the secret the same on both sides, and its clock right?",
        403: "the address refuses this act (403); allow it there",
        404: "the address knows no such resource (404); correct address or name",
    }
    return PermanentFailure(words.get(status, f"the address answered {status}"))


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(str(url))
    return parts.scheme, parts.netloc.lower()
