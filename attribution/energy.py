"""The energy of GPUs, by the same shares as their time: the joules of a day's shares are the differences of the cards' counters."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from django.db import connection

from costobs.kernel.period import Days

# What electricity is taken to be where nobody says: the world's average carbon intensity of electricity in 2024 (Ember, Global
# Electricity Review 2025: 473 g CO2 for a kWh) and the average PUE of data centres in 2024 (Uptime Institute: 1.56).
DEFAULT_GRAMS_PER_KWH = Decimal(473)
DEFAULT_PUE = Decimal("1.56")

# The rules about sources and slices are those of the time (`gpu_time`).
_TOTALS = """
CREATE TEMPORARY TABLE IF NOT EXISTS book_joules (
    node text, hour timestamptz, pool text, millijoules numeric
) ON COMMIT DELETE ROWS;
DELETE FROM book_joules
"""
_MEASURED = """
WITH seen AS (
    SELECT g.*, min(source_id) OVER gpu AS first_source, bool_or(mig_instance <> '') OVER gpu AS is_sliced
    FROM ingest_gpuhour g WHERE hour >= %(start)s AND hour < %(end)s WINDOW gpu AS (PARTITION BY gpu_uuid, hour)
)
INSERT INTO book_joules SELECT node, hour, deployment, sum(energy_millijoules) FROM seen
WHERE source_id = first_source AND (mig_instance <> '' OR NOT is_sliced) AND energy_millijoules IS NOT NULL GROUP BY 1, 2, 3
"""
# Energy where no activity was measured: somebody drew it, and nobody knows who.
_UNWATCHED = """
INSERT INTO book_gpu_share
SELECT j.node, j.hour, j.pool, j.pool, 0, '', '', 'unallocated', 0, 0, NULL, NULL, 'hours', 3600, FALSE FROM book_joules j
WHERE NOT EXISTS (SELECT FROM book_gpu_share s WHERE (s.node, s.hour, s.pool) = (j.node, j.hour, j.pool))
"""
# By the energy of windows where a deployment's hour has it and is shared by windows, else by time. Unknown time has no readings,
# so no energy. Whole millijoules; the heaviest part takes what the cuts leave.
_SPLIT = """
WITH joined AS (
    SELECT s.ctid AS place, s.node, s.hour, s.pool, s.deployment, s.attribute_set_id, s.model, s.token_kind, s.share_kind,
        s.run_id, s.amount, s.energy_weight, s.is_estimated, j.millijoules AS whole,
        bool_and(s.energy_weight IS NOT NULL OR s.share_kind = 'unallocated') OVER hour AND sum(s.energy_weight) OVER hour > 0
            AS is_by_energy,
        sum(s.amount) FILTER (WHERE s.share_kind <> 'unallocated') OVER hour > 0 AS is_watched
    FROM book_gpu_share s JOIN book_joules j USING (node, hour, pool)
    WINDOW hour AS (PARTITION BY s.node, s.hour, s.pool)
), weighed AS (
    SELECT *, CASE WHEN is_by_energy THEN greatest(coalesce(energy_weight, 0), 0) WHEN NOT coalesce(is_watched, FALSE)
        THEN (share_kind = 'unallocated')::int WHEN share_kind = 'unallocated' THEN 0 ELSE amount END AS weight
    FROM joined
), cut AS (
    SELECT *, coalesce(div(whole * weight, nullif(sum(weight) OVER hour, 0)), 0) AS part, row_number() OVER (
        PARTITION BY node, hour, pool ORDER BY weight DESC, share_kind, deployment, model, token_kind, attribute_set_id, run_id,
            is_estimated) AS rank
    FROM weighed WINDOW hour AS (PARTITION BY node, hour, pool)
), final AS (
    SELECT place, part + CASE WHEN rank = 1 THEN whole - sum(part) OVER (PARTITION BY node, hour, pool) ELSE 0 END AS part FROM cut
)
UPDATE book_gpu_share s SET millijoules = f.part FROM final f WHERE s.ctid = f.place
"""
# A node's own word first, then its region's (as its bill names it), then everybody's, then the default.
_KEEP = """
WITH said AS (
    SELECT * FROM unnest(%(places)s::text[], %(pues)s::numeric[], %(grams)s::numeric[]) AS c (place, pue, grams)
), regions AS (
    SELECT substr(pool, 5) AS node, max(region_id) AS region FROM book_charge WHERE starts_with(pool, 'gpu:') GROUP BY 1
), nodes AS (
    SELECT n.node, coalesce(own.pue, its.pue, every.pue) AS pue, coalesce(own.grams, its.grams, every.grams) AS grams
    FROM (SELECT DISTINCT node FROM book_gpu_share) n LEFT JOIN regions r USING (node) LEFT JOIN said own ON own.place = n.node
    LEFT JOIN said its ON its.place = r.region LEFT JOIN said every ON every.place = '*'
)
INSERT INTO attribution_gpushare (day, hour, node, deployment, attribute_set_id, model, token_kind, share_kind, run_id, amount,
    millijoules, method, window_seconds, is_estimated, pue, grams_per_kwh, is_default_carbon)
SELECT %(day)s, s.hour, s.node, s.deployment, s.attribute_set_id, s.model, s.token_kind, s.share_kind, s.run_id, sum(s.amount),
    sum(s.millijoules), s.method, s.seconds, bool_or(s.is_estimated), coalesce(n.pue, %(pue)s), coalesce(n.grams, %(gram)s),
    n.pue IS NULL OR n.grams IS NULL
FROM book_gpu_share s JOIN nodes n USING (node)
GROUP BY s.hour, s.node, s.deployment, s.attribute_set_id, s.model, s.token_kind, s.share_kind, s.run_id, s.method, s.seconds,
    n.pue, n.grams
"""


@dataclass(frozen=True, slots=True)
class Electricity:
    """What the electricity of one node or region is: the data centre's PUE, and grams of CO2e for a kWh. None = not said."""

    pue: Decimal | None = None
    grams_per_kwh: Decimal | None = None


def fill(*, day: date) -> None:
    """Gives each row of `book_gpu_share` its millijoules; they add to what the cards' counters say, exactly.

    Rows of a deployment and hour without a counter stay without: not measured is not zero.
    """
    days = Days(day, day + timedelta(days=1))
    values: dict[str, Any] = {"start": days.start_at, "end": days.end_at}  # parameters of SQL
    with connection.cursor() as cursor:
        cursor.execute(_TOTALS)
        cursor.execute(_MEASURED, values)
        cursor.execute("ANALYZE book_joules")
        cursor.execute(_UNWATCHED)
        cursor.execute(_SPLIT)


def keep(*, day: date, electricity: Mapping[str, Electricity]) -> int:
    """Writes `book_gpu_share` in place of what was kept of the day; returns the number of rows. Safe to repeat.

    `electricity` by node, region or "*". The caller leaves closed days alone.
    """
    values: dict[str, Any] = {  # parameters of SQL
        "day": day,
        "places": list(electricity),
        "pues": [one.pue for one in electricity.values()],
        "grams": [one.grams_per_kwh for one in electricity.values()],
        "pue": DEFAULT_PUE,
        "gram": DEFAULT_GRAMS_PER_KWH,
    }
    forget(day=day)
    with connection.cursor() as cursor:
        cursor.execute(_KEEP, values)
        return int(cursor.rowcount)


def forget(*, day: date) -> None:
    """Deletes what was kept of a day that has no GPU time any more."""
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM attribution_gpushare WHERE day = %s", [day])
