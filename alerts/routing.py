"""Which channels get an alert and why, whether it is muted, and until when it can wait: one answer for sending and for pages."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django.db.models import Q

from alerts import topics
from alerts.models import Alert, Anomaly, Channel, Mute, QuietHours, Route, ThreadPosition

NO_ROUTES = "No routes are set up, so every alert goes to every channel."
NO_MATCH = "No route takes it, and what nobody takes goes to every channel."
_ANOMALY = "anomaly:"


@dataclass(frozen=True, slots=True)
class Target:
    """A channel that gets an alert, and why in words."""

    channel_id: int
    reason: str


def targets(alert: Alert) -> list[Target]:
    """The channels of an alert by the routes as they are now.

    The owner of its budget is told; where there is no owner or no such route, the team; where there is no team's route, the
    fallback. Finance and on-call are told beside them, what their routes take. The channels on which its thread stands already
    hear how it ends. What no route takes goes to every channel: nothing is told to nobody.
    """
    is_sample = alert.budget.is_sample if alert.budget else False
    active = {one.pk for one in Channel.objects.filter(is_active=True, is_sample=is_sample)}
    routes = [one for one in Route.objects.order_by("pk") if one.channel_id in active]
    if not routes:
        return [Target(one, NO_ROUTES) for one in sorted(active)]
    found = _by_routes(alert, routes) or [Target(one, NO_MATCH) for one in sorted(active)]
    standing = ThreadPosition.objects.filter(thread=alert.thread, channel_id__in=active).values_list(
        "channel_id", flat=True
    )
    found += [Target(one, "It was told how this began.") for one in standing]
    first: dict[int, Target] = {}
    for one in found:
        first.setdefault(one.channel_id, one)
    return list(first.values())


def teams_of(alert: Alert) -> tuple[str, ...]:
    """The teams that an alert is about: those of its budget, or of its anomaly."""
    if alert.budget is not None:
        return tuple(alert.budget.scope.get("team", ()))
    return anomaly_teams([alert.thread]).get(alert.thread, ())


def anomaly_teams(threads: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The team of each of these threads that is an anomaly's and names one."""
    numbers = [one.removeprefix(_ANOMALY) for one in threads if one.startswith(_ANOMALY)]
    found = Anomaly.objects.filter(pk__in=[int(one) for one in numbers if one.isdecimal()], scope__has_key="team")
    return {f"{_ANOMALY}{pk}": (scope["team"],) for pk, scope in found.values_list("pk", "scope")}


def _by_routes(alert: Alert, routes: Sequence[Route]) -> list[Target]:
    teams = teams_of(alert)
    matching = [one for one in routes if _takes(one, alert, teams)]
    found: list[Target] = []
    owner = alert.budget.owner_email if alert.budget else ""
    for audience in ("owner", "team", "fallback"):
        mine = [one for one in matching if one.audience == audience]
        if mine and (audience != "owner" or owner):
            found += [Target(one.channel_id, _reason(one, alert)) for one in mine]
            break
    found += [Target(one.channel_id, _reason(one, alert)) for one in matching if one.audience in {"finance", "on_call"}]
    if found:
        return found
    return [Target(one.channel_id, _reason(one, alert)) for one in routes if one.audience == "fallback"]


def _takes(route: Route, alert: Alert, teams: Sequence[str]) -> bool:
    wanted = route.topics or topics.CUSTOM[route.audience]
    return (
        alert.audience in wanted
        and topics.at_least(alert.severity, route.least_severity)
        and (not route.team or route.team in teams)
    )


def _reason(route: Route, alert: Alert) -> str:
    about = topics.TOPICS.get(alert.audience, alert.audience).partition(":")[0].lower()
    match route.audience:
        case "owner":
            return f"The owner of the budget, {alert.budget.owner_email if alert.budget else ''}, is told of {about}."
        case "team":
            return (
                f"The channel of team {route.team} is told of {about}." if route.team else f"Teams are told of {about}."
            )
        case "fallback":
            return "It is the fallback: nobody nearer is set up for this."
        case "finance":
            return f"Finance is told of {about}."
    return f"On-call is told of {about}."


def mute_of(alert: Alert, now: datetime) -> Mute | None:
    """Who silenced this item, its budget or its one team, if somebody did. What is critical cannot be silenced."""
    if alert.severity == "critical" or alert.audience in {"digest", "test"}:
        return None
    about = Q(about="thread", subject=alert.thread)
    if alert.budget is not None:
        about |= Q(about="budget", subject=str(alert.budget.pk))
    named = teams_of(alert)
    if len(named) == 1:
        about |= Q(about="team", subject=named[0])
    return Mute.objects.filter(about, until__gt=now, muted_at__lte=now, ended_at=None).order_by("-until").first()


def quiet_until(alert: Alert, channel: Channel, now: datetime) -> datetime | None:
    """When the quiet hours of the channel, or of the person it writes to, end; None: tell it now.

    Only what can wait waits: never what touches traffic, and never what is critical.
    """
    if alert.severity == "critical" or alert.audience in {"action", "test"}:
        return None
    if alert.action_run is not None and alert.action_run.action != "notify":
        return None
    owned = Q(channel=channel)
    if channel.config.get("to_owner") and alert.budget is not None:
        owned |= Q(person__iexact=alert.budget.owner_email)
    ends = [end for one in QuietHours.objects.filter(owned) if (end := window_end(one, now)) is not None]
    return max(ends, default=None)


def window_end(hours: Any, now: datetime) -> datetime | None:
    """The end of the window that holds `now`, or None outside. Walls clocks of the zone count, over its changes of time."""
    zone = ZoneInfo(hours.zone)
    here = now.astimezone(zone)
    clock = here.time()
    begins, ends = hours.begins, hours.ends
    is_inside = begins <= clock < ends if begins < ends else clock >= begins or clock < ends
    if not is_inside:
        return None
    day = here.date() if clock < ends or begins < ends else here.date() + timedelta(days=1)
    end = datetime.combine(day, time(ends.hour, ends.minute), zone).astimezone(now.tzinfo)
    # An hour that the clock repeats has its end twice; the one that is over is none.
    return (
        end if end > now else datetime.combine(day, time(ends.hour, ends.minute, fold=1), zone).astimezone(now.tzinfo)
    )
