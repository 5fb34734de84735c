"""How fast it is spent."""

from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any, ClassVar

from alerts import ladder
from alerts.triggers.base import Sight, Trigger, shown, whole_number

HOURS = 24
_HOUR = timedelta(hours=1)


class BurnRate(Trigger):
    """The effective cost of the last `hours` full hours (24), in percent of what an even pace over the period costs in so
    many hours: 300 % means that the budget would last a third of its period. Example configuration:

        {"hours": 6}
    """

    kind: ClassVar[str] = "burn_rate"
    title: ClassVar[str] = "Burn rate"
    settings: ClassVar[frozenset[str]] = frozenset({"hours"})
    is_measured: ClassVar[bool] = True

    def clean(self, config: Mapping[str, Any]) -> dict[str, Any]:
        hours = whole_number(config, "hours", least=1, most=24 * 7)
        return {} if hours is None else {"hours": hours}

    def needs_hours(self, config: Mapping[str, Any]) -> timedelta:
        return _HOUR * (int(config.get("hours", HOURS)) + 1)

    def level(self, config: Mapping[str, Any], sight: Sight, *, is_enforcing: bool) -> Decimal | None:
        # A rate knows no period: soon after its begin, hours of the one before count, too.
        if sight.hours is None:
            return None
        count = config.get("hours", HOURS)
        end = sight.now.replace(minute=0, second=0, microsecond=0)
        start = end - _HOUR * count
        spent = sum((cost for hour, cost in sight.hours if start <= hour < end), Decimal(0))
        seconds = Decimal(int((sight.ends_at - sight.starts_at).total_seconds()))
        return ladder.percent_of(spent * seconds, sight.amount * 3600 * count)

    def words(self, percent: Decimal, config: Mapping[str, Any]) -> str:
        return f"when the last {config.get('hours', HOURS)} h burn {shown(percent)} of the even pace"

    def passed(self, percent: Decimal, config: Mapping[str, Any]) -> str:
        return f"burns {shown(percent)} of its even pace"

    def reason(self, level: Decimal, percent: Decimal, config: Mapping[str, Any], amount: str) -> str:
        hours = config.get("hours", HOURS)
        return (
            f"the last {hours} h burned {ladder.short_percent(level)} of the even pace ≥ {shown(percent)}, of {amount}"
        )
