"""How many calls of the past a throttle or a shutdown would have refused, what they cost, and how many a reroute would have
sent elsewhere; pure.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal

from alerts.replay import Event
from attribution.queries import HourUsage

_HOUR = timedelta(hours=1)
_SECOND = timedelta(seconds=1)
_WHOLE = Decimal(1)
_REFUSING = frozenset({"throttle", "shutdown"})


@dataclass(frozen=True, slots=True)
class Refused:
    """What one run would have refused: requests, and their cost at list prices."""

    requests: int
    cost: Decimal


def refused(*, events: Sequence[Event], calls: Sequence[HourUsage], until: datetime) -> dict[int, Refused]:
    """By id of the event, for throttles and shutdowns that were applied; in an hour with several the one that refuses most
    counts. Calls of an hour are taken to lie evenly in it, and a limit per minute to be that of one gate.
    """
    applied = [one for one in events if one.state == "running" and one.step.action in _REFUSING]
    requests: dict[int, Decimal] = {one.id: Decimal(0) for one in applied}
    costs: dict[int, Decimal] = dict(requests)
    for call in calls:
        share, event_id = _worst(applied, call, until)
        if share > 0:
            requests[event_id] += share * call.requests
            costs[event_id] += share * call.estimated_cost
    return {one.id: Refused(_whole(requests[one.id]), costs[one.id]) for one in applied}


def rerouted(*, events: Sequence[Event], calls: Sequence[HourUsage], until: datetime) -> dict[int, int]:
    """Requests by id of the event, for reroutes that were applied: all of its time that nothing refused. Of several at once
    the one that began last counts.
    """
    applied = [one for one in events if one.state == "running" and one.step.action == "reroute"]
    refusing = [one for one in events if one.state == "running" and one.step.action in _REFUSING]
    requests: dict[int, Decimal] = {one.id: Decimal(0) for one in applied}
    for call in calls if applied else ():
        passed = _WHOLE - _worst(refusing, call, until)[0]
        left = _WHOLE
        for one in sorted(applied, key=lambda one: (one.at, one.id), reverse=True):
            share = min(left, _covered(one, call, until))
            left -= share
            requests[one.id] += share * passed * call.requests
    return {number: _whole(count) for number, count in requests.items()}


def _worst(applied: Sequence[Event], call: HourUsage, until: datetime) -> tuple[Decimal, int]:
    """The largest part of an hour's calls that one of the events refuses, and which."""
    return max(((_share(one, call, until), one.id) for one in applied), default=(Decimal(0), 0))


def _whole(requests: Decimal) -> int:
    return int(requests.quantize(_WHOLE, ROUND_HALF_EVEN))


def _share(event: Event, call: HourUsage, until: datetime) -> Decimal:
    """The part of an hour's calls that the event would have refused, 0 to 1."""
    covered = _covered(event, call, until)
    if event.step.action == "shutdown":
        return covered
    allowed = [
        min(_WHOLE, Decimal(60 * int(limit)) / used)
        for name, used in (("requests_per_minute", call.requests), ("tokens_per_minute", call.tokens))
        if (limit := event.step.config.get(name)) is not None and used
    ]
    return covered * (_WHOLE - min(allowed, default=_WHOLE))


def _covered(event: Event, call: HourUsage, until: datetime) -> Decimal:
    """The part of an hour in which the event was in force, 0 to 1."""
    # What is decided in the last second of an hour holds from the next hour on.
    begins, ends = max(event.at + _SECOND, call.hour), min(event.ended_at or until, call.hour + _HOUR)
    return Decimal((ends - begins) // _SECOND) / 3600 if ends > begins else Decimal(0)
