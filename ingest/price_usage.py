"""What prices mean for stored usage: pointing events at other price rows, folding hours again, listing the unpriced."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from django.db import connection

from costobs.kernel.period import Days
from ingest.models import Source
from ingest.rows import DISJOINT_TOKEN_KINDS, TOKEN_KINDS
from ingest.sources import KINDS

# The tokens that decide which context step holds: the whole prompt, whatever it costs.
PROMPT_KINDS = ("input_uncached", "cache_read", "cache_write_5m", "cache_write_1h", "audio_input", "image_input")

# Exact: integers times numeric. `h` is a row of usage with `requests`, `p` its price.
COST = " + ".join(["h.requests * p.request_price", *(f"h.{kind} * p.{kind}_price" for kind in DISJOINT_TOKEN_KINDS)])


@dataclass(frozen=True, slots=True)
class Span:
    """Which price row an offering's usage has in a half-open time, for prompts of [context_from, context_to) tokens."""

    offering_id: int
    valid_from: datetime
    valid_to: datetime | None
    context_from: int
    context_to: int | None
    price_id: int


@dataclass(frozen=True, slots=True)
class Repriced:
    """What a re-pricing moved."""

    events: int
    hours: int
    days: tuple[date, ...]


@dataclass(frozen=True, slots=True)
class Unpriced:
    """Usage of a model nobody gave a price for; `tokens` counts every kind, the cost is in `currency`."""

    provider: str
    model: str
    requests: int
    tokens: int
    cost_at_conservative_price: Decimal
    currency: str
    provenance: str
    first_seen: datetime
    last_seen: datetime


_TOKENS = " + ".join(f"h.{kind}" for kind in DISJOINT_TOKEN_KINDS)
_SUMS = ("requests", "errors", "refused", "unknown_usage", "latency_ms", *TOKEN_KINDS)

_SPANS = """
SELECT * FROM unnest(%(offerings)s::bigint[], %(starts)s::timestamptz[], %(ends)s::timestamptz[], %(low)s::bigint[],
    %(high)s::bigint[], %(prices)s::bigint[]) AS span (offering_id, starts, ends, low, high, price_id)
"""

# A load that closes while a price moves must not carry closed months along: what an older price kept stays.
_OPEN = """
(NOT %(keeps)s OR NOT EXISTS (
    SELECT FROM ingest_unitprice kept WHERE kept.id = {row}.price_id AND kept.kept_until > ({at} AT TIME ZONE 'UTC')::date))
"""
_FITS = f"""
e.offering_id = span.offering_id AND e.price_id <> span.price_id
    AND e.occurred_at >= span.starts AND (span.ends IS NULL OR e.occurred_at < span.ends)
    AND {" + ".join(f"e.{kind}::bigint" for kind in PROMPT_KINDS)} >= span.low
    AND (span.high IS NULL OR {" + ".join(f"e.{kind}::bigint" for kind in PROMPT_KINDS)} < span.high)
"""

_REPOINT = f"""
WITH span AS ({_SPANS}), moved AS (
    UPDATE ingest_usageevent e SET price_id = span.price_id FROM span WHERE e.occurred_at >= %(since)s AND {_FITS}
        AND {_OPEN.format(row="e", at="e.occurred_at")}
    RETURNING e.source_id, e.attribute_set_id, e.offering_id, date_bin('1 hour', e.occurred_at, 'epoch') AS hour
)
INSERT INTO repriced_hour
SELECT hour, source_id, attribute_set_id, offering_id, count(*) FROM moved GROUP BY 1, 2, 3, 4
"""  # only names of our own columns

# The hours of the moved events are made again from all their events, whichever price those have.
_CLEAR = """
DELETE FROM ingest_usagehour h USING repriced_hour r
WHERE (h.hour, h.source_id, h.attribute_set_id, h.offering_id)
    = (r.hour, r.source_id, r.attribute_set_id, r.offering_id)
"""
_FOLD = f"""
INSERT INTO ingest_usagehour (hour, source_id, attribute_set_id, offering_id, price_id, {", ".join(_SUMS)})
SELECT r.hour, r.source_id, r.attribute_set_id, r.offering_id, e.price_id,
    count(*), count(*) FILTER (WHERE e.outcome = 'error'), count(*) FILTER (WHERE e.outcome = 'refused'),
    count(*) FILTER (WHERE NOT e.usage_known), coalesce(sum(e.latency_ms), 0),
    {", ".join(f"sum(e.{kind})" for kind in TOKEN_KINDS)}
FROM repriced_hour r
JOIN ingest_usageevent e ON e.source_id = r.source_id AND e.attribute_set_id = r.attribute_set_id
    AND e.offering_id = r.offering_id AND e.occurred_at >= r.hour AND e.occurred_at < r.hour + interval '1 hour'
WHERE e.occurred_at >= %(first)s AND e.occurred_at < %(last)s::timestamptz + interval '1 hour'
GROUP BY 1, 2, 3, 4, 5
ORDER BY 1, 2, 3, 4, 5
ON CONFLICT (hour, source_id, attribute_set_id, offering_id, price_id) DO UPDATE SET
    {", ".join(f"{name} = excluded.{name}" for name in _SUMS)}
"""  # only names of our own columns
# Buckets were folded when they came and have no events: their hours move themselves. The step of the price they had says
# which step of the new one holds.
_REPOINT_BUCKETS = f"""
CREATE TEMPORARY TABLE repriced_bucket ON COMMIT DROP AS
WITH span AS ({_SPANS}), moved AS (
    DELETE FROM ingest_usagehour h USING span, ingest_unitprice p
    WHERE p.id = h.price_id AND h.source_id = ANY(%(buckets)s) AND h.hour >= %(since)s
        AND h.offering_id = span.offering_id AND h.price_id <> span.price_id
        AND h.hour >= span.starts AND (span.ends IS NULL OR h.hour < span.ends)
        AND p.context_from >= span.low AND (span.high IS NULL OR p.context_from < span.high)
        AND {_OPEN.format(row="h", at="h.hour")}
    RETURNING h.*, span.price_id AS new_price_id
) SELECT * FROM moved
"""  # only names of our own columns
_FOLD_BUCKETS = f"""
INSERT INTO ingest_usagehour AS old (hour, source_id, attribute_set_id, offering_id, price_id, {", ".join(_SUMS)})
SELECT hour, source_id, attribute_set_id, offering_id, new_price_id, {", ".join(f"sum({name})" for name in _SUMS)}
FROM repriced_bucket GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5
ON CONFLICT (hour, source_id, attribute_set_id, offering_id, price_id) DO UPDATE SET
    {", ".join(f"{name} = old.{name} + excluded.{name}" for name in _SUMS)}
"""  # only names of our own columns
_TOUCH = """
INSERT INTO ingest_touched AS old (source_id, day)
SELECT DISTINCT source_id, (hour AT TIME ZONE 'UTC')::date FROM repriced_hour ORDER BY 1, 2
ON CONFLICT (source_id, day) DO UPDATE SET version = old.version + 1
"""


def repoint(*, spans: Sequence[Span], since: datetime, keeps: bool = False) -> Repriced:
    """Points the events of the spans at their prices from `since` on, folds their hours again and marks their days as
    changed. Part of the caller's transaction; repeated, it moves nothing. No token is gained or lost.

    With `keeps`, usage that an older price kept because its month was closed stays with it.
    """
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS repriced_hour")
        cursor.execute(
            """CREATE TEMPORARY TABLE repriced_hour (hour timestamptz, source_id bigint, attribute_set_id bigint,
                   offering_id bigint, events bigint) ON COMMIT DROP"""
        )
        cursor.execute(_REPOINT, {**_parameters(spans), "since": since, "keeps": keeps})
        cursor.execute(
            """SELECT coalesce(sum(events), 0), count(*), min(hour), max(hour),
                   array_agg(DISTINCT (hour AT TIME ZONE 'UTC')::date) FROM repriced_hour"""
        )
        events, hours, first, last, days = cursor.fetchone()
        if events:
            cursor.execute("ANALYZE repriced_hour")
            cursor.execute(_CLEAR)
            cursor.execute(_FOLD, {"first": first, "last": last})
            cursor.execute(_TOUCH)
        cursor.execute("DROP TABLE repriced_hour")
    buckets = _repoint_buckets(spans=spans, since=since, keeps=keeps)
    return Repriced(int(events) + buckets.events, hours + buckets.hours, tuple(sorted({*(days or ()), *buckets.days})))


def _repoint_buckets(*, spans: Sequence[Span], since: datetime, keeps: bool) -> Repriced:
    kinds = [kind.kind for kind in KINDS if kind.produces == "usage_buckets"]
    sources = list(Source.objects.filter(kind__in=kinds).values_list("pk", flat=True))
    if not sources:
        return Repriced(0, 0, ())
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS repriced_bucket")
        values: dict[str, Any] = {**_parameters(spans), "since": since, "keeps": keeps, "buckets": sources}
        cursor.execute(_REPOINT_BUCKETS, values)
        cursor.execute(_FOLD_BUCKETS)
        cursor.execute(_TOUCH.replace("repriced_hour", "repriced_bucket"))
        cursor.execute(
            """SELECT coalesce(sum(requests), 0), count(*), array_agg(DISTINCT (hour AT TIME ZONE 'UTC')::date)
               FROM repriced_bucket"""
        )
        events, hours, days = cursor.fetchone()
        cursor.execute("DROP TABLE repriced_bucket")
    return Repriced(int(events), hours, tuple(sorted(days or ())))


def days_of(*, offerings: Sequence[int], since: datetime) -> list[tuple[int, date]]:
    """The offerings and days that have usage from `since` on."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT DISTINCT offering_id, (occurred_at AT TIME ZONE 'UTC')::date FROM ingest_usageevent
               WHERE offering_id = ANY(%s) AND occurred_at >= %s
               UNION SELECT DISTINCT offering_id, (hour AT TIME ZONE 'UTC')::date FROM ingest_usagehour
               WHERE offering_id = ANY(%s) AND hour >= %s""",
            [list(offerings), since, list(offerings), since],
        )
        return [(offering, day) for offering, day in cursor.fetchall()]


def unpriced(*, days: Days) -> list[Unpriced]:
    """Quarantined usage of the days, dearest first. `first_seen` and `last_seen` are the starts of hours."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""SELECT o.provider, o.model, sum(h.requests), sum({_TOKENS}),
                    sum({COST}) AS cost, p.currency, max(p.provenance), min(h.hour), max(h.hour)
                FROM ingest_usagehour h
                JOIN ingest_unitprice p ON p.id = h.price_id AND p.is_conservative
                JOIN ingest_offering o ON o.id = h.offering_id
                WHERE h.hour >= %s AND h.hour < %s
                GROUP BY o.provider, o.model, p.currency
                ORDER BY cost DESC, o.provider, o.model""",
            [days.start_at, days.end_at],
        )
        return [
            Unpriced(provider, model, int(requests), int(tokens), *rest)
            for provider, model, requests, tokens, *rest in cursor.fetchall()
        ]


def _parameters(spans: Sequence[Span]) -> dict[str, Any]:
    return {
        "offerings": [span.offering_id for span in spans],
        "starts": [span.valid_from for span in spans],
        "ends": [span.valid_to for span in spans],
        "low": [span.context_from for span in spans],
        "high": [span.context_to for span in spans],
        "prices": [span.price_id for span in spans],
    }
