"""What other prices would make of stored usage, worked out in one statement and kept by nobody.

The effect lies in a temporary table `price_effect` until the transaction ends: who needs it by owner reads it there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from django.db import connection

from costobs.kernel import money
from ingest.price_list import PRICED, Prices
from ingest.price_usage import COST


@dataclass(frozen=True, slots=True)
class Proposed:
    """One price that would hold: for which offerings, in which half-open time, for prompts of at least so many tokens."""

    line: int
    offerings: tuple[int, ...]
    context_from: int
    valid_from: datetime
    valid_to: datetime | None
    currency: str
    prices: Prices


@dataclass(frozen=True, slots=True)
class EffectLine:
    """The cost of one model's usage in one month, as it is priced and as it would be, in one currency.

    `first_cost` and `first_new_cost` are the parts that had no known price before.
    """

    month: date
    provider: str
    model: str
    currency: str
    old_cost: Decimal
    new_cost: Decimal
    first_cost: Decimal
    first_new_cost: Decimal
    calls: int

    @property
    def change(self) -> Decimal:
        """New minus old."""
        return self.new_cost - self.old_cost

    @property
    def known_change(self) -> Decimal:
        """New minus old where a price was known before."""
        return self.change - (self.first_new_cost - self.first_cost)


@dataclass(frozen=True, slots=True)
class Effect:
    """What would move in open months, and what closed months would have been. `hours` counts folded hours of usage."""

    lines: tuple[EffectLine, ...]
    closed: tuple[EffectLine, ...]
    calls: int
    hours: int
    days: int

    def change(self, *, known: bool = False) -> dict[str, Decimal]:
        """New minus old of the open months, by currency; with `known` only where a price was known before."""
        found: dict[str, list[Decimal]] = {}
        for line in self.lines:
            found.setdefault(line.currency, []).append(line.known_change if known else line.change)
        return {currency: money.total(parts) for currency, parts in sorted(found.items())}


_OLD = COST
_NEW = COST.replace("p.", "n.")

# One row of usage counts once where two sources tell of the same calls: the rollup by day says which one counts. A price in
# another currency takes its cost away in one and adds it in the other. Which step holds is told by the step it has now.
_STAGE = f"""
CREATE TEMPORARY TABLE price_effect ON COMMIT DROP AS
WITH proposed AS (
    SELECT * FROM unnest(%(lines)s::int[], %(offerings)s::bigint[], %(steps)s::bigint[], %(starts)s::timestamptz[],
        %(ends)s::timestamptz[], %(currencies)s::text[], {", ".join(f"%({kind})s::numeric[]" for kind in PRICED)})
        AS x (line, offering_id, context_from, starts, ends, currency, {", ".join(f"{kind}_price" for kind in PRICED)})
), hit AS (
    SELECT (h.hour AT TIME ZONE 'UTC')::date AS day, n.line, h.attribute_set_id, f.provider, f.model, p.is_conservative,
        p.currency AS old_currency, n.currency AS new_currency, h.requests, {_OLD} AS old_cost, {_NEW} AS new_cost,
        coalesce(u.is_current, TRUE) AS counts
    FROM ingest_usagehour h
    JOIN ingest_offering f ON f.id = h.offering_id
    JOIN ingest_unitprice p ON p.id = h.price_id
    JOIN LATERAL (
        SELECT * FROM proposed x WHERE x.offering_id = h.offering_id AND h.hour >= x.starts
            AND (x.ends IS NULL OR h.hour < x.ends) AND x.context_from <= p.context_from
        ORDER BY x.context_from DESC LIMIT 1
    ) n ON TRUE
    LEFT JOIN ingest_usageday u ON u.day = (h.hour AT TIME ZONE 'UTC')::date AND u.source_id = h.source_id
        AND u.attribute_set_id = h.attribute_set_id AND u.offering_id = h.offering_id AND u.price_id = h.price_id
    WHERE h.hour >= %(first)s AND h.offering_id = ANY(%(offerings)s)
        AND (%(rows)s::bigint[] IS NULL OR h.price_id = ANY(%(rows)s::bigint[]))
)
SELECT hit.day, hit.line, hit.attribute_set_id, hit.provider, hit.model, v.currency, hit.is_conservative,
    sum(CASE WHEN counts THEN v.old_cost ELSE 0 END) AS old_cost, sum(CASE WHEN counts THEN v.new_cost ELSE 0 END) AS new_cost,
    sum(v.calls) AS calls, sum(v.hours) AS hours
FROM hit CROSS JOIN LATERAL (
    SELECT old_currency AS currency, hit.old_cost, CASE WHEN old_currency = new_currency THEN hit.new_cost ELSE 0 END AS new_cost,
        hit.requests AS calls, 1 AS hours
    UNION ALL SELECT new_currency, 0, hit.new_cost, 0, 0 WHERE old_currency <> new_currency
) v
GROUP BY 1, 2, 3, 4, 5, 6, 7
"""  # only names of our own columns

_LINES = """
SELECT date_trunc('month', day)::date, provider, model, currency, sum(old_cost), sum(new_cost),
    coalesce(sum(old_cost) FILTER (WHERE is_conservative), 0), coalesce(sum(new_cost) FILTER (WHERE is_conservative), 0),
    sum(calls)::bigint
FROM price_effect WHERE (day >= %(open_from)s) = %(is_open)s GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
"""


def stage(*, proposed: Sequence[Proposed], rows: Sequence[int] | None = None) -> None:
    """Works out the effect of these prices on all usage they would hold for. Part of the caller's transaction.

    With `rows`, only usage that has one of these prices now would move.
    """
    flat = [(one, offering) for one in proposed for offering in one.offerings]
    values: dict[str, Any] = {  # parameters of SQL
        "lines": [one.line for one, _offering in flat],
        "offerings": [offering for _one, offering in flat],
        "steps": [one.context_from for one, _offering in flat],
        "starts": [one.valid_from for one, _offering in flat],
        "ends": [one.valid_to for one, _offering in flat],
        "currencies": [one.currency for one, _offering in flat],
        "first": min((one.valid_from for one in proposed), default=None),
        "rows": None if rows is None else list(rows),
        **{kind: [one.prices[kind] for one, _offering in flat] for kind in PRICED},
    }
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS price_effect")
        cursor.execute(_STAGE, values)


def read(*, open_from: date | None) -> Effect:
    """What `stage` found, before and from the first open day; without one every day is open."""
    first = open_from or date.min
    with connection.cursor() as cursor:
        cursor.execute(_LINES, {"open_from": first, "is_open": True})
        lines = tuple(EffectLine(*row) for row in cursor.fetchall())
        cursor.execute(_LINES, {"open_from": first, "is_open": False})
        closed = tuple(EffectLine(*row) for row in cursor.fetchall())
        cursor.execute(
            "SELECT coalesce(sum(calls), 0), coalesce(sum(hours), 0), count(DISTINCT day) FROM price_effect WHERE day >= %s",
            [first],
        )
        calls, hours, days = cursor.fetchone()
    return Effect(lines, closed, int(calls), int(hours), days)
