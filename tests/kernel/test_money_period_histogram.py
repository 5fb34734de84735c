"""Exactness: splits add up, cents add up, periods are half-open, percentiles are within five per cent."""

from datetime import UTC, date, datetime
from decimal import Decimal, Inexact

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costobs.kernel import histogram, money, period
from costobs.kernel.period import Days
from costobs.kernel.scope import BadScope, Filter

amounts = st.decimals(min_value=-(10**12), max_value=10**12, allow_nan=False, allow_infinity=False, places=21)
weights = st.lists(
    st.decimals(min_value=0, max_value=10**9, allow_nan=False, allow_infinity=False, places=6), min_size=1, max_size=12
)


@given(amounts, weights)
def test_it_splits_an_amount_into_parts_that_add_to_it_exactly(amount: Decimal, shares: list[Decimal]) -> None:
    if not any(shares):
        with pytest.raises(money.MoneyError):
            money.split(amount, shares)
        return

    parts = money.split(amount, shares)

    assert money.total(parts) == amount
    assert all(part == 0 for part, share in zip(parts, shares, strict=True) if share == 0 and share != max(shares))


@given(st.lists(st.decimals(min_value=-(10**9), max_value=10**9, allow_nan=False, places=8), min_size=1, max_size=20))
def test_it_rounds_rows_so_that_they_add_to_the_rounded_total(rows: list[Decimal]) -> None:
    rounded = money.largest_remainder(rows, "USD")

    assert sum(rounded) == money.round_minor(money.total(rows), "USD")
    assert all(abs(cents - row) < Decimal("0.01") + Decimal("1e-12") for cents, row in zip(rounded, rows, strict=True))


def test_it_refuses_what_is_no_money_and_never_loses_a_digit() -> None:
    for text in ("NaN", "inf", "ten", ""):
        with pytest.raises(money.MoneyError):
            money.parse(text)
    with pytest.raises(Inexact):
        money.total([Decimal(10) ** 50, Decimal("1e-30")])
    assert money.text(Decimal("1E-7")) == "0.0000001"


@given(st.integers(min_value=1, max_value=10**7))
def test_it_reads_a_duration_from_its_bucket_within_five_per_cent(milliseconds: int) -> None:
    found = histogram.middle(histogram.bucket(milliseconds))

    assert abs(found - milliseconds) <= 0.05 * milliseconds + 0.5  # and half a millisecond for writing it whole


def test_it_finds_percentiles_of_repeated_buckets_and_none_of_nothing() -> None:
    counts = [(histogram.bucket(100), 90), (histogram.bucket(1000), 5), (histogram.bucket(1000), 5)]

    assert histogram.percentile(counts, permille=500) == histogram.middle(histogram.bucket(100))
    assert histogram.percentile(counts, permille=990) == histogram.middle(histogram.bucket(1000))
    assert histogram.percentile([], permille=500) is None


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("day", Days(date(2026, 11, 21), date(2026, 11, 22))),
        ("week", Days(date(2026, 11, 16), date(2026, 11, 23))),
        ("month", Days(date(2026, 11, 1), date(2026, 12, 1))),
        ("quarter", Days(date(2026, 10, 1), date(2027, 1, 1))),
    ],
)
def test_it_knows_the_period_that_holds_a_day(kind: str, expected: Days) -> None:
    found = period.budget_period(kind, date(2026, 11, 21))

    assert found == expected
    assert date(2026, 11, 21) in found
    assert found.end not in found


def test_it_refuses_times_without_a_zone_and_periods_that_run_backwards() -> None:
    with pytest.raises(ValueError, match="time zone"):
        period.day_of(datetime(2026, 1, 1))  # noqa: DTZ001 - this is what must be refused
    with pytest.raises(ValueError, match="cannot end"):
        Days(date(2026, 1, 2), date(2026, 1, 1))
    assert period.day_of(datetime(2026, 1, 1, 23, 30, tzinfo=UTC)) == date(2026, 1, 1)
    with pytest.raises(ValueError, match="YYYY-MM"):
        period.parse_month("2026-13")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("team:search|growth", Filter("team", ("search", "growth"))),
        ("environment!:prod", Filter("environment", ("prod",), "is_not")),
        ("model~:gpt", Filter("model", ("gpt",), "contains")),
        ("model:amazon.nova-pro-v1:0", Filter("model", ("amazon.nova-pro-v1:0",))),
        ("team:", Filter("team", ("",))),
    ],
)
def test_it_reads_filters_as_an_address_carries_them(text: str, expected: Filter) -> None:
    assert Filter.parse(text) == expected


@pytest.mark.parametrize("text", ["", "team", "colour:red"])
def test_it_refuses_filters_it_does_not_know(text: str) -> None:
    with pytest.raises(BadScope):
        Filter.parse(text)


@pytest.mark.parametrize("target", ["-0.02", "0", "0.05", "0.06", "0.07", "0.11"])
def test_it_adds_to_a_target_that_was_rounded_elsewhere(target: str) -> None:
    amounts = [Decimal("0.01"), Decimal("0.02"), Decimal("0.03")]

    found = money.largest_remainder(amounts, "USD", target=Decimal(target))

    assert money.total(found) == Decimal(target)
    assert max(found) - min(found) <= Decimal("0.05")
