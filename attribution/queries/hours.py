"""Spend by the hour: the days of the books laid over their hours, and the calls of each hour at their prices."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from attribution.queries.scoped import books, fetch, usage
from attribution.queries.unit_sums import COUNTED
from costobs.kernel import period as periods
from costobs.kernel.money import SPLIT_PLACES
from costobs.kernel.period import Days
from costobs.kernel.scope import SpendScope

_COST = " + ".join(["h.requests * p.request_price", *(f"h.{kind} * p.{kind}_price" for kind in COUNTED)])
_TOKENS = " + ".join(f"h.{kind}" for kind in COUNTED)

# Hours of calls as they count: another source may have the authority for the same money, as decided for their day.
_CALLS = f"""
    SELECT h.hour, (h.hour AT TIME ZONE 'UTC')::date AS day, h.source_id, h.attribute_set_id, h.offering_id, h.requests,
        {_TOKENS} AS tokens, {_COST} AS cost, p.currency, coalesce(u.is_current, TRUE) AS is_current
    FROM ingest_usagehour h JOIN ingest_unitprice p ON p.id = h.price_id
    LEFT JOIN ingest_usageday u ON u.day = (h.hour AT TIME ZONE 'UTC')::date AND u.source_id = h.source_id
        AND u.attribute_set_id = h.attribute_set_id AND u.offering_id = h.offering_id AND u.price_id = h.price_id
    WHERE h.hour >= %(since)s AND h.hour < %(until)s"""

# What was used at once and what is paid for all day: idle capacity and corrections know no hour.
_HAS_HOURS = "(d.share_kind IN ('direct', 'shared', 'overhead', 'unallocated') AND d.method <> 'adjustment')"
_SCALE = 10**SPLIT_PLACES
_QUANTUM = f"0.{'0' * (SPLIT_PLACES - 1)}1"


@dataclass(frozen=True, slots=True)
class HourSpend:
    """What the hour that begins at `hour` cost. Of it, `estimated_cost` is what no bill has confirmed, `unpriced_cost` what
    is at a conservative price.
    """

    hour: datetime
    keys: tuple[str, ...]
    cost: Decimal
    estimated_cost: Decimal
    unpriced_cost: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class HourUsage:
    """The calls of an hour at their list prices; own models without a price cost nothing here."""

    hour: datetime
    keys: tuple[str, ...]
    estimated_cost: Decimal
    requests: int
    tokens: int


@dataclass(frozen=True, slots=True)
class HourCalls:
    """How often, in an hour, and with how many tokens, whatever the currency of the prices."""

    hour: datetime
    keys: tuple[str, ...]
    requests: int
    tokens: int


def spend_by_hour(
    *, scope: SpendScope, group_by: Sequence[str] = (), of_sources: Sequence[int] | None = None
) -> list[HourSpend]:
    """Spend by hour and `group_by`, ordered by hour; the hours of a UTC day add up to the day of `spend`, exactly.

    Books are kept by day. The cost of an attribute set and model on a day lies on its hours as its calls did, by their
    price (by their tokens where they have none); what has no calls (idle capacity, fees, corrections) lies evenly on 24
    hours. An hour without cost is absent. `of_sources`: only what calls seen by these sources cost, estimated or billed.
    Raises BadScope.
    """
    scoped = books(scope, group_by)
    seen = ""
    if of_sources is not None:
        seen = "AND d.attribute_set_id IN (SELECT id FROM ingest_attributeset WHERE source_id = ANY(%(of_sources)s))"
    keys = [f"k{index}" for index in range(len(scoped.keys()))]
    named = "".join(f"{expression} AS {key}, " for key, expression in zip(keys, scoped.keys(), strict=True))
    listed = "".join(f"c.{key}, " for key in keys)
    sql = f"""
        WITH cell AS MATERIALIZED (
            SELECT row_number() OVER () AS cell, x.* FROM (
                SELECT d.day, {named} d.attribute_set_id, d.model, {_HAS_HOURS} AS has_hours, sum({scoped.cost}) AS cost,
                    coalesce(sum({scoped.cost}) FILTER (WHERE d.basis = 'estimated'), 0) AS estimated_cost,
                    coalesce(sum({scoped.cost}) FILTER (WHERE d.is_unpriced), 0) AS unpriced_cost
                {scoped.source()} AND d.is_current {seen}
                GROUP BY {", ".join(str(index + 1) for index in range(len(keys) + 4))}) x),
        used AS (
            SELECT d.day, d.hour, d.attribute_set_id, f.model, sum(d.cost) AS cost, sum(d.tokens) AS tokens
            FROM ({_CALLS}) d JOIN ingest_offering f ON f.id = d.offering_id WHERE d.is_current GROUP BY 1, 2, 3, 4),
        called AS (
            SELECT c.cell, u.hour,
                CASE WHEN sum(u.cost) OVER (PARTITION BY c.cell) > 0 THEN u.cost ELSE u.tokens END AS weight
            FROM cell c JOIN used u USING (day, attribute_set_id, model) WHERE c.has_hours),
        weighed AS (
            SELECT * FROM called WHERE weight > 0
            UNION ALL
            SELECT c.cell, c.day::timestamp AT TIME ZONE 'UTC' + n * interval '1 hour', 1
            FROM cell c CROSS JOIN generate_series(0, 23) n
            WHERE NOT EXISTS (SELECT FROM called w WHERE w.cell = c.cell AND w.weight > 0)),
        ranked AS (
            SELECT w.*, sum(weight) OVER (PARTITION BY cell) AS whole,
                row_number() OVER (PARTITION BY cell ORDER BY weight DESC, hour) AS place
            FROM weighed w),
        part AS ({_parts("cost", "estimated_cost", "unpriced_cost")})
        SELECT p.hour, {listed} sum(p.cost), sum(p.estimated_cost), sum(p.unpriced_cost) FROM part p JOIN cell c USING (cell)
        GROUP BY {", ".join(str(index + 1) for index in range(len(keys) + 1))} ORDER BY {_order(len(keys))}"""
    values = {**scoped.parameters, "since": scope.days.start_at, "until": scope.days.end_at}
    values["of_sources"] = list(of_sources or ())
    return [HourSpend(row[0], tuple(row[1:-3]), *row[-3:]) for row in fetch(sql, values) if any(row[-3:])]


def usage_by_hour(
    *, scope: SpendScope, since: datetime, until: datetime, group_by: Sequence[str] = ()
) -> list[HourUsage]:
    """The logged calls of the hours that begin from `since` on and before `until`, by hour and `group_by`; ordered by hour.

    The days of the scope do not count here, its filters, currency and teams do. Hours without calls are absent: whether the
    source was silent or nobody called is for its freshness to say. Raises BadScope.
    """
    rows = _used(scope, since, until, group_by, "sum(d.cost), ", "AND d.currency = %(currency)s")
    return [HourUsage(row[0], tuple(row[1:-3]), row[-3], int(row[-2]), int(row[-1])) for row in rows]


def calls_by_hour(
    *, scope: SpendScope, since: datetime, until: datetime, group_by: Sequence[str] = ()
) -> list[HourCalls]:
    """The logged calls like `usage_by_hour`, in every currency: whether somebody calls does not depend on who is paid in what."""
    rows = _used(scope, since, until, group_by, "", "")
    return [HourCalls(row[0], tuple(row[1:-2]), int(row[-2]), int(row[-1])) for row in rows]


def _used(
    scope: SpendScope, since: datetime, until: datetime, group_by: Sequence[str], more: str, where: str
) -> list[tuple[Any, ...]]:
    """The hour, the keys, `more`, the requests and the tokens of logged calls."""
    days = Days(periods.day_of(since), periods.day_of(until) + timedelta(days=1))
    scoped = usage(replace(scope, days=days), group_by, table=f"({_CALLS})")
    keys = scoped.keys()
    listed = "".join(f"{key}, " for key in keys)
    source = scoped.source()
    values = {**scoped.parameters, "since": since, "until": until, "currency": scope.currency}
    sql = f"""
        SELECT d.hour, {listed} {more} sum(d.requests), sum(d.tokens) {source}
            AND d.is_current {where}
        GROUP BY {", ".join(str(index + 1) for index in range(len(keys) + 1))} ORDER BY {_order(len(keys))}"""
    return fetch(sql, values)


def hours_marks(*, days: Days) -> dict[date, str]:
    """A mark for each day that has data: what `usage_by_hour` says of the hours of a day is the same while its mark is.

    It changes with each load and each making of the books of the day, which gives owners to what is new, with the rules in
    force, and with what closed months keep. Cheap enough to be asked each minute.
    """
    ((rules,),) = fetch(
        """SELECT concat((SELECT max(id) FROM attribution_rulesetversion WHERE is_current), '.', string_agg(
               concat(month, ':', ruleset_id), '.' ORDER BY month)) FROM attribution_periodbook WHERE state = 'closed'"""
    )
    rows = fetch(
        """SELECT day, concat_ws('.', count(*), max(id), sum(version), sum(rolled_up_version)) FROM ingest_touched
           WHERE day >= %(start)s AND day < %(end)s GROUP BY 1""",
        {"start": days.start, "end": days.end},
    )
    return {day: f"{versions}/{rules}" for day, versions in rows}


def _parts(*costs: str) -> str:
    """The costs of each cell cut by weight at 12 decimals; the heaviest hour, the first on a tie, takes the remainder."""
    cuts = ", ".join(f"div(c.{cost} * r.weight * {_SCALE}, r.whole) * {_QUANTUM} AS cut_{cost}" for cost in costs)
    finals = ", ".join(
        f"cut_{cost} + CASE WHEN place = 1 THEN {cost} - sum(cut_{cost}) OVER (PARTITION BY cell) ELSE 0 END AS {cost}"
        for cost in costs
    )
    listed = ", ".join(f"c.{cost}" for cost in costs)
    return f"""SELECT cell, hour, {finals} FROM (
        SELECT r.cell, r.hour, r.place, {listed}, {cuts} FROM ranked r JOIN cell c USING (cell)) cut_parts"""


def _order(keys: int) -> str:
    return ", ".join(str(index + 1) for index in range(keys + 1))
