"""Anomalies in the books: found, once for each cause, corrected by newer data, closed, and tuned by what people say."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from alerts import anomalies, anomaly_queries, feedback, mutes, routes, routing, subscribe, told
from alerts.models import Alert, Anomaly, AnomalyFeedback, BudgetState, Channel, OpenItem
from attribution.models import DailyCost
from costobs.audit.models import AuditEntry
from costobs.kernel import money
from tests.alerts.conftest import START, Books, make_budget

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


def test_it_ends_the_thread_when_somebody_decides_and_begins_again_when_that_is_undone(year: Books) -> None:
    year.spend(LAST, "300", team="search")
    look()
    made = said("expected", ends_at=NOW + timedelta(days=7))

    assert [*Alert.objects.order_by("pk").values_list("kind", flat=True)] == ["anomaly", "anomaly_ended"]
    assert OpenItem.objects.get().closed_at == NOW

    feedback.undo(feedback_id=made, by="ada@example.com", now=NOW)
    look(NOW + timedelta(minutes=2))
    assert [*Alert.objects.order_by("pk").values_list("kind", flat=True)] == ["anomaly", "anomaly_ended", "anomaly"]
    assert OpenItem.objects.get().closed_at is None


@pytest.fixture
def told_of_search(year: Books) -> Alert:
    """Search leaps with two models, so that the team is the cause."""
    year.spend(LAST, "300", team="search", model="mistral")
    look()
    return Alert.objects.get()


def test_it_goes_to_the_channel_of_its_team(told_of_search: Alert) -> None:
    named = {
        name: subscribe.create(name=name, kind="email", config={"to": [f"{name}@example.com"]}, by="ada", now=START)
        for name in ("search", "support", "everyone")
    }
    for team in ("search", "support"):
        routes.add_route(audience="team", channel_id=named[team], team=team, by="ada", now=START)
    routes.add_route(audience="fallback", channel_id=named["everyone"], by="ada", now=START)

    found = routing.targets(told_of_search)

    assert [Channel.objects.get(pk=one.channel_id).name for one in found] == ["search"]


def test_it_keeps_silent_while_its_team_is_muted(told_of_search: Alert) -> None:
    until = NOW + timedelta(days=1)
    mutes.mute(about="team", subject="support", until=until, reason="move", by="ada", now=NOW)
    assert routing.mute_of(told_of_search, NOW) is None

    mutes.mute(about="team", subject="search", until=until, reason="move", by="ada", now=NOW)

    assert routing.mute_of(told_of_search, NOW) is not None


def test_it_stands_in_the_log_of_its_lead_alone(told_of_search: Alert) -> None:
    assert [one.teams for one in told.log(teams=("search",))] == [("search",)]
    assert told.log(teams=("support",)) == told.log(teams=("",)) == told.log(teams=()) == []
    Anomaly.objects.update(scope={})
    assert told.log(teams=("search",)) == []
    assert [one.teams for one in told.log(teams=None)] == [()]


def test_it_names_the_narrowest_budget_its_owner_and_where_it_would_end(year: Books) -> None:
    for name, scope, ends in (
        ("All", {}, "1500"),
        ("Search", {"team": ["search", "x"]}, "1120"),
        ("Other", {"team": ["support"]}, "9"),
    ):
        budget = make_budget(name=name, scope=scope, amount="1000", owner_email=f"{name.lower()}@example.com")
        BudgetState.objects.create(
            budget_id=budget, period_start=date(2026, 11, 1), period_end=date(2026, 12, 1), evaluated_at=NOW,
            spend_cost=900, estimated_cost=0, used_percent=90, state="watch", forecast_cost=Decimal(ends),
        )  # fmt: skip
    year.spend(LAST, "300", team="search", model="mistral")

    look()

    facts = {one["label"]: one["value"] for one in Alert.objects.get().payload["facts"]}
    assert (facts["Budget"], facts["Owner"]) == ("Search would end 12 % over", "search@example.com")


def test_it_names_no_end_of_a_budget_whose_figures_are_stale(year: Books) -> None:
    BudgetState.objects.create(
        budget_id=make_budget(name="Search", scope={"team": ["search"]}, amount="1000"),
        period_start=date(2026, 11, 1), period_end=date(2026, 12, 1), evaluated_at=NOW,
        spend_cost=900, estimated_cost=0, used_percent=90, state="watch", forecast_cost=1120, is_stale=True,
    )  # fmt: skip
    year.spend(LAST, "300", team="search", model="mistral")

    look()

    facts = {one["label"]: one["value"] for one in Alert.objects.get().payload["facts"]}
    assert facts["Budget"] == "Search"
    assert "Owner" not in facts


def test_it_waits_for_somebody_anew_when_it_opens_again(told_of_search: Alert) -> None:
    row = Anomaly.objects.get()
    item = OpenItem.objects.get()
    mutes.acknowledge(item_id=item.pk, by="ben@example.com", now=NOW)
    row.refresh_from_db()
    assert (row.acknowledged_by, row.acknowledged_at) == ("ben@example.com", NOW), "the page says what the alert says"
    made = said("expected", ends_at=NOW + timedelta(days=7))
    feedback.undo(feedback_id=made, by="ada@example.com", now=NOW)

    look(NOW + timedelta(minutes=2))

    row.refresh_from_db()
    assert (row.state, row.acknowledged_by, row.acknowledged_at) == ("open", "", None)
    assert OpenItem.objects.get().acknowledged_at is None
    feedback.acknowledge(anomaly_id=row.pk, version=row.version, by="ada@example.com", now=NOW)
    assert OpenItem.objects.get().acknowledged_by == "ada@example.com"


def test_it_takes_nobody_for_what_is_over(told_of_search: Alert) -> None:
    said("expected", ends_at=NOW + timedelta(days=7))
    row = Anomaly.objects.get()

    for act in (feedback.acknowledge, feedback.mute):
        with pytest.raises(feedback.Conflict, match="closed already, since 21 Nov, 06:00 UTC: expected"):
            act(anomaly_id=row.pk, version=row.version, by="ada", now=NOW)
