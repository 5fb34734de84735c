"""What a rule does, in a sentence a person reads: "key is sk-search-* → team search"."""

from collections.abc import Mapping, Sequence
from typing import Any

from attribution.rules.base import Rule
from attribution.rules.pools import POOLS

_PARTS = {"team": "team", "feature": "feature", "cost_centre": "cost centre", "environment": "environment"}
_PLAINLY = {"follow": "to the owners of what it is about", "keep_unallocated": "left unallocated"}
_MANY = 4  # more names than these are counted, not listed


def summary(kind: type[Rule] | None, config: Mapping[str, Any]) -> str:
    """One sentence; it never fails, whatever the configuration holds."""
    name = kind.kind if kind is not None else ""
    if name == "match":
        return _match(config)
    if name == "key_scope":
        return _scope(config)
    if name == "gpu_share":
        owners = [f"{deployment} to {team}" for deployment, team in _mapping(config.get("deployment_owners")).items()]
        idle = f"idle time of {listed(owners)}" if owners else "idle time has no owner"
        return f"GPU nodes → busy time to the requests; {idle}"
    return f"{_picked(config) or 'no charge yet'} → {_how(kind, config)}"


def listed(values: Sequence[Any], last: str = "and") -> str:
    """Names in a row, counted where they are many."""
    words = [str(value) for value in values]
    if len(words) > _MANY + 1:
        words = [*words[:_MANY], f"{len(words) - _MANY} more"]
    return f"{', '.join(words[:-1])} {last} {words[-1]}" if len(words) > 1 else "".join(words)


def _match(config: Mapping[str, Any]) -> str:
    where = _where(_mapping(config.get("when")))
    never = _where(_mapping(config.get("unless")), is_not=True)
    whole = " and ".join(part for part in (where, never) if part) or "everything"
    gives = [_given(name, str(text)) for name, text in _mapping(config.get("set")).items()]
    lookup = _mapping(config.get("lookup"))
    if lookup:
        known = " or the value itself, if a team is called so" if lookup.get("known_teams") else ""
        gives.insert(0, f"owner by {lookup.get('attribute')}, {len(_mapping(lookup.get('table')))} listed{known}")
    return f"{whole} → {'; '.join(gives)}"


def _scope(config: Mapping[str, Any]) -> str:
    keys = [
        f"{key} for {listed(teams) if '*' not in teams else 'every team'}"
        for key, teams in _mapping(config.get("keys")).items()
        if isinstance(teams, Sequence)
    ]
    others = "is ignored" if config.get("others") == "ignore" else "counts"
    return f"{'; '.join(keys) or 'no key is listed'}; a team named with a key that nobody owns {others}"


def _picked(config: Mapping[str, Any]) -> str:
    named = config.get("pools")
    pools = [POOLS[name].title.lower() for name in named if name in POOLS] if isinstance(named, list | tuple) else []
    return " where ".join(part for part in (listed(pools), _where(_mapping(config.get("select")))) if part)


def _how(kind: type[Rule] | None, config: Mapping[str, Any]) -> str:
    name = kind.kind if kind is not None else ""
    if name in _PLAINLY:
        return _PLAINLY[name]
    if name == "even_split":
        return f"equal shares for {listed(list(config.get('teams') or ())) or 'all teams with direct cost'}"
    if name == "proportional":
        return _proportion(config)
    if name == "fixed_split":
        return f"shares {listed([f'{team} {share}' for team, share in _mapping(config.get('shares')).items()])}"
    if name == "token_share":
        usage = _where(_mapping(config.get("usage")))
        return f"by tokens used{f', {usage}' if usage else ''}"
    told = [f"{key.replace('_', ' ')} {_plain(value)}" for key, value in config.items() if key != "select" and value]
    return "; ".join([kind.title.lower() if kind is not None else "a kind that is not known here", *told])


def _proportion(config: Mapping[str, Any]) -> str:
    basis = str(config.get("basis") or "direct_cost")
    measured = (
        f"the metric {config.get('metric')}" if basis == "metric" else basis.replace("_", " ").replace("gpu", "GPU")
    )
    usage = _where(_mapping(config.get("usage")))
    teams = config.get("teams")
    told = [
        f"in proportion to {measured}",
        usage,
        f"for {listed(list(teams))}" if isinstance(teams, list | tuple) and teams else "",
    ]
    return ", ".join(part for part in told if part)


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return listed([f"{key} {_plain(each)}" for key, each in value.items()])
    return listed(value) if isinstance(value, list | tuple) else str(value)


def _where(found: Mapping[str, Any], *, is_not: bool = False) -> str:
    return " and ".join(_condition(name, values, is_not=is_not) for name, values in found.items())


def _condition(name: str, values: Any, *, is_not: bool) -> str:
    words = name.replace("_", " ") if "." not in name else name
    globs = [str(value) for value in values] if isinstance(values, list | tuple) else [str(values)]
    if globs == [""]:
        return f"{words} is {'set' if is_not else 'empty'}"
    if globs == ["?*"]:
        return f"{words} is {'empty' if is_not else 'set'}"
    return f"{words} is {'not ' if is_not else ''}{listed(globs, 'or')}"


def _given(name: str, text: str) -> str:
    words = _PARTS.get(name, name)
    return f"the {words} it names" if text == f"${name}" else f"{words} {_source(text)}"


def _source(text: str) -> str:
    parts = [f"from {part[1:]}" if part.startswith("$") else part for part in text.split("|")]
    return ", else ".join(parts)


def _mapping(found: Any) -> Mapping[str, Any]:
    return found if isinstance(found, Mapping) else {}
