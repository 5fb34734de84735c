"""The gate hook: the policy document that gates fetch, and the proof that they hold it."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import orjson

from alerts.hooks.base import Hook, PlaceFact, Verdict

POLL_SECONDS = 1
# A process that was silent for longer does not serve, or cannot be reached; either way it proves nothing.
LIVE = timedelta(seconds=15)
_LARGEST = 2_000_000_000
_MATCH_NAMES = ("team", "feature", "model", "key_id")
# Fields that gates of before do not know are sent only where a rule has them.
_NEWER_NAMES = ("tokens_per_minute", "priority", "to_model", "to_upstream", "aborts")
_STRENGTH = ("block", "reroute", "throttle")


@dataclass(frozen=True, slots=True)
class KeyRule:
    """One client key as a gate needs it."""

    sha256: str
    key_id: str
    team: str
    features: Sequence[str] | None
    models: Sequence[str] | None
    limits: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Report:
    """What a gate process says of itself, since it started; None where it says nothing."""

    software: str = ""
    is_draining: bool = False
    inflight: int | None = None
    admitted: int | None = None
    refused: int | None = None


@dataclass(frozen=True, slots=True)
class HardLimit:
    """A hard budget in the policy; amounts travel by leases."""

    budget_id: int
    matches: Sequence[Mapping[str, str]]
    on_unreachable: str
    default_max_tokens: int | None
    message: str
    aborts: bool


@dataclass(frozen=True, slots=True)
class TokenCost:
    """The gate cost of one token; the model `*` is any other."""

    model: str
    input: str
    cached: str
    output: str


@dataclass(frozen=True, slots=True)
class AppliedRun:
    """One action run in the policy."""

    id: int
    rules: Sequence[Mapping[str, Any]]
    until: datetime | None
    protected: Sequence[Mapping[str, str]] = ()  # matches that no rule of it touches
    criticality: int = 1  # of the budget, 0 to 3; where two rules cannot both hold, the more critical one does


class GateHook(Hook):
    """Rules travel in the policy that each gate asks for every second; nothing is pushed, so nothing needs a way in.

    A process proves that it holds a policy by sending its ETag with the next question.
    """

    kind: ClassVar[str] = "gate"

    def verify(self, *, rules: Sequence[str], places: Sequence[PlaceFact], now: datetime) -> Verdict:
        waiting = tuple(place.name for place in places if not _holds(place, frozenset(rules), now))
        return Verdict(len(places) - len(waiting), len(places), waiting)


def rule_ids(run_id: int, count: int) -> list[str]:
    """The names of a run's rules in the policy."""
    return [f"run-{run_id}"] if count == 1 else [f"run-{run_id}-{number}" for number in range(1, count + 1)]


def document(
    *,
    provider: str,
    deployment: str,
    keys: Sequence[KeyRule],
    runs: Sequence[AppliedRun],
    hard: Sequence[HardLimit] = (),
    prices: Sequence[TokenCost] = (),
) -> dict[str, Any]:
    """The policy without version and time, always the same for the same keys, runs, hard budgets and prices."""
    # Without a hard budget nobody counts in gate cost, and a change of prices need not reach the gates.
    limits = {"hard": [_hard(one) for one in hard], "prices": [asdict(one) for one in prices]} if hard else {}
    return {
        "poll_seconds": POLL_SECONDS,
        "provider": provider,
        "deployment": deployment,
        "keys": [
            {
                "sha256": key.sha256,
                "key_id": key.key_id,
                "team": key.team,
                "features": None if key.features is None else list(key.features),
                "models": None if key.models is None else list(key.models),
                # A gate of before knows no limits, and none are shown to it where there are none.
                **({"limits": dict(key.limits)} if key.limits else {}),
            }
            for key in sorted(keys, key=lambda key: key.key_id)
        ],
        "rules": _ordered(runs),
        "leases": [],
        **limits,
    }


def limits(given: Mapping[str, object]) -> dict[str, int]:
    """The limits of a key that are set. Raises ValueError, which says what is wrong."""
    found: dict[str, int] = {}
    for name, value in given.items():
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(f"{name} must be a whole number, not {value!r}")
        least = -_LARGEST if name == "priority" else 1
        if not least <= value <= _LARGEST:
            raise ValueError(f"{name} must be a whole number from {least:,} to {_LARGEST:,}, not {value:,}")
        found[name] = value
    return found


def report(text: str) -> Report:
    """The report in a header, `software=0.1.0;admitted=12;…`. What cannot be read is left out."""
    said = dict(part.split("=", 1) for part in text[:500].split(";") if "=" in part)
    counts = {
        name: int(value) for name, value in said.items() if value.isascii() and value.isdigit() and len(value) < 16
    }
    return Report(
        software=said.get("software", "")[:50],
        is_draining=counts.get("draining") == 1,
        inflight=min(counts["inflight"], 2**31 - 1) if "inflight" in counts else None,
        admitted=counts.get("admitted"),
        refused=counts.get("refused"),
    )


def version(content: Mapping[str, Any]) -> str:
    """A hash of the content."""
    return hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()[:32]


def body(content: Mapping[str, Any], *, now: datetime) -> bytes:
    """The document as it is sent. `generated_at` is no part of the version."""
    sent = {"version": version(content), "generated_at": _instant(now), **content}
    return orjson.dumps(sent)


def _ordered(runs: Sequence[AppliedRun]) -> list[dict[str, Any]]:
    """The rules in the order in which they win: a gate lets every throttle hold, follows the first reroute, and names the first
    block. The strongest first, then the most critical budget's, then the oldest.
    """
    listed = [(run, rule) for run in sorted(runs, key=lambda run: (-run.criticality, run.id)) for rule in _rules(run)]
    return [rule for _, rule in sorted(listed, key=lambda pair: _STRENGTH.index(pair[1]["action"]))]


def _match(given: Mapping[str, Any]) -> dict[str, Any]:
    found = {key: given.get(key) for key in _MATCH_NAMES}
    return found | ({"environment": given["environment"]} if given.get("environment") is not None else {})


def _newer(run: AppliedRun, rule: Mapping[str, Any]) -> dict[str, Any]:
    found = {name: rule[name] for name in _NEWER_NAMES if rule.get(name) is not None}
    return found | ({"except": [_match(match) for match in run.protected]} if run.protected else {})


def _rules(run: AppliedRun) -> list[dict[str, Any]]:
    return [
        {
            "id": name,
            "match": _match(rule["match"]),
            "action": rule["action"],
            "requests_per_minute": rule.get("requests_per_minute"),
            "max_inflight": rule.get("max_inflight"),
            "max_tokens": rule.get("max_tokens"),
            "retry_after_seconds": rule.get("retry_after_seconds"),
            "message": rule["message"],
            "until": _instant(run.until) if run.until else None,
            **_newer(run, rule),
        }
        for name, rule in zip(rule_ids(run.id, len(run.rules)), run.rules, strict=True)
    ]


def _hard(one: HardLimit) -> dict[str, Any]:
    return {
        "budget": one.budget_id,
        "matches": [dict(match) for match in one.matches],
        "on_unreachable": one.on_unreachable,
        "default_max_tokens": one.default_max_tokens,
        "message": one.message,
        "retry_after_seconds": None,
        "aborts": one.aborts,
    }


def _holds(place: PlaceFact, rules: frozenset[str], now: datetime) -> bool:
    live = [process for process in place.processes if now - process.last_seen_at <= LIVE]
    return bool(live) and all(rules <= process.rules for process in live)


def _instant(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
