"""The terms of budgets in the browser: the tree, the words, the blend, files and copies."""

from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from alerts import budgets, evaluate, queries
from alerts.models import BooksCheck, Budget, BudgetState
from alerts.rows import BudgetTerms
from costobs.audit.models import AuditEntry
from tests.web import reading
from tests.web.conftest import NOW, Ledger
from tests.web.test_budget_pages import FORM

pytestmark = pytest.mark.django_db

TERMS = {
    "zone": "Europe/Berlin",
    "starts_on": "2026-11-16",
    "last_day": "2026-12-31",
    "is_prorated": "on",
    "rollover": "both",
    "rollover_cap_percent": "25 %",
    "borrow_percent": "10",
    "is_hard": "on",
    "on_unreachable": "open",
    "default_max_tokens": "512",
    "aborts_running": "on",
    "criticality": "high",
    "protected": "team:support; environment:prod\nkey:batch",
}


def _make(name: str, **given: Any) -> int:
    values: dict[str, Any] = {
        "scope": {},
        "amount": "90000",
        "currency": "USD",
        "period": "month",
        "rungs": (),
        **given,
    }
    made = budgets.create(name=name, **values, by="ada@example.com", now=NOW)
    evaluate.run(now=NOW)
    return made


def _below(ledger: Ledger, parent_id: int) -> None:
    for budget_id in (ledger.search_budget_id, ledger.support_budget_id):
        budgets.update(budget_id=budget_id, terms=BudgetTerms(parent_id=parent_id), by="ada@example.com", now=NOW)
    evaluate.run(now=NOW)


def test_it_makes_a_budget_with_every_term_and_shows_them_again(ada: Client, ledger: Ledger) -> None:
    parent = _make("All")

    answer = ada.post(reverse("budget_new"), {**FORM, **TERMS, "parent": str(parent), "period": "month"})

    assert answer.status_code == 302
    row = Budget.objects.get(name="Triage")
    assert (row.zone, row.starts_on, row.ends_on, row.is_prorated) == (
        "Europe/Berlin",
        date(2026, 11, 16),
        date(2027, 1, 1),
        True,
    )
    assert (row.rollover, row.rollover_cap_percent, row.borrow_percent) == ("both", Decimal(25), Decimal(10))
    assert (row.is_hard, row.on_unreachable, row.default_max_tokens, row.aborts_running) == (True, "open", 512, True)
    assert (row.parent_id, row.criticality) == (parent, "high")
    assert row.protected == [{"environment": ["prod"], "team": ["support"]}, {"key": ["batch"]}]
    page = reading.shown(ada, reverse("budget_edit", args=[row.pk])).content.decode()
    for text in (
        'value="2026-12-31"',
        'value="25"',
        'value="Europe/Berlin"',
        "team:support",
        f'<option value="{parent}" selected',
    ):
        assert text in page


def test_it_names_mistakes_of_the_terms_beside_their_fields(ada: Client, ledger: Ledger) -> None:
    wrong = {**FORM, "zone": "Mars/Base", "rollover": "none", "rollover_cap_percent": "5", "last_day": "2026-01-01",
             "starts_on": "2026-02-01", "aborts_running": "on"}  # fmt: skip

    answer = ada.post(reverse("budget_new"), wrong)
    unreadable = ada.post(
        reverse("budget_new"), {**FORM, "borrow_percent": "a tenth", "starts_on": "soon", "protected": "?"}
    )

    assert answer.status_code == unreadable.status_code == 400
    assert {target for target, _ in answer.context["summary"]} == {
        "id_zone", "id_rollover_cap_percent", "id_last_day", "id_aborts_running",
    }  # fmt: skip
    assert 'value="Mars/Base"' in answer.content.decode()
    assert "id_starts_on" in {target for target, _ in unreadable.context["summary"]}
    assert not Budget.objects.filter(name="Triage").exists()


@pytest.mark.parametrize(
    "given",
    [{"period": "rolling", "rolling_days": "30"}, {"scope_provider_name": "OpenAI"}, {"scope_cost_centre": "4711"}],
)
def test_it_says_beside_its_box_why_a_budget_cannot_be_hard(ada: Client, ledger: Ledger, given: dict[str, str]) -> None:
    answer = ada.post(reverse("budget_new"), {**FORM, "is_hard": "on", **given})

    assert answer.status_code == 400
    assert "id_is_hard" in {target for target, _ in answer.context["summary"]}
    assert not Budget.objects.filter(name="Triage").exists()


def test_it_stands_children_below_their_parent_and_counts_each_dollar_once(ada: Client, ledger: Ledger) -> None:
    parent = _make("All", amount="60000")
    _below(ledger, parent)

    response = reading.shown(ada, reverse("budgets"))

    table = response.context["budgets"]
    assert [(row.cells[0].text, row.cells[0].depth) for row in table.rows] == [
        ("All", 0), ("Search answers", 1), ("Support", 1),
    ]  # fmt: skip
    assert "table__name--depth-1" in response.content.decode()
    assert reading.kpi(response.context["kpis"], "Budgeted").value == "$60,000"
    assert "2 of 3 budgets lie inside another one" in table.note


def test_it_gives_the_total_of_the_outermost_whatever_zones_stand_below(ada: Client, ledger: Ledger) -> None:
    parent = _make("All", amount="60000")
    _below(ledger, parent)
    _make("Week", period="week", scope={"model": ["gpt-4o"]}, terms=BudgetTerms(parent_id=parent, zone="Asia/Tokyo"))

    table = reading.shown(ada, reverse("budgets")).context["budgets"]

    assert table.total is not None
    assert table.total.cells[2].text.startswith("$60,000")
    assert "3 of 4 budgets lie inside another one" in table.note


def test_it_narrows_by_state_and_owner_and_says_what_a_row_belongs_to(ada: Client, ledger: Ledger) -> None:
    parent = _make("All", owner_email="ada@example.com")
    _below(ledger, parent)

    by_state = reading.shown(ada, reverse("budgets") + "?state=throttled")
    by_owner = reading.shown(ada, reverse("budgets") + "?owner=ada@example.com")
    none = reading.shown(ada, reverse("budgets") + "?state=stopped")
    rows = reading.shown(ada, reverse("budgets") + "?state=throttled&format=csv").content.decode().splitlines()

    assert reading.column(by_state.context["budgets"], "Budget")[:1] == ["Search answers"]
    assert "belongs to All" in reading.words(by_state)
    assert reading.column(by_owner.context["budgets"], "Budget")[:1] == ["All"]
    assert "No budget is in this state" in reading.words(none)
    assert len(rows) == 2


def test_it_explains_the_amount_and_the_parts_of_the_true_cost(ada: Client, ledger: Ledger) -> None:
    terms = BudgetTerms(
        zone="Europe/Berlin",
        starts_on=date(2026, 11, 6),
        is_prorated=True,
        rollover="unused",
        borrow_percent=Decimal(10),
    )
    made = _make("True cost", scope={"team": ["search", "support"]}, amount="3000", terms=terms)

    response = reading.shown(ada, reverse("budget", args=[made]))

    facts = {fact.label: fact.value for fact in response.context["terms"]}
    assert facts["Amount"] == "$2,500.00 (25 days of a month of $3,000.00) +$300.00 borrowed = $2,800.00"
    assert "days of Europe/Berlin: 5 Nov, 23:00 UTC to 30 Nov, 23:00 UTC" in facts["Period"]
    assert facts["Carried over"] == "What was not used is carried over"
    assert facts["Borrowed"].startswith("Up to 10 % of the next period")
    blend = response.context["blend"]
    parts = reading.column(blend, "Part")
    assert parts[0] == "API calls"
    assert {"Own GPUs, busy"} <= set(parts)
    line = queries.budget(id=made, now=NOW, teams=None).line
    assert blend.total is not None
    assert reading.amount(blend.total.cells[1].text) == round(line.spend_cost or Decimal(0), 2)


def test_it_shows_what_is_allocated_and_which_dollars_count_twice(ada: Client, ledger: Ledger) -> None:
    parent = _make("All", amount="40000")
    _below(ledger, parent)

    response = reading.shown(ada, reverse("budget", args=[parent]))
    child = reading.shown(ada, reverse("budget", args=[ledger.search_budget_id]))

    assert (
        "Over-allocated: the budgets below come to $10,000.30 more than the $40,000.00"
        in response.context["children"].note
    )
    assert reading.column(response.context["overlaps"], "Stands") == ["Below it", "Below it"]
    assert [link.label for link in child.context["above"]] == ["All"]
    assert f'<a href="{reverse("budget", args=[parent])}">All</a>' in child.content.decode()


def test_it_keeps_names_and_dollars_of_others_from_a_lead(ben: Client, ledger: Ledger) -> None:
    _below(ledger, _make("Secret plan"))

    page = reading.shown(ben, reverse("budget", args=[ledger.search_budget_id]))

    assert "Secret plan" not in reading.words(page)
    assert "1 more that you do not see" in page.context["overlaps"].note
    assert "Secret plan" not in reading.words(reading.shown(ben, reverse("budgets")))
    assert "Secret plan" not in reading.shown(ben, reverse("budget_export")).content.decode()


def test_it_says_why_figures_are_in_doubt(ada: Client, ledger: Ledger) -> None:
    BudgetState.objects.filter(budget_id=ledger.search_budget_id).update(
        unconverted="EUR", is_unbalanced=True, late="bill"
    )
    BooksCheck.objects.create(day=NOW.date(), books_version="1", is_balanced=False, checked_at=NOW)

    response = reading.shown(ada, reverse("budget", args=[ledger.search_budget_id]))

    words = reading.words(response)
    assert response.context["line"].state == "unknown"
    for text in (
        "EUR has no exchange rate",
        "do not add up",
        "These sources fail or are late: bill",
        "it only notifies",
    ):
        assert text in words


class TestFiles:
    """Budgets as a file."""

    def test_it_shows_then_applies_what_a_file_says(self, ada: Client, ledger: Ledger) -> None:
        content = "name,amount,scope,parent\nAll,99000,,\nSupport,51000,team:support,All\n"
        upload = SimpleUploadedFile("budgets.csv", content.encode())

        shown = ada.post(reverse("budget_import"), {"file": upload})
        before = Budget.objects.count()
        kept = ada.post(reverse("budget_import"), {"pasted": shown.context["pasted"], "act": "apply"})

        assert shown.context["heading"] == "1 new, 1 changed, 0 the same"
        assert "amount: 50000 → 51000; parent: nothing → All" in reading.words(shown)
        assert (before, kept.status_code, Budget.objects.count()) == (2, 302, 3)
        assert (
            AuditEntry.objects.filter(act__in=["budget.created", "budget.changed"], actor="ada@example.com").count()
            >= 2
        )

    def test_it_writes_nothing_while_a_row_is_wrong(self, ada: Client, ledger: Ledger) -> None:
        asked = {"pasted": "name,amount,zone\nNew,10,UTC\nOther,10,Nowhere", "act": "apply"}

        answer = ada.post(reverse("budget_import"), asked)

        assert answer.status_code == 400
        assert answer.context["heading"] == "1 of 2 rows is wrong; nothing was written"
        assert "zone: expected a name of the IANA list" in reading.words(answer)
        assert Budget.objects.count() == 2

    def test_it_says_why_a_file_cannot_be_read(self, ada: Client, ledger: Ledger) -> None:
        answer = ada.post(reverse("budget_import"), {"pasted": "planet\nearth"})

        assert answer.status_code == 400
        assert "Unknown column" in reading.words(answer)

    def test_it_gives_back_a_file_that_changes_nothing(self, ada: Client, ledger: Ledger) -> None:
        content = reading.shown(ada, reverse("budget_export")).content

        shown = ada.post(reverse("budget_import"), {"file": SimpleUploadedFile("budgets.csv", content)})

        assert shown.context["heading"] == "0 new, 0 changed, 2 the same"

    def test_it_is_for_administrators_and_finance(self, ben: Client, cleo: Client, ledger: Ledger) -> None:
        asked = {"pasted": "name,amount\nMine,1", "act": "apply"}

        answers = [
            one.status_code
            for client in (ben, cleo)
            for one in (
                client.get(reverse("budget_import")),
                client.post(reverse("budget_import"), asked),
                client.get(reverse("budget_copy", args=[ledger.search_budget_id])),
                client.post(reverse("budget_copy", args=[ledger.search_budget_id])),
            )
        ]

        assert answers == [403] * 8
        assert cleo.get(reverse("budget_export")).status_code == 403
        assert Budget.objects.count() == 2


def test_it_copies_into_the_next_period_with_a_growth(ada: Client, ledger: Ledger) -> None:
    path = reverse("budget_copy", args=[ledger.support_budget_id])

    form = reading.shown(ada, path)
    wrong = ada.post(path, {"when": "next", "growth": "lots"})
    answer = ada.post(path, {"when": "next", "growth": "5"})

    assert form.context["heading"] == "Copy Support"
    assert (wrong.status_code, wrong.context["given"]["growth"]) == (400, "lots")
    copied = Budget.objects.get(name="Support, from 1 Dec 2026")
    assert (copied.amount, copied.starts_on) == (Decimal("52500.00"), date(2026, 12, 1))
    assert answer.headers["Location"] == reverse("budget", args=[copied.pk])
    upcoming = reading.shown(ada, answer.headers["Location"])
    assert upcoming.context["line"].state == "upcoming"
    assert "not begun yet" in upcoming.context["heading"]
