"""What the GPUs of a day did, as exact shares of their time: busy for whom, idle with what loaded, or not known.

Time is counted in sevenths of a millisecond, so that MIG slices (n/7 of a GPU) are whole numbers.
"""

from datetime import date, datetime, timedelta

from django.db import connection

from costobs.kernel.period import Days

_HOUR = 7 * 3_600_000

# Two collectors of one GPU count once (the older source). Under MIG the board's own series is not a slice and is left out;
# slices nobody made are idle as long as the others are watched. What no sample covers is unknown, which is not idle.
_TIME = f"""
WITH seen AS (
    SELECT g.*, CASE WHEN mig_instance = '' THEN 7 WHEN mig_profile ~ '^[1-7]g' THEN left(mig_profile, 1)::int ELSE 1 END AS w,
        min(source_id) OVER gpu AS first_source, bool_or(mig_instance <> '') OVER gpu AS is_sliced
    FROM ingest_gpuhour g WHERE hour >= %(start)s AND hour < %(end)s
    WINDOW gpu AS (PARTITION BY gpu_uuid, hour)
), watched AS (
    SELECT node, gpu_uuid AS gpu, hour, mig_instance, deployment, w, least(busy_ms, covered_ms) AS busy_ms, covered_ms
    FROM seen WHERE source_id = first_source AND (mig_instance <> '' OR NOT is_sliced)
), states AS (
    SELECT node, gpu, hour, deployment, 'busy' AS state, sum(busy_ms * w) AS amount FROM watched GROUP BY 1, 2, 3, 4
    UNION ALL
    SELECT node, gpu, hour, deployment, 'idle', sum((covered_ms - busy_ms) * w) FROM watched GROUP BY 1, 2, 3, 4
    UNION ALL
    SELECT node, gpu, hour, '', 'idle', greatest(7 - sum(w), 0) * max(covered_ms)
    FROM (SELECT node, gpu, hour, mig_instance, max(w) AS w, sum(covered_ms) AS covered_ms FROM watched
          WHERE mig_instance <> '' GROUP BY 1, 2, 3, 4) slices
    GROUP BY 1, 2, 3
), hours AS (
    SELECT g.node, g.gpu, h.hour FROM (SELECT DISTINCT node, gpu FROM watched) g
    CROSS JOIN generate_series(%(start)s::timestamptz, %(end)s::timestamptz - interval '1 hour', interval '1 hour') AS h (hour)
)
INSERT INTO book_gpu_time
SELECT node, gpu, hour, deployment, state, sum(amount), 0 FROM states WHERE amount > 0 GROUP BY 1, 2, 3, 4, 5
UNION ALL
SELECT h.node, h.gpu, h.hour, '', 'unknown', {_HOUR} - coalesce(sum(s.amount), 0), 0
FROM hours h LEFT JOIN states s USING (node, gpu, hour)
GROUP BY 1, 2, 3 HAVING coalesce(sum(s.amount), 0) < {_HOUR}
"""

# A fine-tune run has its GPUs from start to end. Two runs at once on one GPU share it.
_RUNS = f"""
WITH meeting AS (
    SELECT r.id AS run_id, g.node, g.gpu, g.hour, 7 * floor(extract(epoch FROM
            least(coalesce(r.ended_at, %(now)s), g.hour + interval '1 hour') - greatest(r.started_at, g.hour)) * 1000) AS amount
    FROM ingest_finetunerun r
    JOIN (SELECT DISTINCT node, gpu, hour FROM book_gpu_time) g ON g.node = r.node
        AND (r.gpu_uuids = '' OR g.gpu = ANY(string_to_array(replace(r.gpu_uuids, ' ', ''), ',')))
        AND r.started_at < g.hour + interval '1 hour' AND coalesce(r.ended_at, %(now)s) > g.hour
    WHERE r.started_at < %(end)s AND coalesce(r.ended_at, %(now)s) > %(start)s AND r.node <> ''
)
INSERT INTO book_run_time
SELECT run_id, node, gpu, hour, amount * least(1, {_HOUR} / sum(amount) OVER (PARTITION BY node, gpu, hour))
FROM meeting WHERE amount > 0
"""

# The time of a run is taken from what it most likely was in telemetry: a deployment that served nothing, work that names no
# deployment, unwatched time, and only then idle time and time of deployments that did serve.
_TAKE = """
WITH served AS (
    SELECT DISTINCT deployment, hour FROM book_usage WHERE hour IS NOT NULL
), ordered AS (
    SELECT t.ctid AS place, t.amount, r.amount AS wanted, sum(t.amount) OVER (PARTITION BY t.node, t.gpu, t.hour ORDER BY
        CASE WHEN t.deployment <> '' AND s.hour IS NULL THEN 1 WHEN t.state = 'busy' AND t.deployment = '' THEN 2
            WHEN t.state = 'unknown' THEN 3 WHEN t.deployment = '' THEN 4 ELSE 5 END,
        t.state, t.deployment ROWS UNBOUNDED PRECEDING) - t.amount AS before
    FROM book_gpu_time t
    JOIN (SELECT node, gpu, hour, sum(amount) AS amount FROM book_run_time GROUP BY 1, 2, 3) r USING (node, gpu, hour)
    LEFT JOIN served s ON s.deployment = t.deployment AND s.hour = t.hour
)
UPDATE book_gpu_time t SET taken = greatest(0, least(o.amount, o.wanted - o.before)) FROM ordered o WHERE t.ctid = o.place
"""


def fill(*, day: date, now: datetime) -> int:
    """Lays out the GPU time of the day in `book_gpu_time` and `book_run_time`; returns the number of GPU-hours."""
    days = Days(day, day + timedelta(days=1))
    values = {"start": days.start_at, "end": days.end_at, "now": now}
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM book_gpu_time; DELETE FROM book_run_time")
        cursor.execute(_TIME, values)
        if not cursor.rowcount:
            return 0
        cursor.execute(_RUNS, values)
        cursor.execute(_TAKE)
        cursor.execute("ANALYZE book_gpu_time; ANALYZE book_run_time")
        cursor.execute("SELECT count(DISTINCT (gpu, hour)) FROM book_gpu_time")
        return int(cursor.fetchone()[0])
