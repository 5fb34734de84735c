"""The page of a hard budget in a real browser."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from alerts.models import Budget
from tests.web.conftest import Ledger
from tests.web.test_browser_pages import _sign_in
from tests.web.test_budget_leases import ask


@pytest.mark.django_db(transaction=True)
def test_it_draws_the_account_of_a_hard_budget_in_both_themes(
    ledger: Ledger, live_server: object, browser_page: Page
) -> None:
    base = str(live_server)
    Budget.objects.filter(pk=ledger.support_budget_id).update(is_hard=True)
    account = ask(ledger, ledger.support_budget_id)
    held = {"account": account, "settled": "12.5", "returned": "0", "reserved": "2"}
    ask(ledger, ledger.support_budget_id, held)
    _sign_in(browser_page, base)

    for theme in ("light", "dark"):
        browser_page.goto(f"{base}/sign-in/")
        browser_page.evaluate("theme => localStorage.setItem('theme', theme)", theme)
        browser_page.goto(f"{base}/budgets/{ledger.support_budget_id}/")
        browser_page.wait_for_load_state("networkidle")

        assert browser_page.get_by_role("heading", name="Leases").is_visible()
        for width in (1024, 1440):
            browser_page.set_viewport_size({"width": width, "height": 900})
            assert browser_page.evaluate("document.documentElement.scrollWidth") <= width
        found = Axe().run(browser_page)
        assert found.violations_count == 0, found.generate_report()
