"""Settings of chargeback and deliveries, as people see and change them."""

from html import unescape
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from alerts import schedules
from attribution import queries, terms
from attribution.models import PeriodBook, RulesetVersion
from costobs.audit.models import AuditEntry
from tests.alerts.receivers import mail_server
from tests.web.conftest import Ledger, signed_in
from tests.web.reading import shown, words

PAGE = "/settings/chargeback/"
LAYOUT = {
    "columns": "Account | account\nAmount | amount\nEntity | =1000",
    "debit_account": "CC-{cost_centre}",
    "no_cost_centre_account": "9999",
    "credit_account": "2800",
    "markup_account": "",
}


@pytest.fixture
def dana(db: None, clock: None) -> Client:
    return signed_in("dana@example.com", "admin")


def told(client: Client, url: str = PAGE) -> str:
    return unescape(words(shown(client, url)))


def test_it_says_what_is_set_and_leads_on_when_nothing_is(dana: Client) -> None:
    page = told(dana)

    assert "No markup holds this month, no delivery is set up" in page
    assert "Nothing is put on top" in page
    assert "Statements stay here" in page


def test_it_names_the_company(dana: Client) -> None:
    dana.post(reverse("chargeback_company"), {"company": "  Acme   AG "})

    assert queries.terms().company == "Acme AG"
    assert 'value="Acme AG"' in dana.get(PAGE).content.decode()
    assert AuditEntry.objects.filter(act="chargeback.company", actor="dana@example.com").exists()


def test_it_adds_and_ends_a_markup(ledger: Ledger, dana: Client) -> None:
    given = {"cost_centre": "", "percent": "7,5", "label": "Platform fee", "first_month": "2026-11"}
    wrong = dana.post(reverse("chargeback_markup"), given)
    right = dana.post(reverse("chargeback_markup"), {**given, "percent": "7.5 %"})

    assert wrong.status_code == 400 and "expected a percentage such as 5 or 7.25" in words(wrong)
    assert "Platform fee" in wrong.content.decode()  # what was typed is kept
    assert right.status_code == 302
    page = told(dana)
    assert "1 markup holds this month" in page and "7.5 %" in page
    (one,) = terms.markups()
    dana.post(reverse("chargeback_markup_end", args=[one.id]), {"end_month": "2026-12"})
    assert "before Dec 2026" in told(dana)


def test_it_refuses_a_markup_for_a_closed_month(ledger: Ledger, dana: Client) -> None:
    ruleset = RulesetVersion.objects.get(is_current=True)
    PeriodBook.objects.create(
        month="2026-10-01", state="closed", version=1, ruleset=ruleset, closed_at="2026-11-05T09:00Z"
    )
    given = {"cost_centre": "", "percent": "5", "label": "Fee", "first_month": "2026-10"}

    answer = dana.post(reverse("chargeback_markup"), given)

    assert "Oct 2026 is closed, and a closed month never changes" in words(answer)


def test_it_previews_journal_columns_before_they_are_saved(ledger: Ledger, dana: Client) -> None:
    preview = dana.post(reverse("chargeback_journal"), {**LAYOUT, "act": "preview"})
    assert "Preview of these columns" in words(preview) and "1000" in words(preview)
    assert queries.terms().journal == {}

    wrong = dana.post(reverse("chargeback_journal"), {**LAYOUT, "columns": "Account | nothing", "act": "save"})
    assert wrong.status_code == 400 and "nothing" in words(wrong)
    dana.post(reverse("chargeback_journal"), {**LAYOUT, "act": "save"})

    assert queries.terms().journal["credit_account"] == "2800"
    assert AuditEntry.objects.filter(act="chargeback.journal").count() == 1


def test_it_lets_finance_look_and_administrators_change(ada: Client, ben: Client, cleo: Client, dana: Client) -> None:
    urls = [
        reverse("chargeback_company"),
        reverse("chargeback_markup"),
        reverse("chargeback_markup_end", args=[1]),
        reverse("chargeback_journal"),
        reverse("statement_schedule_new"),
        reverse("statement_schedule_decide", args=[1, "test"]),
    ]

    assert ada.get(PAGE).status_code == 200
    assert "/settings/chargeback/markups/" not in ada.get(PAGE).content.decode()
    for client in (ben, cleo):
        assert client.get(PAGE).status_code == 403
    for client in (ada, ben, cleo):
        assert {client.post(url).status_code for url in urls} == {403}
    assert ada.get(reverse("statement_schedule", args=[1])).status_code == 403
    assert dana.get(reverse("chargeback_company")).status_code == 405


def plan(**changes: Any) -> dict[str, Any]:
    given = {
        "name": "to finance",
        "trigger": "closed",
        "cost": "effective",
        "cost_centres": "4410, 4420",
        "formats": ["pdf", "journal"],
        "config_to": "finance@example.com, ada@example.com",
    }
    return {**given, **changes}


def test_it_sets_up_a_delivery_and_tests_it(ledger: Ledger, dana: Client, settings: Any) -> None:
    new = reverse("statement_schedule_new")
    assert "Amazon S3" in told(dana, new)
    wrong = dana.post(f"{new}?to=email", plan(formats=[], config_to=""))
    assert wrong.status_code == 400
    assert "choose at least one of" in words(wrong) and "E-mail needs it" in words(wrong)

    made = dana.post(f"{new}?to=email", plan(), follow=True)

    assert "It begins with the next month that closes" in words(made)
    (one,) = schedules.schedules()
    assert (one.cost_centres, one.formats) == (("4410", "4420"), ("pdf", "journal"))
    assert one.config == {"to": ["finance@example.com", "ada@example.com"]}
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    with mail_server() as box:
        settings.EMAIL_HOST, settings.EMAIL_PORT = box.host, box.port
        tested = dana.post(reverse("statement_schedule_decide", args=[one.id, "test"]), follow=True)
    assert "A small file arrived" in words(tested)
    assert len(box.mails) == 1


def test_it_says_why_a_test_did_not_arrive(ledger: Ledger, dana: Client, settings: Any) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1
    dana.post(f"{reverse('statement_schedule_new')}?to=email", plan())
    (one,) = schedules.schedules()

    answer = dana.post(reverse("statement_schedule_decide", args=[one.id, "test"]), follow=True)

    assert "It did not arrive: the mail server could not be reached" in words(answer)


def test_it_never_shows_a_stored_secret(ledger: Ledger, dana: Client) -> None:
    secret = "wJalrXUtnFEMI"
    given = {
        "config_to": "",
        "config_bucket": "acme",
        "secret_access_key_id": "AKIA",
        "secret_secret_access_key": secret,
    }
    made = dana.post(f"{reverse('statement_schedule_new')}?to=s3", plan(**given), follow=True)
    (one,) = schedules.schedules()
    url = reverse("statement_schedule", args=[one.id])

    kept = dana.post(url, plan(name="renamed", config_to="", config_bucket="acme"), follow=True)

    assert "A value is stored; leave it empty to keep it." in words(kept)
    assert secret not in made.content.decode() + kept.content.decode() + dana.get(PAGE).content.decode()
    assert schedules.schedule(one.id).secrets == ("access_key_id", "secret_access_key")
    assert schedules.schedule(one.id).name == "renamed"


def test_it_pauses_resumes_and_removes_a_delivery(ledger: Ledger, dana: Client) -> None:
    dana.post(f"{reverse('statement_schedule_new')}?to=email", plan())
    (one,) = schedules.schedules()

    def decide(verb: str) -> str:
        return words(dana.post(reverse("statement_schedule_decide", args=[one.id, verb]), follow=True))

    assert "This delivery is paused" in decide("pause")
    assert "This delivery is paused" not in decide("resume")
    assert "to finance is removed" in decide("remove")
    assert schedules.schedules() == []
    assert dana.get(reverse("statement_schedule", args=[one.id])).status_code == 404
