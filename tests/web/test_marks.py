"""What the tags draw: gaps stay gaps, the unfinished step is dashed, a bar never passes its budget, words escape."""

from decimal import Decimal as D

import pytest

from costobs.kernel import fmt
from costobs.web import icons
from costobs.web.parts import Bullet, Spark
from costobs.web.templatetags import marks


def test_it_breaks_a_sparkline_where_a_value_is_missing() -> None:
    assert marks.sparkline(Spark([1, 2, None, 3, 4])).count("spark__line") == 2


def test_it_dashes_the_last_unfinished_step() -> None:
    drawn = marks.sparkline(Spark([1, 2, 3], open_end=True))

    assert drawn.count("spark__open") == 1
    assert 'points="48.0,10.0 94.0,2.0"' in drawn


@pytest.mark.parametrize("values", [[], [None], [5], [5, 5, 5]])
def test_it_draws_little_as_little(values: list[int | None]) -> None:
    assert "NaN" not in marks.sparkline(Spark(values))


def test_it_stops_a_bar_at_its_budget_and_says_the_truth() -> None:
    drawn = marks.bullet(Bullet(D("1.117"), D("0.7"), "stopped"))

    assert 'width="140.0"' in drawn
    assert 'aria-label="111.7 % used, 70 % of the period gone"' in drawn


def test_it_says_a_state_with_icon_and_word() -> None:
    drawn = marks.badge("throttled")

    assert "<svg" in drawn
    assert "<span>Throttled</span>" in drawn


def test_it_escapes_words() -> None:
    assert "<b>" not in marks.badge("late", "<b>9 h</b>")


def test_it_draws_the_direction_and_says_it() -> None:
    drawn = marks.delta(fmt.delta(D(1200), D(1000), polarity="up_bad"))

    assert 'aria-label="up"' in drawn
    assert "delta--unfavourable" in drawn
    assert "$200 (+20.0 %)" in drawn
    assert "–" in marks.delta(None)


def test_it_refuses_an_icon_that_is_not_in_the_sprite() -> None:
    with pytest.raises(icons.UnknownIcon, match="make vendor"):
        icons.render("rocket")
