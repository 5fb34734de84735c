"""What ladders did or want to do, as tables: waiting, in force, and the log."""

from collections.abc import Sequence
from datetime import datetime

from django.urls import reverse

from alerts.queries import RunLine
from costobs.access.scopes import Viewer
from costobs.kernel import fmt
from costobs.web import budget_access
from costobs.web.parts import Cell, Column, Link, Notice, Row, Table

_BY = {"": "ladder", "clock": "the clock", "ladder": "ladder"}


def links(viewer: Viewer, run: RunLine) -> list[Link]:
    """To the page where it is decided; links only, because a GET never acts."""
    url = reverse("action", args=[run.id])
    if not budget_access.may_act(viewer, run.teams):
        return []
    if run.may_approve:
        return [Link("Decide…", url, icon="shield-check", primary=True)]
    return [Link("Undo…", url, icon="undo-2")] if run.may_undo else []


def waiting(runs: Sequence[RunLine], viewer: Viewer, now: datetime) -> Table:
    """Actions that wait for somebody."""
    columns = [
        Column("Action"),
        Column("Budget"),
        Column("Why", wide=True),
        Column("Asked, expires"),
        Column("What callers would see", wide=True),
        Column("Decide"),
    ]
    rows = [
        Row(
            [
                Cell(run.words, reverse("action", args=[run.id]), note=run.target_words),
                Cell(run.budget_name, reverse("budget", args=[run.budget_id])),
                Cell(run.reason),
                Cell(fmt.ago(run.asked_at, now), note=_until(run), title=fmt.moment(run.asked_at)),
                Cell(run.effect),
                Cell(actions=links(viewer, run))
                if budget_access.may_act(viewer, run.teams)
                else Cell("not yours to decide"),
            ]
        )
        for run in runs
    ]
    empty = Notice("info", "Nothing waits for approval", f"Checked {fmt.moment(now)}.")
    return Table("Actions that wait for approval", columns, rows, empty=empty)


def _until(run: RunLine) -> str:
    end = fmt.moment(run.expires_at) if run.expires_at else "the end of the period"
    return f"until {end}, then nothing happens"


def in_force(runs: Sequence[RunLine], viewer: Viewer, now: datetime) -> Table:
    """Actions that hold, are about to, or failed."""
    columns = [
        Column("Action"),
        Column("Budget"),
        Column("State"),
        Column("Since"),
        Column("By"),
        Column("Until"),
        Column("What callers see", wide=True),
        Column("Undo"),
    ]
    rows = [
        Row(
            [
                Cell(run.words, reverse("action", args=[run.id]), note=run.target_words),
                Cell(run.budget_name, reverse("budget", args=[run.budget_id])),
                Cell(run.state_words, state=run.state, note=run.error),
                Cell(fmt.moment(run.applied_at or run.asked_at), note=fmt.ago(run.applied_at or run.asked_at, now)),
                Cell(actor(run.decided_by)),
                Cell(fmt.moment(run.expires_at) if run.expires_at else "Period end", note="or undo"),
                Cell(run.effect),
                Cell(actions=links(viewer, run)),
            ]
        )
        for run in runs
    ]
    empty = Notice("info", "No action is in force", "Nobody is throttled or stopped by a budget.")
    return Table("Actions in force", columns, rows, empty=empty)


def log(runs: Sequence[RunLine]) -> Table:
    """Everything the ladders did, newest first."""
    columns = [
        Column("When"),
        Column("Action"),
        Column("Budget"),
        Column("State"),
        Column("Who"),
        Column("Before → after", wide=True),
        Column("Evidence", wide=True),
    ]
    rows = [
        Row(
            [
                Cell(fmt.moment(run.asked_at), reverse("action", args=[run.id])),
                Cell(run.words, note=run.target_words),
                Cell(run.budget_name, reverse("budget", args=[run.budget_id])),
                Cell(run.state_words, state=run.state, note=run.error or _ended(run)),
                Cell(actor(run.decided_by)),
                Cell(f"{run.before_words} → {run.words}" if run.before_words else fmt.NOT_APPLICABLE),
                Cell(run.reason),
            ]
        )
        for run in runs
    ]
    empty = Notice(
        "info", "No ladder has fired yet", "Notices, throttles and shutdowns are listed here, with who did it."
    )
    return Table("Log of actions", columns, rows, empty=empty)


def _ended(run: RunLine) -> str:
    return f"{fmt.moment(run.ended_at)}, {actor(run.ended_by)}" if run.ended_at and run.action != "notify" else ""


def actor(name: str) -> str:
    """Who decided, in words; nobody is the ladder itself."""
    return _BY.get(name, name)
