"""The pages of anomalies in a real browser, light and dark: within the window, no complaint, readable by all."""

from datetime import UTC, date, datetime, timedelta

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from alerts import anomalies, anomaly_queries, thresholds
from alerts.models import AnomalyCheck
from tests.alerts.conftest import make_books
from tests.web.test_browser_pages import DRAWN, _sign_in

LAST = date(2026, 11, 20)
NOW = datetime(2026, 11, 21, 6, tzinfo=UTC)


@pytest.mark.django_db(transaction=True)
def test_it_draws_the_list_and_an_anomaly_in_both_themes(live_server: object, browser_page: Page) -> None:
    books = make_books()
    for back in range(70):
        day = LAST - timedelta(days=back)
        books.spend(day, str((45 if day.weekday() >= 5 else 100) + back % 3), team="search")
        books.spend(day, str(60 + back % 4), team="support", model="mistral")
    for back in range(3):
        books.spend(LAST - timedelta(days=back), str(320 - 40 * back), team="search")
    books.complete(datetime(2026, 11, 21, tzinfo=UTC))
    anomalies.run(now=NOW, is_asked=True)
    (line,) = anomaly_queries.anomalies(teams=None)
    AnomalyCheck.objects.filter(grain="day").update(
        falls=[[{"team": "support", "key": "key-support-nightly"}, "USD", "2026-11-19T00:00:00+00:00", 2, "1.5", "122"]]
    )
    limits = {"impact_cost": "75", "impact_percent": "12.5"}
    thresholds.put(own=thresholds.own(scope={"team": "search"}, values=limits), by="ada@example.com", now=NOW)
    base = str(live_server)
    complaints: list[str] = []
    browser_page.on("console", lambda one: complaints.append(one.text) if one.type in {"error", "warning"} else None)
    _sign_in(browser_page, base)

    for theme in ("light", "dark"):
        browser_page.goto(f"{base}/sign-in/")
        browser_page.evaluate("theme => localStorage.setItem('theme', theme)", theme)
        for path in ("/anomalies/", f"/anomalies/{line.id}/", "/anomalies/thresholds/", "preview"):
            if path == "preview":
                browser_page.get_by_label("Tell from this much above expected, USD").fill("5000")
                with browser_page.expect_navigation() as navigation:
                    browser_page.get_by_role("button", name="Preview on the last 90 days").click()
                answer = navigation.value
            else:
                answer = browser_page.goto(f"{base}{path}")
            browser_page.wait_for_load_state("networkidle")

            assert answer is not None and answer.status == 200, path
            for width in (1024, 1440):
                browser_page.set_viewport_size({"width": width, "height": 900})
                assert browser_page.evaluate("document.documentElement.scrollWidth") <= width, f"{path} is too wide"
            for traces in browser_page.evaluate(DRAWN):
                assert all(drawn == asked for drawn, asked in traces), path
            found = Axe().run(browser_page)
            assert found.violations_count == 0, f"{path} in {theme}: {found.generate_report()}"
    assert complaints == []
    assert "would have told" in browser_page.inner_text("main")
