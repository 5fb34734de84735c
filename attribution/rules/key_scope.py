"""Which teams a key may speak for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from attribution.rules.base import BadRule, Field, OwnershipRule, pattern

EVERY_TEAM = "*"
_CHOICES = ("count", "ignore")


@dataclass(frozen=True, slots=True)
class KeyScope(OwnershipRule):
    """Says for which teams a header, a tag or another attribute of a call counts, by the key of the call.

    It owns nothing itself. `keys`: a key (`*` and `?` are wildcards) and the teams that calls with it may name; `*` is every
    team. A key may always speak for its own owner. A key that is not listed and has an owner may speak for nobody else.
    `others`: what a name counts on a key that is not listed and has no owner: `count` or `ignore`.

    Example: {"keys": {"sk-gateway-*": ["*"], "sk-batch": ["search", "research"]}, "others": "count"}
    """

    kind = "key_scope"
    title = "Teams a key may speak for"

    keys: Mapping[str, Sequence[str]]
    others: str = "count"

    @classmethod
    def fields(cls) -> Sequence[Field]:
        return (
            Field(
                "keys",
                "Keys and their teams",
                "scopes",
                "A key may always speak for its own owner; * is every team.",
                {},
            ),
            Field(
                "others",
                "A team named with a key that is not listed and has no owner",
                "choice",
                "Count it as named, or ignore the name.",
                "count",
                _CHOICES,
            ),
        )

    @classmethod
    def parse(cls, config: Mapping[str, Any]) -> Self:
        keys, others = config.get("keys", {}), config.get("others", "count")
        if not isinstance(keys, Mapping):
            raise BadRule(f"expected keys as an object of lists, found {keys!r}"[:300])
        for key, teams in keys.items():
            if not isinstance(teams, list) or not teams or not all(isinstance(team, str) and team for team in teams):
                raise BadRule(f"expected the teams of {key!r} as a list of names, found {teams!r}"[:300])
        if others not in _CHOICES:
            raise BadRule(f"expected others as one of {', '.join(_CHOICES)}, found {others!r}")
        return cls({str(key): tuple(teams) for key, teams in keys.items()}, others)

    def own(self, *, attributes: Mapping[str, str], model: str, teams: frozenset[str]) -> dict[str, str]:
        return {}

    def models(self) -> Sequence[str]:
        return ()

    def teams_of(self, key: str) -> frozenset[str]:
        """The teams that calls with this key may name; none where the key is not listed."""
        return frozenset(team for glob, teams in self.keys.items() if pattern(glob).match(key) for team in teams)
