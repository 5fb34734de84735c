"""What the list and the page of anomalies share: words of a change, and the feedback in force."""

from collections.abc import Sequence

from django.urls import reverse

from alerts.anomaly_queries import AnomalyLine, FeedbackLine
from costobs.access.scopes import Viewer
from costobs.kernel import fmt
from costobs.web import budget_access
from costobs.web.parts import Cell, Column, Link, Notice, Row, Table

KINDS = {
    "total": "All spend", "provider_name": "Provider", "team": "Team", "model": "Model", "deployment": "Deployment",
    "feature": "Feature", "key": "Key",
}  # fmt: skip
_SAID = {
    "expected": "Expected",
    "not_anomaly": "Not an anomaly",
    "ignore": "Ignore",
    "sensitivity": "Sensitivity",
    "planned": "Planned event",
}
_EFFECTS = {
    "expected": "What it cost in this time is all right",
    "not_anomaly": "One spread more is needed for this scope",
    "ignore": "Nothing of this scope is told in this time",
    "planned": "What this scope and its parts cost in this time is expected",
}
_SENSITIVITY = {
    "low": "1.5 spreads more are needed",
    "normal": "The usual threshold",
    "high": "One spread less is enough",
}


def kind_of(line: AnomalyLine) -> str:
    """What the scope is told by: the most specific of its dimensions."""
    return next((name for name in line.scope if name != "team"), "team" if line.scope else "total")


def change_words(line: AnomalyLine) -> str:
    """`volume +214 %, price +0 %`."""
    parts = [("volume", line.volume_percent), ("price", line.price_percent)]
    return ", ".join(
        f"{name} {fmt.percent(value / 100, places=0, signed=True)}" for name, value in parts if value is not None
    )


def feedback_table(lines: Sequence[FeedbackLine], viewer: Viewer) -> Table:
    """What was said, what it does, until when, and how to take it back."""
    columns = [
        Column("Said"), Column("Scope", wide=True), Column("Effect", wide=True), Column("From – until"), Column("By"),
        Column("Undo"),
    ]  # fmt: skip
    rows = [
        Row(
            [
                Cell(_SAID[one.kind], note=one.note),
                Cell(one.scope_words),
                Cell(_SENSITIVITY.get(one.value, "") if one.kind == "sensitivity" else _EFFECTS[one.kind]),
                Cell(_span(one)),
                Cell(one.by, note=fmt.moment(one.at)),
                _undo(one, viewer),
            ]
        )
        for one in lines
    ]
    empty = Notice(
        "info", "Nothing was said", "All scopes have the usual threshold, and nothing is expected or ignored."
    )
    return Table("Feedback and planned events", columns, rows, empty=empty)


def _span(one: FeedbackLine) -> str:
    if one.kind == "sensitivity":
        return "until changed"
    if one.kind == "not_anomaly":
        return "until undone"
    since = fmt.moment(one.starts_at) if one.starts_at else "always"
    return f"{since} – {fmt.moment(one.ends_at) if one.ends_at else 'undone'}"


def _undo(one: FeedbackLine, viewer: Viewer) -> Cell:
    if one.undone_at is not None:
        return Cell(f"undone by {one.undone_by}", note=fmt.moment(one.undone_at))
    if not budget_access.may_act(viewer, one.teams):
        return Cell("not yours to undo")
    return Cell(actions=[Link("Undo", reverse("anomaly_feedback_undo", args=[one.id]), icon="undo-2", post=True)])
