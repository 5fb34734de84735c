"""What a statement stands on besides the books: the state of its month, the markups, the company and the layout of journals."""

from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import orjson

from attribution.queries.scoped import fetch


@dataclass(frozen=True, slots=True)
class Book:
    """A month that somebody reviewed or closed."""

    state: str
    version: int
    closed_at: datetime | None
    exchange_rates: dict[str, dict[str, str]]  # currency -> day -> rate into the reporting currency
    deliveries: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class MarkupLine:
    """The markup of one cost centre ("" = all others) in a month."""

    percent: Decimal
    label: str


@dataclass(frozen=True, slots=True)
class Terms:
    """What statements say beside their figures."""

    company: str = ""
    journal: dict[str, Any] = field(default_factory=dict)  # {} = the usual layout


def book(month: date) -> Book | None:
    """The month's book, None while nobody has reviewed it."""
    sql = """SELECT state, version, closed_at, exchange_rates::text, deliveries::text FROM attribution_periodbook
             WHERE month = %(month)s"""
    for state, version, closed_at, rates, deliveries in fetch(sql, {"month": month}):
        return Book(state, version, closed_at, orjson.loads(rates), tuple(orjson.loads(deliveries)))
    return None


def markups(month: date) -> dict[str, MarkupLine]:
    """The markups of a month by cost centre; "" is for every cost centre without one of its own."""
    sql = """SELECT cost_centre, percent, label FROM attribution_markup
             WHERE first_month <= %(month)s AND (end_month IS NULL OR end_month > %(month)s)"""
    return {centre: MarkupLine(percent, label) for centre, percent, label in fetch(sql, {"month": month})}


def terms(*, month: date | None = None) -> Terms:
    """The company's name and the layout of journal entries; of a closed month as they were when it closed."""
    kept = "SELECT terms::text FROM attribution_periodbook WHERE month = %(month)s AND state = 'closed' AND terms IS NOT NULL"
    for (document,) in fetch(kept, {"month": month}) if month is not None else []:
        return Terms(**orjson.loads(document))
    for company, journal in fetch("SELECT company, journal::text FROM attribution_chargebackterms"):
        return Terms(company, orjson.loads(journal))
    return Terms()
