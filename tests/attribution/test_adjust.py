"""What changes on a closed day is booked in the open month; the day itself stays as it is."""

from datetime import date, timedelta
from decimal import Decimal

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from attribution import books, own, queries, verify
from attribution.models import DailyCost, PeriodBook, RulesetVersion
from attribution.own import RuleDraft
from attribution.queries import closed_months
from costobs.kernel.period import Days, add_months
from costobs.kernel.scope import Filter
from ingest.models import Charge
from tests.attribution import world

pytestmark = pytest.mark.django_db

MONTH = world.DAY.replace(day=1)  # March
NEXT = add_months(MONTH, 1)
AFTER = add_months(MONTH, 2)
LATER = world.at(12, day=NEXT + timedelta(days=14))
SPLIT = RuleDraft("fixed_split", "support", {"select": {"service_name": ["Support"]}, "shares": {"a": "2", "b": "1"}})


def closed(month: date = MONTH) -> None:
    """Closes a month without asking anybody."""
    own.run(now=LATER)
    ruleset = RulesetVersion.objects.get(is_current=True)
    book, _ = PeriodBook.objects.update_or_create(
        month=month,
        defaults={"state": "closed", "ruleset": ruleset, "closed_by": "ada", "closed_at": LATER, "version": 1},
    )
    book.sha256 = closed_months.fingerprint(month=Days(month, add_months(month, 1)), exchange_rates={})
    book.save()


def in_month(month: date = MONTH) -> list[tuple[object, ...]]:
    columns = ["origin_day", "source_id", "attribute_set_id", "share_kind", "method", "is_current", "effective_cost"]
    rows = DailyCost.objects.filter(day__gte=month, day__lt=add_months(month, 1))
    return sorted((row for row in rows.values_list("day", *columns)), key=str)


def adjusted(month: date = NEXT) -> Decimal:
    rows = DailyCost.objects.filter(day=month, origin_day__isnull=False, is_current=True)
    return sum((row.effective_cost for row in rows), Decimal(0))


def of_month(month: date, *filters: Filter) -> Decimal:
    return queries.total(scope=world.scope(*filters, days=Days(month, add_months(month, 1)))).cost


def test_it_books_a_late_row_in_the_open_month_and_leaves_the_closed_one() -> None:
    bill = world.source()
    world.charge(bill, "10", attributes={"team": "a"})
    world.settle()
    closed()
    before = in_month()

    world.charge(bill, "2.5", attributes={"team": "b"})
    world.settle()

    assert in_month() == before
    (row,) = DailyCost.objects.filter(origin_day__isnull=False)
    assert (row.day, row.origin_day, row.method, row.charge_class) == (NEXT, world.DAY, "adjustment", "Correction")
    assert of_month(MONTH) == Decimal(10)
    assert of_month(NEXT) == of_month(NEXT, Filter("team", ("b",))) == Decimal("2.5")
    assert verify.run(days=Days(MONTH, NEXT)).failures == ()


def test_it_writes_the_same_rows_when_repeated_and_none_when_the_figures_come_back() -> None:
    bill = world.source()
    world.charge(bill, "10", attributes={"team": "a"})
    world.settle()
    closed()
    world.charge(bill, "2.5", attributes={"team": "a"})

    world.settle()
    once = in_month(NEXT)
    for _ in range(2):
        books.rebuild(day=world.DAY, now=LATER)
    twice = in_month(NEXT)
    Charge.objects.filter(billed_cost=Decimal("2.5")).delete()
    world.touch(bill)
    world.settle()

    assert once == twice != []
    assert in_month(NEXT) == []
    assert verify.run().failures == ()


def test_it_corrects_what_closed_months_have_corrected_before() -> None:
    bill = world.source()
    world.charge(bill, "10")
    world.charge(bill, "7", starts=world.at(day=NEXT))
    world.settle()
    closed()
    world.charge(bill, "2")
    world.settle()
    closed(NEXT)
    april = in_month(NEXT)

    world.charge(bill, "1")
    world.settle()
    up = adjusted(AFTER)
    Charge.objects.filter(billed_cost__in=[Decimal(1), Decimal(2)]).delete()
    world.touch(bill)
    world.settle()

    assert in_month(NEXT) == april
    assert (up, adjusted(AFTER)) == (Decimal(1), Decimal(-2))
    assert verify.run(days=Days(MONTH, NEXT)).failures == ()


def test_it_keeps_adjustments_when_the_day_they_are_booked_on_is_rebuilt() -> None:
    bill = world.source()
    world.charge(bill, "10")
    world.settle()
    closed()
    world.charge(bill, "2")
    world.settle()

    world.charge(bill, "5", starts=world.at(day=NEXT))
    world.settle()

    assert adjusted() == Decimal(2)
    assert of_month(NEXT) == Decimal(7)
    assert verify.run().failures == ()


def test_it_takes_the_estimate_back_when_its_bill_comes_after_the_close() -> None:
    log, bill = world.source("usage_log", "log"), world.source()
    world.usage(log, input_uncached=1000, attributes={"team": "a"})
    world.settle()
    closed()
    before = in_month()

    world.llm_charge(bill, "1.25", consumed_quantity=Decimal(1000))
    world.settle()

    assert in_month() == before
    assert of_month(MONTH) == Decimal(1)
    assert of_month(NEXT) == Decimal("0.25")
    assert verify.run().failures == ()
    (march,) = queries.unit_costs(scope=world.scope(days=Days(MONTH, NEXT)), group_by=["model"])
    assert (march.usage_cost, march.requests) == (Decimal(1), 1)


def test_it_splits_a_late_charge_by_the_rules_of_the_closed_month() -> None:
    bill = world.source()
    own.reattribute(drafts=[SPLIT, *own.DEFAULT_RULES], now=world.NOW, by="ada")
    world.charge(bill, "9", service_name="Support")
    world.settle()
    closed()
    own.reattribute(drafts=own.DEFAULT_RULES, now=LATER, by="ada")

    world.charge(bill, "3", service_name="Support")
    world.settle()
    books.rebuild(day=world.DAY, now=LATER)

    rows = queries.spend(scope=world.scope(days=Days(NEXT, AFTER)), group_by=["team"])
    assert {row.keys[0]: row.cost for row in rows} == {"a": Decimal(2), "b": Decimal(1)}


def test_it_books_nothing_for_a_closed_day_that_did_not_change() -> None:
    bill, log, gpus = world.source(), world.source("usage_log", "log"), world.source("dcgm", "gpus")
    world.charge(bill, "24", resource_id="gpu-1")
    world.llm_charge(bill, "3", consumed_quantity=Decimal(900))
    world.usage(log, input_uncached=700, output=200, attributes={"team": "a"})
    world.usage(log, input_uncached=500, provider="self_hosted", model="llama", deployment="llama", hour=world.at(9))
    world.gpu_hour(gpus, world.at(9), busy=1_800_000, deployment="llama")
    world.settle()
    closed()
    before = in_month()

    for source in (bill, log, gpus):
        world.touch(source)
    world.settle()

    assert in_month() == before
    assert in_month(NEXT) == []


def test_it_keeps_the_owners_of_a_closed_month_whatever_the_rules_say_later() -> None:
    bill = world.source()
    world.charge(bill, "10", attributes={"project": "p1"})
    world.charge(bill, "4", attributes={"project": "p1"}, starts=world.at(day=NEXT))
    world.settle()
    closed()

    drafts = [RuleDraft("match", "p1", {"when": {"project": ["p1"]}, "set": {"team": "b"}}), *own.DEFAULT_RULES]
    own.reattribute(drafts=drafts, now=LATER, by="ada")
    world.charge(bill, "1", attributes={"project": "p1", "key": "new"})
    world.settle()

    def teams(days: Days) -> dict[str, Decimal]:
        return {row.keys[0]: row.cost for row in queries.spend(scope=world.scope(days=days), group_by=["team"])}

    assert teams(Days(MONTH, NEXT)) == {"": Decimal(10)}
    assert teams(Days(NEXT, AFTER)) == {"b": Decimal(4), "": Decimal(1)}
    assert teams(Days(MONTH, AFTER)) == {"": Decimal(11), "b": Decimal(4)}
    by_day = queries.spend_by_day(scope=world.scope(days=Days(MONTH, AFTER)), group_by="team")
    assert {(one.day, one.key): one.cost for one in by_day} == {
        (world.DAY, ""): Decimal(10),
        (NEXT, "b"): Decimal(4),
        (NEXT, ""): Decimal(1),
    }
    lead = world.scope(teams=("b",), days=Days(MONTH, AFTER))
    assert queries.total(scope=lead).cost == Decimal(4)


def test_it_keeps_the_usage_of_a_closed_day() -> None:
    log = world.source("usage_log", "log")
    world.usage(log, input_uncached=1000, hour=world.at(23, day=NEXT - timedelta(days=1)))
    world.settle()
    closed()
    before = world.fetch("SELECT * FROM ingest_usageday ORDER BY day")

    world.usage(log, input_uncached=500, hour=world.at(22, day=NEXT - timedelta(days=1)), attributes={"team": "a"})
    world.settle()

    assert world.fetch("SELECT * FROM ingest_usageday ORDER BY day") == before
    assert of_month(NEXT) == Decimal("0.5")


_amount = st.decimals(-50, 50, places=6, allow_nan=False, allow_infinity=False)
_row = st.tuples(
    st.sampled_from([MONTH, MONTH + timedelta(days=9), NEXT - timedelta(days=1), NEXT, NEXT + timedelta(days=3)]),
    st.sampled_from(["a", "b", ""]),
    st.sampled_from(["Amazon EC2", "Support"]),
    _amount,
)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    first=st.lists(_row, min_size=1, max_size=5),
    late=st.lists(_row, min_size=1, max_size=5),
    later=st.lists(_row, max_size=3),
    newest_first=st.booleans(),
)
def test_it_conserves_every_amount_through_closes_and_late_rows(first, late, later, newest_first) -> None:
    def put(rows) -> None:
        for day, team, service, cost in rows:
            attributes = {"team": team} if team else {"key": "k"}
            world.charge(bill, cost, starts=world.at(day=day), attributes=attributes, service_name=service)

    with transaction.atomic():
        own.reattribute(drafts=[SPLIT, *own.DEFAULT_RULES], now=world.NOW, by="ada")
        bill = world.source()
        put(first)
        world.settle(newest_first=newest_first)
        closed()
        march = in_month()
        put(late)
        world.settle(newest_first=not newest_first)
        closed(NEXT)
        april = in_month(NEXT)
        put(later)
        world.settle(newest_first=newest_first)

        assert in_month() == march
        assert in_month(NEXT) == april
        total = sum((cost for *_, cost in (*first, *late, *later)), Decimal(0))
        whole = Days(MONTH, add_months(AFTER, 1))
        assert queries.total(scope=world.scope(days=whole)).cost == total
        assert verify.run().failures == ()
        once = in_month(AFTER)
        for day in {day for day, *_ in (*first, *late, *later)}:
            books.rebuild(day=day, now=LATER)
        assert in_month(AFTER) == once
        transaction.set_rollback(True)


_call = st.tuples(
    st.sampled_from([MONTH, NEXT - timedelta(days=1), NEXT]), st.sampled_from(["a", "b"]), st.integers(1, 3000)
)
_line = st.tuples(st.sampled_from([MONTH, NEXT - timedelta(days=1), NEXT]), _amount, st.integers(0, 4000))


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    calls=st.lists(_call, max_size=4, unique_by=lambda one: one[:2]),
    billed=st.lists(_line, max_size=2),
    late_calls=st.lists(_call, max_size=3, unique_by=lambda one: one[:2]),
    late_billed=st.lists(_line, max_size=3),
)
def test_it_conserves_estimates_and_bills_that_replace_them_late(calls, billed, late_calls, late_billed) -> None:
    def use(rows, hour: int) -> None:
        for day, team, tokens in rows:
            world.usage(log, input_uncached=tokens, hour=world.at(hour, day=day), attributes={"team": team})

    def bill_for(rows) -> None:
        for day, cost, tokens in rows:
            world.llm_charge(bill, cost, starts=world.at(day=day), consumed_quantity=Decimal(tokens))

    with transaction.atomic():
        log, bill = world.source("usage_log", "log"), world.source()
        use(calls, 9)
        bill_for(billed)
        world.settle()
        closed()
        march, usage = (
            in_month(),
            world.fetch("SELECT * FROM ingest_usageday WHERE day < '2026-04-01' ORDER BY 1, 2, 3"),
        )
        use(late_calls, 10)
        bill_for(late_billed)
        world.settle(newest_first=True)

        assert in_month() == march
        assert world.fetch("SELECT * FROM ingest_usageday WHERE day < '2026-04-01' ORDER BY 1, 2, 3") == usage
        assert verify.run().failures == ()
        once = in_month(NEXT)
        world.touch(log, MONTH)
        world.touch(bill, NEXT)
        world.settle()
        assert in_month(NEXT) == once
        transaction.set_rollback(True)
