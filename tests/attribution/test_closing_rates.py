"""A closing month keeps exactly what its open statement showed: rates between all its currencies, and what is printed."""

from datetime import date, timedelta
from decimal import Decimal

import pytest

from attribution import close, printing, queries, rates
from attribution.models import ExchangeRate, Team
from attribution.queries import month_checks
from costobs.kernel.period import add_months
from costobs.kernel.period import month as month_of
from costobs.kernel.scope import SpendScope
from ingest.models import Source
from tests.attribution import world

pytestmark = pytest.mark.django_db

MONTH = world.DAY.replace(day=1)
NEXT = add_months(MONTH, 1)
NOW = world.at(12, day=NEXT + timedelta(days=3))
CURRENCIES = ("USD", "EUR", "GBP", "JPY")


def publish(base: str, currency: str, day: date, rate: str) -> None:
    ExchangeRate.objects.create(
        base=base,
        currency=currency,
        day=day,
        rate=Decimal(rate),
        publisher=f"bank of {base}",
        known_from=NOW - timedelta(days=1),
        set_by="ada",
    )


def month_in_four_currencies() -> None:
    """March, billed in four currencies. Banks publish on weekdays; the first rates are of February, the yen has gaps."""
    bill = world.source()
    for number, currency in enumerate(CURRENCIES):
        for offset in (0, 7, 13, 30):
            world.charge(
                bill,
                f"{number + 1}00.0{offset + 1}",
                attributes={"team": "a" if offset < 13 else "b"},
                starts=world.at(day=MONTH + timedelta(days=offset)),
                complete_through=world.at(day=NEXT),
                billing_currency=currency,
            )
    world.settle()
    Team.objects.filter(name="a").update(cost_centre="4410")
    Source.objects.filter(pk=bill.pk).update(complete_through=world.at(day=NEXT))
    for offset in range(-4, 31):
        day = MONTH + timedelta(days=offset)
        if day.weekday() < 5:
            publish("EUR", "USD", day, f"1.0{offset + 10}7")
            publish("EUR", "GBP", day, f"0.8{offset + 10}3")
        if day.weekday() == 4:
            publish("EUR", "JPY", day, f"16{offset % 10}.37")
        if day.weekday() == 2:
            publish("USD", "JPY", day, f"14{offset % 10}.11")


def statements() -> dict[tuple[str, str], queries.Statement]:
    return {
        (currency, cost): queries.statement(scope=SpendScope(month_of(MONTH), (), cost, currency, None))
        for currency in CURRENCIES
        for cost in ("effective", "billed")
    }


def close_it() -> close.Book:
    waive = {"unallocated": "fine", "sources": "fine", "reconciled": "fine"}
    close.review(month=MONTH, by="ada", now=NOW)
    found = close.status(month=MONTH, now=NOW).open_lines
    return close.close(
        month=MONTH, by="ada", now=NOW, waive={k: v for k, v in waive.items() if k in {x.key for x in found}}
    )


def test_it_freezes_what_the_open_statement_showed_the_second_before() -> None:
    month_in_four_currencies()
    before = statements()
    told = {key: printing.printed(one) for key, one in before.items()}

    close_it()

    ExchangeRate.objects.update(rate=Decimal(3))
    after = statements()
    assert {key: one.lines for key, one in after.items()} == {key: one.lines for key, one in before.items()}
    assert {key: printing.printed(one).rows for key, one in after.items()} == {k: one.rows for k, one in told.items()}
    assert all(line.converted_cost for one in after.values() for line in one.lines)
    assert all(
        [(c.currency, c.converted_cost, c.lowest_rate) for c in after[key].conversions]
        == [(c.currency, c.converted_cost, c.lowest_rate) for c in before[key].conversions]
        for key in before
    )


def test_it_leaves_out_after_closing_what_it_left_out_before() -> None:
    month_in_four_currencies()
    ExchangeRate.objects.filter(day__gte=MONTH + timedelta(days=15)).delete()
    before = queries.statement(scope=SpendScope(month_of(MONTH), (), "effective", "USD", None))

    close.review(month=MONTH, by="ada", now=NOW)
    found = {line.key: "known" for line in close.status(month=MONTH, now=NOW).open_lines}
    close.close(month=MONTH, by="ada", now=NOW, waive=found)

    after = queries.statement(scope=SpendScope(month_of(MONTH), (), "effective", "USD", None))
    assert "rates" in found
    assert any(one.converted_cost is None for one in before.conversions)
    assert after.lines == before.lines


def test_it_reckons_with_one_rate_everywhere() -> None:
    month_in_four_currencies()

    days = list(month_of(MONTH))
    daily = rates.daily(currencies=["EUR", "GBP", "JPY"], into="USD", days=days)
    kept = month_checks.exchange_rates(days=month_of(MONTH), currencies=["EUR", "GBP", "JPY"], into="USD")

    assert {currency: {f"{day}" for day in by_day} for currency, by_day in daily.items()} == {
        currency: set(by_day) for currency, by_day in kept.items()
    }
    for currency, by_day in daily.items():
        for day, one in by_day.items():
            assert rates.rate(currency=currency, into="USD", day=day) == one
            assert Decimal(kept[currency][f"{day}"]) == one.value
            assert day - timedelta(days=rates.LONGEST_GAP_DAYS) <= one.day <= day


def test_it_says_what_was_known_then() -> None:
    month_in_four_currencies()
    moment = NOW - timedelta(days=2)

    found = rates.daily(currencies=["EUR"], into="USD", days=list(month_of(MONTH)), known_at=moment)

    assert found == {"EUR": {}}
    assert rates.daily(currencies=["USD", "EUR"], into="USD", days=[])["EUR"] == {}
