"""Let no new request through."""

from collections.abc import Mapping
from typing import Any, ClassVar

from alerts.actions.base import Action, Occasion, Plan, present, whole_number

RETRY_AFTER_SECONDS = 300


class Shutdown(Action):
    """Every gate refuses new requests of the scope with HTTP 429; running ones finish, so the scope drains.

    It stops spend on API models at once. GPUs of our own stay paid for until somebody scales them down. Example:

        {"retry_after_seconds": 600}
    """

    kind: ClassVar[str] = "shutdown"
    settings: ClassVar[frozenset[str]] = frozenset({"retry_after_seconds"})

    def clean(self, config: Mapping[str, Any]) -> dict[str, Any]:
        return present(
            retry_after_seconds=whole_number(config, "retry_after_seconds"),
            cooldown_minutes=whole_number(config, "cooldown_minutes"),
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
            }
            for match in occasion.matches
        )
        return Plan("gate", rules)
