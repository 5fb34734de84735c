"""Shares by the tokens that were used."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from attribution.rules.base import BadRule, Field, Fragment, SplitRule, conditions

_USAGE_COLUMNS = {"provider": "f.provider", "model": "f.model", "deployment": "f.deployment"}


@dataclass(frozen=True, slots=True)
class TokenShare(SplitRule):
    """Splits the selected charges over the usage of the same day, by tokens. A day without such usage stays unallocated.

    Example: {"select": {"resource_name": ["llm-gateway*"]}, "usage": {"provider": ["openai"], "model": ["gpt-*"]}}
    """

    kind = "token_share"
    title = "By tokens used"

    usage: Mapping[str, Sequence[str]]

    @classmethod
    def fields(cls) -> Sequence[Field]:
        return (
            Field("select", "Charges", "conditions", "All of them must hold; without any nothing is split.", {}),
            Field("usage", "By the usage where", "conditions", "provider, model or deployment; none is all usage.", {}),
        )

    @classmethod
    def parse(cls, config: Mapping[str, Any]) -> Self:
        usage = conditions(config, "usage")
        unknown = [name for name in usage if name not in _USAGE_COLUMNS]
        if unknown:
            raise BadRule(f"cannot select usage by {unknown[0]!r}; known: {', '.join(_USAGE_COLUMNS)}")
        return cls(conditions(config, "select"), usage)

    def usage_condition(self, *, prefix: str) -> Fragment:
        """The condition on usage, with offerings aliased `f`."""
        parameters = {
            f"{prefix}_{name}": [value.replace("%", "\\%").replace("_", "\\_").replace("*", "%") for value in values]
            for name, values in self.usage.items()
        }
        tests = [f"{_USAGE_COLUMNS[name]} LIKE ANY(%({prefix}_{name})s)" for name in self.usage]
        return Fragment(" AND ".join(tests) or "TRUE", parameters)
