"""Ownership by the values of attributes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from attribution.rules.base import OWNED, BadRule, OwnershipRule, conditions, pattern, value_of


@dataclass(frozen=True, slots=True)
class Match(OwnershipRule):
    """Owns what has certain attributes.

    `when`: each attribute (or `model`, or `tags.NAME`) matches any of its values; `*` and `?` are wildcards; no `when`
    matches everything. `set`: what the owner is: a text, or copies as `$attribute`, the first that is not empty of several
    separated by `|`. `lookup`: the value of one attribute names the team through `table`, or by itself when `known_teams`
    is true and there is a team of that name.

    Example: {"when": {"key": ["sk-search-*"]}, "set": {"team": "search", "feature": "$feature|$tags.feature"}}
    """

    kind = "match"
    title = "Owner by attribute"

    when: Mapping[str, list[str]]
    sets: Mapping[str, str]
    lookup: str = ""
    table: Mapping[str, str] | None = None
    known_teams: bool = False

    @classmethod
    def parse(cls, config: Mapping[str, Any]) -> Self:
        sets, lookup = config.get("set", {}), config.get("lookup", {})
        if not isinstance(sets, Mapping) or not isinstance(lookup, Mapping) or not (sets or lookup):
            raise BadRule(f"expected set or lookup as an object, found {config!r}")
        unknown = [name for name in sets if name not in OWNED]
        if unknown:
            raise BadRule(f"cannot set {unknown[0]!r}; known: {', '.join(OWNED)}")
        if not all(isinstance(value, str) for value in sets.values()):
            raise BadRule(f"expected texts in set, found {sets!r}")
        if lookup and not isinstance(lookup.get("attribute"), str):
            raise BadRule(f"expected lookup.attribute as a text, found {lookup!r}")
        return cls(
            conditions(config, "when"),
            dict(sets),
            lookup.get("attribute", ""),
            dict(lookup.get("table", {})),
            bool(lookup.get("known_teams", False)),
        )

    def own(self, *, attributes: Mapping[str, str], model: str, teams: frozenset[str]) -> dict[str, str]:
        if not self._matches(attributes, model):
            return {}
        owner = {name: self._value(text, attributes) for name, text in self.sets.items()}
        if self.lookup:
            found = value_of(attributes, self.lookup)
            team = (self.table or {}).get(found, found if self.known_teams and found in teams else "")
            owner["team"] = team or owner.get("team", "")
        return {name: value for name, value in owner.items() if value}

    def models(self) -> Sequence[str]:
        return self.when.get("model", ())

    def _matches(self, attributes: Mapping[str, str], model: str) -> bool:
        for name, globs in self.when.items():
            found = model if name == "model" else value_of(attributes, name)
            if not any(pattern(glob).match(found) for glob in globs):
                return False
        return True

    @staticmethod
    def _value(text: str, attributes: Mapping[str, str]) -> str:
        for part in text.split("|"):
            value = value_of(attributes, part[1:]) if part.startswith("$") else part
            if value:
                return value
        return ""
