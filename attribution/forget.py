"""Takes a source out of the books, before ingest deletes its rows."""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal

from django.db import connection, transaction

from attribution import periods


def spend(*, source_id: int) -> list[tuple[str, Decimal]]:
    """The EffectiveCost that pages show from this source, by currency; it leaves them when the source goes."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT currency, sum(effective_cost) FROM attribution_dailycost
               WHERE source_id = %s AND is_current GROUP BY 1 ORDER BY 1""",
            [source_id],
        )
        return list(cursor.fetchall())


def closed_months(*, source_ids: Sequence[int]) -> list[date]:
    """The closed months whose books hold rows of these sources, oldest first: they would not be what they were without."""
    open_from = periods.closed_until()
    if open_from is None:
        return []
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT DISTINCT date_trunc('month', day)::date FROM attribution_dailycost
               WHERE source_id = ANY(%s) AND day < %s ORDER BY 1""",
            [list(source_ids), open_from],
        )
        return [month for (month,) in cursor.fetchall()]


def source(*, source_id: int) -> None:
    """Deletes what the books, the splits and the owners say about one source. Safe to repeat.

    Days it shares with other sources must be rebuilt once it is gone.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("DELETE FROM attribution_dailycost WHERE source_id = %s", [source_id])
        cursor.execute("DELETE FROM attribution_allocatedcharge WHERE source_id = %s", [source_id])
        cursor.execute("DELETE FROM attribution_pool WHERE source_id = %s", [source_id])
        cursor.execute(
            """DELETE FROM attribution_finetunecost WHERE run_id IN
                   (SELECT id FROM ingest_finetunerun WHERE source_id = %s)""",
            [source_id],
        )
        cursor.execute(
            """DELETE FROM attribution_gpushare WHERE attribute_set_id IN
                   (SELECT id FROM ingest_attributeset WHERE source_id = %s)""",
            [source_id],
        )
        cursor.execute(
            """DELETE FROM attribution_ownership WHERE attribute_set_id IN
                   (SELECT id FROM ingest_attributeset WHERE source_id = %s)""",
            [source_id],
        )
