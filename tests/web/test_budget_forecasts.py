"""Forecasts and backtests in the browser: interval, method and past error, what was said, and ladders on the past."""

from datetime import date
from decimal import Decimal

import pytest
import time_machine
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from alerts import evaluate, expected, forecasts
from alerts.models import Budget, BudgetForecast, BudgetState
from costobs.audit.models import AuditEntry
from tests.web import reading
from tests.web.conftest import NOW, Ledger
from tests.web.test_budget_pages import FORM

pytestmark = pytest.mark.django_db


@pytest.fixture
def forecast(ledger: Ledger) -> Ledger:
    """What the worker does each minute."""
    expected.run(now=NOW)
    evaluate.run(now=NOW)
    return ledger


def test_it_shows_interval_method_and_past_error_of_a_budget(ada: Client, forecast: Ledger) -> None:
    response = reading.shown(ada, reverse("budget", args=[forecast.search_budget_id]))

    state = BudgetState.objects.get(budget_id=forecast.search_budget_id, evaluated_at=NOW)
    kpi = reading.kpi(response.context["kpis"], "Forecast at end")
    assert "(80 %)" in kpi.compare
    assert "before" in kpi.note and "%" in kpi.note
    assert state.forecast_method.lower() in kpi.note.lower()
    chart = response.context["burn_up"]
    assert "8 of 10 cases" in str(chart.chart.figure) and state.forecast_method in chart.caption


def test_it_names_the_naive_pace_where_no_forecast_was_made(ada: Client, ledger: Ledger) -> None:
    response = reading.shown(ada, reverse("budget", args=[ledger.search_budget_id]))

    kpi = reading.kpi(response.context["kpis"], "Forecast at end")
    assert kpi.note.startswith("Naive pace")
    assert "80 %)" not in kpi.compare


def test_it_says_that_a_rolling_window_has_no_forecast(ada: Client, ledger: Ledger) -> None:
    Budget.objects.filter(pk=ledger.search_budget_id).update(period="rolling", rolling_days=30)
    expected.run(now=NOW)
    evaluate.run(now=NOW)

    response = reading.shown(ada, reverse("budget", args=[ledger.search_budget_id]))

    assert "A rolling window has no end to look ahead to" in response.context["burn_up"].caption
    assert not BudgetForecast.objects.filter(budget_id=ledger.search_budget_id).exists()


def test_it_gives_programs_the_interval_of_a_budget(ada: Client, forecast: Ledger) -> None:
    found = ada.get(reverse("api_budget", args=[forecast.search_budget_id])).json()["now"]

    state = BudgetState.objects.get(budget_id=forecast.search_budget_id, evaluated_at=NOW)
    assert state.forecast_low_cost is not None and state.forecast_high_cost is not None
    assert Decimal(found["forecast_low_cost"]) == state.forecast_low_cost
    assert Decimal(found["forecast_high_cost"]) == state.forecast_high_cost
    assert Decimal(found["forecast_error_percent"]) == state.forecast_error_percent


def test_it_shows_expected_and_between_in_the_list_and_in_its_csv(ada: Client, forecast: Ledger) -> None:
    response = reading.shown(ada, reverse("budgets"))
    notes = [row.cells[6].note for row in response.context["budgets"].rows]

    assert all("–" in note for note in notes)
    found = ada.get(f"{reverse('budgets')}?format=csv").content.decode()
    assert "forecast_low_cost,forecast_high_cost,forecast_method,forecast_error_percent" in found.splitlines()[0]


def test_it_shows_what_was_said_and_what_it_became(ada: Client, forecast: Ledger) -> None:
    Budget.objects.filter(pk=forecast.support_budget_id).update(period="week")
    while expected.run(now=NOW):
        continue
    said = forecasts.said(budget_id=forecast.support_budget_id, now=NOW, teams=None)

    response = reading.shown(ada, reverse("budget", args=[forecast.support_budget_id]))

    assert said
    table = response.context["said"]
    assert len(table.rows) == len(said)
    assert reading.column(table, "Said") == [f"on day {one.known_days}" for one in said]
    assert "worked out afterwards" in reading.words(response)


def test_it_tells_the_end_of_the_month_on_overview_and_explore(ada: Client, ledger: Ledger) -> None:
    overview = reading.shown(ada, reverse("overview"))
    explore = reading.shown(ada, f"{reverse('explore')}?preset=mtd")

    kpi = reading.kpi(overview.context["kpis"], "Forecast, month end")
    assert kpi.compare.endswith("in 8 of 10 cases") and "before" in kpi.note
    assert "the month is expected to end at" in reading.words(overview)
    assert f"the month is expected to end at {kpi.value}" in reading.words(explore)


def test_it_gives_programs_and_scripts_what_the_page_shows(
    ada: Client, ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    found = ada.get(reverse("api_forecast")).json()
    call_command("forecast", "--format", "json")
    said = capsys.readouterr().out

    assert (found["period"], found["from"], found["to"]) == ("month", "2026-11-01", "2026-11-30")
    assert Decimal(found["low"]) <= Decimal(found["forecast"]) <= Decimal(found["high"])
    assert found["days"][-1]["expected"] == found["forecast"] and found["days"][-1]["day"] == "2026-11-30"
    assert f'"forecast": "{found["forecast"]}"' in said and f'"method": "{found["method"]}"' in said
    assert ada.get(reverse("api_forecast"), {"period": "year"}).status_code == 400


def test_it_forecasts_for_a_lead_only_what_is_theirs(ada: Client, ben: Client, ledger: Ledger) -> None:
    all_ = ada.get(reverse("api_forecast")).json()
    own = ben.get(reverse("api_forecast")).json()
    asked = ada.get(reverse("api_forecast"), {"f": "team:search"}).json()

    assert own["forecast"] == asked["forecast"]
    assert Decimal(own["spent_before"]) < Decimal(all_["spent_before"])


def test_it_forecasts_budgets_on_the_command_line(
    ledger: Ledger, clock: None, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("forecast", "--budgets")

    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and all("(80 %)" in line and "before" in line for line in lines)
    assert BudgetForecast.objects.filter(is_later=False).count() == 2


def test_it_tests_a_ladder_on_the_past(ada: Client, ledger: Ledger) -> None:
    url = reverse("budget_backtest", args=[ledger.search_budget_id])

    response = reading.shown(ada, url)

    heading = response.context["heading"]
    assert heading.startswith("On the 90 days to ") and "would have notified" in heading
    assert response.context["events"].rows and response.context["timeline"]
    assert "Nobody approves" in reading.words(response)
    rows = ada.get(f"{url}?format=csv").content.decode().splitlines()
    assert len(rows) - 1 == len(response.context["events"].rows)
    assert ada.get(f"{url}?days=x").status_code == ada.get(f"{url}?days=99999").status_code == 200


def test_it_tests_what_was_typed_and_saves_nothing(ada: Client, ledger: Ledger) -> None:
    before = (Budget.objects.count(), AuditEntry.objects.count())

    response = ada.post(reverse("budget_new"), {**FORM, "test": "90"})

    assert response.status_code == 200
    assert "Nothing was saved" in reading.words(response)
    assert response.context["heading"].startswith("On the 90 days")
    assert (Budget.objects.count(), AuditEntry.objects.count()) == before


def test_it_keeps_the_form_and_its_mistakes_when_a_draft_cannot_be_tested(ada: Client, ledger: Ledger) -> None:
    response = ada.post(reverse("budget_new"), {**FORM, "amount": "much", "test": "90"})

    assert response.status_code == 400
    assert "Nothing was saved" in reading.words(response) and 'value="Triage"' in response.content.decode()


def test_it_tests_a_rolling_budget_in_its_zone(ada: Client, ledger: Ledger) -> None:
    Budget.objects.filter(pk=ledger.search_budget_id).update(period="rolling", rolling_days=30, zone="Asia/Kolkata")

    response = reading.shown(ada, reverse("budget_backtest", args=[ledger.search_budget_id]))

    assert response.context["heading"].startswith("On the 90 days to ")
    assert "Days of Asia/Kolkata" in response.context["periods"].note
    assert len(response.context["periods"].rows) == 3


def test_it_says_on_page_form_and_command_line_where_a_budget_did_not_run(
    ada: Client, ledger: Ledger, clock: None
) -> None:
    Budget.objects.filter(pk=ledger.search_budget_id).update(starts_on=date(2027, 1, 1))
    url = reverse("budget_backtest", args=[ledger.search_budget_id])

    page = ada.get(url, follow=True)
    typed = ada.post(reverse("budget_new"), {**FORM, "starts_on": "2027-01-01", "test": "90"})

    assert "found one that begins on 2027-01-01" in reading.words(page)
    assert typed.status_code == 400 and "found one that begins on 2027-01-01" in reading.words(typed)
    with pytest.raises(CommandError, match="begins on 2027-01-01"):
        call_command("backtest", "Search answers")


def test_it_tests_a_change_and_leaves_the_budget_as_it_is(ada: Client, ledger: Ledger) -> None:
    url = reverse("budget_edit", args=[ledger.support_budget_id])

    response = ada.post(url, {**FORM, "test": "90"})

    assert response.status_code == 200 and "Nothing was saved" in reading.words(response)
    assert Budget.objects.get(pk=ledger.support_budget_id).name == "Support"


def test_it_shows_nobody_a_test_of_what_is_not_theirs(ben: Client, cleo: Client, ledger: Ledger) -> None:
    other = reverse("budget_backtest", args=[ledger.support_budget_id])
    own = reverse("budget_backtest", args=[ledger.search_budget_id])

    assert (ben.get(other).status_code, ben.get(own).status_code, cleo.get(own).status_code) == (404, 200, 403)
    assert ben.post(reverse("budget_new"), {**FORM, "test": "90"}).status_code == 403


def test_it_plays_a_ladder_on_the_command_line(ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    with time_machine.travel(NOW, tick=False):
        call_command("backtest", "Search answers", "--days", "30")

    said = capsys.readouterr().out
    assert said.startswith("On the 30 days to ") and "Nobody approves" in said
