"""Whose work the busy time of GPUs was, in windows of seconds: the requests live in a window share what was busy in it.

Telemetry says how busy a deployment was in each window; events say which requests were live. A request's prompt belongs to the
time before its first token, its output to the time after. Windows are as long as the samples, and 10 s at least. Where samples
or events are gone or never were, what was stored before stands, else whole hours are shared.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from django.db import connection

from costobs.kernel.period import Days

# A request is never taken to have been live for longer; the events of this long before a day are read with it.
_LONGEST = timedelta(hours=1)
# Readings that stand for longer say too little about when; their hours are shared as hours.
_COARSEST = timedelta(minutes=10)
# A day of one deployment falls into no more pieces than this (a request in a window, a window on a node); windows grow instead.
_MOST_PIECES = 4_000_000
_MOST_WINDOWS = 400_000
# More tokens than a request can have; whatever was pushed, the sums below stay inside their numbers.
_MOST_TOKENS = 2_000_000
# What a request that nobody counted is taken to have put out for a millisecond, where its deployment counted no other.
_TOKENS_PER_MS = Decimal("0.05")

_KINDS = {
    "input_uncached": "input", "cache_read": "cached", "cache_write_5m": "input", "cache_write_1h": "input",
    "audio_input": "input", "image_input": "input", "output": "output", "audio_output": "output",
}  # fmt: skip
_TOKENS = " + ".join(f"e.{kind}" for kind in _KINDS)


def _moment(pool: str, at: str) -> str:
    """A millisecond of a pool as one number, so that those of all pools are sorted and found by one key."""
    return f"({pool}::bigint << 43) + {at}"


def _weighed(kind: str) -> str:
    weight = {"output": f"l.{kind} * w.output + l.steps * w.step", "audio_output": f"l.{kind} * w.mean_output"}
    return f"({list(_KINDS).index(kind)}, {weight.get(kind, f'l.{kind} * w.{_KINDS[kind]}')})"


# Rows by the million carry numbers for names: of a deployment of telemetry (`pool`), of whose work it is (`who`), of a kind.
_TABLES = f"""
CREATE TEMPORARY TABLE IF NOT EXISTS book_weight (
    member text, deployment text, pool integer, input float8, cached float8, output float8, step float8, mean_output float8,
    is_in_ms boolean, is_estimated boolean
) ON COMMIT DELETE ROWS;
CREATE TEMPORARY TABLE IF NOT EXISTS book_event (
    source_id bigint, offering_id bigint, attribute_set_id bigint, pool integer, member text, is_guessed boolean,
    starts bigint, first bigint, ends bigint, {", ".join(f"{kind} integer" for kind in _KINDS)}
) ON COMMIT DELETE ROWS;
CREATE TEMPORARY TABLE IF NOT EXISTS book_engine (
    pool integer, deployment text, span bigint, nodes integer, is_even boolean
) ON COMMIT DELETE ROWS;
CREATE TEMPORARY TABLE IF NOT EXISTS book_who (
    who integer, pool integer, span bigint, offering_id bigint, attribute_set_id bigint, is_guessed boolean, member text,
    model text, input float8, cached float8, output float8, step float8, mean_output float8, is_estimated boolean
) ON COMMIT DELETE ROWS;
CREATE TEMPORARY TABLE IF NOT EXISTS book_piece (
    pool integer, who integer, place bigint, before bigint, before_all bigint, later bigint, later_all bigint, since bigint,
    until bigint, {", ".join(f"{kind} integer" for kind in _KINDS)}
) ON COMMIT DELETE ROWS;
CREATE TEMPORARY TABLE IF NOT EXISTS book_crowd (moment bigint, spent bigint) ON COMMIT DELETE ROWS;
CREATE TEMPORARY TABLE IF NOT EXISTS book_sample (
    node text, hour timestamptz, deployment text, middle bigint, seconds integer, busy bigint, active bigint, idle bigint
) ON COMMIT DELETE ROWS;
CREATE TEMPORARY TABLE IF NOT EXISTS book_window (
    node text, hour timestamptz, pool integer, place bigint, busy bigint, active bigint, idle bigint
) ON COMMIT DELETE ROWS;
CREATE TEMPORARY TABLE IF NOT EXISTS book_slice (
    pool integer, place bigint, who integer, kind smallint, share bigint
) ON COMMIT DELETE ROWS;
DELETE FROM book_weight; DELETE FROM book_event; DELETE FROM book_engine; DELETE FROM book_who; DELETE FROM book_piece;
DELETE FROM book_crowd; DELETE FROM book_sample; DELETE FROM book_window; DELETE FROM book_slice;
"""

# Weights of every deployment that has usage or telemetry; "*" is what counts where nothing else does. `deployment` is the one
# that telemetry names: deployments that take turns on a GPU are members of it.
_WEIGHTS = """
WITH given AS (
    SELECT * FROM unnest(%(deployments)s::text[], %(input)s::float8[], %(cached)s::float8[], %(output)s::float8[],
        %(step)s::float8[], %(mean_output)s::float8[], %(in_ms)s::boolean[], %(estimated)s::boolean[])
        AS g (deployment, input, cached, output, step, mean_output, is_in_ms, is_estimated)
), turns AS (
    SELECT * FROM unnest(%(members)s::text[], %(pools)s::text[]) AS t (member, deployment)
), known AS (
    SELECT deployment FROM book_usage WHERE hour IS NOT NULL UNION SELECT deployment FROM book_gpu_time UNION
    SELECT member FROM turns
)
INSERT INTO book_weight
SELECT k.deployment, coalesce(t.deployment, k.deployment), dense_rank() OVER (ORDER BY coalesce(t.deployment, k.deployment)),
    g.input, g.cached, g.output, g.step, g.mean_output, g.is_in_ms, g.is_estimated
FROM known k LEFT JOIN turns t ON t.member = k.deployment
JOIN given g ON g.deployment = CASE WHEN EXISTS (SELECT FROM given o WHERE o.deployment = k.deployment)
    THEN k.deployment ELSE '*' END
WHERE k.deployment <> ''
"""

# One reading: the middle of the time it stands for in epoch milliseconds, busy time in sevenths of a millisecond, and the
# energy of that time, as what the idle GPU would have drawn and the rest. What an idle GPU draws is the least it drew all day
# while nothing ran; where something always ran, energy is as idle as time was. A reading without one before it has drawn what
# the card draws on average. The rules about sources, slices and resets of
# the counter are those of the hours.
_SAMPLES = """
WITH seen AS (
    SELECT s.*, date_bin('1 hour', sampled_at, 'epoch') AS hour, min(source_id) OVER gpu AS first_source,
        bool_or(mig_instance <> '') OVER gpu AS is_sliced, max(energy_millijoules) OVER board AS energy,
        CASE WHEN mig_instance = '' THEN 7 WHEN mig_profile ~ '^[1-7]g' THEN left(mig_profile, 1)::int ELSE 1 END AS w
    FROM ingest_gpusample s
    WHERE sampled_at >= %(start)s::timestamptz - interval '1 hour' AND sampled_at < %(end)s
    WINDOW gpu AS (PARTITION BY gpu_uuid, date_bin('1 hour', sampled_at, 'epoch')),
        board AS (PARTITION BY source_id, gpu_uuid, sampled_at)
), watched AS (
    SELECT *, max(energy) OVER before AS energy_before, max(sampled_at) OVER before AS read_before,
        sum(w) OVER (PARTITION BY gpu_uuid, sampled_at) AS whole
    FROM seen WHERE source_id = first_source AND (mig_instance <> '' OR NOT is_sliced)
    WINDOW before AS (PARTITION BY gpu_uuid, energy IS NULL ORDER BY sampled_at GROUPS BETWEEN 1 PRECEDING AND 1 PRECEDING)
), measured AS (
    SELECT *, round((least(greatest(activity, 0), 1) * interval_seconds * 1000)::numeric) AS busy_ms,
        CASE WHEN sampled_at - read_before <= interval '1 hour' AND energy >= energy_before
            AND energy - energy_before <= extract(epoch FROM sampled_at - read_before) * 5000000
            THEN (energy - energy_before)::numeric * w / whole END AS drawn
    FROM watched
), filled AS (
    SELECT node, hour, deployment, sampled_at, interval_seconds, activity, busy_ms, w, gpu_uuid, mig_instance,
        coalesce(drawn, interval_seconds * sum(drawn) OVER card
            / nullif(sum(interval_seconds) FILTER (WHERE drawn IS NOT NULL) OVER card, 0)) AS drawn
    FROM measured WINDOW card AS (PARTITION BY gpu_uuid, mig_instance)
), resting AS (
    SELECT gpu_uuid, mig_instance, min(drawn / interval_seconds) AS rest FROM measured
    WHERE busy_ms <= interval_seconds * 20 AND drawn IS NOT NULL AND interval_seconds > 0 GROUP BY 1, 2
)
INSERT INTO book_sample
SELECT node, hour, deployment, (extract(epoch FROM sampled_at) * 1000)::bigint - interval_seconds * 500, interval_seconds,
    busy_ms * w, round(drawn - idle), round(idle)
FROM filled LEFT JOIN resting USING (gpu_uuid, mig_instance)
CROSS JOIN LATERAL (SELECT least(drawn, CASE WHEN rest IS NULL THEN drawn * (interval_seconds * 1000 - busy_ms)
    / nullif(interval_seconds * 1000, 0) ELSE rest * (interval_seconds - busy_ms / 1000) END) AS idle) i
WHERE hour >= %(start)s AND activity IS NOT NULL AND deployment <> '' AND interval_seconds <= %(coarsest)s
"""

# The requests of the deployments that were sampled, from sources that count. A request that says no first token is spread over
# all of its time; one that says no time at all is where it began. What nobody counted is guessed from its time.
_EVENTS = f"""
INSERT INTO book_event
SELECT e.source_id, e.offering_id, e.attribute_set_id, w.pool, w.member, NOT e.usage_known AND {_TOKENS} = 0,
    t.starts, CASE WHEN e.ttft_ms > 0 AND e.ttft_ms < t.took THEN t.starts + e.ttft_ms END, t.starts + t.took,
    {", ".join(f"least(e.{kind}, {_MOST_TOKENS})" for kind in _KINDS)}
FROM ingest_usageevent e JOIN ingest_offering f ON f.id = e.offering_id
JOIN book_weight w ON w.member = f.deployment
CROSS JOIN LATERAL (SELECT (extract(epoch FROM e.occurred_at) * 1000)::bigint AS starts,
    least(greatest(coalesce(e.latency_ms, 1), 1), %(longest)s) AS took) t
WHERE f.provider = 'self_hosted' AND w.deployment IN (SELECT deployment FROM book_sample)
    AND e.occurred_at >= %(from)s AND e.occurred_at < %(end)s
    AND ({_TOKENS} > 0 OR (NOT e.usage_known AND e.latency_ms > 0 AND e.outcome <> 'refused'))
    AND NOT EXISTS (SELECT FROM book_usage u WHERE NOT u.counts AND u.source_id = e.source_id
        AND u.attribute_set_id = e.attribute_set_id AND u.deployment = f.deployment)
"""
_GUESS = """
UPDATE book_event e SET output = least(round((e.ends - e.starts) * coalesce(r.rate, %(rate)s)), %(tokens)s)
FROM (SELECT member, sum(output) FILTER (WHERE NOT is_guessed)
          / nullif(sum(ends - starts) FILTER (WHERE NOT is_guessed), 0)::numeric AS rate
      FROM book_event GROUP BY 1 HAVING bool_or(is_guessed)) r
WHERE e.is_guessed AND r.member = e.member
"""
_POOLS = """
WITH members AS (
    SELECT pool, deployment, count(*) > 1 AND NOT bool_and(is_in_ms) AS is_even FROM book_weight GROUP BY 1, 2
), samples AS (
    SELECT deployment, greatest(10, max(seconds)) AS seconds, count(DISTINCT node) AS nodes FROM book_sample GROUP BY 1
), events AS (
    SELECT m.deployment, sum((e.ends - e.starts) / (s.seconds * 1000) + 2) AS pieces
    FROM book_event e JOIN members m USING (pool) JOIN samples s ON s.deployment = m.deployment GROUP BY 1
)
INSERT INTO book_engine
SELECT m.pool, s.deployment, 1000 * s.seconds * ceil(greatest(1,
    coalesce(e.pieces, 0) / %(pieces)s, s.nodes * 86400.0 / s.seconds / %(windows)s))::bigint, s.nodes, m.is_even
FROM samples s JOIN members m USING (deployment) LEFT JOIN events e USING (deployment)
"""
_WINDOWS = """
INSERT INTO book_window
SELECT s.node, s.hour, p.pool, s.middle / p.span, sum(s.busy), sum(s.active), sum(s.idle)
FROM book_sample s JOIN book_engine p USING (deployment) GROUP BY 1, 2, 3, 4
"""
_WHO = """
INSERT INTO book_who
SELECT row_number() OVER (), p.pool, p.span, e.offering_id, e.attribute_set_id, e.is_guessed, e.member, f.model,
    w.input, w.cached, w.output, w.step, w.mean_output, w.is_estimated OR e.is_guessed
FROM (SELECT DISTINCT offering_id, attribute_set_id, is_guessed, member FROM book_event) e
JOIN ingest_offering f ON f.id = e.offering_id JOIN book_weight w USING (member) JOIN book_engine p ON p.deployment = w.deployment
"""
_PIECES = f"""
INSERT INTO book_piece
SELECT w.pool, w.who, g.place, greatest(0, least(coalesce(first, ends), (g.place + 1) * span) - greatest(starts, g.place * span)),
    coalesce(first, ends) - starts, greatest(0, until - since), ends - coalesce(first, starts), {_moment("w.pool", "since")},
    {_moment("w.pool", "greatest(since, until)")},
    {", ".join(f"e.{kind}" for kind in _KINDS)}
FROM book_event e JOIN book_who w USING (offering_id, attribute_set_id, is_guessed)
CROSS JOIN LATERAL generate_series(e.starts / span, (e.ends - 1) / span) AS g (place)
CROSS JOIN LATERAL (SELECT greatest(coalesce(first, starts), g.place * span) AS since,
    least(ends, (g.place + 1) * span) AS until) t
"""
_SEEN = f"""
SELECT {", ".join(f"bool_or({kind} > 0)" for kind in _KINDS)},
    (SELECT bool_or(is_even) FROM book_engine), (SELECT bool_or(step > 0) FROM book_who) FROM book_event
"""
# What one of those who generate at a time pays of it, added up from the first on, in millionths: between two moments, the
# difference is its part. Each node of a deployment is taken to be a replica with steps of its own. Pools follow each other:
# between them nobody generates. Only where a step costs something by itself.
_CROWD = f"""
WITH stepping AS (
    SELECT pool, nodes, span FROM book_engine p WHERE EXISTS (SELECT FROM book_who w WHERE w.pool = p.pool AND w.step > 0)
), moments AS (
    SELECT {_moment("pool", "coalesce(first, starts)")} AS moment, 1 AS change, nodes FROM book_event JOIN stepping USING (pool)
    UNION ALL SELECT {_moment("pool", "ends")}, -1, nodes FROM book_event JOIN stepping USING (pool)
    UNION ALL SELECT {_moment("pool", "(place + n) * span")}, 0, nodes FROM (SELECT DISTINCT pool, place FROM book_piece) p
        JOIN stepping USING (pool) CROSS JOIN (VALUES (0), (1)) AS v (n)
), counted AS (
    SELECT moment, nodes, sum(change) OVER w AS live, lead(moment) OVER w - moment AS lasts FROM moments
    WINDOW w AS (ORDER BY moment ROWS UNBOUNDED PRECEDING)
), added AS (
    SELECT moment, lasts, sum(paid) OVER (ORDER BY moment ROWS UNBOUNDED PRECEDING) - paid AS spent
    FROM counted CROSS JOIN LATERAL (SELECT CASE WHEN live > 0 AND lasts > 0
        THEN lasts * 1000000 * least(nodes, live) / live ELSE 0 END AS paid) x
)
INSERT INTO book_crowd SELECT moment, spent FROM added WHERE lasts > 0 OR lasts IS NULL
"""


# Shares are whole thousand-millionths of a window, made of whole numbers, so that adding up is exact and the order of rows changes
# nothing (floating point holds these whole numbers exactly).
_SLICES = """
WITH live AS (
    SELECT p.pool, place, who, {parts}, {steps} AS steps
    FROM book_piece p {crowd} GROUP BY 1, 2, 3
), weighed AS MATERIALIZED (
    SELECT l.pool, l.place, l.who, w.member, k.kind::smallint AS kind, least(round(k.weight * 1000), 9e18)::bigint AS weight
    FROM live l JOIN book_who w USING (who) CROSS JOIN LATERAL (VALUES {weights}) AS k (kind, weight)
    WHERE k.weight > 0.001
), {wholes}
INSERT INTO book_slice
SELECT w.pool, w.place, w.who, w.kind, floor(w.weight::float8 / t.whole * 1e9)
FROM weighed w JOIN wholes t ON t.pool = w.pool AND t.place = w.place{and_member}
"""
_STEPS = "coalesce(sum((output * (u.spent - s.spent) / (later_all * 1000))::float8), 0)"
_JOIN_CROWD = "LEFT JOIN book_crowd s ON s.moment = p.since LEFT JOIN book_crowd u ON u.moment = p.until"
_WHOLES = "wholes AS (SELECT pool, place, sum(weight)::float8 AS whole FROM weighed GROUP BY 1, 2)"
# Where deployments take turns on a GPU and not each has fitted weights in milliseconds, those live in a window have it evenly.
_EVEN_WHOLES = """by_member AS (
    SELECT pool, place, member, sum(weight) AS weight FROM weighed GROUP BY 1, 2, 3
), wholes AS (
    SELECT m.pool, m.place, m.member, CASE WHEN p.is_even THEN m.weight * count(*) OVER w
        ELSE sum(m.weight) OVER w END::float8 AS whole
    FROM by_member m JOIN book_engine p USING (pool) WINDOW w AS (PARTITION BY m.pool, m.place)
)"""


def _slices(kinds: Sequence[str], *, is_even: bool, has_steps: bool) -> str:
    """The statement for the kinds of tokens that the day has."""
    return _SLICES.format(
        steps=_STEPS if has_steps else "0::float8",
        crowd=_JOIN_CROWD if has_steps else "",
        parts=", ".join(_part(kind) for kind in kinds),
        weights=", ".join(_weighed(kind) for kind in kinds),
        wholes=_EVEN_WHOLES if is_even else _WHOLES,
        and_member=" AND t.member = w.member" if is_even else "",
    )


def _part(kind: str) -> str:
    """A kind's tokens inside a window, in thousandths."""
    phase = "later" if _KINDS[kind] == "output" else "before"
    return f"sum(({phase} * 1000 * {kind} / {phase}_all)::float8) AS {kind}"


KINDS = tuple(_KINDS)


@dataclass(frozen=True, slots=True)
class Weights:
    """What a token of each kind weighs. An output token weighs `output`, and `step` over the number of those who generate at
    the time; where only hours are known, `mean_output`. `is_in_ms` where weights are fitted milliseconds.
    """

    input: Decimal
    cached: Decimal
    output: Decimal
    step: Decimal
    mean_output: Decimal
    is_in_ms: bool
    is_estimated: bool


def fill(*, day: date, weights: Mapping[str, Weights], turns: Mapping[str, Sequence[str]]) -> None:
    """Lays out `book_window`, how busy each deployment was in each window, and `book_slice`, who shares what was busy in it.

    `weights` by deployment, with "*" for the rest; `turns` names for a deployment of telemetry the others that take turns on
    its GPUs. Part of the caller's transaction, after `gpu_time.fill`.
    """
    days = Days(day, day + timedelta(days=1))
    values: dict[str, Any] = {  # parameters of SQL
        "start": days.start_at,
        "end": days.end_at,
        "from": days.start_at - _LONGEST,
        "longest": _LONGEST // timedelta(milliseconds=1),
        "coarsest": _COARSEST // timedelta(seconds=1),
        "rate": _TOKENS_PER_MS,
        "tokens": _MOST_TOKENS,
        "pieces": _MOST_PIECES,
        "windows": _MOST_WINDOWS,
        **_columns(weights),
        **_members(turns),
    }
    with connection.cursor() as cursor:
        cursor.execute(_TABLES)
        cursor.execute(_WEIGHTS, values)
        cursor.execute(_SAMPLES, values)
        cursor.execute("SELECT EXISTS (SELECT FROM book_sample)")
        if cursor.fetchone()[0]:
            cursor.execute("SET LOCAL work_mem = '256MB'")  # a dense day has millions of pieces, sorted and hashed once
            cursor.execute("ANALYZE book_weight; ANALYZE book_sample")
            cursor.execute(_EVENTS, values)
            cursor.execute(_GUESS, values)
            cursor.execute("ANALYZE book_event")
            for statement in (_POOLS, _WINDOWS, _WHO):
                cursor.execute(statement, values)
            cursor.execute("ANALYZE book_engine; ANALYZE book_window; ANALYZE book_who")
            cursor.execute(_PIECES)
            cursor.execute("ANALYZE book_piece")
            cursor.execute(_SEEN)
            *seen, is_even, has_steps = cursor.fetchone()
            if has_steps:
                cursor.execute(_CROWD)
                cursor.execute("ANALYZE book_crowd")
            kinds = [kind for kind, is_seen in zip(_KINDS, seen, strict=True) if is_seen or kind == "output"]
            cursor.execute(_slices(kinds, is_even=bool(is_even), has_steps=bool(has_steps)))
            cursor.execute("ANALYZE book_slice")
            cursor.execute("SET LOCAL work_mem TO DEFAULT")


def _columns(weights: Mapping[str, Weights]) -> dict[str, list[Any]]:  # parameters of SQL
    rows = list(weights.values())
    return {
        "deployments": list(weights),
        "input": [row.input for row in rows],
        "cached": [row.cached for row in rows],
        "output": [row.output for row in rows],
        "step": [row.step for row in rows],
        "mean_output": [row.mean_output for row in rows],
        "in_ms": [row.is_in_ms for row in rows],
        "estimated": [row.is_estimated for row in rows],
    }


def _members(turns: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    pairs = [(member, pool) for pool, others in turns.items() for member in others if member != pool]
    return {"members": [member for member, _ in pairs], "pools": [pool for _, pool in pairs]}
