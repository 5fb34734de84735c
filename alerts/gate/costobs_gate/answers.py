"""What the gate answers itself, in the shape of OpenAI errors, which the usual clients understand and retry by."""

import json
from collections.abc import Iterable

from costobs_gate.asgi_types import Send


async def send_error(
    send: Send,
    status: int,
    message: str,
    *,
    kind: str,
    code: str,
    headers: Iterable[tuple[str, str]] = (),
) -> None:
    """Send one error."""
    error = {"message": message, "type": kind, "param": None, "code": code}
    await send_body(send, status, json.dumps({"error": error}).encode(), "application/json", headers)


async def send_body(
    send: Send, status: int, body: bytes, content_type: str, headers: Iterable[tuple[str, str]] = ()
) -> None:
    """Send one whole response."""
    all_headers = [("content-type", content_type), ("content-length", str(len(body))), *headers]
    raw = [(name.encode(), value.encode("latin-1", "replace")) for name, value in all_headers]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def not_allowed(send: Send, method: str, path: str) -> None:
    """403: the path is on no list."""
    message = f"{method} {path[:200]} is not open at this gate."
    await send_error(send, 403, message, kind="permission_error", code="path_not_allowed")


async def unknown_key(send: Send) -> None:
    """401: no key, two keys, or one that the policy does not know."""
    await send_error(
        send,
        401,
        "Give a valid API key: 'Authorization: Bearer …'.",
        kind="authentication_error",
        code="invalid_api_key",
        headers=[("www-authenticate", "Bearer")],
    )


async def no_policy(send: Send) -> None:
    """503: this gate has never had a policy, so it knows no key."""
    await send_error(
        send,
        503,
        "This gate has no policy from costobs yet and refuses requests until it has one.",
        kind="service_unavailable",
        code="gate_without_policy",
        headers=[("retry-after", "5")],
    )


async def cannot_record(send: Send) -> None:
    """503: the spool cannot be written, and what cannot be recorded is not forwarded."""
    await send_error(
        send,
        503,
        "This gate cannot record requests at the moment.",
        kind="service_unavailable",
        code="gate_cannot_record",
        headers=[("retry-after", "30")],
    )


async def too_large(send: Send, limit: int) -> None:
    """413: the body is above the limit of the gate."""
    message = f"The request is larger than {limit} bytes."
    await send_error(send, 413, message, kind="invalid_request_error", code="request_too_large")


async def encoded(send: Send) -> None:
    """415: a compressed body can be neither checked nor metered, and some servers would read it."""
    message = "Send the request without Content-Encoding; this gate reads no compressed bodies."
    await send_error(send, 415, message, kind="invalid_request_error", code="encoding_not_supported")


async def draining(send: Send) -> None:
    """429: the server is to stop; it serves what runs and nothing new. Not a 5xx: nothing is broken."""
    await send_error(
        send,
        429,
        "This server is stopping and takes no new requests; ask again, another one may answer.",
        kind="rate_limit_error",
        code="draining",
        headers=[("retry-after", "5"), ("connection", "close")],
    )


async def send_json(send: Send, status: int, document: object, headers: Iterable[tuple[str, str]] = ()) -> None:
    """Send one JSON document."""
    await send_body(send, status, json.dumps(document).encode(), "application/json", headers)
