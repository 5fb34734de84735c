"""Reconciliation as people see it: the finding, the bridge, the rows behind a cause, and who may look and set."""

import re
from collections.abc import Callable
from decimal import Decimal
from html import unescape

import pytest
import time_machine
from django.contrib.auth import get_user_model
from django.test import Client

from attribution import queries, reconcile
from costobs.access.models import Membership
from costobs.audit.models import AuditEntry
from costobs.kernel.period import Days
from costobs.kernel.scope import SpendScope
from tests.attribution import month as months
from tests.attribution.month import DAYS, Month

pytestmark = pytest.mark.django_db

FEBRUARY = Days(DAYS[0], months.AFTER)
QUERY = "preset=custom&from=2026-02-01&to=2026-02-28"
SignIn = Callable[..., Client]


@pytest.fixture
def month() -> Month:
    """A month with repeats in the log, a wrong price and a credit."""
    made = months.make("page", ["duplicates", "price", "credit", "bypass"])
    months.write(made)
    reconcile.run(month=FEBRUARY, now=months.NOW)
    return made


@pytest.fixture
def sign_in() -> SignIn:
    def signed_in(role: str, *teams: str) -> Client:
        user = get_user_model().objects.create_user(f"{role}{''.join(teams)}")
        Membership.objects.create(user=user, role=role, teams=list(teams))
        client = Client()
        client.force_login(user)
        return client

    return signed_in


@pytest.fixture(autouse=True)
def _march() -> object:
    with time_machine.travel(months.NOW, tick=False):
        yield


def words(client: Client, url: str, status: int = 200) -> str:
    response = client.get(url)
    assert response.status_code == status, response.content[:2000]
    return re.sub(
        r"\s+", " ", unescape(re.sub(r"<script.*?</script>|<[^>]+>", " ", response.content.decode(), flags=re.S))
    )


def test_it_states_the_difference_and_how_much_of_it_is_explained(month: Month, sign_in: SignIn) -> None:
    found = queries.compared(scope=SpendScope(FEBRUARY, teams=None))

    page = words(sign_in("finance"), f"/reconciliation/?{QUERY}")

    side = "below" if found.difference > 0 else "above"
    assert f"Feb 2026: estimates were ${abs(found.difference):,.2f}" in page
    assert f"{side} the bills" in page
    assert "100 % of the differences are explained" in page
    assert found.explained_share == 1
    assert "Bills in USD. Also: EUR" in page


def test_its_causes_add_to_the_difference(month: Month, sign_in: SignIn) -> None:
    for currency in ("USD", "EUR"):
        found = queries.compared(scope=SpendScope(FEBRUARY, currency=currency, teams=None))

        assert sum((one.amount for one in found.causes), Decimal(0)) == found.difference
        assert sum((one.difference for one in found.providers), Decimal(0)) == found.difference
        assert sum((one.estimated_cost for one in found.by_day), Decimal(0)) == found.estimated_cost


def test_it_leads_to_the_newest_month_that_was_compared(month: Month, sign_in: SignIn) -> None:
    response = sign_in("finance").get("/reconciliation/")

    assert response.status_code == 302
    assert response["Location"] == f"/reconciliation/?{QUERY}"


def test_it_lists_the_cells_and_the_rows_behind_a_cause(month: Month, sign_in: SignIn) -> None:
    finance = sign_in("finance")
    found = queries.compared(scope=SpendScope(FEBRUARY, teams=None))
    assert {one.cause for one in found.causes} >= {"price", "bypass"}

    for cause in (one.cause for one in found.causes):
        listed = finance.get(f"/reconciliation/rows/?{QUERY}&cause={cause}")
        cell = re.search(r'href="([^"]*cell=\d+[^"]*)"', listed.content.decode())
        assert cell is not None, cause
        page = words(finance, unescape(cell.group(1)))

        assert "Charge" in page or "Call" in page


def test_it_names_the_events_that_were_logged_twice(month: Month, sign_in: SignIn) -> None:
    finance = sign_in("finance")
    currency = months.CURRENCY[next(iter(month.truth["duplicates"]))[1]]

    listed = finance.get(f"/reconciliation/rows/?{QUERY}&cause=duplicates&currency={currency}").content.decode()
    (cell, *_more) = re.findall(r'href="([^"]*cell=\d+[^"]*)"', listed)
    page = words(finance, unescape(cell))

    names = re.findall(r"(?:north|south|paris)-\S+-\d{4}T\d{6}(?:-again)?", page)
    assert any(name.endswith("-again") for name in names) or len(names) > len(set(names))


def test_it_exports_the_rows_with_every_digit(month: Month, sign_in: SignIn) -> None:
    found = queries.compared(scope=SpendScope(FEBRUARY, teams=None))

    lines = sign_in("finance").get(f"/reconciliation/export.csv?{QUERY}").content.decode().splitlines()

    at = lines[0].split(",").index("amount")
    assert sum((Decimal(line.split(",")[at]) for line in lines[1:]), Decimal(0)) == found.difference


@pytest.mark.parametrize(
    "path", ["/reconciliation/", "/reconciliation/rows/?cause=bypass", "/reconciliation/export.csv"]
)
def test_it_tells_a_lead_that_bills_are_about_all_teams(path: str, sign_in: SignIn) -> None:
    assert "all teams at once" in words(sign_in("lead", "search"), path, 403)
    assert "no role yet" in words(sign_in("none"), path, 403)


def test_it_shows_nothing_to_a_scope_of_teams(month: Month) -> None:
    ben = SpendScope(FEBRUARY, teams=("search",))

    assert queries.compared(scope=ben).providers == ()
    assert queries.compared(scope=ben).causes == ()
    assert queries.cause_rows(scope=ben, cause="price") == ([], 0)


def test_it_says_what_is_missing_where_nothing_was_loaded(sign_in: SignIn) -> None:
    page = words(sign_in("finance"), "/reconciliation/")

    assert "nothing to reconcile" in page
    assert "Load bills and usage" in page


@pytest.mark.parametrize(
    "query",
    [
        "cause=weather",
        "cause=price&page=0",
        "cause=price&page=x",
        "cause=price&cell=-1",
        "cause=price&f=team:a",
        "cause=price&provider=%00",
        "",
    ],
)
def test_it_says_what_is_wrong_with_an_address(query: str, sign_in: SignIn) -> None:
    assert "unknown" in words(sign_in("finance"), f"/reconciliation/rows/?{query}", 400)


def test_it_says_that_a_cell_is_gone(month: Month, sign_in: SignIn) -> None:
    assert "compared again" in words(
        sign_in("finance"), f"/reconciliation/rows/?{QUERY}&cause=price&cell=999999999", 404
    )


def test_it_sets_a_threshold_once_and_writes_it_down(month: Month, sign_in: SignIn) -> None:
    finance = sign_in("finance")
    asked = {"provider": "OpenAI", "percent": "0.5", "amount": "1", "query": QUERY}

    for _twice in range(2):
        finance.post("/reconciliation/thresholds/", asked)

    line = next(
        one for one in queries.compared(scope=SpendScope(FEBRUARY, teams=None)).providers if one.provider == "OpenAI"
    )
    assert (line.threshold.percent, line.threshold.amount) == (Decimal("0.5"), 1)
    assert line.is_over
    entry = AuditEntry.objects.get(act="drift_threshold.set")
    assert (entry.subject, entry.after) == ("provider:OpenAI", {"percent": "0.500", "amount": "1"})

    finance.post("/reconciliation/thresholds/", {"provider": "OpenAI", "remove": "1"})

    assert [one.provider for one in queries.thresholds()] == [""]


@pytest.mark.parametrize(("percent", "amount"), [("0", "1"), ("two", "1"), ("2", "-1"), ("NaN", "1"), ("", "")])
def test_it_refuses_a_threshold_that_cannot_be(percent: str, amount: str, sign_in: SignIn) -> None:
    asked = {"provider": "", "percent": percent, "amount": amount}

    response = sign_in("finance").post("/reconciliation/thresholds/", asked, follow=True)

    assert "The threshold was not set" in response.content.decode()
    assert not AuditEntry.objects.exists()


def test_it_lets_only_administrators_and_finance_set_thresholds(sign_in: SignIn) -> None:
    response = sign_in("lead", "search").post("/reconciliation/thresholds/", {"percent": "1", "amount": "1"})

    assert response.status_code == 403
    assert not AuditEntry.objects.exists()
