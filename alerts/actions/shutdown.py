"""Let no new request through, and stop what runs idle then."""

from collections.abc import Mapping
from typing import Any, ClassVar

from alerts.actions.base import Action, BadConfig, Occasion, Plan, flag, names, present, whole_number

RETRY_AFTER_SECONDS = 300


class Shutdown(Action):
    """Every gate refuses new requests of the scope with HTTP 429; running ones finish, so the scope drains.

    It stops spend on API models at once. GPUs of our own stay paid for until somebody scales them down: `targets` names
    resources that go to `to_units` (0), after `drain_seconds`. With `gate` false no request is refused. Example:

        {"retry_after_seconds": 600, "targets": ["chat-dev"], "to_units": 0, "drain_seconds": 120}
    """

    kind: ClassVar[str] = "shutdown"
    settings: ClassVar[frozenset[str]] = frozenset(
        {"retry_after_seconds", "drain_seconds", "targets", "to_units", "gate"}
    )

    def clean(self, config: Mapping[str, Any]) -> dict[str, Any]:
        targets = names(config, "targets")
        is_gated = flag(config, "gate", default=True)
        if not is_gated and targets is None:
            raise BadConfig("gate: a shutdown that refuses nothing needs targets")
        units = whole_number(config, "to_units", least=0)
        drain = whole_number(config, "drain_seconds", least=0, most=86_400)
        if targets is None and (units is not None or drain is not None):
            raise BadConfig("to_units and drain_seconds need targets")
        return present(
            retry_after_seconds=whole_number(config, "retry_after_seconds"),
            drain_seconds=drain,
            targets=targets,
            to_units=units,
            gate=None if is_gated else False,
        )

    def plan(self, config: Mapping[str, Any], occasion: Occasion) -> Plan:
        message = (
            f"budget {occasion.budget_name!r} has used {occasion.percent_words} of {occasion.amount_words};"
            f" requests are refused until {occasion.until:%Y-%m-%d %H:%M} UTC or until it is undone"
        )
        rules = tuple(
            {
                "match": dict(match),
                "action": "block",
                "requests_per_minute": None,
                "max_inflight": None,
                "max_tokens": None,
                "retry_after_seconds": config.get("retry_after_seconds", RETRY_AFTER_SECONDS),
                "message": message,
                **({"aborts": True} if occasion.aborts else {}),
            }
            for match in (occasion.matches if config.get("gate", True) else ())
        )
        targets = config.get("targets")
        resources = (
            {}
            if targets is None
            else {
                "targets": targets,
                "to_units": config.get("to_units", 0),
                **present(drain_seconds=config.get("drain_seconds")),
            }
        )
        return Plan("gate" if rules else "", rules, resources)
