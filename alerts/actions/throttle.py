"""Let fewer requests through."""

from collections.abc import Mapping
from typing import Any, ClassVar

from alerts.actions.base import Action, BadConfig, Occasion, Plan, present, whole_number

LIMITS = ("requests_per_minute", "max_inflight", "max_tokens")


class Throttle(Action):
    """Requests of the scope beyond the limits get HTTP 429 with Retry-After from every gate; the rest are served.

    One or more of `requests_per_minute`, `max_inflight` (at a time) and `max_tokens` (output tokens of a request). Each
    gate applies them by itself: with two gates the scope gets up to twice the rate. Example configuration:

        {"requests_per_minute": 6, "max_tokens": 256, "retry_after_seconds": 30}
    """

    kind: ClassVar[str] = "throttle"
    settings: ClassVar[frozenset[str]] = frozenset({*LIMITS, "retry_after_seconds"})

    def clean(self, config: Mapping[str, Any]) -> dict[str, Any]:
        limits = {name: whole_number(config, name) for name in LIMITS}
        if not any(limits.values()):
            raise BadConfig(f"throttle needs one or more of {', '.join(LIMITS)}")
        return present(
            **limits,
            retry_after_seconds=whole_number(config, "retry_after_seconds"),
            cooldown_minutes=whole_number(config, "cooldown_minutes"),
        )

    def plan(self, config: Mapping[str, Any], occasion: Occasion) -> Plan:
        message = (
            f"budget {occasion.budget_name!r} has used {occasion.percent_words} of {occasion.amount_words};"
            " requests are throttled"
        )
        limits = {name: config.get(name) for name in (*LIMITS, "retry_after_seconds")}
        rules = tuple(
            {"match": dict(match), "action": "throttle", **limits, "message": message} for match in occasion.matches
        )
        return Plan("gate", rules)
