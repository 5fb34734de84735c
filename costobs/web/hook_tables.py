"""The tables of hooks: each resource with where it stands, and what was done to it."""

from collections.abc import Mapping, Sequence

from django.urls import reverse

from alerts import resources
from alerts.hooks import RESOURCES
from alerts.resource_lines import ChangeLine, ResourceLine
from alerts.worth import Saving
from costobs.kernel import fmt
from costobs.web import action_tables
from costobs.web.parts import Cell, Column, Link, Notice, Row, Table

_STATES = {
    "waiting": "pending",
    "draining": "running",
    "applying": "running",
    "applied": "running",
    "verified": "in_force",
    "undoing": "running",
    "undone": "undone",
    "ended": "ended",
    "refused": "refused",
    "failed": "failed",
    "left": "superseded",
}


def hooks(lines: Sequence[ResourceLine], savings: Mapping[int, Saving], *, currency: str, may_manage: bool) -> Table:
    """Every resource."""
    rows = [
        Row(
            [
                Cell(one.name, reverse("settings_hook", args=[one.id]) if may_manage else "", note=title(one)),
                Cell(one.standing_words or "not looked at yet", note=_seen(one)),
                Cell(state=state(one)),
                Cell(one.scope_words, note="dedicated to one owner" if one.is_dedicated else ""),
                _saved(savings.get(one.id), currency),
                Cell(one.held_by or ("Protected: no action touches it" if one.is_protected else fmt.NOT_APPLICABLE)),
            ]
        )
        for one in lines
    ]
    columns = [Column("Hook"), Column("Stands at", wide=True), Column("State"), Column("Whose calls", wide=True)]
    columns += [
        Column(
            "Saves a day at 0", numeric=True, wide=True, title="Effective cost of the last 7 complete days, by seven"
        )
    ]
    columns += [Column("Held by", wide=True)]
    add = [Link("Add a hook", reverse("settings_hook_new"), icon="plus", primary=True)]
    empty = Notice(
        "empty",
        "Budgets refuse requests, and scale nothing",
        "Add what they may scale or stop: a deployment on Kubernetes, a key or team of LiteLLM, machines of a cloud, or a"
        " program of yours. GPUs of your own are paid for until then.",
        add if may_manage else [],
    )
    return Table("Hooks", columns, rows, empty=empty)


def changes(found: Sequence[ChangeLine], *, may_manage: bool, with_name: bool = True, csv_url: str = "") -> Table:
    """What was done, newest first."""
    rows = [
        Row(
            [
                *([Cell(one.resource_name)] if with_name else []),
                Cell(one.words, note=one.error),
                Cell(state=_STATES[one.state]),
                _cost(one),
                Cell(
                    one.budget_name or "a person",
                    reverse("action", args=[one.run_id]) if one.run_id else "",
                    note=_who(one),
                ),
                Cell(fmt.moment(one.asked_at), note=_since(one)),
                Cell("", actions=_actions(one) if may_manage else []),
            ]
        )
        for one in found
    ]
    columns = [Column("Hook")] if with_name else []
    columns += [
        Column("What", wide=True),
        Column("State"),
        Column("Saves a day", numeric=True),
        Column("For", wide=True),
    ]
    columns += [Column("Asked"), Column("Act")]
    empty = Notice("empty", "Nothing was scaled or stopped yet", "Changes appear here when a rung with targets fires.")
    return Table("Changes", columns, rows, empty=empty, csv_url=csv_url if rows else "")


def of_run(run_id: int) -> Table:
    """What one action wanted of resources."""
    rows = [
        Row(
            [
                Cell(one.resource_name),
                Cell(one.words, note=one.error or one.loses),
                Cell(state=_STATES[one.state]),
                _cost(one),
                Cell(one.resume_words or fmt.NOT_APPLICABLE),
            ]
        )
        for one in resources.of_run(run_id=run_id)
    ]
    columns = [Column("Hook"), Column("What", wide=True), Column("State"), Column("Saves a day", numeric=True)]
    columns += [Column("Resuming", wide=True)]
    empty = Notice(
        "empty", "Nothing was begun", "Once the action is applied, requests are refused first, then it is scaled."
    )
    return Table("Changes of resources", columns, rows, empty=empty)


def title(one: ResourceLine) -> str:
    """What kind it is, and which: without an address, which may hold a secret in its path."""
    named = [str(one.config[name]) for name in ("namespace", "name", "team_id", "resource") if one.config.get(name)]
    kind = RESOURCES[one.hook].title if one.hook in RESOURCES else one.hook
    return ", ".join([kind, "/".join(named)] if named else [kind])


def state(one: ResourceLine) -> str:
    """The key of its state."""
    if one.look_error:
        return "failed"
    if one.held_by:
        return "in_force"
    if one.looked_at is None:
        return "never"
    return "works" if one.is_settled else "running"


def _seen(one: ResourceLine) -> str:
    if one.look_error:
        return one.look_error
    return f"looked at {fmt.moment(one.looked_at)}" if one.looked_at else ""


def _saved(saving: Saving | None, currency: str) -> Cell:
    if saving is None or saving.cost is None:
        return Cell(fmt.UNKNOWN, note=saving.words if saving else "")
    return Cell(fmt.money(saving.cost, currency), title=saving.words)


def _cost(one: ChangeLine) -> Cell:
    if one.saves_cost is None:
        return Cell(fmt.UNKNOWN if one.saves_words else fmt.NOT_APPLICABLE, title=one.saves_words)
    return Cell(fmt.money(one.saves_cost, one.currency), title=one.saves_words)


def _who(one: ChangeLine) -> str:
    asked = action_tables.actor(one.asked_by)
    return f"asked by {asked}" + (f", ended by {action_tables.actor(one.ended_by)}" if one.ended_by else "")


def _since(one: ChangeLine) -> str:
    if one.ended_at is not None:
        return f"ended {fmt.moment(one.ended_at)}"
    return f"in force since {fmt.moment(one.verified_at)}" if one.verified_at is not None else one.state_words.lower()


def _actions(one: ChangeLine) -> list[Link]:
    if not one.may_undo:
        return []
    return [Link("Undo", reverse("settings_change_undo", args=[one.id]), icon="undo-2", post=True)]
