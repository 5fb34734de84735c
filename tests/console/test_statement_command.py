"""costobs statement: the same figures as the page and the API, as a table or as any of the files."""

import csv
import io
import json
from decimal import Decimal
from pathlib import Path

import pytest
import time_machine
from django.core.management import CommandError, call_command

from attribution import close, issue
from attribution.exports import KINDS
from costobs.kernel.period import parse_month
from costobs.kernel.scope import SpendScope
from tests.api import october

pytestmark = pytest.mark.django_db
SCOPE = SpendScope(parse_month(october.MONTH), (), "effective", "USD", None)


@pytest.fixture(autouse=True)
def books(tmp_path: Path) -> object:
    with time_machine.travel(october.NOW, tick=False):
        yield october.build(tmp_path)


def run(*words: str, beside: io.StringIO | None = None) -> str:
    out = io.StringIO()
    call_command("statement", *words, stdout=out, stderr=beside or io.StringIO())
    return out.getvalue()


def test_it_prints_a_line_for_each_cost_centre_and_team_that_adds_to_the_cent() -> None:
    name, meaning, head, *rows = run(october.MONTH).splitlines()

    assert name == "2026-10/USD/effective/showback"
    assert meaning.startswith("Showback: a report only. The month is provisional")
    assert head.split()[-4:] == ["total", "converted", "markup", "charged"]
    *lines, total = [Decimal(row.split()[-1].replace("$", "").replace("−", "-").replace(",", "")) for row in rows]
    assert len(lines) >= 3
    assert sum(lines) == total == issue.document(scope=SCOPE).sheet.total.charged
    assert any(row.startswith("none") and " nobody " in row for row in rows)


def test_it_writes_one_cost_centre_only() -> None:
    found = json.loads(run(october.MONTH, "--cost-centre", "4420", "--format", "json"))

    assert {line["cost_centre"] for line in found["lines"]} == {"4420"}
    assert found["id"] == "2026-10/USD/effective/4420/showback"


@pytest.mark.parametrize("kind", KINDS.names())
def test_it_writes_the_same_bytes_as_every_other_way_out(kind: str, tmp_path: Path) -> None:
    (wanted,) = issue.files(scope=SCOPE, cost_centre=None, kinds=[kind])
    path = tmp_path / "out.bin"

    said = run(october.MONTH, "--format", kind, "--out", str(path))
    run(october.MONTH, "--format", kind, "--out", str(tmp_path))

    assert path.read_bytes() == wanted.content
    assert (tmp_path / wanted.name).read_bytes() == wanted.content
    assert said.startswith(f"{path}: 2026-10/USD/effective/showback, sha256 of its figures ")


def test_it_writes_text_to_the_screen() -> None:
    (wanted,) = issue.files(scope=SCOPE, cost_centre=None, kinds=["csv"])

    found = run(october.MONTH, "--format", "csv")

    assert found.encode() == wanted.content
    assert {row["kind"] for row in csv.DictReader(io.StringIO(found))} == {"showback"}


def test_it_tells_what_has_no_rate_and_is_in_no_total() -> None:
    beside = io.StringIO()

    *_, total = run(october.MONTH, "--currency", "eur", beside=beside).splitlines()

    assert total.split()[-1] == "€0.00"
    assert beside.getvalue().startswith("not in these totals: 45.0")
    assert beside.getvalue().endswith(" USD, a day of which has no exchange rate\n")


def test_it_says_chargeback_once_the_month_is_closed() -> None:
    month = SCOPE.days.start
    close.review(month=month, by="ada", now=october.NOW)
    close.close(
        month=month,
        by="ada",
        now=october.NOW,
        note="",
        waive={"unallocated": "the vendor never tags", "sources": "x", "reconciled": "x"},
    )

    name, meaning, *_ = run(october.MONTH).splitlines()

    assert name == "2026-10/USD/effective/v1"
    assert meaning.startswith("Chargeback: ")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["soon"], "expected a month as YYYY-MM, found 'soon'"),
        (["2020-01"], "the books hold no spend of 2020-01; `costobs spend` says what there is"),
        ([october.MONTH, "--cost-centre", "9"], r"has the cost centre '9'; found: .*4410.*4420"),
        ([october.MONTH, "--format", "pdf"], "expected --out FILE with --format pdf, which is not text"),
        ([october.MONTH, "--out", "x"], "expected --format with --out, one of: csv, json"),
    ],
)
def test_it_says_what_it_expected(words: list[str], expected: str) -> None:
    with pytest.raises(CommandError, match=expected):
        run(*words)


def test_it_keeps_the_file_that_was_there_when_it_cannot_write(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"cannot write .*none.*: No such file or directory"):
        run(october.MONTH, "--format", "csv", "--out", str(tmp_path / "none" / "x.csv"))

    assert not (tmp_path / "none").exists()


def test_it_gives_the_file_the_rights_of_any_other(tmp_path: Path) -> None:
    path, beside = tmp_path / "x.csv", tmp_path / "beside"
    beside.write_bytes(b"")

    run(october.MONTH, "--format", "csv", "--out", str(path))

    assert path.stat().st_mode == beside.stat().st_mode
    assert [one for one in tmp_path.iterdir() if one.name.startswith(".")] == []
