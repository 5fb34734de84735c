"""Fixtures for every room: a browser page, and the three people of the access tests live beside what they test."""

import os
import shutil
from collections.abc import Iterator

import hypothesis
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

# How long one example takes says something about the machine, and nothing about the property.
hypothesis.settings.register_profile("costobs", hypothesis.settings.default, deadline=None)
hypothesis.settings.load_profile("costobs")

INSTALL_CHROMIUM = "apt-get install -y chromium"
_FLAGS = [
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-extensions",
    "--force-color-profile=srgb",
]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless Chromium from PATH (or CHROMIUM), started once for each worker that needs it."""
    names = ("chromium", "chromium-browser", "google-chrome")
    executable = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if not executable:
        pytest.fail(f"the browser tests need Chromium; install it with: {INSTALL_CHROMIUM}", pytrace=False)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=executable, args=_FLAGS)
        yield started
        started.close()


@pytest.fixture
def browser_page(browser: Browser) -> Iterator[Page]:
    """A fresh page, 1440 by 900."""
    context = browser.new_context(viewport={"width": 1440, "height": 900}, locale="en-GB", timezone_id="UTC")
    page = context.new_page()
    page.set_default_timeout(10_000)
    yield page
    context.close()
