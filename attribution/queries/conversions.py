"""Spend of a month in other currencies, and what it comes to in the statement's, at the rates of its days."""

import bisect
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal

from attribution.queries.scoped import books, fetch
from attribution.queries.statement_terms import Book
from costobs.kernel import money
from costobs.kernel.scope import SpendScope

# A cross rate has endless digits; it is rounded once, and amounts are multiplied with it exactly.
_PLACES = Decimal("1E-12")
# Banks close for days, not for months: an older rate says nothing about the month.
_OLDEST = timedelta(days=31)


@dataclass(frozen=True, slots=True)
class Conversion:
    """One currency's spend of a cost centre and team. `converted_cost` None: no rate, so it is in no total."""

    cost_centre: str
    team: str
    currency: str
    cost: Decimal  # in `currency`
    tax_cost: Decimal  # of it
    converted_cost: Decimal | None
    converted_tax_cost: Decimal | None
    rates: str  # where the rates come from: "ECB, 1 to 30 Oct 2026"
    lowest_rate: Decimal | None
    highest_rate: Decimal | None


@dataclass(slots=True)
class _Rates:
    """Rates of one currency by day, and who published them."""

    days: list[date]
    rates: list[Decimal]
    source: str

    def on(self, day: date) -> tuple[date, Decimal] | None:
        """The newest rate known on a day: banks publish none on Sundays."""
        place = bisect.bisect_right(self.days, day) - 1
        return (self.days[place], self.rates[place]) if place >= 0 else None


@dataclass(slots=True)
class _Sum:
    cost: Decimal
    tax: Decimal
    converted: list[Decimal]
    converted_tax: list[Decimal]
    used: dict[date, Decimal]
    is_missing: bool = False


def conversions(*, scope: SpendScope, book: Book | None) -> tuple[Conversion, ...]:
    """What the scope's rows in other currencies come to: at the rates the month was closed with, else at those believed now."""
    found: list[Conversion] = []
    for currency in _others(scope):
        rates = _frozen(book, currency) if book and book.state == "closed" else _believed(currency, scope)
        found += _converted(replace(scope, currency=currency), rates)
    return tuple(sorted(found, key=lambda one: (one.cost_centre == "", one.cost_centre, one.team, one.currency)))


def _others(scope: SpendScope) -> list[str]:
    sql = """SELECT DISTINCT currency FROM attribution_dailycost
             WHERE day >= %(start)s AND day < %(end)s AND is_current AND currency <> %(currency)s ORDER BY 1"""
    values = {"start": scope.days.start, "end": scope.days.end, "currency": scope.currency}
    return [currency for (currency,) in fetch(sql, values)]


def _converted(scope: SpendScope, rates: _Rates | None) -> Iterable[Conversion]:
    scoped = books(scope, ["cost_centre", "team"])
    centre, team = scoped.keys()
    sql = f"""
        SELECT {centre}, {team}, d.day, sum({scoped.cost}),
            coalesce(sum({scoped.cost}) FILTER (WHERE d.charge_category = 'Tax'), 0)
        {scoped.source()} AND d.is_current GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"""
    sums: dict[tuple[str, str], _Sum] = {}
    for owner, name, day, cost, tax in fetch(sql, scoped.parameters):
        one = sums.setdefault((owner, name), _Sum(Decimal(0), Decimal(0), [], [], {}))
        one.cost, one.tax = money.EXACT.add(one.cost, cost), money.EXACT.add(one.tax, tax)
        known = rates.on(day) if rates else None
        if known is None:
            one.is_missing = True
            continue
        at, rate = known
        one.used[at] = rate
        one.converted.append(money.EXACT.multiply(cost, rate))
        one.converted_tax.append(money.EXACT.multiply(tax, rate))
    for (owner, name), one in sums.items():
        yield _line(owner, name, scope.currency, one, rates.source if rates else "")


def _line(cost_centre: str, team: str, currency: str, one: _Sum, source: str) -> Conversion:
    if one.is_missing or not one.used:
        return Conversion(cost_centre, team, currency, one.cost, one.tax, None, None, "", None, None)
    first, last = min(one.used), max(one.used)
    days = f"{first:%-d %b %Y}" if first == last else f"{first:%-d %b} to {last:%-d %b %Y}"
    return Conversion(
        cost_centre,
        team,
        currency,
        one.cost,
        one.tax,
        money.total(one.converted),
        money.total(one.converted_tax),
        f"{source}, {days}",
        min(one.used.values()),
        max(one.used.values()),
    )


def _frozen(book: Book | None, currency: str) -> _Rates | None:
    kept = sorted((book.exchange_rates.get(currency) or {}).items()) if book else []
    if not kept:
        return None
    return _Rates([date.fromisoformat(day) for day, _ in kept], [Decimal(rate) for _, rate in kept], "closed rates")


def _believed(currency: str, scope: SpendScope) -> _Rates | None:
    """Rates from `currency` into the scope's, from the publisher's base that knows both."""
    sql = """
        SELECT base, currency, day, rate, publisher FROM attribution_exchangerate
        WHERE known_to IS NULL AND day >= %(since)s AND day < %(end)s
            AND (currency = ANY(%(both)s) OR base = ANY(%(both)s)) ORDER BY base, day"""
    both = [currency, scope.currency]
    by_base: dict[str, dict[str, dict[date, Decimal]]] = {}
    publishers: dict[str, str] = {}
    values = {"since": scope.days.start - _OLDEST, "end": scope.days.end, "both": both}
    for base, name, day, rate, publisher in fetch(sql, values):
        by_base.setdefault(base, {}).setdefault(name, {})[day] = rate
        publishers[base] = publisher
    for base, known in sorted(by_base.items()):
        rates = _crossed(base, known, currency, scope.currency)
        if rates:
            days = sorted(rates)
            return _Rates(days, [rates[day] for day in days], publishers[base])
    return None


def _crossed(base: str, known: dict[str, dict[date, Decimal]], currency: str, into: str) -> dict[date, Decimal]:
    """The rate of each day that has both sides; the base itself is worth one."""
    every = {day for name in (currency, into) for day in known.get(name, {})}
    found: dict[date, Decimal] = {}
    for day in every:
        one = Decimal(1) if currency == base else known.get(currency, {}).get(day)
        other = Decimal(1) if into == base else known.get(into, {}).get(day)
        if one and other is not None:
            found[day] = other if one == 1 else _rounded(other, one)
    return found


def _rounded(amount: Decimal, by: Decimal) -> Decimal:
    return money.DIVISION.divide(amount, by).quantize(_PLACES, context=money.DIVISION)
