"""Remakes the screenshots in this folder: starts a fresh installation with the sample, signs in, and looks at every page."""

import argparse
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
PAGES = {
    "overview": "/",
    "explore": "/explore/?group=team",
    "explore-explain": "/explore/?view=explain",
    "unit-costs": "/unit-costs/",
    "budgets": "/budgets/",
    "gpus": "/gpus/?preset=7d",
    "chargeback": "/chargeback/",
    "sources": "/sources/",
}
FLAGS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--force-color-profile=srgb"]


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--link", default="", help="sign-in link of a running installation; without it one is started")
    options.add_argument("--out", default=str(HERE), help="folder of the pictures")
    options.add_argument("--full", action="store_true", help="whole pages instead of the first screen")
    options.add_argument("--theme", action="append", choices=["light", "dark"], help="only this theme")
    asked = options.parse_args()
    themes = asked.theme or ["light", "dark"]
    if asked.link:
        shoot(asked.link, Path(asked.out), full=asked.full, themes=themes)
        return 0
    data = Path(tempfile.mkdtemp(prefix="costobs-screens-"))
    log = data / "up.log"
    environment = {**os.environ, "COSTOBS_DATA": str(data), "COSTOBS_PORT": str(free_port())}
    with log.open("wb") as target:
        stack = subprocess.Popen(
            [sys.executable, "-m", "costobs.cli", "up"], cwd=ROOT, env=environment, stdout=target, stderr=target
        )
    try:
        shoot(wait_for_link(log, stack), Path(asked.out), full=asked.full, themes=themes)
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
        if found and re.search(r"sample.*100 %", text):
            return found[0]
        if stack.poll() is not None:
            raise SystemExit(f"the stack ended:\n{text[-2000:]}")
        time.sleep(1)
    raise SystemExit(f"the sample was not loaded within {seconds} s:\n{log.read_text(errors='replace')[-2000:]}")


def shoot(link: str, out: Path, *, full: bool, themes: list[str]) -> None:
    """One picture of each page and theme."""
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
        for theme in themes:
            page.evaluate("theme => localStorage.setItem('theme', theme)", theme)
            page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]  # light or dark
            for name, path in pages.items():
                page.goto(base + path)
                page.wait_for_load_state("networkidle")
                page.wait_for_timeout(400)  # charts fade in after their data
                page.screenshot(path=str(out / f"{name}-{theme}.png"), full_page=full)
                print(f"{name}-{theme}")
        context.clear_cookies()
        for theme in themes:
            page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]  # light or dark
            page.evaluate("theme => localStorage.setItem('theme', theme)", theme)
            page.goto(f"{base}/sign-in/")
            page.screenshot(path=str(out / f"sign-in-{theme}.png"))
        browser.close()


def detail_pages(page: Page, base: str) -> dict[str, str]:
    """The first budget of the list; its number depends on the data."""
    page.goto(f"{base}/budgets/")
    links = [link.get_attribute("href") or "" for link in page.locator("table a").all()]
    budgets = [link for link in links if re.fullmatch(r"/budgets/\d+/", link)]
    return {"budget": budgets[0]} if budgets else {}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main())
