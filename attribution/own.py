"""Gives attribute sets their owners: rules run on distinct sets, never on events or charges."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import orjson
from django.db import connection, transaction

from attribution import periods, rules
from attribution.models import Ownership, Rule, RulesetVersion, Team
from attribution.rules.base import OWNED, BadRule, Owner, OwnershipRule, pattern
from costobs.kernel import money
from costobs.kernel.period import Days

ALWAYS, FOREVER = date(1970, 1, 1), date(9999, 12, 31)
_BATCH = 5000
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
class Moved:
    """Spend that another set of rules would move; "" is nobody."""

    from_team: str
    to_team: str
    currency: str
    effective_cost: Decimal


@dataclass(frozen=True, slots=True)
class _Active:
    id: int | None
    rule: OwnershipRule
    valid_from: date
    valid_to: date


# The precedence everyone starts with. A value is only taken when it is not empty, so each line is a fallback for the one
# before. The order is the product's promise; see "Decisions" in the README of this room.
DEFAULT_RULES = (
    RuleDraft("match", "Team named on the call or the resource", {"set": {"team": "$team"}}),
    RuleDraft("match", "Owner of the key", {"lookup": {"attribute": "key", "table": {}}}),
    RuleDraft("match", "Owner of the project", {"lookup": {"attribute": "project", "table": {}, "known_teams": True}}),
    RuleDraft("match", "Owner of the account", {"lookup": {"attribute": "account", "table": {}, "known_teams": True}}),
    RuleDraft("match", "Tag", {"set": {"team": "$tags.team"}}),
    RuleDraft("match", "Namespace", {"lookup": {"attribute": "namespace", "table": {}, "known_teams": True}}),
    RuleDraft(
        "match",
        "Feature, cost centre and environment as they are tagged",
        {
            "set": {
                "feature": "$feature|$tags.feature",
                "cost_centre": "$cost_centre|$tags.cost_centre|$tags.cost-center|$tags.CostCenter",
                "environment": "$environment|$tags.environment|$tags.env",
            }
        },
    ),
    RuleDraft("gpu_share", "GPU nodes by telemetry", {}),
)


def run(*, now: datetime) -> int:
    """Owners for attribute sets (and models) the current ruleset has not seen; returns how many rows it wrote.

    The rules that closed months keep give new sets their owner too, for a late row of such a month. Safe to repeat and to run
    twice at once: an ownership is written once by its key.
    """
    ruleset_id = ensure_default_ruleset(now=now)
    kept = [one for one in periods.pinned_rulesets() if one != ruleset_id]
    return sum(_write(one, _load(one), only_new=True) for one in (ruleset_id, *kept))


def ensure_default_ruleset(*, now: datetime) -> int:
    """The id of the current ruleset; the first one is made of the default rules."""
    found = RulesetVersion.objects.filter(is_current=True).values_list("pk", flat=True).first()
    if found is not None:
        return int(found)
    with transaction.atomic():
        _lock()
        found = RulesetVersion.objects.filter(is_current=True).values_list("pk", flat=True).first()
        return int(found) if found is not None else _create(DEFAULT_RULES, now=now, by="costobs", note="default rules")


def reattribute(*, drafts: Sequence[RuleDraft], now: datetime, by: str, note: str = "") -> int:
    """Makes `drafts` the current ruleset and gives every known set its owner by it; returns the new version.

    Old versions and their ownerships stay. Days whose split rules changed must be rebuilt by the caller. Raises BadRule.
    """
    for draft in drafts:
        rules.parse(draft.kind, draft.config)
    with transaction.atomic():
        _lock()
        RulesetVersion.objects.filter(is_current=True).update(is_current=False)
        ruleset_id = _create(drafts, now=now, by=by, note=note)
        _write(ruleset_id, _load(ruleset_id), only_new=False)
    return ruleset_id


def current_rules() -> list[RuleDraft]:
    """The rules of the current version, in order."""
    found = Rule.objects.filter(ruleset__is_current=True).order_by("position")
    return [RuleDraft(r.kind, r.name, r.config, r.valid_from, r.valid_to, r.is_active) for r in found]


def preview(*, drafts: Sequence[RuleDraft], days: Days) -> list[Moved]:
    """What `drafts` would move between teams on `days`, largest first: the computation of `run`, not kept. Raises BadRule."""
    active = [_active(None, draft) for draft in drafts if draft.is_active]
    evaluated = [one for one in active if one is not None]
    teams = _teams()
    moved: dict[tuple[str, str, str], Decimal] = {}
    for attributes, model, day, team, currency, cost in _spend(days):
        owner, _ = _owner(evaluated, attributes, model, day, teams)
        if owner.team != team:
            key = (team, owner.team, currency)
            moved[key] = money.EXACT.add(moved.get(key, Decimal(0)), cost)
    return sorted(
        (Moved(*key, cost) for key, cost in moved.items()), key=lambda one: (-abs(one.effective_cost), one.to_team)
    )


def _lock() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('costobs ruleset'))")


def _create(drafts: Sequence[RuleDraft], *, now: datetime, by: str, note: str) -> int:
    ruleset = RulesetVersion.objects.create(created_at=now, created_by=by, note=note, is_current=True)
    Rule.objects.bulk_create(
        Rule(
            ruleset=ruleset,
            position=position,
            kind=draft.kind,
            name=draft.name,
            config=dict(draft.config),
            valid_from=draft.valid_from,
            valid_to=draft.valid_to,
            is_active=draft.is_active,
        )
        for position, draft in enumerate(drafts, start=1)
    )
    return int(ruleset.pk)


def _load(ruleset_id: int) -> list[_Active]:
    found = Rule.objects.filter(ruleset_id=ruleset_id, is_active=True).order_by("position")
    loaded = (_active(r.pk, RuleDraft(r.kind, r.name, r.config, r.valid_from, r.valid_to)) for r in found)
    return [one for one in loaded if one is not None]


def _active(rule_id: int | None, draft: RuleDraft) -> _Active | None:
    parsed = rules.parse(draft.kind, draft.config)
    if not isinstance(parsed, OwnershipRule):
        return None
    return _Active(rule_id, parsed, draft.valid_from or ALWAYS, draft.valid_to or FOREVER)


def _teams() -> frozenset[str]:
    return frozenset(Team.objects.values_list("name", flat=True))


def _owner(
    active: Iterable[_Active], attributes: Mapping[str, str], model: str, day: date, teams: frozenset[str]
) -> tuple[Owner, int | None]:
    """For each part of the owner the first rule that knows it, and the rule that gave the team.

    A set that a split made names its owner itself; no rule may move it.
    """
    if attributes.get("allocated"):
        return Owner(*(attributes.get(name, "") for name in OWNED)), None
    found: dict[str, str] = {}
    by = None
    for one in active:
        if not one.valid_from <= day < one.valid_to:
            continue
        for name, value in one.rule.own(attributes=attributes, model=model, teams=teams).items():
            if name not in found:
                found[name] = value
                by = one.id if name == "team" else by
    return Owner(*(found.get(name, "")[:_MOST_NAME] for name in OWNED)), by


def _write(ruleset_id: int, active: Sequence[_Active], *, only_new: bool) -> int:
    new_sets = list(_sets(ruleset_id if only_new else None))
    models = _models({glob for one in active for glob in one.rule.models()})
    seen = set(
        Ownership.objects.filter(ruleset_id=ruleset_id).exclude(model="").values_list("model", flat=True).distinct()
    )
    wanted = [(set_id, attributes, model) for set_id, attributes in new_sets for model in ("", *sorted(models & seen))]
    if models - seen:
        every = list(_sets(None))
        wanted += [(set_id, attributes, model) for model in sorted(models - seen) for set_id, attributes in every]
    if not wanted:
        return 0
    teams = _teams()
    rows = [row for one in wanted for row in _ownerships(ruleset_id, active, *one, teams)]
    _add_teams({row.team for row in rows} - teams - {""})
    Ownership.objects.bulk_create(rows, batch_size=_BATCH, ignore_conflicts=True)
    return len(rows)


def _ownerships(
    ruleset_id: int,
    active: Sequence[_Active],
    set_id: int,
    attributes: Mapping[str, str],
    model: str,
    teams: frozenset[str],
) -> Iterator[Ownership]:
    """One row for each stretch of days in which the owner stays the same."""
    starts = sorted({ALWAYS, *(one.valid_from for one in active), *(one.valid_to for one in active)} - {FOREVER})
    stretches: list[tuple[date, tuple[Owner, int | None]]] = []
    for start in starts:
        owner = _owner(active, attributes, model, start, teams)
        if not stretches or stretches[-1][1] != owner:
            stretches.append((start, owner))
    ends = [start for start, _ in stretches[1:]] + [FOREVER]
    for (start, (found, rule_id)), end in zip(stretches, ends, strict=True):
        yield Ownership(
            ruleset_id=ruleset_id,
            attribute_set_id=set_id,
            model=model,
            valid_from=start,
            valid_to=end,
            team=found.team,
            feature=found.feature,
            cost_centre=found.cost_centre,
            environment=found.environment,
            rule_id=rule_id,
        )


def _add_teams(names: set[str]) -> None:
    """A team that is named on spend exists; people may give it a title and a cost centre later."""
    Team.objects.bulk_create(
        (Team(name=name, title=name.replace("-", " ").replace("_", " ").capitalize()) for name in sorted(names)),
        ignore_conflicts=True,
    )


def _sets(without_ruleset: int | None) -> Iterator[tuple[int, dict[str, str]]]:
    sql, parameters = "SELECT id, attributes FROM ingest_attributeset a", []
    if without_ruleset is not None:
        sql += """ WHERE NOT EXISTS (SELECT FROM attribution_ownership o
                   WHERE o.ruleset_id = %s AND o.attribute_set_id = a.id AND o.model = '')"""
        parameters.append(without_ruleset)
    with connection.cursor() as cursor:
        cursor.execute(f"{sql} ORDER BY id", parameters)
        for set_id, attributes in cursor.fetchall():
            yield set_id, _document(attributes)


def _models(globs: set[str]) -> set[str]:
    """The models that rules speak of: by name, or seen and matched."""
    named = {glob for glob in globs if not set(glob) & set("*?[")}
    if named == globs:
        return named
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT DISTINCT model FROM ingest_offering
               UNION SELECT DISTINCT model FROM attribution_dailycost WHERE model <> ''"""
        )
        seen = {model for (model,) in cursor.fetchall()}
    return named | {model for model in seen if any(pattern(glob).match(model) for glob in globs)}


def _spend(days: Days) -> Iterator[tuple[dict[str, str], str, date, str, str, Decimal]]:
    """Direct and shared spend of the days with who owns it now; what a split gave to a team is not moved by match rules."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT a.attributes, d.model, d.day, coalesce(m.team, o.team, ''), d.currency, sum(d.effective_cost)
               FROM attribution_dailycost d
               JOIN ingest_attributeset a ON a.id = d.attribute_set_id
               LEFT JOIN attribution_rulesetversion v ON v.is_current
               LEFT JOIN attribution_ownership o ON o.ruleset_id = v.id AND o.attribute_set_id = a.id AND o.model = ''
                   AND d.day >= o.valid_from AND d.day < o.valid_to
               LEFT JOIN attribution_ownership m ON m.ruleset_id = v.id AND m.attribute_set_id = a.id AND m.model = d.model
                   AND m.model <> '' AND d.day >= m.valid_from AND d.day < m.valid_to
               WHERE d.is_current AND d.day >= %s AND d.day < %s
               GROUP BY a.id, a.attributes, 2, 3, 4, 5""",
            [days.start, days.end],
        )
        for attributes, *rest in cursor.fetchall():
            yield _document(attributes), *rest


def _document(attributes: Any) -> dict[str, str]:
    # A cursor gives jsonb as text or as an object, depending on what Django registered; both are the same document.
    document: dict[str, str] = orjson.loads(attributes) if isinstance(attributes, str | bytes) else attributes
    return document


__all__ = [
    "DEFAULT_RULES",
    "BadRule",
    "Moved",
    "RuleDraft",
    "current_rules",
    "ensure_default_ruleset",
    "preview",
    "reattribute",
    "run",
]
