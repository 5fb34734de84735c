"""All GPU time of a day by whose it was, and what is kept of it.

Busy time is shared by windows where there are samples and every source that counts usage there has its events; else by what
was stored when there were; else by the hour. The rest is idle, unknown, or a fine-tune run's.
"""

from collections.abc import Sequence
from datetime import date
from typing import Any

from django.db import connection

_TABLES = """
CREATE TEMPORARY TABLE IF NOT EXISTS book_told (
    node text, hour timestamptz, deployment text, amount numeric, busy numeric, method text, seconds integer
) ON COMMIT DELETE ROWS;
CREATE TEMPORARY TABLE IF NOT EXISTS book_gpu_share (
    node text, hour timestamptz, pool text, deployment text, attribute_set_id bigint, model text, token_kind text,
    share_kind text, run_id bigint, amount numeric, energy_weight numeric, millijoules bigint, method text, seconds integer,
    is_estimated boolean
) ON COMMIT DELETE ROWS;
DELETE FROM book_told; DELETE FROM book_gpu_share;
"""

# How the busy time of each deployment and hour is shared. Of a closed day what is stored stands.
_TOLD = """
WITH spent AS (
    SELECT node, hour, deployment, sum(amount - taken) AS amount FROM book_gpu_time
    WHERE state = 'busy' GROUP BY 1, 2, 3 HAVING sum(amount - taken) > 0
), sampled AS (
    SELECT node, hour, deployment, sum(busy) AS busy, max(p.span) / 1000 AS seconds
    FROM book_window JOIN book_engine p USING (pool) GROUP BY 1, 2, 3 HAVING sum(busy) > 0
), kept AS (
    SELECT s.node, s.hour, coalesce(w.deployment, s.deployment) AS deployment, sum(s.amount) AS busy, max(window_seconds) AS seconds
    FROM attribution_gpushare s LEFT JOIN book_weight w ON w.member = s.deployment
    WHERE s.day = %(day)s AND s.method = 'windows' AND s.run_id = 0 AND s.share_kind IN ('direct', 'overhead')
    GROUP BY 1, 2, 3 HAVING sum(s.amount) > 0
), untold AS (
    SELECT DISTINCT w.deployment, u.hour FROM book_usage u JOIN book_weight w ON w.member = u.deployment
    WHERE u.counts AND u.tokens > 0 AND NOT EXISTS (
        SELECT FROM (SELECT DISTINCT source_id, member FROM book_event) e
        WHERE e.source_id = u.source_id AND e.member = u.deployment)
)
INSERT INTO book_told
SELECT s.node, s.hour, s.deployment, s.amount,
    CASE m.method WHEN 'windows' THEN w.busy WHEN 'stored' THEN k.busy END, m.method,
    CASE m.method WHEN 'windows' THEN w.seconds WHEN 'stored' THEN k.seconds ELSE 3600 END
FROM spent s LEFT JOIN sampled w USING (node, hour, deployment) LEFT JOIN kept k USING (node, hour, deployment)
LEFT JOIN untold u USING (deployment, hour)
CROSS JOIN LATERAL (SELECT CASE WHEN %(closed)s AND k.busy IS NOT NULL THEN 'stored'
    WHEN w.busy IS NOT NULL AND u.hour IS NULL THEN 'windows'
    WHEN w.busy IS NULL AND k.busy IS NOT NULL THEN 'stored' ELSE 'hours' END AS method) m
"""
# What the cuts of shares leave of a window goes to its requests in proportion.
_BY_WINDOW = """
WITH parts AS (
    SELECT w.node, w.hour, w.pool, s.who, s.kind, sum(w.busy * coalesce(s.share, 1000000000)) AS busy,
        sum(w.active * (coalesce(s.share, 1000000000) / 1000)) AS active
    FROM book_window w LEFT JOIN book_slice s ON s.pool = w.pool AND s.place = w.place GROUP BY 1, 2, 3, 4, 5
), named AS (
    SELECT a.node, a.hour, p.deployment, o.member, o.attribute_set_id, o.model, a.kind, o.is_estimated, sum(a.busy) AS busy,
        sum(a.active) AS active
    FROM parts a JOIN book_engine p USING (pool) LEFT JOIN book_who o USING (who) GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
)
INSERT INTO book_gpu_share
SELECT n.node, n.hour, n.deployment, coalesce(n.member, n.deployment), coalesce(n.attribute_set_id, 0), coalesce(n.model, ''),
    coalesce((%(kinds)s::text[])[n.kind + 1], ''), CASE WHEN n.member IS NULL THEN 'overhead' ELSE 'direct' END, 0,
    t.amount * n.busy / sum(n.busy) OVER (PARTITION BY n.node, n.hour, n.deployment), coalesce(n.active, 0), NULL, 'windows',
    t.seconds, coalesce(n.is_estimated, FALSE)
FROM named n JOIN book_told t USING (node, hour, deployment) WHERE t.method = 'windows' AND n.busy + coalesce(n.active, 0) > 0
"""
_BY_STORE = """
INSERT INTO book_gpu_share
SELECT s.node, s.hour, t.deployment, s.deployment, s.attribute_set_id, s.model, s.token_kind, s.share_kind, 0,
    s.amount * t.amount / t.busy, NULL, NULL, 'windows', s.window_seconds, s.is_estimated
FROM attribution_gpushare s LEFT JOIN book_weight w ON w.member = s.deployment
JOIN book_told t ON t.method = 'stored' AND (t.node, t.hour, t.deployment)
    = (s.node, s.hour, coalesce(w.deployment, s.deployment))
WHERE s.day = %(day)s AND s.method = 'windows' AND s.run_id = 0 AND s.share_kind IN ('direct', 'overhead')
"""
_BY_HOUR = """
WITH weighed AS (
    SELECT u.hour, w.deployment, w.member, u.attribute_set_id, u.model, u.token_kind, bool_or(w.is_estimated) AS is_estimated,
        sum(u.tokens * (CASE WHEN u.token_kind = 'cache_read' THEN w.cached
            WHEN u.token_kind IN ('output', 'audio_output') THEN w.mean_output ELSE w.input END)::numeric) AS weight
    FROM book_usage u JOIN book_weight w ON w.member = u.deployment
    WHERE u.counts AND u.hour IS NOT NULL AND u.tokens > 0 GROUP BY 1, 2, 3, 4, 5, 6
), levelled AS (
    SELECT w.*, CASE WHEN p.is_even THEN weight / sum(weight) OVER (PARTITION BY w.deployment, w.hour, w.member)
        ELSE weight END AS level
    FROM weighed w LEFT JOIN (SELECT deployment, count(*) > 1 AND NOT bool_and(is_in_ms) AS is_even
        FROM book_weight GROUP BY 1) p USING (deployment) WHERE weight > 0
), shares AS (
    SELECT *, sum(level) OVER (PARTITION BY deployment, hour) AS whole FROM levelled
)
INSERT INTO book_gpu_share
SELECT t.node, t.hour, t.deployment, coalesce(s.member, t.deployment), coalesce(s.attribute_set_id, 0), coalesce(s.model, ''),
    coalesce(s.token_kind, ''), CASE WHEN s.hour IS NULL THEN 'overhead' ELSE 'direct' END, 0,
    t.amount * coalesce(s.level / s.whole, 1), NULL, NULL, 'hours', 3600, coalesce(s.is_estimated, FALSE)
FROM book_told t LEFT JOIN shares s ON s.deployment = t.deployment AND s.hour = t.hour WHERE t.method = 'hours'
"""
# Idle and unknown time, and the time of fine-tune runs. Deployments that take turns are idle in equal parts.
_REST = """
WITH members AS (
    SELECT deployment, member, count(*) OVER (PARTITION BY deployment) AS n FROM book_weight
), spent AS (
    SELECT node, hour, deployment, state, sum(amount - taken) AS amount FROM book_gpu_time GROUP BY 1, 2, 3, 4
), rested AS (
    SELECT w.node, w.hour, p.deployment, sum(w.idle) * 1000000 AS idle
    FROM book_window w JOIN book_engine p USING (pool) GROUP BY 1, 2, 3
), taken AS (
    SELECT node, hour, deployment, sum(taken) AS amount FROM book_gpu_time GROUP BY 1, 2, 3 HAVING sum(taken) > 0
), ran AS (
    SELECT t.node, t.hour, t.run_id, sum(t.amount) AS amount FROM book_run_time t GROUP BY 1, 2, 3
)
INSERT INTO book_gpu_share
SELECT s.node, s.hour, s.deployment, coalesce(m.member, s.deployment), 0, '', '',
    CASE WHEN s.state = 'unknown' THEN 'unallocated' WHEN s.deployment = '' THEN 'idle_infrastructure' ELSE 'idle_workload' END,
    0, s.amount / coalesce(m.n, 1), coalesce(r.idle, 0) / coalesce(m.n, 1), NULL::bigint, 'hours', 3600, FALSE
FROM spent s LEFT JOIN members m USING (deployment) LEFT JOIN rested r USING (node, hour, deployment)
WHERE s.amount > 0 AND s.state <> 'busy'
UNION ALL
SELECT t.node, t.hour, t.deployment, t.deployment, f.attribute_set_id, f.base_model, '', 'direct', r.run_id,
    t.amount * r.amount / sum(r.amount) OVER (PARTITION BY t.node, t.hour, t.deployment), NULL::numeric, NULL::bigint, 'hours',
    3600, FALSE
FROM taken t JOIN ran r USING (node, hour) JOIN ingest_finetunerun f ON f.id = r.run_id
"""


def fill(*, day: date, kinds: Sequence[str], is_closed: bool) -> None:
    """Lays out `book_gpu_share`, whose amounts add to those of `book_gpu_time`.

    `kinds` names the kinds of tokens of `book_slice`. Part of the caller's transaction, after `gpu_time.fill` and
    `gpu_windows.fill`.
    """
    values: dict[str, Any] = {"day": day, "closed": is_closed, "kinds": list(kinds)}  # parameters of SQL
    with connection.cursor() as cursor:
        cursor.execute(_TABLES)
        for statement in (_TOLD, _BY_WINDOW, _BY_STORE, _BY_HOUR, _REST):
            cursor.execute(statement, values)
        cursor.execute("ANALYZE book_gpu_share")
