"""One scope, one total: the API, the command line, the export and the pages give the same digits."""

import csv
import io
import json
from decimal import Decimal

import pytest
from django.core.management import call_command
from django.test import Client

from costobs.kernel import fmt
from tests.api.conftest import Person, Program
from tests.api.october import MONTH, Ledger

DAYS = {"from": "2026-10-01", "to": "2026-10-31"}
Sums = dict[str, Decimal]


def from_api(client: Client, dimension: str, **query: str) -> Sums:
    found = client.get("/api/v1/spend", {**DAYS, "group_by": dimension, **query}).json()
    rows = {row[dimension]: Decimal(row["cost"]) for row in found["rows"]}
    assert sum(rows.values()) == Decimal(found["total"])
    return rows


def from_command(dimension: str, *words: str) -> Sums:
    out = io.StringIO()
    days = ["--from", DAYS["from"], "--to", DAYS["to"]]
    call_command("spend", "--group-by", dimension, *days, "--format", "json", *words, stdout=out)
    return {row[dimension]: Decimal(row["cost"]) for row in json.loads(out.getvalue())["rows"]}


def from_export(client: Client, dimension: str, basis: str) -> Sums:
    response = client.get("/explore/export.csv", {**DAYS, "preset": "custom", "group": dimension, "basis": basis})
    sums: Sums = {}
    for row in csv.DictReader(io.StringIO(response.content.decode())):
        sums[row[dimension]] = sums.get(row[dimension], Decimal(0)) + Decimal(row["cost"])
    return sums


@pytest.mark.parametrize("cost", ["effective", "billed", "list"])
@pytest.mark.parametrize("dimension", ["team", "model", "provider_name", "cost_centre"])
def test_it_gives_the_same_digits_everywhere(
    dimension: str, cost: str, ledger: Ledger, program: Program, person: Person
) -> None:
    found = from_api(program("read"), dimension, cost=cost)

    assert found == from_command(dimension, "--cost", cost)
    assert found == from_export(person("finance"), dimension, cost)


def test_it_gives_the_total_that_the_pages_and_the_statement_show(
    ledger: Ledger, program: Program, person: Person
) -> None:
    client, ada = program("read"), person("finance")
    total = Decimal(client.get("/api/v1/spend", DAYS).json()["total"])

    statement = client.get(f"/api/v1/chargeback/{MONTH}").json()["total"]["total_cost"]
    explore = ada.get("/explore/", {**DAYS, "preset": "custom"}).content.decode()
    overview = ada.get("/", {**DAYS, "preset": "custom"}).content.decode()
    chargeback = ada.get(f"/chargeback/{MONTH}/").content.decode()

    assert total == Decimal(statement) > ledger.effective
    assert fmt.money(total, "USD", mode="kpi") in explore
    assert fmt.money(total, "USD", mode="kpi") in overview
    assert fmt.money(total, "USD", mode="statement") in chargeback


def test_it_shows_a_token_of_one_team_that_team_only(ledger: Ledger, program: Program) -> None:
    everything = from_api(program("read"), "team")

    narrow = from_api(program("read", teams=["search"]), "team")

    assert narrow == {"search": everything["search"]}
    assert from_api(program("read", teams=["growth"]), "team", f="team:search") == {}
    assert from_command("team", "--filter", "team=search") == narrow


def test_it_filters_as_the_pages_do(ledger: Ledger, program: Program) -> None:
    client = program("read")
    everything = from_api(client, "service_name")

    assert from_api(client, "service_name", f="service_name!:Amazon S3") == {
        name: cost for name, cost in everything.items() if name != "Amazon S3"
    }
    assert set(from_api(client, "service_name", f="service_name~:amazon")) == {"Amazon EC2", "Amazon S3"}


def test_it_answers_for_days_the_books_do_not_hold(ledger: Ledger, program: Program) -> None:
    found = program("read").get("/api/v1/spend", {"from": "2027-01-01"}).json()

    assert (found["total"], found["from"], found["to"]) == ("0", "2027-01-01", "2027-01-01")


def test_it_divides_units_by_the_same_spend(ledger: Ledger, program: Program) -> None:
    client = program("read")

    (row,) = client.get("/api/v1/unit-costs", {**DAYS, "group_by": "model", "f": "model:gpt-4o"}).json()["rows"]

    assert Decimal(row["cost"]) == from_api(client, "model")["gpt-4o"]
    assert row["requests"] == 6
    assert Decimal(row["cost_per_request"]) * 6 == pytest.approx(Decimal(row["usage_cost"]))
