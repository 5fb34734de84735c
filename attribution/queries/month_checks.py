"""What the books say about a month that somebody wants to close: its currencies, gaps, open months before it, exchange rates."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from attribution import rates
from attribution.dimensions import PROVIDERS, SELF_HOSTED
from attribution.queries.scoped import SHARE, Scoped, fetch
from costobs.kernel import money
from costobs.kernel.period import Days
from costobs.kernel.scope import SpendScope


@dataclass(frozen=True, slots=True)
class Gaps:
    """Of the effective cost of one currency: what nobody owns, and what was priced conservatively because no price is known."""

    currency: str
    cost: Decimal
    unallocated_cost: Decimal
    unpriced_cost: Decimal
    unpriced_rows: int


def gaps(*, days: Days) -> list[Gaps]:
    """The gaps of each currency that the days have, by currency. Amounts are of the whole company: only their share is told."""
    found: list[Gaps] = []
    for (currency,) in fetch(
        """SELECT DISTINCT currency FROM attribution_dailycost WHERE day >= %(start)s AND day < %(end)s AND is_current
           ORDER BY 1""",
        {"start": days.start, "end": days.end},
    ):
        scoped = Scoped(SpendScope(days, (), "effective", currency, None), dimensions=["share_kind"])
        rows = fetch(
            f"""SELECT coalesce(sum(d.effective_cost), 0),
                    coalesce(sum(d.effective_cost) FILTER (WHERE {SHARE} = 'unallocated'), 0),
                    coalesce(sum(d.effective_cost) FILTER (WHERE d.is_unpriced), 0), count(*) FILTER (WHERE d.is_unpriced)
                {scoped.source()} AND d.is_current""",
            scoped.parameters,
        )
        found.append(Gaps(currency, *rows[0]))
    return found


def open_before(*, month: date) -> list[date]:
    """The months before `month` that have rows and are not closed, oldest first."""
    rows = fetch(
        """SELECT DISTINCT date_trunc('month', t.day)::date AS month
           FROM (SELECT DISTINCT day FROM attribution_dailycost WHERE day < %(month)s) t
           WHERE t.day >= coalesce((SELECT max(month) + interval '1 month' FROM attribution_periodbook
               WHERE state = 'closed'), '-infinity') ORDER BY 1""",
        {"month": month},
    )
    return [row[0] for row in rows]


def adjusted_in(*, days: Days) -> list[date]:
    """The months that rows of these days correct."""
    sql = """SELECT DISTINCT date_trunc('month', origin_day)::date FROM attribution_dailycost
             WHERE origin_day IS NOT NULL AND day >= %(start)s AND day < %(end)s ORDER BY 1"""
    return [row[0] for row in fetch(sql, {"start": days.start, "end": days.end})]


def of_others(*, months: Sequence[date], source_ids: Sequence[int]) -> list[date]:
    """Those of the months that hold rows of other sources than these, oldest first."""
    sql = """SELECT DISTINCT date_trunc('month', day)::date FROM attribution_dailycost
             WHERE date_trunc('month', day)::date = ANY(%(months)s) AND source_id <> ALL(%(sources)s) ORDER BY 1"""
    return [row[0] for row in fetch(sql, {"months": list(months), "sources": list(source_ids)})]


def has_others() -> bool:
    """Whether a source that is not of the sample has delivered anything."""
    sql = """SELECT EXISTS (SELECT FROM ingest_touched t JOIN ingest_source s ON s.id = t.source_id
             WHERE NOT s.is_sample)"""
    return bool(fetch(sql)[0][0])


def is_empty(*, days: Days) -> bool:
    """Whether the books have nothing on these days."""
    sql = "SELECT NOT EXISTS (SELECT FROM attribution_dailycost WHERE day >= %(start)s AND day < %(end)s)"
    return bool(fetch(sql, {"start": days.start, "end": days.end})[0][0])


# A day is due when the books of it or of its neighbours were made from other data than when it was compared, or when exchange
# rates changed. A day that waits to be rolled up is not looked at before.
COMPARED_AS = """
SELECT t.day, sum(n.rolled_up_version) || ':' || coalesce((SELECT max(r.id) FROM attribution_exchangerate r
    WHERE r.day <= t.day AND r.day > t.day - 10), 0) AS seen
FROM (SELECT DISTINCT day FROM ingest_touched WHERE day >= %(start)s AND day < %(end)s) t
JOIN ingest_touched n ON n.day BETWEEN t.day - 1 AND t.day + 1
GROUP BY t.day HAVING bool_and(n.day <> t.day OR n.version <= n.rolled_up_version)
"""


def is_estimated(*, days: Days) -> bool:
    """Whether usage of somebody's models was priced on these days. Own GPUs have no bill by token to compare with."""
    sql = """SELECT EXISTS (SELECT FROM attribution_dailycost WHERE day >= %(start)s AND day < %(end)s
             AND basis = 'estimated' AND origin_day IS NULL AND provider_name <> %(own)s)"""
    own = PROVIDERS[SELF_HOSTED].provider_name
    return bool(fetch(sql, {"start": days.start, "end": days.end, "own": own})[0][0])


def uncompared(*, days: Days) -> int:
    """How many of the days have changed since their estimates were compared with bills, or never were."""
    sql = f"""SELECT count(*) FROM ({COMPARED_AS}) s LEFT JOIN attribution_reconciledday r ON r.day = s.day
              WHERE r.seen IS DISTINCT FROM s.seen"""
    return int(fetch(sql, {"start": days.start, "end": days.end})[0][0])


def exchange_rates(*, days: Days, currencies: Sequence[str], into: str) -> dict[str, dict[str, str]]:
    """What one unit of each currency is worth in `into`, by day, as text: the rates that statements of open months show.

    Currencies and days without any are absent.
    """
    found = rates.daily(currencies=sorted(set(currencies) - {into}), into=into, days=list(days))
    return {
        currency: {f"{day}": f"{one.value.normalize(money.EXACT):f}" for day, one in by_day.items()}
        for currency, by_day in found.items()
        if by_day
    }


def frozen_rates(*, days: Days, currencies: Sequence[str], into: str) -> dict[str, dict[str, str]]:
    """The rates a month closes with: into the reporting currency by currency, and between the others as EUR/GBP, since the
    month's statement may be asked for in any of its currencies.
    """
    found = exchange_rates(days=days, currencies=currencies, into=into)
    for other in sorted(set(currencies) - {into}):
        for currency, by_day in exchange_rates(days=days, currencies=[*currencies, into], into=other).items():
            found[f"{currency}/{other}"] = by_day
    return found
