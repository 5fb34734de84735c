"""costobs itself, started by its own command on an empty data directory, with a mail catcher beside it."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
from aiosmtpd.controller import Controller

COSTOBS = Path(sys.executable).with_name("costobs")
START_SECONDS = 180


class DidNotStart(Exception):
    """costobs ended or did not become ready; the message names its log."""


class Mailbox:
    """Keeps what costobs mails."""

    def __init__(self) -> None:
        self.mails: list[str] = []

    async def handle_DATA(self, _server: object, _session: object, envelope: Any) -> str:
        self.mails.append(envelope.content.decode("utf-8", "replace"))
        return "250 OK"


class Stack:
    """A running costobs and its command line."""

    def __init__(self, url: str, environment: dict[str, str], mailbox: Mailbox) -> None:
        self.url, self.mailbox = url, mailbox
        self._environment = environment

    def run(self, *words: str) -> str:
        """One command; what it printed. Raises AssertionError when it fails."""
        done = subprocess.run(
            [COSTOBS, *words], env=self._environment, capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == 0, f"costobs {' '.join(words)}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        return done.stdout.strip()

    def json(self, *words: str) -> Any:
        """One command with `--format json`; Any: each command has its own shape."""
        return json.loads(self.run(*words, "--format", "json"))

    def api(self) -> httpx.Client:
        """A client of the API that may read."""
        token = self.run("token", "create", "serving-test", "--grant", "read").splitlines()[-1]
        return httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {token}"}, timeout=20)

    def browser(self) -> httpx.Client:
        """A signed-in client of the pages."""
        client = httpx.Client(base_url=self.url, follow_redirects=True, timeout=20)
        link = self.run("sign-in-link", "--format", "url").splitlines()[-1]
        asked = client.get(link)
        assert asked.status_code == 200, asked.text[:500]
        # As a person does: the link opens a page with one button, and the button signs in.
        entered = client.post(link, data={"csrfmiddlewaretoken": client.cookies["csrftoken"]})
        assert entered.status_code == 200 and entered.url.path == "/", f"{entered.url}: {entered.text[:500]}"
        return client


@contextlib.contextmanager
def running(*, data: Path, port: int, mail_port: int, log: Path) -> Iterator[Stack]:
    """costobs while it runs. Raises DidNotStart."""
    url = f"http://127.0.0.1:{port}"
    own = {
        "COSTOBS_DATA": str(data),
        "COSTOBS_PORT": str(port),
        "COSTOBS_SAMPLE": "0",
        "COSTOBS_SMTP_HOST": "127.0.0.1",
        "COSTOBS_SMTP_PORT": str(mail_port),
    }
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("COSTOBS_", "DATABASE_", "BROKER_"))
    }
    environment = {**inherited, **own}
    mailbox = Mailbox()
    post = Controller(mailbox, hostname="127.0.0.1", port=mail_port)
    post.start()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [COSTOBS, "up"], env=environment, stdout=output, stderr=output, start_new_session=True
        )
        try:
            _wait(process, url, log)
            yield Stack(url, environment, mailbox)
        finally:
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(40)
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            post.stop()


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise DidNotStart(f"costobs ended with {process.returncode}; see {log}")
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{url}/readyz", timeout=2).status_code == 200:
                return
        time.sleep(0.3)
    raise DidNotStart(f"costobs was not ready after {START_SECONDS} s; see {log}")
