"""How many calls of the past a throttle or a shutdown would have refused, and what they cost; pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal

from alerts.replay import Event
from attribution.queries import HourUsage

_HOUR = timedelta(hours=1)
_SECOND = timedelta(seconds=1)
_WHOLE = Decimal(1)


@dataclass(frozen=True, slots=True)
class Refused:
    """What one run would have refused: requests, and their cost at list prices."""

    requests: int
    cost: Decimal


def refused(*, events: Sequence[Event], calls: Sequence[HourUsage], until: datetime) -> dict[int, Refused]:
    """By id of the event, for throttles and shutdowns that were applied; in an hour with several the one that refuses most
    counts. Calls of an hour are taken to lie evenly in it, and a limit per minute to be that of one gate.
    """
    applied = [one for one in events if one.state == "running" and one.step.action in {"throttle", "shutdown"}]
    requests: dict[int, Decimal] = {one.id: Decimal(0) for one in applied}
    costs: dict[int, Decimal] = dict(requests)
    for call in calls:
        shares = [(_share(one, call, until), one.id) for one in applied]
        share, event_id = max(shares, default=(Decimal(0), 0))
        if share > 0:
            requests[event_id] += share * call.requests
            costs[event_id] += share * call.estimated_cost
    return {one.id: Refused(int(requests[one.id].quantize(_WHOLE, ROUND_HALF_EVEN)), costs[one.id]) for one in applied}


def _share(event: Event, call: HourUsage, until: datetime) -> Decimal:
    """The part of an hour's calls that the event would have refused, 0 to 1."""
    # What is decided in the last second of an hour holds from the next hour on.
    begins, ends = max(event.at + _SECOND, call.hour), min(event.ended_at or until, call.hour + _HOUR)
    if ends <= begins:
        return Decimal(0)
    covered = Decimal((ends - begins) // _SECOND) / 3600
    if event.step.action == "shutdown":
        return covered
    allowed = [
        min(_WHOLE, Decimal(60 * int(limit)) / used)
        for name, used in (("requests_per_minute", call.requests), ("tokens_per_minute", call.tokens))
        if (limit := event.step.config.get(name)) is not None and used
    ]
    return covered * (_WHOLE - min(allowed, default=_WHOLE))
