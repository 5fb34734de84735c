"""Whether anybody uses it."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import ROUND_DOWN, Decimal
from typing import Any, ClassVar

from alerts.triggers.base import Activity, BadConfig, Sight, Trigger, whole_number

MAX_GPU_PERCENT = 5
_HOUR = timedelta(hours=1)
_MOST = Decimal("9999999.99")


class Idleness(Trigger):
    """No request for `minutes`, and no GPU of the scope busier than `max_gpu_percent` (5). Usage and telemetry are kept by the
    hour, so idle time counts from the end of the last hour in use, and up to what has been delivered. Where telemetry or
    deliveries are missing the level is not known, and unknown is not idle. Example configuration:

        {"minutes": 120, "max_gpu_percent": 3}
    """

    kind: ClassVar[str] = "idleness"
    title: ClassVar[str] = "Idleness"
    settings: ClassVar[frozenset[str]] = frozenset({"minutes", "max_gpu_percent"})
    is_measured: ClassVar[bool] = True
    is_switch: ClassVar[bool] = True
    cooldown: ClassVar[timedelta] = timedelta(0)

    def clean(self, config: Mapping[str, Any]) -> dict[str, Any]:
        minutes = whole_number(config, "minutes", least=5, most=7 * 24 * 60)
        if minutes is None:
            raise BadConfig("minutes: expected after how many minutes without use, such as 120")
        most = whole_number(config, "max_gpu_percent", least=0, most=100)
        return {"minutes": minutes} | ({} if most is None else {"max_gpu_percent": most})

    def needs_activity(self) -> bool:
        return True

    def level(self, config: Mapping[str, Any], sight: Sight, *, is_enforcing: bool) -> Decimal | None:
        if sight.activity is None:
            return None
        idle = idle_for(sight.activity, config.get("max_gpu_percent", MAX_GPU_PERCENT), sight.now)
        if idle is None:
            return None
        share = Decimal(int(idle.total_seconds())) * 100 / (60 * int(config["minutes"]))
        return min(share.quantize(Decimal("0.01"), rounding=ROUND_DOWN), _MOST)

    def words(self, percent: Decimal, config: Mapping[str, Any]) -> str:
        return f"when idle for {config['minutes']} min"

    def passed(self, percent: Decimal, config: Mapping[str, Any]) -> str:
        return f"is idle for {config['minutes']} min"

    def reason(self, level: Decimal, percent: Decimal, config: Mapping[str, Any], amount: str) -> str:
        most = config.get("max_gpu_percent", MAX_GPU_PERCENT)
        return f"no request and no GPU above {most} % for {config['minutes']} min"


def idle_for(activity: Activity, max_gpu_percent: int, now: datetime) -> timedelta | None:
    """How long nothing was used, as far as it is known; None where it is not."""
    through, last = activity.complete_through, activity.last_request_hour
    if through is None or last is None:
        return None
    through = min(through, now)
    since = last + _HOUR
    if activity.has_gpus:
        measured = activity.gpu_percents
        busy = [hour + _HOUR for hour, percent in measured.items() if percent > max_gpu_percent]
        since = max([since, *busy])
        # The greater part of every full hour of the idle time must have been measured.
        hour = since
        while hour + _HOUR <= through:
            if hour not in measured or hour in activity.gpu_gaps:
                return None
            hour += _HOUR
    return max(timedelta(0), through - since)
