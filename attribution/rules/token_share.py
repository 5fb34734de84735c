"""Shares by the tokens that were used."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from attribution.rules.base import PICKED, SELECT, USAGE, Field, SplitRule, Weighing, picked, used


@dataclass(frozen=True, slots=True)
class TokenShare(SplitRule):
    """Splits the selected charges over the usage of the same day, by tokens. A day without such usage stays unallocated.

    The parts carry the model, the deployment and all attributes of the usage, so that whoever owns the usage owns them. For
    shares of teams alone, or only of some, take `proportional` with the basis tokens.

    Example: {"select": {"resource_name": ["llm-gateway*"]}, "usage": {"provider": ["openai"], "model": ["gpt-*"]}}
    """

    kind = "token_share"
    title = "By tokens used"

    usage: Mapping[str, Sequence[str]]

    @classmethod
    def fields(cls) -> Sequence[Field]:
        return (SELECT, PICKED, USAGE)

    @classmethod
    def parse(cls, config: Mapping[str, Any]) -> Self:
        return cls(*picked(config), used(config))

    def weighing(self) -> Weighing:
        return Weighing("usage_sets", usage=self.usage)
