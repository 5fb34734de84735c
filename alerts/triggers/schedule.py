"""What time it is."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, ClassVar

from alerts import calendars
from alerts.triggers.base import BadConfig, Sight, Trigger


class Schedule(Trigger):
    """Weekly windows in the budget's zone: off-hours of development environments, off-peak scale-down. What it starts ends
    by itself at the end of the window, without figures. Example configuration:

        {"windows": "mon-fri 20:00-07:00, sat-sun 00:00-24:00"}
    """

    kind: ClassVar[str] = "schedule"
    title: ClassVar[str] = "Schedule"
    settings: ClassVar[frozenset[str]] = frozenset({"windows"})
    is_switch: ClassVar[bool] = True
    cooldown: ClassVar[timedelta] = timedelta(0)

    def clean(self, config: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return {"windows": calendars.clean(str(config.get("windows", "")))}
        except calendars.BadWindows as problem:
            raise BadConfig(f"windows: {problem}") from problem

    def level(self, config: Mapping[str, Any], sight: Sight, *, is_enforcing: bool) -> Decimal | None:
        return Decimal(0) if self.until(config, sight.zone, sight.now) is None else Decimal(100)

    def until(self, config: Mapping[str, Any], zone: str, now: datetime) -> datetime | None:
        return calendars.open_until(calendars.parse(config["windows"]), zone, now)

    def words(self, percent: Decimal, config: Mapping[str, Any]) -> str:
        return str(config["windows"])

    def passed(self, percent: Decimal, config: Mapping[str, Any]) -> str:
        return f"has scheduled hours: {config['windows']}"

    def reason(self, level: Decimal, percent: Decimal, config: Mapping[str, Any], amount: str) -> str:
        return f"scheduled: {config['windows']}"
