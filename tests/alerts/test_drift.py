"""Drift of estimates from bills: told once when it opens and once when it ends, in exactly the words of the golden files."""

import email
import email.policy
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.test import override_settings

from alerts import deliver, drift, subscribe
from alerts.models import Alert, AlertDelivery, DriftItem
from attribution.models import DriftThreshold, ReconciledCause, ReconciledCell
from ingest.models import Source
from tests.alerts.conftest import at_once
from tests.alerts.golden import as_json, same_as_golden
from tests.alerts.receivers import mail_server, slack_server

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 21, 6, 40, tzinfo=UTC)
DAY = date(2026, 11, 3)


@pytest.fixture(autouse=True)
def _real_source(db: None) -> None:
    Source.objects.create(kind="usage_log", name="app", created_at=NOW)


def compared(provider: str = "OpenAI", *, day: date = DAY, billed: str = "1000", **causes: str) -> None:
    """One cell of a day: what was billed, and why it is not what was estimated."""
    difference = sum((Decimal(amount) for amount in causes.values()), Decimal(0))
    cell = ReconciledCell.objects.create(
        day=day,
        provider=provider,
        account="north",
        model="gpt-4o",
        token_kind="output",
        currency="USD",
        is_billed=True,
        logged_tokens=1000,
        billed_tokens=1000,
        estimated_cost=Decimal(billed) - difference,
        **dict.fromkeys(("billed_cost", "effective_cost", "list_cost", "contracted_cost"), Decimal(billed)),
        covered_cost=Decimal(billed) - Decimal(causes.get("bypass", "0")),
    )
    for cause, amount in causes.items():
        ReconciledCause.objects.create(cell=cell, day=day, cause=cause, amount=Decimal(amount), tokens=0)


def titles() -> list[str]:
    return list(Alert.objects.order_by("pk").values_list("title", flat=True))


def test_it_tells_once_when_a_provider_passes_its_threshold() -> None:
    compared(bypass="50", price="-8")

    assert drift.run(now=NOW) == drift.Drifted(1, 0)
    assert drift.run(now=NOW + timedelta(minutes=1)) == drift.Drifted(0, 0)

    assert titles() == ["OpenAI, Nov 2026: estimates are $42 (4.2 %) below the bill"]


def test_it_says_nothing_of_small_shares_and_of_small_amounts() -> None:
    compared(billed="100000", bypass="1500")
    compared("Anthropic", billed="20", bypass="9")

    assert drift.run(now=NOW) == drift.Drifted(0, 0)


def test_it_leaves_out_what_the_bill_adds_by_itself() -> None:
    compared(credit="-300", tax="190", discount="-100")

    assert drift.run(now=NOW) == drift.Drifted(0, 0)


def test_it_tells_of_unknown_differences_that_cancel_out() -> None:
    compared(unknown="60")
    compared(day=DAY + timedelta(days=1), unknown="-60")

    assert drift.run(now=NOW) == drift.Drifted(1, 0)


def test_it_ends_when_back_under_the_threshold_and_opens_again_as_a_new_episode() -> None:
    compared(bypass="50")
    drift.run(now=NOW)

    ReconciledCell.objects.all().delete()
    compared(bypass="5")
    ended = drift.run(now=NOW + timedelta(hours=1))
    ReconciledCell.objects.all().delete()
    compared(bypass="70")
    again = drift.run(now=NOW + timedelta(hours=2))

    assert (ended, again) == (drift.Drifted(0, 1), drift.Drifted(1, 0))
    assert titles() == [
        "OpenAI, Nov 2026: estimates are $50 (5.0 %) below the bill",
        "OpenAI, Nov 2026: estimates agree with the bill again, $5 apart",
        "OpenAI, Nov 2026: estimates are $70 (7.0 %) below the bill",
    ]
    assert list(DriftItem.objects.order_by("episode").values_list("episode", "closed_at")) == [
        (1, NOW + timedelta(hours=1)),
        (2, None),
    ]
    assert len(set(Alert.objects.values_list("thread", flat=True))) == 1


def test_it_takes_the_threshold_of_the_provider_before_that_of_all_others() -> None:
    compared(bypass="50")
    DriftThreshold.objects.create(provider="OpenAI", percent=10, amount=1, set_by="ada", set_at=NOW)

    assert drift.run(now=NOW) == drift.Drifted(0, 0)


def test_it_tells_nobody_while_all_sources_are_the_samples() -> None:
    Source.objects.update(is_sample=True)
    compared(bypass="50")

    assert drift.run(now=NOW) == drift.Drifted(0, 0)


def test_it_has_one_item_for_each_provider_and_month() -> None:
    compared(bypass="50")
    compared("Google Cloud", bypass="60")
    compared(day=date(2026, 10, 30), bypass="70")
    compared(day=date(2026, 6, 30), bypass="70")  # too long ago to tell

    assert drift.run(now=NOW) == drift.Drifted(3, 0)

    assert len(set(Alert.objects.values_list("thread", flat=True))) == 3
    assert not any(" " in thread for thread in Alert.objects.values_list("thread", flat=True))


@pytest.mark.django_db(transaction=True)
def test_it_tells_once_when_two_run_at_once() -> None:
    compared(bypass="50")

    raised = at_once(lambda: drift.run(now=NOW), lambda: drift.run(now=NOW))

    assert raised == []
    assert Alert.objects.count() == DriftItem.objects.count() == 1


@pytest.fixture
def receivers(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, Any]]:
    monkeypatch.setenv("COSTOBS_PRIVATE_HOSTS", "127.0.0.1")
    with slack_server() as slack, mail_server() as box:
        subscribe.create(name="finance", kind="email", config={"to": ["finance@example.com"]}, by="ada", now=NOW)
        subscribe.create(name="ops", kind="slack", credentials={"webhook_url": slack.url}, by="ada", now=NOW)
        with override_settings(
            EMAIL_BACKEND="django.core.mail.backends.smtp.EmailBackend",
            EMAIL_HOST=box.host,
            EMAIL_PORT=box.port,
            EMAIL_HOST_USER="",
            EMAIL_USE_TLS=False,
            DEFAULT_FROM_EMAIL="costobs@example.com",
            COSTOBS_URL="https://cost.example.com",
        ):
            yield box, slack


def test_it_sends_exactly_this_mail_and_these_blocks(receivers: tuple[Any, Any]) -> None:
    box, slack = receivers
    compared(billed="24000", bypass="1310.25", price="-88", credit="-500", unknown="12")
    drift.run(now=NOW)

    assert deliver.run(now=NOW + timedelta(seconds=2)).sent == 2

    message: Any = email.message_from_bytes(bytes(box.mails[-1].original_content or b""), policy=email.policy.default)
    text = message.get_body(("plain",)).get_content().replace("\r\n", "\n")
    ((_path, body),) = slack.posts
    assert message["Subject"] == "OpenAI, Nov 2026: estimates are $1,234 (5.1 %) below the bill"
    assert " " not in message["References"]
    same_as_golden("drift.txt", text)
    same_as_golden("drift.slack.json", as_json(body))
    assert set(AlertDelivery.objects.values_list("state", flat=True)) == {"sent"}
