"""Unit economics in the browser: one total, honest denominators, and only what the viewer may see."""

import csv
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from django.test import Client

from attribution import queries
from costobs import pipeline
from costobs.web import unit_figures
from tests.attribution import world
from tests.web import reading
from tests.web.conftest import NOW, Ledger, scope

pytestmark = pytest.mark.django_db

UNITS = list(unit_figures.UNITS)


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("group", ["model", "feature", "team"])
def test_it_shows_every_unit_by_every_group(ada: Client, ledger: Ledger, unit: str, group: str) -> None:
    response = reading.shown(ada, f"/unit-costs/?unit={unit}&group={group}")

    assert response.context["heading"]
    assert [label for label, _, current in response.context["tabs"] if current] == [unit_figures.UNITS[unit].tab]


@pytest.mark.parametrize("group", ["model", "feature", "team"])
def test_it_adds_rows_to_the_total_row_the_kpi_and_the_scope(ada: Client, ledger: Ledger, group: str) -> None:
    response = reading.shown(ada, f"/unit-costs/?group={group}")

    table = response.context["table"]
    spent = queries.total(scope=scope()).cost
    assert spent > 900  # 19 days of the node
    rows = [reading.amount(text) for text in reading.column(table, "Spend")]
    assert abs(sum(rows) - spent) <= len(rows)  # each is rounded to the unit
    shown = [reading.total(table, "Spend"), reading.kpi(response.context["kpis"], "Spend").value]
    assert [round(reading.amount(text)) for text in shown] == [round(spent), round(spent)]
    found = queries.unit_costs(scope=scope(), group_by=[group])
    assert sum((row.cost for row in found), unit_figures.without_usage(spent, found)) == spent


def test_it_divides_what_calls_carry_by_what_they_are(ada: Client, ledger: Ledger) -> None:
    response = reading.shown(ada, "/unit-costs/?unit=request&group=team")

    (whole,) = queries.unit_costs(scope=scope(), group_by=[])
    assert whole.requests == 21 * 17
    assert whole.cost_per_request == (whole.usage_cost / whole.requests).quantize(Decimal("1e-12"))
    shown = reading.kpi(response.context["kpis"], "Unit cost")
    assert shown.value == unit_figures.UNITS["request"].text(whole.cost_per_request, "USD")
    table = response.context["table"]
    assert reading.column(table, "Requests") == ["189", "126", "42"]
    assert reading.total(table, "Requests") == "357"
    assert "weights" in table.note


def test_it_shows_nine_columns_and_all_when_asked(ada: Client, ledger: Ledger) -> None:
    few = reading.shown(ada, "/unit-costs/").context["table"]
    every = reading.shown(ada, "/unit-costs/?columns=all").context["table"]

    assert len(few.columns) == 9
    labels = {column.label for column in every.columns}
    assert {
        "$ / 1M input",
        "$ / 1M cached",
        "$ / 1M output",
        "$ / request",
        "p50",
        "p90",
        "p95",
        "p99",
        "Errors",
    } <= labels


def test_it_compares_complete_days_and_states_it_in_the_title(ada: Client, ledger: Ledger) -> None:
    response = reading.shown(ada, "/unit-costs/?unit=request")

    assert response.context["heading"].startswith("A request costs $")
    assert "1–20 Oct 2026" in response.context["heading"]
    assert "complete days" in response.context["sub"]
    assert response.context["trend"].summary.startswith("The cheapest complete day was")


def test_it_shows_a_lead_only_own_figures(ben: Client, ledger: Ledger) -> None:
    response = reading.shown(ben, "/unit-costs/?group=feature")

    (own,) = queries.unit_costs(scope=scope(teams=("search",)), group_by=[])
    assert own.requests == 126
    assert reading.column(response.context["table"], "Feature") == ["answers"]
    text = reading.words(response)
    assert "copilot" not in text
    assert "triage" not in text
    gpu = reading.words(reading.shown(ben, "/unit-costs/?unit=gpu_hour"))
    assert "Not for a part of the spend" in gpu


def test_it_splits_a_dollar_into_parts_that_add_up(ada: Client, ledger: Ledger) -> None:
    total = queries.total(scope=scope())
    (whole,) = queries.unit_costs(scope=scope(), group_by=[])

    parts = unit_figures.parts(total, whole)

    assert abs(sum(part.cost for part in parts) - total.cost) < Decimal("0.00001")
    assert next(part.cost for part in parts if part.key == "idle") == total.idle_cost > 0
    card = reading.shown(ada, "/unit-costs/").context["dollar"]
    assert reading.column(card.table, "Part") == [part.label for part in parts]


def test_it_lists_agent_runs_dearest_first(ada: Client, ledger: Ledger) -> None:
    table = reading.shown(ada, "/unit-costs/?unit=agent_run").context["agent_runs"]

    runs = queries.agent_runs(scope=scope(), limit=10)
    assert reading.column(table, "Run") == [run.run_id for run in runs]
    assert len(table.rows) == 10


def test_it_states_what_a_measured_gpu_hour_costs(ada: Client, ledger: Ledger) -> None:
    response = reading.shown(ada, "/unit-costs/?unit=gpu_hour")

    cost = unit_figures.per_gpu_hour(queries.gpu_costs(scope=scope()))
    assert cost == Decimal(1)  # 48 dollars a day for two GPUs
    assert response.context["heading"].startswith("A GPU-hour costs $1.00")


@pytest.mark.parametrize("group", ["model", "team"])
def test_it_exports_the_rows_of_the_page_with_every_digit(ada: Client, ledger: Ledger, group: str) -> None:
    text = reading.shown(ada, f"/unit-costs/export.csv?group={group}").content.decode()

    rows = list(csv.DictReader(text.splitlines()))
    found = queries.unit_costs(scope=scope(), group_by=[group])
    named = [row for row in rows if row[group] != "(without logged usage)"]
    assert {row[group] for row in named} == {row.keys[0] for row in found}
    assert sum(Decimal(row["cost"]) for row in rows) == queries.total(scope=scope()).cost
    exact = {one.keys[0]: f"{one.cost_per_million_tokens:f}" for one in found}
    assert {row[group]: row["cost_per_million_tokens"] for row in named} == exact


def test_it_narrows_by_a_filter_and_says_when_nothing_is_left(ada: Client, ledger: Ledger) -> None:
    narrowed = reading.shown(ada, "/unit-costs/?unit=request&f=feature:answers")
    nothing = reading.shown(ada, "/unit-costs/?f=feature:nowhere")

    assert reading.kpi(narrowed.context["kpis"], "Cache hit").note.endswith("of 126 requests failed")
    assert "Clear filters" in reading.words(nothing)


def test_it_exports_the_rows_of_the_unit_in_view(ada: Client, ledger: Ledger) -> None:
    runs = reading.shown(ada, "/unit-costs/export.csv?unit=fine_tune_run").content.decode()
    gpus = ada.get("/unit-costs/export.csv?unit=gpu_hour")

    assert runs.startswith("from,to,currency,cost_column,run_id,name,provider,team")
    assert (gpus.status_code, gpus["Location"]) == (302, "/gpus/export.csv?unit=gpu_hour")


@pytest.mark.parametrize("unit", ["tokens", "request", "thousand_requests", "agent_run"])
def test_it_tells_nothing_by_request_of_calls_that_nobody_counted(ada: Client, unit: str) -> None:
    sums = world.source("anthropic_usage", "sums")
    world.usage(sums, provider="anthropic", requests=0, input_uncached=4000, hour=datetime(2026, 11, 10, 9, tzinfo=UTC))
    pipeline.settle(NOW)

    response = reading.shown(ada, f"/unit-costs/?unit={unit}&columns=all&f=provider_name:Anthropic")

    table = response.context["table"]
    assert reading.column(table, "Tokens") == ["4.0k"]
    assert reading.column(table, "$ / 1k requests") == ["–"] == reading.column(table, "Input / request")
    assert "of the tokens are of calls that nobody counted" in reading.words(response)


def test_it_shows_the_energy_of_own_gpus_by_group(ada: Client, ledger: Ledger) -> None:
    response = reading.shown(ada, "/unit-costs/?group=deployment")

    (row,) = queries.energy_use(scope=scope(), group_by=["deployment"])
    table = response.context["energy"]
    assert row.keys == ("llama",)
    assert [cell.title for cell in table.rows[0].cells][1] == f"{row.joules:f} J"
    assert reading.column(table, "Deployment") == ["llama"]
