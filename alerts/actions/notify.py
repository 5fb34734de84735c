"""Tell people; change nothing."""

from collections.abc import Mapping
from typing import Any, ClassVar

from alerts.actions.base import Action, Occasion, Plan


class Notify(Action):
    """One alert on every channel. Example configuration:

    {"cooldown_minutes": 120}
    """

    kind: ClassVar[str] = "notify"
    is_enforcing: ClassVar[bool] = False

    def clean(self, config: Mapping[str, Any]) -> dict[str, Any]:
        return {}

    def plan(self, config: Mapping[str, Any], occasion: Occasion) -> Plan:
        return Plan("", ())
