"""Money that arrives from two sources counts once, and money from one source is never lost to a silent other."""

from datetime import date

import pytest

from attribution import queries, verify
from ingest.models import Authority
from tests.attribution import world

pytestmark = pytest.mark.django_db


def _cost(**columns):
    return queries.total(scope=world.scope(**columns)).cost


def test_it_counts_two_bills_of_one_account_once_and_keeps_both_in_the_books():
    first, second = world.source("focus_export", "focus"), world.source("aws_cur", "cur")
    for bill in (first, second):
        world.charge(bill, "5", sub_account_id="123")

    world.settle()

    assert _cost() == 5
    assert {row.keys[0] for row in queries.spend(scope=world.scope(), group_by=["source"])} == {"focus"}
    assert verify.run().failures == ()
    shown = Authority.objects.get()
    assert (shown.provider_name, shown.account, shown.role, shown.source, shown.is_default) == (
        "AWS",
        "123",
        "billing",
        first,
        True,
    )


def test_it_prefers_the_providers_own_bill():
    world.llm_charge(world.source("focus_export", "focus"), "5")
    world.llm_charge(world.source("openai_costs", "costs"), "6")

    world.settle()

    assert _cost() == 6


def test_it_counts_bills_of_different_accounts_and_days_all():
    first, second = world.source("focus_export", "one"), world.source("focus_export", "two")
    world.charge(first, "1", sub_account_id="123")
    world.charge(second, "2", sub_account_id="456")
    world.charge(second, "4", sub_account_id="123", starts=world.at(day=date(2026, 3, 11)))

    world.settle()

    assert _cost() == 7


def test_it_lets_a_person_choose_the_bill_that_counts():
    first, second = world.source("focus_export", "focus"), world.source("aws_cur", "cur")
    for bill, cost in ((first, "5"), (second, "6")):
        world.charge(bill, cost, sub_account_id="123")
    Authority.objects.create(provider_name="AWS", account="", role="billing", source=second, is_default=False)

    world.settle()

    assert _cost() == 6


def test_it_does_not_lose_an_account_between_a_general_and_a_particular_choice():
    first, second = world.source("focus_export", "focus"), world.source("aws_cur", "cur")
    for account in ("a", "b"):
        world.charge(first, "1", sub_account_id=account)
        world.charge(second, "10", sub_account_id=account)
    Authority.objects.create(provider_name="AWS", account="", role="billing", source=first, is_default=False)
    Authority.objects.create(provider_name="AWS", account="b", role="billing", source=second, is_default=False)

    world.settle()

    assert _cost() == 11


def test_it_counts_calls_that_the_gate_and_a_log_both_saw_once():
    for kind in ("usage_log", "gate"):
        world.usage(world.source(kind, kind), attributes={"team": "search"}, input_uncached=1000, requests=3)

    world.settle()

    (cost,) = queries.unit_costs(scope=world.scope(), group_by=["team"])
    assert (cost.cost, cost.requests, cost.input_uncached) == (1, 3, 1000)
    assert verify.run().failures == ()


def test_it_counts_two_logs_of_two_applications_both():
    for name in ("web", "batch"):
        world.usage(world.source("usage_log", name), input_uncached=1000)

    world.settle()

    assert _cost() == 2


def test_it_counts_one_log_of_deployments_apart():
    world.usage(world.source("gate", "gate"), provider="self_hosted", deployment="a", input_uncached=1000)
    world.usage(world.source("usage_log", "log"), provider="self_hosted", deployment="b", input_uncached=1000)

    world.settle()

    assert _cost() == 2


def test_it_gives_the_same_answer_whichever_source_came_first():
    gate, log = world.source("gate", "gate"), world.source("usage_log", "log")
    world.usage(log, input_uncached=2000)
    world.settle()
    alone = _cost()
    world.usage(gate, input_uncached=1000)

    world.settle()

    assert (alone, _cost()) == (2, 1)


def test_it_takes_a_log_without_an_account_for_the_calls_of_any_account():
    world.usage(world.source("litellm", "proxy"), attributes={"account": "org-1"}, input_uncached=1000)
    world.usage(world.source("otlp", "app"), input_uncached=1000)

    world.settle()

    assert _cost() == 1
    assert verify.run().failures == ()


def test_it_yields_to_no_log_that_does_not_count_itself():
    world.usage(world.source("gate", "gate"), attributes={"account": "a"}, input_uncached=1000)
    world.usage(world.source("litellm", "proxy"), input_uncached=1000)
    world.usage(world.source("otlp", "app"), attributes={"account": "b"}, input_uncached=4000)

    world.settle()

    assert {row.keys[0]: row.cost for row in queries.spend(scope=world.scope(), group_by=["source"])} == {
        "gate": 1,
        "app": 4,
    }
    assert verify.run().failures == ()
