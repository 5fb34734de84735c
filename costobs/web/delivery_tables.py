"""The tables of deliveries: each schedule with its newest month, and each month of one schedule."""

from collections.abc import Sequence

from django.urls import reverse

from alerts.destinations import KINDS
from alerts.schedules import DispatchLine, ScheduleLine
from attribution import exports
from costobs.kernel import fmt
from costobs.web.parts import Cell, Column, Link, Notice, Row, Table

_STATES = {"waiting": "pending", "sending": "running", "sent": "sent", "failed": "failed"}


def schedules(lines: Sequence[ScheduleLine], *, may_manage: bool) -> Table:
    """Every schedule."""
    rows = [
        Row(
            [
                Cell(one.name, reverse("statement_schedule", args=[one.id]) if may_manage else ""),
                Cell(KINDS[one.destination].title, note=place(one)),
                Cell(when(one)),
                Cell(what(one)),
                *_newest(one),
            ]
        )
        for one in lines
    ]
    columns = [Column("Delivery"), Column("To", wide=True), Column("When"), Column("What", wide=True)]
    columns += [Column("Newest month"), Column("State")]
    connect = [Link("Deliver statements", reverse("statement_schedule_new"), icon="send", primary=True)]
    empty = Notice(
        "empty",
        "Statements stay here",
        "They can go out by e-mail, to S3, Google Cloud Storage, Azure Blob or a webhook when a month closes.",
        connect if may_manage else [],
    )
    return Table("Deliveries", columns, rows, empty=empty)


def dispatches(one: ScheduleLine) -> Table:
    """The newest months of a schedule: what was sent, what failed and why, when it is tried again."""
    rows = [
        Row(
            [
                Cell(fmt.month(line.month)),
                Cell(f"v{line.version}" if line.version else "showback"),
                Cell(state=_STATES[line.state]),
                Cell(str(line.attempts)),
                Cell(_moment(line)),
                Cell(line.error or line.receipt or fmt.NOT_APPLICABLE, note=", ".join(line.files)),
                Cell("", actions=_actions(one, line)),
            ]
        )
        for line in one.dispatches
    ]
    columns = [
        Column("Month"),
        Column("Version"),
        Column("State"),
        Column("Attempts", numeric=True),
        Column("When, UTC"),
    ]
    columns += [Column("What was said", wide=True), Column("Act")]
    first = "the next month that closes" if one.trigger == "closed" else f"day {one.day_of_month} of the next month"
    empty = Notice("empty", "Nothing was sent yet", f"It begins with {first}.")
    return Table("Months", columns, rows, empty=empty)


def when(one: ScheduleLine) -> str:
    """When it is sent."""
    if not one.is_active:
        return "paused"
    return "when a month closes" if one.trigger == "closed" else f"on day {one.day_of_month}, as showback"


def what(one: ScheduleLine) -> str:
    """Which statements in which forms."""
    centres = ", ".join(one.cost_centres) if one.cost_centres else "the whole statement"
    return f"{centres}: {', '.join(exports.KINDS[name].title for name in one.formats if name in exports.KINDS)}"


def place(one: ScheduleLine) -> str:
    """Where it goes, without a secret: an address may hold one in its path, so only its host is shown."""
    config = one.config
    if one.destination == "email":
        return ", ".join(config.get("to", []))
    if one.destination == "webhook":
        return str(config.get("url", "")).partition("://")[2].partition("/")[0]
    return "/".join(str(config[name]) for name in ("account", "bucket", "container", "prefix") if config.get(name))


def _newest(one: ScheduleLine) -> list[Cell]:
    if not one.dispatches:
        return [Cell("none yet"), Cell(fmt.NOT_APPLICABLE)]
    line = one.dispatches[0]
    return [
        Cell(fmt.month(line.month), note=f"version {line.version}" if line.version else "showback"),
        Cell(state=_STATES[line.state]),
    ]


def _moment(line: DispatchLine) -> str:
    if line.sent_at and line.state == "sent":
        return fmt.moment(line.sent_at)
    if line.state == "failed":
        return fmt.NOT_APPLICABLE
    return f"next try {fmt.moment(line.next_attempt_at)}"


def _actions(one: ScheduleLine, line: DispatchLine) -> list[Link]:
    if line.state not in {"sent", "failed"}:
        return []
    url = reverse("statement_schedule_decide", args=[one.id, "again"])
    return [Link("Send again", f"{url}?dispatch={line.id}", icon="refresh-cw", post=True)]
