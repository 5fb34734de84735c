"""Proves that the books add up: what the vendors delivered is what the books hold, to the last digit."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from attribution.dimensions import SELF_HOSTED, canonical_sql, provider_name
from attribution.models import PeriodBook
from attribution.queries import closed_months, ownership
from attribution.queries.scoped import SHARE, fetch
from attribution.splitting import COSTS
from attribution.staging import TOKEN_KINDS
from costobs.kernel import money
from costobs.kernel.period import Days
from costobs.kernel.period import month as month_of


@dataclass(frozen=True, slots=True)
class Finding:
    """One check that failed. `difference` is found minus expected."""

    check: str
    expected: Decimal
    found: Decimal
    advice: str

    @property
    def difference(self) -> Decimal:
        """Found minus expected."""
        return money.EXACT.subtract(self.found, self.expected)


@dataclass(frozen=True, slots=True)
class Sum:
    """One source's delivery in one currency and cost column, and the shares of the books it went into."""

    source: str
    currency: str
    cost: str
    delivered: Decimal
    parts: tuple[tuple[str, Decimal], ...]

    @property
    def difference(self) -> Decimal:
        """Delivered minus the parts; zero when the books balance."""
        return money.EXACT.subtract(self.delivered, money.total(amount for _, amount in self.parts))


@dataclass(frozen=True, slots=True)
class Verification:
    """How many comparisons were made, what was compared, and what did not agree."""

    checks: int
    sums: tuple[Sum, ...]
    failures: tuple[Finding, ...]

    @property
    def is_balanced(self) -> bool:
        """Nothing failed."""
        return not self.failures


_SUMS = ", ".join(f"sum(c.{cost})" for cost in COSTS)
_DELIVERED = f"""
SELECT c.source_id, (c.charge_period_start AT TIME ZONE 'UTC')::date AS day, c.billing_currency, {_SUMS}
FROM ingest_charge c JOIN ingest_delivery v ON v.id = c.delivery_id AND v.state = 'current'
WHERE (%(start_at)s::timestamptz IS NULL OR c.charge_period_start >= %(start_at)s)
    AND (%(end_at)s::timestamptz IS NULL OR c.charge_period_start < %(end_at)s)
GROUP BY 1, 2, 3
"""
_COST = " + ".join(["u.requests * p.request_price", *(f"u.{kind} * p.{kind}_price" for kind in TOKEN_KINDS)])
_ESTIMATED = f"""
SELECT u.source_id, (u.hour AT TIME ZONE 'UTC')::date AS day, p.currency, sum({_COST})
FROM ingest_usagehour u JOIN ingest_unitprice p ON p.id = u.price_id
WHERE (%(start_at)s::timestamptz IS NULL OR u.hour >= %(start_at)s) AND (%(end_at)s::timestamptz IS NULL OR u.hour < %(end_at)s)
GROUP BY 1, 2, 3
"""
_IN_DAYS = (
    """(%(start)s::date IS NULL OR {t}.{column} >= %(start)s) AND (%(end)s::date IS NULL OR {t}.{column} < %(end)s)"""
)
# The rows about each day: its own, and those that correct it, wherever they are booked.
_ABOUT = f"""
(SELECT * FROM attribution_dailycost r WHERE origin_day IS NULL AND {_IN_DAYS.format(t="r", column="day")}
 UNION ALL
 SELECT * FROM attribution_dailycost r WHERE origin_day IS NOT NULL AND {_IN_DAYS.format(t="r", column="origin_day")})
"""
_DAY = "coalesce({t}.origin_day, {t}.day)"
_BOOKED = f"""
SELECT c.source_id, {_DAY.format(t="c")} AS about, c.currency, {_SUMS} FROM {_ABOUT} c WHERE c.basis = %(basis)s GROUP BY 1, 2, 3
"""
_POOLS = f"""
SELECT p.day, p.pool, p.currency, s.name, {", ".join(f"p.{cost}" for cost in COSTS)},
    {", ".join(f"coalesce(c.{cost}, 0)" for cost in COSTS)}
FROM attribution_pool p JOIN ingest_source s ON s.id = p.source_id
LEFT JOIN (SELECT c.day, c.source_id, c.pool, c.currency, {", ".join(f"sum(c.{cost}) AS {cost}" for cost in COSTS)}
    FROM attribution_allocatedcharge c WHERE {_IN_DAYS.format(t="c", column="day")} GROUP BY 1, 2, 3, 4) c
    USING (day, source_id, pool, currency)
WHERE {_IN_DAYS.format(t="p", column="day")}
"""
_BILLED_USAGE = "(d.method IN ('tie_out', 'charge', 'adjustment') AND d.model <> '' AND d.charge_category = 'Usage')"
# A bill for the usage of models counts for a provider and day, and an estimate of the same provider and day counts too. An
# adjustment takes back what it replaces: there a line counts when something of it is left.
_TWICE = f"""
SELECT x.day, x.currency, x.provider, sum(x.cost) FILTER (WHERE NOT x.is_billed)
FROM (SELECT {_DAY.format(t="d")} AS day, d.currency, {canonical_sql("d.provider_name")} AS provider,
          d.basis = 'billed' AS is_billed, sum(d.effective_cost) AS cost, bool_or(d.origin_day IS NOT NULL) AS is_adjusted
      FROM {_ABOUT} d
      WHERE d.is_current
          AND ((d.basis = 'billed' AND {_BILLED_USAGE}) OR (d.basis = 'estimated' AND d.provider_name <> %(own)s))
      GROUP BY 1, 2, 3, 4, d.source_id, d.attribute_set_id, d.model, d.deployment, d.token_kind) x
WHERE NOT x.is_adjusted OR x.cost <> 0
GROUP BY 1, 2, 3 HAVING count(*) FILTER (WHERE NOT x.is_billed) > 0 AND count(*) FILTER (WHERE x.is_billed) > 0
"""
_PART = f"CASE WHEN d.origin_day IS NOT NULL THEN 'adjustment' ELSE {SHARE} END"
_SHARES = f"""
SELECT s.kind || '/' || s.name, d.currency, {_PART}, {", ".join(f"sum(d.{cost})" for cost in COSTS)}
FROM {_ABOUT} d JOIN ingest_source s ON s.id = d.source_id {{owners}}
WHERE d.basis = 'billed' GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""

Cell = tuple[int, date, str]


def run(*, days: Days | None = None) -> Verification:
    """Checks `days`, or everything: delivered = booked for each source, day, currency and cost column; usage at its prices =
    estimates; the parts of each pool = the pool; bill and estimate of one cell never both count; a closed month says what it
    said when it closed. What corrects a day counts for that day, wherever it is booked. Tolerance zero.
    """
    values = {
        "start": days.start if days else None,
        "end": days.end if days else None,
        "start_at": days.start_at if days else None,
        "end_at": days.end_at if days else None,
    }
    names = dict(fetch("SELECT id, kind || '/' || name FROM ingest_source"))
    waiting = set(fetch("SELECT source_id, day FROM ingest_touched WHERE version > rolled_up_version"))
    delivered = _cells(_DELIVERED, values)
    compared = [
        *_compare("billed", delivered, _cells(_BOOKED, {**values, "basis": "billed"}), names, waiting),
        *_compare(
            "estimated", _cells(_ESTIMATED, values), _cells(_BOOKED, {**values, "basis": "estimated"}), names, waiting
        ),
        *_pools(values),
        *_twice(values),
        *_sealed(days),
    ]
    failures = tuple(one for one in compared if one.difference != 0)
    return Verification(len(compared), tuple(_sums(delivered, names, values)), failures)


def _cells(sql: str, values: dict[str, Any]) -> dict[Cell, tuple[Decimal, ...]]:
    return {(source, day, currency): tuple(sums) for source, day, currency, *sums in fetch(sql, values)}


def _compare(
    basis: str,
    expected: dict[Cell, tuple[Decimal, ...]],
    found: dict[Cell, tuple[Decimal, ...]],
    names: dict[int, str],
    waiting: set[tuple[Any, ...]],
) -> Iterator[Finding]:
    for cell in sorted({*expected, *found}):
        source, day, currency = cell
        wanted = expected.get(cell, ())
        had = found.get(cell, ())
        advice = (
            "the day changed and waits to be rolled up"
            if (source, day) in waiting
            else "rebuild the day and report this"
        )
        columns = COSTS if basis == "billed" else ("effective_cost",)
        for index, column in enumerate(columns):
            # An estimate is one amount in all four columns; the second is the effective one.
            at = index if basis == "billed" else min(1, len(had) - 1)
            yield Finding(
                f"{basis} {names.get(source, source)} {day} {currency} {column}",
                wanted[index] if wanted else Decimal(0),
                had[at] if had else Decimal(0),
                advice,
            )


def _pools(values: dict[str, Any]) -> Iterator[Finding]:
    for day, pool, currency, source, *sums in fetch(_POOLS, values):
        for column, expected, found in zip(COSTS, sums[:4], sums[4:], strict=True):
            yield Finding(
                f"pool {pool} of {source} {day} {currency} {column}", expected, found, "the parts must add to the pool"
            )


def _twice(values: dict[str, Any]) -> Iterator[Finding]:
    for day, currency, provider, amount in fetch(_TWICE, {**values, "own": provider_name(SELF_HOSTED)}):
        yield Finding(
            f"counted once {provider} {day} {currency}", Decimal(0), amount, "a bill and its estimate both count"
        )


def _sealed(days: Days | None) -> Iterator[Finding]:
    for book in PeriodBook.objects.filter(state="closed").order_by("month"):
        whole = month_of(book.month)
        if days is None or (days.start <= whole.start and whole.end <= days.end):
            is_same = closed_months.fingerprint(month=whole, exchange_rates=book.exchange_rates) == book.sha256
            yield Finding(
                f"sha256 of closed month {book.month:%Y-%m}",
                Decimal(1),
                Decimal(is_same),
                "its rows, owners or exchange rates are not those it closed with: report this",
            )


def _sums(delivered: dict[Cell, tuple[Decimal, ...]], names: dict[int, str], values: dict[str, Any]) -> Iterator[Sum]:
    totals: dict[tuple[str, str, str], Decimal] = {}
    for (source, _, currency), amounts in delivered.items():
        for column, amount in zip(COSTS, amounts, strict=True):
            key = (names.get(source, str(source)), currency, column)
            totals[key] = money.EXACT.add(totals.get(key, Decimal(0)), amount)
    parts: dict[tuple[str, str, str], list[tuple[str, Decimal]]] = {}
    pins = ownership.every_pin()
    owners = ownership.owner_join(pins, model="d.model", day=_DAY.format(t="d") if pins.books else "d.day")
    for source, currency, share, *found in fetch(_SHARES.format(owners=owners), values):
        for column, amount in zip(COSTS, found, strict=True):
            parts.setdefault((source, currency, column), []).append((share, amount))
    for key in sorted({*totals, *parts}):
        yield Sum(*key, totals.get(key, Decimal(0)), tuple(parts.get(key, ())))
