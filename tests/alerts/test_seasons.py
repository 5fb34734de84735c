"""What was never seen before, and what fell away: pure judgements of series."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from alerts import seasons
from alerts.seasons import Judged

START = datetime(2026, 11, 1, tzinfo=UTC)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)


def series(*costs: str, step: timedelta = DAY) -> list[tuple[datetime, Decimal]]:
    return [(START + step * index, Decimal(cost)) for index, cost in enumerate(costs)]


def test_it_expects_nothing_of_what_is_seen_for_the_first_time() -> None:
    judged = seasons.judge_new(series("0", "0", "59.99", "60", "90"), grain="day", judged_from=START, least=Decimal(60))

    assert [one.is_odd for one in judged] == [False, False, False, True, True]
    assert {one.expected for one in judged} == {Decimal(0)}
    assert judged[-1].score == Decimal("1.50")
    (episode,) = seasons.episodes(judged, minimum=Decimal(20))
    assert (episode.impact, episode.is_open) == (Decimal(150), True)


@pytest.mark.parametrize(("grain", "step", "reach"), [("day", DAY, 14), ("hour", HOUR, 48)])
def test_it_calls_nothing_new_for_longer_than_a_new_level_takes(grain: str, step: timedelta, reach: int) -> None:
    given = series("0", *["100"] * (reach + 3), step=step)

    judged = seasons.judge_new(given, grain=grain, judged_from=START, least=Decimal(60))

    assert [one.is_odd for one in judged] == [False, *[True] * reach, False, False, False]
    assert [one.score is None for one in judged] == [*[False] * (reach + 1), True, True, True]


def judged(*days: tuple[str, str | None, str | None]) -> list[Judged]:
    """Cost, expected and score of each day."""
    return [
        Judged(
            START + DAY * index, Decimal(cost), None if expected is None else Decimal(expected), None, None,
            None if score is None else Decimal(score), is_odd=False,
        )
        for index, (cost, expected, score) in enumerate(days)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("days", "count"),
    [
        ([("100", "100", "0"), ("10", "100", "-9"), ("0", "90", "-20")], 2),
        ([("0", "100", "-20"), ("100", "100", "0")], 0),  # back
        ([("11", "100", "-9")], 0),  # more than a tenth
        ([("1", "19", "-9")], 0),  # never cost enough
        ([("1", "100", "-3")], 0),  # such days happen
        ([("0", None, None)], 0),
    ],
)
def test_it_tells_what_fell_to_a_tenth_on_the_newest_days(
    days: list[tuple[str, str | None, str | None]], count: int
) -> None:
    assert len(seasons.fallen(judged(*days), least=Decimal(20))) == count
