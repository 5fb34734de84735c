"""What holds ladders back, the steps of the form and the second person, in the browser's words."""

from datetime import timedelta

import pytest
from django.test import Client

from alerts import queries, windows
from alerts.models import ActionRun, Budget, HoldWindow, LadderPause, ProtectedScope, RunApproval
from costobs.access.models import Membership
from costobs.audit.models import AuditEntry
from tests.web import reading
from tests.web.conftest import NOW, Ledger
from tests.web.test_budget_pages import FORM

pytestmark = pytest.mark.django_db

PAGES = ("/budgets/", "/budgets/new/", "/budgets/holds/")


def test_it_shows_the_pause_on_every_budgets_page_and_ends_it_there(ada: Client, ledger: Ledger) -> None:
    run = ActionRun.objects.get(state="waiting_approval")
    pages = (*PAGES, f"/budgets/{ledger.search_budget_id}/", f"/budgets/{run.budget_id}/edit/", f"/actions/{run.pk}/")

    answer = ada.post("/budgets/holds/pause/", {"hours": "4", "reason": "incident 4411"})
    paused = [reading.words(ada.get(page)) for page in pages]
    resumed = ada.post("/budgets/holds/resume/")

    assert (answer.status_code, resumed.status_code) == (302, 302)
    assert all("Every ladder is paused until" in words and "incident 4411" in words for words in paused)
    assert "Every ladder is paused" not in reading.words(ada.get("/budgets/"))
    assert LadderPause.objects.get().ended_by == AuditEntry.objects.get(act="ladders.resumed").actor


def test_it_refuses_a_pause_without_a_reason_or_with_foreign_hours(ada: Client, ledger: Ledger) -> None:
    answers = [
        ada.post("/budgets/holds/pause/", {"hours": "1", "reason": " "}),
        ada.post("/budgets/holds/pause/", {"hours": "999", "reason": "x"}),
    ]

    assert [answer.status_code for answer in answers] == [400, 400]
    assert "Nothing was changed" in reading.words(answers[0])
    assert not LadderPause.objects.exists()


def test_it_adds_and_removes_windows_and_protected_scopes(ada: Client, ledger: Ledger) -> None:
    weekly = {"kind": "quiet", "name": "night", "weekly": "mon-fri 22:00-06:00", "zone": "Europe/Berlin"}
    until = (NOW + timedelta(days=9)).strftime("%Y-%m-%dT%H:%M")
    once = {
        "kind": "maintenance",
        "name": "freeze",
        "starts_at": "2026-01-01T10:00",
        "ends_at": until,
        "scope": "team=search",
    }

    for given in (weekly, once):
        ada.post("/budgets/holds/add-window/", given)
    ada.post("/budgets/holds/protect/", {"protected_scope": "team=search environment=prod", "reason": "checkout"})
    words = reading.words(ada.get("/budgets/holds/"))
    for window in HoldWindow.objects.all():
        ada.post("/budgets/holds/remove-window/", {"id": window.pk})
    ada.post("/budgets/holds/unprotect/", {"id": ProtectedScope.objects.get().pk})

    assert "mon-fri 22:00-06:00, Europe/Berlin" in words
    assert "environment prod, team search" in words
    assert not HoldWindow.objects.exists() and not ProtectedScope.objects.exists()
    acts = set(AuditEntry.objects.values_list("act", flat=True))
    assert {"window.added", "window.removed", "scope.protected", "scope.unprotected"} <= acts


@pytest.mark.parametrize(
    ("act", "given", "word"),
    [
        ("add-window", {"kind": "quiet", "name": "x", "weekly": "someday"}, "mon-fri"),
        ("add-window", {"kind": "quiet", "name": "x"}, "begin and an end"),
        ("add-window", {"kind": "quiet", "name": "x", "weekly": "mon 1:00-2:00", "zone": "Mars"}, "zone"),
        ("add-window", {"kind": "loud", "name": "", "weekly": "mon 1:00-2:00"}, "kind"),
        ("add-window", {"kind": "quiet", "name": "x", "starts_at": "noon", "ends_at": "1"}, "noon"),
        ("protect", {"protected_scope": "planet=mars"}, "planet"),
        ("protect", {"protected_scope": ""}, "team"),
        ("unprotect", {"id": "x"}, "number"),
        ("unprotect", {"id": "²"}, "number"),
    ],
)
def test_it_says_what_is_wrong(ada: Client, ledger: Ledger, act: str, given: dict[str, str], word: str) -> None:
    answer = ada.post(f"/budgets/holds/{act}/", given)

    assert answer.status_code == 400
    assert word in reading.words(answer)
    assert not HoldWindow.objects.exists() and not ProtectedScope.objects.exists()


def test_it_lets_a_lead_look_and_nothing_else(ben: Client, ledger: Ledger) -> None:
    acts = ("pause", "resume", "add-window", "remove-window", "protect", "unprotect")

    seen = reading.words(ben.get("/budgets/holds/"))
    answers = [ben.post(f"/budgets/holds/{act}/", {"reason": "x", "id": "1"}).status_code for act in acts]

    assert "Nothing holds any ladder back" in seen and "Add a window" not in seen
    assert answers == [403] * 6
    assert ben.post("/budgets/holds/explode/").status_code == 404


def test_it_names_no_other_team_to_a_lead(ben: Client, ledger: Ledger) -> None:
    for name, teams in (("freeze of growth", ["growth"]), ("freeze of both", ["growth", "search"])):
        windows.add(kind="quiet", name=name, weekly="mon-sun 00:00-24:00", scope={"team": teams}, by="ada", now=NOW)
        windows.protect(scope={"team": teams}, by="ada", now=NOW, reason=f"reason of {name}")

    seen = reading.words(ben.get("/budgets/holds/"))

    assert "freeze of both" in seen and "reason of freeze of both" in seen and "team search" in seen
    assert "freeze of growth" not in seen and "team growth" not in seen and "growth, search" not in seen


@pytest.mark.parametrize("version", ["²", "9" * 5000])
def test_it_answers_a_version_that_is_no_number(ada: Client, ledger: Ledger, version: str) -> None:
    run = ActionRun.objects.get(state="waiting_approval")

    answer = ada.post(f"/actions/{run.pk}/decline/", {"version": version})

    assert answer.status_code == 409
    assert ActionRun.objects.get(pk=run.pk).state == "waiting_approval"


def test_it_adds_a_step_without_saving_and_drops_one_when_saved(ada: Client, ledger: Ledger) -> None:
    budgets = Budget.objects.count()

    more = ada.post("/budgets/new/", {**FORM, "add_rung": "1"})
    saved = ada.post("/budgets/new/", {**FORM, "rungs-0-drop": "on"})

    assert (more.status_code, saved.status_code, Budget.objects.count()) == (200, 302, budgets + 1)
    assert len(more.context["rungs"].forms) == 6
    budget = Budget.objects.get(name="Triage")
    assert list(budget.rungs.values_list("percent", "action")) == [(100, "throttle")]


def test_it_keeps_every_trigger_and_action_through_the_form(ada: Client, ledger: Ledger) -> None:
    steps = [
        {"trigger": "burn_rate", "percent": "300", "action": "throttle", "tokens_per_minute": "1000", "hours": "6"},
        {"trigger": "schedule", "action": "shutdown", "windows": "sat-sun 00:00-24:00", "approval": "two"},
        {"trigger": "actual", "percent": "90", "action": "reroute", "to_model": "small", "max_share_percent": "20"},
        {"trigger": "idleness", "action": "shutdown", "minutes": "120", "targets": "chat-dev", "gate": "no"},
    ]
    form = {name: value for name, value in FORM.items() if not name.startswith("rungs-")}
    form |= {"rungs-TOTAL_FORMS": "4", "rungs-INITIAL_FORMS": "0"}
    form |= {f"rungs-{at}-{name}": value for at, step in enumerate(steps) for name, value in step.items()}

    answer = ada.post("/budgets/new/", form)
    budget = Budget.objects.get(name="Triage")
    page = reading.words(ada.get(f"/budgets/{budget.pk}/"))
    initial = ada.get(f"/budgets/{budget.pk}/edit/").context["rungs"].initial
    again = {**form, "rungs-TOTAL_FORMS": str(len(initial))}
    again |= {f"rungs-{at}-{name}": value for at, step in enumerate(initial) for name, value in step.items()}
    before = list(budget.rungs.order_by("pk").values("pk", "trigger", "percent", "action", "approval", "config"))
    ada.post(f"/budgets/{budget.pk}/edit/", again)

    assert answer.status_code == 302
    assert "sat-sun 00:00-24:00" in page and "when idle for 120 min" in page and "Reroute to small" in page
    assert "needs approval by two of" in page
    assert (
        list(budget.rungs.order_by("pk").values("pk", "trigger", "percent", "action", "approval", "config")) == before
    )


def test_it_shows_who_has_approved_and_waits_for_somebody_else(ada: Client, ledger: Ledger) -> None:
    run = ActionRun.objects.get(state="waiting_approval")
    ActionRun.objects.filter(pk=run.pk).update(plan={**run.plan, "approvals": 2, "reach": "12 % of the requests"})
    before = reading.words(ada.get(f"/actions/{run.pk}/"))

    answer = ada.post(f"/actions/{run.pk}/approve/", {"version": run.version, "confirm": run.budget.name}, follow=True)

    run.refresh_from_db()
    assert "0 of 2 people have approved" in before and "12 % of the requests" in before
    assert "1 of 2 people have approved" in reading.words(answer)
    assert "It waits for somebody else" in reading.words(answer)
    assert (run.state, RunApproval.objects.count()) == ("waiting_approval", 1)


def test_it_names_the_open_window_in_its_heading(ada: Client, ledger: Ledger) -> None:
    windows.add(kind="maintenance", name="always", weekly="mon-sun 00:00-24:00", by="ada", now=NOW)

    assert "always is open" in reading.words(ada.get("/budgets/holds/"))
    assert queries.counts(teams=None).waiting == 1


def test_it_counts_no_approval_of_a_lead_who_left_the_team(ada: Client, ben: Client, ledger: Ledger) -> None:
    run = ActionRun.objects.get(state="waiting_approval")
    ActionRun.objects.filter(pk=run.pk).update(plan={**run.plan, "approvals": 2})
    form = {"version": run.version, "confirm": run.budget.name}
    ben.post(f"/actions/{run.pk}/approve/", form)
    Membership.objects.filter(role="lead").update(teams=["triage"])

    answer = ada.post(f"/actions/{run.pk}/approve/", {**form, "version": run.version + 1}, follow=True)

    run.refresh_from_db()
    assert run.state == "waiting_approval"
    assert "It waits for 1 more, somebody else than you" in reading.words(answer)
    assert "1 of 2 people have approved" in reading.words(answer)


@pytest.mark.parametrize("number", ["²", "١", "9" * 5000, "-1", ""])
def test_it_takes_no_odd_number_for_a_version_an_id_or_hours(ada: Client, ledger: Ledger, number: str) -> None:
    run = ActionRun.objects.get(state="waiting_approval")

    answers = [
        ada.post(f"/actions/{run.pk}/decline/", {"version": number}),
        ada.post("/budgets/holds/unprotect/", {"id": number}),
        ada.post(f"/budgets/{run.budget_id}/pause/", {"hours": number}),
        ada.post("/budgets/new/", {**FORM, "rungs-TOTAL_FORMS": number, "add_rung": "1"}),
        ada.get(f"/budgets/{run.budget_id}/backtest/", {"days": number}),
    ]

    run.refresh_from_db()
    assert [answer.status_code for answer in answers[:3]] == [409, 400, 302]
    assert all(answer.status_code < 500 for answer in answers)
    assert (run.state, run.budget.paused_until) == ("waiting_approval", None)


def test_it_shows_a_lead_what_may_hold_own_budgets_back_and_nothing_of_other_teams(ben: Client, ledger: Ledger) -> None:
    always = {"kind": "quiet", "weekly": "mon-sun 00:00-24:00", "by": "ada", "now": NOW}
    windows.add(name="merger of payments", scope={"team": ["payments"]}, **always)  # type: ignore[arg-type]  # as above
    windows.add(name="mine", scope={"team": ["search"]}, **always)  # type: ignore[arg-type]  # as above
    windows.add(name="of a model", scope={"model": ["chat-small"]}, **always)  # type: ignore[arg-type]  # as above
    windows.protect(scope={"team": ["payments"]}, reason="lawsuit", by="ada", now=NOW)
    windows.protect(scope={"team": ["search"]}, reason="checkout", by="ada", now=NOW)

    words = reading.words(ben.get("/budgets/holds/"))

    assert "mine" in words and "of a model" in words and "checkout" in words
    assert "payments" not in words and "lawsuit" not in words
