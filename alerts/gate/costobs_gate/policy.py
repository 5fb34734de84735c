"""The policy: which keys exist and which rules hold, parsed strictly and kept on disk for the next start."""

import hashlib
import hmac
import json
import logging
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from costobs_gate import hard, rules
from costobs_gate.fields import PolicyError
from costobs_gate.fields import items as _list
from costobs_gate.fields import text as _text
from costobs_gate.fields import texts as _texts
from costobs_gate.hard import HardBudget
from costobs_gate.pricing import Price
from costobs_gate.rules import Rule

log = logging.getLogger("costobs_gate")

__all__ = ["Key", "Policy", "PolicyError", "PolicyStore", "Rule", "parse"]

POLL_SECONDS = (0.2, 300.0)  # a policy may not make the gate spin, nor fall asleep


@dataclass(frozen=True, slots=True)
class Key:
    """A client key, known by its hash only. It binds the team and the features that a header may name."""

    sha256: str
    key_id: str
    team: str
    features: tuple[str, ...]
    models: frozenset[str] | None  # None: every model
    limits: Rule | None = None


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


def parse(document: object, environment: str = "") -> Policy:
    """A Policy from the JSON of `/api/v1/gate/policy`; raises PolicyError, so that half a policy never counts.

    Rules about another environment than the gate's are left out. `leases` is accepted and not read: amounts are
    granted elsewhere, by question and answer.
    """
    if not isinstance(document, dict):
        raise PolicyError("the policy is not a JSON object")
    keys = [_key(item, index) for index, item in enumerate(_list(document, "keys"))]
    poll = document.get("poll_seconds", 1)
    if isinstance(poll, bool) or not isinstance(poll, (int, float)):
        raise PolicyError("poll_seconds is not a number")
    found = [rules.parse(item, f"rules[{at}]", environment) for at, item in enumerate(_list(document, "rules"))]
    return Policy(
        version=_text(document, "version", "policy"),
        provider=_text(document, "provider", "policy", default="self_hosted"),
        deployment=_text(document, "deployment", "policy", default=""),
        poll_seconds=min(max(poll, POLL_SECONDS[0]), POLL_SECONDS[1]),
        keys={key.sha256: key for key in keys},
        rules=tuple(rule for rule in found if rule is not None),
        hard=_hard(document),
        prices=_prices(document),
    )


class PolicyStore:
    """The policy in force in this process, and the last good one on disk (shared by the processes of one server)."""

    def __init__(self, path: Path, environment: str = "") -> None:
        self.path = path
        self._environment = environment
        self.current: Policy | None = None
        self.etag = ""

    def load(self) -> bool:
        """Take the policy on disk into force; False when there is none that can be used."""
        try:
            kept = json.loads(self.path.read_bytes())
            self.current, self.etag = parse(kept["policy"], self._environment), str(kept["etag"])
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
        policy = parse(document, self._environment)
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
        limits=rules.of_key(item, where, _text(item, "key_id", where)),
    )
