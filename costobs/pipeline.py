"""The whole flow on one screen: drain, load, own, tie out, allocate, roll up, evaluate, escalate, execute, deliver."""

import logging
from datetime import UTC, date, datetime, timedelta
from typing import Any

from celery import shared_task
from django.conf import settings
from django.db import connection

from alerts import deliver, escalate, evaluate, execute
from attribution import books, own
from attribution import forget as attribution_forget
from ingest import configure, inbox, load, partitions
from ingest import queries as ingest_queries
from ingest import tidy as ingest_tidy

log = logging.getLogger("costobs.pipeline")

_MANY_DAYS = 7  # from so many rebuilt days on, PostgreSQL's statistics are out of date before autovacuum comes by


def settle(now: datetime, *, limit: int = 40) -> int:
    """Brings the books up to date for at most `limit` changed days, oldest first; returns how many days it did.

    One day is one transaction: what it costs is either the old or the new figure, never half of each.
    """
    days = ingest_queries.open_days()
    if not days:
        return 0
    own.run(now=now)
    # The newest days first: they are what people look at. The result does not depend on the order.
    for day in sorted(days, reverse=True)[:limit]:
        books.rebuild(day=day, now=now)
    if len(days) > _MANY_DAYS:
        ingest_tidy.statistics()
    return min(limit, len(days))


def act(now: datetime) -> None:
    """From figures to consequences; telling people about them is `deliver`'s own task, for a dead mail server takes time."""
    evaluate.run(now=now)
    escalate.run(now=now)
    execute.run(now=now)


def run_once(now: datetime) -> int:
    """One round of everything; what `tick` does each second."""
    drained = inbox.drain(now=now)
    settled = settle(now)
    act(now)
    return drained + settled


def restate(days: list[date], now: datetime) -> None:
    """Rebuilds these days whether they changed or not (after a rule, an authority or a removal changed)."""
    own.run(now=now)
    for day in days:
        books.rebuild(day=day, now=now)


def forget_source(*, source_id: int, now: datetime) -> int:
    """Takes a source out with every row it delivered, and rebuilds the days it had; returns how many."""
    days = ingest_queries.days_of(source_id=source_id)
    attribution_forget.source(source_id=source_id)
    configure.remove_source(source_id=source_id)
    restate(days, now)
    return len(days)


@shared_task(name="costobs.pipeline.tick", ignore_result=True)
def tick(**_: Any) -> None:
    """Each second: what was pushed becomes spend, spend becomes action. Two ticks never run at once."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(hashtext('costobs tick'))")
        if not cursor.fetchone()[0]:
            return
        try:
            run_once(datetime.now(UTC))
        finally:
            cursor.execute("SELECT pg_advisory_unlock(hashtext('costobs tick'))")


@shared_task(name="costobs.pipeline.tell", ignore_result=True)
def tell(**_: Any) -> None:
    """Every two seconds: alerts go out. Two at once share the work."""
    deliver.run(now=datetime.now(UTC))


@shared_task(name="costobs.pipeline.sync", ignore_result=True)
def sync(**_: Any) -> None:
    """Each minute: one task for each source whose time has come."""
    for source_id in ingest_queries.due_sources(now=datetime.now(UTC)):
        sync_source.apply_async(kwargs={"source_id": source_id}, expires=55)


@shared_task(name="costobs.pipeline.sync_source", ignore_result=True)
def sync_source(*, source_id: int, **_: Any) -> None:
    """Reads what one source has new."""
    now = datetime.now(UTC)
    for result in load.sync(source_id=source_id, now=now):
        log.info("%s: %s, %s rows", result.name, result.state, result.rows_loaded)


@shared_task(name="costobs.pipeline.tidy", ignore_result=True)
def tidy(**_: Any) -> None:
    """Each hour: partitions ahead, old samples and drained batches away."""
    now = datetime.now(UTC)
    today = now.date()
    partitions.ensure_days(today + timedelta(days=ahead) for ahead in range(8))
    partitions.ensure_months([today, today + timedelta(days=31)])
    ingest_tidy.samples(before=now - timedelta(days=settings.COSTOBS_KEEP_SAMPLES_DAYS))
    inbox.tidy(before=now - timedelta(days=1))
