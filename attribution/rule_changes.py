"""How two lists of rules differ, in words; and the same change made to a list that somebody else has changed as well."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from difflib import SequenceMatcher
from typing import Any, Literal

from attribution import rules
from attribution.owning import ALWAYS, FOREVER, RuleDraft
from attribution.rules import words

What = Literal["added", "removed", "changed", "moved"]


@dataclass(frozen=True, slots=True)
class Change:
    """One difference: `details` say what is other in a rule that is in both lists."""

    what: What
    name: str
    summary: str
    details: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.name} {self.what}: {'; '.join(self.details) or self.summary}"


def summary(rule: RuleDraft) -> str:
    """What a rule does, in a sentence."""
    return words.summary(rules.KINDS.get(rule.kind), rule.config)


def title(kind: str) -> str:
    """What people call a kind."""
    return rules.KINDS[kind].title if kind in rules.KINDS else kind


def between(old: Sequence[RuleDraft], new: Sequence[RuleDraft]) -> list[Change]:
    """What was done to `old` to make it `new`: removed rules first, then the new list from the top."""
    pairs = matched(old, new)
    stayed = _in_order([pairs[at] for at in sorted(pairs)])
    found = [Change("removed", one.name, summary(one)) for at, one in enumerate(old) if at not in pairs.values()]
    for at, one in enumerate(new):
        if at not in pairs:
            found.append(Change("added", one.name, summary(one)))
            continue
        details = _details(old[pairs[at]], one)
        if pairs[at] not in stayed:
            details.append(f"place {pairs[at] + 1} → {at + 1}")
        if details:
            what: What = "changed" if len(details) > (pairs[at] not in stayed) else "moved"
            found.append(Change(what, one.name, summary(one), tuple(details)))
    return found


def matched(old: Sequence[RuleDraft], new: Sequence[RuleDraft]) -> dict[int, int]:
    """Which rule of `new` is which of `old`: the same in all, else of one kind and name, else of one kind and content."""
    found: dict[int, int] = {}
    keys = (
        lambda one: (one.kind, one.name, _frozen(one.config), one.valid_from, one.valid_to, one.is_active),
        lambda one: (one.kind, one.name),
        lambda one: (one.kind, _frozen(one.config)),
    )
    for key in keys:
        free: dict[Any, list[int]] = {}
        for at, one in enumerate(old):
            if at not in found.values():
                free.setdefault(key(one), []).append(at)
        for at, one in enumerate(new):
            if at not in found and free.get(key(one)):
                found[at] = free[key(one)].pop(0)
    return found


def merged(
    base: Sequence[RuleDraft], mine: Sequence[RuleDraft], theirs: Sequence[RuleDraft]
) -> tuple[list[RuleDraft], list[str]]:
    """My changes on top of theirs, and where both changed the same rule: mine is kept there, and that is said."""
    of_mine, of_theirs = matched(base, mine), {old: new for new, old in matched(base, theirs).items()}
    result: list[RuleDraft] = []
    clashes = []
    for at, one in enumerate(mine):
        old = of_mine.get(at)
        other = theirs[of_theirs[old]] if old is not None and old in of_theirs else None
        if old is None:
            result.append(one)
        elif one == base[old]:
            result += [other] if other is not None else []
        else:
            result.append(one)
            if other not in (base[old], one):
                clashes.append(
                    f"{one.name}: you changed it and {'it was removed' if other is None else 'so did they'}; yours is kept"
                )
    known = {new: old for old, new in of_theirs.items()}
    for at, other in enumerate(theirs):
        if at not in known:
            result.insert(min(at, len(result)), other)
        elif known[at] not in of_mine.values() and other != base[known[at]]:
            clashes.append(f"{other.name}: you removed it and it was changed; it stays removed")
    return result, clashes


def split_span(old: Sequence[RuleDraft], new: Sequence[RuleDraft]) -> tuple[date, date] | None:
    """The days whose splits differ between two lists, None when no split does; the end is exclusive."""
    before, after = _splits(old), _splits(new)
    matcher = SequenceMatcher(
        a=[_split_key(one) for one in before], b=[_split_key(one) for one in after], autojunk=False
    )
    changed = [
        one for op, a0, a1, b0, b1 in matcher.get_opcodes() if op != "equal" for one in (*before[a0:a1], *after[b0:b1])
    ]
    if any(_reads_owners(one) for one in after) and _ownership(old) != _ownership(new):
        return ALWAYS, FOREVER
    if not changed:
        return None
    return min(one.valid_from or ALWAYS for one in changed), max(one.valid_to or FOREVER for one in changed)


def renamed(rule: RuleDraft, name: str) -> RuleDraft:
    """A copy under another name."""
    return replace(rule, name=name)


def _in_order(positions: Sequence[int]) -> set[int]:
    """The most positions that are in rising order: what is not among them was moved."""
    best: list[list[int]] = [[]]
    for position in positions:
        before = max([chain for chain in best if not chain or chain[-1] < position], key=len)
        best.append([*before, position])
    return {*max(best, key=len)}


def _details(old: RuleDraft, new: RuleDraft) -> list[str]:
    found = []
    if old.name != new.name:
        found.append(f"name {old.name} → {new.name}")
    if _frozen(old.config) != _frozen(new.config):
        before, after = summary(old), summary(new)
        found += [f"was: {before}", f"is: {after}"] if before != after else _keys(old.config, new.config)
    if old.is_active != new.is_active:
        found.append("enabled" if new.is_active else "disabled")
    for name, before_day, after_day in (
        ("from", old.valid_from, new.valid_from),
        ("until", old.valid_to, new.valid_to),
    ):
        if before_day != after_day:
            found.append(f"{name} {before_day or 'always'} → {after_day or 'always'}")
    return found


def _keys(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What is other in two configurations that read alike, a long table above all."""
    found = []
    for key in sorted({*old, *new}):
        before, after = old.get(key), new.get(key)
        if before == after:
            continue
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found += [f"{key}, {line}" for line in _keys(before, after)]
        else:
            found.append(f"{key} {_short(before)} → {_short(after)}")
    return [*found[:20], *([f"{len(found) - 20} more"] if len(found) > 20 else [])]


def _short(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 80 else f"{text[:77]}…"


def _frozen(value: Any) -> Any:
    if isinstance(value, Mapping):
        return tuple((key, _frozen(each)) for key, each in sorted(value.items()))
    if isinstance(value, list | tuple):
        return tuple(map(_frozen, value))
    return value


def _splits(found: Sequence[RuleDraft]) -> list[RuleDraft]:
    return [one for one in found if one.is_active and one.kind in rules.KINDS and rules.KINDS[one.kind].is_split]


def _split_key(one: RuleDraft) -> Any:
    return one.kind, _frozen(one.config), one.valid_from, one.valid_to


def _ownership(found: Sequence[RuleDraft]) -> list[Any]:
    return [
        _split_key(one)
        for one in found
        if one.is_active and one.kind in rules.KINDS and not rules.KINDS[one.kind].is_split
    ]


def _reads_owners(one: RuleDraft) -> bool:
    return rules.parse(one.kind, one.config).reads_owners
