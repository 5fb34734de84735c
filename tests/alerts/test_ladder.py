"""The arithmetic of a ladder."""

from datetime import date
from decimal import Decimal

import pytest

from alerts import ladder, wording
from costobs.kernel.period import Days
from costobs.web import states as web_states

NOVEMBER = Days(date(2026, 11, 1), date(2026, 12, 1))
CALM = ladder.Facts(Decimal(10), None, Decimal(60), is_stale=False, is_paused=False, in_force=frozenset())


def test_it_never_rounds_up_to_a_rung() -> None:
    assert ladder.percent_of(Decimal("999.99999"), Decimal(1000)) == Decimal("99.99")
    assert ladder.percent_of(Decimal(1000), Decimal(1000)) == Decimal(100)


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, "on_track"),
        ({"used_percent": Decimal(60)}, "watch"),
        ({"forecast_percent": Decimal("100.01")}, "watch"),
        ({"forecast_percent": Decimal(100)}, "on_track"),
        ({"used_percent": Decimal(100)}, "over"),
        ({"used_percent": Decimal(120), "in_force": frozenset({"throttle"})}, "throttled"),
        ({"in_force": frozenset({"throttle", "shutdown"})}, "stopped"),
        ({"used_percent": Decimal(120), "in_force": frozenset({"shutdown"}), "is_stale": True}, "unknown"),
        ({"used_percent": None}, "unknown"),
        ({"is_stale": True, "is_paused": True}, "paused"),
    ],
)
def test_it_calls_a_budget_by_the_first_state_that_holds(changes: dict[str, object], state: str) -> None:
    values = {name: getattr(CALM, name) for name in CALM.__slots__}

    assert ladder.standing(ladder.Facts(**{**values, **changes})) == state


def test_it_keeps_percentages_within_their_column_on_both_sides() -> None:
    assert ladder.percent_of(Decimal(10) ** 12, Decimal("0.01")) == Decimal("9999999.99")
    assert ladder.percent_of(-(Decimal(10) ** 12), Decimal("0.01")) == Decimal("-9999999.99")


def test_it_has_no_forecast_before_three_complete_days() -> None:
    two = Days(NOVEMBER.start, date(2026, 11, 3))

    assert ladder.naive_pace(days=NOVEMBER, complete=two, complete_cost=Decimal(20), spend_cost=Decimal(20)) is None


def test_it_carries_the_average_of_complete_days_to_the_end() -> None:
    three = Days(NOVEMBER.start, date(2026, 11, 4))

    pace = ladder.naive_pace(days=NOVEMBER, complete=three, complete_cost=Decimal(30), spend_cost=Decimal(33))

    assert pace is not None
    assert pace.forecast_cost == Decimal(300)


def test_it_forecasts_no_less_than_what_is_spent() -> None:
    three = Days(NOVEMBER.start, date(2026, 11, 4))

    pace = ladder.naive_pace(days=NOVEMBER, complete=three, complete_cost=Decimal(3), spend_cost=Decimal(500))

    assert pace is not None
    assert pace.forecast_cost == Decimal(500)


def test_it_expects_a_rung_on_the_day_that_reaches_it() -> None:
    pace = ladder.pace_of(
        forecast_cost=Decimal(300), spend_cost=Decimal(100), period=NOVEMBER, today=date(2026, 11, 11)
    )

    assert ladder.expected_on(pace=pace, period=NOVEMBER, cost=Decimal(200)) == date(2026, 11, 20)
    assert ladder.expected_on(pace=pace, period=NOVEMBER, cost=Decimal(300)) == date(2026, 11, 30)
    assert ladder.expected_on(pace=pace, period=NOVEMBER, cost=Decimal(301)) is None


def test_it_names_every_combination_a_gate_must_match() -> None:
    found = ladder.matches({"team": ["a", "b"], "key": ["k"]}, {"team": "team", "key": "key_id"})

    assert found == [{"key_id": "k", "team": "a"}, {"key_id": "k", "team": "b"}]


def test_it_names_a_target_alike_whatever_the_order() -> None:
    assert ladder.target({"team": ["b", "a"], "model": ["m"]}) == "model:m;team:a|b"
    assert ladder.target({}) == "*"


def test_it_uses_the_state_words_of_the_pages() -> None:
    for key, word in wording.STATES.items():
        if key != "superseded":
            assert web_states.STATES[key].word == word
