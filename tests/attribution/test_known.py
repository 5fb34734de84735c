"""What was known at an earlier moment is written down once, and adds up to what is known now."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection

from attribution import books, known, own, queries
from attribution.models import KnownCost, PeriodBook, RulesetVersion
from attribution.own import RuleDraft
from costobs import pipeline
from costobs.kernel.scope import BadScope, Filter
from tests.attribution import world

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)
NEXT = world.DAY + timedelta(days=1)


def _rebuild(now: datetime, *days: date) -> None:
    own.run(now=now)
    for day in days or (world.DAY,):
        books.rebuild(day=day, now=now)


def _as_of(at: datetime, **asked: Any) -> Decimal:
    return queries.spend_as_of(scope=world.scope(**asked), known_at=at)[0].cost


def _grown() -> None:
    """A bill that said 5 at twelve, 7 at two and 4 at three the next day."""
    bill = world.source()
    world.charge(bill, "5", attributes={"team": "search"})
    _rebuild(world.NOW)
    world.charge(bill, "2", attributes={"team": "chat"})
    _rebuild(world.NOW + 2 * HOUR)
    world.charge(bill, "-3", attributes={"team": "search"})
    _rebuild(world.NOW + 27 * HOUR)


def test_it_answers_with_what_was_known_at_each_hour() -> None:
    _grown()

    assert [_as_of(world.NOW + hours * HOUR) for hours in (0, 1, 2, 3, 27, 28, 500)] == [0, 5, 5, 7, 7, 4, 4]


def test_it_adds_to_the_books_as_they_are() -> None:
    _grown()
    late = world.NOW + 500 * HOUR

    for dimension in queries.KNOWN_DIMENSIONS:
        rows = queries.then_and_now(scope=world.scope(), known_at=late, group_by=dimension)
        assert all(row.then == row.now for row in rows)
        assert sum(row.now for row in rows) == queries.total(scope=world.scope()).cost


def test_it_says_what_changed_on_which_day_and_the_changes_add_up() -> None:
    _grown()
    at = world.NOW + HOUR

    news = queries.news_since(scope=world.scope(), known_at=at)

    assert [(one.known_on, one.change) for one in news] == [(date(2026, 3, 21), -3), (date(2026, 3, 20), 2)]
    then = _as_of(at)
    assert then + sum(one.change for one in news) == queries.total(scope=world.scope()).cost


def test_it_tells_which_deliveries_prices_and_rules_came() -> None:
    bill, log = world.source(), world.source("usage_log", "log")
    world.usage(log, input_uncached=1000)
    _rebuild(world.NOW - 48 * HOUR)
    world.charge(bill, "5")
    fresh = world.price(model="gpt-4o-mini", set_by="ada@example.com")
    type(fresh).objects.filter(pk=fresh.pk).update(known_from=world.NOW)
    own.reattribute(
        drafts=[RuleDraft("match", "all", {"when": {}, "set": {"team": "search"}})], now=world.NOW, by="ben@example.com"
    )
    _rebuild(world.NOW)

    (news,) = queries.news_since(scope=world.scope(), known_at=world.NOW - 24 * HOUR)

    assert [one.partition(":")[0] for one in news.deliveries] == ["bill"]
    assert news.prices == ("openai/gpt-4o-mini",)
    assert news.rulesets == ("ben@example.com",)


def test_it_keeps_only_the_last_belief_of_an_hour() -> None:
    bill = world.source()
    for minute in range(0, 60, 10):
        world.charge(bill, "1")
        _rebuild(world.NOW + timedelta(minutes=minute))

    assert [(row.known_from, row.effective_cost) for row in KnownCost.objects.all()] == [(world.NOW, Decimal(6))]


def test_it_writes_nothing_when_nothing_changed() -> None:
    world.charge(world.source(), "5")
    _rebuild(world.NOW)
    rows = list(KnownCost.objects.values())

    _rebuild(world.NOW + 5 * HOUR)

    assert list(KnownCost.objects.values()) == rows


def test_it_forgets_within_the_hour_what_turned_out_to_be_nothing() -> None:
    bill = world.source()
    world.charge(bill, "5", attributes={"team": "search"})
    _rebuild(world.NOW)
    world.charge(bill, "-5", attributes={"team": "search"})
    _rebuild(world.NOW + timedelta(minutes=30))

    assert not KnownCost.objects.exists()


def test_it_keeps_a_snapshot_through_its_hour() -> None:
    bill = world.source()
    world.charge(bill, "5")
    _rebuild(world.NOW)
    at = world.NOW + timedelta(minutes=20)
    known.snapshot(first=world.DAY, last=world.DAY, now=at)
    ruleset = RulesetVersion.objects.get(is_current=True)
    PeriodBook.objects.create(month=date(2026, 2, 1), state="closed", ruleset=ruleset, closed_at=at)
    world.charge(bill, "2")
    _rebuild(world.NOW + timedelta(minutes=40))

    assert _as_of(at) == 5
    assert queries.known_moment(known_at=at) == at
    assert _as_of(world.NOW + HOUR) == 7


def test_it_ends_no_belief_before_it_began_when_the_clock_goes_back() -> None:
    bill = world.source()
    world.charge(bill, "5")
    _rebuild(world.NOW)
    world.charge(bill, "2")
    _rebuild(world.NOW - 3 * HOUR)
    world.charge(bill, "1")
    _rebuild(world.NOW + 3 * HOUR)

    assert all(row.known_to is None or row.known_to >= row.known_from for row in KnownCost.objects.all())
    assert _as_of(world.NOW + 5 * HOUR) == 8


def test_it_knows_the_owner_of_that_time() -> None:
    bill = world.source()
    world.charge(bill, "5", attributes={"project": "atlas"})
    _rebuild(world.NOW)
    known.follow_rules(now=world.NOW)
    later = world.NOW + 5 * HOUR
    own.reattribute(
        drafts=[RuleDraft("match", "atlas", {"when": {"project": ["atlas"]}, "set": {"team": "search"}})],
        now=later,
        by="ada",
    )

    looked = known.follow_rules(now=later + 3 * HOUR)

    assert (looked, known.follow_rules(now=later + 4 * HOUR)) == (1, 0)
    for at, team in ((later - HOUR, ""), (later + HOUR, "search")):
        rows = queries.spend_as_of(scope=world.scope(), known_at=at, group_by=["team"])
        assert [(row.keys, row.cost) for row in rows] == [((team,), Decimal(5))]


def test_it_writes_new_owners_down_a_few_days_at_a_time() -> None:
    for day in (9, 10, 11):
        world.charge(world.source(), "5", attributes={"project": "atlas"}, starts=world.at(day=date(2026, 3, day)))
    world.settle()
    while known.follow_rules(now=world.NOW):
        pass
    later = world.NOW + 5 * HOUR
    own.reattribute(
        drafts=[RuleDraft("match", "atlas", {"when": {"project": ["atlas"]}, "set": {"team": "search"}})],
        now=later,
        by="ada",
    )

    looked = [known.follow_rules(now=later + n * HOUR, limit=2) for n in range(3)]

    rows = queries.spend_as_of(scope=world.scope(), known_at=later + HOUR, group_by=["team"])
    assert (looked, [(row.keys, row.cost) for row in rows]) == ([2, 1, 0], [(("search",), Decimal(15))])


def test_it_leaves_closed_days_alone_when_rules_change() -> None:
    bill = world.source()
    world.charge(bill, "5", attributes={"project": "atlas"})
    _rebuild(world.NOW)
    known.follow_rules(now=world.NOW)
    before = list(KnownCost.objects.values())
    ruleset = RulesetVersion.objects.get(is_current=True)
    PeriodBook.objects.create(month=date(2026, 3, 1), state="closed", ruleset=ruleset, closed_at=world.NOW)
    own.reattribute(
        drafts=[RuleDraft("match", "all", {"when": {}, "set": {"team": "search"}})], now=world.NOW + HOUR, by="ada"
    )

    assert known.follow_rules(now=world.NOW + 2 * HOUR) == 0
    assert list(KnownCost.objects.values()) == before


def test_it_shows_a_team_what_was_known_of_its_own() -> None:
    _grown()
    late = world.NOW + 500 * HOUR

    assert _as_of(late, teams=("chat",)) == 2
    assert _as_of(late, teams=()) == 0
    news = queries.news_since(scope=world.scope(teams=("chat",)), known_at=world.NOW + HOUR)
    assert [(one.change, one.deliveries, one.rulesets) for one in news] == [(2, (), ())]
    rows = queries.then_and_now(scope=world.scope(teams=("chat",)), known_at=late, group_by="team")
    assert [(row.key, row.then, row.now) for row in rows] == [("chat", 2, 2)]


def test_it_filters_by_what_was_kept_and_refuses_the_rest() -> None:
    _grown()
    late = world.NOW + 500 * HOUR

    assert queries.spend_as_of(scope=world.scope(Filter("team", ("chat",))), known_at=late)[0].cost == 2
    with pytest.raises(BadScope, match="provider_name, team, basis, found 'model'"):
        queries.spend_as_of(scope=world.scope(Filter("model", ("gpt",))), known_at=late)
    with pytest.raises(BadScope, match="found 'feature'"):
        queries.then_and_now(scope=world.scope(), known_at=late, group_by="feature")


def test_it_knows_estimates_until_the_bill_replaced_them() -> None:
    log, bill = world.source("usage_log", "log"), world.source()
    world.usage(log, attributes={"team": "search"}, input_uncached=1000)
    _rebuild(world.NOW)
    world.llm_charge(bill, "4", consumed_quantity=Decimal(1000))
    _rebuild(world.NOW + 2 * HOUR)

    then, now = (
        queries.spend_as_of(scope=world.scope(), known_at=world.NOW + hours * HOUR, group_by=["basis"])
        for hours in (1, 3)
    )

    assert [(row.keys[0], row.cost, row.estimated_cost) for row in then] == [("estimated", 1, 1)]
    assert [(row.keys[0], row.cost, row.estimated_cost) for row in now] == [("billed", 4, 0)]
    assert queries.first_known_at() == world.NOW


def test_it_says_nothing_of_an_empty_ledger() -> None:
    assert queries.first_known_at() is None
    assert _as_of(world.NOW) == 0
    assert queries.news_since(scope=world.scope(), known_at=datetime(2020, 1, 1, tzinfo=UTC)) == []


@pytest.mark.django_db(transaction=True)
def test_it_believes_one_thing_when_many_write_at_once() -> None:
    bill = world.source()
    for day in (world.DAY, NEXT):
        world.charge(bill, "5", starts=world.at(day=day))
    own.run(now=world.NOW)

    def work(number: int) -> None:
        try:
            books.rebuild(day=(world.DAY, NEXT)[number % 2], now=world.NOW + number * HOUR)
            known.snapshot(first=world.DAY, last=NEXT, now=world.NOW + number * HOUR)
        finally:
            connection.close()

    try:
        with ThreadPoolExecutor(4) as workers:
            list(workers.map(work, range(8)))

        assert KnownCost.objects.filter(known_to=None).count() == 2
        assert _as_of(world.NOW + 100 * HOUR) == 10
    finally:
        with connection.cursor() as cursor:
            cursor.execute("TRUNCATE ingest_charge")


def test_it_ends_what_was_believed_of_days_that_left_the_books() -> None:
    gone, kept = world.source(name="gone"), world.source(name="kept")
    world.charge(gone, "5")
    world.charge(kept, "7", starts=world.at(day=NEXT))
    _rebuild(world.NOW, world.DAY, NEXT)

    pipeline.forget_source(source_id=gone.pk, by="ada", now=world.NOW + 2 * HOUR, rebuilds=False)

    assert [_as_of(world.NOW + hours * HOUR) for hours in (1, 3)] == [12, 7]
    assert queries.total(scope=world.scope()).cost == 7
