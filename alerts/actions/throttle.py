"""Let fewer requests through."""

from collections.abc import Mapping
from typing import Any, ClassVar

from alerts.actions.base import Action, BadConfig, Occasion, Plan, names, present, whole_number

LIMITS = ("requests_per_minute", "tokens_per_minute", "max_inflight", "max_tokens")
_PRIORITIES = 1_000_000


class Throttle(Action):
    """Requests of the scope beyond the limits get HTTP 429 with Retry-After from every gate; the rest are served.

    One or more of `requests_per_minute`, `tokens_per_minute`, `max_inflight` (at a time), `max_tokens` (output tokens of a
    request) and `priority` (a higher number is served later). Each gate applies them by itself: with two gates the scope gets
    up to twice the rate. `targets` names resources that may have `max_units` at most meanwhile. Example configuration:

        {"requests_per_minute": 6, "max_tokens": 256, "retry_after_seconds": 30}
    """

    kind: ClassVar[str] = "throttle"
    settings: ClassVar[frozenset[str]] = frozenset({*LIMITS, "priority", "retry_after_seconds", "targets", "max_units"})

    def clean(self, config: Mapping[str, Any]) -> dict[str, Any]:
        limits = {name: whole_number(config, name) for name in LIMITS}
        priority = whole_number(config, "priority", least=-_PRIORITIES, most=_PRIORITIES)
        targets, units = names(config, "targets"), whole_number(config, "max_units")
        if (targets is None) != (units is None):
            raise BadConfig("targets and max_units: expected both or none of them")
        if not any(limits.values()) and priority is None and targets is None:
            raise BadConfig(f"throttle needs one or more of {', '.join(LIMITS)}, priority")
        return present(
            **limits,
            priority=priority,
            retry_after_seconds=whole_number(config, "retry_after_seconds"),
            targets=targets,
            max_units=units,
        )

    def plan(self, config: Mapping[str, Any], occasion: Occasion) -> Plan:
        message = (
            f"budget {occasion.budget_name!r} has used {occasion.percent_words} of {occasion.amount_words};"
            " requests are throttled"
        )
        limits = {name: config.get(name) for name in (*LIMITS, "priority", "retry_after_seconds")}
        has_limits = any(config.get(name) is not None for name in (*LIMITS, "priority"))
        rules = tuple(
            {"match": dict(match), "action": "throttle", **limits, "message": message}
            for match in (occasion.matches if has_limits else ())
        )
        resources = present(targets=config.get("targets"), max_units=config.get("max_units"))
        return Plan("gate" if rules else "", rules, resources)
