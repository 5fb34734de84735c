"""Calls that count, as they were logged: their usage by hour, and the part of it that is in the log twice."""

from datetime import date, datetime
from typing import Any

from django.db import connection

from attribution.causes.facts import TOKEN_KINDS
from attribution.dimensions import SELF_HOSTED, provider_name_sql
from costobs.kernel.period import Days

# Provider, its OpenTelemetry name, account, project, model, price, hour, calls, those of unknown usage, tokens by kind.
Row = tuple[Any, ...]
_HOUR = 6

# Only usage that counts, as the books of the day decided it.
_COUNTED = """
JOIN ingest_usageday d ON d.day = (u.hour AT TIME ZONE 'UTC')::date AND d.source_id = u.source_id
    AND d.attribute_set_id = u.attribute_set_id AND d.offering_id = u.offering_id AND d.price_id = u.price_id AND d.is_current
"""
_WHOSE = f"""{provider_name_sql("f.provider")}, f.provider, coalesce(a.attributes->>'account', ''),
    coalesce(a.attributes->>'project', ''), f.model, u.price_id, u.hour"""
_BY_HOUR = f"""
SELECT {_WHOSE}, sum(u.requests)::bigint, sum(u.unknown_usage)::bigint,
    {", ".join(f"sum(u.{kind})::bigint" for kind in TOKEN_KINDS)}
FROM ingest_usagehour u {_COUNTED}
JOIN ingest_offering f ON f.id = u.offering_id AND f.provider <> '{SELF_HOSTED}'
JOIN ingest_attributeset a ON a.id = u.attribute_set_id
WHERE u.hour >= %(start)s AND u.hour < %(end)s GROUP BY 1, 2, 3, 4, 5, 6, 7
"""
# Calls that the log holds twice: one event told by two sources, or the same content under two ids of one source.
_INPUT = "e.input_uncached + e.cache_read + e.cache_write_5m + e.cache_write_1h"
_TWICE = f"""
WITH seen AS (
    SELECT e.*, row_number() OVER (PARTITION BY e.event_id, {_INPUT}, e.output ORDER BY e.source_id, e.occurred_at) AS by_id,
        row_number() OVER (PARTITION BY e.source_id, e.attribute_set_id, e.offering_id, e.occurred_at, {_INPUT}, e.cache_read,
            e.output, e.latency_ms, e.trace_id, e.session_id ORDER BY e.event_id) AS by_content
    FROM ingest_usageevent e
    JOIN ingest_usageday d ON d.day = %(day)s AND d.source_id = e.source_id AND d.attribute_set_id = e.attribute_set_id
        AND d.offering_id = e.offering_id AND d.price_id = e.price_id AND d.is_current
    WHERE e.occurred_at >= %(start)s AND e.occurred_at < %(end)s AND {_INPUT} + e.output > 0
), u AS (
    SELECT s.*, date_bin('1 hour', s.occurred_at, 'epoch') AS hour FROM seen s WHERE s.by_id > 1 OR s.by_content > 1
)
SELECT {_WHOSE}, count(*), 0, {", ".join(f"sum(u.{kind})::bigint" for kind in TOKEN_KINDS)}
FROM u JOIN ingest_offering f ON f.id = u.offering_id AND f.provider <> '{SELF_HOSTED}'
JOIN ingest_attributeset a ON a.id = u.attribute_set_id GROUP BY 1, 2, 3, 4, 5, 6, 7
"""


def by_hour(*, start: datetime, end: datetime) -> list[Row]:
    """The usage of whole hours."""
    return _fetch(_BY_HOUR, {"start": start, "end": end})


def twice(*, day: date) -> list[Row]:
    """The usage of a day that the log has told before, by hour. It reads every event of the day."""
    days = Days(day, date.fromordinal(day.toordinal() + 1))
    return _fetch(_TWICE, {"day": day, "start": days.start_at, "end": days.end_at})


def to_json(rows: list[Row]) -> list[list[Any]]:
    """Rows as they are kept for the next time."""
    return [[value.isoformat() if at == _HOUR else value for at, value in enumerate(row)] for row in rows]


def from_json(kept: list[list[Any]]) -> list[Row]:
    """Rows as they were kept."""
    return [(*row[:_HOUR], datetime.fromisoformat(row[_HOUR]), *row[_HOUR + 1 :]) for row in kept]


def _fetch(sql: str, parameters: dict[str, Any]) -> list[Row]:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        rows: list[Row] = cursor.fetchall()
    return rows
