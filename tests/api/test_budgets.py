"""Budgets over REST: the numbers of the page, and changes only by those who may."""

import csv
import io
import json
from decimal import Decimal
from typing import Any

import pytest
import time_machine
from django.test import Client

from alerts import budgets, evaluate, queries
from alerts.models import Budget
from alerts.rows import BudgetTerms
from costobs.audit.models import AuditEntry
from tests.api.conftest import Person, Program
from tests.api.october import NOW, Ledger

pytestmark = pytest.mark.django_db

URL = "/api/v1/budgets"


@pytest.fixture
def budget(ledger: Ledger) -> int:
    given: dict[str, Any] = {"currency": "USD", "period": "quarter", "rungs": (), "by": "ada", "now": NOW}
    budgets.create(name="All", scope={}, amount="5000", **given)
    terms = BudgetTerms(zone="Europe/Berlin", borrow_percent=Decimal(10), criticality="high")
    budget_id = budgets.create(name="Search", scope={"team": ["search"]}, amount="1000", terms=terms, **given)
    evaluate.run(now=NOW)
    return budget_id


def _send(client: Client, method: str, path: str, body: object) -> Any:
    with time_machine.travel(NOW, tick=False):
        return client.generic(method, path, json.dumps(body), content_type="application/json")


def _get(client: Client, path: str, **query: str) -> Any:
    with time_machine.travel(NOW, tick=False):
        return client.get(path, query)


def test_it_answers_with_the_numbers_of_the_page(budget: int, program: Program) -> None:
    found = _get(program("read"), f"{URL}/{budget}").json()

    line = queries.budget(id=budget, now=NOW, teams=None).line
    assert found["now"]["spend_cost"] == f"{line.spend_cost:f}"
    assert Decimal(found["now"]["amount"]) == 1100
    assert found["amount"] == "1000"
    assert found["terms"]["zone"] == "Europe/Berlin"
    assert sum(Decimal(part["cost"]) for part in found["parts"]) == line.spend_cost
    assert [one["name"] for one in found["overlaps"]] == ["All"]


def test_it_shows_a_team_its_own_and_nothing_of_others(budget: int, program: Program) -> None:
    bound = program("read", teams=["search"])

    listed = _get(bound, URL).json()["budgets"]
    one = _get(bound, f"{URL}/{budget}").json()
    other = _get(program("read", teams=["support"]), f"{URL}/{budget}")

    assert [each["name"] for each in listed] == ["Search"]
    assert one["overlaps"] == []
    assert other.status_code == 404


def test_it_filters_by_state_and_gives_the_file_the_import_reads(budget: int, program: Program) -> None:
    client = program("read")

    states = {each["now"]["state"] for each in _get(client, URL).json()["budgets"]}
    none = _get(client, URL, state="stopped").json()
    rows = list(csv.DictReader(io.StringIO(_get(client, URL, format="csv").content.decode())))

    assert states and none == {"budgets": []}
    assert {row["name"]: row["zone"] for row in rows} == {"All": "UTC", "Search": "Europe/Berlin"}
    assert _get(client, URL, format="xml").status_code == 400


def test_it_makes_changes_and_deletes_for_a_token_with_the_grant(budget: int, program: Program) -> None:
    client = program("read", "budgets")
    asked = {
        "name": "Growth",
        "scope": {"team": ["growth"]},
        "amount": "250.50",
        "currency": "USD",
        "period": "month",
        "terms": {"rollover": "unused", "rollover_cap_percent": "20", "parent_id": budget, "starts_on": "2026-10-01"},
        "ladder": [{"percent": "80", "action": "notify"}],
    }

    made = _send(client, "POST", URL, asked)
    path = f"{URL}/{made.json()['id']}"
    changed = _send(client, "PATCH", path, {"amount": "300", "terms": {"rollover_cap_percent": None}})
    gone = _send(client, "DELETE", path, {})

    assert made.status_code == 201
    assert (made.json()["amount"], made.json()["terms"]["parent_id"]) == ("250.50", budget)
    assert [step["percent"] for step in made.json()["ladder"]] == ["80.00"]
    assert (changed.json()["amount"], changed.json()["terms"]["rollover"]) == ("300", "unused")
    assert changed.json()["terms"]["rollover_cap_percent"] is None
    assert (gone.status_code, Budget.objects.filter(name="Growth").exists()) == (204, False)
    acts = AuditEntry.objects.filter(actor="read-budgets").order_by("pk").values_list("act", flat=True)
    assert list(acts) == ["budget.created", "budget.changed", "budget.deleted"]


def test_it_keeps_everybody_else_from_changing_anything(budget: int, program: Program, person: Person) -> None:
    clients = [
        program("read"),
        program("budgets"),
        program("read", "budgets", teams=["search"]),
        person("lead", "search"),
        person("none"),
        Client(),
    ]

    answers = [
        _send(client, method, path, {"amount": "1"}).status_code
        for client in clients
        for method, path in (("POST", URL), ("PATCH", f"{URL}/{budget}"), ("DELETE", f"{URL}/{budget}"))
    ]

    assert set(answers) <= {401, 403}
    assert Budget.objects.get(pk=budget).amount == 1000


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ([], "JSON object"),
        ({"amount": 1.5, "name": "x"}, "amount"),
        ({"name": "x"}, "amount"),
        ({"name": 5, "amount": "1"}, "name"),
        ({"name": "x", "amount": "1", "planet": "earth"}, "planet"),
        ({"name": "x", "amount": "1", "scope": {"team": "search"}}, "scope"),
        ({"name": "x", "amount": "1", "scope": {"planet": ["earth"]}}, "planet"),
        ({"name": "x\x00", "amount": "1"}, "printed"),
        ({"name": "x", "amount": "1", "scope": {"team": ["a\x00"]}}, "null character"),
        ({"name": "x", "amount": "1e-400"}, "amount"),
        ({"name": "x", "amount": "1", "terms": {"is_hard": "yes"}}, "is_hard"),
        ({"name": "x", "amount": "1", "terms": {"zone": None}}, "zone"),
        ({"name": "x", "amount": "1", "terms": {"parent_id": 10**30}}, "parent"),
        ({"name": "x", "amount": "1", "terms": {"starts_on": "soon"}}, "starts_on"),
        ({"name": "x", "amount": "1", "ladder": [{"percent": "50"}]}, "ladder"),
        ({"name": "x", "amount": "1", "ladder": [{"percent": "50", "action": "notify", "config": []}]}, "config"),
        ({"name": "x", "amount": "1", "ladder": [{"percent": "1000000000000000", "action": "notify"}]}, "rungs.0"),
    ],
)
def test_it_says_what_is_wrong(body: object, word: str, ledger: Ledger, program: Program) -> None:
    answer = _send(program("read", "budgets"), "POST", URL, body)

    assert answer.status_code == 400, answer.content
    assert word in answer.json()["detail"]
