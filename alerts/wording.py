"""The words of budgets and actions: the same on pages, in Slack, in mail and over REST."""

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

from costobs.kernel import fmt
from costobs.kernel.period import Days

STATES = {
    "on_track": "On track",
    "watch": "Watch",
    "throttled": "Throttled",
    "over": "Over",
    "rerouted": "Rerouted",
    "stopped": "Stopped",
    "unknown": "Unknown",
    "paused": "Paused",
    "upcoming": "Not begun",
    "armed": "Armed",
    "waiting_approval": "Waiting approval",
    "running": "Running",
    "in_force": "In force",
    "done": "Done",
    "ended": "Ended",
    "undone": "Undone",
    "declined": "Declined",
    "expired": "Expired",
    "failed": "Failed",
    "superseded": "Superseded",
}
_DIMENSIONS = {
    "cost_centre": "cost centre",
    "provider_name": "provider",
    "cost_kind": "cost kind",
    "purchase_option": "bought as",
    "service_name": "service",
    "sub_account": "account",
}
_PERIOD_NAMES = {"day": "day", "week": "week", "month": "month", "quarter": "quarter", "rolling": "rolling window"}
EVERYTHING = "all spend"


def action(kind: str, config: Mapping[str, Any]) -> str:
    """`Throttle to 6 requests/min`."""
    if kind == "throttle":
        return f"Throttle to {limits(config)}"
    if kind == "reroute":
        at = f" at {config['to_upstream']}" if config.get("to_upstream") else ""
        return f"Reroute to {config['to_model']}{at}" if config.get("to_model") else f"Reroute{at}"
    if kind == "shutdown" and config.get("targets"):
        return f"Shut down, {', '.join(config['targets'])} to {units(config.get('to_units', 0))}"
    return {"notify": "Notify", "shutdown": "Shut down"}[kind]


def units(count: int) -> str:
    """`0 units`, `1 unit`: of what a resource has, replicas or machines."""
    return f"{fmt.integer(count)} unit{'' if count == 1 else 's'}"


def limits(config: Mapping[str, Any]) -> str:
    """`6 requests/min, 2 at a time, 256 output tokens each`."""
    parts = []
    if config.get("requests_per_minute") is not None:
        parts.append(f"{fmt.integer(config['requests_per_minute'])} requests/min")
    if config.get("tokens_per_minute") is not None:
        parts.append(f"{fmt.integer(config['tokens_per_minute'])} tokens/min")
    if config.get("max_inflight") is not None:
        parts.append(f"{fmt.integer(config['max_inflight'])} at a time")
    if config.get("max_tokens") is not None:
        parts.append(f"{fmt.integer(config['max_tokens'])} output tokens each")
    if config.get("priority") is not None:
        parts.append(f"a priority of {config['priority']}")
    if config.get("targets"):
        parts.append(f"{', '.join(config['targets'])} at most {units(config['max_units'])}")
    return ", ".join(parts)


def effect(kind: str, config: Mapping[str, Any] | None = None, *, aborts: bool = False) -> str:
    """What callers see while the action is in force."""
    given = config or {}
    if kind == "shutdown" and given.get("gate") is False:
        return "No gate refuses anything; who calls what is scaled down gets no answer from it."
    running = "running ones are ended" if aborts else "running ones finish"
    paid = "" if given.get("targets") else ", and GPUs stay paid for"
    return {
        "notify": "Nobody's requests change.",
        "throttle": "Requests beyond the limit get HTTP 429 with Retry-After. Nothing is deleted.",
        "reroute": "Requests are answered elsewhere, and the answers may be worse. Nobody is refused.",
        "shutdown": f"New requests get HTTP 429; {running}. Nothing is deleted{paid}.",
    }[kind]


def approval(mode: str) -> str:
    """Who has to agree."""
    return {"automatic": "automatic", "one": "needs approval", "two": "needs approval by two people"}[mode]


def rung(percent: Decimal) -> str:
    """`75 %`, without needless decimals."""
    return f"{percent.normalize():f} %"


def ladder(rungs: Sequence[tuple[Decimal | None, str, str]]) -> str:
    """`60 notify · 75 throttle · 110 shutdown, needs approval` out of (percent, action, approval).

    Those without a percent, which say themselves when they fire, stand last.
    """
    return " · ".join(
        ("" if percent is None else f"{percent.normalize():f} ")
        + kind
        + (f", {approval(mode)}" if mode != "automatic" else "")
        for percent, kind, mode in sorted(rungs, key=lambda item: (item[0] is None, item[0] or 0))
    )


def scope(values: Mapping[str, Sequence[str]]) -> str:
    """`team search, model a or b`."""
    parts = [f"{_DIMENSIONS.get(name, name)} {' or '.join(values[name])}" for name in sorted(values)]
    return ", ".join(parts) or EVERYTHING


def target(values: Mapping[str, Sequence[str]]) -> str:
    """The scope as the subject of a sentence."""
    return scope(values)


def period(kind: str, days: Days) -> str:
    """`1–30 Nov 2026`."""
    return fmt.period(days.start, days.end) if kind != "day" else fmt.day(days.start)


def period_name(kind: str, days: Days) -> str:
    """The word for the period in a sentence: `November`, `week 47`, `21 Nov`, `Q4`."""
    start = days.start
    match kind:
        case "month":
            return f"{start:%B}"
        case "week":
            return f"week {start.isocalendar().week}"
        case "quarter":
            return f"Q{(start.month - 1) // 3 + 1}"
        case "rolling":
            return f"the last {len(days)} days"
    return fmt.short_day(start)


def owned_period(kind: str) -> str:
    """`month` for the label of a form or a table."""
    return _PERIOD_NAMES[kind]


def about(day: date | None) -> str:
    """`, about 28 Nov` or nothing."""
    return "" if day is None else f", about {fmt.short_day(day)}"


def waiting_for_gates(confirmed: int, expected: int) -> str:
    """Why an action is not in force yet."""
    if expected == 0:
        return "no gate is set up, so nothing enforces this yet; make one with: costobs gate create"
    return f"waiting for {expected - confirmed} of {expected} gates"
