"""Rules and limits of a policy: what they are about and what they ask for."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from costobs_gate import fields
from costobs_gate.fields import PolicyError

MATCH_KEYS = frozenset({"team", "feature", "model", "key_id", "environment"})
ACTIONS = frozenset({"throttle", "block", "reroute"})


class Holder(Protocol):
    """What rules see of a key."""

    @property
    def team(self) -> str: ...

    @property
    def key_id(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Match:
    """Which requests something is about. None means any; an empty match is the whole server."""

    team: str | None = None
    feature: str | None = None
    model: str | None = None
    key_id: str | None = None

    def holds(self, key: Holder, feature: str | None, model: str | None) -> bool:
        """Whether a request is certainly one of these. A model that cannot be read is certain of nothing."""
        return (
            self.team in (None, key.team)
            and self.key_id in (None, key.key_id)
            and self.feature in (None, feature)
            and self.model in (None, model)
        )


@dataclass(frozen=True, slots=True)
class Rule:
    """Throttle, block or reroute the requests that match, but for those that an exception protects."""

    id: str
    action: str
    team: str | None = None
    feature: str | None = None
    model: str | None = None
    key_id: str | None = None
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    max_inflight: int | None = None
    max_tokens: int | None = None
    priority: int | None = None
    to_model: str | None = None
    to_upstream: str | None = None
    aborts: bool = False
    protected: tuple[Match, ...] = ()
    retry_after_seconds: int | None = None
    message: str = ""
    until: datetime | None = None

    def covers(self, key: Holder, feature: str | None, model: str | None, served: str | None = None) -> bool:
        """Whether the rule is about such a request. A model that could not be read counts as a match: a body that
        the gate cannot read must not be a way around a rule. Nor must a reroute: `served` counts like `model`."""
        return (
            self.team in (None, key.team)
            and self.key_id in (None, key.key_id)
            and self.feature in (None, feature)
            and (self.model is None or model is None or self.model in (model, served))
            and not any(match.holds(key, feature, model) for match in self.protected)
        )

    @property
    def counts(self) -> bool:
        """Whether the rule needs a counter."""
        return not (self.requests_per_minute is None and self.tokens_per_minute is None and self.max_inflight is None)

    def is_over(self, now: datetime) -> bool:
        """Whether its time has passed."""
        return self.until is not None and self.until <= now


def parse(item: object, where: str, environment: str) -> Rule | None:
    """One rule; None when it is about another environment than this gate's. Raises PolicyError."""
    if not isinstance(item, dict):
        raise PolicyError(f"{where} is not an object")
    match = _match(item.get("match"), where)
    action = fields.text(item, "action", where)
    if action not in ACTIONS:
        raise PolicyError(f"{where}: unknown action {action!r}")
    rule = Rule(
        id=fields.text(item, "id", where),
        action=action,
        team=match.get("team"),
        feature=match.get("feature"),
        model=match.get("model"),
        key_id=match.get("key_id"),
        **_limits(item, where),
        to_model=_optional(item, "to_model", where),
        to_upstream=_optional(item, "to_upstream", where),
        aborts=fields.flag(item, "aborts", where),
        protected=_protected(item, where, environment),
        retry_after_seconds=fields.whole(item, "retry_after_seconds", where),
        message=fields.text(item, "message", where, default=""),
        until=fields.instant(item, "until", where),
    )
    if action == "reroute" and rule.to_model is None and rule.to_upstream is None:
        raise PolicyError(f"{where}: reroute needs to_model or to_upstream")
    return rule if match.get("environment") in (None, environment) else None


def of_key(item: Mapping[str, object], where: str, key_id: str) -> Rule | None:
    """The limits of a key as a rule about that key alone; None when it has none. Raises PolicyError."""
    limits = item.get("limits")
    if limits is None:
        return None
    if not isinstance(limits, dict):
        raise PolicyError(f"{where}: limits is neither null nor an object")
    found = _limits(limits, f"{where}.limits")
    if not any(value is not None for value in found.values()):
        return None
    message = "The limit of this key is used up; it is made free again within a minute."
    return Rule(id=f"key:{key_id}", action="throttle", key_id=key_id, message=message, **found)


# The values fit the fields of Rule that the names say; a TypedDict could not be unpacked beside others in Python 3.10.
def _limits(item: Mapping[str, object], where: str):  # type: ignore[no-untyped-def]
    return {
        "requests_per_minute": fields.number(item, "requests_per_minute", where),
        "tokens_per_minute": fields.number(item, "tokens_per_minute", where),
        "max_inflight": fields.whole(item, "max_inflight", where),
        "max_tokens": fields.whole(item, "max_tokens", where),
        "priority": fields.signed(item, "priority", where),
    }


def _match(value: object, where: str) -> dict[str, str | None]:
    if not isinstance(value, dict) or set(value) - MATCH_KEYS:
        raise PolicyError(f"{where}: match may name {', '.join(sorted(MATCH_KEYS))} only")
    for name, wanted in value.items():
        if wanted is not None and not isinstance(wanted, str):
            raise PolicyError(f"{where}: match.{name} is neither null nor a text")
    return value


def _protected(item: Mapping[str, object], where: str, environment: str) -> tuple[Match, ...]:
    listed = item.get("except")
    if listed is None:
        return ()
    if not isinstance(listed, list):
        raise PolicyError(f"{where}: except is neither null nor a list")
    found = []
    for entry in listed:
        match = _match(entry, f"{where}.except")
        # A match that names nothing would switch the rule off without anybody having said so.
        if any(match.values()) and match.get("environment") in (None, environment):
            found.append(Match(**{name: wanted for name, wanted in match.items() if name != "environment"}))
    return tuple(found)


def _optional(item: Mapping[str, object], name: str, where: str) -> str | None:
    return None if item.get(name) is None else fields.text(item, name, where)
