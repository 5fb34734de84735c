"""Tell people; change nothing."""

from collections.abc import Mapping
from typing import Any, ClassVar

from alerts.actions.base import Action, BadConfig, Occasion, Plan, present, whole_number


class Notify(Action):
    """One alert on every channel. `on` says what is compared with the rung: spend (`actual`) or the naive `forecast`.

    Example configuration:

        {"on": "forecast", "cooldown_minutes": 120}
    """

    kind: ClassVar[str] = "notify"
    is_enforcing: ClassVar[bool] = False
    settings: ClassVar[frozenset[str]] = frozenset({"on"})

    def clean(self, config: Mapping[str, Any]) -> dict[str, Any]:
        on = config.get("on")
        if on not in {None, "", "actual", "forecast"}:
            raise BadConfig(f"on: expected actual or forecast, found {on!r}")
        return present(
            on="forecast" if on == "forecast" else None, cooldown_minutes=whole_number(config, "cooldown_minutes")
        )

    def plan(self, config: Mapping[str, Any], occasion: Occasion) -> Plan:
        return Plan("", ())
