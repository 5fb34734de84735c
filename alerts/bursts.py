"""A burst of spend: the last hour against the same hour of the past weeks; pure."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import ROUND_DOWN, Decimal

WEEKS = 4
_LEAST_WEEKS = 3
_MOST = Decimal("9999999.99")


def level(hours: Sequence[tuple[datetime, Decimal]], now: datetime) -> Decimal | None:
    """The spend of the last 60 minutes' hour in percent of its usual spend (the median of the same hour of the past weeks).

    The hour that runs counts once it costs more than the one before it. None with fewer than three weeks that the data reach
    back to, or where that hour usually costs nothing.
    """
    cost = dict(hours)
    if not cost:
        return None
    running = now.replace(minute=0, second=0, microsecond=0)
    found = [_percent(cost, hour, min(cost)) for hour in (running - timedelta(hours=1), running)]
    known = [one for one in found if one is not None]
    return max(known) if known else None


def _percent(cost: dict[datetime, Decimal], hour: datetime, first: datetime) -> Decimal | None:
    past = [hour - timedelta(weeks=week) for week in range(1, WEEKS + 1)]
    usual = sorted(cost.get(one, Decimal(0)) for one in past if one >= first)
    if len(usual) < _LEAST_WEEKS:
        return None
    middle = len(usual) // 2
    median = usual[middle] if len(usual) % 2 else (usual[middle - 1] + usual[middle]) / 2
    if median <= 0:
        return None
    return min((cost.get(hour, Decimal(0)) * 100 / median).quantize(Decimal("0.01"), rounding=ROUND_DOWN), _MOST)
