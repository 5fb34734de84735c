"""Every part and chart in a real browser: drawn as asked, under the content policy, in both themes, by keyboard."""

import re
from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from tests.web import gallery, gallery_charts

DRAWN = "[...document.querySelectorAll('pl-chart')].every(one => one.dataset.drawn || one.dataset.failed)"
TYPES = """Object.fromEntries([...document.querySelectorAll('.chart-card')].map(
    card => [card.id, card.querySelector('pl-chart').area._fullData.map(trace => trace.type)]))"""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with gallery.served() as url:
        yield url


BOTH = pytest.mark.parametrize("page", ["light", "dark"], indirect=True)


@pytest.fixture
def page(request: pytest.FixtureRequest, browser: Browser, address: str) -> Iterator[Page]:
    theme = getattr(request, "param", "light")
    opened = browser.new_page(viewport={"width": 1440, "height": 900}, color_scheme=theme)
    said: list[str] = []
    opened.on("console", lambda message: said.append(message.text) if message.type in {"error", "warning"} else None)
    opened.on("pageerror", lambda problem: said.append(str(problem)))
    opened.goto(address)
    opened.wait_for_function(DRAWN)
    opened.evaluate("theme => { window.asked = theme }", theme)
    yield opened
    opened.close()
    assert said == [], "the console stays empty: no violation of the policy, no error"


@BOTH
def test_it_draws_the_traces_it_was_given(page: Page) -> None:
    wanted = {
        name: [trace["type"] for trace in chart.figure["data"]] for name, chart in gallery_charts.all_charts().items()
    }

    assert page.evaluate(TYPES) == wanted


@BOTH
def test_it_draws_in_the_theme_in_force(page: Page) -> None:
    asked = page.evaluate("window.asked")

    assert page.evaluate("document.documentElement.dataset.theme") == asked
    assert set(page.evaluate("[...document.querySelectorAll('pl-chart')].map(one => one.dataset.drawn)")) == {asked}


@BOTH
def test_it_changes_theme_and_colours_without_a_reload(page: Page) -> None:
    colour = "document.querySelector('#daily_bars pl-chart').area._fullData[0].marker.color"
    before = page.evaluate(colour)
    other = "dark" if page.evaluate("window.asked") == "light" else "light"

    page.locator(f'[data-themes] input[value="{other}"]').check(force=True)
    page.wait_for_function(f"document.querySelector('#daily_bars pl-chart').dataset.drawn === '{other}'")

    assert page.evaluate(colour) != before


def test_it_sends_no_inline_style_and_no_inline_script() -> None:
    tags = re.findall(r"<[a-z][^>]*>", gallery.html())

    assert [tag for tag in tags if re.search(r"\s(style|on[a-z]+)=", tag)] == []
    assert [
        tag for tag in tags if tag.startswith("<script") and "src=" not in tag and "application/json" not in tag
    ] == []


@BOTH
def test_it_passes_the_accessibility_rules(page: Page) -> None:
    result = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"]})

    assert [(one["id"], [node["html"][:200] for node in one["nodes"]]) for one in result.response["violations"]] == []


def test_it_fits_the_window(page: Page) -> None:
    for width in (1440, 1280, 1000, 390):
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_timeout(50)

        assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0, width


def test_it_finds_pages_by_keyboard(page: Page) -> None:
    page.keyboard.press("Control+k")
    page.keyboard.type("budg")

    assert page.locator(".palette__item").all_inner_texts() == ["Budgets\ng b"]

    page.keyboard.press("Escape")
    page.locator("#palette").wait_for(state="hidden")
    page.keyboard.press("t")
    assert page.locator("[data-as-table][open]").count() == 1

    page.keyboard.press("?")
    assert page.locator("#help").is_visible()


def test_it_keeps_letters_quiet_while_typing_and_when_switched_off(page: Page) -> None:
    page.locator('input[type="text"]:visible').first.focus()
    page.keyboard.press("t")
    assert page.locator("[data-as-table][open]").count() == 0

    page.keyboard.press("Tab")
    page.locator("body").press("?")
    page.locator("#keys-off").check()
    page.keyboard.press("Escape")
    page.locator("body").press("t")

    assert page.locator("[data-as-table][open]").count() == 0


def test_it_closes_a_menu_with_escape(page: Page) -> None:
    page.locator("details[data-menu] summary").first.click()
    assert page.locator(".menu__panel").first.is_visible()

    page.keyboard.press("Escape")

    assert not page.locator(".menu__panel").first.is_visible()


def test_it_asks_before_the_sample_is_removed(page: Page) -> None:
    page.get_by_role("button", name="Remove sample data").click()

    assert "Remove the sample organisation" in page.locator("#confirm").inner_text()
