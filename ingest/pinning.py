"""Keeps the deliveries that a closed month rests on, and opens the days of one that opens again."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import connection, transaction

from costobs.kernel.period import Days
from ingest.models import Delivery

_CURRENT = """
SELECT v.id FROM ingest_delivery v WHERE v.state = 'current' AND EXISTS (
    SELECT FROM ingest_charge c WHERE c.delivery_id = v.id AND c.charge_period_start >= %s AND c.charge_period_start < %s)
ORDER BY v.id FOR UPDATE
"""


@dataclass(frozen=True, slots=True)
class Kept:
    """A delivery that a closed month rests on; `is_replaced`: a later one counts now."""

    source: str
    export: str
    run_id: str
    rows: int
    delivered_at: datetime
    is_replaced: bool


def pin(*, days: Days) -> list[int]:
    """Keeps every current delivery with charges on these days, and returns their ids. Part of the caller's transaction, until
    whose end none of them is replaced. Safe to repeat.
    """
    with connection.cursor() as cursor:
        found: list[int] = []
        # One that replaced another while this waited for it was not seen; the second look finds it.
        while True:
            cursor.execute(_CURRENT, [days.start_at, days.end_at])
            current = [pk for (pk,) in cursor.fetchall()]
            if current == found:
                break
            found = current
    Delivery.objects.filter(pk__in=found).update(is_pinned=True)
    return found


def release(*, deliveries: Sequence[int]) -> None:
    """Lets go of deliveries that no closed month rests on any more; the charges of replaced ones are deleted."""
    with transaction.atomic():
        mine = Delivery.objects.filter(pk__in=deliveries, is_pinned=True)
        gone = list(mine.select_for_update().filter(state="replaced").values_list("pk", flat=True))
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM ingest_charge WHERE delivery_id = ANY(%s)", [gone])
        Delivery.objects.filter(pk__in=deliveries).update(is_pinned=False)


def kept(*, deliveries: Sequence[int]) -> list[Kept]:
    """What these deliveries are, by source and export."""
    found = Delivery.objects.filter(pk__in=deliveries).select_related("source").defer("source__credentials")
    return [
        Kept(str(one.source), one.export, one.run_id, one.rows, one.delivered_at, one.state != "current")
        for one in found.order_by("source__kind", "source__name", "export", "billing_period_start")
    ]


def touch(*, days: Days) -> None:
    """Says of every source that its days have changed, so that they are rolled up again."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE ingest_touched SET version = version + 1 WHERE day >= %s AND day < %s", [days.start, days.end]
        )
