"""Shares in proportion to something measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from attribution.rules.base import (
    PICKED,
    SELECT,
    TEAMS,
    USAGE,
    BadRule,
    Field,
    SplitRule,
    Weighing,
    names,
    picked,
    used,
)

BASES = ("direct_cost", "tokens", "requests", "gpu_time", "metric")
_BY = ("team", "owner")


@dataclass(frozen=True, slots=True)
class Proportional(SplitRule):
    """Splits the selected charges over teams in proportion to what `basis` measures.

    `basis`: direct_cost (effective cost that is a team's own, in the currency of the charge, after bills have met usage and
    GPU nodes their requests; a team whose credits outweigh its cost weighs nothing), tokens, requests, gpu_time (busy time of
    GPUs on nodes whose bill is in the books), or metric: the business metric named `metric`, by the team its values name.
    All are of the day; a charge for more than a day is split by the whole calendar month it begins in, as far as it is known.
    `teams` limits who takes part, `usage` what counts as tokens and requests. `by` team is the default; by owner, the parts
    name feature, cost centre and environment too. Where nothing was measured the money stays unallocated and says why.

    Example: {"pools": ["support", "tax"], "basis": "direct_cost", "teams": ["search", "growth"], "by": "team"}
    """

    kind = "proportional"
    title = "In proportion"
    basis: str
    metric: str
    teams: Sequence[str]
    usage: Mapping[str, Sequence[str]]
    by: str

    @classmethod
    def fields(cls) -> Sequence[Field]:
        return (
            SELECT,
            PICKED,
            Field("basis", "In proportion to", "choice", "What is measured for each team.", "direct_cost", BASES),
            Field("metric", "Business metric", "text", "Its name, where shares follow a metric.", ""),
            TEAMS,
            USAGE,
            Field("by", "Parts name", "choice", "The team, or feature and cost centre too.", "team", _BY),
        )

    @property
    def reads_owners(self) -> bool:
        return True

    @classmethod
    def parse(cls, config: Mapping[str, Any]) -> Self:
        basis, metric, by = config.get("basis", "direct_cost"), config.get("metric", ""), config.get("by", "team")
        if basis not in BASES:
            raise BadRule(f"unknown basis {basis!r}; known: {', '.join(BASES)}")
        if not isinstance(metric, str) or bool(metric) != (basis == "metric"):
            raise BadRule(f"expected the name of a metric where the basis is metric, and only there, found {metric!r}")
        if by not in _BY:
            raise BadRule(f"expected by to be one of {', '.join(_BY)}, found {by!r}")
        usage = used(config)
        if usage and basis not in ("tokens", "requests"):
            raise BadRule(f"usage limits the bases tokens and requests, found {basis!r}")
        return cls(*picked(config), basis, metric, names(config, "teams"), usage, by)

    def weighing(self) -> Weighing:
        return Weighing(self.basis, teams=self.teams, usage=self.usage, metric=self.metric, by_owner=self.by == "owner")
