"""To the owner of what the money is about."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from attribution.rules.base import PICKED, SELECT, Field, SplitRule, Weighing, picked


@dataclass(frozen=True, slots=True)
class Follow(SplitRule):
    """Gives credits, refunds, taxes and idle time to the owners of what they are about.

    The narrowest of these that has cost of its own counts: on the day the same resource, the SKU in the same account; then
    in the calendar month the service in the account, the account, the service, the provider. For idle GPU time: who used the
    deployment on the day, else in the month. Several owners share by their direct effective cost. What is about spend
    without an owner has none either; where nothing matches, the money stays unallocated.

    Example: {"pools": ["credits", "refunds"]}
    """

    kind = "follow"
    title = "To the owner of what it is about"

    @classmethod
    def fields(cls) -> Sequence[Field]:
        return (SELECT, PICKED)

    @property
    def reads_owners(self) -> bool:
        return True

    @classmethod
    def parse(cls, config: Mapping[str, Any]) -> Self:
        return cls(*picked(config))

    def weighing(self) -> Weighing:
        return Weighing("subject", by_owner=True)
