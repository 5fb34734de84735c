"""Who is told: routes, the next in the chain, quiet hours and mutes, with the clock as an argument."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest

from alerts import deliver, mutes, notices, remind, routes, routing, subscribe, told
from alerts.models import ActionRun, Alert, AlertDelivery, Budget, Channel, EscalationStep, Mute, OpenItem, QuietHours
from costobs.audit.models import AuditEntry
from costobs.kernel.period import month
from tests.alerts.conftest import START, Books, at, at_once, climb, make_budget, rung
from tests.alerts.receivers import SlackServer, slack_server
from tests.alerts.test_slack import NOTICE

pytestmark = pytest.mark.django_db

NOW = at(2)


@pytest.fixture
def slack(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlackServer]:
    monkeypatch.setenv("COSTOBS_PRIVATE_HOSTS", "127.0.0.1")
    with slack_server() as server:
        yield server


@pytest.fixture
def channels(slack: SlackServer) -> dict[str, int]:
    """A channel for each audience; all lead to one server."""
    return {
        name: subscribe.create(name=name, kind="slack", credentials={"webhook_url": slack.url}, by="ada", now=START)
        for name in ("owner", "search", "everyone", "finance", "oncall")
    }


def route(audience: str, channel_id: int, **given: Any) -> None:
    routes.add_route(audience=audience, channel_id=channel_id, by="ada", now=START, **given)


def say(
    kind: str = "budget_threshold", *, tone: str = "watch", key: str = "1", budget: bool = True, now: datetime = NOW
) -> Alert:
    """One alert about the budget, or about none."""
    notices.raise_alert(
        kind=kind,
        budget=Budget.objects.first() if budget else None,
        run=None,
        notice=replace(NOTICE, tone=tone),
        key=key,
        period=month(now.date()),
        thread="" if budget else "other:1",
        now=now,
    )
    return Alert.objects.get(dedupe_key=key)


def names(alert: Alert) -> list[str]:
    found = {one.pk: one.name for one in Channel.objects.all()}
    return sorted(found[one.channel_id] for one in routing.targets(alert))


def test_it_tells_every_channel_while_no_routes_are_set(channels: dict[str, int]) -> None:
    make_budget(owner_email="ada@example.com")

    assert len(names(say())) == 5
    assert {one.reason for one in routing.targets(Alert.objects.get())} == {routing.NO_ROUTES}


def test_it_tells_the_owner_else_the_team_else_the_fallback(channels: dict[str, int]) -> None:
    make_budget(owner_email="ada@example.com")
    alert = say()
    for audience, channel in (("fallback", "everyone"), ("team", "search"), ("owner", "owner")):
        route(audience, channels[channel], **({"team": "search"} if audience == "team" else {}))
        assert names(alert) == [channel]

    Budget.objects.update(owner_email="")
    assert names(Alert.objects.get()) == ["search"]
    Budget.objects.update(scope={"team": ["support"]})
    assert names(Alert.objects.get()) == ["everyone"]


def test_it_spares_finance_the_spikes_and_calls_on_call_for_traffic(channels: dict[str, int]) -> None:
    make_budget()
    for audience, channel in (("fallback", "everyone"), ("finance", "finance"), ("on_call", "oncall")):
        route(audience, channels[channel])

    assert names(say("budget_threshold", key="1")) == ["everyone"]
    assert names(say("action_failed", key="2", tone="over")) == ["everyone", "oncall"]
    assert names(say("drift", key="3", budget=False)) == ["everyone", "finance"]
    assert names(say("anomaly", key="4", budget=False)) == ["everyone"]


def test_it_tells_nothing_to_nobody(channels: dict[str, int]) -> None:
    make_budget()
    route("finance", channels["finance"])
    route("on_call", channels["oncall"], least_severity="critical")

    found = routing.targets(say("action_failed", tone="over"))

    assert len(found) == 5
    assert {one.reason for one in found} == {routing.NO_MATCH}


def test_it_writes_down_why_each_channel_was_told(channels: dict[str, int]) -> None:
    make_budget(owner_email="ada@example.com")
    route("owner", channels["owner"])
    alert = say()
    deliver.run(now=at(2))

    found = told.alert(alert_id=alert.pk, teams=("search",), now=at(2))

    assert [(one.channel, one.state) for one in found.line.deliveries] == [("owner", "sent")]
    assert "The owner of the budget, ada@example.com" in found.line.deliveries[0].reason


def test_it_shows_a_lead_only_alerts_about_own_teams(channels: dict[str, int]) -> None:
    make_budget()
    alert = say()
    say("drift", key="2", budget=False)

    assert [one.id for one in told.log(teams=("search", "support"))] == [alert.pk]
    assert told.log(teams=("support",)) == told.log(teams=()) == []
    assert len(told.log(teams=None)) == 2
    with pytest.raises(told.NotFound):
        told.alert(alert_id=alert.pk, teams=("support",), now=at(2))
    Budget.objects.update(scope={"model": ["llama"]})
    assert told.log(teams=("search",)) == []


def test_it_escalates_step_by_step_until_somebody_has_it(channels: dict[str, int], slack: SlackServer) -> None:
    make_budget()
    route("fallback", channels["everyone"])
    for minutes, channel in ((10, "search"), (30, "oncall")):
        routes.add_step(severity="high", after_minutes=minutes, channel_id=channels[channel], by="ada", now=START)
    say(tone="over")

    raised = [remind.run(now=at(2, 12, minute)) for minute in (0, 9, 10, 11, 29)]
    assert raised == [0, 0, 1, 0, 0]
    mutes.acknowledge(item_id=OpenItem.objects.get().pk, by="ben@example.com", now=at(2, 12, 29))
    assert remind.run(now=at(2, 12, 40)) == 0

    deliver.run(now=at(2, 12, 40))
    by_channel = [one["text"] for _, one in slack.posts]
    assert by_channel == ["Budget Search: 76 % used", "Not acknowledged for 10 min: Budget Search: 76 % used"]
    assert AuditEntry.objects.get(act="alert.acknowledged").actor == "ben@example.com"


def test_it_waits_for_somebody_again_when_it_has_become_graver(channels: dict[str, int]) -> None:
    make_budget()
    routes.add_step(severity="critical", after_minutes=5, channel_id=channels["oncall"], by="ada", now=START)
    say(tone="over")
    mutes.acknowledge(item_id=OpenItem.objects.get().pk, by="ben", now=at(2))
    say(tone="stop", key="2", now=at(2, 13))

    assert OpenItem.objects.get().acknowledged_at is None
    assert remind.run(now=at(2, 13, 5)) == 1


def test_it_calls_nobody_for_what_was_answered_or_is_over(books: Books, channels: dict[str, int]) -> None:
    make_budget(rung("75", "throttle", "one"))
    books.spend(at(2).date(), "800")
    climb(at(2))
    routes.add_step(severity="high", after_minutes=5, channel_id=channels["oncall"], by="ada", now=START)
    ActionRun.objects.update(state="declined")
    assert remind.run(now=at(2, 12, 10)) == 0

    ActionRun.objects.update(state="waiting_approval")
    say("action_ended", key="end", tone="ok", now=at(2, 12, 5))
    assert remind.run(now=at(2, 12, 10)) == 0
    assert OpenItem.objects.get().closed_at == at(2, 12, 5)


@pytest.mark.django_db(transaction=True)
def test_it_escalates_once_when_two_workers_look(channels: dict[str, int]) -> None:
    make_budget()
    routes.add_step(severity="high", after_minutes=5, channel_id=channels["oncall"], by="ada", now=START)
    say(tone="over")

    raised = at_once(*[lambda: remind.run(now=at(2, 12, 5))] * 3)

    assert raised == []
    assert Alert.objects.filter(kind="escalated").count() == 1
    assert AlertDelivery.objects.filter(alert__kind="escalated").count() == 1


@pytest.mark.parametrize("about", ["thread", "budget", "team"])
def test_it_keeps_quiet_about_what_is_muted_until_it_ends(
    channels: dict[str, int], slack: SlackServer, about: str
) -> None:
    pk = make_budget()
    alert = say()
    subject = {"thread": alert.thread, "budget": str(pk), "team": "search"}[about]
    mutes.mute(about=about, subject=subject, until=at(3), reason="known", by="ben", now=at(2))

    deliver.run(now=at(2))
    assert slack.posts == []
    assert AlertDelivery.objects.filter(state="muted", error="muted by ben: known").count() == 5

    say(key="2", now=at(3))
    assert deliver.run(now=at(3)).sent == 5


def test_it_tells_what_is_critical_however_muted(channels: dict[str, int], slack: SlackServer) -> None:
    pk = make_budget()
    mutes.mute(about="budget", subject=str(pk), until=at(9), reason="known", by="ben", now=at(2))
    say(tone="stop")

    assert deliver.run(now=at(2)).sent == 5


def test_it_speaks_again_when_somebody_ends_a_mute(channels: dict[str, int]) -> None:
    pk = make_budget()
    mute = mutes.mute(about="budget", subject=str(pk), until=at(9), reason="known", by="ben", now=at(2))
    assert [one.words for one in mutes.mutes(now=at(2))] == ["Budget Search answers"]

    assert mutes.unmute(mute_id=mute, by="ada", now=at(3))
    assert not mutes.unmute(mute_id=mute, by="ada", now=at(3))

    say(now=at(3))
    assert deliver.run(now=at(3)).sent == 5
    assert mutes.mutes(now=at(3)) == []
    assert Mute.objects.get().ended_by == "ada"


@pytest.mark.parametrize(
    ("given", "words"),
    [({"reason": " "}, "why"), ({"until": at(1)}, "past"), ({"until": at(1) + timedelta(days=200)}, "90 days"),
     ({"about": "world"}, "expected"), ({"subject": ""}, "expected")],
)  # fmt: skip
def test_it_refuses_a_mute_without_end_or_reason(given: dict[str, Any], words: str) -> None:
    values: dict[str, Any] = {"about": "team", "subject": "search", "until": at(3), "reason": "known", **given}

    with pytest.raises(mutes.Invalid, match=words):
        mutes.mute(**values, by="ben", now=at(2))

    assert Mute.objects.count() == 0


def test_it_holds_what_can_wait_until_quiet_hours_end(channels: dict[str, int], slack: SlackServer) -> None:
    make_budget()
    Channel.objects.exclude(pk=channels["owner"]).delete()
    routes.set_quiet(
        zone="Europe/Berlin", begins=time(22), ends=time(7), channel_id=channels["owner"], by="ada", now=START
    )
    night = datetime(2026, 11, 2, 23, 0, tzinfo=UTC)  # midnight in Berlin
    say(now=night)

    assert deliver.run(now=night) == deliver.Delivered(0, 0, 0, 0)
    assert AlertDelivery.objects.get().next_attempt_at == datetime(2026, 11, 3, 6, 0, tzinfo=UTC)
    assert AlertDelivery.objects.get().attempts == 0
    assert deliver.run(now=datetime(2026, 11, 3, 5, 59, tzinfo=UTC)).sent == 0
    assert deliver.run(now=datetime(2026, 11, 3, 6, 0, tzinfo=UTC)).sent == 1


def test_it_tells_no_end_before_what_was_tried_of_its_beginning(channels: dict[str, int], slack: SlackServer) -> None:
    make_budget()
    Channel.objects.exclude(pk=channels["owner"]).delete()
    say("action_failed", key="begins", now=NOW)
    slack.answers.append((500, {}))
    deliver.run(now=NOW)
    say("action_ended", key="ends", now=NOW + timedelta(seconds=1))

    overtaken = deliver.run(now=NOW + timedelta(seconds=2)).sent
    in_order = deliver.run(now=NOW + timedelta(seconds=30)).sent

    assert (overtaken, in_order) == (0, 2)


def test_it_wakes_people_for_traffic_and_for_what_is_critical(channels: dict[str, int], slack: SlackServer) -> None:
    make_budget()
    Channel.objects.exclude(pk=channels["owner"]).delete()
    routes.set_quiet(zone="UTC", begins=time(22), ends=time(7), channel_id=channels["owner"], by="ada", now=START)
    night = at(2, 23)
    say("action_waiting", key="1", now=night)
    say(key="2", tone="stop", now=night)

    assert deliver.run(now=night).sent == 2


@pytest.mark.parametrize(
    ("begins", "ends", "clock", "inside"),
    [(22, 7, 23, True), (22, 7, 3, True), (22, 7, 7, False), (22, 7, 12, False), (9, 17, 9, True), (9, 17, 17, False)],
)
def test_it_knows_the_hours_of_the_zone(begins: int, ends: int, clock: int, inside: bool) -> None:
    hours = QuietHours(zone="UTC", begins=time(begins), ends=time(ends))

    found = routing.window_end(hours, at(2, clock))

    assert (found is not None) == inside
    assert found is None or (found.hour == ends and found > at(2, clock))


def test_it_ends_after_now_in_the_hour_that_a_clock_change_repeats() -> None:
    hours = QuietHours(zone="Europe/Berlin", begins=time(22), ends=time(2, 30))
    first, second = (datetime(2026, 10, 25, hour, 15, tzinfo=UTC) for hour in (0, 1))  # 02:15, twice

    assert routing.window_end(hours, first) == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert routing.window_end(hours, second) == datetime(2026, 10, 25, 1, 30, tzinfo=UTC)


def test_it_refuses_what_cannot_be_set_up(channels: dict[str, int]) -> None:
    one = channels["owner"]
    wrong: list[tuple[Any, dict[str, Any], str]] = [
        (routes.add_route, {"audience": "all", "channel_id": one}, "audience"),
        (routes.add_route, {"audience": "team", "channel_id": 0}, "channel_id"),
        (routes.add_route, {"audience": "team", "channel_id": one, "topic_names": ["x"]}, "topics"),
        (routes.add_step, {"severity": "high", "after_minutes": 0, "channel_id": one}, "after_minutes"),
        (routes.add_step, {"severity": "x", "after_minutes": 5, "channel_id": one}, "severity"),
        (routes.set_quiet, {"zone": "Moon", "begins": time(1), "ends": time(2), "channel_id": one}, "zone"),
        (routes.set_quiet, {"zone": "../etc", "begins": time(1), "ends": time(2), "channel_id": one}, "zone"),
        (routes.set_quiet, {"zone": "UTC", "begins": time(1), "ends": time(1), "channel_id": one}, "ends"),
        (routes.set_quiet, {"zone": "UTC", "begins": time(1), "ends": time(2)}, "channel_id"),
        (routes.link_person, {"workspace": "T1", "member": "", "account": "a"}, "member"),
    ]
    for step, given, field in wrong:
        with pytest.raises(routes.Invalid) as caught:
            step(**given, by="ada", now=START)
        assert field in caught.value.errors, given

    assert EscalationStep.objects.count() == QuietHours.objects.count() == 0
    assert not AuditEntry.objects.exclude(act="channel.created").exists()


def test_it_sends_an_alert_once_more_when_asked(channels: dict[str, int], slack: SlackServer) -> None:
    make_budget()
    Channel.objects.exclude(pk=channels["owner"]).delete()
    say()
    deliver.run(now=at(2))
    delivery = AlertDelivery.objects.get()

    assert mutes.resend(delivery_id=delivery.pk, by="ada", now=at(9))
    assert not mutes.resend(delivery_id=delivery.pk, by="ada", now=at(9))

    assert deliver.run(now=at(9)).sent == 1
    assert len(slack.posts) == 2
