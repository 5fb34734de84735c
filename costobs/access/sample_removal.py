"""Takes the sample organisation out of an installation, row by row of what it brought."""

from datetime import date, datetime

from django.db import connection, transaction

from alerts.models import Budget, Channel, Gate, GateKey
from attribution.models import Team
from costobs import pipeline
from costobs.access import sample_rules
from ingest import configure
from ingest.models import Source, Touched

_BOOKS = ("attribution_dailycost", "attribution_allocatedcharge")


def run(*, by: str, now: datetime) -> int:
    """Deletes the sample's budgets, gates, sources, books, teams, rules and prices; returns how many sources went.

    Every part may be gone already, so that a removal that was killed is finished by the next.
    """
    source_ids = list(Source.objects.filter(is_sample=True).values_list("pk", flat=True))
    for model in (Budget, Channel, Gate, GateKey):
        model.objects.filter(is_sample=True).delete()
    shared = _shared_days(source_ids)
    for source_id in source_ids:
        with transaction.atomic():
            _forget_books(source_id)
            configure.remove_source(source_id=source_id)
    Team.objects.filter(is_sample=True).delete()
    sample_rules.take_away(by=by, now=now)
    sample_rules.take_prices_away(now=now)
    if shared:
        pipeline.restate(shared, now)
    return len(source_ids)


def _shared_days(source_ids: list[int]) -> list[date]:
    """The days on which other sources have rows too: authority and shares may differ there without the sample."""
    ours = Touched.objects.filter(source_id__in=source_ids).values("day")
    others = Touched.objects.exclude(source_id__in=source_ids).filter(day__in=ours)
    return list(others.order_by("day").values_list("day", flat=True).distinct())


def _forget_books(source_id: int) -> None:
    with connection.cursor() as cursor:
        for table in _BOOKS:
            cursor.execute(f"DELETE FROM {table} WHERE source_id = %s", [source_id])
        cursor.execute(
            """DELETE FROM attribution_finetunecost WHERE run_id IN
                   (SELECT id FROM ingest_finetunerun WHERE source_id = %s)""",
            [source_id],
        )
        cursor.execute(
            """DELETE FROM attribution_ownership WHERE attribute_set_id IN
                   (SELECT id FROM ingest_attributeset WHERE source_id = %s)""",
            [source_id],
        )
