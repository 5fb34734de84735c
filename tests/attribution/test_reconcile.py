"""Reconciling as a step: what is compared when, what stays as it was, and bills that tell less than others."""

from datetime import date, datetime, timedelta
from decimal import Decimal
from io import StringIO
from typing import Any

import orjson
import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from alerts.models import Alert
from attribution import calls, queries, reconcile
from attribution.models import PeriodBook, ReconciledCause, ReconciledCell, ReconciledDay, RulesetVersion
from costobs import pipeline
from costobs.kernel.period import Days
from costobs.kernel.scope import SpendScope
from tests.alerts.conftest import at_once
from tests.attribution import world

pytestmark = pytest.mark.django_db

MARCH = Days(date(2026, 3, 1), date(2026, 4, 1))


def compare() -> list[Days]:
    """Books, then every month that is due."""
    world.settle()
    months = reconcile.due(now=world.NOW)
    for month in months:
        reconcile.run(month=month, now=world.NOW)
    return months


def causes() -> dict[str, Decimal]:
    found: dict[str, Decimal] = {}
    for cause, amount in ReconciledCause.objects.values_list("cause", "amount"):
        found[cause] = found.get(cause, Decimal(0)) + amount
    return found


def sheet(currency: str = "USD") -> queries.Comparison:
    return queries.compared(scope=SpendScope(MARCH, currency=currency, teams=None))


def rows() -> list[tuple[Any, ...]]:
    return world.fetch("""SELECT c.day, c.provider, c.account, c.model, c.token_kind, c.is_billed, c.estimated_cost, c.billed_cost,
        c.covered_cost, x.cause, x.amount, x.tokens, x.evidence::text FROM attribution_reconciledcell c
        LEFT JOIN attribution_reconciledcause x ON x.cell_id = c.id ORDER BY 1, 2, 3, 4, 5, 10""")


def test_it_agrees_with_a_bill_that_agrees() -> None:
    world.usage(world.source("usage_log", "log"), input_uncached=5000, output=300)
    world.llm_charge(world.source(), "5", consumed_quantity=Decimal(5000))
    world.llm_charge(world.source(), "0.3", token_kind="output", consumed_quantity=Decimal(300))

    assert compare() == [MARCH]

    assert causes() == {}
    found = sheet()
    assert (found.estimated_cost, found.billed_cost, found.difference) == (Decimal("5.3"), Decimal("5.3"), 0)
    assert found.providers[0].coverage == 1
    assert found.explained_share is None


def test_it_names_traffic_that_was_never_logged_and_what_was_logged_of_the_bill() -> None:
    world.usage(world.source("usage_log", "log"), input_uncached=6000)
    world.llm_charge(world.source(), "8", consumed_quantity=Decimal(8000))

    compare()

    assert causes() == {"bypass": 2}
    assert sheet().providers[0].coverage == Decimal("0.75")


def test_it_calls_unknown_what_was_logged_and_not_billed() -> None:
    world.usage(world.source("usage_log", "log"), input_uncached=9000)
    world.llm_charge(world.source(), "8", consumed_quantity=Decimal(8000))

    compare()

    assert causes() == {"unknown": -1}
    assert sheet().explained_share == 0


def test_it_compares_once_the_bill_of_the_day_is_complete() -> None:
    log, bill = world.source("usage_log", "log"), world.source()
    world.usage(log, input_uncached=5000)
    world.llm_charge(bill, "2", consumed_quantity=Decimal(2000), complete_through=world.at(12))

    compare()

    found = sheet()
    assert causes() == {}
    assert (found.estimated_cost, found.waiting_cost) == (0, 5)
    assert queries.reconciled(month=world.DAY).providers_waiting == ("OpenAI",)


def test_it_leaves_days_alone_that_did_not_change() -> None:
    log = world.source("usage_log", "log")
    world.usage(log, input_uncached=5000)
    world.llm_charge(world.source(), "8", consumed_quantity=Decimal(8000))
    compare()

    assert compare() == []

    world.usage(log, hour=world.at(11), input_uncached=3000)
    assert compare() == [MARCH]
    assert causes() == {}


def test_it_does_not_look_at_a_day_before_it_is_over_or_rolled_up() -> None:
    world.usage(world.source("usage_log", "log"), input_uncached=5000)

    assert reconcile.due(now=world.NOW) == []

    world.settle()
    assert reconcile.due(now=world.at(23)) == []
    assert reconcile.run(month=MARCH, now=world.at(0, day=MARCH.start)) == reconcile.Reconciled(0, 0, 0)
    assert reconcile.due(now=world.at(0, day=world.DAY + timedelta(days=1))) == [MARCH]


def test_it_writes_the_same_rows_when_repeated() -> None:
    world.usage(world.source("usage_log", "log"), input_uncached=5000, output=10)
    world.llm_charge(world.source(), "8", consumed_quantity=Decimal(8000))
    compare()
    once = rows()

    reconcile.run(month=MARCH, now=world.NOW)

    assert rows() == once


@pytest.mark.django_db(transaction=True)
def test_it_writes_them_once_when_two_run_at_once() -> None:
    world.usage(world.source("usage_log", "log"), input_uncached=5000)
    world.llm_charge(world.source(), "8", consumed_quantity=Decimal(8000))
    world.settle()

    raised = at_once(*[lambda: reconcile.run(month=MARCH, now=world.NOW)] * 2)

    assert raised == []
    assert ReconciledCell.objects.count() == 1
    assert ReconciledDay.objects.count() == 1


def test_it_leaves_closed_days_as_they_were_at_close() -> None:
    log = world.source("usage_log", "log")
    april = MARCH.end + timedelta(days=2)
    now = datetime(2026, 4, 20, tzinfo=world.NOW.tzinfo)
    world.usage(log, input_uncached=5000)
    world.llm_charge(world.source(), "8", consumed_quantity=Decimal(8000))
    compare()
    before = rows()
    PeriodBook.objects.create(
        month=MARCH.start, state="closed", closed_at=now, ruleset=RulesetVersion.objects.get(is_current=True)
    )

    world.usage(log, hour=world.at(12), input_uncached=3000)
    world.usage(log, hour=world.at(12, day=april), input_uncached=1000)
    world.settle()

    assert [month.start for month in reconcile.due(now=now)] == [MARCH.end]
    for month in (MARCH, Days(MARCH.end, date(2026, 5, 1))):
        reconcile.run(month=month, now=now)
    assert [row for row in rows() if row[0] < MARCH.end] == before
    assert {row[0] for row in rows()} == {world.DAY, april}


def test_it_takes_a_bill_without_tokens_by_what_its_amount_pays_for() -> None:
    world.usage(world.source("usage_log", "log"), input_uncached=6000)
    world.llm_charge(world.source(), "8", consumed_unit="")

    compare()

    assert causes() == {"bypass": 2}
    assert ReconciledCell.objects.get().billed_tokens is None


def test_it_compares_whole_models_where_the_bill_does_not_tell_kinds_apart() -> None:
    log = world.source("usage_log", "log")
    own = world.price(per_token="0.001")
    own.output_price = Decimal("0.004")
    own.save()
    world.usage(log, unit_price=own, input_uncached=6000, output=500)
    world.llm_charge(world.source(), "8", token_kind="", consumed_quantity=Decimal(6500))

    compare()

    assert causes() == {}
    assert ReconciledCell.objects.get().token_kind == ""


def test_it_joins_accounts_that_bill_and_log_name_in_different_ways() -> None:
    world.usage(world.source("usage_log", "log"), attributes={"account": "platform"}, input_uncached=8000)
    for account in ("1111", "2222"):
        world.llm_charge(world.source(), "4", consumed_quantity=Decimal(4000), sub_account_id=account)

    compare()

    assert causes() == {}
    assert ReconciledCell.objects.get().account == ""


def test_it_counts_a_second_bill_of_the_same_money_once() -> None:
    world.usage(world.source("usage_log", "log"), input_uncached=8000)
    for kind in ("focus_export", "openai_costs"):
        world.llm_charge(world.source(kind, kind), "8", consumed_quantity=Decimal(8000))

    compare()

    assert causes() == {}
    assert sheet().billed_cost == 8


def test_it_names_what_the_bill_adds_by_itself() -> None:
    bill = world.source()
    world.usage(world.source("usage_log", "log"), input_uncached=8000)
    world.llm_charge(bill, "8", consumed_quantity=Decimal(8000), billed_cost=Decimal(6))
    world.llm_charge(bill, "-2.5", charge_category="Credit", model="", token_kind="")
    world.llm_charge(bill, "1.25", charge_category="Tax", model="", token_kind="")
    world.llm_charge(bill, "3", cost_kind="storage", model="", token_kind="", consumed_unit="GB")
    world.llm_charge(bill, "-0.75", charge_class="Correction")

    compare()

    assert causes() == {
        "discount": -2,
        "credit": Decimal("-2.5"),
        "tax": Decimal("1.25"),
        "not_calls": 3,
        "adjustment": Decimal("-0.75"),
    }
    assert not sheet().providers[0].is_over


def test_it_sizes_a_model_that_was_never_logged_by_its_bill() -> None:
    world.usage(world.source("usage_log", "log"), input_uncached=8000)
    world.llm_charge(world.source(), "8", consumed_quantity=Decimal(8000))
    world.llm_charge(world.source(), "7", model="nobody-knows-this", consumed_quantity=Decimal(10))

    compare()

    assert causes() == {"bypass": 7}


def test_it_takes_the_rate_of_the_bill_where_none_is_published() -> None:
    log, bill = world.source("usage_log", "log"), world.source()
    for model in ("gpt-4o", "gpt-4o-mini"):
        world.usage(log, model=model, input_uncached=8000)
        world.llm_charge(bill, "7.2", model=model, consumed_quantity=Decimal(8000), billing_currency="EUR")

    compare()

    assert causes() == {}
    assert sheet("EUR").estimated_cost == Decimal("14.4")
    assert sheet("USD").currency == "EUR"


def test_it_ignores_own_gpus_and_bills_of_other_things() -> None:
    world.usage(world.source("usage_log", "log"), provider="self_hosted", model="llama", deployment="chat", output=900)
    world.charge(world.source(), "100")

    compare()

    assert rows() == []
    assert sheet().providers == ()


def test_it_says_what_month_close_asks() -> None:
    world.usage(world.source("usage_log", "log"), input_uncached=80_000)
    world.llm_charge(world.source(), "108", consumed_quantity=Decimal(108_000))
    compare()

    found = queries.reconciled(month=world.DAY)

    assert (found.explained_share, found.providers_over, found.days_compared) == (1, ("OpenAI",), 1)
    assert not found.is_reconciled
    reconcile.set_threshold(provider="", percent=Decimal(50), amount=Decimal(1), by="ada", now=world.NOW)
    assert queries.reconciled(month=world.DAY).is_reconciled


def test_it_compares_and_tells_in_the_flow_one_month_at_a_time() -> None:
    log, bill = world.source("usage_log", "log"), world.source()
    for day in (world.DAY, world.DAY - timedelta(days=28)):
        world.usage(log, hour=world.at(5, day=day), input_uncached=80_000)
        world.llm_charge(bill, "108", starts=world.at(day=day), consumed_quantity=Decimal(108_000))
    world.settle()

    done = [pipeline.compare(world.NOW) for _round in range(3)]

    assert done == [1, 1, 0]
    assert Alert.objects.filter(kind="drift").count() == 2


def test_it_prints_the_comparison_on_the_command_line() -> None:
    world.usage(world.source("usage_log", "log"), input_uncached=6000)
    world.llm_charge(world.source(), "8", consumed_quantity=Decimal(8000))
    world.settle()

    said = _run("--month", "2026-03")
    told = orjson.loads(_run("--month", "2026-03", "--format", "json"))

    assert "OpenAI USD: estimated 6.000, billed 8, difference 2.000, logged share 75.0 %, unknown 0" in said
    assert "bypass: 2.000000000000, cells 1, days 1" in said
    assert Decimal(told["difference"]) == 2
    assert [(one["cause"], Decimal(one["amount"])) for one in told["causes"]] == [("bypass", Decimal(2))]
    assert "no usage and no bill" in _run("--month", "2020-01")
    with pytest.raises(CommandError, match="expected a month as YYYY-MM"):
        _run("--month", "March")


def _run(*words: str) -> str:
    out = StringIO()
    call_command("reconcile", *words, stdout=out)
    return out.getvalue()


def test_it_forgets_days_whose_sources_are_gone() -> None:
    world.usage(world.source("usage_log", "log"), input_uncached=6000)
    compare()
    assert len(rows()) == 1

    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM ingest_usagehour; DELETE FROM ingest_usageday; DELETE FROM ingest_touched")

    assert compare() == [MARCH]
    assert rows() == []
    assert compare() == []


def test_it_keeps_what_others_do_while_it_reads() -> None:
    world.usage(world.source("usage_log", "log"), input_uncached=6000)
    world.llm_charge(world.source(), "8", consumed_quantity=Decimal(8000))
    compare()

    with connection.cursor() as cursor:
        cursor.execute("UPDATE ingest_touched SET version = version + 1, rolled_up_version = rolled_up_version + 1")

    assert reconcile.due(now=world.NOW) == [MARCH]


def test_it_looks_for_repeats_only_on_days_that_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    log, bill = world.source("usage_log", "log"), world.source()
    for number in (0, 5):
        day = world.DAY + timedelta(days=number)
        world.usage(log, hour=world.at(5, day=day), input_uncached=6000)
        world.llm_charge(bill, "8", starts=world.at(day=day), consumed_quantity=Decimal(8000))
    looked: list[date] = []
    found = calls.twice
    monkeypatch.setattr(calls, "twice", lambda *, day: looked.append(day) or found(day=day))
    compare()

    world.usage(log, hour=world.at(6), input_uncached=1000)
    compare()

    assert looked == [world.DAY, world.DAY + timedelta(days=5), world.DAY]
    assert causes() == {"bypass": 3}


def test_it_names_the_price_of_a_model_we_know_as_free() -> None:
    world.usage(world.source("usage_log", "log"), unit_price=world.price(per_token="0"), input_uncached=6000)
    world.llm_charge(world.source(), "8", consumed_quantity=Decimal(6000))

    compare()

    assert causes() == {"price": 8}


def test_it_names_a_conservative_price_as_an_unpriced_model() -> None:
    guess = world.price(per_token="0.004", is_conservative=True)
    world.usage(world.source("usage_log", "log"), unit_price=guess, input_uncached=6000)
    world.llm_charge(world.source(), "9", consumed_quantity=Decimal(6000))

    compare()

    assert causes() == {"unpriced": -15}


def test_it_compares_each_account_with_its_own_calls() -> None:
    bill = world.source()
    for name, account in (("log", "a"), ("other", "b")):
        world.usage(world.source("usage_log", name), attributes={"account": account}, input_uncached=6000)
    for account in ("a", "b"):
        world.llm_charge(bill, "6", consumed_quantity=Decimal(6000), sub_account_id=account)

    compare()

    assert causes() == {}
    assert {row[2] for row in rows()} == {"a", "b"}
