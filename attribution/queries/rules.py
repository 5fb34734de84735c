"""The rules in force, in their order, in words, and how much each of them owns."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from attribution import periods, rules
from attribution.models import Rule
from attribution.queries.ownership import TEAM
from attribution.queries.scoped import books, fetch
from attribution.rules import words
from costobs.kernel import money
from costobs.kernel.scope import SpendScope


@dataclass(frozen=True, slots=True)
class RuleLine:
    """One rule: `kind` is its title for people, `summary` says what it does."""

    position: int
    kind: str
    name: str
    summary: str
    valid_from: date | None = None
    valid_to: date | None = None  # exclusive


@dataclass(frozen=True, slots=True)
class RuleSpend:
    """What rules own in a scope, by kind and name: a rule keeps its figure when a new version carries it on.

    `owned` + `rest` + `nobody` is all spend of the scope: `rest` has an owner by the split of a rule that is gone, `nobody` has
    none. `split` is what a split rule divided, whoever has it now.
    """

    owned: dict[tuple[str, str], Decimal]
    split: dict[tuple[str, str], Decimal]
    rest: Decimal
    nobody: Decimal
    currency: str

    @property
    def whole(self) -> Decimal:
        return money.total([*self.owned.values(), self.rest, self.nobody])


def rules_in_force(*, month: date | None = None) -> list[RuleLine]:
    """The active rules of the current version, the first to be asked first; of a closed month those it closed with."""
    pinned = periods.ruleset_of(month) if month is not None and periods.is_closed(month) else None
    found = Rule.objects.filter(is_active=True).order_by("position")
    found = found.filter(ruleset_id=pinned) if pinned is not None else found.filter(ruleset__is_current=True)
    return [
        RuleLine(
            rule.position,
            rules.KINDS[rule.kind].title,
            rule.name,
            words.summary(rules.KINDS[rule.kind], rule.config),
            rule.valid_from,
            rule.valid_to,
        )
        for rule in found
    ]


def rule_spend(*, scope: SpendScope) -> RuleSpend:
    """How much each rule owns. Parts that a split gave to a team are owned by the rule of the split."""
    scoped = books(scope, ["team"])
    rule = "CASE WHEN own_model.team IS NOT NULL THEN own_model.rule_id ELSE own_any.rule_id END"
    rows = fetch(
        f"""SELECT r.kind, r.name, x.is_owned, sum(x.cost)
            FROM (SELECT {rule} AS rule_id, {TEAM} <> '' AS is_owned, sum({scoped.cost}) AS cost
                  {scoped.source()} AND d.is_current GROUP BY 1, 2) x
            LEFT JOIN attribution_rule r ON r.id = x.rule_id GROUP BY 1, 2, 3""",
        scoped.parameters,
    )
    owned = {(kind, name): cost for kind, name, is_owned, cost in rows if is_owned and kind is not None}
    given = money.total(cost for kind, _name, is_owned, cost in rows if is_owned and kind is None)
    nobody = money.total(cost for _kind, _name, is_owned, cost in rows if not is_owned)
    split: dict[tuple[str, str], Decimal] = {}
    for kind, name, cost, to_teams in _split(scope) if scope.teams is None else []:
        split[kind, name] = cost
        if to_teams:
            owned[kind, name] = money.EXACT.add(owned.get((kind, name), Decimal(0)), to_teams)
            given = money.EXACT.subtract(given, to_teams)
    return RuleSpend(owned, split, given, nobody, scope.currency)


def _split(scope: SpendScope) -> Sequence[tuple[str, str, Decimal, Decimal]]:
    """What each split rule divided, and what of it went to teams by name."""
    return fetch(
        f"""SELECT r.kind, r.name, sum(p.{scope.cost}_cost),
                coalesce(sum(p.{scope.cost}_cost) FILTER (WHERE a.attributes ? 'allocated' AND a.attributes ? 'team'), 0)
            FROM attribution_allocatedcharge p JOIN attribution_rule r ON r.id = p.rule_id
            JOIN ingest_attributeset a ON a.id = p.attribute_set_id
            WHERE p.day >= %(start)s AND p.day < %(end)s AND p.currency = %(currency)s GROUP BY 1, 2""",
        {"start": scope.days.start, "end": scope.days.end, "currency": scope.currency},
    )
