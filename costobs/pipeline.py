"""The whole flow on one screen: drain, load, own, tie out, allocate, roll up, evaluate, escalate, execute, deliver."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any

from celery import shared_task
from django.conf import settings
from django.db import connection, transaction

from alerts import (
    anomalies,
    balance,
    deliver,
    digests,
    dispatch,
    drift,
    escalate,
    evaluate,
    execute,
    expected,
    gates,
    leases,
    measure,
    remind,
)
from alerts import carry as alerts_carry
from attribution import books, close, known, own, periods, rates, reconcile
from attribution import forget as attribution_forget
from costobs.audit import record
from ingest import backfill, configure, inbox, load, partitions, price_changes, removal
from ingest import queries as ingest_queries
from ingest import tidy as ingest_tidy

log = logging.getLogger("costobs.pipeline")

# Of the worker's eight threads two are left for the tick and for alerts, however long the vendors take.
_PASTS_AT_ONCE = 2
_READERS = 4

_MANY_DAYS = 7  # from so many rebuilt days on, PostgreSQL's statistics are out of date before autovacuum comes by
_KEEP_LEASES = timedelta(days=400)  # a year of monthly accounts to look at, and the same month of the year before


def settle(now: datetime, *, limit: int = 40) -> int:
    """Brings the books up to date for at most `limit` changed days, oldest first; returns how many days it did.

    One day is one transaction: what it costs is either the old or the new figure, never half of each.
    """
    close.make_room(now=now)
    days = {*ingest_queries.open_days(), *books.due()}
    if not days:
        known.follow_rules(now=now)
        return 0
    own.run(now=now)
    # The newest days first: they are what people look at. The result does not depend on the order.
    for day in sorted(days, reverse=True)[:limit]:
        books.rebuild(day=day, now=now)
    known.follow_rules(now=now)
    if len(days) > _MANY_DAYS:
        ingest_tidy.statistics()
    return min(limit, len(days))


def act(now: datetime) -> None:
    """From figures to consequences; telling people about them is `deliver`'s own task, for a dead mail server takes time."""
    evaluate.run(now=now)
    measure.run(now=now)
    leases.run(now=now)
    escalate.run(now=now)
    execute.run(now=now)


def compare(now: datetime, *, limit: int = 1) -> int:
    """Compares estimates with bills in at most `limit` months that have changed days, the newest first, and tells people where
    they drift apart; returns how many months it did.
    """
    months = reconcile.due(now=now)[:limit]
    for month in months:
        reconcile.run(month=month, now=now)
    if months:
        drift.run(now=now)
    return len(months)


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


class InUse(ValueError):
    """The source cannot go yet; the message says what goes first."""


def forget_source(*, source_id: int, by: str, now: datetime, rebuilds: bool = True) -> int:
    """Takes a source out with every row it delivered; returns how many days it had. Raises InUse while a gate needs it, or a
    closed month rests on it.

    The days are rebuilt at once, or without `rebuilds` by the next ticks: those that others have rows on are open then.
    """
    held = gates.of_source(source_id=source_id)
    if held:
        raise InUse(f"the gate {held[0]} sends its usage here; remove it first: costobs gate remove {held[0]}")
    _refuse_closed(source_id)
    source = configure.source(source_id)
    days = ingest_queries.days_of(source_id=source_id)
    found = removal.holdings(source_id=source_id)
    # From now on nobody begins to read it.
    configure.pause(source_id=source_id, is_active=False)
    with transaction.atomic():
        periods.keep_open()  # no month closes with its rows from here on
        _refuse_closed(source_id)
        attribution_forget.source(source_id=source_id)
        configure.remove_source(source_id=source_id)
        before = {"rows": dict(found.rows), "billed_cost": {name: str(cost) for name, cost in found.billed_cost}}
        record.write(actor=by, act="source.removed", subject=f"source:{source}", at=now, before=before)
    if rebuilds:
        restate(days, now)
    known.end_empty_days(now=now)
    return len(days)


def _refuse_closed(source_id: int) -> None:
    closed = attribution_forget.closed_months(source_ids=[source_id])
    if closed:
        raise InUse(f"closed months rest on it ({_months(closed)}); pause it instead, or open them again first")


def _months(months: Sequence[date]) -> str:
    return ", ".join(f"{month:%Y-%m}" for month in months)


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
    """Every two seconds: what nobody has acknowledged goes further, and alerts go out. Two at once share the work."""
    now = datetime.now(UTC)
    remind.run(now=now)
    deliver.run(now=now)


@shared_task(name="costobs.pipeline.review", ignore_result=True)
def review(**_: Any) -> None:
    """Each minute: review packs whose hour has come, each once."""
    with _slot("costobs review", 1) as is_free:
        if is_free:
            digests.run(now=datetime.now(UTC))


# An API server that hangs holds each of its calls for 25 seconds.
@shared_task(name="costobs.pipeline.carry", ignore_result=True, soft_time_limit=780, time_limit=840)
def carry(**_: Any) -> None:
    """Every three seconds: what actions want of machines and replicas is done, verified and given back."""
    with _slot("costobs carry", 1) as is_free:
        if is_free:
            alerts_carry.run(now=datetime.now(UTC))


# A month of a large bill takes longer than other tasks may.
@shared_task(name="costobs.pipeline.reconcile", ignore_result=True, soft_time_limit=1700, time_limit=1800)
def reconcile_month(**_: Any) -> None:
    """Each minute: one month of estimates against bills, where something changed. Two never run at once."""
    with _slot("costobs reconcile", 1) as is_free:
        if is_free:
            compare(datetime.now(UTC))


@shared_task(name="costobs.pipeline.check_books", ignore_result=True)
def check_books(**_: Any) -> None:
    """Each minute: whether the days that budgets count still add up. Two never run at once."""
    with _slot("costobs check_books", 1) as is_free:
        if is_free:
            balance.run(now=datetime.now(UTC))


# A thousand budgets take some minutes when a new day is complete; the next round goes on where this one stops.
@shared_task(name="costobs.pipeline.forecast", ignore_result=True, soft_time_limit=780, time_limit=840)
def forecast(**_: Any) -> None:
    """Each minute: where budgets will end, for those whose complete days have changed. Two never run at once."""
    with _slot("costobs forecast", 1) as is_free:
        if is_free:
            expected.run(now=datetime.now(UTC))


# A first look at many scopes takes longer than other tasks may.
@shared_task(name="costobs.pipeline.look_for_anomalies", ignore_result=True, soft_time_limit=780, time_limit=840)
def look_for_anomalies(**_: Any) -> None:
    """Every two minutes: what costs more than expected, and what burns faster than it ever did. Two never run at once."""
    with _slot("costobs look_for_anomalies", 1) as is_free:
        if is_free:
            anomalies.run(now=datetime.now(UTC))


# Writing and sending the files of many cost centres takes longer than other tasks may.
@shared_task(name="costobs.pipeline.send_statements", ignore_result=True, soft_time_limit=780, time_limit=840)
def send_statements(**_: Any) -> None:
    """Each minute: statements that are due go to where they were asked for. One at a time leaves workers for the tick."""
    with _slot("costobs send_statements", 1) as is_free:
        if is_free:
            dispatch.run(now=datetime.now(UTC))


@shared_task(name="costobs.pipeline.sync", ignore_result=True)
def sync(**_: Any) -> None:
    """Each minute: readers for the sources whose time has come."""
    for _due in ingest_queries.due_sources(now=datetime.now(UTC))[:_READERS]:
        read_due.apply_async(expires=55)


@shared_task(name="costobs.pipeline.read_due", ignore_result=True)
def read_due(**_: Any) -> None:
    """Reads what sources have new, one after another, until none is due. A source that hangs holds one reader, not the others."""
    with _slot("costobs read_due", _READERS) as is_free:
        tried: set[int] = set()
        while is_free and (due := _next_due(tried)) is not None:
            tried.add(due)
            try:
                for result in load.sync(source_id=due, now=datetime.now(UTC)):
                    log.info("%s: %s, %s rows", result.name, result.state, result.rows_loaded)
            except Exception:
                log.exception("source %s could not be read", due)


def _next_due(tried: set[int]) -> int | None:
    return next((each for each in ingest_queries.due_sources(now=datetime.now(UTC)) if each not in tried), None)


# A month of a large bill takes longer than other tasks may.
@shared_task(name="costobs.pipeline.read_past", ignore_result=True, soft_time_limit=3500, time_limit=3600)
def read_past(**_: Any) -> None:
    """Every few seconds: one piece of a backfill. Two at once work on two of them."""
    with _slot("costobs read_past", _PASTS_AT_ONCE) as is_free:
        piece = backfill.run(now=datetime.now(UTC)) if is_free else None
    if piece is not None:
        log.info("backfill %s: %s, %s rows", piece.backfill_id, piece.state, piece.rows_loaded)


@contextmanager
def _slot(name: str, at_once: int) -> Iterator[bool]:
    """Whether no more than `at_once` workers are at it, this one among them. All readers together leave workers for the tick."""
    with connection.cursor() as cursor:
        for slot in range(at_once):
            cursor.execute("SELECT pg_try_advisory_lock(hashtext(%s), %s)", [name, slot])
            if cursor.fetchone()[0]:
                break
        else:
            yield False
            return
    try:
        yield True
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(hashtext(%s), %s)", [name, slot])


@shared_task(name="costobs.pipeline.fetch_rates", ignore_result=True)
def fetch_rates(**_: Any) -> None:
    """Each hour: the exchange rates of the day, where somebody switched their feed on; what failed is tried again."""
    found = rates.fetch_due(now=datetime.now(UTC))
    if found is not None:
        log.info("exchange rates: %s new, %s corrected", found.added, found.corrected)


@shared_task(name="costobs.pipeline.tidy", ignore_result=True)
def tidy(**_: Any) -> None:
    """Each hour: partitions ahead, old samples, leases and drained batches away, charges of older versions classified.

    Where an update has brought other list prices, they are proposed; nobody is re-priced without being asked.
    """
    now = datetime.now(UTC)
    today = now.date()
    partitions.ensure_days(today + timedelta(days=ahead) for ahead in range(8))
    partitions.ensure_months([today, today + timedelta(days=31)])
    ingest_tidy.samples(before=now - timedelta(days=settings.COSTOBS_KEEP_SAMPLES_DAYS))
    inbox.tidy(before=now - timedelta(days=1))
    leases.tidy(before=now - _KEEP_LEASES)
    ingest_tidy.classify_charges()
    price_changes.propose_list(now=now)
