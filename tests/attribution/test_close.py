"""Months close step by step, say the same for ever, and open again only when two people agree."""

import threading
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from django.db import OperationalError, connection, transaction

from attribution import books, close, own, printing, queries, verify
from attribution.models import ClosedTeam, DailyCost, ExchangeRate, PeriodBook, Team
from attribution.own import RuleDraft
from attribution.queries import closed_months
from costobs import pipeline
from costobs.audit.models import AuditEntry
from costobs.kernel.period import Days, add_months
from costobs.kernel.period import month as month_of
from ingest import configure, load
from ingest.models import Charge, Delivery, Load, QuarantinedRow, Source
from tests.api import october
from tests.attribution import world
from tests.servers import child

pytestmark = pytest.mark.django_db

MONTH = world.DAY.replace(day=1)  # March
NEXT = add_months(MONTH, 1)
NOW = world.at(12, day=NEXT + timedelta(days=3))
REASONS = {"unallocated": "the vendor never tags", "sources": "the rest comes by mail"}


def month(cost: str = "10", **columns: object) -> Source:
    """March with one bill that is complete, and one team."""
    bill = world.source()
    Source.objects.filter(pk=bill.pk).update(complete_through=world.at(day=NEXT))
    world.charge(bill, cost, attributes={"team": "a"}, complete_through=world.at(day=NEXT), **columns)
    world.settle()
    return bill


def closed(start: date = MONTH, *, now: datetime = NOW) -> close.Book:
    close.review(month=start, by="ada", now=now)
    return close.close(month=start, by="ada", now=now, note="fine")


def late(bill: Source, cost: str, **columns: object) -> None:
    """A row of another delivery."""
    world.charge(bill, cost, complete_through=world.at(1, day=NEXT), **({"attributes": {"team": "a"}} | columns))
    world.settle()


def states(book: close.Book) -> dict[str, str]:
    return {line.key: line.state for line in book.checklist}


def test_it_goes_from_open_to_closed_and_says_who_did_it() -> None:
    bill = month()
    Source.objects.filter(pk=bill.pk).update(complete_through=world.at(day=world.DAY))
    opened = close.status(month=MONTH, now=NOW)
    Source.objects.filter(pk=bill.pk).update(complete_through=world.at(day=NEXT))
    provisional = close.status(month=MONTH, now=NOW)
    close.review(month=MONTH, by="ada", now=NOW)
    reviewed = close.status(month=MONTH, now=NOW)

    done = close.close(month=MONTH, by="eve", now=NOW, note="as agreed")

    assert [one.state for one in (opened, provisional, reviewed, done)] == list(close.STATES)
    assert states(opened)["sources"] == "open"
    assert [line.key for line in provisional.open_lines] == ["reviewed"]
    assert set(states(reviewed).values()) == {"done"}
    assert (done.reviewed_by, done.closed_by, done.note, done.version) == ("ada", "eve", "as agreed", 1)
    assert done == close.status(month=MONTH, now=NOW)
    assert len(done.sha256) == 64
    assert list(AuditEntry.objects.order_by("pk").values_list("act", "actor", "subject")) == [
        ("month.reviewed", "ada", "month:2026-03"),
        ("month.closed", "eve", "month:2026-03"),
    ]
    assert verify.run().failures == ()


def test_it_does_not_close_before_the_month_is_over() -> None:
    month()

    with pytest.raises(close.Refused, match="is not over"):
        close.review(month=MONTH, by="ada", now=world.at(day=NEXT) - timedelta(seconds=1))
    with pytest.raises(close.Refused, match="The month is over: it ends"):
        close.close(month=MONTH, by="ada", now=world.NOW, waive={"reviewed": "x", "ended": "in a hurry"})

    assert not PeriodBook.objects.filter(state="closed").exists()


def test_it_names_everything_that_is_open_and_takes_reasons_for_what_may_be_waived() -> None:
    bill = month()
    late(bill, "90", attributes={})
    Source.objects.filter(pk=bill.pk).update(complete_through=world.at(day=world.DAY))
    source_load = Load.objects.create(
        source=bill, name="x", state="succeeded", started_at=NOW, heartbeat_at=NOW, rows_read=1
    )
    QuarantinedRow.objects.create(load=source_load, source=bill, file="x", row_number=1, field="f", reason="odd")
    log = world.source("usage_log", "log")
    world.usage(log, input_uncached=10, model="new", unit_price=world.price(model="new", is_conservative=True))
    world.charge(bill, "5", attributes={"team": "a"}, billing_currency="EUR", complete_through=world.at(day=NEXT))
    world.settle()

    with pytest.raises(close.Refused) as refused:
        close.close(month=MONTH, by="ada", now=NOW)

    keys = [line.key for line in refused.value.lines]
    assert keys == ["sources", "quarantined", "reconciled", "unallocated", "unpriced", "rates", "reviewed"]
    assert all(line.may_be_waived for line in refused.value.lines)
    assert "EUR has no rate into USD for 31 days" in str(refused.value)
    with pytest.raises(close.Refused) as partly:
        close.close(month=MONTH, by="ada", now=NOW, waive=dict.fromkeys(keys[:-1], "known") | {"rates": "  "})
    assert [line.key for line in partly.value.lines] == ["rates", "reviewed"]

    book = close.close(month=MONTH, by="ada", now=NOW, waive=dict.fromkeys(keys, "known"))

    assert {key for key, state in states(book).items() if state == "waived"} == set(keys)
    assert {line.reason for line in book.checklist if line.state == "waived"} == {"known"}
    assert AuditEntry.objects.get(act="month.closed").after["waived"] == dict.fromkeys(keys, "known")


def test_it_refuses_to_waive_what_it_does_not_know() -> None:
    month()

    with pytest.raises(close.Refused, match="no line 'moon' to waive; the checklist has: ended, earlier, sources"):
        close.close(month=MONTH, by="ada", now=NOW, waive={"moon": "full"})


def test_it_does_not_close_books_that_wait_or_do_not_balance() -> None:
    bill = month()
    close.review(month=MONTH, by="ada", now=NOW)
    world.touch(bill)

    with pytest.raises(close.Refused, match="1 changed days wait to be rolled up"):
        close.close(month=MONTH, by="ada", now=NOW, waive={"balanced": "no time"})
    world.settle()
    DailyCost.objects.update(billed_cost=Decimal(11))
    with pytest.raises(close.Refused, match="1 sums differ"):
        close.close(month=MONTH, by="ada", now=NOW, waive={"balanced": "no time", "reviewed": "x"})


def test_it_takes_a_review_s_word_away_when_a_figure_changes() -> None:
    bill = month()
    close.review(month=MONTH, by="ada", now=NOW)
    late(bill, "1")

    with pytest.raises(close.Refused, match="figures have changed since ada"):
        close.close(month=MONTH, by="ada", now=NOW)


def test_it_closes_months_in_order() -> None:
    bill = month()
    world.charge(bill, "3", attributes={"team": "a"}, starts=world.at(day=NEXT), complete_through=world.at(day=NEXT))
    world.settle()
    Source.objects.filter(pk=bill.pk).update(complete_through=world.at(day=add_months(NEXT, 1)))
    later = world.at(day=add_months(NEXT, 1))
    close.review(month=NEXT, by="ada", now=later)

    with pytest.raises(close.Refused, match="still open: Mar 2026"):
        close.close(month=NEXT, by="ada", now=later, waive={"earlier": "who cares"})
    closed()
    assert close.close(month=NEXT, by="ada", now=later).state == "closed"
    with pytest.raises(close.Refused, match="closed already"):
        close.close(month=MONTH, by="ada", now=later)
    with pytest.raises(close.Refused, match="not the newest"):
        close.ask_reopen(month=MONTH, reason="late bill", by="ada", now=later)


def test_it_says_of_an_empty_month_that_there_is_nothing() -> None:
    with pytest.raises(close.Refused, match="nothing in the books of Mar 2026 to review"):
        close.review(month=MONTH, by="ada", now=NOW)
    with pytest.raises(close.Refused, match="nothing in the books of Mar 2026 to close"):
        close.close(month=MONTH, by="ada", now=NOW)

    assert close.status(month=MONTH, now=NOW).state == "open"


def test_it_pins_the_rates_of_the_month() -> None:
    bill = month()
    late(bill, "5", billing_currency="GBP")
    # Published on Fridays only, before the month and in it.
    for number, (usd, gbp) in enumerate([("1.2", "0.9"), *[("1.1", "0.88")] * 4]):
        for currency, rate in (("USD", usd), ("GBP", gbp)):
            ExchangeRate.objects.create(
                base="EUR",
                currency=currency,
                day=date(2026, 2, 27) + timedelta(days=7 * number),
                rate=Decimal(rate),
                publisher="ECB",
                known_from=NOW,
                set_by="ada",
            )

    book = closed()

    assert set(book.exchange_rates) == {"GBP", "USD/GBP"}
    assert len(book.exchange_rates["GBP"]) == 31
    assert book.exchange_rates["GBP"]["2026-03-01"] == "1.333333333333"
    assert book.exchange_rates["GBP"]["2026-03-31"] == "1.25"
    ExchangeRate.objects.update(rate=Decimal(3))
    assert close.status(month=MONTH, now=NOW).exchange_rates == book.exchange_rates
    assert verify.run().failures == ()


def test_it_keeps_the_cost_centre_of_a_closed_month() -> None:
    bill = month()
    Team.objects.filter(name="a").update(cost_centre="4410")
    closed()

    Team.objects.filter(name="a").update(cost_centre="4500")
    late(bill, "1")
    world.charge(bill, "2", attributes={"team": "a"}, starts=world.at(day=NEXT), complete_through=world.at(day=NEXT))
    world.settle()

    def centres(*months: date) -> dict[str, Decimal]:
        days = Days(months[0], add_months(months[-1], 1))
        return {row.keys[0]: row.cost for row in queries.spend(scope=world.scope(days=days), group_by=["cost_centre"])}

    assert centres(MONTH) == {"4410": Decimal(10)}
    assert centres(NEXT) == {"4410": Decimal(1), "4500": Decimal(2)}
    assert centres(MONTH, NEXT) == {"4410": Decimal(11), "4500": Decimal(2)}
    assert set(ClosedTeam.objects.values_list("month", "team")) == {(MONTH, "a")}


def test_it_changes_nothing_of_a_closed_month_and_names_what_came_late() -> None:
    bill = month()
    closed()
    scope, after = world.scope(days=month_of(MONTH)), world.scope(days=month_of(NEXT))
    before = _everything(scope)

    late(bill, "2.5", attributes={"team": "b"}, model="m1")
    Source.objects.filter(pk=bill.pk).update(complete_through=world.at(day=world.DAY))

    assert _everything(scope) == before
    (line,) = queries.restatement(scope=scope)
    assert (line.team, line.model, line.source) == ("b", "m1", "bill")
    assert (line.closed_cost, line.now_cost, line.change) == (Decimal(0), Decimal("2.5"), Decimal("2.5"))
    assert line.booked_in == NEXT
    (adjusted,) = queries.adjustments(scope=after)
    assert (adjusted.month, adjusted.team, adjusted.cost) == (MONTH, "b", Decimal("2.5"))
    (booked,) = queries.statement(scope=after).lines
    assert (booked.team, booked.adjustment_cost, booked.total_cost) == ("b", Decimal("2.5"), Decimal("2.5"))
    assert verify.run().failures == ()
    assert queries.restatement(scope=world.scope(days=month_of(MONTH), teams=("a",))) == []
    assert queries.adjustments(scope=world.scope(days=month_of(NEXT), teams=("a",))) == []


def _everything(scope: object) -> list[object]:
    """What pages and exports say of a month."""
    statement = queries.statement(scope=scope)
    return [
        queries.total(scope=scope),
        queries.spend(scope=scope, group_by=["provider_name", "team", "cost_centre", "share_kind", "source"]),
        queries.spend_by_day(scope=scope, group_by="team"),
        statement,
        printing.checksum(statement),
        printing.state(statement),
        queries.focus_rows(scope=scope),
        queries.service_categories(scope=scope),
        queries.unit_costs(scope=scope, group_by=["model"]),
        queries.unit_cost_by_day(scope=scope),
        queries.gpu_costs(scope=scope),
        queries.gpu_node_costs(scope=scope),
        queries.estimated_versus_billed(scope=scope),
        queries.agent_runs(scope=scope),
        queries.fine_tune_runs(scope=scope),
    ]


def test_it_opens_again_when_two_people_agree_and_takes_its_adjustments_back() -> None:
    bill = month()
    first = closed()
    late(bill, "2.5")

    with pytest.raises(close.Refused, match="say why"):
        close.ask_reopen(month=MONTH, reason=" ", by="ada", now=NOW)
    with pytest.raises(close.Refused, match="nobody has asked"):
        close.agree_reopen(month=MONTH, by="eve", now=NOW)
    close.ask_reopen(month=MONTH, reason="the bill was wrong", by="ada", now=NOW)
    with pytest.raises(close.Refused, match="another person"):
        close.agree_reopen(month=MONTH, by="Ada ", now=NOW)
    close.agree_reopen(month=MONTH, by="eve", now=NOW)
    world.settle()

    assert close.status(month=MONTH, now=NOW).state == "provisional"
    assert not DailyCost.objects.filter(origin_day__isnull=False).exists()
    assert queries.total(scope=world.scope(days=month_of(MONTH))).cost == Decimal("12.5")
    assert not ClosedTeam.objects.exists()
    again = closed()
    assert (again.version, again.sha256 == first.sha256) == (2, False)
    assert [entry.act for entry in AuditEntry.objects.order_by("pk")][2:4] == ["month.reopen_asked", "month.reopened"]
    assert AuditEntry.objects.get(act="month.reopened").reason == "the bill was wrong"
    assert verify.run().failures == ()


def test_it_stays_closed_when_somebody_declines() -> None:
    month()
    before = closed()
    close.ask_reopen(month=MONTH, reason="curious", by="ada", now=NOW)
    with pytest.raises(close.Refused, match="ada has asked already"):
        close.ask_reopen(month=MONTH, reason="me too", by="eve", now=NOW)

    close.decline_reopen(month=MONTH, by="eve", now=NOW)

    assert close.status(month=MONTH, now=NOW) == before
    assert AuditEntry.objects.get(act="month.reopen_declined").after == {"asked_by": "ada"}


def test_it_moves_the_corrections_of_earlier_months_into_a_month_that_opens_again() -> None:
    bill = month()
    closed()
    late(bill, "1")
    world.charge(bill, "3", attributes={"team": "a"}, starts=world.at(day=NEXT), complete_through=world.at(day=NEXT))
    world.settle()
    Source.objects.filter(pk=bill.pk).update(complete_through=world.at(day=add_months(NEXT, 1)))
    later = world.at(1, day=add_months(NEXT, 1))
    closed(NEXT, now=later)
    late(bill, "5")
    assert set(DailyCost.objects.filter(origin_day=world.DAY).values_list("day", "effective_cost")) == {
        (NEXT, Decimal(1)),
        (add_months(NEXT, 1), Decimal(5)),
    }

    close.ask_reopen(month=NEXT, reason="x", by="ada", now=later)
    close.agree_reopen(month=NEXT, by="eve", now=later)
    world.settle()

    assert list(DailyCost.objects.filter(origin_day=world.DAY).values_list("day", "effective_cost")) == [
        (NEXT, Decimal(6))
    ]
    assert verify.run().failures == ()


def test_it_keeps_the_delivery_that_a_close_used(tmp_path: Path) -> None:
    october.build(tmp_path)
    month = date(2026, 10, 1)
    book = close.close(
        month=month,
        by="ada",
        now=october.NOW,
        waive={
            "reviewed": "small",
            "unallocated": "known",
            "sources": "known",
            "unpriced": "known",
            "reconciled": "known",
        },
    )
    (used,) = book.deliveries
    bill = Source.objects.get(name="aws bill")
    changed = (*october.CHARGES, (9, "Usage", "", "4", "4", "Amazon S3", {"team": "growth", "cost_centre": "4420"}))

    path = october.bill(tmp_path / "aws.csv", changed)
    (result,) = load.from_paths(source_id=bill.pk, paths=[str(path)], now=october.NOW)
    october.settle()

    assert result.state == "succeeded"
    assert not used.is_replaced
    (kept,) = close.status(month=month, now=october.NOW).deliveries
    assert kept.is_replaced
    assert sorted(
        (one.state, one.is_pinned, Charge.objects.filter(delivery=one).count()) for one in Delivery.objects.all()
    ) == [("current", False, 8), ("replaced", True, 7)]
    (line,) = queries.restatement(scope=world.scope(days=month_of(month)))
    assert line.change == Decimal(4)
    assert line.brought_by.startswith("delivery ")
    (reconciled,) = queries.statement(scope=world.scope(days=month_of(month))).reconciliation
    assert reconciled.difference == 0
    assert verify.run().failures == ()

    close.ask_reopen(month=month, reason="x", by="ada", now=october.NOW)
    close.agree_reopen(month=month, by="eve", now=october.NOW)
    assert list(Charge.objects.values_list("delivery__state", flat=True).distinct()) == ["current"]


def test_it_hides_from_a_lead_what_brought_a_change() -> None:
    bill = month()
    closed()
    late(bill, "1")

    (line,) = queries.restatement(scope=world.scope(days=month_of(MONTH), teams=("a",)))

    assert (line.change, line.brought_by) == (Decimal(1), "")


def test_it_notices_when_somebody_changes_a_closed_row() -> None:
    month()
    closed()
    DailyCost.objects.update(region="moon")

    (failure,) = verify.run().failures

    assert failure.check == "sha256 of closed month 2026-03"


def test_it_hashes_nothing_that_is_different_elsewhere() -> None:
    bill = month()
    first = closed_months.fingerprint(month=month_of(MONTH), exchange_rates={})
    DailyCost.objects.all().delete()
    own.reattribute(drafts=[RuleDraft("match", "x", {"set": {"team": "$team"}})], now=NOW, by="ada")
    world.touch(bill)
    world.settle()

    assert closed_months.fingerprint(month=month_of(MONTH), exchange_rates={}) == first


@pytest.mark.django_db(transaction=True)
def test_it_lets_one_of_two_win_who_close_at_once() -> None:
    month()
    close.review(month=MONTH, by="ada", now=NOW)
    ended: list[str] = []
    start = threading.Barrier(2)

    def attempt(who: str) -> None:
        try:
            start.wait(20)
            close.close(month=MONTH, by=who, now=NOW)
            ended.append("closed")
        except close.Refused as problem:
            ended.append(str(problem))
        finally:
            connection.close()

    threads = [threading.Thread(target=attempt, args=(who,)) for who in ("ada", "eve")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert sorted(ended) == ["Mar 2026 is closed already", "closed"]
    assert PeriodBook.objects.get().version == 1


def test_it_waits_for_a_bill_that_has_delivered_nothing_until_it_is_paused() -> None:
    bill = configure.create_source(kind="focus_export", name="never", now=NOW)
    month()
    close.review(month=MONTH, by="ada", now=NOW)

    with pytest.raises(close.Refused, match="never has delivered nothing"):
        close.close(month=MONTH, by="ada", now=NOW)
    configure.pause(source_id=bill, is_active=False)

    assert close.close(month=MONTH, by="ada", now=NOW).state == "closed"


def test_it_keeps_a_source_that_a_closed_month_rests_on() -> None:
    bill = month()
    closed()

    with pytest.raises(pipeline.InUse, match=r"closed months rest on it \(2026-03\); pause it instead"):
        pipeline.forget_source(source_id=bill.pk, by="ada", now=NOW)

    assert Source.objects.filter(pk=bill.pk).exists()


def test_it_forgets_months_that_hold_nothing_but_what_goes() -> None:
    bill = month()
    other = world.source(name="other")
    world.charge(other, "1", attributes={"team": "a"}, starts=world.at(day=MONTH), complete_through=world.at(day=NEXT))
    Source.objects.filter(pk=other.pk).update(complete_through=world.at(day=NEXT))
    world.settle()
    closed()

    with pytest.raises(close.Refused, match="Mar 2026 is closed and holds spend of other sources too"):
        close.forget(source_ids=[bill.pk], by="ada", now=NOW)
    assert PeriodBook.objects.filter(state="closed").exists()
    assert close.forget(source_ids=[bill.pk, other.pk], by="ada", now=NOW) == [MONTH]

    assert not PeriodBook.objects.exists()
    assert not ClosedTeam.objects.exists()
    assert not Delivery.objects.filter(is_pinned=True).exists()


@pytest.mark.django_db(transaction=True)
def test_it_waits_for_a_month_that_is_being_closed_before_it_rebuilds_a_day() -> None:
    month()
    with child.session() as other:
        other.execute("SELECT pg_advisory_lock(hashtext('costobs close'))")

        with pytest.raises(OperationalError, match="lock timeout"), transaction.atomic():
            _waits("200ms")
            books.rebuild(day=world.DAY, now=NOW)
        other.execute("SELECT pg_advisory_unlock(hashtext('costobs close'))")

    assert books.rebuild(day=world.DAY, now=NOW) == 1


def _waits(timeout: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL lock_timeout = '{timeout}'")


@pytest.mark.django_db(transaction=True)
def test_it_lets_days_be_rebuilt_at_once_but_no_month_close_meanwhile() -> None:
    month()
    with child.session() as other:
        other.execute("SELECT pg_advisory_lock_shared(hashtext('costobs close'))")

        assert books.rebuild(day=world.DAY, now=NOW) == 1
        with pytest.raises(OperationalError, match="lock timeout"), transaction.atomic():
            _waits("200ms")
            close.review(month=MONTH, by="ada", now=NOW)
