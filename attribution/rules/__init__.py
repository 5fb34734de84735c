"""Every kind of rule."""

from collections.abc import Mapping
from typing import Any

from attribution.rules.base import BadRule, Rule
from attribution.rules.even_split import EvenSplit
from attribution.rules.fixed_split import FixedSplit
from attribution.rules.follow import Follow
from attribution.rules.gpu_share import GpuShare
from attribution.rules.keep_unallocated import KeepUnallocated
from attribution.rules.key_scope import KeyScope
from attribution.rules.match import Match
from attribution.rules.proportional import Proportional
from attribution.rules.token_share import TokenShare

KINDS: Mapping[str, type[Rule]] = {
    kind.kind: kind
    for kind in (Match, KeyScope, Proportional, FixedSplit, EvenSplit, TokenShare, Follow, KeepUnallocated, GpuShare)
}


def parse(kind: str, config: Mapping[str, Any]) -> Rule:
    """The rule of one kind in a configuration. Raises BadRule."""
    if kind not in KINDS:
        raise BadRule(f"unknown kind of rule {kind!r}; known: {', '.join(KINDS)}")
    return KINDS[kind].parse(config)
