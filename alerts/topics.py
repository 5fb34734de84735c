"""What alerts are about, how grave they are, and who is told what by custom: words and order, no tables."""

from dataclasses import dataclass

SEVERITIES = ("info", "warning", "high", "critical")
TOPICS = {
    "budget": "Budgets passing a rung",
    "action": "Actions: approvals, throttles, reroutes, shutdowns",
    "anomaly": "Anomalies",
    "month_close": "Month close and reconciliation",
    "digest": "Digests",
    "test": "Tests",
}
AUDIENCES = {
    "owner": "The owner of the budget",
    "team": "The team",
    "fallback": "Fallback, where nobody else is told",
    "finance": "Finance",
    "on_call": "On-call",
}
# Finance is spared the spikes of a day; on-call is told what touches traffic.
CUSTOM = {
    "owner": ("budget", "action", "anomaly"),
    "team": ("budget", "action", "anomaly"),
    "fallback": ("budget", "action", "anomaly", "month_close"),
    "finance": ("month_close", "digest"),
    "on_call": ("action",),
}
_BY_TONE = {"ok": "info", "stale": "info", "watch": "warning", "thr": "high", "over": "high", "stop": "critical"}
_CLOSING = ("action_ended", "action_undone", "drift_ended", "anomaly_ended", "back_under")
_ANSWERS = ("acknowledged",)
# The kinds after which a receiver closes or answers what it opened before.
LAST = (*_CLOSING, *_ANSWERS)


@dataclass(frozen=True, slots=True)
class Standing:
    """How an alert counts, out of its kind and what it is about."""

    topic: str
    severity: str
    is_closing: bool
    is_answer: bool  # it tells that somebody acted and asks for nothing


def standing(kind: str, *, tone: str, action: str = "", severity: str = "", topic: str = "") -> Standing:
    """`action` is the kind of the action run it is about; a severity or topic that is given counts."""
    found = severity or _BY_TONE.get(tone, "warning")
    if not severity and kind in {"action_waiting", "action_failed"}:
        found = worst(found, "high")
    if not severity and action == "shutdown" and not is_closing(kind):
        found = "critical"
    return Standing(topic or topic_of(kind), found, is_closing(kind), kind in _ANSWERS)


def topic_of(kind: str) -> str:
    """The topic of a kind of alert, by the first word of its name."""
    first = kind.partition("_")[0]
    return {"action": "action", "anomaly": "anomaly", "drift": "month_close", "month": "month_close"}.get(
        first, first if first in TOPICS else "budget"
    )


def is_closing(kind: str) -> bool:
    """Whether nothing is left to do after it."""
    return kind in _CLOSING


def worst(one: str, other: str) -> str:
    """The graver of two severities."""
    return max(one, other, key=SEVERITIES.index)


def at_least(severity: str, least: str) -> bool:
    """Whether a severity reaches another."""
    return SEVERITIES.index(severity) >= SEVERITIES.index(least)
