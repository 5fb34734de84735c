"""The statement for programs: exact, stable, and the same as the page."""

import csv
import io
from decimal import Decimal
from pathlib import Path

from django.db import connection
from django.test import Client

from attribution import queries
from costobs.kernel.period import parse_month
from costobs.kernel.scope import SpendScope
from ingest import configure, load
from ingest.rows import COST_KINDS, PURCHASE_OPTIONS
from tests.api.conftest import Person, Program
from tests.api.october import MONTH, NOW, Ledger, bill, settle

URL = f"/api/v1/chargeback/{MONTH}"
COSTS = ("billed", "effective", "list", "contracted")


def read(client: Client, query: str = "", **headers: str) -> dict:
    response = client.get(f"{URL}{query}", headers=headers)
    assert response.status_code == 200, response.content
    return response.json()


def rows(client: Client, query: str) -> list[dict[str, str]]:
    response = client.get(f"{URL}{query}")
    assert response.status_code == 200
    assert response["Content-Type"].startswith("text/csv")
    return list(csv.DictReader(io.StringIO(b"".join(response.streaming_content).decode())))


def scope(cost: str = "effective") -> SpendScope:
    return SpendScope(parse_month(MONTH), (), cost, "USD", None)


def test_it_adds_every_line_and_the_total_to_the_last_digit(ledger: Ledger, program: Program) -> None:
    found = read(program("read"))

    parts = ("direct", "shared", "idle", "overhead", "unallocated", "adjustment", "tax")
    ties = ("estimated", "timing", "billed")
    for line in [*found["lines"], found["total"]]:
        for names in (parts, ties):
            assert sum(Decimal(line[f"{name}_cost"]) for name in names) == Decimal(line["total_cost"])
            printed = line["printed"]
            assert sum(Decimal(printed[f"{name}_cost"]) for name in names) == Decimal(printed["total_cost"])
    assert sum(Decimal(line["total_cost"]) for line in found["lines"]) == Decimal(found["total"]["total_cost"])
    assert Decimal(found["total"]["total_cost"]) == queries.total(scope=scope()).cost
    assert Decimal(found["total"]["billed_cost"]) == ledger.billed
    assert Decimal(found["total"]["timing_cost"]) == ledger.effective - ledger.billed == Decimal("7.125")
    assert (found["state"], found["is_final"]) == ("provisional", True)


def test_it_ties_to_the_invoice(ledger: Ledger, program: Program) -> None:
    (line,) = read(program("read"))["reconciliation"]

    assert line["invoices"] == ["INV-1"]
    assert Decimal(line["invoiced_cost"]) == Decimal(line["in_books_cost"]) == ledger.billed
    assert Decimal(line["difference"]) == 0


def test_it_prints_cents_that_add_up_down_every_column(ledger: Ledger, program: Program) -> None:
    found = read(program("read"))

    for name, whole in found["total"]["printed"].items():
        column = [Decimal(line["printed"][name]) for line in found["lines"]]
        assert sum(column) == Decimal(whole), name
        assert all(amount == amount.quantize(Decimal("0.01")) for amount in column)
        exact = [Decimal(line[name]) for line in found["lines"]]
        assert all(abs(a - b) < Decimal("0.01") for a, b in zip(column, exact, strict=True)), name
    exact_total = Decimal(found["total"]["total_cost"])
    assert Decimal(found["total"]["printed"]["total_cost"]) == exact_total.quantize(Decimal("0.01"))


def test_it_says_the_same_in_csv(ledger: Ledger, program: Program) -> None:
    client = program("read")
    found = read(client)

    for lines in (rows(client, "?format=csv"), list(csv.DictReader(io.StringIO(_accepting_csv(client))))):
        assert [(line["cost_centre"], line["team"], line["total_cost"]) for line in lines] == [
            (line["cost_centre"], line["team"], line["total_cost"]) for line in found["lines"]
        ]
        assert {(line["statement_id"], line["statement_sha256"]) for line in lines} == {(found["id"], found["sha256"])}


def _accepting_csv(client: Client) -> str:
    response = client.get(URL, headers={"Accept": "text/csv, application/json;q=0.5"})
    return b"".join(response.streaming_content).decode()


def test_it_keeps_its_id_and_checksum_until_a_figure_changes(ledger: Ledger, program: Program, tmp_path: Path) -> None:
    client = program("read")
    first, again = client.get(URL), client.get(URL)

    held = client.get(URL, headers={"If-None-Match": first["ETag"]})
    source_id = configure.create_source(kind="focus_export", name="aws bill", now=NOW)
    charges = ((9, "Usage", "", "1.00", "1.00", "Amazon EC2", {"team": "search"}),)
    (result,) = load.from_paths(source_id=source_id, paths=[str(bill(tmp_path / "late.csv", charges))], now=NOW)
    settle()
    changed = client.get(URL, headers={"If-None-Match": first["ETag"]})

    assert result.state == "succeeded"
    assert first["ETag"] == again["ETag"]
    assert (held.status_code, held.content) == (304, b"")
    assert (changed.status_code, changed.json()["id"]) == (200, first.json()["id"])
    assert changed.json()["sha256"] != first.json()["sha256"]


def test_its_focus_file_holds_the_sums_of_all_four_costs(ledger: Ledger, program: Program) -> None:
    found = rows(program("read"), "?format=focus")

    for cost in COSTS:
        column = f"{cost.capitalize()}Cost"
        assert sum(Decimal(row[column]) for row in found) == queries.total(scope=scope(cost)).cost, cost
    assert {row["ServiceCategory"] for row in found} == {"Compute", "Storage", "AI and Machine Learning"}
    assert {row["x_Basis"] for row in found} == {"billed", "estimated"}


def test_its_focus_file_says_what_money_is_for_and_how_capacity_was_bought(ledger: Ledger, program: Program) -> None:
    found = rows(program("read"), "?format=focus")

    assert {row["x_CostKind"] for row in found} <= set(COST_KINDS)
    assert {row["x_PurchaseOption"] for row in found} <= {"", *PURCHASE_OPTIONS}
    assert all(row["x_CostKind"] == "api_inference" for row in found if row["x_Basis"] == "estimated")


def test_its_focus_file_fills_what_focus_demands(ledger: Ledger, program: Program) -> None:
    found = rows(program("read"), "?format=focus")

    demanded = [
        "BilledCost",
        "BillingAccountId",
        "BillingCurrency",
        "BillingPeriodEnd",
        "BillingPeriodStart",
        "ChargeCategory",
        "ChargePeriodEnd",
        "ChargePeriodStart",
        "ContractedCost",
        "EffectiveCost",
        "InvoiceIssuerName",
        "ListCost",
        "ProviderName",
        "PublisherName",
        "ServiceCategory",
        "ServiceName",
    ]
    for row in found:
        assert all(row[name] for name in demanded), row
        assert row["ChargeCategory"] in {"Usage", "Purchase", "Tax", "Credit", "Adjustment"}
        assert row["ChargeClass"] in {"", "Correction"}
    assert {"ChargeDescription", "PricingQuantity", "PricingUnit", "BillingAccountName"} <= set(found[0])


def test_its_focus_file_loads_back_with_the_same_totals_for_every_team(
    ledger: Ledger, program: Program, tmp_path: Path
) -> None:
    response = program("read").get(f"{URL}?format=focus")
    (tmp_path / "statement.csv").write_bytes(b"".join(response.streaming_content))
    by_team = {cost: _by_team(cost) for cost in COSTS}

    for name in ("aws bill", "calls"):
        kind = "focus_export" if name == "aws bill" else "usage_log"
        source_id = configure.create_source(kind=kind, name=name, now=NOW)
        configure.remove_source(source_id=source_id)
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM attribution_dailycost")
    source_id = configure.create_source(kind="focus_export", name="statement", now=NOW)
    (result,) = load.from_paths(source_id=source_id, paths=[str(tmp_path / "statement.csv")], now=NOW)
    settle()

    assert result.state == "succeeded", result.error
    assert {cost: _by_team(cost) for cost in COSTS} == by_team


def _by_team(cost: str) -> dict[tuple[str, ...], Decimal]:
    found = queries.spend(scope=scope(cost), group_by=["team", "feature", "provider_name"])
    return {row.keys: row.cost for row in found}


def test_it_shows_a_lead_and_a_narrow_token_their_own_team_only(
    ledger: Ledger, person: Person, program: Program
) -> None:
    for client in (person("lead", "search"), program("read", teams=["search"])):
        found = read(client)

        assert {line["team"] for line in found["lines"]} == {"search"}
        assert found["reconciliation"] == []
        assert found["id"] == f"{MONTH}/USD/effective/@search/showback"
        assert read(client, "?team=growth")["lines"] == []
        assert {row["x_Team"] for row in rows(client, "?format=focus")} == {"search"}


def test_it_narrows_to_a_team_and_says_so_in_its_id(ledger: Ledger, program: Program) -> None:
    found = read(program("read"), "?team=growth&cost=billed")

    assert found["id"] == f"{MONTH}/USD/billed/@growth/showback"
    assert {line["team"] for line in found["lines"]} == {"growth"}
    assert found["reconciliation"] == []


def test_it_refuses_what_it_does_not_know(ledger: Ledger, program: Program) -> None:
    client = program("read")

    for url in (
        "/api/v1/chargeback/2026-13",
        "/api/v1/chargeback/9999-12",
        f"{URL}?format=docx",
        f"{URL}?cost=list",
        f"{URL}?team=%00",
        f"{URL}?currency=%00",
    ):
        response = client.get(url)
        assert response.status_code == 400, url
        assert response["Content-Type"] == "application/problem+json"
