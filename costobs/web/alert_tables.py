"""The tables of alerts: where they go and why, what is silent, what was told."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.urls import reverse

from alerts import topics
from alerts.channels import KINDS
from alerts.digests import PERIODS, ScheduleLine
from alerts.letters import HEARD_WITHIN
from alerts.mutes import MuteLine
from alerts.routes import PersonLine, QuietLine, RouteLine, StepLine
from alerts.subscribe import ChannelLine
from alerts.told import AlertLine, DeliveryLine
from costobs.kernel import fmt
from costobs.web.parts import Cell, Column, Link, Notice, Row, Table

_STATES = {
    "waiting": "pending",
    "sending": "running",
    "sent": "sent",
    "failed": "failed",
    "expired": "expired",
    "muted": "muted",
    "folded": "folded",
}
_TONES = {"info": "note", "warning": "severity_warning", "high": "severity_high", "critical": "severity_critical"}


def channels(lines: Sequence[ChannelLine], *, may_manage: bool, now: datetime) -> Table:
    """Every channel with its last error."""
    rows = [
        Row(
            [
                Cell(one.name, note="sample" if one.is_sample else ""),
                Cell(KINDS[one.kind].title, note=one.place),
                Cell(state=_channel_state(one)),
                Cell(fmt.moment(one.last_sent_at) if one.last_sent_at else "never"),
                Cell(
                    _said(one, now), note=fmt.moment(one.last_error_at) if one.last_error and one.last_error_at else ""
                ),
                Cell("", actions=_channel_actions(one) if may_manage else ()),
            ]
        )
        for one in lines
    ]
    columns = [Column("Channel"), Column("To", wide=True), Column("State"), Column("Sent last, UTC")]
    columns += [Column("Last error", wide=True), Column("Act")]
    new = [Link("Add a channel", reverse("channel_new"), icon="plus", primary=True)]
    text = "Alerts are written down all the same. A channel brings them to people: e-mail, Slack, a webhook, PagerDuty."
    empty = Notice("empty", "Nobody is told yet", text, new if may_manage else ())
    return Table("Channels", columns, rows, empty=empty)


def routes(lines: Sequence[RouteLine], *, may_manage: bool) -> Table:
    """Which alerts go where."""
    rows = [
        Row(
            [
                Cell(topics.AUDIENCES[one.audience]),
                Cell(one.channel),
                Cell(one.team or "any team"),
                Cell(", ".join(_topic(name) for name in one.topics or topics.CUSTOM[one.audience])),
                Cell(one.least_severity),
                Cell("", actions=_remove("route", one.id) if may_manage else ()),
            ]
        )
        for one in lines
    ]
    columns = [Column("For"), Column("Channel"), Column("Team"), Column("Told of", wide=True)]
    columns += [Column("From severity"), Column("Act")]
    text = (
        "So every alert goes to every channel. With routes, the owner is told first, else the team, else the fallback."
    )
    return Table("Routes", columns, rows, empty=Notice("empty", "No routes are set up", text))


def steps(lines: Sequence[StepLine], *, may_manage: bool) -> Table:
    """The chains."""
    rows = [
        Row(
            [
                Cell(state=_TONES[one.severity]),
                Cell(fmt.duration(timedelta(minutes=one.after_minutes))),
                Cell(one.channel),
                Cell("", actions=_remove("step", one.id) if may_manage else ()),
            ]
        )
        for one in lines
    ]
    columns = [Column("Severity"), Column("Not acknowledged for", numeric=True), Column("Then told"), Column("Act")]
    text = "An item that nobody acknowledges stays where it was told first."
    return Table("Escalation", columns, rows, empty=Notice("empty", "Nothing is escalated", text))


def quiet(lines: Sequence[QuietLine], *, may_manage: bool) -> Table:
    """Quiet hours."""
    rows = [
        Row(
            [
                Cell(one.whose),
                Cell(f"{one.begins:%H:%M}–{one.ends:%H:%M}"),
                Cell(one.zone),
                Cell("", actions=_remove("quiet", one.id) if may_manage else ()),
            ]
        )
        for one in lines
    ]
    columns = [Column("Whose"), Column("Quiet"), Column("Zone"), Column("Act")]
    text = "Every alert is told at any hour."
    return Table("Quiet hours", columns, rows, empty=Notice("empty", "No quiet hours", text))


def people(lines: Sequence[PersonLine], *, may_manage: bool) -> Table:
    """Members of Slack who were linked."""
    rows = [
        Row(
            [
                Cell(one.account),
                Cell(one.member, mono=True),
                Cell(one.workspace, mono=True),
                Cell("", actions=_remove("person", one.id) if may_manage else ()),
            ]
        )
        for one in lines
    ]
    columns = [Column("Account"), Column("Member"), Column("Workspace"), Column("Act")]
    text = "Members are known by the e-mail address that Slack has confirmed. A link is only for those who have another one there."
    return Table("People in Slack", columns, rows, empty=Notice("empty", "Nobody is linked", text))


def mutes(lines: Sequence[MuteLine], *, may_manage: bool) -> Table:
    """What is silent now."""
    rows = [
        Row(
            [
                Cell(one.words),
                Cell(one.reason),
                Cell(one.muted_by, note=fmt.moment(one.muted_at)),
                Cell(fmt.moment(one.until)),
                Cell("", actions=_remove("mute", one.id, "Unmute", "bell") if may_manage else ()),
            ]
        )
        for one in lines
    ]
    columns = [Column("Muted", wide=True), Column("Why", wide=True), Column("By"), Column("Until, UTC"), Column("Act")]
    text = "An item is muted on its own page or in Slack; what is critical cannot be muted."
    return Table("Mutes", columns, rows, empty=Notice("empty", "Nothing is muted", text))


def digests(lines: Sequence[ScheduleLine], *, may_manage: bool) -> Table:
    """Every digest."""
    rows = [
        Row(
            [
                Cell(one.name, note="" if one.is_active else "paused"),
                Cell(
                    f"{PERIODS[one.period]}, for {one.audience}",
                    note=", ".join(one.teams) if one.teams else "all teams",
                ),
                Cell(one.channel),
                Cell(f"{one.hour:02}:00", note=one.zone),
                Cell(fmt.moment(one.newest) if one.newest else "none yet"),
                Cell("", actions=_digest_actions(one, may_manage=may_manage)),
            ]
        )
        for one in lines
    ]
    columns = [
        Column("Digest"),
        Column("What", wide=True),
        Column("To"),
        Column("At"),
        Column("Newest, UTC"),
        Column("Act"),
    ]
    text = "A review pack each week, month or quarter: one for finance, one for engineering."
    return Table("Digests", columns, rows, empty=Notice("empty", "No digest is set up", text))


def log(lines: Sequence[AlertLine], csv_url: str) -> Table:
    """What was told, newest first."""
    rows = [
        Row(
            [
                Cell(one.title, reverse("alert", args=[one.id]), note=one.budget_name),
                Cell(fmt.moment(one.raised_at)),
                Cell(_topic(one.topic)),
                Cell(state=_TONES[one.severity]),
                Cell(_where(one)),
            ]
        )
        for one in lines
    ]
    columns = [
        Column("Alert", wide=True),
        Column("When, UTC"),
        Column("About"),
        Column("Severity"),
        Column("Told on", wide=True),
    ]
    text = "Alerts come from budgets, actions, anomalies, month close and digests."
    empty = Notice("empty", "Nothing was told yet", text)
    return Table("Alerts", columns, rows, empty=empty, csv_url=csv_url if lines else "")


def log_rows(lines: Sequence[AlertLine]) -> dict[str, Any]:
    """The same as a file: its columns, and a row for each alert."""
    columns = ["alert", "raised_at", "topic", "severity", "budget", "title", "told_on"]
    rows = [(one.id, one.raised_at, one.topic, one.severity, one.budget_name, one.title, _where(one)) for one in lines]
    return {"columns": columns, "rows": rows}


def deliveries(line: AlertLine, *, may_manage: bool) -> Table:
    """Where one alert went, and why there."""
    rows = [
        Row(
            [
                Cell(one.channel, note=KINDS[one.kind].title),
                Cell(one.reason or "It was told before reasons were kept."),
                Cell(state=_STATES[one.state]),
                Cell(_moment(one)),
                Cell(one.error or fmt.NOT_APPLICABLE),
                Cell(str(one.attempts)),
                Cell("", actions=_resend(line, one) if may_manage else ()),
            ]
        )
        for one in line.deliveries
    ]
    columns = [Column("Channel"), Column("Why", wide=True), Column("State"), Column("When, UTC")]
    columns += [Column("What was said", wide=True), Column("Attempts", numeric=True), Column("Act")]
    text = "No channel was active within a day of it."
    return Table("Where it went", columns, rows, empty=Notice("empty", "Nobody was told", text))


def thread(lines: Sequence[AlertLine]) -> Table:
    """Everything that was told about one item, oldest first."""
    rows = [
        Row(
            [
                Cell(fmt.moment(one.raised_at)),
                Cell(one.title, reverse("alert", args=[one.id])),
                Cell(state=_TONES[one.severity]),
            ]
        )
        for one in lines
    ]
    return Table("Thread", [Column("When, UTC"), Column("Alert", wide=True), Column("Severity")], rows)


def _topic(name: str) -> str:
    return topics.TOPICS.get(name, name).partition(":")[0]


def _where(one: AlertLine) -> str:
    if not one.deliveries:
        return "no channel"
    return ", ".join(f"{found.channel} ({found.state})" for found in one.deliveries)


def _moment(one: DeliveryLine) -> str:
    if one.sent_at:
        return fmt.moment(one.sent_at)
    return f"next try {fmt.moment(one.next_attempt_at)}" if one.state in {"waiting", "sending"} else fmt.NOT_APPLICABLE


def _channel_state(one: ChannelLine) -> str:
    if not one.is_active:
        return "paused"
    return "failed" if one.last_error else "works" if one.last_sent_at else "untried"


def _said(one: ChannelLine, now: datetime) -> str:
    if one.last_error:
        return one.last_error
    if one.kind != "slack_app" or not one.is_active:
        return fmt.NOT_APPLICABLE
    if one.heard_at is None or now - one.heard_at > HEARD_WITHIN:
        return "Nothing hears its buttons, so they are links: see that costobs chat runs, which costobs up starts."
    return "Its buttons are heard."


def _channel_actions(one: ChannelLine) -> list[Link]:
    def act(verb: str) -> str:
        return reverse("channel_decide", args=[one.id, verb])

    switch = Link("Pause", act("pause"), icon="pause", post=True)
    if not one.is_active:
        switch = Link("Resume", act("resume"), icon="play", post=True)
    return [
        Link("Test", act("test"), icon="send", post=True),
        switch,
        Link("Remove", act("remove"), icon="trash-2", danger=True, post=True),
    ]


def _digest_actions(one: ScheduleLine, *, may_manage: bool) -> list[Link]:
    teams = f"&teams={','.join(one.teams)}" if one.teams else ""
    query = f"?audience={one.audience}&period={one.period}&zone={one.zone}{teams}"
    look = Link("Preview", f"{reverse('digest_preview')}{query}", icon="eye")
    if not may_manage:
        return [look]

    def act(verb: str) -> str:
        return reverse("digest_decide", args=[one.id, verb])

    switch = Link("Pause", act("pause"), icon="pause", post=True)
    if not one.is_active:
        switch = Link("Resume", act("resume"), icon="play", post=True)
    return [
        look,
        Link("Test", act("test"), icon="send", post=True),
        switch,
        Link("Remove", act("remove"), icon="trash-2", danger=True, post=True),
    ]


def _remove(what: str, row_id: int, word: str = "Remove", icon: str = "trash-2") -> list[Link]:
    return [Link(word, reverse("settings_alert_remove", args=[what, row_id]), icon=icon, post=True)]


def _resend(line: AlertLine, one: DeliveryLine) -> list[Link]:
    if one.state in {"waiting", "sending"}:
        return []
    url = f"{reverse('alert_decide', args=[line.id, 'resend'])}?delivery={one.id}"
    return [Link("Send again", url, icon="refresh-cw", post=True)]
