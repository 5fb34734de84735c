"""Budgets in the browser: what people see, who may act, and that a GET never does."""

from decimal import Decimal
from typing import Any

import pytest
from django.test import Client

from alerts import queries
from alerts.models import ActionRun, Budget
from costobs.audit.models import AuditEntry
from costobs.web import budget_table
from tests.web import reading
from tests.web.conftest import NOW, Ledger

pytestmark = pytest.mark.django_db

FORM = {
    "name": "Triage",
    "amount": "120",
    "currency": "USD",
    "period": "week",
    "owner_email": "lea@example.com",
    "scope_team": "support",
    "scope_feature": "triage, copilot",
    "rungs-TOTAL_FORMS": "5",
    "rungs-INITIAL_FORMS": "0",
    "rungs-0-percent": "80",
    "rungs-0-action": "notify",
    "rungs-1-percent": "100",
    "rungs-1-action": "throttle",
    "rungs-1-approval": "one",
    "rungs-1-requests_per_minute": "6",
    "rungs-1-expires_after_hours": "4",
}


def _run(state: str) -> ActionRun:
    return ActionRun.objects.get(state=state)


def _decide(client: Client, run: ActionRun, verb: str, **values: Any) -> Any:
    return client.post(f"/actions/{run.pk}/{verb}/", {"version": run.version, **values})


def test_it_states_the_finding_and_adds_rows_to_the_total_and_the_kpi(ada: Client, ledger: Ledger) -> None:
    response = reading.shown(ada, "/budgets/")

    lines = queries.budgets(now=NOW, teams=None)
    assert response.context["heading"].startswith("1 of 2 budgets is passed; Search answers is throttled")
    sums = budget_table.totals(lines)
    assert sums is not None
    assert sums.amount == sum(line.amount for line in lines) == Decimal("50000.30")
    assert sums.spend_cost == sum(line.spend_cost or 0 for line in lines)
    table = response.context["budgets"]
    assert reading.column(table, "State") == ["Throttled", "On track"]
    assert reading.kpi(response.context["kpis"], "Budgeted").value == "$50,000"
    assert "Decide…" in reading.words(response)


def test_it_shows_a_lead_only_the_budgets_of_own_teams(ben: Client, ledger: Ledger) -> None:
    response = reading.shown(ben, "/budgets/")

    assert reading.column(response.context["budgets"], "Budget")[:1] == ["Search answers"]
    assert "Support" not in reading.words(response)
    assert reading.shown(ben, f"/budgets/{ledger.search_budget_id}/").context["line"].name == "Search answers"
    assert "no such budget" in reading.words(reading.shown(ben, f"/budgets/{ledger.support_budget_id}/", 404))


def test_it_tells_someone_without_a_role_so(cleo: Client, ledger: Ledger) -> None:
    run = _run("waiting_approval")

    for path in ("/budgets/", f"/budgets/{ledger.search_budget_id}/", "/budgets/new/", f"/actions/{run.pk}/"):
        assert "no role" in reading.words(reading.shown(cleo, path, 403))
    assert _decide(cleo, run, "approve", confirm="Search answers").status_code == 403
    run.refresh_from_db()
    assert run.state == "waiting_approval"


def test_it_draws_the_burn_up_the_ladder_and_who_is_affected(ada: Client, ledger: Ledger) -> None:
    response = reading.shown(ada, f"/budgets/{ledger.search_budget_id}/")

    context = response.context
    assert context["heading"].startswith("Search answers has passed $0.30")
    assert [rung.marker for rung in context["rungs"]] == ["superseded", "running", "waiting_approval"]
    assert [rung.label for rung in context["rungs"]] == ["50 %", "75 %", "90 %"]
    days = reading.column(context["burn_up"].table, "Cumulative")
    line = queries.budgets(now=NOW, teams=("search",))[0]
    assert len(days) == 21
    assert reading.amount(days[-1]) == round(line.spend_cost or Decimal(0), 2)
    facts = {fact.label: fact.value for fact in context["affected"]}
    assert facts["Keys"] == "1: search web"
    assert facts["Gates"] == "0 of 1 live: chat-1"
    assert facts["Requests in this period"].startswith("126,")
    assert facts["Overlaps with"] == "no other budget"
    # The books begin on 1 October: what was spent before is not known.
    assert reading.column(context["variance"], "Month") == ["1–30 Nov 2026", "1–31 Oct 2026"]


def test_it_never_acts_on_a_get(ada: Client, ledger: Ledger) -> None:
    run = _run("waiting_approval")
    entries = AuditEntry.objects.count()

    reading.shown(ada, f"/actions/{run.pk}/")
    answers = [ada.get(f"/actions/{run.pk}/{verb}/") for verb in ("approve", "decline", "undo")]
    answers += [ada.get(f"/budgets/{ledger.search_budget_id}/pause/"), ada.get("/budgets/holds/pause/")]

    assert [answer.status_code for answer in answers] == [405] * 5
    run.refresh_from_db()
    assert (run.state, AuditEntry.objects.count()) == ("waiting_approval", entries)


def test_it_says_who_is_hurt_until_when_how_to_undo_and_what_happens_without_an_answer(
    ada: Client, ledger: Ledger
) -> None:
    response = reading.shown(ada, f"/actions/{_run('waiting_approval').pk}/")

    facts = {fact.label: fact.value for fact in response.context["facts"]}
    assert facts["What"] == "Shut down"
    assert "HTTP 429" in facts["Who is hurt"]
    assert "1 Dec, 00:00 UTC" in facts["Until"]
    assert facts["If nobody answers"].endswith("and nothing happens")
    assert "How to undo" in facts


def test_it_shuts_down_only_after_the_name_was_typed(ada: Client, ledger: Ledger) -> None:
    run = _run("waiting_approval")

    wrong = _decide(ada, run, "approve", confirm="Support")
    run.refresh_from_db()
    state = run.state
    right = _decide(ada, run, "approve", confirm="Search answers")

    assert (wrong.status_code, state) == (400, "waiting_approval")
    assert "type the name of the budget" in reading.words(wrong)
    assert right.status_code == 302
    run.refresh_from_db()
    assert (run.state, run.decided_by) == ("running", "ada@example.com")
    assert AuditEntry.objects.filter(act="action.approved", actor="ada@example.com").count() == 1


def test_it_says_who_was_faster(ada: Client, ben: Client, ledger: Ledger) -> None:
    run = _run("waiting_approval")
    _decide(ben, run, "decline", reason="a launch")

    late = _decide(ada, run, "approve", confirm="Search answers")

    assert late.status_code == 409
    assert "Changed by ben@example.com" in reading.words(late)
    assert "declined" in reading.words(late)
    run.refresh_from_db()
    assert run.state == "declined"


def test_it_undoes_with_a_reason_for_the_lead_of_the_team(ben: Client, ledger: Ledger) -> None:
    run = _run("running")

    answer = _decide(ben, run, "undo", reason="wrong limit")

    assert answer.status_code == 302
    run.refresh_from_db()
    assert (run.state, run.ended_by) == ("undone", "ben@example.com")
    assert AuditEntry.objects.get(act="action.undone").reason == "wrong limit"


def test_it_keeps_a_lead_from_making_changing_and_pausing_budgets(ben: Client, ledger: Ledger) -> None:
    budget = ledger.search_budget_id

    answers = [
        ben.get("/budgets/new/"),
        ben.post("/budgets/new/", FORM),
        ben.post(f"/budgets/{budget}/edit/", FORM),
        ben.post(f"/budgets/{budget}/pause/", {"hours": "1"}),
        ben.post("/budgets/holds/pause/", {"reason": "x"}),
    ]

    assert [answer.status_code for answer in answers] == [403] * 5
    assert "Administrators and finance" in reading.words(answers[1])
    assert Budget.objects.count() == 2
    assert not Budget.objects.filter(paused_until__isnull=False).exists()


def test_it_makes_a_budget_with_its_ladder(ada: Client, ledger: Ledger) -> None:
    answer = ada.post("/budgets/new/", FORM)

    assert answer.status_code == 302
    row = Budget.objects.get(name="Triage")
    assert (row.name, row.amount, row.period) == ("Triage", Decimal(120), "week")
    assert row.scope == {"feature": ["copilot", "triage"], "team": ["support"]}
    rungs = [
        (rung.percent, rung.action, rung.approval, rung.config, rung.expires_after_hours) for rung in row.rungs.all()
    ]
    assert rungs == [
        (Decimal(80), "notify", "automatic", {}, None),
        (Decimal(100), "throttle", "one", {"requests_per_minute": 6}, 4),
    ]
    assert AuditEntry.objects.get(act="budget.created", subject=f"budget:{row.pk}").actor == "ada@example.com"


def test_it_names_every_mistake_and_keeps_what_was_typed(ada: Client, ledger: Ledger) -> None:
    wrong = {
        **FORM,
        "amount": "a lot",
        "owner_email": "nobody",
        "rungs-0-percent": "eighty",
        "rungs-1-requests_per_minute": "",
    }

    answer = ada.post("/budgets/new/", wrong)
    corrected = ada.post("/budgets/new/", {**wrong, "owner_email": "", "rungs-0-percent": "80"})

    assert answer.status_code == 400
    page = answer.content.decode()
    for typed in ("a lot", "nobody", "eighty", "triage, copilot"):
        assert f'value="{typed}"' in page
    assert "expected a percentage such as 80" in reading.words(answer)
    texts = [text for _, text in corrected.context["summary"]]
    assert any("Amount for one period" in text and "a lot" in text for text in texts)
    assert any(text.startswith("Step 2: throttle needs one or more") for text in texts)
    assert not Budget.objects.filter(name="Triage").exists()


def test_it_refuses_a_throttle_of_what_no_gate_can_tell_apart(ada: Client, ledger: Ledger) -> None:
    answer = ada.post("/budgets/new/", {**FORM, "scope_team": "", "scope_feature": "", "scope_provider_name": "OpenAI"})

    assert answer.status_code == 400
    assert "a gate knows no more" in reading.words(answer)


def test_it_edits_what_is_given_and_keeps_dimensions_the_form_does_not_show(ada: Client, ledger: Ledger) -> None:
    ada.post("/budgets/new/", {**FORM, "rungs-1-percent": "", "rungs-1-action": ""})
    row = Budget.objects.get(name="Triage")
    Budget.objects.filter(pk=row.pk).update(scope={**row.scope, "environment": ["prod"]})

    before = reading.shown(ada, f"/budgets/{row.pk}/edit/")
    answer = ada.post(
        f"/budgets/{row.pk}/edit/", {**FORM, "amount": "150", "rungs-1-percent": "", "rungs-1-action": ""}
    )

    assert 'value="copilot, triage"' in before.content.decode()
    assert "environment: prod" in reading.words(before)
    assert answer.status_code == 302
    row.refresh_from_db()
    assert (row.amount, row.scope["environment"]) == (Decimal(150), ["prod"])


def test_it_pauses_and_resumes(ada: Client, ledger: Ledger) -> None:
    path = f"/budgets/{ledger.search_budget_id}/"
    ada.post(f"{path}pause/", {"hours": "4", "reason": "launch"})

    paused = reading.shown(ada, path)
    ada.post(f"{path}pause/", {"hours": "0"})

    assert paused.context["line"].state == "paused"
    assert "Paused until 21 Nov, 16:30 UTC" in reading.words(paused)
    assert reading.shown(ada, path).context["line"].state == "throttled"
    assert AuditEntry.objects.get(act="budget.paused").reason == "launch"


def test_it_exports_the_rows_with_every_digit(ada: Client, ledger: Ledger) -> None:
    rows = reading.shown(ada, "/budgets/?format=csv").content.decode().splitlines()

    line = queries.budgets(now=NOW, teams=None)[0]
    assert rows[0].startswith("budget,scope,owner,period,from,to,currency,amount,actual_cost")
    assert f"USD,0.30,{line.spend_cost:f}," in rows[1]
    assert len(rows) == 3


def test_it_counts_budgets_inside_another_once(ada: Client, ledger: Ledger) -> None:
    ada.post(
        "/budgets/new/",
        {
            **FORM,
            "name": "All",
            "amount": "90000",
            "period": "month",
            "scope_team": "",
            "scope_feature": "",
            "rungs-1-percent": "",
            "rungs-1-action": "",
        },
    )

    response = reading.shown(ada, "/budgets/")

    table = response.context["budgets"]
    assert "2 of 3 budgets lie inside another one" in table.note
    assert reading.kpi(response.context["kpis"], "Budgeted").value == "$90,000"


def test_it_gives_no_total_where_budgets_overlap_in_part(ada: Client, ledger: Ledger) -> None:
    ada.post("/budgets/new/", {**FORM, "period": "month", "scope_team": "", "scope_feature": "answers"})
    lines = queries.budgets(now=NOW, teams=None)

    table = budget_table.table(lines, NOW, short=True)

    assert table.total is None
    assert "overlap in part" in table.note
