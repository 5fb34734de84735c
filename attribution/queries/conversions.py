"""Spend of a month in other currencies, and what it comes to in the statement's, at the rates of its days."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal

from django.conf import settings

from attribution import rates
from attribution.queries.scoped import books, fetch
from attribution.queries.statement_terms import Book
from attribution.rates import Rate
from costobs.kernel import money
from costobs.kernel.scope import SpendScope

_CLOSED = "closed rates"
_Rates = Mapping[date, Rate]


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
class _Sum:
    cost: Decimal
    tax: Decimal
    converted: list[Decimal]
    converted_tax: list[Decimal]
    used: dict[date, Rate]
    is_missing: bool = False


def conversions(*, scope: SpendScope, book: Book | None) -> tuple[Conversion, ...]:
    """What the scope's rows in other currencies come to: at the rates the month was closed with, else at those believed now."""
    found: list[Conversion] = []
    for currency in _others(scope):
        found += _converted(replace(scope, currency=currency), _rates(currency, scope, book))
    return tuple(sorted(found, key=lambda one: (one.cost_centre == "", one.cost_centre, one.team, one.currency)))


def _others(scope: SpendScope) -> list[str]:
    sql = """SELECT DISTINCT currency FROM attribution_dailycost
             WHERE day >= %(start)s AND day < %(end)s AND is_current AND currency <> %(currency)s ORDER BY 1"""
    values = {"start": scope.days.start, "end": scope.days.end, "currency": scope.currency}
    return [currency for (currency,) in fetch(sql, values)]


def _converted(scope: SpendScope, known: _Rates) -> Iterable[Conversion]:
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
        rate = known.get(day)
        if rate is None:
            one.is_missing = True
            continue
        one.used[rate.day] = rate
        one.converted.append(money.EXACT.multiply(cost, rate.value))
        one.converted_tax.append(money.EXACT.multiply(tax, rate.value))
    for (owner, name), one in sums.items():
        yield _line(owner, name, scope.currency, one)


def _line(cost_centre: str, team: str, currency: str, one: _Sum) -> Conversion:
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
        f"{' and '.join(sorted({rate.publisher for rate in one.used.values()}))}, {days}",
        min(rate.value for rate in one.used.values()),
        max(rate.value for rate in one.used.values()),
    )


def _rates(currency: str, scope: SpendScope, book: Book | None) -> _Rates:
    """Rates from `currency` into the scope's, by day: as they are believed, or as the month was closed with."""
    if book is None or book.state != "closed":
        return rates.daily(currencies=[currency], into=scope.currency, days=list(scope.days))[currency]
    is_reporting = scope.currency == settings.COSTOBS_CURRENCY
    kept = book.exchange_rates.get(currency if is_reporting else f"{currency}/{scope.currency}") or {}
    return {(day := date.fromisoformat(text)): Rate(Decimal(rate), day, _CLOSED) for text, rate in kept.items()}
