"""The tables of gates with their processes, and of the keys of their clients."""

from collections.abc import Sequence
from datetime import datetime

from django.urls import reverse

from alerts.gate_keys import Key, Place, Process
from costobs.kernel import fmt
from costobs.web.parts import Cell, Column, Link, Notice, Row, Table

_SHORT = {
    "requests_per_minute": "requests/min",
    "tokens_per_minute": "tokens/min",
    "max_inflight": "at once",
    "max_tokens": "output tokens",
}
_VERSION_LETTERS = 8
_STATES = {"serving": "works", "silent": "late", "never seen": "never"}  # others are draining


def gates(places: Sequence[Place], now: datetime, *, may_manage: bool) -> Table:
    """Each gate, what it enforces now and what it did."""
    columns = [
        Column("Gate"),
        Column("Before", wide=True),
        Column("State"),
        Column("Processes", numeric=True, title="That asked for the policy within the last minute"),
        Column("Policy", title="The version that its processes hold, and how long ago they said so"),
        Column("Enforces", title="Rules of budgets that its processes hold", wide=True),
        Column("Running", numeric=True, title="Requests in flight"),
        Column("Admitted", numeric=True, title="Since its processes started"),
        Column("Refused", numeric=True, title="Since its processes started"),
        *([Column("Change")] if may_manage else []),
    ]
    rows = [Row(_gate_cells(place, now, may_manage=may_manage)) for place in places]
    link = [Link("Add a gate", reverse("settings_gate_new"), icon="plus", primary=True)]
    empty = Notice(
        "empty",
        "No gate stands anywhere",
        "A gate meters each request where it is served and holds the limits of budgets. Without one budgets only notify.",
        link if may_manage else [],
    )
    return Table("Gates", columns, rows, empty=empty)


def keys(found: Sequence[Key], *, may_manage: bool) -> Table:
    """Each client key in force, and the revoked ones last."""
    columns = [
        Column("Key"),
        Column("Team"),
        Column("Features", wide=True),
        Column("Models", wide=True),
        Column("Limits at each gate", wide=True),
        Column("Made"),
        Column("State"),
    ]
    ordered = sorted(found, key=lambda key: key.revoked_at is not None)
    rows = [Row(_key_cells(key, may_manage=may_manage)) for key in ordered]
    link = [Link("Make a key", reverse("settings_key_new"), icon="key-round", primary=True)]
    empty = Notice(
        "empty",
        "Nobody has a key",
        "Clients show a key to a gate; it says whose spend a request is. A gate serves nobody without one.",
        link if may_manage else [],
    )
    return Table("Keys of clients", columns, rows, empty=empty)


def limits(key: Key) -> str:
    """The limits of a key in words."""
    parts = [f"{fmt.integer(key.limits[name])} {words}" for name, words in _SHORT.items() if name in key.limits]
    parts += [f"priority {key.limits['priority']}"] if "priority" in key.limits else []
    return ", ".join(parts) or "none"


def _gate_cells(place: Place, now: datetime, *, may_manage: bool) -> list[Cell]:
    live = place.live
    rules = sorted({rule for process in live for rule in process.rules})
    remove = Link("Remove", reverse("settings_gate_remove", args=[place.name]), icon="trash-2", danger=True)
    cells = [
        Cell(place.name, note="sample" if place.is_sample else _software(live)),
        Cell(place.deployment, note=place.provider),
        Cell(_state(place).capitalize(), state=_STATES.get(_state(place), "running")),
        Cell(fmt.integer(len(live)), title=", ".join(process.name for process in live if process.name)),
        _policy(place, now),
        Cell(_counted(len(rules), "rule"), note=", ".join(rules[:4]) + (" …" if len(rules) > 4 else "")),
        Cell(_sum([process.inflight for process in live])),
        Cell(_sum([process.admitted for process in live])),
        Cell(_sum([process.refused for process in live])),
    ]
    return [*cells, Cell(actions=[remove])] if may_manage else cells


def _state(place: Place) -> str:
    if place.live:
        draining = sum(process.is_draining for process in place.live)
        return "draining" if draining == len(place.live) else f"{draining} draining" if draining else "serving"
    return "never seen" if place.last_seen_at is None else "silent"


def _policy(place: Place, now: datetime) -> Cell:
    if place.last_seen_at is None:
        return Cell(fmt.NOT_APPLICABLE, note="it has not asked yet")
    versions = sorted({process.policy_version[:_VERSION_LETTERS] for process in place.live if process.policy_version})
    oldest = min((process.last_seen_at for process in place.live), default=place.last_seen_at)
    held = versions[0] if len(versions) == 1 else f"{len(versions)} versions" if versions else "none held"
    return Cell(held, note=f"confirmed {fmt.ago(oldest, now)}", mono=len(versions) == 1)


def _software(live: Sequence[Process]) -> str:
    versions = sorted({process.software for process in live if process.software})
    return f"version {', '.join(versions)}" if versions else ""


def _key_cells(key: Key, *, may_manage: bool) -> list[Cell]:
    in_force = key.revoked_at is None
    url = reverse("settings_key", args=[key.key_id]) if may_manage and in_force else ""
    return [
        Cell(key.name, url, note=key.key_id),
        Cell(key.team),
        Cell("none" if key.features is None else ", ".join(key.features)),
        Cell("all" if key.models is None else ", ".join(key.models)),
        Cell(limits(key)),
        Cell(fmt.day(key.created_at.date())),
        Cell(state="applied")
        if key.revoked_at is None
        else Cell("Revoked", state="withdrawn", note=fmt.day(key.revoked_at.date())),
    ]


def _sum(values: Sequence[int | None]) -> str:
    known = [value for value in values if value is not None]
    return fmt.integer(sum(known)) if known else fmt.NOT_APPLICABLE


def _counted(number: int, noun: str) -> str:
    return "none" if not number else f"{number} {noun}{'' if number == 1 else 's'}"
