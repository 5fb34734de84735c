"""Every page in a real browser, light and dark: it stays within its window, breaks no policy and is readable by all."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.contrib.auth import get_user_model
from django.test import Client
from playwright.sync_api import Page

from costobs.access.models import Membership
from ingest import queries
from tests.web.conftest import Ledger

DAYS = "from=2026-11-01&to=2026-11-21"
PAGES = (
    f"/?{DAYS}",
    f"/explore/?{DAYS}&group=team",
    f"/explore/?{DAYS}&group=cost_kind",
    f"/explore/?{DAYS}&view=lines",
    f"/explore/?{DAYS}&view=explain",
    f"/explore/as-of/?{DAYS}",
    f"/explore/as-of/?{DAYS}&by=team&known_on=2026-11-20",
    f"/unit-costs/?{DAYS}",
    f"/unit-costs/?{DAYS}&unit=fine_tune_run",
    f"/unit-costs/compare/?{DAYS}",
    "/unit-costs/units/",
    "/budgets/",
    "/budgets/import/",
    "/budgets/new/",
    "/budgets/holds/",
    f"/gpus/?{DAYS}",
    "/chargeback/2026-10/",
    "/reconciliation/",
    "/sources/",
    "/settings/rules/",
    "/settings/rules/history/",
    "/settings/rules/import/",
    "/settings/rules/new/",
    "/settings/rules/new/key_scope/",
    "/settings/rules/new/match/",
    "/settings/rules/p1/",
    "/settings/rules/publish/",
    "/settings/prices/",
    "/settings/prices/new/",
    "/settings/prices/history/?provider=openai&model=gpt-4o",
    "/settings/rates/",
    "/settings/sources/",
    "/settings/sources/new/",
    "/settings/sources/new/?q=gpu",
    "/settings/sources/new/?q=nothing-of-the-kind",
    "/settings/sources/new/owned_capacity/",
    "/settings/sources/new/focus_export/",
    "/settings/sources/new/markers/",
    "/sign-in/",
)
# What a trace type becomes when the vendored file does not know it: a scatter without a word.
DRAWN = (
    "[...document.querySelectorAll('.js-plotly-plot')].map(g => g._fullData.map((t, i) => [t.type, g.data[i].type]))"
)


@pytest.mark.django_db(transaction=True)
def test_it_draws_every_page_in_both_themes(loaded: Ledger, live_server: object, browser_page: Page) -> None:
    base = str(live_server)
    complaints: list[str] = []
    browser_page.on("console", lambda one: complaints.append(one.text) if one.type in {"error", "warning"} else None)
    browser_page.on("pageerror", lambda error: complaints.append(str(error)))
    _sign_in(browser_page, base)

    for theme in ("light", "dark"):
        browser_page.goto(f"{base}/sign-in/")
        browser_page.evaluate("theme => localStorage.setItem('theme', theme)", theme)
        for path in (*PAGES, *_of_budget(loaded.search_budget_id), *_of_source(loaded.usage_source_id)):
            complaints.clear()
            answer = browser_page.goto(f"{base}{path}")
            browser_page.wait_for_load_state("networkidle")
            where = f"{path} in {theme}"

            assert answer is not None and answer.status == 200, where
            assert complaints == [], where
            for width in (1024, 1440):
                browser_page.set_viewport_size({"width": width, "height": 900})
                assert browser_page.evaluate("document.documentElement.scrollWidth") <= width, f"{where} is too wide"
            for traces in browser_page.evaluate(DRAWN):
                assert all(drawn == asked for drawn, asked in traces), where
            found = Axe().run(browser_page)
            assert found.violations_count == 0, f"{where}: {found.generate_report()}"


def _of_budget(budget_id: int) -> list[str]:
    """The pages of one budget."""
    own = f"/budgets/{budget_id}/"
    return [own, f"{own}copy/", f"{own}edit/"]


def _of_source(source_id: int) -> list[str]:
    """The pages of one source, and of its newest load."""
    own = f"/settings/sources/{source_id}/"
    (load,) = queries.loads(source_id=source_id)
    return [own, f"{own}edit/", f"{own}rotate/", f"{own}remove/", f"/sources/loads/{load.id}/"]


def _sign_in(page: Page, base: str) -> None:
    """The session of an administrator, who sees every page; signing in by link has tests of its own."""
    user = get_user_model()._default_manager.create_user("ada@example.com", email="ada@example.com")
    Membership.objects.create(user=user, role="admin")
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    page.context.add_cookies([{"name": "sessionid", "value": client.cookies["sessionid"].value, "url": base}])
