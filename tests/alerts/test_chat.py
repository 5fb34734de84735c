"""Buttons in Slack, over a real socket: who may press what, and that nothing is done twice, late or for a stranger."""

import logging
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import orjson
import pytest
from django.contrib.auth import get_user_model
from django.test import override_settings

from alerts import anomalies, chat, deliver, escalate, evaluate, execute, routes, subscribe
from alerts.models import ActionRun, Alert, Anomaly, Channel, Mute, OpenItem
from costobs.access.chat import Desk
from costobs.access.models import Membership
from costobs.audit.models import AuditEntry
from tests.alerts.conftest import START, Books, at, climb, make_books, make_budget, rung
from tests.alerts.slack_api import APP_TOKEN, BOT_TOKEN, WORKSPACE, SlackApi, press, slack_api, type_name
from tests.servers import child

pytestmark = pytest.mark.django_db(transaction=True)


@dataclass
class Room:
    """A budget that asks, a Slack app that was told, and people."""

    api: SlackApi
    books: Books
    now: datetime

    def post(self) -> dict[str, Any]:
        """The message that was posted last."""
        return self.api.of("chat.postMessage")[-1]

    def button(self, act: str) -> str:
        """The value of a button in the message as it stands."""
        found = [*self.api.of("chat.postMessage"), *self.api.of("chat.update")][-1]
        blocks = orjson.loads(found["blocks"]) if isinstance(found["blocks"], str) else found["blocks"]
        elements = [one for block in blocks if block["type"] == "actions" for one in block["elements"]]
        return str(next(one["value"] for one in elements if one.get("action_id") == act))

    def message(self) -> dict[str, Any]:
        body = self.api.of("chat.postMessage")[0]
        blocks = orjson.loads(body["blocks"]) if isinstance(body["blocks"], str) else body["blocks"]
        return {"ts": "1764000000.000001", "blocks": blocks}


def people() -> None:
    """Ada is finance, Ben leads search, Bea leads support, Cleo has no role."""
    for name, role, teams in (
        ("ada", "finance", []),
        ("ben", "lead", ["search"]),
        ("bea", "lead", ["support"]),
        ("cleo", "none", []),
    ):
        user = get_user_model().objects.create_user(f"{name}@example.com", email=f"{name}@example.com")
        Membership.objects.create(user=user, role=role, teams=teams)


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Iterator[Room]:
    books = make_books()
    people()
    with slack_api() as api, override_settings(COSTOBS_URL="https://cost.example.com"):
        monkeypatch.setenv("COSTOBS_SLACK_API", api.url)
        for name in ("ada", "ben", "bea", "cleo"):
            api.member(f"U{name.upper()}", f"{name}@example.com")
        subscribe.create(
            name="ops",
            kind="slack_app",
            config={"channel": "C0123456789"},
            credentials={"bot_token": BOT_TOKEN, "app_token": APP_TOKEN},
            by="ada",
            now=START,
        )
        found = Room(api, books, at(2))
        stop = threading.Event()
        work = threading.Thread(
            target=chat.serve, kwargs={"desk": Desk(), "stop": stop, "clock": lambda: found.now, "seconds": 0.1}
        )
        work.start()
        try:
            api.wait_connected()
            yield found
        finally:
            stop.set()
            work.join(30)
            assert not work.is_alive()


def asks(room: Room, action: str = "throttle", approval: str = "one") -> ActionRun:
    """A rung asks for approval, and Slack is told."""
    make_budget(rung("75", action, approval))
    room.books.spend(at(2).date(), "800")
    climb(at(2))
    Channel.objects.update(heard_at=at(2))
    assert deliver.run(now=at(2)).sent == 1
    return ActionRun.objects.get()


def refused(room: Room, count: int = 1) -> str:
    return str(room.api.wait_for("chat.postEphemeral", count)[-1]["text"])


def test_it_approves_for_a_lead_of_the_team_and_says_so_in_the_thread(room: Room) -> None:
    run = asks(room)

    press(room.api, "e1", "UBEN", "act_approve", room.button("act_approve"), room.message())

    edited = room.api.wait_for("chat.update", 1)[0]
    run.refresh_from_db()
    assert (run.state, run.decided_by) == ("running", "ben@example.com")
    said = room.post()
    assert said["thread_ts"] == "1764000000.000001"
    assert said["text"].startswith("Approved by ben@example.com: Throttle to 6 requests/min")
    assert '"action_id"' not in str(edited["blocks"]), "the buttons are gone"
    assert "/budgets/" in str(edited["blocks"]), "the links stay"
    assert AuditEntry.objects.filter(act="action.approved", actor="ben@example.com").count() == 1


def test_it_declines_and_undoes(room: Room) -> None:
    run = asks(room)
    press(room.api, "e1", "UADA", "act_approve", room.button("act_approve"), room.message())
    room.api.wait_for("chat.update", 1)
    execute.run(now=at(2))
    run.refresh_from_db()

    press(room.api, "e2", "UADA", "act_undo", f"{run.pk}:v{run.version}", room.message())

    room.api.wait_for("chat.update", 2)
    run.refresh_from_db()
    assert (run.state, run.ended_by) == ("undone", "ada@example.com")
    assert "Undone by ada@example.com" in room.post()["text"]


@pytest.mark.parametrize(
    ("user", "words"),
    [
        ("UBEA", "no such action"),  # of another team: it does not even exist for her
        ("UCLEO", "nobody here is known"),
        ("USTRANGER", "nobody here is known"),
        ("UGUEST", "nobody here is known"),
        ("UNEW", "nobody here is known"),
        ("UBOTTY", "nobody here is known"),
    ],
)
def test_it_refuses_everybody_who_may_not(room: Room, user: str, words: str) -> None:
    run = asks(room)
    room.api.member("USTRANGER", "stranger@example.org")
    room.api.member("UGUEST", "ada@example.com", team_id="T999")  # another workspace, with our address
    room.api.member("UNEW", "ada@example.com", is_email_confirmed=False)
    room.api.member("UBOTTY", "ada@example.com", is_bot=True)

    press(room.api, "e1", user, "act_approve", room.button("act_approve"), room.message())

    assert words in refused(room)
    run.refresh_from_db()
    assert run.state == "waiting_approval"
    assert room.api.of("chat.update") == []


def test_it_says_that_somebody_else_must_agree_who_has_a_role_still(room: Room) -> None:
    run = asks(room, approval="two")
    press(room.api, "e1", "UBEN", "act_approve", room.button("act_approve"), room.message())
    room.api.wait_for("chat.update", 1)
    assert "Nothing changes yet: it waits for 1 more" in room.post()["text"]
    Membership.objects.filter(user__email="ben@example.com").update(teams=["support"])

    press(room.api, "e2", "UADA", "act_approve", f"{run.pk}:v2", room.message())

    room.api.wait_for("chat.update", 2)
    run.refresh_from_db()
    assert run.state == "waiting_approval"
    assert [one.by for one in run.approvals.all()] == ["ada@example.com"]


def test_it_takes_a_second_press_for_nothing(room: Room) -> None:
    run = asks(room)
    value = room.button("act_approve")
    press(room.api, "e1", "UBEN", "act_approve", value, room.message())
    room.api.wait_for("chat.update", 1)

    press(room.api, "e2", "UADA", "act_approve", value, room.message())

    assert "already by ben@example.com" in refused(room)
    assert AuditEntry.objects.filter(act="action.approved").count() == 1
    run.refresh_from_db()
    assert run.decided_by == "ben@example.com"


def test_it_refuses_after_the_request_has_ended_and_after_it_has_changed(room: Room) -> None:
    run = asks(room)
    press(room.api, "e1", "UBEN", "act_approve", f"{run.pk}:v9", room.message())
    assert "has changed" in refused(room)

    room.now = at(4)
    press(room.api, "e2", "UBEN", "act_approve", room.button("act_approve"), room.message())

    assert "expired" in refused(room, 2)
    run.refresh_from_db()
    assert run.state == "waiting_approval"


def test_it_lets_nobody_shut_down_with_one_press(room: Room) -> None:
    run = asks(room, "shutdown")
    press(room.api, "e1", "UBEN", "act_approve", room.button("act_approve"), room.message())
    view = room.api.wait_for("views.open", 1)[0]["view"]
    view = orjson.loads(view) if isinstance(view, str) else view
    type_name(room.api, "e2", "UBEN", view, "search")
    assert "type the name of the budget" in refused(room)
    run.refresh_from_db()
    assert run.state == "waiting_approval"

    type_name(room.api, "e3", "UBEN", view, "Search answers")

    room.api.wait_for("chat.postMessage", 2)
    run.refresh_from_db()
    assert (run.state, run.decided_by) == ("running", "ben@example.com")


def test_it_acknowledges_and_mutes_an_item(room: Room) -> None:
    asks(room)
    press(room.api, "e1", "UBEN", "alert_ack", room.button("alert_ack"), room.message())
    room.api.wait_for("chat.update", 1)
    item = OpenItem.objects.get()
    assert item.acknowledged_by == "ben@example.com"

    press(room.api, "e2", "UBEN", "alert_mute", f"{item.pk}:v{item.version}", room.message())

    room.api.wait_for("chat.update", 2)
    assert Mute.objects.get().muted_by == "ben@example.com"
    press(room.api, "e3", "UBEA", "alert_mute", f"{item.pk}:v{item.version}", room.message())
    assert "no such item" in refused(room)
    assert Mute.objects.count() == 1


def test_it_knows_a_member_by_the_link_of_an_administrator(room: Room) -> None:
    run = asks(room)
    room.api.member("UODD", "private@example.org")
    routes.link_person(workspace=WORKSPACE, member="UODD", account="ada@example.com", by="ada@example.com", now=START)

    press(room.api, "e1", "UODD", "act_decline", room.button("act_decline"), room.message())

    room.api.wait_for("chat.update", 1)
    run.refresh_from_db()
    assert (run.state, run.decided_by) == ("declined", "ada@example.com")


@pytest.mark.parametrize("value", ["", "x", "1:v", "1:v1:v1", "-1:v1", "9" * 60 + ":v1", "99999:v1"])
def test_it_survives_whatever_a_button_says(room: Room, value: str) -> None:
    run = asks(room)

    press(room.api, "e1", "UADA", "act_approve", value, room.message())
    before = 0 if value == "" else len(room.api.wait_for("chat.postEphemeral", 1))
    press(room.api, "e2", "UADA", "no_such_act", f"{run.pk}:v1", room.message())

    assert "does not know that button" in refused(room, before + 1)
    run.refresh_from_db()
    assert run.state == "waiting_approval"


def test_it_connects_again_when_slack_closes_the_socket(room: Room) -> None:
    run = asks(room)

    room.api.drop()
    room.api.wait_connected(2)
    press(room.api, "e1", "UADA", "act_decline", room.button("act_decline"), room.message())

    room.api.wait_for("chat.update", 1)
    run.refresh_from_db()
    assert run.state == "declined"


def test_it_acts_even_when_slack_cannot_be_told(room: Room, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    run = asks(room)
    value = room.button("act_decline")
    room.api.answers["chat.update"] = [(500, {"ok": False, "error": "fatal_error"}, {})]

    press(room.api, "e1", "UADA", "act_decline", value, room.message())

    room.api.wait_for("chat.update", 1)
    run.refresh_from_db()
    assert run.state == "declined"
    assert "verysecret" not in caplog.text


def test_it_leaves_links_where_nothing_listens(room: Room) -> None:
    make_budget(rung("75", "throttle", "one"))
    room.books.spend(at(5).date(), "800")
    evaluate.run(now=at(5))
    escalate.run(now=at(5))
    room.now = at(2)
    Channel.objects.update(heard_at=None, is_active=True)
    Alert.objects.update(raised_at=at(5))

    deliver.run(now=at(5))

    assert "action_id" not in str(room.post()["blocks"])
    assert "/actions/" in str(room.post()["blocks"])


def test_it_hears_in_a_process_of_its_own_and_stops_when_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with slack_api() as api:
        monkeypatch.setenv("COSTOBS_SLACK_API", api.url)
        credentials = {"bot_token": BOT_TOKEN, "app_token": APP_TOKEN}
        subscribe.create(
            name="ops",
            kind="slack_app",
            config={"channel": "C0123456789"},
            credentials=credentials,
            by="ada",
            now=START,
        )
        command = [sys.executable, "-m", "django", "chat", "--skip-checks"]
        with subprocess.Popen(
            command, env=child.environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as process:
            try:
                api.wait_connected()

                process.send_signal(signal.SIGTERM)

                assert process.wait(60) == 0
            finally:
                process.kill()
            assert process.stdout is not None
            assert b"verysecret" not in process.stdout.read()


def odd(room: Room) -> Anomaly:
    """Search leaps on one day, and Slack is told."""
    last, room.now = date(2026, 11, 20), datetime(2026, 11, 21, 6, tzinfo=UTC)
    for back in range(56):
        room.books.spend(last - timedelta(days=back), str(100 + back % 3), team="search")
        room.books.spend(last - timedelta(days=back), str(60 + back % 4), team="support", model="mistral")
    room.books.spend(last, "300", team="search")
    room.books.complete(datetime(2026, 11, 21, tzinfo=UTC))
    anomalies.run(now=room.now, is_asked=True)
    found = Anomaly.objects.get()
    Anomaly.objects.update(scope={"team": "search"}, is_sample=False)
    Channel.objects.update(heard_at=room.now)
    assert deliver.run(now=room.now).sent == 1
    return found


def test_it_takes_an_anomaly_so_that_nobody_else_is_called(room: Room) -> None:
    found = odd(room)

    press(room.api, "e1", "UBEN", "anomaly_ack", room.button("anomaly_ack"), room.message())

    room.api.wait_for("chat.update", 1)
    found.refresh_from_db()
    assert found.acknowledged_by == "ben@example.com"
    assert OpenItem.objects.get().acknowledged_by == "ben@example.com"
    assert "ben@example.com is on it" in room.post()["text"]


def test_it_expects_and_mutes_an_anomaly_once(room: Room) -> None:
    found = odd(room)
    pressed = room.button("anomaly_mute")
    press(room.api, "e1", "UADA", "anomaly_mute", pressed, room.message())
    room.api.wait_for("chat.update", 1)

    press(room.api, "e2", "UADA", "anomaly_expected", pressed, room.message())
    room.api.wait_for("chat.update", 2)
    press(room.api, "e3", "UADA", "anomaly_expected", pressed, room.message())

    assert "closed already" in refused(room)
    found.refresh_from_db()
    assert (found.state, found.outcome) == ("closed", "expected")
    assert found.muted_until == room.now + timedelta(days=7)
    assert OpenItem.objects.get().closed_at == room.now


def test_it_shows_no_anomaly_to_the_lead_of_another_team(room: Room) -> None:
    found = odd(room)

    press(room.api, "e1", "UBEA", "anomaly_ack", room.button("anomaly_ack"), room.message())

    assert "there is no such anomaly" in refused(room)
    found.refresh_from_db()
    assert found.acknowledged_at is None


def test_it_says_who_is_on_an_anomaly_already(room: Room) -> None:
    odd(room)
    pressed = room.button("anomaly_ack")
    press(room.api, "e1", "UBEN", "anomaly_ack", pressed, room.message())
    room.api.wait_for("chat.update", 1)

    press(room.api, "e2", "UADA", "anomaly_ack", pressed, room.message())

    assert "Not done: ben@example.com is on it already, since 21 Nov, 06:00 UTC." in refused(room)
    assert AuditEntry.objects.filter(act="anomaly.acknowledged").count() == 1


def test_it_acts_on_an_anomaly_as_it_is_now_and_not_on_one_that_has_closed(room: Room) -> None:
    found = odd(room)
    pressed = room.button("anomaly_ack")
    Anomaly.objects.update(version=found.version + 3, impact_cost=450)
    press(room.api, "e1", "UBEN", "anomaly_ack", pressed, room.message())
    room.api.wait_for("chat.update", 1)
    assert (
        "ben@example.com is on it. Nobody else is called for it. It is $450 above expected by now."
        in room.post()["text"]
    )
    Anomaly.objects.update(state="closed", outcome="back", closed_at=room.now + timedelta(hours=3))

    for number, act in enumerate(("anomaly_ack", "anomaly_mute", "anomaly_expected"), 2):
        press(room.api, f"e{number}", "UADA", act, pressed, room.message())
        words = refused(room, number - 1)
        assert "Not done: it is closed already, since 21 Nov, 09:00 UTC: back to expected." in words

    found.refresh_from_db()
    assert (found.outcome, found.muted_until, found.acknowledged_by) == ("back", None, "ben@example.com")


def test_it_says_that_an_anomaly_is_muted_already(room: Room) -> None:
    odd(room)
    pressed = room.button("anomaly_mute")
    press(room.api, "e1", "UBEN", "anomaly_mute", pressed, room.message())
    room.api.wait_for("chat.update", 1)

    press(room.api, "e2", "UADA", "anomaly_mute", pressed, room.message())

    assert "it is muted already, until 28 Nov, 06:00 UTC" in refused(room)
