"""The pages of hooks in a browser: both themes, within the window, no complaint, a dry run and an undo by keyboard."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.contrib.auth import get_user_model
from django.test import Client
from playwright.sync_api import Page, expect

from alerts import carry, resources
from costobs.access.models import Membership
from tests.servers import scaler as programs
from tests.servers.scaler import SECRET, Scaler

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def scaler(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scaler]:
    monkeypatch.setenv("COSTOBS_PRIVATE_HOSTS", "127.0.0.1")
    with programs.started() as started:
        yield started


@pytest.fixture
def page(live_server: object, browser_page: Page) -> Page:
    """The browser of an administrator, on the list of hooks."""
    user = get_user_model()._default_manager.create_user("dana@example.com", email="dana@example.com")
    Membership.objects.create(user=user, role="admin")
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    told = {"name": "sessionid", "value": client.cookies["sessionid"].value, "url": str(live_server)}
    browser_page.context.add_cookies([told])  # type: ignore[list-item]  # a TypedDict
    browser_page.goto(f"{live_server}/settings/hooks/")
    return browser_page


def add(scaler: Scaler, name: str) -> int:
    draft = resources.Draft(
        name=name,
        hook="webhook",
        config={"url": scaler.url, "resource": name},
        credentials={"secret": SECRET},
        scope={"deployment": ["llama-70b"]},
        is_dedicated=True,
        drain_seconds=0,
    )
    return resources.create(draft=draft, by="dana@example.com", now=datetime.now(UTC))


def held(scaler: Scaler) -> int:
    """A hook that a change holds, and one that nobody can reach."""
    first, now = add(scaler, "vllm-70b"), datetime.now(UTC)
    resources.request(resource_id=first, to_units=0, by="dana@example.com", now=now)
    for _ in range(4):
        carry.run(now=now)
    second = add(scaler, "vllm-8b")
    scaler.fails_with = [401]
    with pytest.raises(resources.NotReached):
        resources.look(resource_id=second, now=now)
    return first


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_is_clean_in_both_themes(page: Page, scaler: Scaler, theme: str, live_server: object) -> None:
    complaints: list[str] = []
    page.on("console", lambda one: complaints.append(one.text) if one.type in {"error", "warning"} else None)

    def look(path: str) -> None:
        page.goto(f"{live_server}{path}")
        _check(page, theme, path)

    look("/settings/hooks/")
    first = held(scaler)
    for path in (
        "/settings/hooks/",
        "/settings/hooks/new/",
        "/settings/hooks/new/?kind=kubernetes",
        "/settings/hooks/new/?kind=litellm",
        f"/settings/hooks/{first}/",
    ):
        look(path)
    page.goto(f"{live_server}/settings/hooks/{add(scaler, 'vllm-mini')}/")
    scaler.units = 3
    page.get_by_role("button", name="Try it").click()
    expect(page.get_by_text("What would be done")).to_be_visible()
    _check(page, theme, "a dry run")
    assert complaints == []


def test_it_gives_back_by_the_keyboard(page: Page, scaler: Scaler) -> None:
    held(scaler)
    page.reload()

    page.get_by_role("button", name="Undo").focus()
    page.keyboard.press("Enter")

    expect(page.get_by_text("It is given back within seconds")).to_be_visible()
    carry.run(now=datetime.now(UTC))
    carry.run(now=datetime.now(UTC))
    assert scaler.units == 3


def _check(page: Page, theme: str, where: str) -> None:
    page.evaluate("theme => { document.documentElement.dataset.theme = theme }", theme)
    for width in (1024, 1440):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{where} is too wide"
    found = Axe().run(page)
    assert found.violations_count == 0, f"{where}: {found.generate_report()}"
