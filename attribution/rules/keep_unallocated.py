"""Left to nobody, on purpose."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from attribution.rules.base import PICKED, SELECT, Field, SplitRule, Weighing, picked


@dataclass(frozen=True, slots=True)
class KeepUnallocated(SplitRule):
    """Leaves the selected charges unallocated, whatever their tags say and whatever later rules would do with them.

    Idle time and overhead that are kept stay idle and overhead.

    Example: {"pools": ["unused_commitments"]}
    """

    kind = "keep_unallocated"
    title = "Leave unallocated"

    @classmethod
    def fields(cls) -> Sequence[Field]:
        return (SELECT, PICKED)

    @classmethod
    def parse(cls, config: Mapping[str, Any]) -> Self:
        return cls(*picked(config))

    def weighing(self) -> Weighing:
        return Weighing("none")
