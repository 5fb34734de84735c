"""What the books say about a month that somebody wants to close: its currencies, gaps, open months before it, exchange rates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import ROUND_HALF_EVEN, Context, Decimal

from attribution.queries.scoped import SHARE, Scoped, fetch
from costobs.kernel.period import Days
from costobs.kernel.scope import SpendScope

# A rate is kept with as many digits as any publisher gives, and always the same way.
_RATE = Context(prec=20, rounding=ROUND_HALF_EVEN)
# The European Central Bank is silent over Easter for four days; what is older than a week is missing.
_OLDEST = timedelta(days=7)


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


def is_empty(*, days: Days) -> bool:
    """Whether the books have nothing on these days."""
    sql = "SELECT NOT EXISTS (SELECT FROM attribution_dailycost WHERE day >= %(start)s AND day < %(end)s)"
    return bool(fetch(sql, {"start": days.start, "end": days.end})[0][0])


def exchange_rates(*, days: Days, currencies: Sequence[str], into: str) -> dict[str, dict[str, str]]:
    """What one unit of each currency is worth in `into`, by day, as text. A day without a rate takes the latest before it.

    Currencies and days without any are absent. Two currencies meet in the base of a publisher; of several bases the first by
    name that knows both is taken.
    """
    believed = _believed(days, {*currencies, into})
    found: dict[str, dict[str, str]] = {}
    for currency in sorted(set(currencies) - {into}):
        rates = {f"{day}": rate for day in days if (rate := _cross(believed, day, currency, into)) is not None}
        if rates:
            found[currency] = rates
    return found


def _believed(days: Days, currencies: set[str]) -> Mapping[tuple[str, str], dict[date, Decimal]]:
    """Units of a currency for one unit of a base, by (base, currency) and day of publication."""
    rows = fetch(
        """SELECT base, currency, day, rate FROM attribution_exchangerate
           WHERE known_to IS NULL AND day >= %(first)s AND day < %(end)s AND currency = ANY(%(currencies)s)""",
        {"first": days.start - _OLDEST, "end": days.end, "currencies": sorted(currencies)},
    )
    found: dict[tuple[str, str], dict[date, Decimal]] = {}
    for base, currency, day, rate in rows:
        found.setdefault((base, currency), {})[day] = rate
    return found


def _cross(believed: Mapping[tuple[str, str], dict[date, Decimal]], day: date, currency: str, into: str) -> str | None:
    for base in sorted({base for base, _ in believed}):
        of_currency, of_into = (_latest(believed, base, one, day) for one in (currency, into))
        if of_currency and of_into:
            return f"{_RATE.divide(of_into, of_currency).normalize(_RATE):f}"
    return None


def _latest(
    believed: Mapping[tuple[str, str], dict[date, Decimal]], base: str, currency: str, day: date
) -> Decimal | None:
    if currency == base:
        return Decimal(1)
    known = believed.get((base, currency), {})
    at = max((one for one in known if day - _OLDEST <= one <= day), default=None)
    return None if at is None else known[at]
