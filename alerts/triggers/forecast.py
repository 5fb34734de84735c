"""What will have been spent at the end of the period."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, ClassVar

from alerts import ladder
from alerts.triggers.base import Sight, Trigger, shown


class Forecast(Trigger):
    """The forecast of the period's end, in percent of the budget. A naive pace may notify, and nothing else. No settings:

    {}
    """

    kind: ClassVar[str] = "forecast"
    title: ClassVar[str] = "Forecast"

    def level(self, config: Mapping[str, Any], sight: Sight, *, is_enforcing: bool) -> Decimal | None:
        if sight.forecast_cost is None or (is_enforcing and sight.is_naive):
            return None
        return ladder.percent_of(sight.forecast_cost, sight.amount)

    def words(self, percent: Decimal, config: Mapping[str, Any]) -> str:
        return f"at a forecast of {shown(percent)}"

    def passed(self, percent: Decimal, config: Mapping[str, Any]) -> str:
        return f"is forecast to pass {shown(percent)}"

    def reason(self, level: Decimal, percent: Decimal, config: Mapping[str, Any], amount: str) -> str:
        return f"{ladder.short_percent(level)} forecast ≥ {shown(percent)} of {amount}"
