"""Whether an hour is unlike the same hour of past weeks: an early warning of runaway agents."""

from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any, ClassVar

from alerts import bursts, ladder
from alerts.triggers.base import Sight, Trigger, shown


class Trend(Trigger):
    """The calls of the hour at their list prices, in percent of what the same hour of the past weeks cost. No settings:

    {}
    """

    kind: ClassVar[str] = "trend"
    title: ClassVar[str] = "Trend"
    is_measured: ClassVar[bool] = True

    def needs_calls(self, config: Mapping[str, Any]) -> timedelta:
        return timedelta(days=36)

    def level(self, config: Mapping[str, Any], sight: Sight, *, is_enforcing: bool) -> Decimal | None:
        found = None if sight.calls is None else bursts.level(sight.calls, sight.now)
        return None if found is None else ladder.percent_of(found, Decimal(100))

    def words(self, percent: Decimal, config: Mapping[str, Any]) -> str:
        return f"when an hour costs {shown(percent)} of its usual"

    def passed(self, percent: Decimal, config: Mapping[str, Any]) -> str:
        return f"costs {shown(percent)} of its usual in an hour"

    def reason(self, level: Decimal, percent: Decimal, config: Mapping[str, Any], amount: str) -> str:
        return f"the hour costs {ladder.short_percent(level)} of the same hour of past weeks ≥ {shown(percent)}"
