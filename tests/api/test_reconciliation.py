"""Reconciliation for programs: the same sums as the page, for those who see everything."""

from decimal import Decimal

import pytest

from attribution import queries, reconcile
from costobs.kernel.period import Days
from costobs.kernel.scope import SpendScope
from tests.api.conftest import Person, Program
from tests.attribution import month as months
from tests.attribution.month import DAYS

pytestmark = pytest.mark.django_db

URL = "/api/v1/reconciliation?from=2026-02-01&to=2026-02-28"
FEBRUARY = Days(DAYS[0], months.AFTER)


@pytest.fixture
def _compared() -> None:
    months.write(months.make("api", ["bypass", "credit", "price"]))
    reconcile.run(month=FEBRUARY, now=months.NOW)


@pytest.mark.usefixtures("_compared")
def test_it_gives_the_sums_of_the_page_with_every_digit(program: Program) -> None:
    found = queries.compared(scope=SpendScope(FEBRUARY, teams=None))

    told = program("read").get(URL).json()

    assert Decimal(told["difference"]) == found.difference
    assert sum(Decimal(one["amount"]) for one in told["causes"]) == found.difference
    assert sum(Decimal(one["estimated_cost"]) for one in told["days"]) == found.estimated_cost
    assert {one["provider"] for one in told["providers"]} == {"OpenAI"}
    assert sorted(told["currencies"]) == ["EUR", "USD"]
    assert told["providers"][0]["threshold"] == {"percent": "2", "amount": "10"}


@pytest.mark.usefixtures("_compared")
def test_it_answers_in_another_currency_and_for_one_provider(program: Program) -> None:
    told = program("read").get(f"{URL}&currency=EUR&provider=Anthropic").json()

    assert told["currency"] == "EUR"
    assert [one["provider"] for one in told["providers"]] == ["Anthropic"]
    assert program("read", "ingest").get(f"{URL}&provider=nobody").json()["providers"] == []


@pytest.mark.usefixtures("_compared")
def test_it_refuses_whoever_sees_only_some_teams(program: Program, person: Person) -> None:
    for client in (program("read", teams=["search"]), person("lead", "search")):
        answer = client.get(URL)

        assert answer.status_code == 403
        assert "all teams at once" in answer.json()["detail"]


def test_it_answers_where_nothing_was_compared(program: Program) -> None:
    told = program("read").get("/api/v1/reconciliation").json()

    assert (told["providers"], told["causes"], told["explained_share"]) == ([], [], None)
