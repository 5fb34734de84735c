"""What is spent."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, ClassVar

from alerts import ladder
from alerts.triggers.base import Sight, Trigger, shown


class Actual(Trigger):
    """The effective cost of the period so far, billed and estimated, in percent of the budget. No settings:

    {}
    """

    kind: ClassVar[str] = "actual"
    title: ClassVar[str] = "Actual spend"

    def level(self, config: Mapping[str, Any], sight: Sight, *, is_enforcing: bool) -> Decimal | None:
        return ladder.percent_of(sight.spend_cost, sight.amount)

    def words(self, percent: Decimal, config: Mapping[str, Any]) -> str:
        return f"at {shown(percent)}"

    def passed(self, percent: Decimal, config: Mapping[str, Any]) -> str:
        return f"passed {shown(percent)}"

    def reason(self, level: Decimal, percent: Decimal, config: Mapping[str, Any], amount: str) -> str:
        return f"{ladder.short_percent(level)} used ≥ {shown(percent)} of {amount}"
