"""Closing a month on its page: what is left, who may act, and what a late row looks like."""

import re
from collections.abc import Callable
from datetime import date
from html import unescape
from pathlib import Path

import pytest
import time_machine
from axe_playwright_python.sync_playwright import Axe
from django.conf import settings
from django.contrib.auth import get_user_model
from django.test import Client
from playwright.sync_api import Page, expect

from alerts.models import DriftItem
from attribution import close, queries, verify
from costobs.access.models import Membership
from costobs.audit.models import AuditEntry
from costobs.kernel.period import parse_month
from costobs.kernel.scope import SpendScope
from ingest import load
from ingest.models import Source
from tests.api import october

URL = f"/chargeback/{october.MONTH}/"
MONTH = date(2026, 10, 1)
REASONS = {
    "reason_reviewed": "small",
    "reason_unallocated": "the vendor never tags",
    "reason_unpriced": "known",
    "reason_sources": "known",
    "reason_reconciled": "OpenAI bills next month",
}

pytestmark = pytest.mark.django_db


@pytest.fixture
def books(tmp_path: Path) -> october.Ledger:
    return october.build(tmp_path)


@pytest.fixture
def signed_in() -> Callable[..., Client]:
    def sign_in(name: str, role: str, *teams: str) -> Client:
        user = get_user_model().objects.create_user(name, email=f"{name}@example.com")
        Membership.objects.create(user=user, role=role, teams=list(teams))
        client = Client()
        client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
        return client

    return sign_in


@pytest.fixture(autouse=True)
def _in_november() -> object:
    with time_machine.travel(october.NOW, tick=False):
        yield


def text(client: Client, url: str = URL, status: int = 200) -> str:
    response = client.get(url, follow=True)
    assert response.status_code == status, response.content[:2000]
    return unescape(response.content.decode())


def late(folder: Path) -> None:
    """The vendor delivers October again, with a charge of 4 dollars that was not there."""
    more = (9, "Usage", "", "4", "4", "Amazon S3", {"team": "growth", "cost_centre": "4420"})
    path = october.bill(folder / "aws.csv", (*october.CHARGES, more))
    source = Source.objects.get(name="aws bill")
    (result,) = load.from_paths(source_id=source.pk, paths=[str(path)], now=october.NOW)
    assert result.state == "succeeded"
    october.settle()


def test_it_shows_what_is_left_and_closes_with_a_note_and_reasons(
    books: october.Ledger, signed_in: Callable[..., Client]
) -> None:
    ada = signed_in("ada", "finance")
    before = text(ada)
    ada.post(f"{URL}books/review/")
    reviewed = text(ada)

    refused = ada.post(f"{URL}close/", {"note": "first try", "reason_unallocated": "  "})
    done = ada.post(f"{URL}close/", {**REASONS, "note": "as agreed"}, follow=True)

    assert "nobody has reviewed its figures" in before
    assert "ada@example.com on 21 Nov 2026, 12:00 UTC; no figure has changed since" in reviewed
    page = unescape(refused.content.decode())
    assert refused.status_code == 400
    assert "Nothing was closed" in page
    assert "Spend has owners: " in page
    assert ">first try</textarea>" in page
    page = unescape(done.content.decode())
    assert "Oct 2026 is closed." in page
    assert "Closing Oct 2026: done" in page
    assert "as agreed" in page
    assert "waived by ada@example.com: the vendor never tags" in page
    assert close.status(month=MONTH, now=october.NOW).sha256 in page
    assert [one.act for one in AuditEntry.objects.order_by("pk") if one.act.startswith("month")] == [
        "month.reviewed",
        "month.closed",
    ]
    assert ada.get(f"/api/v1/chargeback/{october.MONTH}").json()["state"] == "closed"


def test_it_takes_a_reason_only_for_what_stood_beside_it(
    books: october.Ledger, signed_in: Callable[..., Client]
) -> None:
    ada = signed_in("ada", "finance")
    ada.post(f"{URL}books/review/")
    shown = dict(re.findall(r'name="(shown_\w+)" value="([^"]*)"', text(ada, f"{URL}close/")))

    refused = ada.post(f"{URL}close/", {**REASONS, **shown, "shown_unallocated": "$0.10 (0.2 %) of USD has no owner"})
    state = close.state(month=MONTH, now=october.NOW)
    done = ada.post(f"{URL}close/", {**REASONS, **shown}, follow=True)

    assert refused.status_code == 400
    assert "when you gave a reason, and now" in unescape(refused.content.decode())
    assert state == "reviewed"
    assert "Oct 2026 is closed." in unescape(done.content.decode())


def test_it_lets_only_finance_and_administrators_act(books: october.Ledger, signed_in: Callable[..., Client]) -> None:
    ben, cleo = signed_in("ben", "lead", "search"), signed_in("cleo", "none")

    page = text(ben)

    assert "Every day of Oct 2026 is billed" in page
    assert "Close the month" not in page
    assert "To do" not in page
    for url in (f"{URL}close/", f"{URL}books/review/", f"{URL}books/ask/", f"{URL}books/agree/"):
        assert ben.post(url, REASONS).status_code == 403
        assert cleo.post(url, REASONS).status_code == 403
        assert Client().post(url).status_code == 302
    assert ben.get(f"{URL}close/").status_code == 403
    assert close.state(month=MONTH, now=october.NOW) == "provisional"


def test_it_opens_again_only_when_another_person_agrees(
    books: october.Ledger, signed_in: Callable[..., Client]
) -> None:
    ada, eve = signed_in("ada", "finance"), signed_in("eve", "admin")
    ada.post(f"{URL}close/", REASONS)

    unsaid = unescape(ada.post(f"{URL}books/ask/", follow=True).content.decode())
    ada.post(f"{URL}books/ask/", {"reason": "the bill was wrong"})
    mine, theirs = text(ada), text(eve)
    alone = unescape(ada.post(f"{URL}books/agree/", follow=True).content.decode())
    agreed = unescape(eve.post(f"{URL}books/agree/", follow=True).content.decode())

    assert "Say why the month has to be opened again. Nothing was changed." in unsaid
    assert "Agree: open it again" not in mine
    assert "another person has to agree" in mine
    assert "Agree: open it again" in theirs
    assert "the bill was wrong" in theirs
    assert "another person has to agree. Nothing was changed." in alone
    assert "Oct 2026 is open again" in agreed
    assert close.state(month=MONTH, now=october.NOW) == "provisional"


def _without_forecast(page: str) -> str:
    """The overview ends with the pace of the current month, whatever month it shows; adjustments are in it."""
    return re.sub("Forecast, month end.*?complete days(, and once .*? closed months)?", "", page, flags=re.DOTALL)


def test_it_shows_a_late_row_as_an_adjustment_and_names_it_in_the_closed_month(
    books: october.Ledger, signed_in: Callable[..., Client], tmp_path: Path
) -> None:
    ada, ben = signed_in("ada", "finance"), signed_in("ben", "lead", "search")
    ada.post(f"{URL}close/", REASONS)
    days = "preset=custom&from=2026-10-01&to=2026-10-31"
    addresses = [
        f"/api/v1/chargeback/{october.MONTH}",
        f"/api/v1/chargeback/{october.MONTH}?format=csv",
        f"/api/v1/chargeback/{october.MONTH}?format=focus",
        f"/explore/export.csv?{days}&group=team",
        f"/unit-costs/export.csv?{days}",
        f"/gpus/export.csv?{days}",
    ]

    def said() -> list[bytes]:
        answers = [ada.get(address) for address in addresses]
        assert {answer.status_code for answer in answers} == {200}
        return [b"".join(answer) for answer in answers]

    def figures() -> list[str]:
        pages = [f"/?{days}", f"/explore/?{days}&group=team", f"/unit-costs/?{days}", f"/gpus/?{days}"]
        return [" ".join(re.findall(r"[$€][\d,.]+", _without_forecast(text(ada, page)))) for page in pages]

    before = said(), figures()

    late(tmp_path)

    assert (said(), figures()) == before
    closed = text(ada)
    assert "What is known of Oct 2026 since it closed" in closed
    assert "delivery " in closed
    assert "replaced; its rows are kept" in closed
    november = text(ada, "/chargeback/2026-11/")
    assert "Adjustments booked in Nov 2026" in november
    assert "$4.00" in november
    assert "Adjustments booked" not in text(ben, "/chargeback/2026-11/")
    assert "since it closed" not in text(ben)
    scope = SpendScope(parse_month("2026-11"), (), "effective", "USD", None)
    assert queries.total(scope=scope).cost == 4
    assert verify.run().failures == ()


def test_it_says_what_it_does_not_know(books: october.Ledger, signed_in: Callable[..., Client]) -> None:
    ada = signed_in("ada", "finance")

    assert ada.post(f"{URL}books/burn/").status_code == 400
    assert ada.get("/chargeback/2026-13/close/").status_code == 400
    assert ada.get(f"{URL}books/review/").status_code == 405
    page = unescape(ada.post("/chargeback/2026-11/books/review/", follow=True).content.decode())
    assert "Nov 2026 is not over" in page


@pytest.mark.django_db(transaction=True)
def test_it_is_readable_in_both_themes(
    books: october.Ledger, signed_in: Callable[..., Client], live_server: object, browser_page: Page, tmp_path: Path
) -> None:
    base, ada = str(live_server), signed_in("ada", "finance")
    browser_page.context.add_cookies(
        [{"name": settings.SESSION_COOKIE_NAME, "value": ada.cookies[settings.SESSION_COOKIE_NAME].value, "url": base}]
    )

    def looks_well(path: str, name: str) -> None:
        for theme in ("light", "dark"):
            browser_page.goto(f"{base}/sign-in/")
            browser_page.evaluate("theme => localStorage.setItem('theme', theme)", theme)
            browser_page.goto(f"{base}{path}")
            browser_page.wait_for_load_state("networkidle")
            browser_page.screenshot(path=tmp_path / f"{name}-{theme}.png", full_page=True)
            assert browser_page.evaluate("document.documentElement.scrollWidth") <= 1440
            found = Axe().run(browser_page)
            assert found.violations_count == 0, f"{path} in {theme}: {found.generate_report()}"

    looks_well(URL, "open")
    looks_well(f"{URL}close/", "form")
    for key, reason in REASONS.items():
        field = browser_page.locator(f"[name={key}]")
        if field.count():
            field.fill(reason)
    browser_page.get_by_role("button", name="Close Oct 2026").click()
    expect(browser_page.get_by_role("heading", name="Closing Oct 2026: done")).to_be_visible(timeout=20_000)
    late(tmp_path)
    ada.post(f"{URL}books/ask/", {"reason": "the bill was wrong"})
    looks_well(URL, "closed")
    looks_well("/chargeback/2026-11/", "november")


def test_it_counts_months_that_are_billed_and_not_closed_for_finance_alone(
    books: october.Ledger, signed_in: Callable[..., Client]
) -> None:
    ada, ben = signed_in("ada", "finance"), signed_in("ben", "lead", "search")

    with time_machine.travel(october.NOW, tick=False):
        counted, other = (client.get(URL).context["nav_counts"] for client in (ada, ben))

    assert counted["chargeback"]["label"] == "1 month is billed and not closed"
    assert "chargeback" not in other


def test_it_counts_providers_over_the_threshold_once(signed_in: Callable[..., Client]) -> None:
    ada, ben = signed_in("ada", "finance"), signed_in("ben", "lead", "search")
    for month in (date(2026, 9, 1), MONTH):
        DriftItem.objects.create(provider="OpenAI", month=month, currency="USD", episode=1, opened_at=october.NOW)
    DriftItem.objects.create(
        provider="AWS", month=MONTH, currency="USD", episode=1, opened_at=october.NOW, closed_at=october.NOW
    )

    counted, other = (client.get("/sources/").context["nav_counts"] for client in (ada, ben))

    assert counted["reconciliation"]["label"] == "1 provider is over the threshold"
    assert "reconciliation" not in other
