"""Quality, business value and markers, in the scope of whoever asks."""

from datetime import date
from decimal import Decimal
from typing import Any

import orjson
import pytest

from attribution import own, queries
from costobs.kernel.period import Days
from costobs.kernel.scope import Filter, SpendScope
from ingest import configure, load
from ingest.sources import KINDS
from tests.attribution import world

DAYS = Days(date(2026, 3, 10), date(2026, 3, 12))

pytestmark = pytest.mark.django_db


def push(kind: str, *rows: dict[str, Any]) -> None:
    source_id = configure.create_source(kind=kind, name="app", now=world.NOW)
    raw = KINDS[kind](KINDS[kind].Config()).open_bytes(name="rows", content=orjson.dumps(list(rows)))
    result = load.run_unit(source_id=source_id, raw=raw, now=world.NOW)
    assert (result.state, result.rows_quarantined) == ("succeeded", 0), result
    own.run(now=world.NOW)


def score(number: int, value: Any, *, team: str = "search", day: int = 10, **more: Any) -> dict[str, Any]:
    return {
        "score_id": f"s-{number}",
        "scored_at": f"2026-03-{day}T10:00:00Z",
        "name": "faithfulness",
        "value": value,
        "provider": "openai",
        "model": "gpt-4o",
        "attributes": {"team": team},
        **more,
    }


def scope(*filters: Filter, teams: tuple[str, ...] | None = None) -> SpendScope:
    return SpendScope(DAYS, filters, teams=teams)


def test_it_averages_scores_on_their_own_scales_with_an_interval() -> None:
    push("quality_scores", score(1, 4, scale_min=1, scale_max=5), score(2, 0.25), score(3, 0.5))

    (found,) = queries.quality(scope=scope(), group_by=["model"])

    assert (found.keys, found.name, found.scores) == (("gpt-4o",), "faithfulness", 3)
    assert found.mean == Decimal("0.5")  # (0.75 + 0.25 + 0.5) / 3
    # 1.96 × the sample deviation 0.25, over the root of 3
    assert found.low is not None and found.high is not None
    assert abs(found.low - Decimal("0.217098")) < Decimal("1e-6")
    assert found.low + found.high == 1


def test_it_gives_no_interval_to_a_single_score() -> None:
    push("quality_scores", score(1, 0.25))

    (found,) = queries.quality(scope=scope(), group_by=[])

    assert (found.low, found.high) == (None, None)


def test_it_counts_each_score_once_whatever_the_grouping() -> None:
    push(
        "quality_scores",
        *(score(number, 0.5, team=team) for number, team in enumerate(["search", "support", "search"])),
    )
    push("quality_scores", score(9, 0.5, day=12))

    by_team = queries.quality(scope=scope(), group_by=["team"])

    assert {one.keys: one.scores for one in by_team} == {("search",): 2, ("support",): 1}
    assert sum(one.scores for one in queries.quality(scope=scope(), group_by=["model", "feature"])) == 3


def test_it_shows_a_lead_the_scores_and_figures_of_own_teams_only() -> None:
    push("quality_scores", score(1, 0.5), score(2, 1, team="support"))
    push("business_metrics", figure("search", 10), figure("support", 20))

    mine = scope(teams=("search",))

    assert [one.mean for one in queries.quality(scope=mine, group_by=[])] == [Decimal("0.5")]
    assert [(one.team, one.value) for one in queries.business_values(scope=mine)] == [("search", 10)]
    assert queries.quality(scope=scope(teams=()), group_by=[]) == []


def figure(team: str, value: Any, *, start: str = "2026-03-10", end: str = "2026-03-11", **more: Any) -> dict[str, Any]:
    return {
        "name": "tickets_resolved",
        "period_start": f"{start}T00:00:00Z",
        "period_end": f"{end}T00:00:00Z",
        "value": value,
        "unit": "ticket",
        "attributes": {"team": team} if team else {},
        **more,
    }


def test_it_divides_the_spend_of_the_same_owner_by_whole_periods_inside_the_days() -> None:
    bill = world.source()
    world.charge(bill, "30", attributes={"team": "search"})
    world.charge(bill, "12", attributes={"team": "support"})
    world.settle()
    push(
        "business_metrics",
        figure("search", "7.5"),
        figure("search", "2.5", start="2026-03-11", end="2026-03-12"),
        figure("search", 1000, start="2026-03-11", end="2026-03-13"),
        figure("", 84),
    )

    found = queries.business_values(scope=scope())

    assert [(one.team, one.value, one.cost, one.cost_per_unit) for one in found] == [
        ("", Decimal(84), Decimal(42), Decimal("0.5")),
        ("search", Decimal(10), Decimal(30), Decimal(3)),
    ]


def test_it_lists_markers_of_everybody_and_of_own_teams() -> None:
    def mark(name: str, at: str, **attributes: str) -> dict[str, Any]:
        return {"marker_id": name, "at": at, "act": "deploy", "title": name, "attributes": attributes}

    push(
        "markers",
        mark("for all", "2026-03-10T08:00:00Z"),
        mark("of search", "2026-03-11T08:00:00Z", team="search"),
        mark("of support", "2026-03-10T09:00:00Z", team="support"),
        mark("too late", "2026-03-12T00:00:00Z"),
    )

    assert [one.title for one in queries.markers(scope=scope())] == ["for all", "of support", "of search"]
    assert [one.title for one in queries.markers(scope=scope(teams=("search",)))] == ["for all", "of search"]
    only = scope(Filter("team", ("support",)))
    assert [one.title for one in queries.markers(scope=only)] == ["for all", "of support"]
    assert [one.title for one in queries.markers(scope=scope(), limit=1)] == ["of search"]
