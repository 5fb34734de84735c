"""The rules as one person would have them: changed one by one, kept until they are published or discarded."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

import orjson
from django.db import transaction

from attribution import own, rule_changes, rules
from attribution.models import Rule, RulesetDraft
from attribution.owning import RuleDraft
from attribution.rule_changes import Change
from attribution.rules.base import BadRule, SplitRule

_MOST_NAME = 120


class Refused(ValueError):
    """What was asked cannot be done; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Line:
    """One rule of a list. `key` names it while the list is a draft."""

    key: str
    rule: RuleDraft

    @property
    def summary(self) -> str:
        return rule_changes.summary(self.rule)

    @property
    def kind_title(self) -> str:
        return rule_changes.title(self.rule.kind)

    @property
    def is_split(self) -> bool:
        kind = rules.KINDS.get(self.rule.kind)
        return kind is not None and kind.is_split


@dataclass(frozen=True, slots=True)
class Draft:
    """The rules as one person would have them. `is_stored` is false while nothing was changed."""

    person: str
    base: int
    current: int
    lines: tuple[Line, ...]
    changes: tuple[Change, ...]
    is_stored: bool

    @property
    def is_stale(self) -> bool:
        return self.base != self.current

    @property
    def rules(self) -> list[RuleDraft]:
        return [line.rule for line in self.lines]

    def line(self, key: str) -> Line:
        """The rule called so. Raises Refused."""
        found = next((line for line in self.lines if line.key == key), None)
        if found is None:
            raise Refused("this rule is not in your draft any more; look at the list of rules")
        return found


def draft(*, person: str, now: datetime) -> Draft:
    """The draft of a person: the rules in force as long as there is none."""
    current = own.ensure_default_ruleset(now=now)
    row = RulesetDraft.objects.filter(person=person).first()
    base = int(row.base_id) if row is not None else current
    published = rules_in(base)
    lines = _lines(row.rules) if row is not None else _numbered(published)
    changes = rule_changes.between(published, [line.rule for line in lines]) if row is not None else []
    return Draft(person, base, current, tuple(lines), tuple(changes), row is not None)


def put(*, person: str, rule: RuleDraft, key: str = "", at: int | None = None, now: datetime) -> str:
    """Sets one rule of the draft, or adds it in front of everything (or at `at`) without `key`. Raises BadRule and Refused."""
    checked = checked_rule(rule)

    def change(lines: list[Line]) -> str:
        if key:
            place = _place(lines, key)
            lines[place] = Line(key, checked)
            return key
        new = _new_key(lines)
        lines.insert(0 if at is None else max(0, min(at, len(lines))), Line(new, checked))
        return new

    return _change(person, now, change)


def replace_all(*, person: str, rules_in_order: Sequence[RuleDraft], now: datetime) -> None:
    """Makes these the rules of the draft; rules that were there keep their names in the list. Raises BadRule."""
    for rule in rules_in_order:
        checked_rule(rule)

    def change(lines: list[Line]) -> str:
        known = rule_changes.matched([line.rule for line in lines], rules_in_order)
        kept = [lines[known[at]].key if at in known else "" for at in range(len(rules_in_order))]
        free = iter(_new_keys(lines))
        lines[:] = [Line(key or next(free), rule) for key, rule in zip(kept, rules_in_order, strict=True)]
        return ""

    _change(person, now, change)


def copy(*, person: str, key: str, now: datetime) -> str:
    """A copy of a rule behind it; returns its key. Raises Refused."""

    def change(lines: list[Line]) -> str:
        place = _place(lines, key)
        rule = lines[place].rule
        new = _new_key(lines)
        lines.insert(place + 1, Line(new, replace(rule, name=f"{rule.name[: _MOST_NAME - 7]} (copy)")))
        return new

    return _change(person, now, change)


def switch(*, person: str, key: str, is_active: bool, now: datetime) -> None:
    """Disables or enables a rule in the draft. Raises Refused."""

    def change(lines: list[Line]) -> str:
        place = _place(lines, key)
        lines[place] = Line(key, replace(lines[place].rule, is_active=is_active))
        return key

    _change(person, now, change)


def delete(*, person: str, key: str, now: datetime) -> None:
    """Takes a rule out of the draft. Raises Refused."""

    def change(lines: list[Line]) -> str:
        del lines[_place(lines, key)]
        return ""

    _change(person, now, change)


def step(*, person: str, key: str, by: int, now: datetime) -> None:
    """Moves a rule up (-1) or down (1) in the draft. Raises Refused."""

    def change(lines: list[Line]) -> str:
        place = _place(lines, key)
        lines.insert(max(0, min(place + by, len(lines) - 1)), lines.pop(place))
        return key

    _change(person, now, change)


def reorder(*, person: str, keys: Sequence[str], now: datetime) -> None:
    """Puts the rules of the draft in this order; what the order does not name stays behind the rule it follows now."""

    def change(lines: list[Line]) -> str:
        named = {line.key: line for line in lines}
        order = [key for key in dict.fromkeys(keys) if key in named]
        for at, line in enumerate(lines):
            if line.key not in order:
                order.insert(order.index(lines[at - 1].key) + 1 if at else 0, line.key)
        lines[:] = [named[key] for key in order]
        return ""

    _change(person, now, change)


def discard(*, person: str) -> bool:
    """Forgets the draft of a person; whether there was one."""
    return bool(RulesetDraft.objects.filter(person=person).delete()[0])


def rebase(*, person: str, now: datetime) -> list[str]:
    """Makes the draft's changes on top of the rules in force; returns where both changed the same rule."""
    with transaction.atomic():
        row = RulesetDraft.objects.select_for_update().filter(person=person).first()
        if row is None:
            return []
        current = own.ensure_default_ruleset(now=now)
        mine = [line.rule for line in _lines(row.rules)]
        merged, clashes = rule_changes.merged(rules_in(int(row.base_id)), mine, rules_in(current))
        row.base_id, row.changed_at = current, now
        row.rules = _stored(_numbered(merged, prefix="m"))
        row.save(update_fields=["base", "rules", "changed_at"])
    return clashes


def checked_rule(rule: RuleDraft) -> RuleDraft:
    """The rule with a tidy name, after everything about it that can be wrong was looked at. Raises BadRule."""
    name = " ".join(rule.name.split())
    if not name:
        raise BadRule("a rule needs a name")
    if len(name) > _MOST_NAME:
        raise BadRule(f"expected a name of at most {_MOST_NAME} characters, found {len(name)}")
    if rule.valid_from and rule.valid_to and rule.valid_to <= rule.valid_from:
        raise BadRule(f"a rule cannot end ({rule.valid_to}) before it begins ({rule.valid_from})")
    try:
        written = orjson.dumps([rule.name, rule.config], default=str).decode()
    except TypeError as problem:
        raise BadRule(f"the configuration cannot be stored: {problem}") from problem
    if "\\u0000" in written:
        raise BadRule("the name or the configuration holds a character that cannot be stored (NUL); take it out")
    parsed = rules.parse(rule.kind, rule.config)
    if isinstance(parsed, SplitRule):
        parsed.charges(prefix="check")  # a column that is not known is found here
    return replace(rule, name=name)


def _change(person: str, now: datetime, change: Callable[[list[Line]], str]) -> str:
    """Does `change` to the stored draft, beginning one where there is none."""
    current = own.ensure_default_ruleset(now=now)
    with transaction.atomic():
        RulesetDraft.objects.bulk_create(
            [RulesetDraft(person=person, base_id=current, rules=_stored(_numbered(rules_in(current))), changed_at=now)],
            ignore_conflicts=True,
        )
        row = RulesetDraft.objects.select_for_update().get(person=person)
        lines = _lines(row.rules)
        result = change(lines)
        row.rules, row.changed_at = _stored(lines), now
        row.save(update_fields=["rules", "changed_at"])
    return result


def _place(lines: Sequence[Line], key: str) -> int:
    for at, line in enumerate(lines):
        if line.key == key:
            return at
    raise Refused("this rule is not in your draft any more; look at the list of rules")


def _new_keys(lines: Iterable[Line]) -> Iterable[str]:
    taken = {line.key for line in lines}
    return (key for key in (f"n{number}" for number in range(1, 100_000)) if key not in taken)


def _new_key(lines: Iterable[Line]) -> str:
    return next(iter(_new_keys(lines)))


def _numbered(found: Iterable[RuleDraft], prefix: str = "p") -> list[Line]:
    return [Line(f"{prefix}{position}", rule) for position, rule in enumerate(found, start=1)]


def _stored(lines: Iterable[Line]) -> list[dict[str, Any]]:
    return [{"key": line.key, **document_of(line.rule)} for line in lines]


def document_of(rule: RuleDraft) -> dict[str, Any]:
    """A rule as JSON; `rule_of` is its inverse."""
    return {
        "kind": rule.kind,
        "name": rule.name,
        "config": dict(rule.config),
        "valid_from": rule.valid_from.isoformat() if rule.valid_from else None,
        "valid_to": rule.valid_to.isoformat() if rule.valid_to else None,
        "is_active": rule.is_active,
    }


def _lines(stored: Iterable[Mapping[str, Any]]) -> list[Line]:
    return [Line(one["key"], rule_of(one)) for one in stored]


def rule_of(document: Mapping[str, Any]) -> RuleDraft:
    """A rule from its JSON. Raises BadRule."""
    try:
        start, end = (
            date.fromisoformat(document[name]) if document.get(name) else None for name in ("valid_from", "valid_to")
        )
        config = document.get("config", {})
        if not isinstance(config, Mapping):
            raise BadRule(f"expected config as an object, found {config!r}"[:300])
        return RuleDraft(
            str(document["kind"]), str(document["name"]), config, start, end, bool(document.get("is_active", True))
        )
    except (KeyError, TypeError, ValueError) as problem:
        if isinstance(problem, BadRule):
            raise
        raise BadRule(f"expected kind, name, config, valid_from and valid_to of a rule: {problem!r}"[:300]) from problem


def rules_in(version_id: int) -> list[RuleDraft]:
    """The rules of one version, in order."""
    return rules_of([version_id])[version_id]


def rules_of(versions: Sequence[int]) -> dict[int, list[RuleDraft]]:
    """The rules of several versions."""
    found: dict[int, list[RuleDraft]] = {version_id: [] for version_id in versions}
    for row in Rule.objects.filter(ruleset_id__in=versions).order_by("ruleset_id", "position"):
        rule = RuleDraft(row.kind, row.name, row.config, row.valid_from, row.valid_to, row.is_active)
        found[row.ruleset_id].append(rule)
    return found
