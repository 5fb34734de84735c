"""Ownership by the values of attributes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from attribution.rules.base import OWNED, VERIFIED, BadRule, Field, OwnershipRule, conditions, pattern, value_of


@dataclass(frozen=True, slots=True)
class Match(OwnershipRule):
    """Owns what has certain attributes.

    `when`: each attribute (or `model`, or `tags.NAME`) matches any of its values; `*` and `?` are wildcards; no `when`
    matches everything. `unless`: none of these matches. `set`: what the owner is: a text, or copies as `$attribute`, the
    first that is not empty of several separated by `|`. `lookup`: the value of one attribute names the owner through `table`
    (a team, or an object of team, feature, cost_centre and environment), or the team by itself when `known_teams` is true and
    there is a team of that name.

    Example: {"when": {"key": ["sk-search-*"]}, "set": {"team": "search", "feature": "$feature|$tags.feature"}}
    """

    kind = "match"
    title = "Owner by attribute"

    when: Mapping[str, list[str]]
    sets: Mapping[str, str]
    lookup: str = ""
    table: Mapping[str, Mapping[str, str]] | None = None
    known_teams: bool = False
    unless: Mapping[str, list[str]] = field(default_factory=dict)

    @classmethod
    def fields(cls) -> Sequence[Field]:
        return (
            Field("when", "Where", "conditions", "All of them must hold; none takes everything.", {}),
            Field("unless", "Except where", "conditions", "None of them may hold.", {}),
            Field("set", "Owner", "owner", "A name, or $attribute to copy it; several with | between them.", {}),
            Field("lookup", "Look the owner up", "lookup", "Instead of one owner: a table from values to owners.", {}),
        )

    @classmethod
    def parse(cls, config: Mapping[str, Any]) -> Self:
        sets, lookup = config.get("set", {}), config.get("lookup", {})
        if not isinstance(sets, Mapping) or not isinstance(lookup, Mapping) or not (sets or lookup):
            raise BadRule(f"expected set or lookup as an object, found {config!r}"[:300])
        unknown = [name for name in sets if name not in OWNED]
        if unknown:
            raise BadRule(f"cannot set {unknown[0]!r}; known: {', '.join(OWNED)}")
        if not all(isinstance(value, str) for value in sets.values()):
            raise BadRule(f"expected texts in set, found {sets!r}"[:300])
        if lookup and (not isinstance(lookup.get("attribute"), str) or not lookup["attribute"]):
            raise BadRule(f"expected lookup.attribute as a text, found {lookup.get('attribute')!r}")
        return cls(
            conditions(config, "when"),
            dict(sets),
            lookup.get("attribute", ""),
            _table(lookup.get("table", {})),
            bool(lookup.get("known_teams", False)),
            conditions(config, "unless"),
        )

    def own(self, *, attributes: Mapping[str, str], model: str, teams: frozenset[str]) -> dict[str, str]:
        if not self._matches(attributes, model):
            return {}
        owner = {name: self._value(text, attributes) for name, text in self.sets.items()}
        if self.lookup:
            found = value_of(attributes, self.lookup)
            listed = (self.table or {}).get(found)
            if listed is None and self.known_teams and found in teams:
                listed = {"team": found}
            owner |= listed or {}
        return {name: value for name, value in owner.items() if value}

    def models(self) -> Sequence[str]:
        return (*self.when.get("model", ()), *self.unless.get("model", ()))

    def claims(self, *, attributes: Mapping[str, str]) -> bool:
        if self.lookup and self._looked_up(attributes):
            return self.lookup not in VERIFIED
        for part in self.sets.get("team", "").split("|"):
            if part.startswith("$") and value_of(attributes, part[1:]):
                return part[1:] not in VERIFIED
            if part and not part.startswith("$"):
                return False
        return False

    @property
    def knows_key(self) -> bool:
        team = self.sets.get("team", "")
        return self.lookup == "key" or ("key" in self.when and bool(team) and "$" not in team)

    @property
    def follows_teams(self) -> bool:
        return self.known_teams

    def _looked_up(self, attributes: Mapping[str, str]) -> bool:
        found = value_of(attributes, self.lookup)
        return bool((self.table or {}).get(found, {}).get("team")) or (self.known_teams and bool(found))

    def _matches(self, attributes: Mapping[str, str], model: str) -> bool:
        return all(_is_any(globs, name, attributes, model) for name, globs in self.when.items()) and not any(
            _is_any(globs, name, attributes, model) for name, globs in self.unless.items()
        )

    @staticmethod
    def _value(text: str, attributes: Mapping[str, str]) -> str:
        for part in text.split("|"):
            value = value_of(attributes, part[1:]) if part.startswith("$") else part
            if value:
                return value
        return ""


def _is_any(globs: Sequence[str], name: str, attributes: Mapping[str, str], model: str) -> bool:
    found = model if name == "model" else value_of(attributes, name)
    return any(pattern(glob).match(found) for glob in globs)


def _table(found: Any) -> dict[str, dict[str, str]]:
    if not isinstance(found, Mapping):
        raise BadRule(f"expected lookup.table as an object, found {found!r}"[:300])
    table = {}
    for value, owner in found.items():
        parts = {"team": owner} if isinstance(owner, str) else owner
        if not isinstance(parts, Mapping) or not all(isinstance(part, str) for part in parts.values()):
            raise BadRule(f"expected a team or an object of texts for {value!r} in lookup.table, found {owner!r}"[:300])
        unknown = [name for name in parts if name not in OWNED]
        if unknown:
            raise BadRule(f"cannot set {unknown[0]!r} for {value!r}; known: {', '.join(OWNED)}")
        table[str(value)] = {name: text for name, text in parts.items() if text}
    return table
