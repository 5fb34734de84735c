"""Letting go of what has been folded and is past its time."""

from datetime import datetime

from ingest.models import GpuSample


def samples(*, before: datetime) -> int:
    """Deletes GPU samples older than `before`; their hours stay. Returns how many."""
    deleted, _by_model = GpuSample.objects.filter(sampled_at__lt=before).delete()
    return deleted
