"""One budget, one set of figures: the pages, their file, the answers to programs and the command line say the same."""

import csv
import io
import json
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from django.urls import reverse

from alerts import budgets, evaluate, expected
from alerts.rows import BudgetTerms
from attribution import queries, rates
from costobs.kernel import fmt
from tests.web import reading
from tests.web.conftest import NOW, TODAY, Ledger, scope

pytestmark = pytest.mark.django_db

NEW_YORK, EURO, ROLLING = "Search of New York", "Support in euros", "Support, 30 days"
_COSTS = ("spend", "estimated", "forecast", "forecast_low", "forecast_high")
NAMES = {"Search answers", "Support", NEW_YORK, EURO, ROLLING}


@dataclass(frozen=True, slots=True)
class Figures:
    """What every surface says of a budget; a Decimal is exact, and None is not known."""

    currency: str
    amount: Decimal
    spend: Decimal | None
    estimated: Decimal | None
    used_percent: Decimal | None
    forecast: Decimal | None
    forecast_low: Decimal | None
    forecast_high: Decimal | None
    forecast_method: str
    state: str


@pytest.fixture
def figures(ledger: Ledger) -> Ledger:
    """Beside the budgets of the ledger one in another zone with rollover, one in another currency and a rolling one."""
    days = [TODAY - timedelta(days=back) for back in range(60)]
    lines = "\n".join(f"{day},1.{number % 7 + 10}" for number, day in enumerate(days))
    content = f"date,USD\n{lines}".encode()
    rates.load(content=content, name="rates.csv", base="EUR", publisher="Bank", by="ada", now=NOW)
    terms = BudgetTerms(zone="America/New_York", rollover="both", starts_on=date(2026, 10, 1))
    _budget(NEW_YORK, "search", "2", terms=terms)
    _budget(EURO, "support", "700", currency="EUR")
    _budget(ROLLING, "support", "900", period="rolling", terms=BudgetTerms(rolling_days=30))
    expected.run(now=NOW)
    evaluate.run(now=NOW)
    return ledger


def _budget(name: str, team: str, amount: str, **more: Any) -> None:
    given = {"scope": {"team": [team]}, "currency": "USD", "period": "month", "rungs": (), "by": "ada", "now": NOW}
    budgets.create(name=name, amount=amount, **{**given, **more})


def of_api(client: Client) -> dict[str, Figures]:
    found = client.get(reverse("api_budgets")).json()["budgets"]
    return {one["name"]: _figures({**one["now"], "currency": one["currency"]}) for one in found}


def of_each(client: Client) -> dict[str, Figures]:
    """What a program hears that asks for the budgets one by one."""
    ids = {one["name"]: one["id"] for one in client.get(reverse("api_budgets")).json()["budgets"]}
    found = {name: client.get(reverse("api_budget", args=[id_])).json() for name, id_ in ids.items()}
    return {name: _figures({**one["now"], "currency": one["currency"]}) for name, one in found.items()}


def of_file(client: Client) -> dict[str, Figures]:
    text = client.get(f"{reverse('budgets')}?format=csv").content.decode()
    rows = csv.DictReader(io.StringIO(text.removeprefix("\ufeff")))
    return {row["budget"]: _figures({**row, "spend_cost": row["actual_cost"]}) for row in rows}


def of_command() -> dict[str, Figures]:
    text = io.StringIO()
    call_command("budgets", "list", format="json", stdout=text)
    return {
        row["name"]: _figures({**row, **{f"{name}_cost": row[name] for name in _COSTS}})
        for row in json.loads(text.getvalue())
    }


def _figures(said: dict[str, Any]) -> Figures:
    def number(name: str) -> Decimal | None:
        return Decimal(said[name]) if said[name] not in (None, "") else None

    return Figures(
        currency=said["currency"],
        amount=Decimal(said["amount"]),
        used_percent=number("used_percent"),
        forecast_method=said["forecast_method"],
        state=said["state"],
        **{name: number(f"{name}_cost") for name in _COSTS},
    )


def test_it_says_the_same_to_programs_in_files_and_on_the_command_line(ada: Client, figures: Ledger) -> None:
    found = of_api(ada)

    assert set(found) == NAMES
    assert of_each(ada) == found
    assert of_file(ada) == found
    assert of_command() == found


def test_it_shows_on_the_pages_what_it_says_to_programs(ada: Client, figures: Ledger) -> None:
    found = of_api(ada)
    ids = {one["name"]: one["id"] for one in ada.get(reverse("api_budgets")).json()["budgets"]}

    table = reading.shown(ada, reverse("budgets")).context["budgets"]
    listed = {row.cells[0].text: row.cells for row in table.rows}
    pages = {name: reading.shown(ada, reverse("budget", args=[id_])) for name, id_ in ids.items()}

    assert set(listed) == NAMES
    places = fmt.column_places([amount for one in found.values() for amount in (one.amount, one.spend)])
    for name, one in found.items():
        between = None
        if one.forecast_low is not None and one.forecast_high is not None:
            between = fmt.money_range(one.forecast_low, one.forecast_high, one.currency)
        ahead = fmt.NOT_APPLICABLE if one.forecast is None else fmt.money(one.forecast, one.currency, mode="short")
        used = fmt.percent(None if one.used_percent is None else one.used_percent / 100)

        cells = listed[name]
        assert cells[2].text == fmt.money(one.amount, one.currency, places=places)
        assert cells[3].text == fmt.money(one.spend, one.currency, places=places)
        assert (cells[4].text, cells[6].text) == (used, ahead)
        assert cells[1].state == one.state
        assert between is None or cells[6].note == between

        kpis = {kpi.title: kpi for kpi in pages[name].context["kpis"]}
        assert kpis["Actual"].value == fmt.money(one.spend, one.currency, mode="kpi")
        assert kpis["Budget"].value == fmt.money(one.amount, one.currency, mode="kpi")
        assert (kpis["Used"].value, kpis["Forecast at end"].value) == (used, ahead)
        assert between is None or kpis["Forecast at end"].compare.startswith(between)
        shown = reading.words(pages[name])
        assert all(kpis[title].value in shown for title in ("Actual", "Budget", "Used", "Forecast at end"))


def test_it_compares_budgets_whose_figures_differ_by_their_terms(ada: Client, figures: Ledger) -> None:
    found = of_api(ada)
    utc, zoned, euro, rolling = (found[name] for name in ("Search answers", NEW_YORK, EURO, ROLLING))

    assert 2 < zoned.amount < 4  # with what October left
    assert zoned.spend != utc.spend  # the hours before its midnight are of October
    assert (euro.currency, euro.spend != found["Support"].spend) == ("EUR", True)
    assert (rolling.forecast_method, rolling.forecast_low) == ("naive pace", None)
    assert {one.forecast_low is None for one in found.values()} == {True, False}
    assert utc.spend == queries.total(scope=scope(teams=None).where("team", "search")).cost
