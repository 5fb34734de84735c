"""Remakes the screenshots in this folder: starts a fresh installation with the sample, signs in, and looks at every page."""

import argparse
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
PAGES = {
    "overview": "/",
    "explore": "/explore/?group=team",
    "explore-cost-kind": "/explore/?group=cost_kind",
    "explore-explain": "/explore/?view=explain",
    "explore-as-of": "/explore/as-of/",
    "unit-costs": "/unit-costs/",
    "unit-ticket": "/unit-costs/?unit=figure%3Atickets_resolved",
    "unit-compare": "/unit-costs/compare/",
    "budgets": "/budgets/",
    "budget-new": "/budgets/new/",
    "budget-holds": "/budgets/holds/",
    "alerts": "/alerts/",
    "anomalies": "/anomalies/?view=all",
    "gpus": "/gpus/?preset=7d",
    "chargeback": "/chargeback/",
    "reconciliation": "/reconciliation/",
    "sources": "/sources/",
    "settings-rules": "/settings/rules/",
    "settings-rule-new": "/settings/rules/new/",
    "settings-rule": "/settings/rules/new/even_split/",
    "settings-prices": "/settings/prices/",
    "settings-price-new": "/settings/prices/new/",
    "settings-rates": "/settings/rates/",
    "settings-chargeback": "/settings/chargeback/",
    "settings-alerts": "/settings/alerts/",
    "settings-digest": "/settings/alerts/digests/preview/",
    "settings-gates": "/settings/gates/",
    "settings-key-new": "/settings/gates/keys/new/",
    "settings-hooks": "/settings/hooks/",
    "settings-hook-new": "/settings/hooks/new/?kind=kubernetes",
    "settings-sources": "/settings/sources/",
    "settings-new": "/settings/sources/new/",
}
# What a spreadsheet pastes.
MACHINES = """name\tgpus\tgpu model\tpurchase price\tpurchased on\tamortisation months\tpower watts\tteam
gpu-node-8\t8\tNVIDIA H100\t284000\t2026-02-16\t48\t6800\tplatform
gpu-node-9\t8\tNVIDIA H100\t284000\t2026-02-16\t48\t6800\tplatform"""
# The temporary directory of this run means nothing to who looks at the picture: the usual one stands in its place.
WITHOUT_DIRECTORY = """directory => {
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) texts.currentNode.data = texts.currentNode.data.replaceAll(directory, "/var/lib/costobs");
}"""
FLAGS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--force-color-profile=srgb"]


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--link", default="", help="sign-in link of a running installation; without it one is started")
    options.add_argument("--out", default=str(HERE), help="folder of the pictures")
    options.add_argument("--full", action="store_true", help="whole pages instead of the first screen")
    options.add_argument(
        "--page", action="append", default=[], help="only this page of those named here; again for more"
    )
    options.add_argument("--theme", action="append", choices=["light", "dark"], help="only this theme")
    asked = options.parse_args()
    themes = asked.theme or ["light", "dark"]
    if asked.link:
        shoot(asked.link, Path(asked.out), full=asked.full, themes=themes, only=asked.page)
        return 0
    data = Path(tempfile.mkdtemp(prefix="costobs-screens-"))
    log = data / "up.log"
    files = data / "files"
    environment = {
        **os.environ,
        "COSTOBS_DATA": str(data),
        "COSTOBS_PORT": str(free_port()),
        "COSTOBS_FILES": str(files),
    }
    with log.open("wb") as target:
        stack = subprocess.Popen(
            [Path(sys.executable).with_name("costobs"), "up"], cwd=ROOT, env=environment, stdout=target, stderr=target
        )
    try:
        link = wait_for_link(log, stack)
        if asked.page:
            shoot(link, Path(asked.out), full=asked.full, themes=themes, only=asked.page)
        else:
            shoot(link, Path(asked.out), full=asked.full, themes=themes, files=files)
    finally:
        stack.terminate()
        stack.wait(60)
        shutil.rmtree(data, ignore_errors=True)
    return 0


def wait_for_link(log: Path, stack: subprocess.Popen[bytes], seconds: int = 300) -> str:
    """The sign-in link, once the sample is loaded."""
    for _ in range(seconds):
        text = log.read_text(errors="replace")
        found = re.search(r"https?://\S+sesame=\S+", text)
        if found and "sample is done" in text:
            return found[0]
        if stack.poll() is not None:
            raise SystemExit(f"the stack ended:\n{text[-2000:]}")
        time.sleep(1)
    raise SystemExit(f"the sample was not loaded within {seconds} s:\n{log.read_text(errors='replace')[-2000:]}")


def shoot(
    link: str, out: Path, *, full: bool, themes: list[str], files: Path | None = None, only: Sequence[str] = ()
) -> None:
    """One picture of each page and theme; with `files`, a directory that may be read, a source is connected as well.

    With `only` of these pages, and nothing else.
    """
    out.mkdir(parents=True, exist_ok=True)
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        context = browser.new_context(viewport={"width": 1440, "height": 900}, locale="en-GB", timezone_id="UTC")
        page = context.new_page()
        page.on(
            "console",
            lambda message: print(f"console: {message.text}") if message.type in {"error", "warning"} else None,
        )
        page.goto(link)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_load_state("networkidle")
        base = "/".join(link.split("/")[:3])
        pages = {**PAGES, **detail_pages(page, base)}
        if only:
            pages = {name: pages[name] for name in only}
        for theme in themes:
            page.evaluate("theme => localStorage.setItem('theme', theme)", theme)
            page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]  # light or dark
            for name, path in pages.items():
                page.goto(base + path)
                page.wait_for_load_state("networkidle")
                page.wait_for_timeout(400)  # charts fade in after their data
                page.screenshot(path=str(out / f"{name}-{theme}.png"), full_page=full)
                print(f"{name}-{theme}")
        if files is not None:
            connected = connect(page, base, files)
            for theme in themes:
                page.evaluate("theme => localStorage.setItem('theme', theme)", theme)
                page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]  # light or dark
                try_owned_capacity(page, base)
                page.screenshot(path=str(out / f"settings-form-{theme}.png"), full_page=full)
                for name, path in connected.items():
                    page.goto(base + path)
                    page.wait_for_load_state("networkidle")
                    page.evaluate(WITHOUT_DIRECTORY, str(files.parent))
                    page.screenshot(path=str(out / f"{name}-{theme}.png"), full_page=full)
                print(f"settings of a source, {theme}")
        context.clear_cookies()
        for theme in themes if not only else ():
            page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]  # light or dark
            page.evaluate("theme => localStorage.setItem('theme', theme)", theme)
            page.goto(f"{base}/sign-in/")
            page.screenshot(path=str(out / f"sign-in-{theme}.png"))
        browser.close()


def try_owned_capacity(page: Page, base: str) -> None:
    """The form of owned capacity, filled in and tested; nothing is saved."""
    page.goto(f"{base}/settings/sources/new/owned_capacity/")
    page.get_by_label("Name (needed)").fill("dc-1")
    page.get_by_label("Company").fill("Quillfern Inc.")
    page.get_by_label("Power price", exact=True).fill("0.19")
    page.get_by_label("Machines", exact=True).fill(MACHINES)
    page.get_by_role("button", name="Test").click()
    page.locator("#findings .card").wait_for()
    page.locator("#findings").scroll_into_view_if_needed()
    page.evaluate("window.scrollTo(0, document.body.scrollHeight)")


def connect(page: Page, base: str, files: Path) -> dict[str, str]:
    """Adds the log of a gateway with a line that cannot be read, lets a backfill of it end, and says what to look at."""
    folder = files / "gateway"
    folder.mkdir(parents=True, exist_ok=True)
    now = datetime.now(UTC)
    for month in range(4):
        lines = [
            {
                "event_id": f"{month}-{number}",
                "occurred_at": (now - timedelta(days=28 * month, minutes=15 * number)).isoformat(),
                "gen_ai.provider.name": "openai",
                "gen_ai.request.model": "gpt-5-mini",
                "gen_ai.usage.input_tokens": 900 + number % 400,
                "gen_ai.usage.output_tokens": 200,
                "attributes": {"team": "search"},
            }
            for number in range(2_400)
        ]
        text = "\n".join(json.dumps(line) for line in lines)
        (folder / f"calls-{4 - month}.ndjson").write_text(f'{text}\n{{"occurred_at": "yesterday"}}\n')
    page.goto(f"{base}/settings/sources/new/usage_log/")
    page.get_by_label("Name (needed)").fill("Gateway of search")
    page.get_by_label("Path").fill(str(folder))
    page.get_by_role("button", name="Add", exact=True).click()
    page.wait_for_url(re.compile(r"/settings/sources/\d+/$"))
    source = page.url.removeprefix(base)
    page.get_by_label("First day").fill(str((now - timedelta(days=120)).date()))
    page.get_by_role("button", name="Start backfill").click()
    page.locator("#backfill .badge", has_text="Done").wait_for(timeout=120_000)
    page.goto(base + source)
    loads = [link.get_attribute("href") or "" for link in page.locator("a[href*='/sources/loads/']").all()]
    return {"settings-source": source, "load": loads[0]}


# Where the first link of a kind is found; numbers and months depend on the data.
DETAILS = {
    "budget": ("/budgets/", r"/budgets/\d+/"),
    "action": ("/budgets/", r"/actions/\d+/"),
    "alert": ("/alerts/", r"/alerts/\d+/"),
    "anomaly": ("/anomalies/?view=all", r"/anomalies/\d+/"),
    "unit-run": ("/unit-costs/?unit=fine_tune_run", r"/unit-costs/runs/\d+/"),
    "chargeback-cost-centre": ("/chargeback/", r"/chargeback/[0-9-]+/[^/?-][^/?]*/\?basis=effective"),
    "month-close": ("/chargeback/", r"/chargeback/[0-9-]+/close/"),
    "reconciliation-rows": ("/reconciliation/", r"/reconciliation/rows/\?.+"),
}


def detail_pages(page: Page, base: str) -> dict[str, str]:
    """The first page of each kind that a list leads to."""
    found = {}
    for name, (path, pattern) in DETAILS.items():
        page.goto(f"{base}{path}")
        page.wait_for_load_state("networkidle")
        links = [link.get_attribute("href") or "" for link in page.locator("main a").all()]
        matching = [link for link in links if re.fullmatch(pattern, link)]
        if matching:
            found[name] = matching[0]
    page.goto(f"{base}/budgets/")
    throttled = page.get_by_role("link", name="Sample: Search", exact=True).first.get_attribute("href")
    if throttled:
        found["budget-backtest"] = f"{throttled}backtest/"
    if "chargeback-cost-centre" in found:
        found["chargeback-rows"] = found["chargeback-cost-centre"].replace("/?", "/rows/?")
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main())
