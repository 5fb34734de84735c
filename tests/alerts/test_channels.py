"""Each kind of channel gets exactly the payloads of the golden files; one item is one thread; nothing secret leaves."""

import email
import email.policy
import hashlib
import hmac
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

import orjson
import pytest
from django.test import override_settings

from alerts import anomalies, deliver, escalate, evaluate, execute, feedback, mutes, notices, subscribe
from alerts.models import ActionRun, Alert, AlertDelivery, Anomaly, Budget, Channel, OpenItem, ThreadPosition
from costobs.kernel.period import month as month_of
from tests.alerts.conftest import START, Books, FakeGate, at, climb, make_budget, rung, settle
from tests.alerts.golden import as_json, same_as_golden
from tests.alerts.receivers import Mailbox, SlackServer, mail_server, slack_server
from tests.alerts.slack_api import APP_TOKEN, BOT_TOKEN, SlackApi, slack_api
from tests.alerts.test_deliver import raise_threshold
from tests.alerts.test_slack import NOTICE

pytestmark = pytest.mark.django_db

_SECRETS = ("verysecret", "routingsecret", "hooksecretvalue")
_HOOK_SECRET = "hooksecretvalue-0123"


@dataclass
class Receivers:
    """One server of each kind, each with a channel."""

    mail: Mailbox
    hook: SlackServer
    pager: SlackServer
    slack: SlackServer
    app: SlackApi

    def blocks(self) -> list[dict[str, Any]]:
        """What the app posted and edited, with its blocks read."""
        found = []
        for method, body in self.app.calls:
            blocks = body.get("blocks")
            read = {**body, "blocks": orjson.loads(blocks)} if isinstance(blocks, str) else dict(body)
            found.append({"method": method, **read})
        return found

    def same(self, name: str) -> None:
        """Compares the newest of each with its golden files."""
        message: Any = email.message_from_bytes(
            bytes(self.mail.mails[-1].original_content or b""), policy=email.policy.default
        )
        text = message.get_body(("plain",)).get_content().replace("\r\n", "\n")
        html = message.get_body(("html",)).get_content().replace("\r\n", "\n")
        same_as_golden(f"{name}.mail.txt", f"Subject: {message['Subject']}\n\n{text}")
        same_as_golden(f"{name}.mail.html", html)
        same_as_golden(f"{name}.webhook.json", as_json(self.hook.posts[-1][1]))
        same_as_golden(f"{name}.pagerduty.json", as_json(self.pager.posts[-1][1]))
        same_as_golden(f"{name}.slack_webhook.json", as_json(self.slack.posts[-1][1]))
        same_as_golden(f"{name}.slack_app.json", as_json(self.blocks()))
        self.app.calls.clear()


@pytest.fixture
def receivers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receivers]:
    monkeypatch.setenv("COSTOBS_PRIVATE_HOSTS", "127.0.0.1")
    with (
        mail_server() as mail,
        slack_server() as hook,
        slack_server() as pager,
        slack_server() as slack,
        slack_api() as app,
    ):
        monkeypatch.setenv("COSTOBS_SLACK_API", app.url)
        kinds: tuple[tuple[str, dict[str, Any], dict[str, str] | None], ...] = (
            ("email", {"to": ["finance@example.com"]}, None),
            ("webhook", {"url": f"http://127.0.0.1:{hook.port}/in"}, {"secret": _HOOK_SECRET}),
            ("pagerduty", {"url": f"http://127.0.0.1:{pager.port}/v2/enqueue"}, {"routing_key": "routingsecret"}),
            ("slack", {}, {"webhook_url": slack.url}),
            ("slack_app", {"channel": "C0123456789"}, {"bot_token": BOT_TOKEN, "app_token": APP_TOKEN}),
        )
        for kind, config, credentials in kinds:
            subscribe.create(name=kind, kind=kind, config=config, credentials=credentials, by="ada", now=START)
        Channel.objects.update(heard_at=START + timedelta(days=365))
        with override_settings(
            EMAIL_BACKEND="django.core.mail.backends.smtp.EmailBackend",
            EMAIL_HOST=mail.host,
            EMAIL_PORT=mail.port,
            EMAIL_HOST_USER="",
            EMAIL_USE_TLS=False,
            DEFAULT_FROM_EMAIL="costobs@example.com",
            COSTOBS_URL="https://cost.example.com",
        ):
            yield Receivers(mail, hook, pager, slack, app)


def told(now: Any, count: int = 5) -> None:
    assert deliver.run(now=now) == deliver.Delivered(count, 0, 0, 0)


def test_it_tells_of_a_threshold_on_every_kind(books: Books, receivers: Receivers) -> None:
    raise_threshold(books)

    told(at(21, 6, 43))

    receivers.same("threshold")


def test_it_tells_of_a_forecast_over(books: Books, receivers: Receivers) -> None:
    make_budget(rung("100", "notify", on="forecast"), amount="20000")
    for day in range(1, 11):
        books.spend(at(day).date(), "900")
    books.complete(at(11, 0))
    climb(at(11, 6))

    told(at(11, 6, 1))

    receivers.same("forecast_over")


def test_it_tells_of_an_anomaly_and_of_its_end_in_one_thread(books: Books, receivers: Receivers) -> None:
    make_budget(owner_email="ada@example.com", amount="3000")
    last = at(20).date()
    for back in range(56):
        books.spend(last - timedelta(days=back), str(100 + back % 3), team="search")
        books.spend(last - timedelta(days=back), str(60 + back % 4), team="support", model="mistral")
    books.spend(last, "300", team="search")
    books.complete(at(21, 0))
    evaluate.run(now=at(21, 6))
    anomalies.run(now=at(21, 6), is_asked=True)

    told(at(21, 6, 1))
    receivers.same("anomaly")

    feedback.acknowledge(anomaly_id=Anomaly.objects.get().pk, version=None, by="ben@example.com", now=at(21, 6, 30))
    told(at(21, 6, 31), count=3)
    assert receivers.pager.posts[-1][1]["event_action"] == "acknowledge"
    same_as_golden("anomaly_acknowledged.pagerduty.json", as_json(receivers.pager.posts[-1][1]))
    same_as_golden("anomaly_acknowledged.webhook.json", as_json(receivers.hook.posts[-1][1]))
    assert len(receivers.mail.mails) == 1, "who only reads is not told"

    row = Anomaly.objects.get()
    feedback.say(
        anomaly_id=row.pk, version=row.version, kind="expected", by="ada@example.com", now=at(21, 7), ends_at=at(28)
    )
    told(at(21, 7, 1))
    receivers.same("anomaly_ended")
    assert ThreadPosition.objects.values("thread").distinct().count() == 1
    assert [body["event_action"] for _, body in receivers.pager.posts] == ["trigger", "acknowledge", "resolve"]


def test_it_tells_the_story_of_an_action_from_the_question_to_its_end(
    books: Books, gate: FakeGate, receivers: Receivers
) -> None:
    make_budget(rung("75", "throttle", "one"))
    books.spend(at(2).date(), "800")
    climb(at(2))
    told(at(2))
    receivers.same("approval")

    run = ActionRun.objects.get()
    execute.approve(run_id=run.pk, version=run.version, by="ben@example.com", now=at(2, 13))
    execute.run(now=at(2, 13))
    settle(gate, at(2, 13))
    told(at(2, 13, 1))
    receivers.same("in_force")

    run.refresh_from_db()
    execute.undo(run_id=run.pk, by="ada@example.com", now=at(2, 14))
    told(at(2, 14))
    receivers.same("undone")
    assert OpenItem.objects.get().closed_at == at(2, 14)


def test_it_tells_of_an_action_that_has_no_effect(books: Books, gate: FakeGate, receivers: Receivers) -> None:
    make_budget(rung("75", "throttle"))
    books.spend(at(2).date(), "800")
    climb(at(2))
    told(at(2))
    receivers.app.calls.clear()
    execute.run(now=at(2, 12, 2))

    told(at(2, 12, 2))

    receivers.same("failed")


def test_it_tells_when_spend_is_back_under(books: Books, gate: FakeGate, receivers: Receivers) -> None:
    make_budget(rung("75", "throttle"))
    books.spend(at(2).date(), "800")
    climb(at(2))
    settle(gate, at(2))
    told(at(2, 12, 1))
    receivers.app.calls.clear()
    books.clear()
    books.spend(at(2).date(), "100")
    for hour in (13, 14, 15):
        evaluate.run(now=at(2, hour))
        escalate.run(now=at(2, hour))

    told(at(2, 15))

    receivers.same("back_under")
    event = receivers.pager.posts[-1][1]
    assert (event["event_action"], event["dedup_key"]) == ("resolve", receivers.pager.posts[0][1]["dedup_key"])


def test_it_edits_one_message_and_answers_in_its_thread(books: Books, gate: FakeGate, receivers: Receivers) -> None:
    make_budget(rung("75", "throttle", "one"))
    books.spend(at(2).date(), "800")
    climb(at(2))
    told(at(2))
    execute.decline(run_id=ActionRun.objects.get().pk, version=1, by="ada", now=at(2, 13))
    notices.raise_alert(
        kind="budget_threshold", budget=Budget.objects.get(), run=None, notice=NOTICE, key="more",
        period=month_of(at(2).date()), now=at(2, 14),
    )  # fmt: skip

    told(at(2, 14))

    methods = [method for method, _ in receivers.app.calls]
    assert methods == ["chat.postMessage", "chat.update", "chat.postMessage"]
    first, edited, answer = (body for _, body in receivers.app.calls)
    assert "thread_ts" not in first
    assert edited["ts"] == answer["thread_ts"] == "1764000000.000001"


def test_it_begins_again_when_the_message_was_deleted(books: Books, receivers: Receivers) -> None:
    say("1", state="over", impact="100", day=2)
    told(at(2))
    receivers.app.answers["chat.update"] = [(200, {"ok": False, "error": "message_not_found"}, {})]
    say("2", state="worse", impact="100", day=3)

    told(at(3))

    assert [method for method, _ in receivers.app.calls] == ["chat.postMessage", "chat.update", "chat.postMessage"]
    assert ThreadPosition.objects.get(channel__kind="slack_app").ref == "1764000000.000002"


def say(key: str, *, state: str, impact: str, day: int) -> None:
    notices.raise_alert(
        kind="anomaly", budget=None, run=None, notice=NOTICE, key=key, thread="anomaly:1", now=at(day), state=state,
        impact=Decimal(impact),
    )  # fmt: skip


def test_it_repeats_itself_only_on_a_change_of_state_or_half_as_much_again(receivers: Receivers) -> None:
    heard = []
    for number, (state, impact) in enumerate(
        [("open", "100"), ("open", "149"), ("open", "150"), ("open", "200"), ("worse", "200")], start=2
    ):
        say(str(number), state=state, impact=impact, day=number)
        deliver.run(now=at(number))
        heard.append((len(receivers.slack.posts), len(receivers.mail.mails), len(receivers.app.of("chat.postMessage"))))

    assert heard == [(1, 1, 1), (1, 1, 1), (2, 2, 2), (2, 2, 2), (3, 3, 3)]
    assert len(receivers.app.of("chat.update")) == 4, "the first message follows every change"
    assert AlertDelivery.objects.filter(state="folded").count() == 8


def test_it_signs_what_it_posts_and_repeats_it_with_the_same_key(receivers: Receivers) -> None:
    say("1", state="open", impact="1", day=2)
    receivers.hook.answers.append((503, {}))
    deliver.run(now=at(2))
    deliver.run(now=at(2, 13))

    (first, body), (second, _) = receivers.hook.raw

    assert first["Idempotency-Key"] == second["Idempotency-Key"] == f"costobs-alert-{Alert.objects.get().pk}"
    seconds, _, mark = first["X-Costobs-Signature"].partition(",v1=")
    signed = seconds.removeprefix("t=").encode() + b"." + body
    assert mark == hmac.new(_HOOK_SECRET.encode(), signed, hashlib.sha256).hexdigest()
    assert int(seconds.removeprefix("t=")) == int(at(2).timestamp())


def test_it_keeps_one_incident_for_one_item(receivers: Receivers) -> None:
    say("1", state="open", impact="1", day=2)
    deliver.run(now=at(2))
    mutes.acknowledge(item_id=OpenItem.objects.get().pk, by="ben@example.com", now=at(2, 13))
    deliver.run(now=at(2, 13))
    notices.raise_alert(
        kind="anomaly_ended", budget=None, run=None, notice=NOTICE, key="end", thread="anomaly:1", now=at(2, 14)
    )
    deliver.run(now=at(2, 14))

    events = [body for _, body in receivers.pager.posts]

    assert [one["event_action"] for one in events] == ["trigger", "acknowledge", "resolve"]
    assert {one["dedup_key"] for one in events} == {"anomaly:1"}
    assert all(len(one["payload"]["summary"]) <= 1024 for one in events)
    assert len(receivers.mail.mails) == 2, "mail hears of the beginning and the end"


@pytest.mark.parametrize(
    ("status", "content", "outcome"),
    [
        (200, {"ok": False, "error": "channel_not_found"}, "failed"),
        (200, {"ok": False, "error": "token_revoked"}, "failed"),
        (200, {"ok": False, "error": "fatal_error"}, "retried"),
        (503, {"ok": False}, "retried"),
        (429, {"ok": False, "error": "ratelimited"}, "retried"),
    ],
)
def test_it_judges_what_slack_answers(receivers: Receivers, status: int, content: dict[str, Any], outcome: str) -> None:
    Channel.objects.exclude(kind="slack_app").delete()
    say("1", state="open", impact="1", day=2)
    receivers.app.answers["chat.postMessage"] = [(status, content, {"Retry-After": "40"} if status == 429 else {})]

    done = deliver.run(now=at(2))

    assert getattr(done, outcome) == 1
    delivery = AlertDelivery.objects.get()
    assert Channel.objects.get().last_error == delivery.error != ""
    if status == 429:
        assert delivery.next_attempt_at == at(2) + timedelta(seconds=40)


def test_it_lets_no_secret_out_whatever_breaks(
    receivers: Receivers, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    say("1", state="open", impact="1", day=2)
    for server in (receivers.hook, receivers.pager, receivers.slack):
        server.answers += [(500, {}), (404, {})]
    receivers.app.answers["chat.postMessage"] = [(500, {"error": f"bad token {BOT_TOKEN}"}, {})]
    for hour in (12, 13, 14):
        deliver.run(now=at(2, hour))
    Channel.objects.create(
        name="dead",
        kind="pagerduty",
        config={"url": "http://127.0.0.1:1/"},
        credentials={"routing_key": "routingsecret"},
    )
    Channel.objects.create(name="lost", kind="slack_app", config={}, credentials={"bot_token": BOT_TOKEN})
    AlertDelivery.objects.all().delete()
    deliver.run(now=at(2, 15))

    bodies = [raw for server in (receivers.hook, receivers.slack) for _, raw in server.raw]
    sent = str(bodies) + str(receivers.app.calls) + str([mail.original_content for mail in receivers.mail.mails])
    kept = str([*Alert.objects.values(), *AlertDelivery.objects.values(), *Channel.objects.values("last_error")])
    written = caplog.text + "".join(capfd.readouterr()) + kept + sent
    assert not [secret for secret in _SECRETS if secret in written]
    assert AlertDelivery.objects.filter(state="failed").count() >= 1


@pytest.mark.parametrize(
    ("kind", "config", "credentials", "words"),
    [
        ("email", {}, None, "to"),
        ("email", {"cc": []}, None, "cc"),
        ("webhook", {"url": "ftp://x/"}, {"secret": "x" * 20}, "url"),
        ("webhook", {"url": "http://127.0.0.1/"}, {"secret": "x" * 20}, "url"),
        ("webhook", {"url": "https://93.184.215.14/"}, {"secret": "short"}, "secret"),
        ("pagerduty", {}, {}, "routing_key"),
        ("slack_app", {"channel": "#general"}, {"bot_token": "xoxb-1", "app_token": "xapp-1"}, "channel"),
        ("slack_app", {"channel": "C1"}, {"bot_token": "xoxp-1", "app_token": "xapp-1"}, "bot_token"),
        ("slack_app", {"channel": "C1"}, {"bot_token": "xoxb-1"}, "app_token"),
        ("telegraph", {}, None, "telegraph"),
    ],
)
def test_it_refuses_a_channel_that_could_not_work(
    kind: str, config: dict[str, Any], credentials: dict[str, str] | None, words: str
) -> None:
    with pytest.raises(subscribe.Invalid, match=words):
        subscribe.create(name="x", kind=kind, config=config, credentials=credentials, by="ada", now=START)

    assert Channel.objects.count() == 0


def test_it_sends_a_test_and_says_what_went_wrong(receivers: Receivers) -> None:
    hook = Channel.objects.get(kind="webhook")

    subscribe.test(channel_id=hook.pk, by="ada@example.com", base_url="https://cost.example.com", now=at(2))
    receivers.hook.answers.append((403, {}))
    with pytest.raises(subscribe.NotArrived, match="403"):
        subscribe.test(channel_id=hook.pk, by="ada@example.com", base_url="https://cost.example.com", now=at(3))

    assert receivers.hook.posts[0][1]["topic"] == "test"
    hook.refresh_from_db()
    assert "403" in hook.last_error
    assert Alert.objects.count() == 0
