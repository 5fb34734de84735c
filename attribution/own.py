"""Gives attribute sets their owners: rules run on distinct sets, never on events or charges."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime

import orjson
from django.db import connection, transaction

from attribution import owning, periods, rules, splitting
from attribution.models import Ownership, Rule, RulesetVersion, Team
from attribution.owning import Active, RuleDraft
from attribution.rules.base import BadRule, Owner, pattern
from attribution.rules.key_scope import KeyScope

_FEW = 200  # rows that are not worth a COPY
_MANY = 100  # rows after which the plans of readers need to know of them
_COLUMNS = (
    "ruleset_id",
    "attribute_set_id",
    "model",
    "valid_from",
    "valid_to",
    "team",
    "feature",
    "cost_centre",
    "environment",
    "rule_id",
)
_Written = tuple[int, int, str, date, date, str, str, str, str, int | None]


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
        lock()
        found = RulesetVersion.objects.filter(is_current=True).values_list("pk", flat=True).first()
        return int(found) if found is not None else _create(DEFAULT_RULES, now=now, by="costobs", note="default rules")


def reattribute(*, drafts: Sequence[RuleDraft], now: datetime, by: str, note: str = "") -> int:
    """Makes `drafts` the current ruleset and gives every known set its owner by it; returns the new version.

    Old versions and their ownerships stay. Days whose split rules changed must be rebuilt by the caller. Raises BadRule.
    """
    for draft in drafts:
        rules.parse(draft.kind, draft.config)
    with transaction.atomic():
        lock()
        before = RulesetVersion.objects.filter(is_current=True).values_list("pk", flat=True).first()
        RulesetVersion.objects.filter(is_current=True).update(is_current=False)
        ruleset_id = _create(drafts, now=now, by=by, note=note)
        active = _load(ruleset_id)
        carried = _carry(before, ruleset_id, active) if before is not None else 0
        if carried + _write(ruleset_id, active, only_new=True) > _MANY:
            with connection.cursor() as cursor:
                cursor.execute("ANALYZE attribution_ownership")
    return ruleset_id


def current_rules() -> list[RuleDraft]:
    """The rules of the current version, in order."""
    found = Rule.objects.filter(ruleset__is_current=True).order_by("position")
    return [RuleDraft(r.kind, r.name, r.config, r.valid_from, r.valid_to, r.is_active) for r in found]


def lock() -> None:
    """Lets one transaction at a time make a version."""
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


def _load(ruleset_id: int) -> list[Active]:
    found = Rule.objects.filter(ruleset_id=ruleset_id, is_active=True).order_by("position")
    loaded = (owning.active(r.pk, RuleDraft(r.kind, r.name, r.config, r.valid_from, r.valid_to)) for r in found)
    return [one for one in loaded if one is not None]


def known_teams() -> frozenset[str]:
    """The names of all teams there are."""
    return frozenset(Team.objects.values_list("name", flat=True))


def _carry(before: int, ruleset_id: int, active: Sequence[Active]) -> int:
    """Copies from version `before` the owners that no changed rule can have touched; returns how many rows that were.

    A set on which neither the old nor the new form of any changed rule answers is asked the same rules in the same order by
    both versions. Everything else is left for `_write`.
    """
    old = _load(before)
    kept, changed = owning.compare(old, active)
    models = models_of({glob for one in active for glob in one.rule.models()})
    if any(isinstance(one.rule, KeyScope) for one in changed) or models != models_of(
        {glob for one in old for glob in one.rule.models()}
    ):
        return 0
    # Which teams there are may have changed since; rules that follow them are asked again.
    followers = [one for one in active if one.rule.follows_teams]
    asked, teams = [*changed, *followers], known_teams()
    again = [
        set_id
        for set_id, attributes in _sets(None)
        if any(owning.answers(one, attributes, models, teams) for one in asked)
    ]
    columns = ", ".join(_COLUMNS[1:-1])
    with connection.cursor() as cursor:
        cursor.execute(
            f"""INSERT INTO attribution_ownership (ruleset_id, rule_id, {columns})
                SELECT %(new)s, k.new_id, {columns} FROM attribution_ownership o
                LEFT JOIN unnest(%(old_ids)s::bigint[], %(new_ids)s::bigint[]) AS k (old_id, new_id) ON k.old_id = o.rule_id
                WHERE o.ruleset_id = %(old)s AND NOT EXISTS (
                    SELECT FROM unnest(%(again)s::bigint[]) AS a (id) WHERE a.id = o.attribute_set_id)
                AND NOT EXISTS (SELECT FROM attribution_ownership f WHERE f.ruleset_id = o.ruleset_id
                    AND f.attribute_set_id = o.attribute_set_id AND f.rule_id = ANY(%(followers)s::bigint[]))
                AND EXISTS (SELECT FROM ingest_attributeset s WHERE s.id = o.attribute_set_id)""",
            {
                "new": ruleset_id,
                "old": before,
                "old_ids": list(kept),
                "new_ids": list(kept.values()),
                "again": again,
                "followers": [one.id for one in old if one.rule.follows_teams],
            },
        )
        return int(cursor.rowcount)


def _write(ruleset_id: int, active: Sequence[Active], *, only_new: bool) -> int:
    """Owners by `active` for the sets and models without one in this version, or for all; returns how many rows."""
    new_sets = list(_sets(ruleset_id if only_new else None))
    models = models_of({glob for one in active for glob in one.rule.models()})
    seen = _seen_models(ruleset_id) if models else set()
    wanted = [(set_id, attributes, model) for set_id, attributes in new_sets for model in ("", *sorted(models & seen))]
    if models - seen:
        every = list(_sets(None))
        wanted += [(set_id, attributes, model) for model in sorted(models - seen) for set_id, attributes in every]
    if not wanted:
        return 0
    teams, starts = known_teams(), owning.starts_of(active)  # read before the lock: asking rules takes longest
    rows: list[_Written] = [
        (ruleset_id, set_id, model, one.start, one.end, *_parts(one.owner), one.rule_id)
        for set_id, attributes, model in wanted
        for one in owning.stretches(active, starts, attributes, model, teams)
    ]
    with transaction.atomic():
        splitting.hold_owners()
        _add_teams({row[5] for row in rows} - teams - {""})
        _store(rows)
    return len(rows)


def _parts(found: Owner) -> tuple[str, str, str, str]:
    return found.team, found.feature, found.cost_centre, found.environment


def _store(rows: Sequence[_Written]) -> None:
    """Adds ownerships that are not there yet, many of them by COPY."""
    if len(rows) <= _FEW:
        made = (Ownership(**dict(zip(_COLUMNS, row, strict=True))) for row in rows)
        Ownership.objects.bulk_create(made, ignore_conflicts=True)
        return
    names = ", ".join(_COLUMNS)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            f"""CREATE TEMPORARY TABLE new_ownership ON COMMIT DROP AS
                SELECT {names} FROM attribution_ownership WITH NO DATA"""
        )
        with cursor.copy(f"COPY new_ownership ({names}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
        cursor.execute(
            f"""INSERT INTO attribution_ownership ({names}) SELECT {names} FROM new_ownership
                ORDER BY attribute_set_id, model, valid_from ON CONFLICT DO NOTHING"""
        )
        cursor.execute("DROP TABLE new_ownership")


def _add_teams(names: set[str]) -> None:
    """A team that is named on spend exists; people may give it a title and a cost centre later."""
    Team.objects.bulk_create(
        (Team(name=name, title=name.replace("-", " ").replace("_", " ").capitalize()) for name in sorted(names)),
        ignore_conflicts=True,
    )


def _sets(without_ruleset: int | None) -> Iterator[tuple[int, dict[str, str]]]:
    sql, parameters = "SELECT id, attributes::text FROM ingest_attributeset a", []
    if without_ruleset is not None:
        sql += """ WHERE NOT EXISTS (SELECT FROM attribution_ownership o
                   WHERE o.ruleset_id = %s AND o.attribute_set_id = a.id AND o.model = '')"""
        parameters.append(without_ruleset)
    with connection.cursor() as cursor:
        cursor.execute(f"{sql} ORDER BY id", parameters)
        for set_id, attributes in cursor.fetchall():
            yield set_id, orjson.loads(attributes)


def _seen_models(ruleset_id: int) -> set[str]:
    found = Ownership.objects.filter(ruleset_id=ruleset_id).exclude(model="")
    return set(found.values_list("model", flat=True).distinct())


def models_of(globs: Iterable[str]) -> set[str]:
    """The models that rules speak of: by name, or seen and matched."""
    asked = set(globs)
    named = {glob for glob in asked if not set(glob) & set("*?[")}
    if named == asked:
        return named
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT DISTINCT model FROM ingest_offering
               UNION SELECT DISTINCT model FROM attribution_dailycost WHERE model <> ''"""
        )
        seen = {model for (model,) in cursor.fetchall()}
    return named | {model for model in seen if any(pattern(glob).match(model) for glob in asked)}


__all__ = [
    "DEFAULT_RULES",
    "BadRule",
    "RuleDraft",
    "current_rules",
    "ensure_default_ruleset",
    "reattribute",
    "run",
]
