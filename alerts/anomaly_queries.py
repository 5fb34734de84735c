"""What pages, the API and the command may ask of anomalies.

`teams` is the viewer's: None sees all; else only anomalies of a scope that names one of these teams.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from django.db.models import QuerySet

from alerts import anomaly_lines
from alerts.anomaly_lines import AnomalyLine
from alerts.models import Anomaly, AnomalyCheck, AnomalyFeedback

Teams = tuple[str, ...] | None


class NotFound(Exception):
    """There is no such anomaly for this viewer."""


@dataclass(frozen=True, slots=True)
class CheckLine:
    """When a grain was last looked at, and how far; `waits_for` names late sources, `known_days` the history there is."""

    grain: str
    checked_at: datetime
    judged_until: datetime | None
    waits_for: str
    known_days: int
    scopes: int


@dataclass(frozen=True, slots=True)
class FallLine:
    """A scope that cost a tenth or less of what was expected, on its newest complete days."""

    scope: Mapping[str, str]
    scope_words: str
    currency: str
    since: date
    days: int
    actual_cost: Decimal
    expected_cost: Decimal


@dataclass(frozen=True, slots=True)
class FeedbackLine:
    """What somebody said, and whether it still holds."""

    id: int
    anomaly_id: int | None
    scope_words: str
    teams: tuple[str, ...]
    kind: str
    starts_at: datetime | None
    ends_at: datetime | None
    value: str
    note: str
    by: str
    at: datetime
    undone_by: str
    undone_at: datetime | None


def anomalies(*, teams: Teams, state: str = "", limit: int = 200) -> list[AnomalyLine]:
    """Open ones first, then the newest; `state` is open, closed or both."""
    rows = _visible(teams)
    rows = rows.filter(state=state) if state else rows
    return [anomaly_lines.line(row) for row in rows.order_by("-state", "-impact_cost", "-last_at", "pk")[:limit]]


def anomaly(*, anomaly_id: int, teams: Teams) -> AnomalyLine:
    """One of them. Raises NotFound."""
    row = _visible(teams).filter(pk=anomaly_id).first()
    if row is None:
        raise NotFound(f"there is no anomaly {anomaly_id}")
    return anomaly_lines.line(row)


def open_count(*, teams: Teams) -> int:
    """The number in the navigation."""
    return _visible(teams).filter(state="open").count()


def checks() -> dict[str, CheckLine]:
    """The last look by grain."""
    return {
        row.grain: CheckLine(row.grain, row.checked_at, row.judged_until, row.waits_for, row.known_days, row.scopes)
        for row in AnomalyCheck.objects.all()
    }


def falls(*, teams: Teams) -> list[FallLine]:
    """What cost next to nothing of late, the largest first. Nobody is told of it."""
    row = AnomalyCheck.objects.filter(grain="day").first()
    found = [
        FallLine(
            scope, anomaly_lines.words(scope), currency, datetime.fromisoformat(since).date(), days, Decimal(cost),
            Decimal(expected),
        )
        for scope, currency, since, days, cost, expected in (row.falls if row else ())
    ]  # fmt: skip
    return [one for one in found if teams is None or one.scope.get("team") in teams]


def feedback_of(*, anomaly_id: int, teams: Teams) -> list[FeedbackLine]:
    """All that was said of the scope of an anomaly, the newest first. Raises NotFound."""
    row = _visible(teams).filter(pk=anomaly_id).first()
    if row is None:
        raise NotFound(f"there is no anomaly {anomaly_id}")
    return _lines(AnomalyFeedback.objects.filter(scope_key=row.scope_key))


def standing(*, teams: Teams) -> list[FeedbackLine]:
    """All feedback in force, planned events with it."""
    found = _lines(AnomalyFeedback.objects.filter(undone_at=None))
    return [one for one in found if teams is None or set(one.teams) & set(teams)]


def feedback(*, feedback_id: int, teams: Teams) -> FeedbackLine:
    """One of them. Raises NotFound."""
    found = _lines(AnomalyFeedback.objects.filter(pk=feedback_id))
    if not found or (teams is not None and not set(found[0].teams) & set(teams)):
        raise NotFound(f"there is no feedback {feedback_id}")
    return found[0]


def _visible(teams: Teams) -> QuerySet[Anomaly]:
    rows = Anomaly.objects.all()
    return rows if teams is None else rows.filter(scope__team__in=[team for team in teams if team])


def _lines(rows: QuerySet[AnomalyFeedback]) -> list[FeedbackLine]:
    return [
        FeedbackLine(
            row.pk, row.anomaly_id, anomaly_lines.words(row.scope), _teams(row.scope), row.kind, row.starts_at,
            row.ends_at, row.value, row.note, row.by, row.at, row.undone_by, row.undone_at,
        )
        for row in rows.order_by("-pk")
    ]  # fmt: skip


def _teams(scope: dict[str, str]) -> tuple[str, ...]:
    return (scope["team"],) if "team" in scope else ()


__all__: Sequence[str] = [
    "AnomalyLine", "CheckLine", "FallLine", "FeedbackLine", "NotFound", "anomalies", "anomaly", "checks", "falls",
    "feedback", "feedback_of", "open_count", "standing",
]  # fmt: skip
