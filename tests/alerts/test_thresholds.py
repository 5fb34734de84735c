"""From how much on anomalies are looked at and told: set for everything and for scopes, previewed on the past, audited."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from django.test import override_settings

from alerts import anomalies, anomaly_limits, anomaly_preview, anomaly_queries, thresholds
from alerts.anomaly_limits import Book, Limits, Own
from alerts.models import Alert, Anomaly, AnomalyThreshold
from attribution.models import DailyCost
from costobs.audit.models import AuditEntry
from tests.alerts.conftest import Books

pytestmark = pytest.mark.django_db

LAST = date(2026, 11, 20)
NOW = datetime(2026, 11, 21, 6, 0, tzinfo=UTC)
SEARCH = (("team", "search"),)


@pytest.fixture
def year(books: Books) -> Books:
    """Twenty weeks: search costs about 100 a day, support about 60; search leapt twice, a month apart."""
    for back in range(140):
        day = LAST - timedelta(days=back)
        books.spend(day, str(100 + back % 3), team="search")
        books.spend(day, str(60 + back % 4), team="support", model="mistral")
    books.spend(LAST, "300", team="search", model="mistral")
    books.spend(LAST - timedelta(days=40), "80", team="search", model="mistral")
    books.complete(datetime(2026, 11, 21, tzinfo=UTC))
    return books


def put(scope: dict[str, str], now: datetime = NOW, **values: str) -> int:
    return thresholds.put(own=thresholds.own(scope=scope, values=values), by="ada@example.com", now=now)


def test_it_takes_each_limit_from_the_most_specific_scope_that_has_one() -> None:
    owns = (
        Own((("team", "search"), ("key", "etl")), impact_cost=Decimal(5)),
        Own(SEARCH, impact_cost=Decimal(200), day_cost=Decimal(90)),
        Own((), impact_percent=Decimal(25)),
        Own((("model", "gpt-5"),), impact_cost=Decimal(1)),
    )
    book = Book(Limits(), owns)

    assert book.of((("team", "search"), ("key", "etl"))) == Limits(Decimal(90), Decimal(5), Decimal(5), Decimal(25))
    assert book.of((("team", "search"), ("feature", "x"))).impact_cost == Decimal(200)
    assert book.of((("team", "support"),)) == book.default() == Limits(impact_percent=Decimal(25))
    assert book.having(Own(SEARCH, day_cost=Decimal(1))).of(SEARCH).impact_cost == Decimal(50)
    assert Book(Limits(), owns[::-1]).of(SEARCH) == book.of(SEARCH)


@pytest.mark.parametrize(
    ("impact", "expected", "is_told"),
    [("50", "200", True), ("49.99", "1", False), ("50", "201", False), ("60", "0", True)],
)
def test_it_needs_both_the_amount_and_the_percent(impact: str, expected: str, is_told: bool) -> None:
    limits = Limits(impact_percent=Decimal(25))

    assert limits.is_told(impact=Decimal(impact), expected=Decimal(expected)) is is_told


@override_settings(COSTOBS_ANOMALY_IMPACT_COST=Decimal(7))
def test_it_begins_with_what_the_environment_says(db: None) -> None:
    assert anomaly_limits.book().default() == Limits(impact_cost=Decimal(7))


def test_it_tells_by_what_is_set_for_the_team_from_the_next_look_on(year: Books) -> None:
    put({"team": "search"}, impact_cost="1000")

    anomalies.run(now=NOW, is_asked=True)
    assert (Anomaly.objects.count(), Alert.objects.count()) == (1, 0)
    put({"team": "search"}, impact_percent="30")
    year.spend(LAST, "1", team="search", model="mistral")
    anomalies.run(now=NOW, is_asked=True)

    assert Alert.objects.get().kind == "anomaly"


def test_it_does_not_tell_of_what_is_too_few_percent(year: Books) -> None:
    put({}, impact_percent="400")

    anomalies.run(now=NOW, is_asked=True)

    assert (Anomaly.objects.count(), Alert.objects.count()) == (1, 0)


def test_it_does_not_look_at_a_scope_that_costs_less_than_was_set_for_it(year: Books) -> None:
    for scope in ({"team": "search"}, {"model": "mistral"}, {}):
        put(scope, day_cost="5000")

    anomalies.run(now=NOW, is_asked=True)

    assert not Anomaly.objects.exists()


def test_it_previews_what_limits_would_have_told_of_the_last_90_days(year: Books) -> None:
    before = anomaly_preview.preview(book=anomaly_limits.book(), now=NOW, teams=None)
    own = thresholds.own(scope={"team": "search"}, values={"impact_cost": "100"})

    found = anomaly_preview.preview(book=anomaly_limits.book(), now=NOW, teams=None, own=own)

    assert (before.told, before.told_now) == (2, 2)
    assert (found.told, found.told_now) == (1, 2)
    assert [(one.started_on, one.is_told, one.is_told_now) for one in found.rows if one.is_told_now] == [
        (LAST, True, True),
        (LAST - timedelta(days=40), False, True),
    ]
    assert (found.days.start, found.days.end) == (date(2026, 8, 23), date(2026, 11, 21))
    assert anomaly_preview.preview(book=anomaly_limits.book(), now=NOW, teams=("support",), own=own).rows == ()
    assert not Anomaly.objects.exists() and not AnomalyThreshold.objects.exists(), "a preview keeps nothing"


def test_it_previews_what_the_live_look_then_finds(year: Books) -> None:
    (newest,) = [
        one
        for one in anomaly_preview.preview(book=anomaly_limits.book(), now=NOW, teams=None).rows
        if one.started_on == LAST
    ]

    anomalies.run(now=NOW, is_asked=True)

    (line,) = anomaly_queries.anomalies(teams=None, state="open")
    assert (dict(newest.scope), newest.started_on) == (dict(line.scope), line.started_at.date())
    assert abs(newest.impact_cost - line.impact_cost) < Decimal(5)
    assert newest.is_told == Alert.objects.filter(kind="anomaly").exists()


def test_it_writes_each_change_to_the_audit_log_once(db: None) -> None:
    made = put({"team": "search"}, impact_cost="75")
    assert put({"team": "search"}, impact_cost="75.0", now=NOW + timedelta(days=1)) == made
    put({"team": "search"}, impact_cost="80", impact_percent="10")
    thresholds.remove(threshold_id=made, by="ada@example.com", now=NOW)

    entries = AuditEntry.objects.order_by("pk")
    assert [(one.act, one.before, one.after) for one in entries] == [
        ("anomaly.threshold_set", {}, {"above expected": "75"}),
        ("anomaly.threshold_set", {"above expected": "75"}, {"above expected": "80", "percent above expected": "10"}),
        ("anomaly.threshold_removed", {"above expected": "80", "percent above expected": "10"}, {}),
    ]
    assert {one.subject for one in entries} == {"scope:team=search"}
    with pytest.raises(thresholds.NotFound):
        thresholds.remove(threshold_id=made, by="ada@example.com", now=NOW)


def test_it_names_a_key_the_same_when_it_is_set_and_removed(db: None) -> None:
    made = put({"key": "etl-7", "team": "data"}, impact_cost="9")
    thresholds.remove(threshold_id=made, by="ada@example.com", now=NOW)

    assert {one.subject for one in AuditEntry.objects.all()} == {"scope:team=data|key=etl-7"}


@pytest.mark.parametrize(
    ("scope", "values", "field"),
    [
        ({"feature": "x"}, {"impact_cost": "1"}, "scope"),
        ({"team": "a", "model": "b"}, {"impact_cost": "1"}, "scope"),
        ({}, {}, "impact_cost"),
        ({}, {"impact_cost": "much"}, "impact_cost"),
        ({}, {"impact_cost": "-1"}, "impact_cost"),
        ({}, {"impact_percent": "10001"}, "impact_percent"),
        ({}, {"day_cost": "NaN"}, "day_cost"),
        ({}, {"hour_cost": "1e-400"}, "hour_cost"),
        ({}, {"hour_cost": "1e400"}, "hour_cost"),
    ],
)
def test_it_says_what_cannot_be_kept(scope: dict[str, str], values: dict[str, str], field: str) -> None:
    with pytest.raises(thresholds.Invalid) as problem:
        thresholds.own(scope=scope, values=values)

    assert list(problem.value.errors) == [field]
    assert "expected" in str(problem.value)


def test_it_shows_a_lead_the_limits_of_own_teams_and_of_everything(db: None) -> None:
    for scope in ({}, {"team": "search"}, {"team": "support"}, {"model": "m"}):
        put(scope, impact_cost="9")

    assert [one.scope for one in thresholds.book(teams=("search",)).owns] == [(), SEARCH]
    hidden = AnomalyThreshold.objects.get(scope_key="team=support").pk
    with pytest.raises(thresholds.NotFound):
        thresholds.one(threshold_id=hidden, teams=("search",))


def test_it_shows_what_fell_away_and_tells_nobody(year: Books) -> None:
    gone = DailyCost.objects.filter(day__gt=LAST - timedelta(days=2), model="mistral")
    gone.delete()
    year.spend(LAST, "1", team="support", model="mistral")

    anomalies.run(now=NOW, is_asked=True)

    found = {tuple(one.scope.values()): one for one in anomaly_queries.falls(teams=None)}
    assert set(found) == {("mistral",), ("support",)}
    line = found[("support",)]
    assert (line.since, line.days, line.actual_cost) == (LAST - timedelta(days=1), 2, Decimal(1))
    assert Decimal(115) < line.expected_cost < Decimal(135)
    assert anomaly_queries.falls(teams=("search",)) == []
    assert not Alert.objects.exists()


def test_it_names_no_part_of_what_fell_as_a_whole(books: Books) -> None:
    for back in range(1, 60):
        books.spend(LAST - timedelta(days=back), "100", team="search")
    books.spend(LAST, "1", team="search")
    books.complete(datetime(2026, 11, 21, tzinfo=UTC))

    anomalies.run(now=NOW, is_asked=True)

    assert [one.scope for one in anomaly_queries.falls(teams=None)] == [{}]
