"""Spend by the hour: it adds up to the day, lies where the calls were, and shows nobody what is not theirs."""

from datetime import timedelta
from decimal import Decimal

import pytest

from attribution import queries
from costobs.kernel import money
from costobs.kernel.period import Days
from costobs.kernel.scope import Filter
from tests.attribution import world

pytestmark = pytest.mark.django_db

DAY = world.DAY
ONE_DAY = Days(DAY, DAY + timedelta(days=1))


@pytest.fixture
def day() -> None:
    log, bill = world.source("usage_log", "log"), world.source()
    for hour, tokens in ((3, 100), (15, 200)):
        world.usage(log, attributes={"team": "A"}, hour=world.at(hour), input_uncached=tokens)
    world.usage(log, attributes={"team": "B"}, hour=world.at(4), output=7, model="gpt-4o-mini")
    world.charge(bill, "10", cost_kind="compute")
    world.charge(bill, "-0.000000000001", service_name="Credit", charge_category="Credit")
    world.settle()


def test_it_adds_up_to_the_day_exactly(day: None) -> None:
    scope = world.scope(days=ONE_DAY)

    hours = queries.spend_by_hour(scope=scope, group_by=["model", "team"])

    assert len({row.hour for row in hours}) == 24
    assert money.total(row.cost for row in hours) == queries.total(scope=scope).cost
    for row in queries.spend(scope=scope, group_by=["model", "team"]):
        own = [hour for hour in hours if hour.keys == row.keys]
        assert money.total(hour.cost for hour in own) == row.cost
        assert money.total(hour.estimated_cost for hour in own) == row.estimated_cost


def test_it_lays_calls_on_their_hours_and_the_rest_evenly(day: None) -> None:
    calls = queries.spend_by_hour(scope=world.scope(Filter("model", ("gpt-4o",)), days=ONE_DAY))
    machine = queries.spend_by_hour(scope=world.scope(Filter("service_name", ("Amazon EC2",)), days=ONE_DAY))

    assert [(row.hour, row.cost) for row in calls] == [
        (world.at(3), Decimal("0.1")),
        (world.at(15), Decimal("0.2")),
    ]
    assert [row.hour for row in machine] == [world.at(hour) for hour in range(24)]
    assert {row.cost for row in machine[1:]} == {Decimal("0.416666666666")}
    assert machine[0].cost == Decimal("0.416666666682")


def test_it_splits_by_tokens_where_calls_have_no_price() -> None:
    log = world.source("usage_log", "log")
    free = world.price("openai", "gpt-free", per_token="0")
    for hour, tokens in ((1, 300), (2, 100)):
        world.usage(log, model="gpt-free", hour=world.at(hour), unit_price=free, input_uncached=tokens)
    world.charge(log, "8", model="gpt-free", service_name="Reserved capacity", service_provider_name="Lab")
    world.settle()

    hours = queries.spend_by_hour(scope=world.scope(Filter("model", ("gpt-free",)), days=ONE_DAY))
    calls = queries.usage_by_hour(scope=world.scope(), since=world.at(0), until=world.at(2))

    assert [(row.hour, row.cost) for row in hours] == [(world.at(1), Decimal(6)), (world.at(2), Decimal(2))]
    assert [(row.hour, row.estimated_cost, row.requests, row.tokens) for row in calls] == [(world.at(1), 0, 1, 300)]


def test_it_shows_a_lead_their_own_team_only(day: None) -> None:
    world_of_b = world.scope(days=ONE_DAY, teams=("B",))

    spend = queries.spend_by_hour(scope=world_of_b, group_by=["team"])
    calls = queries.usage_by_hour(scope=world_of_b, since=world.at(0), until=world.at(23), group_by=["team"])

    assert {row.keys for row in spend} <= {("B",)}
    assert {row.keys for row in calls} <= {("B",)}


def test_it_counts_the_calls_of_an_hour(day: None) -> None:
    hours = queries.usage_by_hour(scope=world.scope(), since=world.at(3), until=world.at(15), group_by=["model"])

    assert [(row.hour, row.keys, row.requests, row.tokens) for row in hours] == [
        (world.at(3), ("gpt-4o",), 1, 100),
        (world.at(4), ("gpt-4o-mini",), 1, 7),
    ]
