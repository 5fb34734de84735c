"""Every example of the number rules, and the three things that must not look alike: not applicable, unknown, zero."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal as D

import pytest

from costobs.kernel import fmt


@pytest.mark.parametrize(
    ("amount", "mode", "expected"),
    [
        ("48312", "kpi", "$48,312"),
        ("48312.49", "kpi", "$48,312"),
        ("412.345", "kpi", "$412.34"),
        ("123456", "kpi", "$123k"),
        ("1240000", "kpi", "$1.24M"),
        ("-1240", "kpi", "\u2212$1,240"),
        ("71412", "short", "$71.4k"),
        ("68000", "short", "$68k"),
        ("5012", "short", "$5.0k"),
        ("99960", "short", "$100k"),
        ("999999", "short", "$1.00M"),
        ("19012", "table", "$19,012"),
        ("25035.32", "statement", "$25,035.32"),
        ("0", "statement", "$0.00"),
        ("0", "kpi", "$0"),
        ("0", "table", "$0"),
    ],
)
def test_it_writes_money_for_its_place(amount: str, mode: fmt.MoneyMode, expected: str) -> None:
    assert fmt.money(D(amount), mode=mode) == expected


def test_it_never_shows_a_small_amount_as_zero() -> None:
    assert fmt.money(D("0.004"), places=2) == "<$0.01"
    assert fmt.money(D("0.004"), mode="kpi") == "<$0.01"
    assert fmt.money(D("0.4")) == "<$1"
    assert fmt.money(D("-0.004"), places=2) == ">\u2212$0.01"


def test_it_tells_zero_unknown_and_not_applicable_apart() -> None:
    assert [fmt.money(D(0)), fmt.money(None), fmt.NOT_APPLICABLE] == ["$0", "unknown", "–"]


def test_it_gives_a_column_one_precision() -> None:
    assert fmt.column_places([D("41.2"), D(3), None]) == 2
    assert fmt.column_places([D("-141.2"), D(3)]) == 0
    assert fmt.money(D("41.2"), places=fmt.column_places([D("41.2")])) == "$41.20"


def test_it_uses_a_code_where_currencies_mix_and_for_one_without_symbol() -> None:
    assert fmt.money(D(19012), "USD", mixed=True) == "USD 19,012"
    assert fmt.money(D(19012), "CHF") == "CHF 19,012"
    assert fmt.money(D("25035.4"), "JPY", mode="statement") == "¥25,035"


@pytest.mark.parametrize(
    ("cost", "unit", "scale", "expected"),
    [
        ("0.00000042", "token", None, "$0.42 / 1M tokens"),
        ("0.00000487", "token", None, "$4.87 / 1M tokens"),
        ("0.0031", "request", None, "$3.10 / 1k requests"),
        ("0.0031", "request", 1, "$0.0031 / request"),
        ("0.000417", "request", 1, "$0.00042 / request"),
        ("0.00001", "request", 1, "<$0.0001 / request"),
        ("184.2", "run", None, "$184 / run"),
        ("2.5", "GPU-h", None, "$2.50 / GPU-h"),
        ("0.002", "token", None, "$2.00 / 1k tokens"),
        ("0", "request", None, "$0 / request"),
        ("0.00999", "request", 1, "$0.010 / request"),
    ],
)
def test_it_picks_the_scale_of_a_unit_cost(cost: str, unit: str, scale: int | None, expected: str) -> None:
    assert str(fmt.unit_cost(D(cost), unit, scale=scale)) == expected


def test_it_writes_prices_and_exports_in_full() -> None:
    assert fmt.unit_price(D("0.15")) == "$0.1500 / 1M"
    assert fmt.exported(D("0.000003124")) == "0.0000031240"
    assert fmt.exported(D("1E-12")) == "0.000000000001"


def test_it_writes_a_change_as_amount_then_percent() -> None:
    change = fmt.delta(D(48312), D(41372))

    assert change is not None
    assert (change.text, change.signed, change.tone) == ("▲ $6,940 (+16.8 %)", "+$6,940", "neutral")


@pytest.mark.parametrize(
    ("now", "before", "polarity", "tone"),
    [
        ("1200", "1000", "up_bad", "unfavourable"),
        ("1200", "1000", "up_good", "favourable"),
        ("800", "1000", "up_bad", "favourable"),
        ("1040", "1000", "up_bad", "neutral"),
        ("120", "100", "up_bad", "neutral"),
        ("1200", "1000", "none", "neutral"),
        ("400", "0", "up_bad", "unfavourable"),
    ],
)
def test_it_colours_a_change_only_when_it_is_material(now: str, before: str, polarity: fmt.Polarity, tone: str) -> None:
    change = fmt.delta(D(now), D(before), polarity=polarity)

    assert change is not None
    assert change.tone == tone


def test_it_has_no_change_where_a_side_is_unknown() -> None:
    assert fmt.delta(None, D(1)) is None
    assert fmt.unit_delta(D(1), None, "token") is None


def test_it_writes_the_change_of_a_unit_cost_at_its_scale() -> None:
    change = fmt.unit_delta(D("0.00000046"), D("0.00000049"), "token")

    assert change is not None
    assert (change.text, change.tone) == ("▼ $0.03 (\u22126.1 %)", "favourable")


@pytest.mark.parametrize(
    ("now", "before", "expected"),
    [
        ("48312", "41372", "+16.8 %"),
        ("1200", "100", "×12"),
        ("5", "0", "new"),
        ("0", "5", "ended"),
        ("0", "0", "0.0 %"),
        ("90", "100", "\u221210.0 %"),
        ("100.01", "100", "<0.1 %"),
    ],
)
def test_it_writes_a_percent_change(now: str, before: str, expected: str) -> None:
    assert fmt.change_percent(D(now), D(before)) == expected


def test_it_writes_percent_points_and_shares() -> None:
    assert fmt.points(D("0.391"), D("0.37")) == "+2.1 pp"
    assert fmt.percent(D("0.938")) == "93.8 %"
    assert fmt.percent(None) == "–"


def test_it_writes_variance_in_words() -> None:
    assert fmt.variance(D(29040), D(24000)) == "$5.0k over (+21 %)"
    assert fmt.variance(D(7560), D(9000)) == "$1.4k under (\u221216 %)"
    assert fmt.variance(D("25035.32"), D(24000), statement=True) == "$1,035.32 over (+4 %) U"
    assert fmt.variance(D(5), D(5)) == "on budget"
    assert fmt.variance(D(5000), D(0)) == "$5k over"


def test_it_writes_a_range_with_an_en_dash() -> None:
    assert fmt.money_range(D(68912), D(74641), level=80) == "$68.9k–$74.6k (80 %)"


def test_it_says_where_a_converted_amount_comes_from() -> None:
    text = fmt.converted(D(44210), "EUR", source="USD", rate=D("0.9151"), on=date(2026, 11, 20))

    assert text == "€44,210 (from USD at 0.9151, 20 Nov)"


def test_it_writes_counts_latency_and_gpu_hours() -> None:
    assert [fmt.count(3_900_000_000), fmt.count(214_000), fmt.count(812), fmt.count(999_960)] == [
        "3.9B",
        "214k",
        "812",
        "1.0M",
    ]
    assert [fmt.latency(380), fmt.latency(1420), fmt.latency(D("0.2")), fmt.latency(12_400)] == [
        "380 ms",
        "1.42 s",
        "<1 ms",
        "12.4 s",
    ]
    assert [fmt.gpu_hours(1284), fmt.gpu_hours(D("41.26"))] == ["1,284 GPU-h", "41.3 GPU-h"]
    assert fmt.integer(2312) == "2,312"


def test_it_writes_dates_as_people_say_them() -> None:
    assert fmt.day(date(2026, 11, 21)) == "21 Nov 2026"
    assert fmt.period(date(2026, 11, 1), date(2026, 11, 22)) == "1–21 Nov 2026"
    assert fmt.period(date(2026, 10, 28), date(2026, 11, 4)) == "28 Oct – 3 Nov 2026"
    assert fmt.period(date(2025, 12, 28), date(2026, 1, 4)) == "28 Dec 2025 – 3 Jan 2026"
    assert fmt.period(date(2026, 11, 21), date(2026, 11, 22)) == "21 Nov 2026"
    assert fmt.period(date(2026, 10, 1), date(2026, 10, 22), year=False) == "1–21 Oct"


def test_it_writes_moments_with_their_zone() -> None:
    at = datetime(2026, 11, 20, 23, 0, tzinfo=UTC)

    assert fmt.moment(at) == "20 Nov, 23:00 UTC"
    assert fmt.ago(at, at + timedelta(hours=2, minutes=5)) == "2 h ago"
    with pytest.raises(ValueError, match="time zone"):
        fmt.moment(at.replace(tzinfo=None))


def test_it_writes_durations_in_two_parts() -> None:
    assert fmt.duration(timedelta(hours=4, minutes=12, seconds=3)) == "4 h 12 min"
    assert fmt.duration(timedelta(seconds=0)) == "0 s"
