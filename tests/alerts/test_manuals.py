"""The programs that the manuals show, run as they stand there: what we send, they accept; what others send, they refuse."""

import re
import shlex
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from http.server import HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from django.core.management import call_command

from alerts.channels.base import Letter
from alerts.channels.webhook import Webhook as Channel
from alerts.hooks.base import PermanentFailure
from alerts.hooks.webhook import Webhook as Hook
from alerts.models import Budget
from tests.alerts.test_slack import NOTICE

DOCS = Path(__file__).parents[2] / "docs"
NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)


@contextmanager
def shown(manual: str, handler: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The program of a manual on loopback at `NOW`: its address and its names."""
    (text,) = re.findall(r"```python\n(.+?)```", (DOCS / manual).read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, Any] = {"__name__": "manual"}
    exec(compile(text, manual, "exec"), names)
    names["time"] = SimpleNamespace(time=NOW.timestamp)
    silent = type(handler, (names[handler],), {"log_message": lambda *_: None})
    server = HTTPServer(("127.0.0.1", 0), silent)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", names
    finally:
        server.shutdown()
        server.server_close()
        thread.join(30)


@pytest.fixture(autouse=True)
def may_call_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COSTOBS_PRIVATE_HOSTS", "127.0.0.1")


def test_the_scaler_of_the_manual_goes_to_0_once_and_back() -> None:
    with shown("hooks.md", "Scaler") as (url, names):
        config, secrets = {"url": url, "resource": "vllm"}, {"secret": names["SECRET"].decode()}
        hook = Hook()
        hook.now = NOW
        change = replace(hook.plan(hook.look(config, secrets), 0, config), key="costobs-change-7")

        hook.apply(change, config, secrets)
        hook.apply(change, config, secrets)
        down = hook.look(config, secrets)
        hook.undo(change, config, secrets)

        assert (down.units, down.is_settled) == (0, True)
        assert hook.look(config, secrets).units == 3


def test_the_scaler_of_the_manual_refuses_another_secret() -> None:
    with shown("hooks.md", "Scaler") as (url, names):
        hook = Hook()
        hook.now = NOW

        with pytest.raises(PermanentFailure):
            hook.look({"url": url}, {"secret": "another-secret-of-somebody"})

        assert names["UNITS"] == 3


def test_the_receiver_of_the_manual_keeps_an_alert_once() -> None:
    letter = Letter(7, "budget:1:2026-11-01", True, NOW, "https://costobs.example.com", NOTICE, sent_at=NOW)
    with shown("alerts.md", "Receiver") as (url, names):
        secrets = {"secret": names["SECRET"].decode()}

        Channel().send(letter, {"url": url}, secrets)
        Channel().send(letter, {"url": url}, secrets)
        forged = httpx.post(url, content=b"{}", headers={"X-Costobs-Signature": f"t={int(NOW.timestamp())},v1=0"})

        assert forged.status_code == 401
        (kept,) = names["KEPT"]
        told = re.findall(
            r"`([a-z_]+)`", (DOCS / "alerts.md").read_text().split("POST with JSON:")[1].split("Names stay")[0]
        )
        assert sorted(set(kept) - set(told)) == []
        assert kept["schema"] == "costobs.alert.v1"


@pytest.mark.django_db
def test_the_budgets_of_the_manuals_are_made() -> None:
    texts = [path.read_text(encoding="utf-8") for path in (DOCS.parent / "README.md", *sorted(DOCS.glob("*.md")))]
    lines = [line for text in texts for line in re.findall(r"^ {4}costobs budgets (.+)$", text, re.MULTILINE)]
    acts = [words for words in (shlex.split(line) for line in lines) if words[0] in {"create", "window", "protect"}]

    for words in acts:
        Budget.objects.filter(name="Search").delete()  # several manuals begin with it
        call_command("budgets", *words)

    made = set(Budget.objects.values_list("name", flat=True))
    assert made >= {"Agents", "Chat", "Dev", "Search, hard"}
    assert {words[0] for words in acts} == {"create", "window", "protect"}
