"""The browser the other tests rely on."""

from playwright.sync_api import Page


def test_it_draws_a_page_headless(browser_page: Page) -> None:
    browser_page.set_content("<h1>Spend</h1>")

    assert browser_page.inner_text("h1") == "Spend"
