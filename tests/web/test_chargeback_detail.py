"""From a month to a cost centre, from there to a line, from there to the rows of the vendors."""

import csv
import io
import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest
from django.test import Client
from django.urls import reverse

from attribution import terms
from costobs.kernel.period import parse_month
from tests.api import october
from tests.web.test_chargeback_page import amount, signed_in, table, text

__all__ = ["signed_in"]
MONTH = f"/chargeback/{october.MONTH}/"
CENTRE = f"{MONTH}4410/"

pytestmark = pytest.mark.django_db


@pytest.fixture
def books(tmp_path: Path) -> october.Ledger:
    return october.build(tmp_path)


def markup(percent: str = "10") -> None:
    terms.add_markup(
        cost_centre="",
        percent=percent,
        label="Platform fee",
        first_month=parse_month(october.MONTH).start,
        by="ada@example.com",
        now=october.NOW,
    )


def read_csv(client: Client, url: str) -> list[dict[str, str]]:
    response = client.get(url)
    assert response.status_code == 200, response.content
    return list(csv.DictReader(io.StringIO(response.content.decode())))


def test_it_shows_markup_as_a_line_of_its_own(books: october.Ledger, signed_in: Callable[..., Client]) -> None:
    markup()

    page = text(signed_in("finance"))

    header, *rows, total = table(page, "Statement of Oct 2026")
    at = {name: header.index(name) for name in ("Total", "Markup", "Charged")}
    for row in [*rows, total]:
        money = {name: amount(row[index].partition("Platform")[0]) for name, index in at.items()}
        assert money["Charged"] == money["Total"] + money["Markup"]
    assert "Platform fee, 10 %" in page and "of it is markup" in page
    assert "Showback" in page


def test_it_offers_every_form_of_the_statement(books: october.Ledger, signed_in: Callable[..., Client]) -> None:
    client = signed_in("finance")
    urls = re.findall(r'href="(/api/v1/chargeback/[^"]+)"', text(client))

    assert {url.partition("format=")[2] for url in urls} == {
        "csv", "json", "xlsx", "parquet", "focus", "focus_parquet", "journal", "pdf",
    }  # fmt: skip
    for url in urls:
        response = client.get(url)
        assert response.status_code == 200
        assert response["X-Costobs-Statement"] == "2026-10/USD/effective/showback"


def test_it_shows_a_cost_centre_with_the_cents_of_the_whole(
    books: october.Ledger, signed_in: Callable[..., Client]
) -> None:
    client = signed_in("finance")
    (row,) = [row for row in table(text(client), "Statement of Oct 2026") if row[0] == "4410"]

    page = text(client, CENTRE)

    (own,) = [one for one in table(page, "Statement of Oct 2026") if one[0] == "4410"]
    assert own == row
    assert f"4410, Oct 2026: {row[-1]} charged" in page
    assert "2026-10/USD/effective/4410/showback" in page
    header, *_lines, total = table(page, "Lines")
    assert abs(amount(total[-1]) - amount(row[-1])) <= Decimal("0.01")
    assert header[:4] == ["Team", "Feature", "Model", "Service"]


def test_it_leads_from_a_line_to_its_source_rows(books: october.Ledger, signed_in: Callable[..., Client]) -> None:
    client = signed_in("finance")
    urls = re.findall(rf'href="({CENTRE}rows/[^"]+)"', text(client, CENTRE))

    rows = [text(client, url) for url in urls]

    assert rows and all("of 4410: search" in page or "row" in page for page in rows)
    found = table(rows[0], "Charges as they came")
    assert [row[0] for row in found[1:]] == ["aws bill"] * 2
    assert {row[4] for row in found[1:]} == {"i-1"}
    assert [row[1] for row in found[1:]] == ["aws.csvrow 1", "aws.csvrow 6"]


def test_it_gives_lines_and_rows_as_files_with_every_digit(
    books: october.Ledger, signed_in: Callable[..., Client]
) -> None:
    client = signed_in("finance")

    lines = read_csv(client, reverse("chargeback_lines_csv", args=[october.MONTH, "4410"]))
    rows = read_csv(client, reverse("chargeback_rows_csv", args=[october.MONTH, "4410"]) + "?rows=charges")
    usage = read_csv(client, reverse("chargeback_rows_csv", args=[october.MONTH, "-"]) + "?rows=books&team=search")

    whole = Decimal("10.333333333333") - Decimal("1.115")
    assert sum(Decimal(row["total_cost"]) for row in lines) == whole
    assert sum(Decimal(row["effective_cost"]) for row in rows) == whole
    assert {row["team"] for row in usage} == {"search"} and {row["currency"] for row in usage} == {"USD"}


def test_it_shows_what_is_estimated_where_nothing_is_billed(
    books: october.Ledger, signed_in: Callable[..., Client]
) -> None:
    page = text(signed_in("finance"), f"{MONTH}-/rows/?team=growth")

    assert "Estimates and corrections" in page
    assert {row[3] for row in table(page, "Estimates and corrections")[1:]} == {"gpt-4o"}


def test_it_shows_a_lead_the_own_lines_only(books: october.Ledger, signed_in: Callable[..., Client]) -> None:
    ben = signed_in("lead", "search")

    assert "growth" not in text(ben, CENTRE)
    assert "There is no such statement" in text(ben, f"{MONTH}4420/", status=404)
    assert read_csv(ben, f"{MONTH}4420/rows.csv") == read_csv(ben, f"{MONTH}4420/lines.csv") == []
    assert {row["team"] for row in read_csv(ben, f"{MONTH}-/rows.csv?rows=books")} == {"search"}
    assert read_csv(ben, f"{MONTH}4420/rows.csv?team=growth") == []


@pytest.mark.parametrize(
    "path", ["4410/rows/?rows=secrets", "4410/rows/?at=0", "4410/rows/?at=x", "~zz/", "4410/rows/?team=%00"]
)
def test_it_says_what_an_address_asks_for_that_is_unknown(
    path: str, books: october.Ledger, signed_in: Callable[..., Client]
) -> None:
    assert "This address asks for something unknown" in text(signed_in("finance"), f"{MONTH}{path}", status=400)


def test_it_says_how_many_bills_are_not_final(tmp_path: Path, signed_in: Callable[..., Client]) -> None:
    from ingest.models import Source

    october.build(tmp_path)
    Source.objects.filter(name="aws bill").update(complete_through="2026-10-20T00:00:00Z")

    page = text(signed_in("finance"))

    assert "1 source not final (aws bill): you can make a provisional statement" in page
