"""GPUs in the browser: paid is busy, idle and unknown together, and unknown is never idle."""

import csv
from datetime import timedelta
from decimal import Decimal

import pytest
from django.test import Client

from attribution import queries
from costobs.kernel.period import Days
from costobs.web import gpu_figures
from tests.web import reading
from tests.web.conftest import NODE, NOW, TODAY, Ledger, scope, signed_in

pytestmark = pytest.mark.django_db


def test_it_states_how_much_was_idle(ada: Client, ledger: Ledger) -> None:
    response = reading.shown(ada, "/gpus/")

    whole = gpu_figures.total(queries.gpu_costs(scope=scope()))
    assert whole.paid == 7 * 48  # a node is known to be one on days with samples; they begin on the 13th
    assert whole.busy + whole.idle + whole.no_telemetry == whole.paid
    assert response.context["heading"].endswith(f"was idle: ${whole.idle:.2f}")


@pytest.mark.parametrize("view", ["deployment", "node"])
def test_it_adds_rows_to_the_total_and_the_kpi(ada: Client, ledger: Ledger, view: str) -> None:
    response = reading.shown(ada, f"/gpus/?view={view}")

    table, kpis = response.context["table"], response.context["kpis"]
    for label, title in (("Paid", "Paid"), ("Busy", "Busy"), ("No telemetry", "No telemetry")):
        rows = sum(reading.amount(text) for text in reading.column(table, label))
        assert abs(rows - reading.amount(reading.total(table, label))) <= 2
        assert abs(reading.amount(reading.total(table, label)) - reading.amount(reading.kpi(kpis, title).value)) < 1
    idle = reading.amount(reading.total(table, "Idle"))
    parts = [reading.amount(reading.kpi(kpis, name).value) for name in ("Idle, model loaded", "Idle, nothing loaded")]
    assert abs(idle - sum(parts)) < 1


def test_it_gives_nodes_and_deployments_the_same_money(ada: Client, ledger: Ledger) -> None:
    nodes = gpu_figures.total(queries.gpu_node_costs(scope=scope()))

    assert nodes == gpu_figures.total(queries.gpu_costs(scope=scope()))
    assert reading.column(reading.shown(ada, "/gpus/?view=node").context["table"], "Node") == [NODE]


def test_it_calls_hours_without_samples_unknown_and_not_idle(ada: Client, ledger: Ledger) -> None:
    # Samples begin on the 13th and miss one hour a day for two GPUs; the bill ends on the 19th.
    whole = gpu_figures.total(queries.gpu_costs(scope=scope()))
    response = reading.shown(ada, "/gpus/")

    assert round(whole.no_telemetry, 9) == 7 * 2
    assert reading.kpi(response.context["kpis"], "No telemetry").value == "$14.00"
    week = Days(TODAY - timedelta(days=6), TODAY + timedelta(days=1))
    grid = gpu_figures.grid(queries.gpu_utilisation(scope=scope().during(week)), days=week, now=NOW, most=40)
    assert grid.rows == (f"{NODE} · 0", f"{NODE} · 1")
    gaps = [
        (row, moment.hour)
        for row, values in enumerate(grid.values)
        for moment, value in zip(grid.at, values, strict=True)
        if value is None
    ]
    assert set(gaps) == {(0, 9), (1, 9)}
    assert len(gaps) == 14
    crosses = response.context["heat"].chart.figure["data"][1]
    assert len(crosses["x"]) == 14
    assert "14 GPU-hours have no telemetry" in response.context["heat"].summary


def test_it_names_the_metric_it_draws(ada: Client, ledger: Ledger) -> None:
    assert "graphics engine active" in reading.shown(ada, "/gpus/").context["heat"].title


def test_it_shows_a_lead_only_the_money_of_own_teams(ben: Client, ledger: Ledger) -> None:
    response = reading.shown(ben, "/gpus/?view=node")

    assert queries.gpu_costs(scope=scope(teams=("search",))) == []
    assert "No GPU in these days" in reading.words(response)
    assert NODE not in reading.words(response)


def test_it_shows_the_serving_team_its_part(ledger: Ledger) -> None:
    response = reading.shown(signed_in("sue@example.com", "lead", "support"), "/gpus/")

    (own,) = queries.gpu_costs(scope=scope(teams=("support",)))
    whole = gpu_figures.total(queries.gpu_costs(scope=scope()))
    assert 0 < own.paid_cost < whole.paid
    assert reading.column(response.context["table"], "Deployment") == ["llama"]
    assert response.context["tabs"] == []


@pytest.mark.parametrize("view", ["deployment", "node"])
def test_it_exports_the_rows_of_the_page_with_every_digit(ada: Client, ledger: Ledger, view: str) -> None:
    text = reading.shown(ada, f"/gpus/export.csv?view={view}").content.decode()

    rows = list(csv.DictReader(text.splitlines()))
    whole = gpu_figures.total(queries.gpu_costs(scope=scope()))
    assert sum(Decimal(row["paid_cost"]) for row in rows) == whole.paid
    assert sum(Decimal(row["idle_workload_cost"]) for row in rows) == whole.idle_workload
    assert sum(Decimal(row["no_telemetry_cost"]) for row in rows) == whole.no_telemetry


@pytest.mark.parametrize("view", ["deployment", "node"])
def test_it_tells_how_every_row_was_bought(ada: Client, ledger: Ledger, view: str) -> None:
    table = reading.shown(ada, f"/gpus/?view={view}").context["table"]
    text = reading.shown(ada, f"/gpus/export.csv?view={view}").content.decode()

    assert set(reading.column(table, "Bought as")) == {"On-demand"}
    assert reading.total(table, "Bought as") == "On-demand"
    for row in csv.DictReader(text.splitlines()):
        assert row["on_demand_cost"] == row["paid_cost"]
        assert {row["spot_cost"], row["owned_cost"], row["unknown_purchase_cost"]} == {"0"}


def test_it_divides_by_hours_and_tokens_of_paid_days_only(ada: Client, ledger: Ledger) -> None:
    # The bill ends on the 19th, samples and calls go on to the 21st.
    rows = {row.deployment: row for row in queries.gpu_costs(scope=scope())}

    assert rows["llama"].gpu_ms == rows[""].gpu_ms == 7 * 23 * 3_600_000
    assert rows["llama"].tokens == 7 * sum(1_000 + 10 * number + 200 for number in range(5))
    assert rows[""].tokens == 0
    assert round(rows[""].cost_per_gpu_hour or 0, 6) == 1


def test_it_says_so_where_there_is_money_or_telemetry_only(ada: Client, ledger: Ledger) -> None:
    unpaid = reading.shown(ada, "/gpus/?from=2026-11-20&to=2026-11-21&cmp=none")

    assert "no bill or price" in unpaid.context["heading"]
    assert "no bill names these nodes" in reading.words(unpaid)
    assert "No GPU in these days" in reading.words(reading.shown(ada, "/gpus/?from=2026-11-02&to=2026-11-05"))


def test_it_shows_what_the_cards_drew_and_adds_it_up(ada: Client, ledger: Ledger) -> None:
    response = reading.shown(ada, "/gpus/")

    drawn = queries.gpu_energy(scope=scope())
    table = response.context["energy"]
    assert sum(row.joules for row in drawn) > 0
    assert all(
        row.joules
        == row.used_joules + row.fine_tuned_joules + row.overhead_joules + row.idle_joules + row.unknown_joules
        for row in drawn
    )
    assert "of it while idle" in response.context["energy_heading"]
    assert [row.cells[1].title for row in table.rows] == [f"{row.joules:f} J" for row in drawn]
    assert "473 g CO2e / kWh" in table.note
    assert "Default: nothing was fitted" in reading.column(response.context["weights"], "How it is known")
    assert response.context["weights_heading"] == "Token weights are estimated for 1 of 1 deployment"


def test_it_exports_joules_beside_money(ada: Client, ledger: Ledger) -> None:
    rows = list(csv.DictReader(ada.get("/gpus/export.csv").content.decode().splitlines()))

    drawn = {row.deployment: row for row in queries.gpu_energy(scope=scope())}
    assert {row["deployment"]: row["joules"] for row in rows if row["joules"]} == {
        name: f"{one.joules:f}" for name, one in drawn.items()
    }
