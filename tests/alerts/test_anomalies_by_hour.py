"""Anomalies by the hour: a runaway key is told within its hour, once, for the key."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from alerts import anomalies, anomaly_queries
from alerts.models import Alert, Anomaly
from attribution.models import DailyCost
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
    UsageHour.objects.bulk_create(
        [_copy(row, this_hour - HOUR * back) for back in range(2, 29 * 24)], ignore_conflicts=True
    )
    Source.objects.update(complete_through=this_hour, last_load_at=NOW)
    return row


def _copy(row: UsageHour, hour: datetime, times: int = 1) -> UsageHour:
    values = {one.attname: getattr(row, one.attname) for one in UsageHour._meta.concrete_fields if not one.primary_key}
    scaled = {name: values[name] * times for name in ("input_uncached", "requests")}
    return UsageHour(**{**values, **scaled, "hour": hour})


def test_it_tells_of_a_runaway_key_within_the_hour(calls: UsageHour) -> None:
    assert anomalies.run(now=NOW).opened == 0
    UsageHour.objects.bulk_create([_copy(calls, NOW.replace(minute=0), times=30)])

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
    UsageHour.objects.bulk_create([_copy(calls, this_hour, times=30)])
    anomalies.run(now=NOW)
    UsageHour.objects.bulk_create([_copy(calls, this_hour + HOUR * ahead) for ahead in (1, 2, 3)])
    Source.objects.update(complete_through=this_hour + HOUR * 4)

    found = anomalies.run(now=this_hour + HOUR * 4 + timedelta(minutes=5))

    assert found.closed == 1
    assert Anomaly.objects.get().outcome == "back"
