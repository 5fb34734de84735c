"""Statements to a program of the user's own, signed."""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from typing import Any, ClassVar

import httpx
import orjson

from alerts.destinations.base import (
    MOST_BYTES,
    BadConfig,
    Destination,
    Field,
    Parcel,
    PermanentFailure,
    TemporaryFailure,
    checked,
)
from costobs.kernel import http

_SHORTEST = 16


class Webhook(Destination):
    """A POST with JSON: the month, and each file with its checksum and its bytes in base64. Example configuration:

    {"url": "https://erp.example.com/hooks/statements"}

    `Idempotency-Key` is the same each time a parcel is sent. `X-Costobs-Signature: t=…,v1=…` is the HMAC-SHA256 of the seconds
    in t, a dot and the body, with the secret: check it, and that t is not long ago.
    """

    kind: ClassVar = "webhook"
    title: ClassVar = "Webhook"
    settings: ClassVar = (Field("url", "Address", "It answers 2xx once it has kept the files.", is_needed=True),)
    secrets: ClassVar = (
        Field(
            "secret", "Signing secret", f"At least {_SHORTEST} characters; the receiver knows it too.", is_needed=True
        ),
    )

    def check(self, config: Mapping[str, Any], credentials: Mapping[str, str]) -> None:
        super().check(config, credentials)
        checked("url", str(config["url"]))
        if len(credentials["secret"]) < _SHORTEST:
            raise BadConfig("secret", f"use at least {_SHORTEST} characters")

    def send(self, parcel: Parcel, config: Mapping[str, Any], credentials: Mapping[str, str]) -> str:
        body = orjson.dumps(document(parcel))
        if len(body) > MOST_BYTES * 2:
            raise PermanentFailure(f"the files have {len(body):,} bytes as JSON; deliver them to a store")
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": parcel.key,
            "X-Costobs-Signature": signature(body, credentials["secret"], int(parcel.sent_at.timestamp())),
        }
        try:
            url = http.check(str(config["url"]))
            with http.client() as client:
                status, _, _ = http.fetch(client, "POST", url, content=body, headers=headers, most_bytes=1 << 20)
        except http.BlockedAddress as problem:
            raise PermanentFailure(f"url: {problem}") from None
        except (httpx.HTTPError, http.TooLong) as problem:
            raise TemporaryFailure(f"the address could not be reached ({type(problem).__name__})") from None
        if 200 <= status < 300:
            return f"answered {status}"
        failure = f"the address answered {status}"
        raise (TemporaryFailure if status in {408, 425, 429} or status >= 500 else PermanentFailure)(failure)


def document(parcel: Parcel) -> dict[str, Any]:
    """What is posted."""
    return {
        "key": parcel.key,
        "month": parcel.month,
        "kind": parcel.kind,
        "subject": parcel.subject,
        "files": [
            {
                "name": one.name,
                "media_type": one.media_type,
                "sha256": hashlib.sha256(one.content).hexdigest(),
                "content": base64.b64encode(one.content).decode(),
            }
            for one in parcel.items
        ],
    }


def signature(body: bytes, secret: str, seconds: int) -> str:
    """The header that proves who sent the body, and when."""
    made = hmac.new(secret.encode(), f"{seconds}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={seconds},v1={made}"
