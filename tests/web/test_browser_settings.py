"""Connecting a source with nothing but the keyboard: chosen, filled in, tested, added, read back and removed."""

import re
from pathlib import Path
from typing import Any

import orjson
import pytest
from axe_playwright_python.sync_playwright import Axe
from django.contrib.auth import get_user_model
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Page, expect

from costobs.access.models import Membership
from ingest import backfill
from ingest.models import Source
from ingest.sources import KINDS

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def page(live_server: object, browser_page: Page) -> Page:
    """The browser of an administrator, on the list of sources."""
    user = get_user_model()._default_manager.create_user("dana@example.com", email="dana@example.com")
    Membership.objects.create(user=user, role="admin")
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    told = {"name": "sessionid", "value": client.cookies["sessionid"].value, "url": str(live_server)}
    browser_page.context.add_cookies([told])  # type: ignore[list-item]  # a TypedDict
    browser_page.goto(f"{live_server}/settings/sources/")
    return browser_page


@pytest.fixture
def files(tmp_path: Path, settings: Any) -> Path:
    settings.COSTOBS_FILES = tmp_path
    line = {"occurred_at": "2026-03-03T10:00:00Z", "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-4o"}
    (tmp_path / "march.ndjson").write_bytes(orjson.dumps({**line, "gen_ai.usage.input_tokens": 10}))
    return tmp_path


def tab_to(page: Page, words: str) -> None:
    """Tabs on until what has the focus is called so."""
    named = "(e => (e.labels?.[0]?.textContent || e.textContent || '').trim())(document.activeElement)"
    for _ in range(120):
        page.keyboard.press("Tab")
        if page.evaluate(named).startswith(words):
            return
    raise AssertionError(f"{words!r} cannot be reached with the Tab key")


def test_it_connects_a_source_by_the_keyboard_alone(page: Page, files: Path) -> None:
    complaints: list[str] = []
    page.on("console", lambda one: complaints.append(one.text) if one.type in {"error", "warning"} else None)

    tab_to(page, "Connect a source")
    page.keyboard.press("Enter")
    page.wait_for_url("**/new/")
    tab_to(page, "Usage log")
    page.keyboard.press("Enter")
    page.wait_for_url("**/new/usage_log/")
    tab_to(page, "Name")
    page.keyboard.type("gateway log")
    tab_to(page, "Path")
    page.keyboard.type(str(files))
    tab_to(page, "Test")
    page.keyboard.press("Enter")
    expect(page.locator("#findings")).to_contain_text("It works")
    expect(page.locator("#findings")).to_contain_text("march.ndjson")
    assert not Source.objects.exists()
    assert Axe().run(page).violations_count == 0
    page.keyboard.press("Shift+Tab")
    assert page.evaluate("document.activeElement.textContent").strip() == "Add"
    page.keyboard.press("Enter")
    page.wait_for_url("**/settings/sources/*/")

    expect(page.locator("main")).to_contain_text("gateway log is added")
    assert Source.objects.get().config == {"path": str(files)}
    assert complaints == []


def test_it_finds_a_kind_while_its_name_is_typed(page: Page) -> None:
    page.goto(f"{page.url}new/")
    page.get_by_label("Find a kind").press_sequentially("h100")

    expect(page.locator(".kinds__link")).to_have_text(["Owned capacity", "NVIDIA DCGM"])
    assert page.evaluate("document.activeElement.id") == "id_q"
    expect(page).to_have_url(re.compile(r"q=h100"))
    page.get_by_label("Find a kind").fill("")

    expect(page.locator(".kinds__link")).to_have_count(len(KINDS.names()))


def test_it_keeps_secrets_in_the_page_while_it_is_tested_and_out_of_every_answer(page: Page) -> None:
    answers: list[str] = []
    page.goto(f"{page.url}new/focus_export/")
    page.get_by_label("Name (needed)").fill("bill")
    page.get_by_label("URL", exact=True).fill("/etc/passwd")
    page.get_by_label("Secret access key").fill("wJalrXUtnFEMI")
    page.on("response", lambda one: answers.append(one.text()) if one.request.method == "POST" else None)
    page.get_by_role("button", name="Test").click()

    expect(page.locator("#findings")).to_contain_text("COSTOBS_FILES")
    # Without a new page nothing has to be typed again.
    assert page.get_by_label("Secret access key").input_value() == "wJalrXUtnFEMI"
    assert page.get_by_label("Secret access key").get_attribute("type") == "password"
    assert len(answers) == 1 and "wJalrXUtnFEMI" not in answers[0]


def test_it_shows_the_progress_of_a_backfill_without_a_reload(page: Page, files: Path) -> None:
    now_url = page.url
    source = Source.objects.create(
        kind="usage_log", name="log", config={"path": str(files)}, created_at="2026-11-21T12:00:00Z"
    )
    page.goto(f"{now_url}{source.pk}/")
    page.get_by_label("First day").fill("2026-03-01")
    page.get_by_label("Last day").fill("2026-04-30")
    page.get_by_role("button", name="Start backfill").click()
    expect(page.locator("#backfill")).to_contain_text("Waiting")
    expect(page.locator("progress")).to_have_attribute("value", "0")

    while backfill.run(now=timezone.now()) is not None:
        continue

    expect(page.locator("#backfill")).to_contain_text("1 row of 1 file or batch")
    expect(page.locator("#backfill")).to_contain_text("Done")
    assert page.locator("#backfill").get_attribute("hx-trigger") is None


def test_it_works_without_javascript(page: Page, files: Path) -> None:
    browser = page.context.browser
    assert browser is not None
    context = browser.new_context(java_script_enabled=False, viewport={"width": 1440, "height": 900})
    context.add_cookies(page.context.cookies())  # type: ignore[arg-type]  # the same TypedDict but for one key
    plain = context.new_page()
    try:
        plain.goto(f"{page.url}new/usage_log/")
        plain.get_by_label("Name (needed)").fill("plain")
        plain.get_by_label("Path").fill(str(files))
        plain.get_by_role("button", name="Test").click()
        expect(plain.locator("#findings")).to_contain_text("It works")
        assert plain.get_by_label("Path").input_value() == str(files)
        plain.get_by_role("button", name="Add").click()
        expect(plain.locator("main")).to_contain_text("plain is added")
    finally:
        context.close()
