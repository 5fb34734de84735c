"""Exchange rates by day, as publishers tell them: taken in, corrected without forgetting, and used to convert amounts.

A rate of one currency into another is the one of the day, or of the latest day before it within a week (banks publish on
working days), across the base both are told in, rounded once to 12 decimals.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Context, Decimal, DivisionByZero, InvalidOperation, Overflow
from typing import Any

import httpx
from django.db import connection, transaction
from django.db.models import F, Q

from attribution import rate_files
from attribution.models import ExchangeRate, RateFeed
from attribution.rate_files import MOST_BYTES, BadFile, RateFile
from costobs.audit import record
from costobs.kernel import http
from costobs.kernel.money import SPLIT_QUANTUM

__all__ = [
    "ECB",
    "LONGEST_GAP_DAYS",
    "MOST_BYTES",
    "STALE_AFTER",
    "BadFile",
    "Coverage",
    "CurrencyLine",
    "Feed",
    "Loaded",
    "MissingRate",
    "Rate",
    "convert",
    "corrections",
    "coverage",
    "daily",
    "feed",
    "fetch",
    "fetch_due",
    "lines",
    "load",
    "rate",
    "set_feed",
]

Feed = RateFeed  # what pages may hold of it; the table stays private
LONGEST_GAP_DAYS = 7
# Documented, and not called unless somebody switches the feed on: the daily rates of the last 90 days.
ECB = "https://www.ecb.europa.eu/stats/eurofxref/eurofxref-hist-90d.xml"
STALE_AFTER = timedelta(days=4)  # no rate is published on a long weekend
_AGAIN_AFTER = timedelta(hours=20)
_CLAIMED_FOR = timedelta(minutes=50)
_MOST_BYTES = 32 * 1024 * 1024
_WIDE = Context(prec=60, rounding=ROUND_HALF_EVEN, traps=[InvalidOperation, DivisionByZero, Overflow])


class MissingRate(LookupError):
    """No rate is known for a currency and day; the message says which, and where to give one."""


@dataclass(frozen=True, slots=True)
class Rate:
    """What one unit of a currency is worth in another; `day` and `publisher` say where it comes from."""

    value: Decimal
    day: date
    publisher: str


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a file brought: rows that were new, that corrected others, that were known, and what was left out."""

    added: int
    corrected: int
    known: int
    left_out: int
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CurrencyLine:
    """One currency, told in `base`: how far its rates reach."""

    base: str
    currency: str
    first: date
    last: date
    days: int
    rate: Decimal
    publisher: str


@dataclass(frozen=True, slots=True)
class Coverage:
    """A currency found in the books, and the days of it that cannot be converted."""

    currency: str
    days: int
    missing: int
    first_missing: date | None
    last_missing: date | None


def rate(*, currency: str, into: str, day: date, known_at: datetime | None = None) -> Rate:
    """The rate of a currency into another on a day, as it is believed now or was at `known_at`. Raises MissingRate."""
    found = daily(currencies=[currency], into=into, days=[day], known_at=known_at)[currency]
    if day in found:
        return found[day]
    raise MissingRate(
        f"expected a rate of {currency} into {into} for {day} or one of the {LONGEST_GAP_DAYS} days before it, found none;"
        f" upload one in Settings, Exchange rates"
    )


def convert(amount: Decimal, *, currency: str, into: str, day: date, known_at: datetime | None = None) -> Decimal:
    """`amount` in another currency, at 12 decimals; in its own currency it keeps every digit. Raises MissingRate."""
    if currency == into:
        return amount
    found = rate(currency=currency, into=into, day=day, known_at=known_at)
    return _WIDE.multiply(amount, found.value).quantize(SPLIT_QUANTUM, rounding=ROUND_HALF_EVEN, context=_WIDE)


def daily(
    *, currencies: Sequence[str], into: str, days: Sequence[date], known_at: datetime | None = None
) -> dict[str, dict[date, Rate]]:
    """The rates of several currencies and days, by currency and day; what is missing is absent.

    The one way to a rate: what a statement of an open month shows, what its closing keeps, what approvals and
    reconciliation reckon with. Read in one query.
    """
    told = _told({*currencies, into}, days, known_at) if days and {*currencies} - {into} else {}
    found: dict[str, dict[date, Rate]] = {}
    for currency in currencies:
        if currency == into:
            found[currency] = {day: Rate(Decimal(1), day, "") for day in days}
            continue
        crossed = _crossed(told, currency, into)
        found[currency] = {day: one for day in days if (one := _near(crossed, day)) is not None}
    return found


def load(*, content: bytes, name: str, base: str, publisher: str, by: str, now: datetime) -> Loaded:
    """Takes in a file of rates. A rate that differs from what is believed closes that belief and opens a new one.

    Repeated, it changes nothing. Raises BadFile when the file cannot be read at all.
    """
    found = rate_files.read(content, name=name, base=base.strip().upper())
    with transaction.atomic():
        added, corrected = _store(found, publisher, by, now)
        known = len(found.rows) - added - corrected
        after = {"file": name, "added": added, "corrected": corrected, "known": known, "left_out": found.left_out}
        if added or corrected:
            record.write(actor=by, act="rates.loaded", subject=f"rates:{publisher}", at=now, after=after)
    return Loaded(added, corrected, known, found.left_out, found.problems)


def feed() -> RateFeed:
    """Where rates are fetched from; an unsaved, inactive row while nobody has said so."""
    return RateFeed.objects.first() or RateFeed(url=ECB)


def set_feed(*, url: str, base: str, is_active: bool, by: str, now: datetime) -> None:
    """Says where rates come from, and switches fetching on or off. Raises BadFile, or BlockedAddress for a wrong address."""
    base = base.strip().upper()
    if len(base) != 3 or not base.isascii() or not base.isalpha():
        raise BadFile(f"expected the base as three letters such as EUR, found {base!r}")
    http.check(url)
    with transaction.atomic():
        before = feed()
        told = {"url": before.url, "is_active": before.is_active}
        values = {"url": url, "base": base, "is_active": is_active, "set_by": by, "error": "", "failures": 0}
        RateFeed.objects.update_or_create(only=True, defaults=values)
        after = {"url": url, "base": base, "is_active": is_active}
        record.write(actor=by, act="rates.feed", subject="rates:feed", at=now, before=told, after=after)


def fetch_due(*, now: datetime) -> Loaded | None:
    """Fetches the feed when it is on and its day has come; None when there was nothing to do or it failed.

    A failure is written on the feed and tried again an hour later. Of two workers at once one claims it.
    """
    due = Q(fetched_at=None) | Q(fetched_at__lte=now - _AGAIN_AFTER)
    unclaimed = Q(tried_at=None) | Q(tried_at__lte=now - _CLAIMED_FOR)
    claimed = RateFeed.objects.filter(due, unclaimed, is_active=True).update(tried_at=now)
    return fetch(by="feed", now=now) if claimed else None


def fetch(*, by: str, now: datetime) -> Loaded | None:
    """Fetches the feed now; what went wrong is in its `error`."""
    held = feed()
    result: Loaded | None = None
    try:
        content = _answer(held.url)
        result = load(content=content, name=held.url, base=held.base, publisher=_publisher(held.url), by=by, now=now)
    except (BadFile, http.BlockedAddress, http.TooLong, httpx.HTTPError) as problem:
        failed = {"error": str(problem)[:500] or type(problem).__name__, "failures": F("failures") + 1, "tried_at": now}
        RateFeed.objects.filter(url=held.url).update(**failed)
        return None
    RateFeed.objects.filter(url=held.url).update(fetched_at=now, tried_at=now, error="", failures=0)
    return result


def lines(*, now: datetime) -> list[CurrencyLine]:
    """The currencies with rates, and how far each reaches."""
    found = _fetch(
        """SELECT base, currency, min(day), max(day), count(*), (array_agg(rate ORDER BY day DESC))[1],
               (array_agg(publisher ORDER BY day DESC))[1]
           FROM attribution_exchangerate WHERE known_to IS NULL AND known_from <= %(now)s GROUP BY 1, 2 ORDER BY 1, 2""",
        {"now": now},
    )
    return [CurrencyLine(*row) for row in found]


def coverage(*, into: str) -> list[Coverage]:
    """The currencies of the books, and for how many of their days no rate into `into` is known."""
    found = _fetch(
        """SELECT currency, array_agg(DISTINCT day) FROM attribution_dailycost
           WHERE is_current AND currency <> %(into)s GROUP BY 1 ORDER BY 1""",
        {"into": into},
    )
    result = []
    for currency, days in found:
        have = _days_with(currency, into)
        missing = [
            day
            for day in sorted(days)
            if not any(day - timedelta(days=gap) in have for gap in range(LONGEST_GAP_DAYS + 1))
        ]
        first, last = (missing[0], missing[-1]) if missing else (None, None)
        result.append(Coverage(currency, len(days), len(missing), first, last))
    return result


def corrections(*, limit: int = 50) -> list[tuple[ExchangeRate, ExchangeRate | None]]:
    """Rates that were given up, the newest first, each with what is believed now."""
    old = list(ExchangeRate.objects.filter(known_to__isnull=False).order_by("-known_to", "-id")[:limit])
    now = {
        (row.base, row.currency, row.day): row
        for row in ExchangeRate.objects.filter(known_to=None, day__in={row.day for row in old})
    }
    return [(row, now.get((row.base, row.currency, row.day))) for row in old]


def _answer(url: str) -> bytes:
    http.check(url)
    with http.client() as client:
        status, _headers, body = http.fetch(client, "GET", url, most_bytes=_MOST_BYTES)
    if status != 200:
        raise BadFile(f"{url} answers with {status}, expected 200")
    return body


def _publisher(url: str) -> str:
    return "ECB" if httpx.URL(url).host.endswith("ecb.europa.eu") else httpx.URL(url).host


_Told = dict[tuple[str, str], dict[date, tuple[Decimal, str]]]


def _told(currencies: set[str], days: Sequence[date], known_at: datetime | None) -> _Told:
    """The rates near these days by base and currency."""
    first, last = min(days) - timedelta(days=LONGEST_GAP_DAYS), max(days)
    rows = ExchangeRate.objects.filter(currency__in=currencies, day__lte=last, day__gte=first)
    if known_at is None:
        rows = rows.filter(known_to=None)
    else:
        rows = rows.filter(known_from__lte=known_at).filter(Q(known_to=None) | Q(known_to__gt=known_at))
    found: _Told = {}
    for row in rows:
        found.setdefault((row.base, row.currency), {})[row.day] = (row.rate, row.publisher)
    return found


def _crossed(told: _Told, currency: str, into: str) -> list[dict[date, Rate]]:
    """For each base, the days on which it knows both currencies. A base that is one of the two goes first, then by name."""
    found = []
    for base in sorted({base for base, _ in told}, key=lambda one: (one not in {currency, into}, one)):
        legs = [told.get((base, each), {}) for each in (currency, into) if each != base]
        days = set.intersection(*(set(leg) for leg in legs))
        found.append({day: _rate_on(told, base, currency, into, day) for day in days})
    return found


def _rate_on(told: _Told, base: str, currency: str, into: str, day: date) -> Rate:
    below, publisher = told[base, currency][day] if currency != base else (Decimal(1), "")
    above, other = told[base, into][day] if into != base else (Decimal(1), "")
    value = _WIDE.divide(above, below).quantize(SPLIT_QUANTUM, rounding=ROUND_HALF_EVEN, context=_WIDE)
    return Rate(value, day, publisher or other)


def _near(crossed: Sequence[Mapping[date, Rate]], day: date) -> Rate | None:
    """The rate of the day or of the latest day at most a week before it, of the first base that has one."""
    for known in crossed:
        for gap in range(LONGEST_GAP_DAYS + 1):
            if day - timedelta(days=gap) in known:
                return known[day - timedelta(days=gap)]
    return None


def _days_with(currency: str, into: str) -> set[date]:
    """The days on which a currency can be converted without looking back."""
    rows = _fetch(
        """SELECT DISTINCT a.day FROM attribution_exchangerate a WHERE a.known_to IS NULL AND (
               (a.base = %(into)s AND a.currency = %(currency)s) OR (a.base = %(currency)s AND a.currency = %(into)s)
               OR (a.currency = %(currency)s AND EXISTS (SELECT FROM attribution_exchangerate b WHERE b.known_to IS NULL
                   AND b.base = a.base AND b.day = a.day AND b.currency = %(into)s)))""",
        {"currency": currency, "into": into},
    )
    return {row[0] for row in rows}


_INCOMING = """
CREATE TEMPORARY TABLE incoming_rate ON COMMIT DROP AS
SELECT * FROM unnest(%(bases)s::text[], %(currencies)s::text[], %(days)s::date[], %(rates)s::numeric[])
    AS x (base, currency, day, rate)
"""
_SAME = "(e.base, e.currency, e.day) = (i.base, i.currency, i.day) AND e.known_to IS NULL"
_CLOSE = f"""
UPDATE attribution_exchangerate e SET known_to = greatest(%(now)s, e.known_from) FROM incoming_rate i
WHERE {_SAME} AND e.rate <> i.rate
"""
_OPEN = f"""
INSERT INTO attribution_exchangerate (base, currency, day, rate, publisher, known_from, set_by)
SELECT i.base, i.currency, i.day, i.rate, %(publisher)s, %(now)s, %(by)s FROM incoming_rate i
WHERE NOT EXISTS (SELECT FROM attribution_exchangerate e WHERE {_SAME})
"""


def _store(found: RateFile, publisher: str, by: str, now: datetime) -> tuple[int, int]:
    """How many rates were new, and how many took another's place."""
    rows = found.rows
    values: Mapping[str, Any] = {
        "bases": [row.base for row in rows],
        "currencies": [row.currency for row in rows],
        "days": [row.day for row in rows],
        "rates": [row.rate for row in rows],
        "publisher": publisher,
        "by": by,
        "now": now,
    }
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('costobs rates'))")
        cursor.execute("DROP TABLE IF EXISTS incoming_rate")
        cursor.execute(_INCOMING, values)
        cursor.execute(_CLOSE, values)
        corrected = cursor.rowcount
        cursor.execute(_OPEN, values)
        return cursor.rowcount - corrected, corrected


def _fetch(sql: str, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows
