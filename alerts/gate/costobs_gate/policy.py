"""The policy: which keys exist and which rules hold, parsed strictly and kept on disk for the next start."""

import hashlib
import hmac
import json
import logging
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from costobs_gate import hard
from costobs_gate.hard import HardBudget
from costobs_gate.pricing import Price

log = logging.getLogger("costobs_gate")

MATCH_KEYS = frozenset({"team", "feature", "model", "key_id"})
ACTIONS = frozenset({"throttle", "block"})
POLL_SECONDS = (0.2, 300.0)  # a policy may not make the gate spin, nor fall asleep


class PolicyError(Exception):
    """The document is not a policy; the message says where."""


@dataclass(frozen=True, slots=True)
class Key:
    """A client key, known by its hash only. It binds the team and the features that a header may name."""

    sha256: str
    key_id: str
    team: str
    features: tuple[str, ...]
    models: frozenset[str] | None  # None: every model


@dataclass(frozen=True, slots=True)
class Rule:
    """Throttle or block the requests that match. None in a match means any; an empty match is the whole server."""

    id: str
    action: str
    team: str | None = None
    feature: str | None = None
    model: str | None = None
    key_id: str | None = None
    requests_per_minute: float | None = None
    max_inflight: int | None = None
    max_tokens: int | None = None
    retry_after_seconds: int | None = None
    message: str = ""
    until: datetime | None = None

    def covers(self, key: Key, feature: str | None, model: str | None) -> bool:
        """Whether the rule is about such a request. A model that could not be read counts as a match: a body that
        the gate cannot read must not be a way around a rule."""
        return (
            self.team in (None, key.team)
            and self.key_id in (None, key.key_id)
            and self.feature in (None, feature)
            and (self.model in (None, model) or model is None)
        )


@dataclass(frozen=True, slots=True)
class Policy:
    """One version of the policy, ready for look-ups."""

    version: str
    provider: str
    deployment: str
    poll_seconds: float
    keys: Mapping[str, Key]
    rules: tuple[Rule, ...]
    hard: tuple[HardBudget, ...] = ()
    prices: Mapping[str, Price] = field(default_factory=dict)

    def find_key(self, secret: str) -> Key | None:
        """The key with the hash of `secret`. Time tells nothing: no caller can steer a hash."""
        digest = hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()
        key = self.keys.get(digest)
        return key if key is not None and hmac.compare_digest(key.sha256, digest) else None


def parse(document: object) -> Policy:
    """A Policy from the JSON of `/api/v1/gate/policy`; raises PolicyError, so that half a policy never counts.

    `leases` is accepted and not read: amounts are granted elsewhere, by question and answer.
    """
    if not isinstance(document, dict):
        raise PolicyError("the policy is not a JSON object")
    keys = [_key(item, index) for index, item in enumerate(_list(document, "keys"))]
    poll = document.get("poll_seconds", 1)
    if isinstance(poll, bool) or not isinstance(poll, (int, float)):
        raise PolicyError("poll_seconds is not a number")
    return Policy(
        version=_text(document, "version", "policy"),
        provider=_text(document, "provider", "policy", default="self_hosted"),
        deployment=_text(document, "deployment", "policy", default=""),
        poll_seconds=min(max(poll, POLL_SECONDS[0]), POLL_SECONDS[1]),
        keys={key.sha256: key for key in keys},
        rules=tuple(_rule(item, index) for index, item in enumerate(_list(document, "rules"))),
        hard=_hard(document),
        prices=_prices(document),
    )


class PolicyStore:
    """The policy in force in this process, and the last good one on disk (shared by the processes of one server)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.current: Policy | None = None
        self.etag = ""

    def load(self) -> bool:
        """Take the policy on disk into force; False when there is none that can be used."""
        try:
            kept = json.loads(self.path.read_bytes())
            self.current, self.etag = parse(kept["policy"]), str(kept["etag"])
        except FileNotFoundError:
            return False
        except (OSError, ValueError, KeyError, TypeError, PolicyError) as error:
            log.warning("the policy on disk cannot be used: %s", error)
            return False
        return True

    def replace(self, body: bytes, etag: str) -> Policy:
        """Take a fetched policy into force and keep it; raises PolicyError and changes nothing when it is broken."""
        try:
            document = json.loads(body)
        except ValueError as error:
            raise PolicyError(f"the policy is not JSON: {error}") from error
        policy = parse(document)
        self.current, self.etag = policy, etag
        try:
            self._keep(json.dumps({"etag": etag, "policy": document}).encode())
        except OSError as error:
            log.error("the policy is in force but cannot be kept on disk: %s", error)
        return policy

    def _keep(self, content: bytes) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = self.path.with_name(f"{self.path.name}.{os.getpid()}.{threading.get_ident()}")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self.path)


def _hard(document: Mapping[str, object]) -> tuple[HardBudget, ...]:
    try:
        return hard.budgets(document)
    except ValueError as error:
        raise PolicyError(str(error)) from error


def _prices(document: Mapping[str, object]) -> Mapping[str, Price]:
    try:
        return hard.prices(document)
    except ValueError as error:
        raise PolicyError(str(error)) from error


def _list(document: Mapping[str, object], name: str) -> list[object]:
    value = document.get(name)
    if not isinstance(value, list):
        raise PolicyError(f"{name} is not a list")
    return value


def _text(item: Mapping[str, object], name: str, where: str, *, default: str | None = None) -> str:
    value = item.get(name, default)
    if not isinstance(value, str):
        raise PolicyError(f"{where}: {name} is not a text")
    return value


def _texts(item: Mapping[str, object], name: str, where: str) -> tuple[str, ...] | None:
    value = item.get(name)
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        raise PolicyError(f"{where}: {name} is neither null nor a list of texts")
    return tuple(value)


def _key(item: object, index: int) -> Key:
    where = f"keys[{index}]"
    if not isinstance(item, dict):
        raise PolicyError(f"{where} is not an object")
    digest = _text(item, "sha256", where).lower()
    if len(digest) != 64 or set(digest) - set("0123456789abcdef"):
        raise PolicyError(f"{where}: sha256 is not 64 hexadecimal digits")
    models = _texts(item, "models", where)
    return Key(
        sha256=digest,
        key_id=_text(item, "key_id", where),
        team=_text(item, "team", where),
        features=_texts(item, "features", where) or (),
        models=None if models is None else frozenset(models),
    )


def _rule(item: object, index: int) -> Rule:
    where = f"rules[{index}]"
    if not isinstance(item, dict):
        raise PolicyError(f"{where} is not an object")
    match = item.get("match")
    if not isinstance(match, dict) or set(match) - MATCH_KEYS:
        raise PolicyError(f"{where}: match may name {', '.join(sorted(MATCH_KEYS))} only")
    for name, value in match.items():
        if value is not None and not isinstance(value, str):
            raise PolicyError(f"{where}: match.{name} is neither null nor a text")
    action = _text(item, "action", where)
    if action not in ACTIONS:
        raise PolicyError(f"{where}: unknown action {action!r}")
    return Rule(
        id=_text(item, "id", where),
        action=action,
        **match,
        requests_per_minute=_number(item, "requests_per_minute", where),
        max_inflight=_whole(item, "max_inflight", where),
        max_tokens=_whole(item, "max_tokens", where),
        retry_after_seconds=_whole(item, "retry_after_seconds", where),
        message=_text(item, "message", where, default=""),
        until=_instant(item, where),
    )


def _number(item: Mapping[str, object], name: str, where: str) -> float | None:
    value = item.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
        raise PolicyError(f"{where}: {name} is not a number of 0 or more")
    return value


def _whole(item: Mapping[str, object], name: str, where: str) -> int | None:
    value = _number(item, name, where)
    if value is not None and not isinstance(value, int):
        raise PolicyError(f"{where}: {name} is not a whole number")
    return value


def _instant(item: Mapping[str, object], where: str) -> datetime | None:
    value = item.get("until")
    if value is None:
        return None
    try:
        # Python 3.10 does not read the Z.
        instant = datetime.fromisoformat(str(value).replace("Z", "+00:00"))
    except ValueError as error:
        raise PolicyError(f"{where}: until is not an ISO 8601 instant") from error
    if instant.tzinfo is None:
        raise PolicyError(f"{where}: until has no zone")
    return instant.astimezone(timezone.utc)
