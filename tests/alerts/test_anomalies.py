"""Anomalies in the books: found, once for each cause, corrected by newer data, closed, and tuned by what people say."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from alerts import anomalies, anomaly_queries, feedback
from alerts.models import Alert, Anomaly, AnomalyFeedback
from attribution.models import DailyCost
from costobs.audit.models import AuditEntry
from costobs.kernel import money
from tests.alerts.conftest import Books

pytestmark = pytest.mark.django_db

LAST = date(2026, 11, 20)
NOW = datetime(2026, 11, 21, 6, 0, tzinfo=UTC)


@pytest.fixture
def year(books: Books) -> Books:
    """Eight weeks: search costs about 100 a day and half of it on weekends, support about 60; complete to the 20th."""
    for back in range(56):
        day = LAST - timedelta(days=back)
        weekend = day.weekday() >= 5
        books.spend(day, str((50 if weekend else 100) + back % 3), team="search")
        books.spend(day, str(60 + back % 4), team="support", model="mistral")
    books.complete(datetime(2026, 11, 21, tzinfo=UTC))
    return books


def look(now: datetime = NOW) -> anomalies.Looked:
    return anomalies.run(now=now, is_asked=True)


def open_ones() -> list[anomaly_queries.AnomalyLine]:
    return anomaly_queries.anomalies(teams=None, state="open")


def test_it_finds_nothing_where_weekends_are_as_always(year: Books) -> None:
    found = look()

    assert (found.opened, Anomaly.objects.count()) == (0, 0)


def test_it_opens_one_for_the_team_that_leaps_and_none_for_the_total(year: Books) -> None:
    year.spend(LAST, "300", team="search")

    found = look()

    assert found.opened == 1
    (line,) = open_ones()
    assert dict(line.scope) in ({"team": "search"}, {"model": "llama"})
    assert Decimal(290) < line.impact_cost < Decimal(310)
    assert money.total(one.cost for one in line.drivers) == line.impact_cost
    assert line.started_at.date() == LAST


def test_it_does_the_same_when_it_looks_twice(year: Books) -> None:
    year.spend(LAST, "300", team="search")
    look()
    before = list(Anomaly.objects.values())

    again = look()

    assert (again.opened, again.closed) == (0, 0)
    assert list(Anomaly.objects.values()) == before
    assert Alert.objects.filter(kind="anomaly").count() == 1


def test_it_waits_for_days_that_are_not_complete(year: Books) -> None:
    year.spend(LAST, "300", team="search")
    year.complete(datetime(2026, 11, 20, 23, tzinfo=UTC))

    assert look().opened == 0


def test_it_says_nothing_with_too_little_history(books: Books) -> None:
    for back in range(15):
        books.spend(LAST - timedelta(days=back), "100" if back else "900")
    books.complete(datetime(2026, 11, 21, tzinfo=UTC))

    assert look().opened == 0
    assert anomaly_queries.checks()["day"].known_days == 15


def test_it_does_not_take_a_gap_for_a_cheap_day(year: Books) -> None:
    DailyCost.objects.filter(day__gte=LAST - timedelta(days=9), day__lt=LAST - timedelta(days=3)).delete()

    assert look().opened == 0


def test_it_closes_when_restated_days_are_as_always(year: Books) -> None:
    year.spend(LAST, "300", team="search")
    look()
    DailyCost.objects.filter(effective_cost=300).delete()

    found = look(NOW + timedelta(hours=2))

    assert found.closed == 1
    row = Anomaly.objects.get()
    assert (row.state, row.outcome) == ("closed", "restated")
    assert list(Alert.objects.order_by("pk").values_list("kind", flat=True)) == ["anomaly", "anomaly_ended"]
    assert Alert.objects.values("thread").distinct().count() == 1


def test_it_closes_when_the_next_day_is_back(year: Books) -> None:
    year.spend(LAST, "300", team="search")
    look()
    year.spend(LAST + timedelta(days=1), "51", team="search")
    year.spend(LAST + timedelta(days=1), "60", team="support", model="mistral")
    year.complete(datetime(2026, 11, 22, tzinfo=UTC))

    look(NOW + timedelta(days=1))

    row = Anomaly.objects.get()
    assert (row.state, row.outcome, row.periods) == ("closed", "back", 1)


def test_it_goes_on_in_one_row_and_one_thread(year: Books) -> None:
    year.spend(LAST, "300", team="search")
    look()
    for ahead in (1, 2):
        year.spend(LAST + timedelta(days=ahead), "400", team="search")
        year.spend(LAST + timedelta(days=ahead), "60", team="support", model="mistral")
    year.complete(datetime(2026, 11, 23, tzinfo=UTC))

    look(NOW + timedelta(days=2))

    row = Anomaly.objects.get()
    assert (row.state, row.periods) == ("open", 3)
    assert Alert.objects.filter(kind="anomaly").count() == 2  # it opened, and grew by half


def test_it_finds_but_does_not_tell_what_is_below_the_impact(year: Books) -> None:
    year.spend(LAST, "300", team="search")

    anomalies.run(now=NOW, limits=anomalies.Limits(impact_cost=Decimal(5000)), is_asked=True)

    assert len(open_ones()) == 1
    assert not Alert.objects.exists()


def test_it_shows_a_lead_only_own_teams(year: Books) -> None:
    year.spend(LAST, "300", team="search", model="mistral")
    look()

    assert [dict(one.scope) for one in anomaly_queries.anomalies(teams=("search",))] == [{"team": "search"}]
    assert anomaly_queries.anomalies(teams=("support",)) == []
    assert anomaly_queries.open_count(teams=()) == 0
    with pytest.raises(anomaly_queries.NotFound):
        anomaly_queries.anomaly(anomaly_id=open_ones()[0].id, teams=("support",))


def said(kind: str, **given: object) -> int:
    (line,) = open_ones()
    return feedback.say(
        anomaly_id=line.id,
        version=line.version,
        kind=kind,
        by="ada@example.com",
        now=NOW,
        **given,  # type: ignore[arg-type]
    )


def test_it_stays_closed_when_somebody_said_expected_and_opens_when_that_is_undone(year: Books) -> None:
    year.spend(LAST, "300", team="search")
    look()
    made = said("expected", ends_at=NOW + timedelta(days=7), note="launch")

    look(NOW + timedelta(minutes=1))
    assert (open_ones(), Anomaly.objects.get().outcome) == ([], "expected")

    feedback.undo(feedback_id=made, by="ada@example.com", now=NOW)
    look(NOW + timedelta(minutes=2))
    assert len(open_ones()) == 1
    assert Anomaly.objects.count() == 1
    assert list(AuditEntry.objects.order_by("pk").values_list("act", flat=True)) == [
        "anomaly.expected",
        "anomaly.feedback_undone",
    ]


def test_it_needs_more_of_a_scope_that_was_called_none_and_less_of_a_sensitive_one(year: Books) -> None:
    from alerts import anomaly_items, seasons

    year.spend(LAST, "300", team="search")
    look()
    scope = tuple(open_ones()[0].scope.items())
    said("sensitivity", value="high")
    assert anomaly_items.tuning().threshold(scope, seasons.THRESHOLD) == Decimal("2.5")

    said("not_anomaly")

    assert anomaly_items.tuning().threshold(scope, seasons.THRESHOLD) == Decimal("3.5")
    assert AnomalyFeedback.objects.count() == 2


def test_it_does_not_tell_of_a_planned_event(year: Books) -> None:
    feedback.plan(
        scope={"team": "search"}, starts_at=NOW - timedelta(days=3), ends_at=NOW + timedelta(days=3), by="ada", now=NOW
    )
    year.spend(LAST, "300", team="search", model="mistral")

    assert look().opened == 0


def test_it_refuses_what_it_cannot_keep(year: Books) -> None:
    year.spend(LAST, "300", team="search")
    look()
    (line,) = open_ones()

    with pytest.raises(feedback.Conflict):
        feedback.acknowledge(anomaly_id=line.id, version=line.version + 7, by="ada", now=NOW)
    with pytest.raises(feedback.Invalid):
        said("expected", ends_at=NOW - timedelta(days=1))
    with pytest.raises(feedback.Invalid):
        said("sensitivity", value="loud")
    with pytest.raises(feedback.Invalid):
        feedback.plan(scope={"feature": "x"}, starts_at=NOW, ends_at=NOW + timedelta(days=1), by="ada", now=NOW)


def test_it_is_silent_while_muted_and_says_who_is_on_it(year: Books) -> None:
    year.spend(LAST, "300", team="search")
    anomalies.run(now=NOW, limits=anomalies.Limits(impact_cost=Decimal(10**6)), is_asked=True)
    (line,) = open_ones()
    feedback.acknowledge(anomaly_id=line.id, version=line.version, by="ben@example.com", now=NOW)
    feedback.mute(anomaly_id=line.id, version=line.version + 1, by="ben@example.com", now=NOW)
    year.spend(LAST, "10", team="search")

    look()

    (line,) = open_ones()
    assert line.acknowledged_by == "ben@example.com"
    assert not Alert.objects.exists()
