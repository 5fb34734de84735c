"""Rules in a real browser: dragged, moved by the keyboard, previewed while they are typed, and all of it without JavaScript."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.contrib.auth import get_user_model
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Locator, Page, expect

from attribution import own, rule_drafts
from costobs.access.models import Membership

pytestmark = pytest.mark.django_db(transaction=True)
DANA = "dana@example.com"
NAMES = [rule.name for rule in own.DEFAULT_RULES]


@pytest.fixture
def page(live_server: object, browser_page: Page) -> Page:
    """The browser of an administrator, on the list of rules."""
    user = get_user_model()._default_manager.create_user(DANA, email=DANA)
    Membership.objects.create(user=user, role="admin")
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    told = {"name": "sessionid", "value": client.cookies["sessionid"].value, "url": str(live_server)}
    browser_page.context.add_cookies([told])  # type: ignore[list-item]  # a TypedDict
    browser_page.set_default_timeout(20_000)
    browser_page.goto(f"{live_server}/settings/rules/")
    return browser_page


def names(page: Page) -> Locator:
    return page.locator("[data-rule] .rule-list__name a")


def drafted() -> list[str]:
    return [line.rule.name for line in rule_drafts.draft(person=DANA, now=timezone.now()).lines]


def test_it_drags_a_rule_to_another_place(page: Page) -> None:
    complaints: list[str] = []
    page.on("console", lambda one: complaints.append(one.text) if one.type in {"error", "warning"} else None)
    wanted = [NAMES[3], *NAMES[:3], *NAMES[4:]]

    handle = page.locator("[data-rule='p4'] [data-rule-handle]")
    handle.drag_to(page.locator("[data-rule='p1']"), target_position={"x": 40, "y": 3})

    expect(page.locator("#draft-title")).to_contain_text("1 change, not in force", timeout=20_000)
    expect(names(page)).to_have_text(wanted, timeout=20_000)
    assert drafted() == wanted
    assert complaints == []


def test_it_moves_a_rule_by_the_keyboard_and_keeps_the_focus_on_it(page: Page) -> None:
    page.locator("#down-p1").focus()
    page.keyboard.press("Enter")
    expect(names(page).first).to_have_text(NAMES[1], timeout=20_000)
    expect(page.locator("#down-p1")).to_be_focused(timeout=20_000)
    page.keyboard.press("Enter")
    expect(names(page).nth(2)).to_have_text(NAMES[0], timeout=20_000)
    page.locator("#up-p1").focus()
    page.keyboard.press("Space")

    expect(names(page).nth(1)).to_have_text(NAMES[0], timeout=20_000)
    assert drafted() == [NAMES[1], NAMES[0], *NAMES[2:]]


def test_it_answers_while_a_rule_is_typed_and_is_readable_by_all_in_both_themes(page: Page) -> None:
    page.locator("#down-p1").click()
    expect(page.locator("#draft-title")).to_contain_text("1 change, not in force", timeout=20_000)
    for theme in ("light", "dark"):
        page.evaluate("theme => localStorage.setItem('theme', theme)", theme)
        page.goto(f"{page.url.split('/settings/')[0]}/settings/rules/")
        assert Axe().run(page).violations_count == 0, theme
        page.goto(f"{page.url}publish/")
        assert Axe().run(page).violations_count == 0, theme
        page.goto(f"{page.url.split('/settings/')[0]}/settings/rules/new/match/")
        page.get_by_label("Name (needed)").fill("k1")
        expect(page.locator("#preview")).to_contain_text("Not a rule yet", timeout=20_000)
        page.get_by_label("Team", exact=True).fill("search")
        expect(page.locator("#preview")).to_contain_text("would move nothing", timeout=20_000)
        assert Axe().run(page).violations_count == 0, theme


def test_it_drafts_and_publishes_without_javascript(page: Page) -> None:
    browser = page.context.browser
    assert browser is not None
    context = browser.new_context(java_script_enabled=False, viewport={"width": 1440, "height": 900})
    context.set_default_timeout(20_000)
    context.add_cookies(page.context.cookies())  # type: ignore[arg-type]  # the same TypedDict but for one key
    plain = context.new_page()
    try:
        plain.goto(page.url)
        plain.locator("#down-p1").click()
        plain.get_by_role("link", name="Add a rule").click()
        plain.get_by_role("link", name="Owner by attribute").click()
        plain.get_by_label("Name (needed)").fill("k1")
        plain.get_by_label("Where, line 1: attribute", exact=True).fill("key")
        plain.get_by_label("Where, line 1: values", exact=True).fill("k1, k2")
        plain.get_by_label("Team", exact=True).fill("search")
        plain.get_by_role("button", name="Preview").click()
        expect(plain.locator("#preview")).to_contain_text("would move nothing")
        plain.get_by_role("button", name="Keep in draft").first.click()
        plain.get_by_role("link", name="Review and publish").click()
        plain.get_by_label("What changes, and why").fill("search has keys")
        plain.get_by_role("button", name="Publish").click()
        expect(plain.locator("main")).to_contain_text("is in force")
    finally:
        context.close()
    found = own.current_rules()
    assert [rule.name for rule in found][:3] == ["k1", NAMES[1], NAMES[0]]
    assert found[0].config == {"when": {"key": ["k1", "k2"]}, "set": {"team": "search"}}
