"""The pages of ladders in a real browser, light and dark, with everything on them."""

from datetime import timedelta
from decimal import Decimal

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.utils import timezone
from playwright.sync_api import Page

from alerts import budgets, windows
from alerts.models import ActionRun
from tests.web.conftest import Ledger
from tests.web.test_browser_pages import _sign_in


@pytest.mark.django_db(transaction=True)
def test_it_is_readable_by_all_with_everything_on_it(loaded: Ledger, live_server: object, browser_page: Page) -> None:
    base, now = str(live_server), timezone.now()
    windows.add(kind="maintenance", name="release freeze", weekly="mon-sun 00:00-24:00", by="ada@example.com", now=now)
    windows.protect(scope={"team": ["search"], "environment": ["prod"]}, by="ada@example.com", now=now, reason="shop")
    windows.pause_all(until=now + timedelta(hours=1), by="ada@example.com", now=now, reason="incident 4411")
    budget_id = budgets.create(
        name="Everything",
        scope={"team": ["search"]},
        amount="900",
        currency="USD",
        period="month",
        rungs=[
            budgets.RungSpec(Decimal(300), "throttle", {"priority": 5, "max_share_percent": 20}, trigger="burn_rate"),
            budgets.RungSpec(Decimal(100), "shutdown", {"windows": "sat-sun 00:00-24:00"}, trigger="schedule"),
            budgets.RungSpec(Decimal(90), "reroute", {"to_model": "small"}, "two"),
        ],
        by="ada@example.com",
        now=now,
    )
    run = ActionRun.objects.get(state="waiting_approval")
    ActionRun.objects.filter(pk=run.pk).update(
        plan={**run.plan, "approvals": 2, "reach": "12 % of the requests, 3 keys"}
    )
    paths = (
        "/budgets/",
        "/budgets/holds/",
        f"/budgets/{budget_id}/",
        f"/budgets/{budget_id}/edit/",
        f"/actions/{run.pk}/",
    )
    _sign_in(browser_page, base)

    for theme in ("light", "dark"):
        browser_page.goto(f"{base}/sign-in/")
        browser_page.evaluate("theme => localStorage.setItem('theme', theme)", theme)
        for path in paths:
            browser_page.goto(f"{base}{path}")
            browser_page.wait_for_load_state("networkidle")
            for width in (1024, 1440):
                browser_page.set_viewport_size({"width": width, "height": 900})
                wide = browser_page.evaluate("document.documentElement.scrollWidth")
                assert wide <= width, f"{path} in {theme} is too wide"
            found = Axe().run(browser_page)
            assert found.violations_count == 0, f"{path} in {theme}: {found.generate_report()}"
