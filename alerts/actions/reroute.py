"""Let another model or upstream answer."""

from collections.abc import Mapping
from typing import Any, ClassVar

from alerts.actions.base import Action, BadConfig, Occasion, Plan, present

_LONGEST = 200


class Reroute(Action):
    """Requests of the scope are answered by `to_model` (a cheaper or a quantized one), at `to_upstream` (the name of an
    upstream of the gate), or both. Callers get an answer, which may be a worse one. Example configuration:

        {"to_model": "llama-3-8b-int4"}
    """

    kind: ClassVar[str] = "reroute"
    settings: ClassVar[frozenset[str]] = frozenset({"to_model", "to_upstream"})

    def clean(self, config: Mapping[str, Any]) -> dict[str, Any]:
        found = {name: str(config.get(name) or "").strip() for name in ("to_model", "to_upstream")}
        if not any(found.values()):
            raise BadConfig("reroute needs to_model, to_upstream or both")
        for name, value in found.items():
            if len(value) > _LONGEST:
                raise BadConfig(f"{name}: expected at most {_LONGEST} characters, found {len(value)}")
        return present(**{name: value or None for name, value in found.items()})

    def check(self, config: Mapping[str, Any], scope: Mapping[str, Any]) -> dict[str, Any]:
        found = super().check(config, scope)
        if found.get("to_model") in scope.get("model", ()) and "to_upstream" not in found:
            raise BadConfig(f"to_model: {found['to_model']} is in the scope itself, so nothing would change")
        return found

    def plan(self, config: Mapping[str, Any], occasion: Occasion) -> Plan:
        message = (
            f"budget {occasion.budget_name!r} has used {occasion.percent_words} of {occasion.amount_words};"
            " requests are answered elsewhere"
        )
        where = {name: config.get(name) for name in ("to_model", "to_upstream")}
        return Plan(
            "gate",
            tuple(
                {"match": dict(match), "action": "reroute", **where, "message": message} for match in occasion.matches
            ),
        )
