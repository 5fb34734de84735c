"""Secrets at rest: credentials are encrypted, tokens are hashed."""

import hashlib
import secrets as _random
from typing import Any

import orjson
from cryptography.fernet import Fernet, InvalidToken


class Unreadable(ValueError):
    """The stored secret does not open with this installation's key."""


def seal(value: Any) -> bytes:
    """JSON-able `value`, encrypted."""
    return _fernet().encrypt(orjson.dumps(value))


def unseal(stored: bytes) -> Any:
    """What `seal` was given. Raises Unreadable when the key has changed."""
    try:
        return orjson.loads(_fernet().decrypt(stored))
    except InvalidToken as problem:
        raise Unreadable("a stored credential does not open with COSTOBS_FERNET_KEY; enter it again") from problem


def new_token(prefix: str) -> str:
    """A fresh random token with 256 bits, readable by its prefix."""
    return f"{prefix}_{_random.token_urlsafe(32)}"


def digest(token: str) -> str:
    """The SHA-256 of a token, in hex: the only form in which it is stored."""
    return hashlib.sha256(token.encode()).hexdigest()


def _fernet() -> Fernet:
    from django.conf import settings  # read late: the kernel does not need a configured Django to be imported

    return Fernet(settings.COSTOBS_FERNET_KEY)
