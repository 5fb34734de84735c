"""The files of a statement: the same bytes from the same figures, numbers that add up, and text that can be read back."""

import csv
import hashlib
import io
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

import openpyxl
import orjson
import pyarrow.parquet as pq
import pypdf
import pytest

from attribution import printing
from attribution.exports import KINDS, Document
from attribution.exports.journal import BadLayout, Layout, entries
from attribution.queries import Conversion, FocusRow, MarkupLine, Reconciliation, Statement, StatementLine

ZERO = Decimal(0)
FEE = MarkupLine(Decimal("7.5"), "Platform fee")


def line(centre: str, team: str, *amounts: str, fee: MarkupLine | None = None, other: str = "0") -> StatementLine:
    direct, shared, idle, adjusted, tax = (Decimal(text) for text in amounts)
    total = direct + shared + idle + adjusted + tax
    return StatementLine(
        centre, team, direct, shared, idle, ZERO, ZERO, adjusted, tax, total, total - 1, ZERO, Decimal(other), ZERO, fee
    )


def document(*, closed: bool = True, currency: str = "USD", **changes: object) -> Document:
    lines = (
        line("4410", "search", "100.333333333333333333", "0.005", "2.0049", "-1.115", "20", fee=FEE, other="13.2"),
        line("4420", "=cmd|' /C calc'!A0", "5", "0.335", "0", "-9.5", "0", fee=FEE),
        line("", "", "0", "3.333", "0", "0", "0"),
    )
    found = Statement(
        date(2026, 10, 1),
        currency,
        "effective",
        True,
        lines,
        (Reconciliation("AWS", "AWS", ("INV-1",), Decimal("121.39"), Decimal("121.39"), ZERO),),
        "closed" if closed else "provisional",
        1 if closed else 0,
        datetime(2026, 11, 5, 9, 30, tzinfo=UTC) if closed else None,
        (
            Conversion(
                "4410",
                "search",
                "EUR",
                Decimal(12),
                ZERO,
                Decimal("13.2"),
                ZERO,
                "ECB, 9 Oct 2026",
                Decimal("1.1"),
                Decimal("1.1"),
            ),
        ),
    )
    day = FocusRow(
        date(2026, 10, 2), "", "bill", "AWS", "AWS", "Amazon EC2", "1", "us-east-1", "Usage", "gpu_compute", "", "m",
        "d", "search", "answers", "4410", "prod", "shared", "billed", Decimal("1.5"), Decimal("1.25"), Decimal(2), Decimal("1.75"),
    )  # fmt: skip
    made = Document(
        id=printing.identity(found),
        statement=found,
        sheet=printing.printed(found),
        sha256=printing.checksum(found),
        company="Acme *AG* #1",
        focus_rows=(day,),
        categories={("AWS", "Amazon EC2"): "Compute"},
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # given by the tests


def written(kind: str, given: Document | None = None) -> bytes:
    return b"".join(KINDS[kind]().write(given or document()))


def rows(kind: str, given: Document | None = None) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(written(kind, given).decode())))


def pdf(given: Document) -> str:
    return " ".join(page.extract_text() for page in pypdf.PdfReader(io.BytesIO(written("pdf", given))).pages)


@pytest.mark.parametrize("kind", KINDS.names())
def test_it_writes_the_same_bytes_again(kind: str) -> None:
    first, again = written(kind, document()), written(kind, document())

    assert hashlib.sha256(first).hexdigest() == hashlib.sha256(again).hexdigest()
    assert len(first) > 100


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_it_lets_no_spreadsheet_run_a_name_of_the_focus_file(start: str) -> None:
    given = document()
    (row,) = given.focus_rows
    name = f"{start}cmd|' /C calc'!A0"
    risky = replace(row, team=name, feature=name, model=name, service_name=name, region=name, billed_cost=Decimal(-1))

    (found,) = rows("focus", replace(given, focus_rows=(risky,)))

    assert found["BilledCost"] == "-1"
    for column in ("x_Team", "x_Feature", "x_Model", "ServiceName", "RegionId", "ChargeDescription"):
        assert found[column].startswith(f"'{start}"), column


@pytest.mark.parametrize("kind", KINDS.names())
def test_it_says_on_every_file_whether_it_is_showback_or_chargeback(kind: str) -> None:
    for closed, word in ((True, "chargeback"), (False, "showback")):
        given = document(closed=closed)
        name = KINDS[kind]().file_name(given)
        assert ("v1" if closed else "showback") in name
        if kind in {"csv", "json", "journal"}:
            assert word.encode() in written(kind, given)


@pytest.mark.parametrize("kind", KINDS.names())
def test_it_has_another_tag_for_other_content(kind: str) -> None:
    export = KINDS[kind]()
    tag = export.tag(document())

    assert tag == export.tag(document())
    assert tag != export.tag(document(closed=False))
    if kind in {"pdf", "xlsx", "json"}:
        assert tag != export.tag(document(company="Other"))
    if kind == "journal":
        assert tag != export.tag(document(journal=replace(Layout(), credit_account="1").stored()))
    if kind.startswith("focus"):
        assert tag != export.tag(document(focus_rows=()))


def test_it_carries_every_digit_and_the_printed_cents_in_csv() -> None:
    found = rows("csv")

    given = document()
    assert [row["direct_cost"] for row in found] == ["100.333333333333333333", "5", "0"]
    assert [Decimal(row["charged_cost"]) for row in found] == [one.charged_cost for one in given.statement.lines]
    assert sum(Decimal(row["printed_charged_cost"]) for row in found) == given.sheet.total.charged
    assert found[0]["markup_label"] == "Platform fee" and found[0]["markup_percent"] == "7.5"


@pytest.mark.parametrize("kind", ["csv", "journal"])
def test_it_lets_no_name_be_run_by_a_spreadsheet(kind: str) -> None:
    cells = [cell for row in rows(kind) for cell in row.values()]

    assert not any(cell.startswith("=") for cell in cells)
    assert any("cmd" in cell for cell in cells)


def test_it_says_the_same_in_json() -> None:
    given = document()
    found = orjson.loads(written("json", given))

    assert (found["id"], found["sha256"], found["kind"]) == ("2026-10/USD/effective/v1", given.sha256, "chargeback")
    assert Decimal(found["total"]["charged_cost"]) == given.statement.charged_cost
    assert found["conversions"][0]["is_included"] is True
    assert found["lines"][0]["markup"] == {"label": "Platform fee", "percent": "7.5"}


def sheet(name: str) -> Iterator[tuple[object, ...]]:
    book = openpyxl.load_workbook(io.BytesIO(written("xlsx")))
    assert book.sheetnames == ["Summary", "Lines", "Reconciliation"]
    return book[name].iter_rows(values_only=True)


def test_it_has_numbers_as_numbers_in_the_workbook_and_their_digits_beside() -> None:
    header, *lines = sheet("Lines")
    at = {str(name): index for index, name in enumerate(header) if name}

    first, total = lines[0], lines[-1]
    assert isinstance(first[at["Direct, USD"]], float)
    assert first[at["Direct, exact"]] == "100.333333333333333333"
    charged = [row[at["Charged, USD"]] for row in lines]
    assert round(sum(charged[:-1]), 2) == round(total[at["Charged, USD"]], 2)  # type: ignore[arg-type]  # numbers
    assert lines[1][1] == "=cmd|' /C calc'!A0"  # text, not a formula
    assert any("INV-1" in map(str, row) for row in sheet("Reconciliation"))
    assert any("Acme *AG* #1" in map(str, row) for row in sheet("Summary"))


def test_it_keeps_every_digit_in_parquet() -> None:
    table = pq.read_table(io.BytesIO(written("parquet")))

    assert table.column("direct_cost").to_pylist()[0] == Decimal("100.333333333333333333")
    assert str(table.schema.field("charged_cost").type).startswith("decimal")
    given = document()
    fine = tuple(replace(one, direct_cost=one.direct_cost + Decimal("1E-25")) for one in given.statement.lines)
    again = pq.read_table(
        io.BytesIO(written("parquet", replace(given, statement=replace(given.statement, lines=fine))))
    )
    assert again.column("direct_cost").to_pylist()[0] == Decimal("100.3333333333333333330000001")


def test_it_writes_focus_rows_as_csv_and_parquet_alike() -> None:
    (row,) = rows("focus")
    (other,) = pq.read_table(io.BytesIO(written("focus_parquet"))).to_pylist()

    assert row["EffectiveCost"] == "1.25" and other["EffectiveCost"] == Decimal("1.25")
    assert row["ServiceSubcategory"] == other["ServiceSubcategory"] == "Other (Compute)"
    assert other["ChargePeriodStart"] == datetime(2026, 10, 2, tzinfo=UTC)
    assert list(row) == list(other)


@pytest.mark.parametrize("currency", ["USD", "JPY", "KWD"])
def test_it_balances_debits_and_credits(currency: str) -> None:
    given = document(currency=currency)
    found = rows("journal", given)

    debits = sum(Decimal(row["Debit"]) for row in found if row["Debit"])
    credits_ = sum(Decimal(row["Credit"]) for row in found if row["Credit"])
    assert debits == credits_ != 0
    assert {row["Currency"] for row in found} == {currency}
    charged = sum(one.amount for one in entries(given, Layout()) if one.part != "credit")
    assert charged == given.sheet.total.charged


def test_it_turns_the_side_of_negative_amounts() -> None:
    (row,) = [row for row in rows("journal") if row["Account"] == "4420" and "Platform" not in row["Description"]]

    assert (row["Debit"], row["Credit"]) == ("", "4.16")


def test_it_has_the_columns_and_accounts_that_were_chosen() -> None:
    chosen = {
        "columns": [["Konto", "account"], ["Betrag", "amount"], ["Buchungskreis", "=1000"], ["Text", "description"]],
        "debit_account": "CC-{cost_centre}",
        "credit_account": "2800",
        "markup_account": "8400",
        "no_cost_centre_account": "9999",
    }

    found = rows("journal", document(journal=chosen))

    assert list(found[0]) == ["Konto", "Betrag", "Buchungskreis", "Text"]
    assert {row["Konto"] for row in found} == {"CC-4410", "CC-4420", "9999", "2800", "8400"}
    assert {row["Buchungskreis"] for row in found} == {"1000"}
    assert sum(Decimal(row["Betrag"]) for row in found) == 0


@pytest.mark.parametrize(
    ("columns", "word"),
    [
        ([["A", "nothing"], ["B", "account"], ["C", "amount"]], "nothing"),
        ([["A", "account"]], "amount or both"),
        ([["A", "amount"]], "need account"),
        ([["", "account"], ["B", "amount"]], "header"),
    ],
)
def test_it_refuses_columns_nobody_can_book(columns: list[list[str]], word: str) -> None:
    with pytest.raises(BadLayout, match=word):
        Layout.parse({"columns": columns})


def test_its_pdf_can_be_read_and_is_dated_when_the_month_was_closed() -> None:
    given = document()
    read = pypdf.PdfReader(io.BytesIO(written("pdf", given)))
    text = pdf(given)

    for words in (
        "Acme *AG* #1",
        "CHARGEBACK",
        "October 2026",
        "4410",
        given.sha256,
        "Page 1 of",
        "Platform fee",
        "INV-1",
    ):
        assert words in text, words
    assert f"${given.sheet.total.charged:,.2f}" in text
    assert read.metadata is not None and read.metadata.creation_date == datetime(2026, 11, 5, 9, 30, tzinfo=UTC)


def test_its_pdf_says_showback_and_is_dated_at_the_end_of_the_month() -> None:
    given = document(closed=False, cost_centre="4410")
    read = pypdf.PdfReader(io.BytesIO(written("pdf", given)))

    assert "SHOWBACK" in pdf(given) and "a report only" in pdf(given)
    assert read.metadata is not None and read.metadata.creation_date == datetime(2026, 10, 31, 23, 59, 59, tzinfo=UTC)


def test_its_pdf_numbers_the_pages_of_a_long_statement() -> None:
    given = document()
    many = tuple(replace(given.statement.lines[0], team=f"team {number}") for number in range(90))
    long = replace(given.statement, lines=many)

    text = pdf(replace(given, statement=long, sheet=printing.printed(long)))

    assert "Page 3 of" in text and "team 89" in text


@pytest.mark.parametrize(("currency", "cent"), [("USD", "0.01"), ("JPY", "1"), ("KWD", "0.001")])
@pytest.mark.parametrize("halves", range(-7, 8))
def test_it_adds_up_where_total_and_other_currencies_meet_on_half_a_cent(currency: str, cent: str, halves: int) -> None:
    unit = Decimal(cent)
    own = unit * Decimal(halves) / 2
    lines = tuple(
        line(centre, "a", str(own if centre == "1" else ZERO), "0", "0", "0", "0", other=str(unit))
        for centre in ("1", "2", "3")
    )
    statement = replace(document().statement, lines=lines, currency=currency)

    sheet = printing.printed(statement)

    exact = own + 3 * unit
    assert sheet.total.charged == round(exact / unit) * unit
    assert sheet.total.charged == sum(row.charged for row in sheet.rows)
    for row in sheet.rows:
        assert abs(row.converted - unit) <= unit
        assert sum(row.parts.values()) == row.total
