"""What removing a source removes, counted before anyone is asked, and the removal itself."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from django.apps import apps
from django.db import OperationalError, connection, models, transaction

from ingest.models import Source

_TRIES = 3
_WORDS = {
    "load": "Loads",
    "delivery": "Deliveries",
    "charge": "Charges",
    "usageevent": "Usage events",
    "usagehour": "Hours of usage",
    "usageday": "Days of usage",
    "latencyday": "Days of latency",
    "agentrun": "Agent runs",
    "gpusample": "GPU samples",
    "gpuhour": "GPU hours",
    "finetunerun": "Fine-tune runs",
    "quarantinedrow": "Quarantined rows",
    "inboxbatch": "Pushed batches",
    "backfill": "Backfills",
}
# What stands for other rows and means nothing to a person.
_UNTOLD = {"touched", "attributeset", "authority"}


@dataclass(frozen=True, slots=True)
class Holdings:
    """What a source brought in: rows by what they are, the money of its bills by currency, and its days."""

    rows: tuple[tuple[str, int], ...]
    billed_cost: tuple[tuple[str, Decimal], ...]
    first_day: date | None
    last_day: date | None
    days: int

    @property
    def total_rows(self) -> int:
        return sum(count for _words, count in self.rows)


def holdings(*, source_id: int) -> Holdings:
    """Every row that `source` would delete, by what it is; what is empty is left out."""
    with connection.cursor() as cursor:
        found = []
        for model in _tables():
            name = model._meta.model_name or ""
            if name in _UNTOLD:
                continue
            cursor.execute(f"SELECT count(*) FROM {model._meta.db_table} WHERE source_id = %s", [source_id])
            found.append((_WORDS.get(name) or str(model._meta.verbose_name_plural).capitalize(), cursor.fetchone()[0]))
        cursor.execute(
            """SELECT c.billing_currency, sum(c.billed_cost) FROM ingest_charge c
               JOIN ingest_delivery v ON v.id = c.delivery_id AND v.state = 'current'
               WHERE c.source_id = %s GROUP BY 1 ORDER BY 1""",
            [source_id],
        )
        billed = tuple((currency, cost) for currency, cost in cursor.fetchall())
        cursor.execute("SELECT min(day), max(day), count(*) FROM ingest_touched WHERE source_id = %s", [source_id])
        first, last, days = cursor.fetchone()
    rows = sorted(((words, count) for words, count in found if count), key=lambda pair: (-pair[1], pair[0]))
    return Holdings(tuple(rows), billed, first, last, days)


def source(*, source_id: int) -> None:
    """Deletes a source and every row it delivered, in one transaction, and says which days of others changed with it.

    Safe to repeat. A load that is being closed is waited for; one that is not closed yet finds no source any more.
    """
    for left in reversed(range(_TRIES)):
        try:
            _remove(source_id)
        except OperationalError:  # a deadlock with a load that is being closed: that one wins, and is deleted next time
            if not left:
                raise
        else:
            return


def _remove(source_id: int) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('usage of a source'), %s)", [source_id])
        cursor.execute("SELECT 1 FROM ingest_source WHERE id = %s FOR UPDATE", [source_id])
        # Whose word counts and how a day is shared may differ without it: those days are rolled up again.
        cursor.execute(
            """UPDATE ingest_touched SET version = version + 1
               WHERE source_id <> %s AND day IN (SELECT day FROM ingest_touched WHERE source_id = %s)""",
            [source_id, source_id],
        )
        for model in _tables():
            cursor.execute(f"DELETE FROM {model._meta.db_table} WHERE source_id = %s", [source_id])
        cursor.execute("DELETE FROM ingest_source WHERE id = %s", [source_id])


def _tables() -> Iterator[type[models.Model]]:
    """Every table with rows of a source, those that refer to others before those they refer to."""
    waiting = [
        model
        for model in apps.get_app_config("ingest").get_models()
        if model is not Source and any(field.column == "source_id" for field in model._meta.concrete_fields)
    ]
    while waiting:
        referred = {
            field.related_model
            for model in waiting
            for field in model._meta.concrete_fields
            if field.is_relation and field.related_model is not model
        }
        free = [model for model in waiting if model not in referred]
        if not free:
            raise RuntimeError(f"tables that refer to each other in a circle: {waiting}")
        yield from free
        waiting = [model for model in waiting if model not in free]
