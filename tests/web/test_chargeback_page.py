"""The chargeback page, saved views and value lists, as people see them."""

import re
from collections.abc import Callable
from decimal import Decimal
from html import unescape
from pathlib import Path

import pytest
from django.contrib.auth import get_user_model
from django.test import Client

from attribution import printing, queries
from attribution.queries import Reconciliation, Statement, StatementLine
from costobs.access import saved
from costobs.access.models import Membership
from costobs.kernel.period import parse_month
from costobs.kernel.scope import SpendScope
from tests.api import october

URL = f"/chargeback/{october.MONTH}/"

pytestmark = pytest.mark.django_db


@pytest.fixture
def books(tmp_path: Path) -> october.Ledger:
    return october.build(tmp_path)


@pytest.fixture
def signed_in() -> Callable[..., Client]:
    def sign_in(role: str, *teams: str) -> Client:
        user = get_user_model().objects.create_user(f"{role}{''.join(teams)}")
        Membership.objects.create(user=user, role=role, teams=list(teams))
        client = Client()
        client.force_login(user)
        return client

    return sign_in


def text(client: Client, url: str = URL, status: int = 200) -> str:
    response = client.get(url)
    assert response.status_code == status, response.content[:2000]
    return unescape(response.content.decode())


def table(page: str, caption: str) -> list[list[str]]:
    """The cells of a table, header and total included."""
    _, _, rest = page.partition(f'<caption class="sr-only">{caption}</caption>')
    assert rest, f"there is no table {caption}"
    rows = re.findall(r"<tr[^>]*>(.*?)</tr>", rest.partition("</table>")[0], re.DOTALL)
    return [
        [re.sub(r"<[^>]+>", "", cell).strip() for cell in re.findall(r"<t[hd].*?</t[hd]>", row, re.S)] for row in rows
    ]


def amount(cell: str) -> Decimal:
    return Decimal(cell.replace("−", "-").replace("$", "").replace(",", ""))


def test_it_says_what_was_charged_and_what_differs(books: october.Ledger, signed_in: Callable[..., Client]) -> None:
    total = queries.total(scope=SpendScope(parse_month(october.MONTH), (), "effective", "USD", None)).cost

    page = text(signed_in("finance"))

    assert f"Oct 2026: ${total:.2f} charged, $0.00 difference to invoices" in page
    assert "Provisional: every day of Oct 2026 is billed." in page
    assert "INV-1" in page
    assert "largest remainder" in page


def test_its_rows_and_columns_add_up_as_printed(books: october.Ledger, signed_in: Callable[..., Client]) -> None:
    page = text(signed_in("finance"))

    for caption in ("Statement of Oct 2026", "From the statement to the invoices"):
        header, *rows, total = table(page, caption)
        at = header.index("Total")
        parts = range(2, at) if at > 2 else range(3, len(header))
        for row in [*rows, total]:
            assert sum(amount(row[index]) for index in parts) == amount(row[at]), caption
        for index in range(2, len(header)):
            assert sum(amount(row[index]) for row in rows) == amount(total[index]), (caption, header[index])
    *_, whole = table(page, "Cost centres")
    assert whole[1] == total[2]


def test_it_keeps_unallocated_spend_as_a_row(books: october.Ledger, signed_in: Callable[..., Client]) -> None:
    _header, *rows = table(text(signed_in("finance")), "Statement of Oct 2026")

    (row,) = [row for row in rows if row[1] == "Unallocated"]
    assert abs(amount(row[-1]) - Decimal("3.3349")) < Decimal("0.01")
    assert rows[-2] == row


def test_it_leads_to_the_cost_centre_in_explore(books: october.Ledger, signed_in: Callable[..., Client]) -> None:
    client = signed_in("finance")
    page = text(client)

    (url,) = set(re.findall(r'href="(/explore/\?[^"]*cost_centre%3A4420[^"]*)"', page))
    explore = text(client, url)

    _header, *rows = table(page, "Cost centres")
    total = next(row[1] for row in rows if row[0] == "4420")
    assert "from=2026-10-01&to=2026-10-31" in url
    assert total in explore


def test_it_lists_the_rules_in_their_order(books: october.Ledger, signed_in: Callable[..., Client]) -> None:
    _header, *rows = table(text(signed_in("finance")), "Rules in force")

    assert [row[0] for row in rows[:3]] == ["1", "2", "3"]
    assert rows[0][1] == "Team named on the call or the resource"
    assert rows[-1][1:3] == ["The rest", "Unallocated"]


def test_it_shows_a_lead_the_own_statement_only(books: october.Ledger, signed_in: Callable[..., Client]) -> None:
    page = text(signed_in("lead", "search"))

    _header, *rows, _total = table(page, "Statement of Oct 2026")
    assert {row[1] for row in rows} == {"search"}
    assert "for search" in page
    assert "growth" not in page
    assert "INV-1" not in page


def test_it_tells_somebody_without_a_role_so(signed_in: Callable[..., Client]) -> None:
    assert "no role yet" in text(signed_in("none"), status=403)


def test_it_opens_the_newest_month_that_is_billed(books: october.Ledger, signed_in: Callable[..., Client]) -> None:
    client = signed_in("finance")

    assert client.get("/chargeback/")["Location"] == URL
    assert client.get("/chargeback/?month=2026-09&basis=billed")["Location"] == "/chargeback/2026-09/?basis=billed"


def test_it_shows_an_empty_month_as_such(signed_in: Callable[..., Client]) -> None:
    client = signed_in("finance")

    page = text(client)

    assert client.get("/chargeback/").status_code == 302
    assert "Oct 2026: nothing in the books" in page
    assert "no bill has arrived yet" in page


@pytest.mark.parametrize("month", ["2026-13", "soon", "9999-12"])
def test_it_says_what_a_month_looks_like(month: str, signed_in: Callable[..., Client]) -> None:
    assert "expected a month as YYYY-MM" in text(signed_in("finance"), f"/chargeback/{month}/", status=400)


def test_it_shows_the_checksum_that_the_export_carries(books: october.Ledger, signed_in: Callable[..., Client]) -> None:
    client = signed_in("finance")
    page = text(client)
    (url,) = set(re.findall(r'href="(/api/v1/chargeback/[^"]*format=json)"', page))

    assert client.get(url).json()["sha256"] in page


def line(team: str, *amounts: str) -> StatementLine:
    direct, shared, idle = (Decimal(text) for text in amounts)
    zero = Decimal(0)
    total = direct + shared + idle
    return StatementLine("1", team, direct, shared, idle, zero, zero, zero, zero, total, total, zero)


def test_it_prints_cents_that_add_up_whatever_the_digits() -> None:
    lines = tuple(line(f"t{index}", "0.3333", "-0.0049", "0.00666667") for index in range(7))
    statement = Statement(parse_month("2026-10").start, "USD", "effective", False, lines, ())

    sheet = printing.printed(statement)

    assert sheet.total.total == Decimal("2.35")
    for row in (*sheet.rows, sheet.total):
        assert sum(row.parts.values()) == sum(row.ties.values()) == row.total
    for name in printing.PARTS:
        assert sum(row.parts[name] for row in sheet.rows) == sheet.total.parts[name]


def test_its_checksum_follows_the_figures_and_not_their_zeros() -> None:
    month = parse_month("2026-10").start

    def checksum(amount: str, invoiced: str = "1") -> str:
        one = Reconciliation("AWS", "AWS", ("I-1",), Decimal(invoiced), Decimal(1), Decimal(0))
        return printing.checksum(Statement(month, "USD", "effective", True, (line("a", amount, "0", "0"),), (one,)))

    assert checksum("1.50") == checksum("1.5")
    assert len({checksum("1.5"), checksum("1.51"), checksum("1.5", invoiced="2")}) == 3


def test_it_saves_a_view_once_and_opens_it_again(signed_in: Callable[..., Client]) -> None:
    client = signed_in("finance")
    url = "/views/save/?page=explore&preset=7d&f=team%3Asearch"

    first = client.post(url, {"name": " Search,  7 days ", "is_shared": "on"})
    again = client.post(url, {"name": "Search, 7 days"})

    assert first["Location"] == "/explore/?preset=7d&f=team%3Asearch"
    assert again.status_code == 400
    assert "already have a view" in unescape(again.content.decode())
    assert 'value="Search, 7 days"' in again.content.decode()
    assert 'href="/explore/?preset=7d&f=team%3Asearch"' in text(client, "/views/save/?page=explore")


def test_it_shows_shared_views_to_others_and_lets_only_the_owner_delete(signed_in: Callable[..., Client]) -> None:
    ada, ben = signed_in("finance"), signed_in("lead", "search")
    ada.post("/views/save/?page=overview", {"name": "Mine"})
    ada.post("/views/save/?page=overview", {"name": "Ours", "is_shared": "on"})
    owner = get_user_model().objects.get(username="finance").pk
    ours = next(view for view in saved.views(user_id=owner, page="overview") if view.name == "Ours")

    page = text(ben, "/views/save/?page=overview")
    ben.post("/views/save/?page=overview", {"delete": str(ours.id)})
    kept = saved.views(user_id=owner, page="overview")
    ada.post("/views/save/?page=overview", {"delete": str(ours.id)})

    assert ">Ours<" in page
    assert ">Mine<" not in page
    assert len(kept) == 2
    assert [view.name for view in saved.views(user_id=owner, page="overview")] == ["Mine"]


@pytest.mark.parametrize(("name", "word"), [("", "Give the view a name"), ("x" * 81, "at most 80"), ("a\x00", "null")])
def test_it_says_why_a_view_cannot_be_saved(name: str, word: str, signed_in: Callable[..., Client]) -> None:
    response = signed_in("finance").post("/views/save/?page=explore", {"name": name})

    assert response.status_code == 400
    assert word in unescape(response.content.decode())


def test_it_knows_which_pages_have_views(signed_in: Callable[..., Client]) -> None:
    assert "unknown page" in text(signed_in("finance"), "/views/save/?page=moon", status=400)


def test_it_lists_values_by_spend_and_only_the_viewer_s(
    books: october.Ledger, signed_in: Callable[..., Client]
) -> None:
    days = "preset=custom&from=2026-10-01&to=2026-10-31"

    everyone = text(signed_in("finance"), f"/values/?dim=team&{days}")
    found = text(signed_in("admin"), f"/values/?dim=team&q=GRO&{days}")
    own = text(signed_in("lead", "search"), f"/values/?dim=team&{days}")

    assert re.findall(r'<option value="([^"]*)">', everyone) == ["search", "growth"]
    assert re.findall(r'<option value="([^"]*)">', found) == ["growth"]
    assert re.findall(r'<option value="([^"]*)">', own) == ["search"]


def test_it_refuses_values_of_something_unknown(signed_in: Callable[..., Client]) -> None:
    assert "unknown dimension" in text(signed_in("finance"), "/values/?dim=planet", status=400)
