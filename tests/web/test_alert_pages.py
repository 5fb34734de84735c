"""Alerts on pages: set up by administrators alone, seen by teams for their own, and acted on only by POST."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.contrib.auth import get_user_model
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import Page

from alerts import budgets, deliver, mutes, notices, remind, routes, subscribe
from alerts.models import (
    Alert,
    AlertDelivery,
    Budget,
    Channel,
    DigestSchedule,
    EscalationStep,
    Mute,
    OpenItem,
    QuietHours,
    Route,
)
from costobs.access.models import Membership
from costobs.audit.models import AuditEntry
from costobs.kernel.period import month
from tests.alerts.receivers import SlackServer, slack_server
from tests.alerts.test_slack import NOTICE
from tests.web import reading
from tests.web.conftest import signed_in

pytestmark = pytest.mark.django_db

SECRET = "verysecrettoken"


@pytest.fixture
def slack(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlackServer]:
    monkeypatch.setenv("COSTOBS_PRIVATE_HOSTS", "127.0.0.1")
    with slack_server() as server:
        yield server


@pytest.fixture
def dana(db: None, clock: None) -> Client:
    return signed_in("dana@example.com", "admin")


def told(team: str = "search", key: str = "1", kind: str = "budget_threshold") -> Alert:
    """An alert about a budget of a team."""
    now = timezone.now()
    budget = Budget.objects.filter(name=f"Budget of {team}").first()
    if budget is None:
        pk = budgets.create(
            name=f"Budget of {team}", scope={"team": [team]}, amount="100", currency="USD", period="month", rungs=[],
            by="ada", now=now,
        )  # fmt: skip
        budget = Budget.objects.get(pk=pk)
    notices.raise_alert(kind=kind, budget=budget, run=None, notice=NOTICE, key=key, period=month(now.date()), now=now)
    return Alert.objects.get(dedupe_key=key)


def channel(slack: SlackServer, name: str = "ops") -> int:
    return subscribe.create(
        name=name, kind="slack", credentials={"webhook_url": slack.url}, by="ada", now=timezone.now()
    )


def test_it_says_what_is_missing_before_anything_is_set_up(dana: Client) -> None:
    said = reading.words(reading.shown(dana, reverse("settings_alerts")))

    for words in ("No channel: nobody is told", "Nobody is told yet", "No routes are set up", "Nothing is escalated",
                  "No quiet hours", "Nothing is muted", "No digest is set up", "Nobody is linked"):  # fmt: skip
        assert words in said
    assert "Nothing was told yet" in reading.words(reading.shown(dana, reverse("alerts")))


def test_it_sets_up_tests_pauses_and_removes_a_channel(dana: Client, slack: SlackServer) -> None:
    chosen = reading.words(reading.shown(dana, reverse("channel_new")))
    for kind in ("E-mail", "PagerDuty events", "Slack webhook", "Slack app", "Webhook"):
        assert kind in chosen
    made = dana.post(f"{reverse('channel_new')}?kind=slack", {"name": "ops", "of_webhook_url": slack.url})
    assert made.status_code == 302
    pk = Channel.objects.get().pk

    for verb in ("test", "pause", "resume"):
        assert dana.post(reverse("channel_decide", args=[pk, verb])).status_code == 302
    page = reading.shown(dana, reverse("settings_alerts")).content.decode()

    assert len(slack.posts) == 1
    assert SECRET not in page
    assert "1 of 1 channels active, none fails" in page
    assert dana.post(reverse("channel_decide", args=[pk, "remove"])).status_code == 302
    assert Channel.objects.count() == 0
    assert dana.post(reverse("channel_decide", args=[pk, "test"])).status_code == 404


def test_it_shows_why_a_channel_cannot_be_made_and_keeps_no_secret_on_the_page(dana: Client) -> None:
    url = f"{reverse('channel_new')}?kind=webhook"

    answer = dana.post(url, {"name": "x", "of_url": "http://10.0.0.1/", "of_secret": SECRET})

    assert answer.status_code == 400
    assert "private address" in answer.content.decode()
    assert SECRET not in answer.content.decode()


def test_it_shows_the_last_error_of_a_channel(dana: Client, slack: SlackServer) -> None:
    pk = channel(slack)
    slack.answers.append((404, {}))

    dana.post(reverse("channel_decide", args=[pk, "test"]))

    said = reading.words(reading.shown(dana, reverse("settings_alerts")))
    assert "ops fails" in said
    assert "Slack answered 404" in said


@pytest.mark.parametrize(
    ("what", "given", "model"),
    [
        ("route", {"audience": "team", "team": "search", "least_severity": "info", "topics": ["budget"]}, Route),
        ("step", {"severity": "high", "after_minutes": "10"}, EscalationStep),
        ("quiet", {"begins": "22:00", "ends": "07:00", "zone": "Europe/Berlin"}, QuietHours),
        (
            "digest",
            {"name": "Week", "audience": "finance", "period": "week", "zone": "UTC", "hour": "8"},
            DigestSchedule,
        ),
    ],
)
def test_it_adds_and_refuses_with_the_mistake_beside_the_field(
    dana: Client, slack: SlackServer, what: str, given: dict[str, Any], model: Any
) -> None:
    pk, url = channel(slack), reverse("settings_alert_add", args=[what])
    wrong = {**given, "channel_id": "999"}
    assert dana.post(url, wrong).status_code == 400
    assert model.objects.count() == 0

    assert dana.post(url, {**given, "channel_id": pk}).status_code == 302

    assert model.objects.count() == 1
    assert given.get("team", "ops") in reading.words(reading.shown(dana, reverse("settings_alerts")))
    if what != "digest":
        assert dana.post(reverse("settings_alert_remove", args=[what, model.objects.get().pk])).status_code == 302
        assert model.objects.count() == 0
    assert dana.post(reverse("settings_alert_add", args=["x"]), {}).status_code == 404


def test_it_previews_tests_and_removes_a_digest(dana: Client, slack: SlackServer) -> None:
    pk = channel(slack)
    dana.post(
        reverse("settings_alert_add", args=["digest"]),
        {"name": "W", "audience": "engineering", "period": "month", "zone": "UTC", "hour": "8", "channel_id": pk},
    )
    digest = DigestSchedule.objects.get().pk

    said = reading.words(reading.shown(dana, f"{reverse('digest_preview')}?audience=engineering&period=month"))
    assert "October 2026: $0" in said
    assert "Nothing was sent" in said
    assert dana.get(f"{reverse('digest_preview')}?audience=x").status_code == 404
    for verb in ("test", "pause", "resume"):
        assert dana.post(reverse("digest_decide", args=[digest, verb])).status_code == 302
    deliver.run(now=timezone.now())
    assert len(slack.posts) == 1
    assert dana.post(reverse("digest_decide", args=[digest, "remove"])).status_code == 302
    assert DigestSchedule.objects.count() == 0


_ACTS = (
    ("settings_alert_add", ["route"]),
    ("settings_alert_remove", ["route", 1]),
    ("channel_decide", [1, "test"]),
    ("digest_decide", [1, "test"]),
)


@pytest.mark.parametrize(("name", "args"), _ACTS)
def test_it_lets_only_administrators_change_settings(
    ada: Client, ben: Client, cleo: Client, dana: Client, name: str, args: list[Any]
) -> None:
    url = reverse(name, args=args)

    assert [one.post(url).status_code for one in (ada, ben, cleo)] == [403, 403, 403]
    assert dana.get(url).status_code == 405
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(get_user_model().objects.get(email="dana@example.com"))
    assert strict.post(url).status_code == 403
    assert ada.post(reverse("channel_new")).status_code == 403
    assert [one.get(reverse("settings_alerts")).status_code for one in (ada, ben, cleo)] == [200, 403, 403]
    assert ben.get(reverse("digest_preview")).status_code == 403
    assert not AuditEntry.objects.exists()


def test_it_shows_a_lead_the_alerts_of_own_teams_and_why(ben: Client, slack: SlackServer) -> None:
    own, other = told("search"), told("support", "2")
    channel(slack)
    deliver.run(now=timezone.now())

    said = reading.words(reading.shown(ben, reverse("alerts")))
    assert "Budget of search" in said
    assert "support" not in said
    page = reading.words(reading.shown(ben, reverse("alert", args=[own.pk])))
    assert "Why am I getting this" in page
    assert "No routes are set up, so every alert goes to every channel." in page
    assert ben.get(reverse("alert", args=[other.pk])).status_code == 404
    for verb in ("ack", "mute", "unmute", "resend"):
        assert ben.post(reverse("alert_decide", args=[other.pk, verb])).status_code == 404


def test_it_takes_mutes_and_unmutes_by_post_alone(ben: Client) -> None:
    alert = told()
    item = OpenItem.objects.get()
    for verb in ("ack", "mute", "unmute", "resend"):
        assert ben.get(reverse("alert_decide", args=[alert.pk, verb])).status_code == 405
    assert OpenItem.objects.get().acknowledged_at is None

    assert ben.post(reverse("alert_decide", args=[alert.pk, "ack"]), {"version": item.version}).status_code == 302
    again = ben.post(reverse("alert_decide", args=[alert.pk, "ack"]), {"version": item.version})
    assert again.status_code == 409
    assert "has it already" in again.content.decode()
    given = {"about": "team=search", "hours": "24", "reason": "planned test"}
    wrong = {**given, "about": "team=support"}
    assert ben.post(reverse("alert_decide", args=[alert.pk, "mute"]), wrong).status_code == 400
    assert ben.post(reverse("alert_decide", args=[alert.pk, "mute"]), given).status_code == 302
    assert Mute.objects.get().muted_by == "ben@example.com"
    assert "planned test" in reading.words(reading.shown(ben, reverse("alert", args=[alert.pk])))
    assert ben.post(reverse("alert_decide", args=[alert.pk, "unmute"])).status_code == 302
    assert mutes.mutes(now=timezone.now()) == []
    assert ben.post(reverse("alert_decide", args=[alert.pk, "resend"])).status_code == 403


def test_it_sends_an_alert_again_only_on_its_own_channel(dana: Client, slack: SlackServer) -> None:
    alert, other = told(), told("support", "2")
    channel(slack)
    deliver.run(now=timezone.now())
    mine = AlertDelivery.objects.get(alert=alert).pk
    url = reverse("alert_decide", args=[other.pk, "resend"])

    for number in ("", "x", "9" * 30, str(mine)):
        dana.post(f"{url}?delivery={number}")
    assert AlertDelivery.objects.filter(state="waiting").count() == 0
    dana.post(f"{reverse('alert_decide', args=[alert.pk, 'resend'])}?delivery={mine}")

    assert AlertDelivery.objects.filter(state="waiting").count() == 1


def test_it_says_that_nobody_was_told_while_there_is_no_channel(dana: Client) -> None:
    told()

    assert "1 alert, and nobody was told" in reading.words(reading.shown(dana, reverse("alerts")))


def test_it_gives_the_log_as_a_file_with_what_a_viewer_may_see(ben: Client, slack: SlackServer) -> None:
    own, _ = told("search"), told("support", "2")
    channel(slack)
    deliver.run(now=timezone.now())

    page = reading.shown(ben, f"{reverse('alerts')}?topic=budget")
    answer = ben.get(f"{reverse('alerts')}?topic=budget&format=csv")

    assert "?state=&amp;topic=budget&amp;format=csv" in page.content.decode()
    head, *rows = answer.content.decode().splitlines()
    assert head == "alert,raised_at,topic,severity,budget,title,told_on"
    assert [row.split(",")[0] for row in rows] == [str(own.pk)]
    assert "Budget of search" in rows[0]


def test_it_shows_a_finding_for_what_did_not_arrive(dana: Client, slack: SlackServer) -> None:
    told()
    channel(slack)
    slack.answers.append((404, {}))
    deliver.run(now=timezone.now())

    assert "1 alert, 1 did not arrive everywhere" in reading.words(reading.shown(dana, reverse("alerts")))
    assert "1 alert" in reading.words(reading.shown(dana, f"{reverse('alerts')}?state=failed&topic=budget"))
    assert "No alert is muted" in reading.words(reading.shown(dana, f"{reverse('alerts')}?state=muted"))


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_is_clean_in_both_themes(
    live_server: object, browser_page: Page, slack: SlackServer, theme: str, tmp_path: Any
) -> None:
    user = get_user_model().objects.create_user("dana@example.com", email="dana@example.com")
    Membership.objects.create(user=user, role="admin")
    now = timezone.now()
    pk = channel(slack)
    routes.add_route(audience="fallback", channel_id=pk, by="dana", now=now)
    routes.add_step(severity="high", after_minutes=10, channel_id=pk, by="dana", now=now)
    alert = told(kind="action_failed")
    remind.run(now=now + timedelta(minutes=11))
    deliver.run(now=now)
    mutes.mute(about="team", subject="support", until=now + timedelta(days=1), reason="known", by="dana", now=now)
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    cookie = {"name": "sessionid", "value": client.cookies["sessionid"].value, "url": str(live_server)}
    browser_page.context.add_cookies([cookie])  # type: ignore[list-item]  # a TypedDict
    paths = (
        reverse("settings_alerts"), reverse("channel_new"), f"{reverse('channel_new')}?kind=slack_app",
        f"{reverse('digest_preview')}?audience=finance&period=month", reverse("alerts"), reverse("alert", args=[alert.pk]),
    )  # fmt: skip

    for number, path in enumerate(paths):
        browser_page.goto(f"{live_server}{path}")
        browser_page.evaluate("theme => { document.documentElement.dataset.theme = theme }", theme)
        browser_page.screenshot(path=str(tmp_path / f"{number}-{theme}.png"), full_page=True)
        found = Axe().run(browser_page)
        assert found.violations_count == 0, (path, found.generate_report())
        assert browser_page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
