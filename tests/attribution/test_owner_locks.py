"""Two workers that add the same owners, and a removal beside a close: one waits for the other, and neither for ever."""

import threading
import time
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection, transaction

from attribution import books, close, own, periods, splitting, verify
from attribution.models import DailyCost
from attribution.own import RuleDraft
from costobs import pipeline
from costobs.kernel.period import add_months
from ingest.models import Source
from tests.attribution import world

pytestmark = pytest.mark.django_db(transaction=True)

MONTH = world.DAY.replace(day=1)
NEXT = add_months(MONTH, 1)
NOW = world.at(12, day=NEXT + timedelta(days=3))
_PATIENCE = 60


def _beside(work: Callable[[], object]) -> tuple[threading.Thread, list[BaseException]]:
    """Runs `work` in a thread with a connection of its own; what it raises is kept."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as problem:
            raised.append(problem)
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    return thread, raised


def _wait_for_a_waiter() -> None:
    """Until another connection waits for a lock."""
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until:
        if world.fetch("SELECT count(*) FROM pg_locks WHERE NOT granted")[0][0]:
            return
        threading.Event().wait(0.05)
    pytest.fail("nobody waits")


def test_it_adds_the_same_owners_in_any_order_without_a_deadlock() -> None:
    bill = world.source()

    def other() -> None:
        with transaction.atomic():
            for team in ("b", "a"):
                splitting.owner_set(source_id=bill.pk, team=team, reason="", now=NOW)
            own.run(now=NOW)

    own.ensure_default_ruleset(now=NOW)
    with transaction.atomic():
        splitting.owner_set(source_id=bill.pk, team="a", reason="", now=NOW)
        thread, raised = _beside(other)
        _wait_for_a_waiter()
        splitting.owner_set(source_id=bill.pk, team="b", reason="", now=NOW)
        own.run(now=NOW)
    thread.join(_PATIENCE)

    assert not thread.is_alive()
    assert raised == []
    assert world.fetch("SELECT count(*), count(DISTINCT digest) FROM ingest_attributeset") == [(2, 2)]
    assert world.fetch("SELECT count(*) FROM attribution_team") == [(2,)]


def test_it_makes_two_days_at_once_that_bring_the_same_teams() -> None:
    bill = world.source()
    shared = {"service_name": ["Support"]}
    drafts = [
        RuleDraft("even_split", "one", {"select": shared, "teams": ["d", "c"]}),
        RuleDraft("even_split", "two", {"select": {"service_name": ["Tax"]}, "teams": ["a", "b"]}),
    ]
    own.reattribute(drafts=[*drafts, *own.DEFAULT_RULES], now=NOW, by="ada")
    days = [world.DAY, world.DAY + timedelta(days=1)]
    for day in days:
        for name in ("Support", "Tax"):
            world.charge(bill, "10", starts=world.at(day=day), service_name=name)

    threads = [_beside(lambda day=day: books.rebuild(day=day, now=NOW)) for day in days]  # type: ignore[misc]
    for thread, _ in threads:
        thread.join(_PATIENCE)

    assert [raised for _, raised in threads] == [[], []]
    assert verify.run().failures == ()
    assert {row.day for row in DailyCost.objects.all()} == set(days)


def test_it_does_not_remove_a_source_while_a_month_closes_on_it() -> None:
    bill = world.source()
    Source.objects.filter(pk=bill.pk).update(complete_through=world.at(day=NEXT))
    world.charge(bill, "10", attributes={"team": "a"}, complete_through=world.at(day=NEXT))
    world.settle()
    close.review(month=MONTH, by="ada", now=NOW)

    with transaction.atomic():
        periods.hold()  # as a close does first
        thread, raised = _beside(lambda: pipeline.forget_source(source_id=bill.pk, by="eve", now=NOW))
        _wait_for_a_waiter()
        close.close(month=MONTH, by="ada", now=NOW, waive={"sources": "it is paused already"})
    thread.join(_PATIENCE)

    assert [type(one) for one in raised] == [pipeline.InUse]
    assert close.state(month=MONTH, now=NOW) == "closed"
    assert verify.run().failures == ()
    assert DailyCost.objects.count() == 1
