"""Splits what many share: GPU nodes by telemetry, provider-run fine-tunes to their run, and what rules select."""

from datetime import date, datetime
from typing import Any

from django.db import connection
from django.db.models import Q

from attribution import gpu_bill, periods, rules, splitting
from attribution.dimensions import provider_name_sql
from attribution.models import Rule
from attribution.rules.base import SplitRule
from attribution.rules.gpu_share import GpuShare
from attribution.rules.token_share import TokenShare
from costobs.kernel.period import Days

_DIMENSIONS = """c.source_id, c.pool, c.service_provider_name AS provider_name, c.sub_account_id AS sub_account, c.service_name,
    c.region_id AS region, c.invoice_issuer_name, c.charge_category, c.charge_class, c.cost_kind,
    c.purchase_option, c.currency, c.model AS charge_model"""
_GROUP = """c.source_id, c.pool, c.service_provider_name, c.sub_account_id, c.service_name, c.region_id, c.invoice_issuer_name,
    c.charge_category, c.charge_class, c.cost_kind, c.purchase_option, c.currency, c.model"""
_SUMS = ", ".join(f"sum(c.{cost}) AS {cost}" for cost in splitting.COSTS)
_POOL = (
    "row(source_id, pool, provider_name, sub_account, service_name, region, invoice_issuer_name, charge_category,"
    " charge_class, cost_kind, purchase_option, currency, charge_model)"
)
_CARRIED = (
    "source_id",
    "pool",
    "attribute_set_id",
    "provider_name",
    "sub_account",
    "service_name",
    "region",
    "invoice_issuer_name",
    "charge_category",
    "charge_class",
    "cost_kind",
    "purchase_option",
    "currency",
    "part_model",
    "deployment",
    "token_kind",
    "share_kind",
    "run_id",
)

_CLAIM_JOBS = """
UPDATE book_charge c SET pool = 'run:' || r.id FROM ingest_finetunerun r
WHERE c.pool IS NULL AND c.counts AND r.provider_job <> '' AND r.provider_job IN (c.resource_id, c.resource_name)
    AND r.id = (SELECT min(o.id) FROM ingest_finetunerun o WHERE o.provider_job = r.provider_job)
"""
_JOBS = f"""
(SELECT {_DIMENSIONS}, r.attribute_set_id, r.base_model AS part_model, '' AS deployment, '' AS token_kind,
    'direct' AS share_kind, r.id AS run_id, 1 AS weight, {_SUMS}
 FROM book_charge c JOIN ingest_finetunerun r ON c.pool = 'run:' || r.id
 GROUP BY {_GROUP}, r.attribute_set_id, r.base_model, r.id)
"""
# Some providers bill training by day and model and name no job (OpenAI): it falls to the jobs of that model that ran on the
# day, by the tokens they trained, else evenly.
_OF_THE_DAY = f"""{provider_name_sql("r.provider")} = c.provider AND r.provider <> 'self_hosted' AND c.model IN ('', r.base_model)
    AND r.started_at < %(end)s AND coalesce(r.ended_at, 'infinity') >= %(start)s"""
_CLAIM_TRAINING = f"""
UPDATE book_charge c SET pool = concat_ws(':', 'training', c.provider, c.model)
WHERE c.pool IS NULL AND c.counts AND c.cost_kind = 'fine_tuning' AND EXISTS (SELECT FROM ingest_finetunerun r WHERE {_OF_THE_DAY})
"""
_TRAINING = f"""
(SELECT {_DIMENSIONS}, r.attribute_set_id, r.base_model AS part_model, '' AS deployment, '' AS token_kind,
    'direct' AS share_kind, r.id AS run_id, CASE WHEN min(coalesce(r.trained_tokens, 0)) OVER w > 0
        THEN r.trained_tokens ELSE 1 END AS weight, {_SUMS}
 FROM book_charge c JOIN ingest_finetunerun r ON starts_with(c.pool, 'training:') AND {_OF_THE_DAY}
 GROUP BY {_GROUP}, r.attribute_set_id, r.base_model, r.id, r.trained_tokens
 WINDOW w AS (PARTITION BY {_GROUP}))
"""
# Lines for models wait for their bill to be complete: until then the estimate counts.
_CLAIM_RULE = """
UPDATE book_charge c SET pool = %(pool)s FROM ingest_attributeset a
WHERE a.id = c.attribute_set_id AND c.pool IS NULL AND c.counts AND NOT (c.is_llm AND NOT c.is_complete) AND {condition}
"""
_TEAMS = f"""
(SELECT p.*, t.attribute_set_id, p.charge_model AS part_model, '' AS deployment, '' AS token_kind, 'shared' AS share_kind,
    NULL::bigint AS run_id, t.weight
 FROM (SELECT {_DIMENSIONS}, {_SUMS} FROM book_charge c WHERE c.pool = %(pool)s GROUP BY {_GROUP}) p
 JOIN unnest(%(sources)s::bigint[], %(sets)s::bigint[], %(weights)s::numeric[]) AS t (source_id, attribute_set_id, weight)
    ON t.source_id = p.source_id)
"""
# Without usage to go by, the pool is nobody's: one unallocated part.
_TOKENS = f"""
(WITH used AS (
    SELECT f.attribute_set_id, f.model, f.deployment, sum(f.tokens) AS weight FROM book_usage f
    WHERE f.counts AND f.tokens > 0 AND {{condition}} GROUP BY 1, 2, 3
 ), pools AS (SELECT {_DIMENSIONS}, {_SUMS} FROM book_charge c WHERE c.pool = %(pool)s GROUP BY {_GROUP})
 SELECT p.*, u.attribute_set_id, u.model AS part_model, u.deployment, '' AS token_kind, 'shared' AS share_kind,
    NULL::bigint AS run_id, u.weight FROM pools p CROSS JOIN used u
 UNION ALL
 SELECT p.*, t.attribute_set_id, p.charge_model, '', '', 'unallocated', NULL, 1
 FROM pools p JOIN unnest(%(sources)s::bigint[], %(sets)s::bigint[]) AS t (source_id, attribute_set_id)
    ON t.source_id = p.source_id
 WHERE NOT EXISTS (SELECT FROM used))
"""


def run(*, day: date, now: datetime) -> int:
    """Splits the staged charges that pools take; returns how many charges that were.

    The split rules in force for the day by position, GPU telemetry among them: a charge is taken once. A closed day keeps the
    rules it was closed with. The parts of each pool add to it exactly. Part of the caller's transaction, after `tie_out`.
    """
    taken = 0
    pinned = periods.ruleset_of(day)
    in_force = Q(ruleset__is_current=True) if pinned is None else Q(ruleset_id=pinned)
    found = Rule.objects.filter(in_force, is_active=True).order_by("position")
    for row in found.exclude(kind="match"):
        if (row.valid_from and day < row.valid_from) or (row.valid_to and day >= row.valid_to):
            continue
        rule = rules.parse(row.kind, row.config)
        if isinstance(rule, GpuShare):
            taken += gpu_bill.run(day=day, rule=rule, rule_id=row.pk, now=now)
        elif isinstance(rule, SplitRule):
            taken += _rule(rule, row, now)
    return taken


def jobs(*, day: date) -> int:
    """Gives the charges of fine-tunes that a provider ran to their runs; returns how many charges that were. Before `tie_out`,
    which would take them for inference.
    """
    days = Days(day, date.fromordinal(day.toordinal() + 1))
    values = {"start": days.start_at, "end": days.end_at}
    with connection.cursor() as cursor:
        cursor.execute(_CLAIM_JOBS)
        named: int = cursor.rowcount
        cursor.execute(_CLAIM_TRAINING, values)
        unnamed: int = cursor.rowcount
    if named:
        _store(_JOBS, method="fine_tune", rule_id=None, values={})
    if unnamed:
        _store(_TRAINING, method="fine_tune", rule_id=None, values=values)
    return named + unnamed


def _rule(rule: SplitRule, row: Rule, now: datetime) -> int:
    pool = f"rule:{row.position}:{row.name}"
    condition = rule.charges(prefix="select")
    with connection.cursor() as cursor:
        cursor.execute(_CLAIM_RULE.format(condition=condition.sql), {"pool": pool, **condition.parameters})
        taken: int = cursor.rowcount
        if not taken:
            return 0
        cursor.execute("SELECT DISTINCT source_id FROM book_charge WHERE pool = %s ORDER BY 1", [pool])
        sources = [source_id for (source_id,) in cursor.fetchall()]
    if isinstance(rule, TokenShare):
        usage = rule.usage_condition(prefix="usage")
        sets = [splitting.owner_set(source_id=one, team="", reason="no_usage", now=now) for one in sources]
        values = {"pool": pool, "sources": sources, "sets": sets, **usage.parameters}
        _store(_TOKENS.format(condition=usage.sql), method=rule.kind, rule_id=row.pk, values=values)
        return taken
    teams = [(one, team, weight) for one in sources for team, weight in sorted(rule.team_weights().items())]
    sets = [splitting.owner_set(source_id=one, team=team, reason="", now=now) for one, team, _ in teams]
    weights = [weight for _, _, weight in teams]
    values = {"pool": pool, "sources": [one for one, _, _ in teams], "sets": sets, "weights": weights}
    _store(_TEAMS, method=rule.kind, rule_id=row.pk, values=values)
    return taken


def _store(weighted: str, *, method: str, rule_id: int | None, values: dict[str, Any]) -> None:
    order = "attribute_set_id, part_model, deployment"
    parts = splitting.parts_sql(weighted=weighted, pool=_POOL, order=order, carried=_CARRIED)
    names = ", ".join(_CARRIED).replace("part_model", "model")
    with connection.cursor() as cursor:
        cursor.execute(
            f"""INSERT INTO book_part (method, rule_id, is_estimated_weight, {names}, weight, {", ".join(splitting.COSTS)})
                SELECT %(method)s, %(rule)s, FALSE, parts.* FROM ({parts}) parts""",
            {"method": method, "rule": rule_id, **values},
        )
