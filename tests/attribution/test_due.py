"""Days that other days are weighed by are made anew when those change, by the same tick that makes the changed ones."""

import pytest

from attribution import books, own, queries
from attribution.models import PeriodBook
from attribution.own import RuleDraft
from costobs import pipeline
from tests.attribution import world

pytestmark = pytest.mark.django_db

FIRST = world.DAY.replace(day=1)


def _shared():
    rows = queries.spend(scope=world.scope(), group_by=["share_kind", "team"])
    return {row.keys[1]: row.cost for row in rows if row.keys[0] == "shared"}


def _world():
    drafts = [RuleDraft("proportional", "Support", {"pools": ["support"]}), *own.DEFAULT_RULES]
    own.reattribute(drafts=drafts, now=world.NOW, by="test")
    world.charge(world.source(), "12", starts=world.at(day=FIRST), hours=24 * 31, cost_kind="support")
    world.charge(world.source(), "10", attributes={"team": "search"}, starts=world.at(day=FIRST))


def test_it_settles_a_monthly_line_after_the_days_it_is_weighed_by_and_then_rests():
    _world()
    world.charge(world.source(), "20", attributes={"team": "growth"})

    while pipeline.settle(world.NOW):
        pass

    assert _shared() == {"search": 4, "growth": 8}
    assert pipeline.settle(world.NOW) == 0


def test_it_does_not_open_the_day_for_a_change_that_moves_no_figure():
    _world()
    world.settle()
    world.charge(world.source(), "3", cost_kind="support")

    books.rebuild(day=world.DAY, now=world.NOW)

    assert books.due() == []


def test_it_leaves_closed_months_alone():
    _world()
    world.settle()
    version = own.reattribute(drafts=own.current_rules(), now=world.NOW, by="test")
    assert books.due() == [FIRST]

    PeriodBook.objects.create(month=FIRST, state="closed", ruleset_id=version, closed_at=world.NOW, closed_by="Ada")

    assert books.due() == []
