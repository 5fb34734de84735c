"""Who owns an attribute set by a list of rules: pure evaluation, without a table, for `own`, previews and findings alike."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from difflib import SequenceMatcher
from typing import Any

from attribution import rules
from attribution.rules.base import OWNED, Owner, OwnershipRule
from attribution.rules.key_scope import EVERY_TEAM, KeyScope

ALWAYS, FOREVER = date(1970, 1, 1), date(9999, 12, 31)
# Anybody may push a name, and a longer one than an index holds would stop the books of everybody.
_MOST_NAME = 200


@dataclass(frozen=True, slots=True)
class RuleDraft:
    """One rule before it is part of a version."""

    kind: str
    name: str
    config: Mapping[str, Any] = field(default_factory=dict)
    valid_from: date | None = None
    valid_to: date | None = None
    is_active: bool = True


@dataclass(frozen=True, slots=True)
class Active:
    """An ownership rule in force on some days; `id` is None before it is part of a version."""

    id: int | None
    rule: OwnershipRule
    valid_from: date
    valid_to: date

    def is_in_force(self, day: date) -> bool:
        return self.valid_from <= day < self.valid_to


@dataclass(frozen=True, slots=True)
class Stretch:
    """Days in which the owner of a set stays the same, and the rule that gave the team."""

    start: date
    end: date  # exclusive
    owner: Owner
    rule_id: int | None


def active(rule_id: int | None, draft: RuleDraft) -> Active | None:
    """The draft as an ownership rule; None when it is a split or switched off. Raises BadRule."""
    parsed = rules.parse(draft.kind, draft.config)
    if not draft.is_active or not isinstance(parsed, OwnershipRule):
        return None
    return Active(rule_id, parsed, draft.valid_from or ALWAYS, draft.valid_to or FOREVER)


def starts_of(rules_in_order: Iterable[Active]) -> list[date]:
    """The days on which the answer may change, the first of all among them."""
    asked = list(rules_in_order)
    return sorted({ALWAYS, *(one.valid_from for one in asked), *(one.valid_to for one in asked)} - {FOREVER})


def owner(
    rules_in_order: Sequence[Active], attributes: Mapping[str, str], model: str, day: date, teams: frozenset[str]
) -> tuple[Owner, int | None]:
    """For each part of the owner the first rule that knows it, and the id of the rule that gave the team.

    A set that a split made names its owner itself; no rule may move it. A team that the call itself names counts only where
    its key may speak for that team; otherwise the next rule is asked.
    """
    if attributes.get("allocated"):
        return Owner(*(attributes.get(name, "") for name in OWNED)), None
    found: dict[str, str] = {}
    by = None
    for one in rules_in_order:
        if not one.is_in_force(day):
            continue
        for name, value in one.rule.own(attributes=attributes, model=model, teams=teams).items():
            if name in found:
                continue
            if name == "team":
                if is_spoofed(rules_in_order, one, value, attributes, model, day, teams):
                    continue
                by = one.id
            found[name] = value
    return Owner(*(found.get(name, "")[:_MOST_NAME] for name in OWNED)), by


def stretches(
    rules_in_order: Sequence[Active],
    starts: Sequence[date],
    attributes: Mapping[str, str],
    model: str,
    teams: frozenset[str],
) -> Iterator[Stretch]:
    """The owner of a set over all days, one stretch for each change."""
    found: list[tuple[date, tuple[Owner, int | None]]] = []
    for start in starts:
        given = owner(rules_in_order, attributes, model, start, teams)
        if not found or found[-1][1] != given:
            found.append((start, given))
    ends = [start for start, _ in found[1:]] + [FOREVER]
    for (start, (owned, rule_id)), end in zip(found, ends, strict=True):
        yield Stretch(start, end, owned, rule_id)


def is_spoofed(
    rules_in_order: Sequence[Active],
    one: Active,
    team: str,
    attributes: Mapping[str, str],
    model: str,
    day: date,
    teams: frozenset[str],
) -> bool:
    """Whether `one` gives a team that the call names itself and its key may not speak for. Without a key nothing is checked."""
    key = attributes.get("key", "")
    if not key or not one.rule.claims(attributes=attributes):
        return False
    scopes = [each.rule for each in rules_in_order if isinstance(each.rule, KeyScope) and each.is_in_force(day)]
    allowed = frozenset[str]().union(*(scope.teams_of(key) for scope in scopes))
    if team in allowed or EVERY_TEAM in allowed:
        return False
    owned_by = key_owner(rules_in_order, attributes, model, day, teams)
    if owned_by:
        return team != owned_by
    return bool(allowed) or any(scope.others == "ignore" for scope in scopes)


def key_owner(
    rules_in_order: Iterable[Active], attributes: Mapping[str, str], model: str, day: date, teams: frozenset[str]
) -> str:
    """Whose the key of a call is, by the first rule that says so; "" where none does."""
    for one in rules_in_order:
        if one.rule.knows_key and one.is_in_force(day) and not one.rule.claims(attributes=attributes):
            team = one.rule.own(attributes=attributes, model=model, teams=teams).get("team", "")
            if team:
                return team
    return ""


def answers(one: Active, attributes: Mapping[str, str], models: Iterable[str], teams: frozenset[str]) -> bool:
    """Whether the rule says anything about a set, on whatever day and for whichever of the models."""
    return any(one.rule.own(attributes=attributes, model=model, teams=teams) for model in ("", *models))


def compare(old: Sequence[Active], new: Sequence[Active]) -> tuple[dict[int | None, int | None], list[Active]]:
    """The rules both have in the same order, old id to new, and all others of either."""

    def signature(one: Active) -> str:
        return f"{one.rule!r} {one.valid_from} {one.valid_to}"

    matcher = SequenceMatcher(a=[signature(one) for one in old], b=[signature(one) for one in new], autojunk=False)
    kept: dict[int | None, int | None] = {}
    for block in matcher.get_matching_blocks():
        for at in range(block.size):
            kept[old[block.a + at].id] = new[block.b + at].id
    same = set(kept.values())
    return kept, [*(one for one in old if one.id not in kept), *(one for one in new if one.id not in same)]
