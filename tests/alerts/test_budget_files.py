"""Budgets from a file: every mistake by row and column, all or nothing, and the same file back."""

import csv
import io
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from hypothesis import given
from hypothesis import strategies as st

from alerts import budget_cells, budget_copies, budget_files, budgets
from alerts.budgets import RungSpec
from alerts.models import Budget, Rung
from alerts.rows import BudgetTerms
from costobs.audit.models import AuditEntry
from costobs.kernel.scope import DIMENSIONS
from tests.alerts.conftest import START, at, make_budget, rung

pytestmark = pytest.mark.django_db
D = Decimal


def table(*lines: str) -> bytes:
    return "\n".join(lines).encode()


def run(*words: str) -> str:
    out = io.StringIO()
    call_command("budgets", *words, stdout=out, stderr=io.StringIO())
    return out.getvalue()


def exported() -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(budget_files.COLUMNS)
    writer.writerows(budget_files.rows(ids=list(Budget.objects.order_by("name").values_list("pk", flat=True))))
    return text.getvalue()


FILE = table(
    "name,scope,amount,currency,period,parent,rollover,starts_on,ladder",
    "Search,team:search|growth,24000.50,USD,month,All AI,unused,2026-11-01,80:notify; 100:throttle:requests_per_minute=6",
    "All AI,,50000,USD,month,,none,,80:notify",
)


def test_it_shows_what_a_file_would_do_and_writes_nothing() -> None:
    found = budget_files.plan(content=FILE, by="ada", now=START)

    assert [(row.line, row.name, row.verdict) for row in found.rows] == [(2, "Search", "new"), (3, "All AI", "new")]
    assert ("parent", "", "All AI") in found.rows[0].changes
    assert (Budget.objects.count(), AuditEntry.objects.count()) == (0, 0)


def test_it_makes_parents_before_their_children_wherever_they_stand() -> None:
    found = budget_files.apply(content=FILE, by="ada", now=START)

    search = Budget.objects.get(name="Search")
    assert found.is_right
    assert (search.parent and search.parent.name, search.amount, search.rollover) == ("All AI", D("24000.50"), "unused")
    assert (search.scope, search.starts_on) == ({"team": ["growth", "search"]}, date(2026, 11, 1))
    assert Rung.objects.get(action="throttle").config == {"requests_per_minute": 6}
    assert AuditEntry.objects.filter(act="budget.created", actor="ada").count() == 2


def test_it_changes_nothing_when_it_is_applied_again() -> None:
    budget_files.apply(content=FILE, by="ada", now=START)
    entries = AuditEntry.objects.count()

    again = budget_files.apply(content=FILE, by="ada", now=at(2))

    assert again.count("same") == 2
    assert AuditEntry.objects.count() == entries


def test_it_names_every_mistake_by_row_and_column_and_writes_nothing_at_all() -> None:
    content = table(
        "name,amount,currency,period,zone,starts_on,is_hard,scope,ladder,parent",
        "Right,100,USD,month,UTC,,no,team:a,80:notify,",
        "Amount,a lot,USD,month,UTC,,no,team:a,80:notify,",
        "Two,100,dollars,year,Europe/Atlantis,,no,team:a,80:notify,",
        "Cells,100,USD,month,UTC,soon,perhaps,team,eighty:notify,",
        "Ladder,100,USD,month,UTC,,no,team:a,80:notify; 90:throttle,",
        "Hard,100,USD,month,UTC,,yes,region:eu,,",
        "Orphan,100,USD,month,UTC,,no,,,Nobody",
        "Right,100,USD,month,UTC,,no,team:b,80:notify,",
        ",100,USD,month,UTC,,no,,,",
    )

    found = budget_files.apply(content=content, by="ada", now=START)

    wrong = {(row.line, mistake.column) for row in found.rows for mistake in row.mistakes}
    assert wrong == {
        (3, "amount"),
        (4, "currency"), (4, "period"), (4, "zone"),
        (5, "starts_on"), (5, "is_hard"), (5, "scope"), (5, "ladder"),
        (6, "ladder"),
        (7, "is_hard"),
        (8, "parent"),
        (9, "name"),
        (10, "name"),
    }  # fmt: skip
    assert [row.verdict for row in found.rows if row.line == 2] == ["new"]
    assert (Budget.objects.count(), AuditEntry.objects.count()) == (0, 0)


def test_it_leaves_absent_columns_and_clears_empty_cells() -> None:
    make_budget(
        rung("80", "notify"), name="Search", owner_email="ben@example.com", terms=BudgetTerms(criticality="high")
    )

    absent = budget_files.apply(content=table("name,amount", "Search,2000"), by="ada", now=at(2))
    kept = Budget.objects.get()
    budget_files.apply(content=table("name,amount,owner_email,criticality", "Search,2000,,"), by="ada", now=at(2))

    assert absent.rows[0].changes == (("amount", "1000", "2000"),)
    assert (kept.owner_email, kept.criticality, kept.scope) == ("ben@example.com", "high", {"team": ["search"]})
    assert (Budget.objects.get().owner_email, Budget.objects.get().criticality) == ("", "normal")
    assert Rung.objects.filter(is_active=True).count() == 1


def test_it_moves_a_budget_below_another_and_refuses_a_circle() -> None:
    one = make_budget(name="one")
    make_budget(name="two", scope={"team": ["x"]}, terms=BudgetTerms(parent_id=one))

    turned = budget_files.apply(content=table("name,amount,parent", "one,1000,two", "two,1000,"), by="ada", now=at(2))
    circle = budget_files.apply(
        content=table("name,amount,parent", "one,1000,two", "two,1000,one"), by="ada", now=at(2)
    )

    assert turned.is_right
    parents = {row.name: row.parent and row.parent.name for row in Budget.objects.select_related("parent")}
    assert parents == {"one": "two", "two": None}
    assert [mistake.column for row in circle.rows for mistake in row.mistakes] == ["parent"]


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "found nothing"),
        (b"name,planet\nx,y", "planet"),
        (b"name,currency\nx,USD", "amount"),
        (b"name,amount,name\nx,1,y", "twice"),
        (b"name,amount\nx,1,2", "3 cells"),
        (b"name,amount\n\x00,1", "null"),
        (b'name,amount\n"x,1', "no row of a table"),
        (b"x" * (budget_files.MOST_BYTES + 1), "at most"),
    ],
)
def test_it_says_why_a_file_cannot_be_read(content: bytes, word: str) -> None:
    with pytest.raises(budget_files.Unreadable, match=word):
        budget_files.plan(content=content, by="ada", now=START)


def test_it_reads_what_spreadsheets_write() -> None:
    content = "\ufeffName;Amount;Scope\r\nSuche;1200;team:suche\r\n\r\n".encode()

    found = budget_files.apply(content=content, by="ada", now=START)

    assert [row.verdict for row in found.rows] == ["new"]
    assert Budget.objects.get().scope == {"team": ["suche"]}


def test_it_reads_back_what_it_wrote_without_any_change() -> None:
    top = make_budget(name="=All", scope={})
    terms = BudgetTerms(
        zone="Europe/Berlin", parent_id=top, starts_on=date(2026, 11, 1), ends_on=date(2027, 1, 1), is_prorated=True,
        rollover="both", rollover_cap_percent=D("12.5"), borrow_percent=D(10), is_hard=True, on_unreachable="open",
        default_max_tokens=512, aborts_running=True, criticality="critical",
        protected=({"team": ["search"], "environment": ["prod"]}, {"key": ["k|1"]}),
    )  # fmt: skip
    make_budget(
        rung("60", "notify", on="forecast"), rung("75.5", "throttle", "one", 4, requests_per_minute=6),
        name="Search; all", scope={"team": ["a|b", "c"], "model": ["org/llama:70b"]}, terms=terms, amount="0.123456789012",
    )  # fmt: skip
    make_budget(name="Rolls", period="rolling", scope={"team": ["x"]}, terms=BudgetTerms(rolling_days=30))
    before = exported()

    same = budget_files.apply(content=before.encode(), by="ada", now=at(2))
    Budget.objects.all().delete()
    again = budget_files.apply(content=before.encode(), by="ada", now=at(2))

    assert (same.count("same"), again.count("new")) == (3, 3)
    assert exported() == before


_WORDS = st.text(
    st.characters(codec="utf-8", exclude_characters="\x00", exclude_categories=("Cs", "Cc")), min_size=1, max_size=12
).filter(lambda text: text == text.strip() and bool(text))


@given(st.dictionaries(st.sampled_from(DIMENSIONS), st.lists(_WORDS, min_size=1, max_size=3, unique=True), max_size=3))
def test_it_writes_any_scope_so_that_it_reads_the_same(scope: dict[str, list[str]]) -> None:
    assert budget_cells.scope(budget_cells.scope_text(scope)) == scope


def test_it_writes_settings_that_are_not_plain_as_json() -> None:
    specs = [RungSpec(D(80), "notify", {"targets": ["a", "b"]}), RungSpec(D(90), "notify", {"words": "a=b,c"})]

    text = budget_cells.ladder_text(specs)

    assert text.startswith("[")
    assert budget_cells.ladder(text) == specs


class TestCopies:
    """Once more beside the first, or from the next period on."""

    def test_it_goes_on_from_the_next_period_with_a_growth(self) -> None:
        budget_id = make_budget(rung("80", "notify"), name="Search", amount="1000.10")

        (copy_id,) = budget_copies.copy(budget_id=budget_id, growth_percent=D(5), to_next=True, by="ada", now=at(15))

        old, new = Budget.objects.get(pk=budget_id), Budget.objects.get(pk=copy_id)
        assert (old.ends_on, new.starts_on, new.ends_on) == (date(2026, 12, 1), date(2026, 12, 1), None)
        assert (new.name, new.amount, new.scope) == ("Search, from 1 Dec 2026", D("1050.10"), old.scope)
        assert new.rungs.count() == 1

    def test_it_lasts_as_long_as_the_first_one_did(self) -> None:
        terms = BudgetTerms(starts_on=date(2026, 10, 1), ends_on=date(2027, 1, 1))
        budget_id = make_budget(name="Q4", period="quarter", terms=terms)

        (copy_id,) = budget_copies.copy(budget_id=budget_id, to_next=True, name="Q1", by="ada", now=at(15))
        (third,) = budget_copies.copy(budget_id=copy_id, to_next=True, by="ada", now=at(15))

        new = Budget.objects.get(pk=copy_id)
        assert (new.name, new.starts_on, new.ends_on) == ("Q1", date(2027, 1, 1), date(2027, 4, 1))
        assert Budget.objects.get(pk=third).ends_on == date(2027, 7, 1)

    def test_it_brings_what_is_below_along_or_nothing(self) -> None:
        top = make_budget(name="All", scope={})
        make_budget(name="Search", terms=BudgetTerms(parent_id=top))
        make_budget(name="Search (copy)", scope={"team": ["y"]})

        made = budget_copies.copy(budget_id=top, with_children=True, growth_percent=D(-10), by="ada", now=at(2))

        rows = [Budget.objects.select_related("parent").get(pk=each) for each in made]
        assert [(row.name, row.amount, row.parent and row.parent.name) for row in rows] == [
            ("All (copy)", D(900), None),
            ("Search (copy 2)", D(900), "All (copy)"),
        ]
        with pytest.raises(budgets.Invalid, match="exists"):
            budget_copies.copy(budget_id=top, name="Search", with_children=True, by="ada", now=at(2))
        assert Budget.objects.count() == 5

    def test_it_refuses_a_next_period_where_there_is_none(self) -> None:
        budget_id = make_budget(period="rolling", terms=BudgetTerms(rolling_days=7))

        with pytest.raises(budgets.Invalid, match="no next period"):
            budget_copies.copy(budget_id=budget_id, to_next=True, by="ada", now=at(2))
        with pytest.raises(budgets.Invalid, match="percent"):
            budget_copies.copy(budget_id=budget_id, growth_percent=D("NaN"), by="ada", now=at(2))
        assert Budget.objects.get().ends_on is None


class TestCommand:
    """The same from the command line."""

    def test_it_takes_every_term(self) -> None:
        run("create", "--name", "All", "--amount", "9000")
        run(
            "create", "--name", "Search", "--team", "search", "--amount", "100", "--parent", "All", "--zone", "Asia/Tokyo",
            "--starts-on", "2026-11-01", "--ends-on", "2027-01-01", "--prorated", "--rollover", "both", "--rollover-cap", "20",
            "--borrow", "10", "--hard", "--abort-running", "--default-max-tokens", "256", "--criticality", "high",
        )  # fmt: skip

        row = Budget.objects.get(name="Search")
        assert (row.parent and row.parent.name, row.zone, row.rollover_cap_percent, row.is_hard) == (
            "All",
            "Asia/Tokyo",
            D(20),
            True,
        )

    def test_it_exports_and_imports(self, tmp_path: Path) -> None:
        make_budget(rung("80", "notify"), name="@Search")
        path = str(tmp_path / "budgets.csv")

        said = run("export", path)
        printed = run("export")
        same = run("import", path)
        Budget.objects.all().delete()
        dry = run("import", path, "--dry-run")
        count = Budget.objects.count()
        made = run("import", path)

        assert "1 budgets" in said and "'@Search" in printed
        assert (same.strip(), dry.strip(), count, made.strip()) == (
            "budgets: 0 new, 0 changed, 1 same", "would be: 1 new, 0 changed, 0 same", 0, "budgets: 1 new, 0 changed, 0 same",
        )  # fmt: skip
        assert Budget.objects.get().name == "@Search"

    def test_it_writes_nothing_from_a_wrong_file(self, tmp_path: Path) -> None:
        path = tmp_path / "budgets.csv"
        path.write_bytes(table("name,amount", "Right,1", "Wrong,x"))

        with pytest.raises(CommandError, match="1 of 2 rows are wrong"):
            run("import", str(path))
        with pytest.raises(CommandError):
            run("import", str(tmp_path / "nothing.csv"))
        assert not Budget.objects.exists()

    def test_it_copies(self) -> None:
        make_budget(name="Search")

        said = run("copy", "Search", "--as", "Search more", "--growth", "10%")

        assert "Search more" in said
        assert Budget.objects.get(name="Search more").amount == D("1100.00")


def test_it_survives_any_bytes(tmp_path: Path) -> None:
    for content in (b"\xff\xfe\x00", b"name,amount\n" + b"," * 500, bytes(range(1, 256)), b"name,amount\n=1+1,1"):
        try:
            found: Any = budget_files.plan(content=content, by="ada", now=START)
        except budget_files.Unreadable as problem:
            found = str(problem)
        assert found
    assert not Budget.objects.exists()
