"""A day of the books is made whole, once, by however many workers."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import connection

from attribution import books, queries, verify
from tests.attribution import world

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _leave_no_charges() -> Iterator[None]:
    """Tables without a model of their own are not emptied by Django after a committed test."""
    yield
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE ingest_charge")


def _rebuild(offset: int) -> int:
    try:
        return books.rebuild(day=world.DAY + timedelta(days=offset), now=world.NOW)
    finally:
        connection.close()


def test_it_leaves_the_same_rows_when_several_workers_make_the_same_days_at_once() -> None:
    log, bill = world.source("usage_log", "log"), world.source()
    for offset in range(2):
        day = world.DAY + timedelta(days=offset)
        world.usage(log, attributes={"team": "a"}, hour=world.at(1, day=day), input_uncached=300)
        world.usage(log, attributes={"team": "b"}, hour=world.at(1, day=day), input_uncached=600)
        world.llm_charge(bill, "1", starts=world.at(day=day), consumed_quantity=Decimal(900))

    with ThreadPoolExecutor(4) as workers:
        rows = list(workers.map(_rebuild, [0, 1, 0, 1, 1, 0]))

    assert len(set(rows)) == 1
    assert {row.keys[0]: str(row.cost) for row in queries.spend(scope=world.scope(), group_by=["team"])} == {
        "a": "0.666666666666",
        "b": "1.333333333334",
    }
    assert verify.run().failures == ()


def test_it_keeps_the_old_day_when_a_rebuild_dies_in_the_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    bill = world.source()
    world.charge(bill, "5")
    world.settle()
    world.charge(bill, "7")

    with monkeypatch.context() as patched:
        patched.setattr("attribution.roll_up._CONSUMED", "SELECT 1 / 0")
        with pytest.raises(Exception, match="division by zero"):
            books.rebuild(day=world.DAY, now=world.NOW)

    assert queries.total(scope=world.scope()).cost == 5
    assert world.settle() == [world.DAY]
    assert queries.total(scope=world.scope()).cost == 12


def test_it_stays_open_for_a_change_that_came_while_it_was_made(monkeypatch: pytest.MonkeyPatch) -> None:
    bill = world.source()
    world.charge(bill, "5")
    fill = books.staging.fill

    def change_in_between(**asked: object) -> None:
        fill(**asked)  # type: ignore[arg-type]
        world.touch(bill)

    with monkeypatch.context() as patched:
        patched.setattr("attribution.staging.fill", change_in_between)
        world.settle()

    assert world.settle() == [world.DAY]
