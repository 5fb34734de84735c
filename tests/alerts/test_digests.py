"""Review packs: each period once, at its hour in its zone, for finance and for engineering, with the figures of the pages."""

import email
import email.policy
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from django.db import connection
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from alerts import deliver, digests, subscribe
from alerts.models import Alert, DigestIssue, DigestSchedule
from attribution import queries as spend_queries
from costobs.kernel import fmt
from costobs.kernel.period import Days
from costobs.kernel.scope import SpendScope
from tests.alerts.conftest import START, Books, at, at_once, climb, make_books, make_budget, rung
from tests.alerts.golden import as_json, same_as_golden
from tests.alerts.receivers import Mailbox, SlackServer, mail_server, slack_server
from tests.alerts.slack_api import broken_limits

pytestmark = pytest.mark.django_db

MONDAY = datetime(2026, 11, 16, 7, 0, tzinfo=UTC)  # 08:00 in Berlin


@pytest.fixture
def receivers(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Mailbox, SlackServer]]:
    monkeypatch.setenv("COSTOBS_PRIVATE_HOSTS", "127.0.0.1")
    with mail_server() as mail, slack_server() as slack:
        subscribe.create(name="mail", kind="email", config={"to": ["finance@example.com"]}, by="ada", now=START)
        subscribe.create(name="slack", kind="slack", credentials={"webhook_url": slack.url}, by="ada", now=START)
        with override_settings(
            EMAIL_BACKEND="django.core.mail.backends.smtp.EmailBackend",
            EMAIL_HOST=mail.host,
            EMAIL_PORT=mail.port,
            EMAIL_HOST_USER="",
            EMAIL_USE_TLS=False,
            DEFAULT_FROM_EMAIL="costobs@example.com",
            COSTOBS_URL="https://cost.example.com",
        ):
            yield mail, slack


def fill(books: Books) -> None:
    """Two weeks, the second dearer, and two budgets."""
    for day in range(2, 9):
        books.spend(at(day).date(), "100")
        books.spend(at(day).date(), "20", team="support", model="qwen")
    for day in range(9, 16):
        books.spend(at(day).date(), "150")
        books.spend(at(day).date(), "10", team="support", model="qwen")
    books.complete(datetime(2026, 11, 16, tzinfo=UTC))
    make_budget(rung("100", "notify"), amount="2000")
    make_budget(rung("100", "notify"), name="Support", scope={"team": ["support"]}, amount="5000")
    climb(datetime(2026, 11, 16, 6, 59, tzinfo=UTC))


def schedule(**given: Any) -> int:
    wanted = given.pop("channel", "mail")
    channel = next(one.id for one in subscribe.channels() if one.name == wanted)
    values = {"name": "Week", "audience": "finance", "period": "week", "zone": "Europe/Berlin", **given}
    return digests.create(**values, channel_id=channel, by="ada", now=at(12))


def test_it_is_sent_once_at_its_hour_in_its_zone(books: Books, receivers: tuple[Mailbox, SlackServer]) -> None:
    fill(books)
    schedule()

    made = [len(digests.run(now=now)) for now in (at(15), MONDAY.replace(minute=0, hour=6), MONDAY, MONDAY, at(17))]

    assert made == [0, 0, 1, 0, 0]
    assert DigestIssue.objects.get().period_start == at(9).date()
    assert deliver.run(now=MONDAY).sent == 1


@pytest.mark.django_db(transaction=True)
def test_it_is_made_once_by_two_workers() -> None:
    fill(make_books())
    subscribe.create(name="mail", kind="email", config={"to": ["finance@example.com"]}, by="ada", now=START)
    schedule()

    raised = at_once(*[lambda: digests.run(now=MONDAY)] * 3)

    assert raised == []
    assert Alert.objects.filter(kind="digest").count() == DigestIssue.objects.count() == 1


@pytest.mark.parametrize("audience", ["finance", "engineering"])
def test_it_sends_exactly_this_pack(books: Books, receivers: tuple[Mailbox, SlackServer], audience: str) -> None:
    mail, slack = receivers
    fill(books)
    schedule(audience=audience)
    schedule(name="Slack", audience=audience, channel="slack")

    digests.run(now=MONDAY)
    deliver.run(now=MONDAY)

    message: Any = email.message_from_bytes(bytes(mail.mails[-1].original_content or b""), policy=email.policy.default)
    text = message.get_body(("plain",)).get_content().replace("\r\n", "\n")
    html = message.get_body(("html",)).get_content().replace("\r\n", "\n")
    same_as_golden(f"digest_{audience}.mail.txt", f"Subject: {message['Subject']}\n\n{text}")
    same_as_golden(f"digest_{audience}.mail.html", html)
    ((_path, body),) = slack.posts
    same_as_golden(f"digest_{audience}.slack.json", as_json(body))
    assert broken_limits(body["blocks"]) == []
    assert message["List-Unsubscribe"] == "<https://cost.example.com/settings/alerts/>"


def test_it_tells_the_total_that_a_page_with_the_same_days_shows(books: Books) -> None:
    fill(books)
    week = SpendScope(Days(at(9).date(), at(16).date()), (), "effective", "USD", None)

    found = digests.preview(audience="finance", period="week", now=MONDAY, zone="Europe/Berlin")

    assert fmt.money(spend_queries.total(scope=week).cost) in found.first_line
    assert found.first_line.startswith("Week 46: $1,120 (+33.3 % on week 45).")


def test_it_tells_a_team_nothing_of_another(books: Books) -> None:
    fill(books)

    for audience in digests.AUDIENCES:
        found = digests.preview(audience=audience, period="week", now=MONDAY, teams=["support"])
        said = orjson.dumps([str(found)]).decode()
        assert "of support: $70.00" in found.first_line or "of support: $70" in found.first_line
        assert "Search answers" not in said and "llama" not in said and "search" not in said
        assert "Reconciliation" not in said and "Month close" not in said


@pytest.mark.parametrize("period", ["week", "month", "quarter"])
def test_it_has_something_to_say_without_any_data(period: str) -> None:
    for audience in digests.AUDIENCES:
        found = digests.preview(audience=audience, period=period, now=MONDAY)
        assert "$0" in found.first_line
        assert all(one.rows or one.lead for one in found.sections)


def test_it_asks_the_database_as_often_for_many_budgets_as_for_some(books: Books) -> None:
    asked = []
    for first, last in ((0, 6), (6, 26)):
        for number in range(first, last):
            make_budget(rung("60", "notify"), name=f"budget {number}", scope={"team": ["search"]}, period="week")
        with CaptureQueriesContext(connection) as found:
            digests.preview(audience="finance", period="week", now=MONDAY)
        asked.append(len(found))

    assert asked[0] == asked[1]


def test_it_sends_nothing_for_what_was_due_before_it_was_set_up_or_while_it_was_paused(books: Books) -> None:
    subscribe.create(name="mail", kind="email", config={"to": ["finance@example.com"]}, by="ada", now=START)
    pk = schedule()
    digests.pause(schedule_id=pk, is_active=False, by="ada", now=at(13))
    assert digests.run(now=MONDAY) == []
    digests.pause(schedule_id=pk, is_active=True, by="ada", now=at(17))

    assert digests.run(now=at(18)) == []
    assert digests.run(now=datetime(2026, 11, 23, 7, 0, tzinfo=UTC)) != []


def test_it_sends_a_test_that_counts_for_nothing(books: Books, receivers: tuple[Mailbox, SlackServer]) -> None:
    fill(books)
    pk = schedule()

    assert digests.send_test(schedule_id=pk, by="ada", now=at(15))
    deliver.run(now=at(15))

    assert DigestIssue.objects.count() == 0
    assert Alert.objects.get(kind="digest").title.startswith("Test: Week 45")
    assert len(receivers[0].mails) == 1
    assert not digests.send_test(schedule_id=0, by="ada", now=at(15))


@pytest.mark.parametrize(
    ("given", "field"),
    [({"name": " "}, "name"), ({"audience": "x"}, "audience"), ({"period": "day"}, "period"), ({"zone": "Moon"}, "zone"),
     ({"hour": 24}, "hour")],
)  # fmt: skip
def test_it_refuses_a_schedule_that_could_not_work(given: dict[str, Any], field: str) -> None:
    subscribe.create(name="mail", kind="email", config={"to": ["finance@example.com"]}, by="ada", now=START)

    with pytest.raises(digests.Invalid) as caught:
        schedule(**given)

    assert list(caught.value.errors) == [field]
    assert DigestSchedule.objects.count() == 0
