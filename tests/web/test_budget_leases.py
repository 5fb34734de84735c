"""The account of a hard budget on its page: the parts add up to the limit, each process is named, soft budgets have none."""

from decimal import Decimal

import pytest
from django.test import Client

from alerts import leases
from alerts.models import Budget, Gate, LeaseAccount
from tests.web import reading
from tests.web.conftest import NOW, Ledger

pytestmark = pytest.mark.django_db


def ask(ledger: Ledger, budget_id: int, *held: dict[str, object]) -> int:
    """A process of the gate asks for a lease; the account it got."""
    document = {
        "process": "7-web", "sequence": 1 + len(held), "held": list(held),
        "wants": [{"budget": budget_id, "hold": "50", "need": "0"}],
    }  # fmt: skip
    source_id = Gate.objects.get(name="chat-1").source_id
    answer = leases.answer(source_id=source_id, asked=leases.parse(document), now=NOW)
    account: int = answer["leases"][0]["account"]
    return account


def test_it_shows_nothing_of_leases_for_a_soft_budget(ada: Client, ledger: Ledger) -> None:
    response = reading.shown(ada, f"/budgets/{ledger.support_budget_id}/")

    assert "lease_caption" not in response.context
    assert "Hard limit" not in reading.words(response)


def test_it_says_that_no_gate_has_asked_yet(ada: Client, ledger: Ledger) -> None:
    Budget.objects.filter(pk=ledger.support_budget_id).update(is_hard=True)

    assert "No gate has asked for a lease" in reading.words(reading.shown(ada, f"/budgets/{ledger.support_budget_id}/"))


def test_it_shows_an_account_whose_parts_add_up_to_the_limit(ada: Client, ledger: Ledger) -> None:
    budget_id = ledger.support_budget_id
    Budget.objects.filter(pk=budget_id).update(is_hard=True)
    account = ask(ledger, budget_id)
    ask(ledger, budget_id, {"account": account, "settled": "12.5", "returned": "0", "reserved": "2"})

    response = reading.shown(ada, f"/budgets/{budget_id}/")

    table = response.context["lease_account"]
    assert reading.column(table, "Account")[:1] == ["Limit"]
    limit, *parts = [reading.amount(each) for each in reading.column(table, "Amount")]
    assert sum(parts) == limit
    opening = LeaseAccount.objects.get().opening_cost  # the books knew calls through gates before the first lease
    assert parts[0] == round(opening + Decimal("12.5"), 2)
    assert reading.column(response.context["lease_table"], "State") == ["Open"]
    assert "7-web" in reading.words(response) and "cannot be passed through gates" in reading.words(response)


def test_it_keeps_the_account_from_leads_of_other_teams(ada: Client, ben: Client, ledger: Ledger) -> None:
    Budget.objects.filter(pk=ledger.support_budget_id).update(is_hard=True)
    ask(ledger, ledger.support_budget_id)
    page = f"/budgets/{ledger.support_budget_id}/"

    assert "7-web" in reading.words(reading.shown(ada, page))
    assert "7-web" not in reading.words(reading.shown(ben, page, 404))
