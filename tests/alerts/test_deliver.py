"""Telling people: exactly the payloads of the golden files, once each, with retries that end and no secret anywhere."""

import email
import email.policy
import logging
from collections.abc import Iterator
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import override_settings

from alerts import deliver, execute, subscribe
from alerts.channels.base import truncated
from alerts.models import ActionRun, Alert, AlertDelivery, Channel
from costobs.audit.models import AuditEntry
from tests.alerts.conftest import START, Books, FakeGate, at, at_once, climb, make_budget, rung, settle
from tests.alerts.golden import as_json, same_as_golden
from tests.alerts.receivers import Mailbox, SlackServer, mail_server, slack_server
from tests.alerts.test_slack import NOTICE

pytestmark = pytest.mark.django_db

SECRET = "verysecrettoken"
LADDER = (rung("60", "notify"), rung("75", "throttle"), rung("110", "shutdown", "one"))


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with (
        mail_server() as box,
        override_settings(
            EMAIL_BACKEND="django.core.mail.backends.smtp.EmailBackend",
            EMAIL_HOST=box.host,
            EMAIL_PORT=box.port,
            EMAIL_HOST_USER="",
            EMAIL_USE_TLS=False,
            DEFAULT_FROM_EMAIL="costobs@example.com",
            COSTOBS_URL="https://cost.example.com",
        ),
    ):
        subscribe.create(name="finance", kind="email", config={"to": ["finance@example.com"]}, by="ada", now=START)
        yield box


@pytest.fixture
def slack(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlackServer]:
    monkeypatch.setenv("COSTOBS_PRIVATE_HOSTS", "127.0.0.1")
    with slack_server() as server, override_settings(COSTOBS_URL="https://cost.example.com"):
        subscribe.create(name="ops", kind="slack", credentials={"webhook_url": server.url}, by="ada", now=START)
        yield server


def raise_threshold(books: Books) -> Alert:
    """One alert as the ladder raises it."""
    make_budget(*LADDER, owner_email="ada@example.com", amount="24000")
    for day in range(1, 21):
        books.spend(at(day).date(), "900", model="llama-3.1-8b")
    books.spend(at(21).date(), "400", model="qwen-2.5-7b")
    books.complete(at(21, 6, 40))
    climb(at(21, 6, 42))
    return Alert.objects.get()


def parts(box: Mailbox) -> tuple[Any, str, str]:
    message: Any = email.message_from_bytes(bytes(box.mails[-1].original_content or b""), policy=email.policy.default)
    text = message.get_body(("plain",)).get_content().replace("\r\n", "\n")
    html = message.get_body(("html",)).get_content().replace("\r\n", "\n")
    return message, text, html


def test_it_sends_exactly_this_mail(books: Books, mailbox: Mailbox) -> None:
    alert = raise_threshold(books)

    assert deliver.run(now=at(21, 6, 43)).sent == 1

    message, text, html = parts(mailbox)
    assert message["Subject"] == (
        "Budget Search answers: 76.7 % used with 68 % of November gone; forecast $27k of $24,000"
    )
    assert mailbox.mails[0].rcpt_tos == ["finance@example.com"]
    assert message["Message-ID"] == f"<alert.{alert.pk}@cost.example.com>"
    assert message["References"] == f"<budget.{alert.budget_id}.2026-11-01@cost.example.com>"
    same_as_golden("threshold.mail.txt", f"Subject: {message['Subject']}\n\n{text}")
    same_as_golden("threshold.mail.html", html)


def test_it_sends_mail_that_shows_without_style_sheets(books: Books, mailbox: Mailbox) -> None:
    raise_threshold(books)
    deliver.run(now=at(21, 6, 43))

    _message, _text, html = parts(mailbox)

    assert 'width="600"' in html
    assert 'style="' in html
    assert "<script" not in html and "<img" not in html
    assert 'bgcolor="#1f5fbf"' in html


def test_it_sends_exactly_these_blocks(books: Books, slack: SlackServer) -> None:
    raise_threshold(books)

    assert deliver.run(now=at(21, 6, 43)).sent == 1

    ((path, body),) = slack.posts
    assert path == "/services/T000/B000/verysecrettoken"
    same_as_golden("threshold.slack_webhook.json", as_json(body))


def test_it_asks_for_approval_with_a_link_and_not_with_a_button_that_acts(books: Books, slack: SlackServer) -> None:
    make_budget(rung("75", "shutdown", "one"))
    books.spend(at(2).date(), "800")
    climb(at(2))

    deliver.run(now=at(2))

    body = slack.posts[0][1]
    run = ActionRun.objects.get()
    assert body["text"] == (
        "Approve? Shut down for team search (80.0 % used ≥ 75 % of $1,000). Expires 3 Nov, 12:00 UTC"
    )
    elements = body["blocks"][3]["elements"]
    assert elements[0]["url"] == f"https://cost.example.com/actions/{run.pk}/?version=1"
    assert all(set(element) <= {"type", "text", "url", "style"} for element in elements)


def test_it_keeps_one_thread_for_one_budget_and_period(books: Books, gate: FakeGate, mailbox: Mailbox) -> None:
    make_budget(rung("75", "throttle"))
    books.spend(at(2).date(), "800")
    climb(at(2))
    settle(gate, at(2))
    execute.undo(run_id=ActionRun.objects.get().pk, by="ben", now=at(2, 13))

    assert deliver.run(now=at(2, 13)).sent == 2

    first, second = (
        email.message_from_bytes(bytes(mail.original_content or b""), policy=email.policy.default)
        for mail in mailbox.mails
    )
    assert first["References"] == second["References"]
    assert first["Message-ID"] != second["Message-ID"]
    assert second["Subject"] == "Undone by ben: throttle to 6 requests/min for team search"


def test_it_sends_each_alert_once_on_each_channel(books: Books, mailbox: Mailbox, slack: SlackServer) -> None:
    raise_threshold(books)

    sent = [deliver.run(now=at(21, 7, minute)).sent for minute in range(3)]

    assert sent == [2, 0, 0]
    assert (len(mailbox.mails), len(slack.posts)) == (1, 1)


def test_it_goes_on_when_somebody_asks_it_to_wait_for_ever(books: Books, slack: SlackServer) -> None:
    raise_threshold(books)
    slack.answers.append((429, {"Retry-After": "9" * 30}))

    assert deliver.run(now=at(21, 7)).retried == 1
    assert AlertDelivery.objects.get().next_attempt_at == at(22, 7)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_it_tries_again_when_slack_is_in_trouble(books: Books, slack: SlackServer, status: int) -> None:
    raise_threshold(books)
    slack.answers.append((status, {"Retry-After": "30"} if status == 429 else {}))
    now = at(21, 7)

    assert deliver.run(now=now).retried == 1
    assert deliver.run(now=now + timedelta(seconds=9)) == deliver.Delivered(0, 0, 0, 0)
    if status == 429:
        assert deliver.run(now=now + timedelta(seconds=29)).sent == 0
    assert deliver.run(now=now + timedelta(seconds=30)).sent == 1

    assert AlertDelivery.objects.get().attempts == 2
    assert len(slack.posts) == 2


@pytest.mark.parametrize("status", [400, 403, 404, 410])
def test_it_gives_up_when_the_webhook_is_gone(books: Books, slack: SlackServer, status: int) -> None:
    raise_threshold(books)
    slack.answers.append((status, {}))

    assert deliver.run(now=at(21, 7)).failed == 1
    assert deliver.run(now=at(21, 9)) == deliver.Delivered(0, 0, 0, 0)

    assert str(status) in AlertDelivery.objects.get().error


def test_it_does_not_follow_a_redirect(books: Books, slack: SlackServer) -> None:
    raise_threshold(books)
    slack.answers.append((302, {"Location": f"http://127.0.0.1:{slack.port}/elsewhere"}))

    assert deliver.run(now=at(21, 7)).failed == 1
    assert [path for path, _ in slack.posts] == ["/services/T000/B000/verysecrettoken"]


def test_it_does_not_call_private_addresses_unless_they_are_listed(
    books: Books, slack: SlackServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    raise_threshold(books)
    monkeypatch.delenv("COSTOBS_PRIVATE_HOSTS")

    assert deliver.run(now=at(21, 7)).failed == 1
    assert slack.posts == []


@pytest.mark.parametrize(("answer", "outcome"), [("451 later", "retried"), ("554 never", "failed")])
def test_it_judges_what_the_mail_server_says(books: Books, mailbox: Mailbox, answer: str, outcome: str) -> None:
    raise_threshold(books)
    mailbox.answer = answer

    done = deliver.run(now=at(21, 7))

    assert getattr(done, outcome) == 1


def test_it_leaves_a_failing_channel_alone_and_serves_the_others(
    books: Books, mailbox: Mailbox, slack: SlackServer
) -> None:
    raise_threshold(books)
    make_budget(rung("1", "notify"), name="second", scope={"model": ["qwen-2.5-7b"]})
    climb(at(21, 6, 42))
    slack.answers += [(500, {})] * 5

    done = deliver.run(now=at(21, 7))

    assert (done.sent, done.retried) == (2, 1)
    assert len(slack.posts) == 1


def test_it_stops_trying_after_a_day(books: Books, slack: SlackServer) -> None:
    raise_threshold(books)
    slack.answers += [(500, {})] * 100
    now = at(21, 7)

    for _ in range(60):
        deliver.run(now=now)
        now += timedelta(minutes=30)

    delivery = AlertDelivery.objects.get()
    assert delivery.state == "expired"
    assert 20 < len(slack.posts) < 50


def test_it_does_not_send_history(books: Books, slack: SlackServer) -> None:
    raise_threshold(books)

    assert deliver.run(now=at(23)) == deliver.Delivered(0, 0, 0, 0)
    assert slack.posts == []


def test_it_takes_over_the_claim_of_a_worker_that_died(books: Books, slack: SlackServer) -> None:
    raise_threshold(books)
    channel = Channel.objects.get()
    AlertDelivery.objects.create(
        alert=Alert.objects.get(),
        channel=channel,
        state="sending",
        attempts=1,
        next_attempt_at=at(21, 7) + deliver.CLAIM,
    )

    assert deliver.run(now=at(21, 7)).sent == 0
    assert deliver.run(now=at(21, 7) + deliver.CLAIM).sent == 1


@pytest.mark.django_db(transaction=True)
def test_it_shares_the_work_between_workers_and_sends_nothing_twice(slack: SlackServer) -> None:
    for number in range(10):
        notice = asdict(NOTICE)
        Alert.objects.create(dedupe_key=str(number), kind="budget_threshold", payload=notice, raised_at=at(2))

    raised = at_once(*([lambda: deliver.run(now=at(2))] * 4))

    assert raised == []
    assert len(slack.posts) == 10
    assert set(AlertDelivery.objects.values_list("state", "attempts")) == {("sent", 1)}


def test_it_keeps_sample_alerts_from_real_channels(books: Books, slack: SlackServer) -> None:
    make_budget(rung("75", "notify"), is_sample=True)
    books.spend(at(2).date(), "800")
    climb(at(2))

    deliver.run(now=at(2))

    assert slack.posts == []


def test_it_never_lets_a_secret_out(
    books: Books, slack: SlackServer, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    raise_threshold(books)
    slack.answers += [(500, {}), (404, {})]
    deliver.run(now=at(21, 7))
    deliver.run(now=at(21, 8))
    Channel.objects.create(name="dead", kind="slack", credentials={"webhook_url": f"http://127.0.0.1:1/{SECRET}"})
    Channel.objects.create(name="odd", kind="slack", credentials={"webhook_url": f"ftp://{SECRET}/"})
    AlertDelivery.objects.all().delete()
    deliver.run(now=at(21, 9))
    with pytest.raises(subscribe.Invalid) as caught:
        subscribe.create(
            name="bad", kind="slack", credentials={"webhook_url": f"nowhere/{SECRET}"}, by="ada", now=START
        )

    kept = [*Alert.objects.values(), *AlertDelivery.objects.values(), *AuditEntry.objects.values()]
    written = caplog.text + "".join(capfd.readouterr()) + str(kept) + str(caught.value)
    assert AlertDelivery.objects.filter(state="waiting", error__contains="ConnectError").count() == 1
    assert SECRET not in written
    with connection.cursor() as cursor:
        cursor.execute("SELECT string_agg(encode(credentials, 'escape'), ' ') FROM alerts_channel")
        assert SECRET not in cursor.fetchone()[0]


def test_it_cuts_text_between_words_and_within_the_limit() -> None:
    assert truncated("short", 10) == "short"
    assert truncated("one two three four", 12) == "one two…"
    assert truncated("x" * 400, 150) == "x" * 149 + "…"
