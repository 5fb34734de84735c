"""What a ladder does at an evaluation."""

import itertools
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from alerts import decisions, ladder
from alerts.decisions import LastRun, RungFacts

NOW = datetime(2026, 11, 10, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def facts(
    rung_id: int,
    percent: int,
    action: str,
    approval: str = "automatic",
    last: LastRun | None = None,
    trigger: str = "actual",
) -> RungFacts:
    return RungFacts(rung_id, Decimal(percent), action, approval, trigger, HOUR, last)


def levels(rungs: Sequence[RungFacts], used: int, forecast: int | None = None) -> dict[int, Decimal | None]:
    ahead = None if forecast is None else Decimal(forecast)
    return {rung.id: ahead if rung.trigger == "forecast" else Decimal(used) for rung in rungs}


def decide(*rungs: RungFacts, used: int, stale: bool = False, forecast: int | None = None) -> dict[int, str]:
    decision = decisions.decide(
        rungs=rungs,
        levels=levels(rungs, used, forecast),
        is_stale=stale,
        now=NOW,
    )
    return {firing.rung_id: firing.state for firing in decision.firings}


NOTIFY, THROTTLE, SHUTDOWN = facts(1, 60, "notify"), facts(2, 75, "throttle"), facts(3, 110, "shutdown", "one")


def test_it_does_nothing_below_the_first_rung() -> None:
    assert decide(NOTIFY, THROTTLE, SHUTDOWN, used=59) == {}


def test_it_fires_at_exactly_the_rung() -> None:
    assert decide(NOTIFY, THROTTLE, SHUTDOWN, used=60) == {1: "done"}


def test_it_applies_the_strongest_of_several_rungs_crossed_at_once() -> None:
    assert decide(NOTIFY, THROTTLE, SHUTDOWN, used=80) == {1: "superseded", 2: "running"}


def test_it_applies_the_strongest_automatic_rung_while_a_stronger_one_waits_for_approval() -> None:
    assert decide(NOTIFY, THROTTLE, SHUTDOWN, used=120) == {1: "superseded", 2: "running", 3: "waiting_approval"}


def test_it_supersedes_a_weaker_request_for_approval() -> None:
    weaker = facts(2, 75, "throttle", "one")

    assert decide(weaker, facts(3, 110, "shutdown"), used=120) == {2: "superseded", 3: "running"}
    assert decide(weaker, SHUTDOWN, used=120) == {2: "superseded", 3: "waiting_approval"}


def test_it_only_notifies_on_stale_data() -> None:
    assert decide(NOTIFY, THROTTLE, SHUTDOWN, used=500, stale=True) == {1: "done"}


def test_it_fires_the_waiting_rungs_once_data_are_fresh_again() -> None:
    told = replace(NOTIFY, last=LastRun(1, "done", 1, None, is_rearmed=False))

    assert decide(told, THROTTLE, used=80) == {2: "running"}


def test_it_still_notifies_above_a_throttle_that_holds() -> None:
    held = replace(THROTTLE, last=LastRun(1, "in_force", 1, None, is_rearmed=False))

    assert decide(held, facts(4, 100, "notify"), used=100) == {4: "done"}


def test_it_supersedes_a_lower_rung_that_is_added_below_what_holds() -> None:
    held = replace(THROTTLE, last=LastRun(1, "in_force", 1, None, is_rearmed=False))

    assert decide(held, NOTIFY, used=80) == {1: "superseded"}


def test_it_notifies_on_a_forecast_only_when_there_is_one() -> None:
    rung = facts(5, 100, "notify", trigger="forecast")

    assert decide(rung, used=120) == {}
    assert decide(rung, used=10, forecast=101) == {5: "done"}


def test_it_begins_a_new_episode_only_after_the_rung_was_rearmed() -> None:
    for is_rearmed, expected in ((False, []), (True, [2])):
        rung = replace(THROTTLE, last=LastRun(1, "undone", 1, None, is_rearmed))

        decision = decisions.decide(rungs=[rung], levels=levels([rung], 80), is_stale=False, now=NOW)

        assert [firing.episode for firing in decision.firings] == expected


@given(
    st.lists(st.integers(min_value=0, max_value=150), min_size=1, max_size=80), st.integers(min_value=1, max_value=90)
)
def test_it_never_flaps(curve: list[int], minutes: int) -> None:
    """Whatever spend does: a rung fires again only after the cooldown below it, and holds no two runs at once."""
    rungs = {rung.id: rung for rung in (NOTIFY, THROTTLE, facts(3, 110, "shutdown"))}
    fired_at: dict[int, list[datetime]] = {1: [], 2: [], 3: []}
    under: dict[int, datetime | None] = {1: None, 2: None, 3: None}
    now, serial = NOW, 0

    for used in curve:
        for rung_id, rung in rungs.items():
            under[rung_id] = None if used >= rung.percent else under[rung_id] or now
        decision = decisions.decide(
            rungs=list(rungs.values()), levels=levels(list(rungs.values()), used), is_stale=False, now=now
        )
        for rung_id, rung in rungs.items():
            last = rung.last
            if last and last.id in decision.went_under:
                last = replace(last, under_since=now)
            if last and last.id in decision.went_over:
                last = replace(last, under_since=None)
            if last and last.id in decision.rearmed:
                assert under[rung_id] is not None and now - under[rung_id] >= HOUR
                last = replace(last, is_rearmed=True)
            rungs[rung_id] = replace(rung, last=last)
        for firing in decision.firings:
            rung, serial = rungs[firing.rung_id], serial + 1
            assert used >= rung.percent
            assert rung.last is None or rung.last.is_rearmed or rung.last.state == "superseded"
            rungs[firing.rung_id] = replace(
                rung, last=LastRun(serial, firing.state, firing.episode, None, is_rearmed=False)
            )
            fired_at[firing.rung_id].append(now)
        now += timedelta(minutes=minutes)

    for moments in fired_at.values():
        assert all(later - earlier >= HOUR for earlier, later in itertools.pairwise(moments))
    assert all(rung.last is None or rung.last.state in {*ladder.OPEN, "done", "superseded"} for rung in rungs.values())
