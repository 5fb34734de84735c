"""The reconciliation pages in a real browser, light and dark, with a month of causes: readable, within the window, no complaint."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import time_machine
from axe_playwright_python.sync_playwright import Axe
from django.contrib.auth import get_user_model
from django.test import Client
from playwright.sync_api import Page

from attribution import queries, reconcile
from costobs.access.models import Membership
from costobs.kernel.period import Days
from costobs.kernel.scope import SpendScope
from tests.attribution import month as months
from tests.attribution.month import DAYS

FEBRUARY = Days(DAYS[0], months.AFTER)
QUERY = "preset=custom&from=2026-02-01&to=2026-02-28"


@pytest.fixture
def _written(transactional_db: None) -> Iterator[None]:
    months.write(months.make("browser", ["duplicates", "price", "credit", "bypass", "day_boundary", "cancelled"]))
    reconcile.run(month=FEBRUARY, now=months.NOW)
    with time_machine.travel(months.NOW, tick=True):
        yield


@pytest.mark.usefixtures("_written")
def test_it_draws_reconciliation_in_both_themes(live_server: object, browser_page: Page) -> None:
    base = str(live_server)
    complaints: list[str] = []
    browser_page.on("console", lambda one: complaints.append(one.text) if one.type in {"error", "warning"} else None)
    browser_page.on("pageerror", lambda error: complaints.append(str(error)))
    _sign_in(browser_page, base)
    scope = SpendScope(FEBRUARY, teams=None)
    (row, *_more), _count = queries.cause_rows(scope=scope, cause="price")
    rows = f"/reconciliation/rows/?{QUERY}&cause=price"
    paths = (f"/reconciliation/?{QUERY}", rows, f"{rows}&cell={row.cell_id}")

    for theme in ("light", "dark"):
        browser_page.goto(f"{base}/sign-in/")
        browser_page.evaluate("theme => localStorage.setItem('theme', theme)", theme)
        for number, path in enumerate(paths):
            complaints.clear()
            answer = browser_page.goto(f"{base}{path}")
            browser_page.wait_for_load_state("networkidle")
            where = f"{path} in {theme}"

            assert answer is not None and answer.status == 200, where
            assert complaints == [], where
            for width in (1024, 1440):
                browser_page.set_viewport_size({"width": width, "height": 900})
                assert browser_page.evaluate("document.documentElement.scrollWidth") <= width, f"{where} is too wide"
            found = Axe().run(browser_page)
            assert found.violations_count == 0, f"{where}: {found.generate_report()}"
            if folder := os.environ.get("COSTOBS_SCREENS"):
                browser_page.screenshot(path=Path(folder) / f"reconciliation-{number}-{theme}.png", full_page=True)


def _sign_in(page: Page, base: str) -> None:
    user = get_user_model()._default_manager.create_user("ada@example.com", email="ada@example.com")
    Membership.objects.create(user=user, role="finance")
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    page.context.add_cookies([{"name": "sessionid", "value": client.cookies["sessionid"].value, "url": base}])
