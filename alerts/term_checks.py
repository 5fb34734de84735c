"""What the terms of a budget may be: every mistake beside the field it is in."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from functools import cache
from zoneinfo import available_timezones

from alerts import spans, tree
from alerts.actions.base import MAX_MATCHES
from alerts.models import Budget
from alerts.rows import BudgetTerms

ROLLOVERS = ("none", "unused", "overrun", "both")
UNREACHABLE = ("closed", "open")
CRITICALITIES = ("low", "normal", "high", "critical")
# What a gate can tell of a request before it is served; a hard budget can stand on nothing else.
HARD_DIMENSIONS = ("team", "feature", "model", "key", "environment")
_MOST_ROLLING_DAYS = 366
_MOST_TOKENS = 10_000_000
_FIRST, _LAST = date(2000, 1, 1), date(2200, 1, 1)
_MOST_PROTECTED = 50


@dataclass(frozen=True, slots=True)
class About:
    """The rest of the budget, which its terms must fit."""

    period: str
    scope: Mapping[str, Sequence[str]]
    budget_id: int | None
    is_sample: bool


def check(terms: BudgetTerms, about: About, errors: dict[str, str]) -> BudgetTerms:
    """The terms with clean values; what is wrong is added to `errors` by field."""
    for checks in (_time(terms, about), _money(terms, about), _hardness(terms, about), _kinship(terms, about)):
        for name, text in checks:
            errors.setdefault(name, text)
    protected = _protected(terms.protected, errors)
    return replace(terms, zone=terms.zone.strip(), protected=protected)


@cache
def zones() -> tuple[str, ...]:
    """The zones that are known, by name."""
    return tuple(sorted(available_timezones()))


def _time(terms: BudgetTerms, about: About) -> Iterator[tuple[str, str]]:
    if terms.zone.strip() not in zones():
        yield "zone", f"expected a name of the IANA list such as Europe/Berlin or UTC, found {terms.zone!r}"
    days = terms.rolling_days
    if about.period == spans.ROLLING:
        if days is None or not 1 <= days <= _MOST_ROLLING_DAYS:
            yield "rolling_days", f"a rolling budget needs 1 to {_MOST_ROLLING_DAYS} days, found {days or 'none'}"
    elif days is not None:
        yield "rolling_days", f"only a rolling budget has these; the period is {about.period}"
    for name in ("starts_on", "ends_on"):
        day = getattr(terms, name)
        if day is not None and not _FIRST <= day <= _LAST:
            yield name, f"expected a day from {_FIRST} to {_LAST}, found {day}"
    if terms.starts_on and terms.ends_on and terms.ends_on <= terms.starts_on:
        yield "ends_on", f"expected a day after the first one ({terms.starts_on}), found {terms.ends_on}"


def _money(terms: BudgetTerms, about: About) -> Iterator[tuple[str, str]]:
    if terms.rollover not in ROLLOVERS:
        yield "rollover", f"expected one of {', '.join(ROLLOVERS)}, found {terms.rollover!r}"
    elif terms.rollover != "none" and about.period == spans.ROLLING:
        yield "rollover", "a rolling budget has no next period to carry anything into"
    if terms.rollover_cap_percent is not None:
        if terms.rollover == "none":
            yield "rollover_cap_percent", "nothing is carried over, so there is nothing to cap"
        elif wrong := _percent(terms.rollover_cap_percent, 1000):
            yield "rollover_cap_percent", wrong
    if terms.borrow_percent is not None:
        if about.period == spans.ROLLING:
            yield "borrow_percent", "a rolling budget has no next period to borrow from"
        elif wrong := _percent(terms.borrow_percent, 100):
            yield "borrow_percent", wrong


def _hardness(terms: BudgetTerms, about: About) -> Iterator[tuple[str, str]]:
    if terms.on_unreachable not in UNREACHABLE:
        yield "on_unreachable", f"expected one of {', '.join(UNREACHABLE)}, found {terms.on_unreachable!r}"
    if terms.default_max_tokens is not None and not 1 <= terms.default_max_tokens <= _MOST_TOKENS:
        yield "default_max_tokens", f"expected 1 to {_MOST_TOKENS} tokens, found {terms.default_max_tokens}"
    if terms.criticality not in CRITICALITIES:
        yield "criticality", f"expected one of {', '.join(CRITICALITIES)}, found {terms.criticality!r}"
    if not terms.is_hard:
        if terms.aborts_running:
            yield "aborts_running", "only a hard budget ends what runs; make it hard, or leave this out"
        return
    yield from _held_by_gates(about)


def _held_by_gates(about: About) -> Iterator[tuple[str, str]]:
    """Why gates could not hold it."""
    if about.period == spans.ROLLING:
        yield (
            "is_hard",
            "a rolling budget has no period of its own that amounts could be lent for; choose another period",
        )
    foreign = sorted(set(about.scope) - set(HARD_DIMENSIONS))
    combinations = 1
    for values in about.scope.values():
        combinations *= len(values)
    if foreign:
        known = ", ".join(HARD_DIMENSIONS)
        yield (
            "is_hard",
            f"a hard budget needs a scope of {known} only, because a gate knows no more; found {', '.join(foreign)}",
        )
    elif not about.scope:
        yield "is_hard", f"a hard budget needs a scope: name at least one of {', '.join(HARD_DIMENSIONS)}"
    elif combinations > MAX_MATCHES:
        yield "is_hard", f"a hard budget can name {MAX_MATCHES} combinations of values, found {combinations}"


def _kinship(terms: BudgetTerms, about: About) -> Iterator[tuple[str, str]]:
    if terms.parent_id is None:
        return
    parent = Budget.objects.filter(pk=terms.parent_id).first()
    if parent is None:
        yield "parent", f"there is no budget {terms.parent_id}"
        return
    if parent.is_sample != about.is_sample:
        yield "parent", "a budget of the sample and one of yours cannot belong together"
        return
    known = tree.parents()
    above = tree.chain(known, terms.parent_id)
    if about.budget_id is not None and about.budget_id in above:
        yield "parent", f"{parent.name!r} lies below this budget, so it cannot be above it too"
        return
    below = 0 if about.budget_id is None else tree.depth_below(known, about.budget_id)
    if len(above) + 1 + below > tree.MOST_LEVELS:
        yield "parent", f"expected at most {tree.MOST_LEVELS} levels, found {len(above) + 1 + below}"


def _percent(percent: Decimal, most: int) -> str:
    if not percent.is_finite() or not 0 < percent <= most:
        return f"expected a percentage above 0 and up to {most}, found {percent}"
    if percent != percent.quantize(Decimal("0.01")):
        return f"expected a percentage with two decimals at most, found {percent}"
    return ""


def _protected(
    scopes: Sequence[Mapping[str, Sequence[str]]], errors: dict[str, str]
) -> tuple[dict[str, list[str]], ...]:
    if len(scopes) > _MOST_PROTECTED:
        errors["protected"] = f"expected at most {_MOST_PROTECTED} protected scopes, found {len(scopes)}"
        return ()
    clean: list[dict[str, list[str]]] = []
    for number, scope in enumerate(scopes, start=1):
        named = {name: sorted({value.strip() for value in values if value.strip()}) for name, values in scope.items()}
        foreign = sorted(set(named) - set(HARD_DIMENSIONS))
        if foreign:
            known = ", ".join(HARD_DIMENSIONS)
            errors["protected"] = (
                f"scope {number}: expected {known}, because a gate knows no more; found {foreign[0]!r}"
            )
        elif any("\x00" in value for values in named.values() for value in values):
            errors["protected"] = f"scope {number}: a value holds a null character, which no name has"
        elif not named or not all(named.values()):
            errors["protected"] = f"scope {number} names no value"
        clean.append(dict(sorted(named.items())))
    return tuple(clean)
