"""The pages of chargeback in a browser: both themes, no complaint, the menu by keyboard."""

from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.contrib.auth import get_user_model
from django.test import Client
from playwright.sync_api import Page, expect

from alerts import schedules
from attribution import terms
from costobs.access.models import Membership
from costobs.kernel.period import parse_month
from tests.api import october

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def page(live_server: object, browser_page: Page, tmp_path: Path) -> Page:
    """The browser of an administrator, with October in the books."""
    october.build(tmp_path)
    start = parse_month(october.MONTH).start
    terms.add_markup(cost_centre="", percent="7.5", label="Platform fee", first_month=start, by="a", now=october.NOW)
    terms.set_company(company="Acme AG", by="a", now=october.NOW)
    plan = schedules.Plan(
        "to finance", "closed", None, [], ["pdf"], "effective", "email", {"to": ["finance@example.com"]}, {}
    )
    schedules.create(plan=plan, by="a", now=october.NOW)
    user = get_user_model()._default_manager.create_user("dana@example.com", email="dana@example.com")
    Membership.objects.create(user=user, role="admin")
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    told = {"name": "sessionid", "value": client.cookies["sessionid"].value, "url": str(live_server)}
    browser_page.context.add_cookies([told])  # type: ignore[list-item]  # a TypedDict
    browser_page.goto(f"{live_server}/chargeback/{october.MONTH}/")
    return browser_page


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_is_clean_in_both_themes(page: Page, theme: str, live_server: object) -> None:
    complaints: list[str] = []
    page.on("console", lambda one: complaints.append(one.text) if one.type in {"error", "warning"} else None)
    number = schedules.schedules()[0].id
    for path in (
        f"/chargeback/{october.MONTH}/",
        f"/chargeback/{october.MONTH}/4410/",
        f"/chargeback/{october.MONTH}/4410/rows/",
        "/settings/chargeback/",
        "/settings/chargeback/deliveries/new/",
        f"/settings/chargeback/deliveries/{number}/",
    ):
        page.goto(f"{live_server}{path}")
        page.evaluate("theme => { document.documentElement.dataset.theme = theme }", theme)
        found = Axe().run(page)
        assert found.violations_count == 0, f"{path}: {found.generate_report()}"
    assert complaints == []


def test_it_opens_the_export_menu_by_keyboard(page: Page) -> None:
    summary = page.locator("summary", has_text="Export")
    summary.focus()
    page.keyboard.press("Enter")

    expect(page.get_by_role("link", name="PDF statement")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("link", name="PDF statement").click()

    assert download.value.suggested_filename == "statement-2026-10-USD-effective-showback.pdf"
