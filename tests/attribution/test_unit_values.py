"""Units of business value: the spend of exactly the days that figures fill, margin, targets, and figures from files."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attribution import own, queries, unit_values
from attribution.models import UnitTarget
from costobs.audit.models import AuditEntry
from costobs.kernel.period import Days
from costobs.kernel.scope import BadScope, Filter, SpendScope
from ingest import figures
from ingest.models import BusinessMetric
from tests.attribution import world
from tests.attribution.test_values import figure, push

MARCH = Days(date(2026, 3, 1), date(2026, 4, 1))

pytestmark = pytest.mark.django_db


def bill(day: int, cost: str = "10", *, team: str = "search", feature: str = "", **more: Any) -> None:
    attributes = {"team": team, **({"feature": feature} if feature else {})}
    world.charge(world.source(), cost, attributes=attributes, starts=world.at(day=date(2026, 3, day)), **more)


def told(start: str, end: str, value: Any = 10, team: str = "search", **more: Any) -> dict[str, Any]:
    """A figure with moments as they are given, or days of March."""
    start, end = (one if "T" in one else f"2026-03-{one}T00:00:00Z" for one in (start, end))
    return {**figure(team, value), "period_start": start, "period_end": end, **more}


def values(by: str = "", *, days: Days = MARCH, name: str = "tickets_resolved", **of: Any) -> queries.UnitValues:
    return queries.unit_values(scope=SpendScope(days, **({"teams": None} | of)), name=name, by=by)


def shown(found: queries.UnitValues) -> list[tuple[int, int, Decimal, Decimal]]:
    return [(one.span.start.day, one.span.last.day, one.value, one.cost) for one in found.periods]


def test_it_divides_the_spend_of_the_days_a_figure_tells_of_and_of_no_other() -> None:
    for day in range(9, 16):
        bill(day)
    world.settle()
    push("business_metrics", told("10", "11", 4), told("11", "13", 16), told("14", "15", 0))

    found = values("week")

    assert shown(found) == [(10, 14, Decimal(20), Decimal(40))]
    assert found.whole is not None
    assert found.whole.days == tuple(date(2026, 3, day) for day in (10, 11, 12, 14))
    assert found.whole.cost_per_unit == Decimal(2)
    assert found.left_out == 0


def test_it_chooses_the_shortest_period_that_holds_every_figure() -> None:
    push("business_metrics", told("10", "11"), told("11", "12"), told("02", "09", unit="doc", name="docs"))

    assert [(one.name, one.by) for one in queries.defined_units(scope=world.scope())] == [
        ("docs", "week"),
        ("tickets_resolved", "day"),
    ]
    assert values().by == "day"
    assert values("day", name="docs").left_out == 1
    assert values("week", name="docs").left_out == 0


def test_it_leaves_out_periods_that_cross_the_edge_of_the_scope_or_of_a_day() -> None:
    bill(10)
    bill(11)
    world.settle()
    push(
        "business_metrics",
        told("2026-02-28T00:00:00Z", "2026-03-02T00:00:00Z"),
        told("2026-03-31T00:00:00Z", "2026-04-02T00:00:00Z"),
        *(told(f"2026-03-10T{hour:02}:00:00Z", f"2026-03-10T{hour + 1:02}:00:00Z", 1) for hour in range(23)),
        told("2026-03-10T23:00:00Z", "2026-03-11T00:00:00Z", 1),
        told("2026-03-11T00:00:00Z", "2026-03-11T12:00:00Z", 50),
    )

    found = values()

    # The hours of the tenth fill it; half of the eleventh does not.
    assert shown(found) == [(10, 10, Decimal(24), Decimal(10))]
    assert found.left_out == 1


def test_it_counts_a_time_that_is_told_twice_once() -> None:
    for day in (10, 11):
        bill(day)
    world.settle()
    push("business_metrics", told("10", "11", 4), told("11", "12", 6), told("10", "12", 10))
    other = world.source("business_sql", "desk")
    attribute_set = BusinessMetric.objects.first().attribute_set  # type: ignore[union-attr]  # just pushed
    BusinessMetric.objects.create(
        source=other,
        attribute_set_id=world.attribute_set(other, **attribute_set.attributes),
        name="tickets_resolved",
        period_start=world.at(),
        period_end=world.at(day=date(2026, 3, 11)),
        value=4,
        unit="ticket",
    )
    own.run(now=world.NOW)

    found = values("month")

    assert shown(found) == [(10, 11, Decimal(10), Decimal(20))]
    assert found.left_out == 2


def test_it_adds_figures_that_are_told_apart_by_more_than_their_owner() -> None:
    bill(10)
    world.settle()
    push(
        "business_metrics",
        told("10", "11", 3, attributes={"team": "search", "language": "de"}),
        told("10", "11", 4, attributes={"team": "search", "language": "en"}),
    )

    assert shown(values()) == [(10, 10, Decimal(7), Decimal(10))]


def test_it_counts_spend_once_where_owners_hold_each_other() -> None:
    bill(10, "10", feature="answers")
    bill(10, "5", feature="copilot")
    bill(10, "100", team="support", feature="answers")
    world.settle()
    push(
        "business_metrics",
        told("10", "11", 1),
        told("10", "11", 2, attributes={"team": "search", "feature": "answers"}),
        told("10", "11", 4, attributes={"feature": "answers"}),
    )

    found = values()

    assert [(team, feature, one.cost) for team, feature, one in found.owners] == [
        ("", "answers", Decimal(110)),
        ("search", "", Decimal(15)),
        ("search", "answers", Decimal(10)),
    ]
    assert found.whole is not None
    assert (found.whole.value, found.whole.cost) == (7, 115)


def test_it_splits_the_cost_into_parts_that_add_up() -> None:
    bill(10, "7", cost_kind="api_inference")
    bill(10, "5", cost_kind="gpu_compute")
    bill(10, "3", cost_kind="network")
    world.settle()
    push("business_metrics", told("10", "11"))

    (one,) = values().periods

    assert (one.parts.api, one.parts.gpu, one.parts.other, one.parts.idle, one.parts.shared) == (7, 5, 3, 0, 0)
    assert one.cost == queries.total(scope=world.scope()).cost == 15


@pytest.mark.parametrize(
    ("unit", "margin", "rate"),
    [("USD", Decimal(75), Decimal("0.75")), ("usd", Decimal(75), Decimal("0.75")), ("EUR", None, None)],
)
def test_it_knows_a_margin_of_revenue_in_the_currency_of_the_books_only(
    unit: str, margin: Decimal | None, rate: Decimal | None
) -> None:
    bill(10, "25")
    world.settle()
    push("business_metrics", told("10", "11", "100.00", unit=unit, name="revenue"))

    found = values(name="revenue")

    assert found.is_revenue
    assert found.whole is not None
    assert (found.whole.margin, found.whole.margin_rate) == (margin, rate)


def test_it_knows_no_cost_of_nothing_and_no_margin_of_tickets() -> None:
    bill(10)
    world.settle()
    push("business_metrics", told("10", "11", 0))

    (one,) = values().periods

    assert (one.cost, one.cost_per_unit, one.margin, one.margin_rate) == (10, None, None, None)


def test_it_shows_a_lead_own_figures_and_obeys_filters() -> None:
    bill(10)
    bill(10, "30", team="support")
    world.settle()
    push("business_metrics", told("10", "11"), told("10", "11", 5, team="support"))

    mine = values(teams=("search",))
    filtered = values(filters=(Filter("team", ("support",)),))

    assert shown(mine) == [(10, 10, Decimal(10), Decimal(10))]
    assert shown(filtered) == [(10, 10, Decimal(5), Decimal(30))]
    assert values(teams=()).whole is None
    assert queries.defined_units(scope=world.scope(teams=())) == []
    with pytest.raises(BadScope, match="known: day"):
        values("year")


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.integers(1, 27), st.integers(1, 4), st.integers(0, 9)), min_size=1, max_size=6))
def test_it_spends_each_day_once_whatever_the_periods(periods: list[tuple[int, int, int]]) -> None:
    BusinessMetric.objects.all().delete()
    if not world.source().pk or not queries.total(scope=world.scope()).cost:
        for day in range(1, 32):
            bill(day, "1")
        world.settle()
    source = world.source("business_metrics", "app")
    for number, (start, length, value) in enumerate(periods):
        BusinessMetric.objects.get_or_create(
            source=source,
            attribute_set_id=world.attribute_set(source, team="search", project=str(number % 2)),
            name="tickets_resolved",
            period_start=world.at(day=date(2026, 3, start)),
            period_end=world.at(day=date(2026, 3, start + length)),
            defaults={"value": value, "unit": "ticket"},
        )
    own.run(now=world.NOW)

    found = values("month")

    assert found.whole is not None
    assert found.whole.cost == len(found.whole.days) == len(set(found.whole.days))
    touched = {start + offset for start, length, _ in periods for offset in range(length)}
    assert {day.day for day in found.whole.days} <= touched
    assert sum((one.value for one in found.periods), Decimal(0)) == found.whole.value


def test_it_keeps_one_target_of_a_unit_and_writes_who_set_it() -> None:
    for amount in ("4", "3"):
        unit_values.set_target(
            unit="figure:tickets",
            currency="USD",
            scale=1000,
            amount=Decimal(amount),
            by="ada@example.com",
            now=world.NOW,
        )

    target = queries.unit_targets(currency="USD")["figure:tickets"]

    assert (target.amount, target.scaled, target.scale) == (Decimal("0.003"), Decimal(3), 1000)
    assert target.is_missed_by(Decimal("0.0031"))
    assert not target.is_missed_by(Decimal("0.003"))
    assert not target.is_missed_by(None)
    assert queries.unit_targets(currency="EUR") == {}
    assert [one.after["amount"] for one in AuditEntry.objects.order_by("pk")] == ["0.004", "0.003"]
    unit_values.remove_target(unit="figure:tickets", currency="USD", by="ada@example.com", now=world.NOW)
    assert not UnitTarget.objects.exists()


@pytest.mark.parametrize(
    ("scale", "amount", "unit"),
    [
        (10, "1", "u"),
        (1, "0", "u"),
        (1, "-1", "u"),
        (1, "NaN", "u"),
        (1, "Infinity", "u"),
        (1, "1e99", "u"),
        (1, "1", " "),
    ],
)
def test_it_refuses_a_target_that_is_none(scale: int, amount: str, unit: str) -> None:
    with pytest.raises(unit_values.BadTarget, match="expected"):
        unit_values.set_target(
            unit=unit, currency="USD", scale=scale, amount=Decimal(amount), by="ada@example.com", now=world.NOW
        )
    assert not UnitTarget.objects.exists()


def test_it_reads_a_file_and_says_of_each_wrong_line_why() -> None:
    lines = [
        "\ufeffDate;Team;Feature;Count",
        "2026-03-10;search;answers;4",
        "2026-03-11;search;;",
        "",
        "yesterday;search;;4",
        "2026-03;support;;7,5",
        "2026-03;support;;7.5;9;9",
        "2026-03;support;;7.5",
    ]
    content = "\n".join(lines)

    found = figures.read(content=content.encode(), name="Tickets", unit="ticket")

    assert [(one.line, one.name, one.period_start.day, one.period_end, one.value, one.team) for one in found.rows] == [
        (2, "tickets", 10, datetime(2026, 3, 11, tzinfo=UTC), "4", "search"),
        (8, "tickets", 1, datetime(2026, 4, 1, tzinfo=UTC), "7.5", "support"),
    ]
    assert [(one.line, one.field) for one in found.wrong] == [
        (3, "value"),
        (5, "period_start"),
        (6, "value"),
        (7, "line"),
    ]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "first line names its columns"),
        (b"date,count\n", "no line below"),
        (b"date,date\n1,2\n", "each column once"),
        (b"\xff\xfe\n", "UTF-8"),
        (b'date,count\n"2026-03-10,4\n', "cannot be read"),
        (b"date,count\n" + b"x" * 1_000_001, "at most 1 MB"),
    ],
)
def test_it_refuses_a_file_that_is_no_table(content: bytes, words: str) -> None:
    with pytest.raises(figures.BadFile, match=words):
        figures.read(content=content)


@pytest.mark.parametrize("name", ["tick\x00et", "t" * 201])
def test_it_refuses_a_name_that_no_table_can_keep(name: str) -> None:
    with pytest.raises(figures.BadFile, match="printable"):
        figures.read(content=b"date,count\n2026-03-10,4\n", name=name)


def test_it_loads_a_file_twice_and_counts_it_once() -> None:
    bill(10)
    world.settle()
    found = figures.read(content=b"date,team,count\n2026-03-10,search,4\n", name="tickets_resolved", unit="ticket")
    for minute in (0, 1):
        result = figures.upload(
            found=found, file="march.csv", by="ada@example.com", now=world.NOW.replace(minute=minute)
        )
        assert result.state == "succeeded"
    own.run(now=world.NOW)

    assert shown(values()) == [(10, 10, Decimal(4), Decimal(10))]
    assert AuditEntry.objects.filter(act="figures.uploaded").count() == 2


def test_it_reads_the_same_unit_costs_at_once_as_one_by_one() -> None:
    log = world.source("usage_log", "calls")
    for day in (1, 5, 9, 12):
        for model, team in (("gpt-4o", "search"), ("gpt-4o-mini", "support"), ("gpt-4o", "support")):
            hour = world.at(10, day=date(2026, 3, day))
            world.usage(log, attributes={"team": team}, model=model, hour=hour, requests=day, input_uncached=100 * day)
    world.settle()
    scope = world.scope(days=Days(date(2026, 3, 8), date(2026, 3, 15)))
    complete, compare = Days(date(2026, 3, 8), date(2026, 3, 12)), Days(date(2026, 3, 1), date(2026, 3, 10))

    for group in ("model", "team"):
        found = queries.unit_report(scope=scope, complete=complete, compare=compare, group=group)

        assert found.rows == queries.unit_costs(scope=scope, group_by=[group])
        for days, whole, rows in (
            (scope.days, found.whole, {one.keys[0]: one for one in found.rows}),
            (complete, found.whole_now, found.now),
            (compare, found.whole_before, found.before),
        ):
            assert [whole] == queries.unit_costs(scope=scope.during(days), group_by=[])
            assert rows == {one.keys[0]: one for one in queries.unit_costs(scope=scope.during(days), group_by=[group])}
        by_day = queries.unit_cost_by_day(scope=scope)
        assert {one.day: found.days[one.day] for one in by_day} == {one.day: one.unit_cost for one in by_day}
