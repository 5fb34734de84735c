"""Owners from a file: a table of a spreadsheet, or a service catalogue, as one lookup rule for each attribute."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from attribution.owner_files import MOST_BYTES, Row, Unreadable, decoded, read, words_of
from attribution.owning import RuleDraft

Verdict = Literal["new", "changed", "same", "unusable"]
NAME = "Imported owners by {}"


@dataclass(frozen=True, slots=True)
class Judged:
    """A row beside what the rules say today."""

    row: Row
    verdict: Verdict
    before: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Plan:
    """What an import would do: every row judged, and the rules as they would be."""

    rows: tuple[Judged, ...]
    rules: tuple[RuleDraft, ...]

    def count(self, verdict: Verdict) -> int:
        return sum(one.verdict == verdict for one in self.rows)

    @property
    def changes_anything(self) -> bool:
        return bool(self.count("new") + self.count("changed"))


def plan(rows: Sequence[Row], rules: Sequence[RuleDraft]) -> Plan:
    """What the rows would change in these rules: one lookup rule for each attribute, behind the rules a person wrote on top.

    Values that were imported before and are not in the file stay. A row with the owner that is there already is the same.
    """
    found = list(rules)
    tables = {attribute: _imported(found, attribute) for attribute in dict.fromkeys(row.attribute for row in rows)}
    judged = []
    for row in rows:
        if row.problem:
            judged.append(Judged(row, "unusable", {}))
            continue
        before = _parts(tables[row.attribute].get(row.value))
        verdict: Verdict = "new" if not before else "same" if before == dict(row.owner) else "changed"
        judged.append(Judged(row, verdict, before))
    for attribute in tables:
        owners = {
            one.row.value: dict(one.row.owner)
            for one in judged
            if one.row.attribute == attribute and not one.row.problem
        }
        if owners:
            _put(found, attribute, tables[attribute] | {value: _short(owner) for value, owner in owners.items()})
    return Plan(tuple(judged), tuple(found))


def _imported(rules: Sequence[RuleDraft], attribute: str) -> dict[str, Any]:
    place = _place(rules, attribute)
    return dict(rules[place].config["lookup"].get("table") or {}) if place is not None else {}


def _place(rules: Sequence[RuleDraft], attribute: str) -> int | None:
    for at, rule in enumerate(rules):
        if rule.kind == "match" and rule.name == NAME.format(words_of(attribute)):
            lookup = rule.config.get("lookup")
            if isinstance(lookup, Mapping) and lookup.get("attribute") == attribute:
                return at
    return None


def _put(rules: list[RuleDraft], attribute: str, table: Mapping[str, Any]) -> None:
    place = _place(rules, attribute)
    if place is not None:
        config = {**rules[place].config, "lookup": {**rules[place].config["lookup"], "table": dict(table)}}
        rules[place] = replace(rules[place], config=config)
        return
    made = RuleDraft(
        "match", NAME.format(words_of(attribute)), {"lookup": {"attribute": attribute, "table": dict(table)}}
    )
    # In front of the first rule that looks the same attribute up, else before what only falls back: tags and namespaces.
    at = next((at for at, rule in enumerate(rules) if _looks_up(rule) == attribute), None)
    if at is None:
        at = next((at for at, rule in enumerate(rules) if _is_fallback(rule)), len(rules))
    rules.insert(at, made)


def _looks_up(rule: RuleDraft) -> str:
    lookup = rule.config.get("lookup") if rule.kind == "match" else None
    return str(lookup.get("attribute", "")) if isinstance(lookup, Mapping) else ""


def _is_fallback(rule: RuleDraft) -> bool:
    sets = rule.config.get("set") if rule.kind == "match" else None
    return _looks_up(rule) == "namespace" or (
        isinstance(sets, Mapping) and str(sets.get("team", "")).startswith("$tags.")
    )


def _parts(owner: Any) -> dict[str, str]:
    if isinstance(owner, str):
        return {"team": owner} if owner else {}
    return {str(name): str(value) for name, value in owner.items() if value} if isinstance(owner, Mapping) else {}


def _short(owner: Mapping[str, str]) -> str | dict[str, str]:
    return owner["team"] if set(owner) == {"team"} else dict(owner)


__all__ = ["MOST_BYTES", "Judged", "Plan", "Row", "Unreadable", "decoded", "plan", "read"]
