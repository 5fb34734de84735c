"""Gates and keys in the browser: clean for assistive technology in both themes, and the text of a key shown once."""

import re
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.contrib.auth import get_user_model
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Page, expect

from alerts import gates, policy, queries
from costobs.access import gates as whole_gates
from costobs.access.models import Membership

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def page(live_server: object, browser_page: Page) -> Page:
    """The browser of an administrator."""
    user = get_user_model()._default_manager.create_user("dana@example.com", email="dana@example.com")
    Membership.objects.create(user=user, role="admin")
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    told = {"name": "sessionid", "value": client.cookies["sessionid"].value, "url": str(live_server)}
    browser_page.context.add_cookies([told])  # type: ignore[list-item]  # a TypedDict
    return browser_page


@pytest.fixture
def furnished() -> str:
    """Two gates, one of them with two processes, and two keys; the id of the first."""
    now = timezone.now()
    whole_gates.create(name="vllm-eu-1", deployment="chat-small", provider="self_hosted", by="dana", now=now)
    whole_gates.create(name="proxy-1", deployment="edge", provider="self_hosted", by="dana", now=now)
    source_id = queries.gates(now=now)[1].source_id
    for process in ("4711-aa", "4712-bb"):
        report = "software=0.1.0;admitted=120934;refused=812;inflight=7"
        held = policy.answer(source_id=source_id, if_none_match="", now=now, process=process).etag
        policy.answer(source_id=source_id, if_none_match=held, now=now, process=process, report=report)
    gates.create_key(name="batch", team="research", by="dana", now=now)
    limits = {"requests_per_minute": 600, "tokens_per_minute": 90_000, "max_inflight": 8}
    key_id, _ = gates.create_key(name="web", team="search", features=["rag"], limits=limits, by="dana", now=now)
    return key_id


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_is_clean_for_assistive_technology(
    live_server: object, page: Page, furnished: str, theme: Any, tmp_path: Any
) -> None:
    page.emulate_media(color_scheme=theme)

    for number, path in enumerate(("", "new/", "keys/new/", f"keys/{furnished}/", "remove/proxy-1/")):
        page.goto(f"{live_server}/settings/gates/{path}")
        found = Axe().run(page)
        page.screenshot(path=str(tmp_path / f"{theme}-{number}.png"), full_page=True)

        assert found.violations_count == 0, found.generate_report()


def test_it_shows_a_new_key_once(live_server: object, page: Page) -> None:
    page.goto(f"{live_server}/settings/gates/")
    page.get_by_role("link", name="Make a key").first.click()
    page.get_by_label("Name").fill("web")
    page.get_by_label("Team").fill("search")
    page.get_by_label("Requests a minute").fill("60")
    page.get_by_role("button", name="Make it").click()

    text = page.locator("#shown-once").inner_text()
    found = Axe().run(page)
    page.get_by_role("link", name="I have it").click()

    assert re.fullmatch(r"cok_[A-Za-z0-9_-]+", text.strip())
    assert found.violations_count == 0, found.generate_report()
    expect(page.get_by_role("table").nth(1)).to_contain_text("60 requests/min")
    expect(page.locator("body")).not_to_contain_text(text.strip())
