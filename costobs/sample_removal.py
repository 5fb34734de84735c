"""Taking the sample organisation out again: its sources, budgets, gates and teams, and the books without them."""

from datetime import datetime

from django.db import transaction

from alerts import samples as alert_samples
from attribution import samples as attribution_samples
from costobs import pipeline
from costobs.audit import record
from ingest import configure
from ingest import queries as ingest_queries


def remove(*, by: str, now: datetime) -> int:
    """Removes everything that is labelled sample and rebuilds the days it touched; returns how many sources went."""
    with transaction.atomic():
        days = ingest_queries.days_of_samples()
        sources = ingest_queries.sample_sources()
        alert_samples.remove()
        for source_id in sources:
            configure.remove_source(source_id=source_id)
        attribution_samples.remove(source_ids=sources)
        record.write(actor=by, act="sample.removed", subject="sample", at=now, before={"sources": len(sources)})
    pipeline.restate(days, now)
    return len(sources)
