"""Usage by day: tokens, latency and agent runs, rebuilt from what was loaded, counting each call once."""

from datetime import date, timedelta

from django.db import connection

from attribution import periods
from attribution.staging import TOKEN_KINDS
from costobs.kernel.histogram import BUCKET_SQL
from costobs.kernel.period import Days

_SUMS = (
    "requests",
    "errors",
    "refused",
    "unknown_usage",
    "latency_ms",
    "input_uncached",
    "cache_read",
    "cache_write_5m",
    "cache_write_1h",
    "output",
    "reasoning",
    "audio_input",
    "audio_output",
    "image_input",
)
_TOKENS = " + ".join(f"e.{kind}" for kind in TOKEN_KINDS)
_COST = " + ".join(["p.request_price", *(f"e.{kind} * p.{kind}_price" for kind in TOKEN_KINDS)])

# What does not count, as the authority decided it for the staged usage. Usage without tokens or cost is not staged; it
# counts, for an error is a request too.
_SECOND = """
CREATE TEMPORARY TABLE IF NOT EXISTS book_second (
    source_id bigint, attribute_set_id bigint, provider text, deployment text, model text)
ON COMMIT DELETE ROWS;
DELETE FROM book_second;
INSERT INTO book_second SELECT DISTINCT source_id, attribute_set_id, provider, deployment, model FROM book_usage WHERE NOT counts;
"""
_IS_SECOND = """EXISTS (SELECT FROM book_second b WHERE b.source_id = {u}.source_id AND b.attribute_set_id = {u}.attribute_set_id
    AND b.provider = f.provider AND b.deployment = f.deployment AND b.model = f.model)"""

_DAY = f"""
DELETE FROM ingest_usageday WHERE day = %(day)s;
INSERT INTO ingest_usageday (day, source_id, attribute_set_id, offering_id, price_id, is_current, {", ".join(_SUMS)})
SELECT %(day)s, u.source_id, u.attribute_set_id, u.offering_id, u.price_id, NOT {_IS_SECOND.format(u="u")},
    {", ".join(f"sum(u.{name})" for name in _SUMS)}
FROM ingest_usagehour u JOIN ingest_offering f ON f.id = u.offering_id
WHERE u.hour >= %(start)s AND u.hour < %(end)s GROUP BY u.source_id, u.attribute_set_id, u.offering_id, u.price_id, f.id;
"""
# What stands stays: a live day is made again each second, and most of its buckets are as they were.
_LATENCY_KEY = "source_id, attribute_set_id, offering_id, measure, bucket"
_SAME_BUCKET = " AND ".join(f"b.{name} = l.{name}" for name in _LATENCY_KEY.split(", "))
_LATENCY = f"""
CREATE TEMPORARY TABLE IF NOT EXISTS book_latency (
    source_id bigint, attribute_set_id bigint, offering_id bigint, measure text, bucket smallint, count bigint
) ON COMMIT DELETE ROWS;
DELETE FROM book_latency;
INSERT INTO book_latency
SELECT source_id, attribute_set_id, offering_id, CASE grouping(latency) WHEN 0 THEN 'latency' ELSE 'ttft' END,
    CASE grouping(latency) WHEN 0 THEN latency ELSE ttft END, count(*)
FROM (SELECT e.source_id, e.attribute_set_id, e.offering_id,
          CASE WHEN e.latency_ms IS NOT NULL THEN {BUCKET_SQL.format(ms="e.latency_ms")} END AS latency,
          CASE WHEN e.ttft_ms IS NOT NULL THEN {BUCKET_SQL.format(ms="e.ttft_ms")} END AS ttft
      FROM ingest_usageevent e JOIN ingest_offering f ON f.id = e.offering_id
      WHERE e.occurred_at >= %(start)s AND e.occurred_at < %(end)s AND NOT {_IS_SECOND.format(u="e")}) m
GROUP BY GROUPING SETS ((source_id, attribute_set_id, offering_id, latency), (source_id, attribute_set_id, offering_id, ttft))
HAVING CASE grouping(latency) WHEN 0 THEN latency ELSE ttft END IS NOT NULL;
ANALYZE book_latency;
DELETE FROM ingest_latencyday l WHERE l.day = %(day)s
    AND NOT EXISTS (SELECT FROM book_latency b WHERE {_SAME_BUCKET} AND b.count = l.count);
INSERT INTO ingest_latencyday (day, {_LATENCY_KEY}, count)
SELECT %(day)s, b.* FROM book_latency b
WHERE NOT EXISTS (SELECT FROM ingest_latencyday l WHERE l.day = %(day)s AND {_SAME_BUCKET});
"""

# A run belongs to the day of its first call. It is rebuilt whole from the days around, so that the order of days does not
# matter; a run may cross midnight. One that began in a closed month stays there as it is.
_RUN_ID = "coalesce(nullif(e.trace_id, ''), nullif(e.session_id, ''))"
_RUNS = f"""
CREATE TEMPORARY TABLE IF NOT EXISTS book_run (source_id bigint, run_id text) ON COMMIT DELETE ROWS;
DELETE FROM book_run;
INSERT INTO book_run
SELECT DISTINCT e.source_id, {_RUN_ID} FROM ingest_usageevent e JOIN ingest_offering f ON f.id = e.offering_id
WHERE e.occurred_at >= %(start)s AND e.occurred_at < %(end)s AND {_RUN_ID} IS NOT NULL AND NOT {_IS_SECOND.format(u="e")}
    AND NOT EXISTS (SELECT FROM ingest_agentrun r WHERE r.source_id = e.source_id AND r.run_id = {_RUN_ID} AND r.day < %(open)s);
ANALYZE book_run;
DELETE FROM ingest_agentrun r WHERE r.day = %(day)s OR EXISTS (
    SELECT FROM book_run b WHERE b.source_id = r.source_id AND b.run_id = r.run_id);
INSERT INTO ingest_agentrun (source_id, run_id, day, attribute_set_id, offering_id, started_at, ended_at, requests, tokens,
    list_cost, currency)
SELECT b.source_id, b.run_id, (min(e.occurred_at) AT TIME ZONE 'UTC')::date,
    (array_agg(e.attribute_set_id ORDER BY e.occurred_at, e.event_id))[1],
    (array_agg(e.offering_id ORDER BY e.occurred_at, e.event_id))[1], min(e.occurred_at),
    max(e.occurred_at + coalesce(e.latency_ms, 0) * interval '1 millisecond'), count(*), sum({_TOKENS}), sum({_COST}),
    min(p.currency)
FROM book_run b JOIN ingest_usageevent e ON e.source_id = b.source_id AND {_RUN_ID} = b.run_id
JOIN ingest_unitprice p ON p.id = e.price_id
WHERE e.occurred_at >= %(before)s AND e.occurred_at < %(after)s AND {_RUN_ID} IS NOT NULL
GROUP BY 1, 2
"""


def run(*, day: date) -> None:
    """Rebuilds UsageDay, LatencyDay and AgentRun for an open day. Part of the caller's transaction; the same rows each time."""
    days = Days(day, day + timedelta(days=1))
    open_from = periods.closed_until() or date.min
    values = {
        "day": day,
        "start": days.start_at,
        "end": days.end_at,
        "open": open_from,
        "before": max(days.start_at - timedelta(days=1), Days(open_from, open_from).start_at),
        "after": days.end_at + timedelta(days=1),
    }
    with connection.cursor() as cursor:
        cursor.execute(_SECOND)
        for script in (_DAY, _LATENCY, _RUNS):
            for statement in script.split(";\n"):
                if statement.strip():
                    cursor.execute(statement, values)
