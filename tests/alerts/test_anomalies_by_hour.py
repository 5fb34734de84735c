"""Anomalies by the hour: a runaway key is told within its hour, once, for the key; a look repeats no work and changes no result."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import transaction

from alerts import anomalies, anomaly_queries, anomaly_series
from alerts.models import Alert, Anomaly, AnomalyCheck
from attribution.models import DailyCost
from costobs.kernel.period import Days
from ingest.models import Source, UsageHour
from tests.attribution import world

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 24, 14, 20, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def calls() -> UsageHour:
    """Four weeks and a day of calls of one key, the same in every hour: about 10 an hour; returns the newest row."""
    log = world.source("usage_log", "log")
    this_hour = NOW.replace(minute=0)
    world.usage(log, attributes={"team": "A", "key": "etl-7"}, hour=this_hour - HOUR, input_uncached=10_000)
    world.settle()
    row = UsageHour.objects.get()
    assert DailyCost.objects.exists()
    arrive([_copy(row, this_hour - HOUR * back) for back in range(2, 29 * 24)])
    Source.objects.update(complete_through=this_hour, last_load_at=NOW)
    return row


def arrive(rows: list[UsageHour]) -> None:
    """Calls are loaded: a load marks the days of its rows as changed."""
    UsageHour.objects.bulk_create(rows, ignore_conflicts=True)
    for source_id, day in sorted({(row.source_id, row.hour.date()) for row in rows}):
        world.touch(Source.objects.get(pk=source_id), day)


def _copy(row: UsageHour, hour: datetime, times: int = 1) -> UsageHour:
    values = {one.attname: getattr(row, one.attname) for one in UsageHour._meta.concrete_fields if not one.primary_key}
    scaled = {name: values[name] * times for name in ("input_uncached", "requests")}
    return UsageHour(**{**values, **scaled, "hour": hour})


def test_it_tells_of_a_runaway_key_within_the_hour(calls: UsageHour) -> None:
    assert anomalies.run(now=NOW).opened == 0
    arrive([_copy(calls, NOW.replace(minute=0), times=30)])

    found = anomalies.run(now=NOW)
    again = anomalies.run(now=NOW)

    assert (found.opened, again.opened, again.closed) == (1, 0, 0)
    (line,) = anomaly_queries.anomalies(teams=None, state="open")
    assert (line.grain, dict(line.scope)) == ("hour", {"team": "A", "key": "etl-7"})
    assert line.impact_cost > Decimal(50)
    assert [one.kind for one in line.drivers][:1] == ["volume"]
    assert sum(one.cost for one in line.drivers) == line.impact_cost
    assert Alert.objects.filter(kind="anomaly").count() == 1


def test_it_closes_when_the_hours_are_back(calls: UsageHour) -> None:
    this_hour = NOW.replace(minute=0)
    arrive([_copy(calls, this_hour, times=30)])
    anomalies.run(now=NOW)
    arrive([_copy(calls, this_hour + HOUR * ahead) for ahead in (1, 2, 3)])
    Source.objects.update(complete_through=this_hour + HOUR * 4)

    found = anomalies.run(now=this_hour + HOUR * 4 + timedelta(minutes=5))

    assert found.closed == 1
    assert Anomaly.objects.get().outcome == "back"


def rows() -> list[dict[str, object]]:
    """All that is kept of anomalies, without what the database numbers."""
    return list(Anomaly.objects.order_by("scope_key", "started_at").values(*KEPT))


KEPT = [one.name for one in Anomaly._meta.concrete_fields if one.name != "id"]


def hour_by_hour(calls: UsageHour, *, is_forgetful: bool) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """A key that runs away, is quiet, and comes late: rows and checks after nine looks over two and a half hours."""
    anomalies.forget()
    this_hour = NOW.replace(minute=0)
    loads = {
        1: [_copy(calls, this_hour, times=9)],
        3: [_copy(calls, this_hour + HOUR, times=30)],
        5: [_copy(calls, this_hour - HOUR * 30, times=40)],  # late
        7: [_copy(calls, this_hour + HOUR * 2)],
    }
    for step in range(9):
        now = NOW + timedelta(minutes=18) * step
        late = [row for row in loads.get(step, ()) if UsageHour.objects.filter(hour=row.hour).exists()]
        UsageHour.objects.filter(hour__in=[row.hour for row in late]).delete()
        arrive(loads.get(step, []))
        Source.objects.update(complete_through=now.replace(minute=0), last_load_at=now)
        if is_forgetful:
            anomalies.forget()
        anomalies.run(now=now)
    return rows(), list(AnomalyCheck.objects.order_by("grain").values())


def test_it_finds_the_same_as_a_look_at_everything(calls: UsageHour) -> None:
    results = []
    for is_forgetful in (True, False):
        point = transaction.savepoint_create()
        results.append(hour_by_hour(calls, is_forgetful=is_forgetful))
        transaction.savepoint_rollback(point)

    (everything, checks), (changed, changed_checks) = results
    assert changed == everything
    assert [{**one, "id": 0} for one in changed_checks] == [{**one, "id": 0} for one in checks]
    assert len(everything) >= 2, "the late hour and the runaway"


def test_it_reads_only_the_days_that_have_changed(calls: UsageHour, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[tuple[datetime, datetime]] = []
    whole = anomaly_series.hours_of

    def noted(since: datetime, until: datetime, currency: str) -> Any:
        read.append((since, until))
        return whole(since, until, currency)

    def days() -> set[date]:
        found = {day for since, until in read for day in Days(since.date(), until.date())}
        read.clear()
        return found & {hour.date() for hour in UsageHour.objects.values_list("hour", flat=True)}

    monkeypatch.setattr(anomaly_series, "hours_of", noted)
    anomalies.run(now=NOW)
    assert len(days()) == 30
    anomalies.run(now=NOW + timedelta(minutes=2))
    assert days() == set()
    arrive([_copy(calls, NOW.replace(minute=0))])
    anomalies.run(now=NOW + timedelta(minutes=4))
    assert days() == {NOW.date()}

    anomalies.run(now=NOW + timedelta(hours=7))

    assert len(days()) == 30, "what no mark tells of is read again in time"


def new_key(calls: UsageHour, name: str, hour: datetime, times: int, **attributes: str) -> UsageHour:
    """Calls of a key that nobody has seen before."""
    source = Source.objects.get(pk=calls.source_id)
    return world.usage(
        source, attributes={"team": "A", "key": name, **attributes}, hour=hour, input_uncached=10_000 * times
    )


def test_it_names_a_key_that_nobody_has_seen_before(calls: UsageHour) -> None:
    """Three times what is worth looking at in one hour, of a key without a past: nobody has to wait for its history."""
    this_hour = NOW.replace(minute=0)
    new_key(calls, "sk-live-0123456789abcdef1a2b", this_hour, 12)
    world.settle()
    Source.objects.update(complete_through=this_hour, last_load_at=NOW)

    found = anomalies.run(now=NOW)

    assert found.opened == 1
    (line,) = anomaly_queries.anomalies(teams=None, state="open")
    assert dict(line.scope) == {"team": "A", "key": "sk-live-0123456789abcdef1a2b"}
    assert line.impact_cost == Decimal(120)
    assert [(one.kind, one.cost) for one in line.drivers] == [("new_key", Decimal(120))]
    assert line.driver_words == "new key …1a2b, $120 of it"
    assert [(one.key, one.cost) for one in line.new_keys] == [("sk-live-0123456789abcdef1a2b", Decimal(120))]
    alert = Alert.objects.get(kind="anomaly")
    assert "Mostly new key …1a2b, $120 of it" in alert.payload["lead"]

    later = this_hour + HOUR * 2
    arrive([_copy(calls, this_hour), _copy(calls, this_hour + HOUR)])
    Source.objects.update(complete_through=later)
    anomalies.run(now=later + timedelta(minutes=1))
    assert Anomaly.objects.get().outcome == "back"


def test_it_says_nothing_of_a_new_key_that_costs_little(calls: UsageHour) -> None:
    new_key(calls, "small", NOW.replace(minute=0), 1)
    world.settle()

    assert anomalies.run(now=NOW).opened == 0


def test_it_takes_no_key_for_new_that_only_moved_to_another_team(calls: UsageHour) -> None:
    this_hour = NOW.replace(minute=0)
    new_key(calls, "nomad", this_hour - HOUR * 24 * 10, 1, team="B")
    new_key(calls, "nomad", this_hour, 3)
    world.settle()
    Source.objects.update(complete_through=this_hour, last_load_at=NOW)

    anomalies.run(now=NOW)

    assert [dict(one.scope) for one in anomaly_queries.anomalies(teams=None) if "nomad" in one.scope.values()] == []


def test_it_keeps_one_anomaly_of_a_new_key_by_hour_and_by_day(calls: UsageHour) -> None:
    """The hour opens it; the complete day goes on in the same row, and names neither the team nor all spend beside it."""
    last = NOW.replace(hour=0, minute=0)
    log = Source.objects.get(pk=calls.source_id)
    for back in range(1, 31):
        world.charge(log, "240", attributes={"team": "A", "key": "etl-7"}, starts=last - timedelta(days=back))
    new_key(calls, "sk-1", NOW.replace(minute=0), 40)
    world.settle()
    Source.objects.update(complete_through=NOW.replace(minute=0), last_load_at=NOW)
    anomalies.run(now=NOW)
    (by_hour,) = anomaly_queries.anomalies(teams=None, state="open")
    assert (by_hour.grain, dict(by_hour.scope)) == ("hour", {"team": "A", "key": "sk-1"})

    later = last + timedelta(days=1, hours=6)
    Source.objects.update(complete_through=last + timedelta(days=1), last_load_at=later)
    anomalies.run(now=later, is_asked=True)

    found = anomaly_queries.anomalies(teams=None)
    assert [(one.id, one.grain, dict(one.scope)) for one in found] == [(by_hour.id, "day", dict(by_hour.scope))]
    assert (found[0].impact_cost, found[0].driver_words) == (Decimal(400), "new key sk-1, $400 of it")
    assert Alert.objects.filter(kind="anomaly").count() == 1


@pytest.mark.parametrize("lag", [0, 2])
def test_it_opens_no_second_one_while_the_days_of_the_first_lag_behind(calls: UsageHour, lag: int) -> None:
    """It ends two days ago or with the day at work, which is not complete; hours of the same scope burned and burn on."""
    two_days_ago = NOW.replace(hour=0, minute=0) - timedelta(days=2)
    row = Anomaly.objects.create(
        scope={"team": "A", "key": "etl-7"}, scope_key="team=A|key=etl-7", currency="USD", grain="day",
        started_at=two_days_ago, last_at=two_days_ago + timedelta(days=lag), periods=1,
        actual_cost=900, expected_cost=240, impact_cost=660,
        newest_cost=900, newest_expected_cost=240, score=9, detected_at=NOW, updated_at=NOW,
    )  # fmt: skip
    AnomalyCheck.objects.create(grain="day", checked_at=NOW, judged_until=NOW.replace(hour=0, minute=0))
    UsageHour.objects.filter(hour=NOW.replace(minute=0) - HOUR * 8).delete()
    arrive([_copy(calls, NOW.replace(minute=0) - HOUR * 8, times=30)])  # an episode of its own, which is over
    arrive([_copy(calls, NOW.replace(minute=0), times=30)])

    anomalies.run(now=NOW)

    assert [(one.pk, one.grain) for one in Anomaly.objects.filter(state="open")] == [(row.pk, "day")]
