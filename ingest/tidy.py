"""Letting go of what has been folded and is past its time, and telling of old rows what is told of new ones."""

from datetime import datetime

import polars as pl
from django.db import connection, transaction

from costobs.kernel.period import Days
from ingest import encode
from ingest.models import GpuSample
from ingest.sources.formats import ownership

_TOLD = (*ownership.KEYS, "purchase_option", "cost_kind")
_UNTOLD = f"SELECT DISTINCT {', '.join(ownership.KEYS)} FROM ingest_charge WHERE cost_kind = ''"
_STAGE = f"CREATE TEMPORARY TABLE told_charge ({', '.join(f'{name} text' for name in _TOLD)}) ON COMMIT DROP"
_TELL = f"""
WITH changed AS (
    UPDATE ingest_charge c SET cost_kind = t.cost_kind,
        purchase_option = CASE WHEN c.purchase_option = '' THEN t.purchase_option ELSE c.purchase_option END
    FROM told_charge t WHERE c.cost_kind = '' AND {" AND ".join(f"c.{name} = t.{name}" for name in ownership.KEYS)}
    RETURNING c.source_id, (c.charge_period_start AT TIME ZONE 'UTC')::date AS day
), touched AS (
    INSERT INTO ingest_touched AS old (source_id, day) SELECT DISTINCT source_id, day FROM changed ORDER BY 1, 2
    ON CONFLICT (source_id, day) DO UPDATE SET version = old.version + 1
)
SELECT count(*) FROM changed
"""


def reopen(*, days: Days) -> int:
    """Opens those of `days` that sources have delivered for, so that their books are made anew; returns how many days."""
    with connection.cursor() as cursor:
        cursor.execute(
            """WITH locked AS (
                   SELECT id FROM ingest_touched WHERE day >= %s AND day < %s ORDER BY day, source_id FOR UPDATE
               ), opened AS (
                   UPDATE ingest_touched SET version = version + 1 WHERE id IN (SELECT id FROM locked) RETURNING day
               )
               SELECT count(DISTINCT day) FROM opened""",
            [days.start, days.end],
        )
        return int(cursor.fetchone()[0])


def samples(*, before: datetime) -> int:
    """Deletes GPU samples older than `before`; their hours stay. Returns how many."""
    deleted, _by_model = GpuSample.objects.filter(sampled_at__lt=before).delete()
    return deleted


def statistics() -> None:
    """Has PostgreSQL look at the tables anew; after a large load it would plan for empty ones."""
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def classify_charges() -> int:
    """Says of charges that were loaded before this was told what they are for and how capacity was bought; returns how many.

    Their days are open then. Safe to repeat: every charge has a kind afterwards.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_UNTOLD)
        rows = cursor.fetchall()
        if not rows:
            return 0
        untold = pl.DataFrame(rows, schema=dict.fromkeys(ownership.KEYS, pl.String), orient="row")
        cursor.execute(_STAGE)
        encode.copy_csv(table="told_charge", frame=ownership.classified(untold).select(_TOLD))
        cursor.execute(_TELL)
        return int(cursor.fetchone()[0])
