"""Headers that speak for a team of another key: what a call says of its team, against whose its key is."""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal

import orjson

from attribution import own, owning
from attribution.models import Rule
from attribution.owning import Active, RuleDraft
from attribution.queries import scoped
from attribution.rules.key_scope import KeyScope
from costobs.kernel import money
from costobs.kernel.scope import SpendScope

_ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Claim:
    """Calls of one key that name a team which is not the key's. `counts`: whether the named team got the spend.

    `key_owner` is "" where nobody owns the key; then `team` is one that has keys of its own.
    """

    key: str
    team: str
    key_owner: str
    counts: bool
    cost: Decimal


def find(*, scope: SpendScope) -> list[Claim]:
    """Such calls in the scope with their spend, largest first. Teams that the key may speak for by rule are not told."""
    found = Rule.objects.filter(ruleset__is_current=True, is_active=True).order_by("position")
    drafts = (RuleDraft(r.kind, r.name, r.config, r.valid_from, r.valid_to) for r in found)
    active = [one for one in (owning.active(None, draft) for draft in drafts) if one is not None]
    books = scoped.books(scope, ["key"])
    rows = scoped.fetch(
        f"""SELECT a.attributes::text, sum({books.cost}) {books.source()} AND d.is_current
            AND coalesce(a.attributes->>'key', '') <> '' GROUP BY a.id, a.attributes""",
        books.parameters,
    )
    spent = [(orjson.loads(document), cost) for document, cost in rows]
    day, teams = scope.days.last, own.known_teams()
    owners = {attributes["key"]: owning.key_owner(active, attributes, "", day, teams) for attributes, _cost in spent}
    has_keys = set(owners.values()) - {""}
    sums: dict[tuple[str, str, str, bool], Decimal] = {}
    for attributes, cost in spent:
        claim = _claim(active, attributes, owners[attributes["key"]], has_keys, day, teams)
        if claim is not None:
            sums[claim] = money.EXACT.add(sums.get(claim, _ZERO), cost)
    return sorted((Claim(*key, cost) for key, cost in sums.items()), key=lambda one: (-one.cost, one.key, one.team))


def _claim(
    active: list[Active], attributes: dict[str, str], owner: str, has_keys: set[str], day: date, teams: frozenset[str]
) -> tuple[str, str, str, bool] | None:
    """The key, the team it names, its owner, and whether the name counts; None where nothing is wrong."""
    for one in active:
        if not one.is_in_force(day) or not one.rule.claims(attributes=attributes):
            continue
        named = one.rule.own(attributes=attributes, model="", teams=teams).get("team", "")
        if not named or named == owner:
            continue
        if owning.is_spoofed(active, one, named, attributes, "", day, teams):
            return attributes["key"], named, owner, False
        if not owner and named in has_keys and not _is_allowed(active, attributes["key"], named, day):
            return attributes["key"], named, owner, True
        return None
    return None


def _is_allowed(active: list[Active], key: str, team: str, day: date) -> bool:
    scopes = [one.rule for one in active if isinstance(one.rule, KeyScope) and one.is_in_force(day)]
    return any({team, "*"} & scope.teams_of(key) for scope in scopes)
