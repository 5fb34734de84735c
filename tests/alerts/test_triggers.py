"""What each trigger measures, and the hours of a week; pure."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts import bursts, calendars, ladder
from alerts.triggers import KINDS
from alerts.triggers.base import Activity, BadConfig, Sight

NOW = datetime(2026, 11, 11, 12, 30, tzinfo=UTC)  # a Wednesday
HOUR = timedelta(hours=1)
SIGHT = Sight(
    now=NOW,
    zone="UTC",
    amount=Decimal(720),
    starts_at=datetime(2026, 11, 1, tzinfo=UTC),
    ends_at=datetime(2026, 12, 1, tzinfo=UTC),
    spend_cost=Decimal(360),
    forecast_cost=Decimal(900),
    is_naive=True,
)


def level(kind: str, sight: Sight, *, is_enforcing: bool = True, **config: object) -> Decimal | None:
    trigger = KINDS[kind]()
    return trigger.level(trigger.check(config), sight, is_enforcing=is_enforcing)


def test_it_measures_spend_and_forecast_in_percent_of_the_amount() -> None:
    assert level("actual", SIGHT) == 50
    assert level("forecast", SIGHT, is_enforcing=False) == 125
    assert level("forecast", SIGHT) is None
    assert level("forecast", replace(SIGHT, is_naive=False)) == 125


def test_it_counts_full_hours_only_in_a_burn_rate() -> None:
    hours = [(NOW.replace(minute=0) - HOUR * back, Decimal(2 if back else 50)) for back in range(30)]

    assert level("burn_rate", replace(SIGHT, hours=hours), hours=6) == 200
    assert level("burn_rate", SIGHT, hours=6) is None


def test_it_compares_an_hour_with_the_same_hour_of_past_weeks() -> None:
    past = [(NOW.replace(minute=0) - HOUR - timedelta(weeks=week), Decimal(week)) for week in (1, 2, 3)]
    runaway = [*past, (NOW.replace(minute=0) - HOUR, Decimal(10))]

    assert bursts.level(runaway, NOW) is not None
    assert level("trend", replace(SIGHT, calls=runaway)) == bursts.level(runaway, NOW)
    assert level("trend", SIGHT) is None


@pytest.mark.parametrize(
    ("moment", "ends"),
    [
        ("2026-11-11T19:59", None),
        ("2026-11-11T20:00", "2026-11-12T07:00"),
        ("2026-11-12T06:59", "2026-11-12T07:00"),
        ("2026-11-12T07:00", None),
        ("2026-11-13T23:00", "2026-11-16T00:00"),  # a Friday night runs into the weekend
        ("2026-11-15T12:00", "2026-11-16T00:00"),
    ],
)
def test_it_knows_when_the_open_window_ends(moment: str, ends: str | None) -> None:
    windows = calendars.parse("mon-fri 20:00-07:00, sat-sun 00:00-24:00")
    now = datetime.fromisoformat(moment).replace(tzinfo=UTC)
    expected = None if ends is None else datetime.fromisoformat(ends).replace(tzinfo=UTC)

    assert calendars.open_until(windows, "UTC", now) == expected


def test_it_follows_the_clock_of_its_zone_over_a_change() -> None:
    windows = calendars.parse("sat-sun 22:00-06:00")
    night = datetime(2026, 10, 24, 20, 30, tzinfo=UTC)  # 22:30 in Berlin; at three the clock goes back

    assert calendars.open_until(windows, "Europe/Berlin", night) == datetime(2026, 10, 25, 5, tzinfo=UTC)


@given(
    st.tuples(st.integers(0, 6), st.integers(0, 6)),
    st.integers(0, 1439),
    st.integers(1, 1440),
    st.integers(0, 7 * 24 * 60 - 1),
)
def test_it_spells_windows_in_one_way_and_ends_after_now(
    days: tuple[int, int], begins: int, ends: int, minute: int
) -> None:
    if begins == ends:
        ends = begins + 1
    first, last = (calendars.DAYS[day] for day in days)
    text = f"{first}-{last} {begins // 60}:{begins % 60:02d}-{ends // 60}:{ends % 60:02d}"
    now = datetime(2026, 11, 9, tzinfo=UTC) + timedelta(minutes=minute)

    clean = calendars.clean(text)
    until = calendars.open_until(calendars.parse(text), "UTC", now)

    assert calendars.clean(clean) == clean
    assert calendars.parse(clean) == calendars.parse(text)
    assert until is None or until > now


@pytest.mark.parametrize("text", ["", "someday 1:00-2:00", "mon 25:00-26:00", "mon 1:00-1:00", "mon 1:70-2:00", "mon"])
def test_it_says_how_windows_are_written(text: str) -> None:
    with pytest.raises(BadConfig, match="windows"):
        KINDS["schedule"]().check({"windows": text})


ACTIVE = Activity(NOW, NOW.replace(minute=0) - 4 * HOUR, has_gpus=False, gpu_percents={})


def test_it_counts_idle_time_from_the_end_of_the_last_hour_in_use() -> None:
    assert level("idleness", replace(SIGHT, activity=ACTIVE), minutes=210) == 100
    assert level("idleness", replace(SIGHT, activity=replace(ACTIVE, complete_through=NOW - HOUR)), minutes=100) == 150


def test_it_does_not_take_silence_for_idleness() -> None:
    silent = (
        replace(ACTIVE, complete_through=None),
        replace(ACTIVE, last_request_hour=None),
        replace(ACTIVE, has_gpus=True),
    )

    assert [level("idleness", replace(SIGHT, activity=one), minutes=60) for one in silent] == [None] * 3
    assert level("idleness", SIGHT, minutes=60) is None


def test_it_takes_a_busy_gpu_for_use() -> None:
    hours = [NOW.replace(minute=0) - HOUR * back for back in range(1, 5)]
    busy = {hour: Decimal(60 if back == 1 else 1) for back, hour in enumerate(hours)}
    activity = replace(ACTIVE, has_gpus=True, gpu_percents=busy)

    assert level("idleness", replace(SIGHT, activity=activity), minutes=90) == 100
    assert level("idleness", replace(SIGHT, activity=activity), minutes=90, max_gpu_percent=70) == Decimal("233.33")


@pytest.mark.parametrize(
    ("mode", "action", "criticality", "wide", "expected"),
    [
        ("automatic", "throttle", "normal", False, "automatic"),
        ("automatic", "throttle", "normal", True, "one"),
        ("automatic", "throttle", "high", False, "automatic"),
        ("automatic", "shutdown", "high", False, "one"),
        ("automatic", "throttle", "critical", False, "one"),
        ("one", "reroute", "critical", False, "two"),
        ("two", "shutdown", "critical", True, "two"),
        ("automatic", "notify", "critical", True, "automatic"),
    ],
)
def test_it_asks_for_more_people_the_more_critical_a_scope_is(
    mode: str, action: str, criticality: str, wide: bool, expected: str
) -> None:
    assert ladder.approval(mode, action=action, criticality=criticality, is_too_wide=wide) == expected
