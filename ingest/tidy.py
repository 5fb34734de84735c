"""Letting go of what has been folded and is past its time."""

from datetime import datetime

from django.db import connection

from ingest.models import GpuSample


def samples(*, before: datetime) -> int:
    """Deletes GPU samples older than `before`; their hours stay. Returns how many."""
    deleted, _by_model = GpuSample.objects.filter(sampled_at__lt=before).delete()
    return deleted


def statistics() -> None:
    """Has PostgreSQL look at the tables anew; after a large load it would plan for empty ones."""
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
