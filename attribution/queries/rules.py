"""The rules in force, in their order, in words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from attribution import rules
from attribution.models import Rule
from attribution.rules.pools import POOLS


@dataclass(frozen=True, slots=True)
class RuleLine:
    """One rule: `kind` is its title for people, `summary` says what it does."""

    position: int
    kind: str
    name: str
    summary: str
    valid_from: date | None = None
    valid_to: date | None = None  # exclusive


def rules_in_force() -> list[RuleLine]:
    """The active rules of the current version, the first to be asked first."""
    found = Rule.objects.filter(ruleset__is_current=True, is_active=True).order_by("position")
    return [
        RuleLine(rule.position, rules.KINDS[rule.kind].title, rule.name, _summary(rule), rule.valid_from, rule.valid_to)
        for rule in found
    ]


def _summary(rule: Rule) -> str:
    config: Mapping[str, Any] = rule.config
    match rule.kind:
        case "match":
            parts = [_lookup(config.get("lookup", {})), *_sets(config.get("set", {})), _conditions(config, "when")]
        case "even_split":
            teams = _listed(config.get("teams", [])) or "all teams with direct cost"
            parts = [f"equal shares for {teams}", *_picked(config)]
        case "proportional":
            parts = [_basis(config), *_picked(config), _conditions(config, "usage")]
        case "follow":
            parts = ["to the owners of what it is about", *_picked(config)]
        case "keep_unallocated":
            parts = ["left unallocated", *_picked(config)]
        case "fixed_split":
            shares = [f"{team} {share}" for team, share in config.get("shares", {}).items()]
            parts = [f"shares {_listed(shares)}", *_picked(config)]
        case "gpu_share":
            owners = [f"{name} to {team}" for name, team in config.get("deployment_owners", {}).items()]
            parts = [
                "busy time to the requests",
                f"idle time of {_listed(owners)}" if owners else "idle time has no owner",
            ]
        case _:
            parts = ["by tokens used", *_picked(config)]
    return "; ".join(part for part in parts if part)


def _picked(config: Mapping[str, Any]) -> list[str]:
    pools = [POOLS[name].title.lower() for name in config.get("pools") or () if name in POOLS]
    return [f"of {_listed(pools)}" if pools else "", _conditions(config, "select")]


def _basis(config: Mapping[str, Any]) -> str:
    basis = str(config.get("basis", "direct_cost")).replace("_", " ").replace("gpu", "GPU")
    measured = f"the metric {config.get('metric', '')}" if basis == "metric" else basis
    teams = config.get("teams") or ()
    return f"in proportion to {measured}{f', for {_listed(teams)}' if teams else ''}"


def _lookup(lookup: Mapping[str, Any]) -> str:
    if not lookup:
        return ""
    table = lookup.get("table") or {}
    known = " or the value itself, if a team is called so" if lookup.get("known_teams") else ""
    return f"team by {lookup['attribute']}, {len(table)} listed{known}"


def _sets(sets: Mapping[str, str]) -> list[str]:
    return [f"{name} from {', else '.join(_source(part) for part in text.split('|'))}" for name, text in sets.items()]


def _source(part: str) -> str:
    return part.removeprefix("$") if part.startswith("$") else f"the fixed value {part}"


def _conditions(config: Mapping[str, Any], key: str) -> str:
    found = config.get(key) or {}
    return " and ".join(f"where {name} is {_listed(values, 'or')}" for name, values in found.items())


def _listed(values: Sequence[Any], last: str = "and") -> str:
    words = [str(value) for value in values]
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} {last} {words[-1]}"
