"""Forecasts and ladders on the past in a real browser, light and dark: drawn, within the window, readable by all."""

import pytest
import time_machine
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from alerts import evaluate, expected
from tests.web.conftest import NOW, Ledger
from tests.web.test_browser_pages import _sign_in


@pytest.mark.django_db(transaction=True)
def test_it_draws_the_band_and_tests_a_typed_ladder_in_both_themes(
    loaded: Ledger, live_server: object, browser_page: Page
) -> None:
    base, number = str(live_server), loaded.search_budget_id
    complaints: list[str] = []
    browser_page.on("console", lambda one: complaints.append(one.text) if one.type in {"error", "warning"} else None)
    # A page that is left while it still fades in says so; nothing is wrong with it.
    browser_page.on(
        "pageerror", lambda error: None if "Transition was" in str(error) else complaints.append(str(error))
    )

    with time_machine.travel(NOW, tick=True):
        while expected.run(now=NOW):
            continue
        evaluate.run(now=NOW)
        _sign_in(browser_page, base)
        for theme in ("light", "dark"):
            browser_page.goto(f"{base}/sign-in/")
            browser_page.evaluate("theme => localStorage.setItem('theme', theme)", theme)
            complaints.clear()
            browser_page.goto(f"{base}/budgets/{number}/")
            browser_page.wait_for_load_state("networkidle")
            assert "8 of 10 cases" in browser_page.inner_text("main")
            _check(browser_page, f"budget in {theme}", complaints)

            complaints.clear()
            browser_page.click("text=Test this ladder on the last 90 days")
            browser_page.wait_for_load_state("networkidle")
            assert "would have notified" in browser_page.inner_text("h1")
            _check(browser_page, f"backtest in {theme}", complaints)

            browser_page.goto(f"{base}/budgets/{number}/edit/")
            browser_page.wait_for_load_state("networkidle")
            complaints.clear()
            browser_page.click("button[name=test]")
            browser_page.wait_for_load_state("networkidle")
            assert "Nothing was saved" in browser_page.inner_text("main")
            _check(browser_page, f"backtest of a draft in {theme}", complaints)
        browser_page.goto("about:blank")  # lets go of the server, and it of its connections


def _check(page: Page, where: str, complaints: list[str]) -> None:
    assert complaints == [], where
    for width in (1024, 1440):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{where} is too wide"
    found = Axe().run(page)
    assert found.violations_count == 0, f"{where}: {found.generate_report()}"
