"""Every state a page shows: its word, its icon and its tone, because colour alone cannot carry it."""

from dataclasses import dataclass
from typing import Literal

Tone = Literal["ok", "watch", "thr", "over", "stop", "stale", "info", "forecast"]


@dataclass(frozen=True, slots=True)
class State:
    """`tone` picks the pair of colours; the word is the same on pages, in Slack and in mail."""

    word: str
    icon: str
    tone: Tone


STATES = {
    # budgets
    "on_track": State("On track", "check", "ok"),
    "watch": State("Watch", "triangle-alert", "watch"),
    "throttled": State("Throttled", "gauge", "thr"),
    "rerouted": State("Rerouted", "route", "thr"),
    "over": State("Over", "x", "over"),
    "stopped": State("Stopped", "square", "stop"),
    "forecast_over": State("Forecast over", "trending-up", "forecast"),
    "paused": State("Paused", "pause", "info"),
    "waiting_approval": State("Waiting approval", "clock", "info"),
    "upcoming": State("Not begun", "clock", "info"),
    "unknown": State("Unknown", "circle-question-mark", "stale"),
    # action runs
    "armed": State("Armed", "circle", "stale"),
    "due": State("Due", "clock", "watch"),
    "pending": State("Pending", "clock", "info"),
    "running": State("Running", "play", "info"),
    "in_force": State("In force", "shield-check", "thr"),
    "dry_run": State("Dry run", "circle-dashed", "info"),
    "done": State("Done", "check", "ok"),
    "ended": State("Ended", "check", "stale"),
    "undone": State("Undone", "undo-2", "stale"),
    "declined": State("Declined", "ban", "stale"),
    "expired": State("Expired", "hourglass", "stale"),
    "failed": State("Failed", "octagon-x", "over"),
    "superseded": State("Superseded", "ban", "stale"),
    "sent": State("Sent", "check", "ok"),
    # alerts
    "muted": State("Muted", "bell-off", "stale"),
    "folded": State("Nothing new", "circle", "stale"),
    "untried": State("Not tried", "circle-dashed", "stale"),
    "severity_warning": State("Warning", "triangle-alert", "watch"),
    "severity_high": State("High", "octagon-x", "over"),
    "severity_critical": State("Critical", "siren", "stop"),
    # sources and data
    "on_time": State("On time", "check", "ok"),
    "waiting": State("Waiting for data", "hourglass", "stale"),
    "late": State("Late", "clock", "watch"),
    "partial": State("Partial", "triangle-alert", "watch"),
    "not_arrived": State("Not arrived", "hourglass", "stale"),
    "refused": State("Refused", "octagon-x", "over"),
    "quarantined": State("Quarantined", "triangle-alert", "watch"),
    "unpriced": State("Unpriced", "circle-question-mark", "watch"),
    "no_telemetry": State("No telemetry", "cloud-off", "stale"),
    "loading": State("Loading", "refresh-cw", "info"),
    "never": State("No data yet", "circle-dashed", "stale"),
    # findings of a connection test
    "works": State("Works", "check", "ok"),
    "missing": State("Missing", "octagon-x", "over"),
    "note": State("Note", "info", "info"),
    # money
    "estimated": State("Estimated", "circle-dashed", "stale"),
    "billed": State("Billed", "check", "ok"),
    "sample": State("Sample", "info", "stale"),
    # changes of prices
    "proposed": State("Proposed", "clock", "info"),
    "approved": State("Approved", "check", "info"),
    "applied": State("In force", "check", "ok"),
    "withdrawn": State("Withdrawn", "undo-2", "stale"),
    # statements
    "open": State("Open", "circle", "stale"),
    "provisional": State("Provisional", "circle-dashed", "watch"),
    "reviewed": State("Reviewed", "check", "info"),
    "closed": State("Closed", "lock", "ok"),
    "waived": State("Waived", "ban", "watch"),
    "showback": State("Showback", "eye", "stale"),
    "chargeback": State("Chargeback", "banknote", "ok"),
    "matched": State("Matched", "check", "ok"),
    "explained": State("Explained", "info", "watch"),
    "unexplained": State("Unexplained", "octagon-x", "over"),
}


def state(key: str) -> State:
    """The state of that key; one that is not listed is an error, not a blank badge."""
    found = STATES.get(key)
    if found is None:
        raise LookupError(f"expected a state of costobs.web.states, found {key!r}")
    return found
