"""Splits what many share: GPU nodes by telemetry, provider-run fine-tunes to their run, and what rules select."""

from collections.abc import Iterator
from datetime import date, datetime
from typing import Any

from django.db import connection

from attribution import bases, gpu_bill, rules, splitting
from attribution.dimensions import canonical_sql, provider_name_sql
from attribution.models import Rule
from attribution.queries.scoped import fetch
from attribution.rules.base import Fragment, SplitRule
from attribution.rules.gpu_share import GpuShare
from attribution.staging import TOKEN_KINDS
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
    *splitting.CARRIED,
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
_UNOWNED = f"""NOT EXISTS (SELECT FROM (SELECT c.attribute_set_id, c.model, %(day)s::date AS day) d
    {bases.OWNER_JOIN} WHERE {bases.TEAM} <> '')"""
# Parts that telemetry and usage left to nobody. What a rule made, no rule takes again.
_GO_ON = """
UPDATE book_part p SET passed_to = %(pool)s FROM ingest_attributeset a
WHERE a.id = p.attribute_set_id AND p.passed_to = '' AND p.origin = '' AND coalesce(a.attributes->>'team', '') = '' AND {condition}
"""
_TABLES = """
CREATE TEMPORARY TABLE IF NOT EXISTS book_shared (
    number bigint, subject text, is_long boolean, is_part boolean, origin text, booked_method text, source_id bigint, pool text,
    provider text, provider_name text, sub_account text, service_name text, region text, invoice_issuer_name text,
    charge_category text, charge_class text, cost_kind text, purchase_option text, currency text, model text,
    deployment text, token_kind text, share_kind text, sku_id text, resource_id text,
    billed_cost numeric, effective_cost numeric, list_cost numeric, contracted_cost numeric
) ON COMMIT DELETE ROWS;
CREATE TEMPORARY TABLE IF NOT EXISTS book_holder (
    source_id bigint, team text, feature text, cost_centre text, environment text, attribute_set_id bigint
) ON COMMIT DELETE ROWS;
CREATE TEMPORARY TABLE IF NOT EXISTS book_pool (
    pool text, method text, pool_kind text, rule_id bigint, by_owner boolean, weighed_from date, weighed_to date,
    weighed_version numeric
) ON COMMIT DELETE ROWS;
DELETE FROM book_shared; DELETE FROM book_holder; DELETE FROM book_pool;
"""
# What a charge is about is kept apart only where the weights follow it.
_SHARED = f"""
DELETE FROM book_shared; DELETE FROM book_holder;
INSERT INTO book_shared
SELECT row_number() OVER (), concat_ws('|', VARIADIC CASE WHEN %(follows)s THEN ARRAY[x.is_part::text, x.provider, x.sub_account,
        x.service_name, x.sku_id, x.resource_id, x.deployment] ELSE '{{}}' END), x.*
FROM (
    SELECT c.ends > c.starts + interval '1 day' AS is_long, FALSE AS is_part, '' AS origin, NULL AS booked_method, c.source_id,
        c.pool, c.provider, c.service_provider_name, c.sub_account_id AS sub_account, c.service_name, c.region_id,
        c.invoice_issuer_name, c.charge_category, c.charge_class, c.cost_kind, c.purchase_option, c.currency, c.model,
        '' AS deployment, '' AS token_kind, 'shared' AS share_kind, CASE WHEN %(follows)s THEN c.sku_id ELSE '' END AS sku_id,
        CASE WHEN %(follows)s THEN c.resource_id ELSE '' END AS resource_id, {_SUMS}
    FROM book_charge c WHERE c.pool = %(pool)s GROUP BY {", ".join(str(at) for at in range(1, 24))}
    UNION ALL
    SELECT FALSE, TRUE, p.pool, p.method, p.source_id, p.passed_to, {canonical_sql("p.provider_name")}, p.provider_name,
        p.sub_account, p.service_name, p.region, p.invoice_issuer_name, p.charge_category, p.charge_class, p.cost_kind,
        p.purchase_option, p.currency, p.model, p.deployment, p.token_kind, p.share_kind, '', '',
        {", ".join(f"sum(p.{cost})" for cost in splitting.COSTS)}
    FROM book_part p WHERE p.passed_to = %(pool)s GROUP BY {", ".join(str(at) for at in range(1, 24))}
) x
"""
_COSTS = ", ".join(splitting.COSTS)
_OUT = (
    *splitting.CARRIED,
    "model",
    "deployment",
    "token_kind",
    "share_kind",
    "origin",
    "booked_method",
)
# A part keeps what it is (idle, overhead); what was left to nobody and has an owner now is shared.
_FITS = "s.subject = g.subject AND s.is_long = g.is_long AND s.currency IN ('', g.currency)"
_FATE = """CASE WHEN {owned} THEN CASE g.share_kind WHEN 'unallocated' THEN 'shared' ELSE g.share_kind END
    ELSE CASE g.share_kind WHEN 'shared' THEN 'unallocated' ELSE g.share_kind END END"""
_NAMED = [name for name in _OUT if name not in ("attribute_set_id", "model", "deployment", "share_kind")]
_WEIGHED = f"""
(SELECT g.number, {", ".join(f"g.{name}" for name in _NAMED)}, {", ".join(f"g.{cost}" for cost in splitting.COSTS)},
    coalesce(s.attribute_set_id, h.attribute_set_id) AS attribute_set_id, coalesce(s.part_model, g.model) AS model,
    coalesce(s.part_deployment, g.deployment) AS deployment,
    {_FATE.format(owned="s.team IS DISTINCT FROM ''")} AS share_kind, s.weight
 FROM book_shared g JOIN book_share s ON {_FITS}
 LEFT JOIN book_holder h ON (h.source_id, h.team, h.feature, h.cost_centre, h.environment)
    = (g.source_id, s.team, s.feature, s.cost_centre, s.environment))
"""
# Without anything to weigh by, a pool stays whole, and its set says why.
_WHOLE = f"""
(SELECT g.number, {", ".join(f"g.{name}" for name in _NAMED)}, {", ".join(f"g.{cost}" for cost in splitting.COSTS)},
    t.attribute_set_id, g.model, g.deployment, {_FATE.format(owned="FALSE")} AS share_kind, 1 AS weight
 FROM book_shared g JOIN unnest(%(sources)s::bigint[], %(sets)s::bigint[]) AS t (source_id, attribute_set_id) USING (source_id)
 WHERE NOT EXISTS (SELECT FROM book_share s WHERE {_FITS}))
"""
_VERSIONS = """
SELECT coalesce(sum(version), 0) FROM attribution_dayfigures WHERE day >= %(first)s AND day < %(last)s AND day <> %(day)s
"""
# Figures of other days are those of the same month.
_DUE = """
WITH months AS (SELECT date_trunc('month', day)::date AS month, sum(version) AS version FROM attribution_dayfigures GROUP BY 1)
SELECT DISTINCT p.day FROM attribution_pool p
LEFT JOIN months m ON m.month = p.weighed_from
LEFT JOIN attribution_dayfigures v ON v.day = p.day
WHERE (p.by_owner OR p.weighed_to IS NOT NULL) AND (%(open)s::date IS NULL OR p.day >= %(open)s) AND (
    p.by_owner AND p.ruleset_id <> (SELECT id FROM attribution_rulesetversion WHERE is_current)
    OR p.weighed_to IS NOT NULL AND p.weighed_version <> coalesce(m.version, 0) - coalesce(v.version, 0))
ORDER BY 1
"""
# What other days may be weighed by: direct cost, usage that counts, and business figures.
_FIGURES = f"""
INSERT INTO attribution_dayfigures AS old (day, version, digest)
SELECT %(day)s, least(count(row_text), 1), coalesce(sum(hashtextextended(row_text, 0)), 0) FROM (
    SELECT concat_ws('|', 'cost', currency, provider_name, sub_account, service_name, deployment, attribute_set_id, model,
        charge_category, trim_scale(sum(effective_cost))) AS row_text
    FROM attribution_dailycost
    WHERE day = %(day)s AND is_current AND share_kind = 'direct' AND origin_day IS NULL
    GROUP BY currency, provider_name, sub_account, service_name, deployment, attribute_set_id, model, charge_category
    UNION ALL
    SELECT concat_ws('|', 'usage', offering_id, attribute_set_id, sum(requests),
        {", ".join(f"sum({kind})" for kind in TOKEN_KINDS)})
    FROM ingest_usageday WHERE day = %(day)s AND is_current GROUP BY offering_id, attribute_set_id
    UNION ALL
    SELECT concat_ws('|', 'metric', attribute_set_id, name, period_start, period_end, value) FROM ingest_businessmetric
    WHERE period_start < %(end)s AND period_end > %(start)s) x
ON CONFLICT (day) DO UPDATE SET version = old.version + 1, digest = excluded.digest WHERE old.digest <> excluded.digest
"""
_MEASURED = ("direct_cost", "even", "tokens", "requests", "gpu_time", "metric", "subject")
_REASONS = {
    "none": "kept",
    "subject": "no_match",
    "even": "no_direct_cost",
    "usage_sets": "no_usage",
    "shares": "no_shares",
}


def run(*, day: date, now: datetime) -> int:
    """Splits the staged charges that pools take; returns how many charges and parts that were.

    First the rules take charges, by position, GPU telemetry among them; then charges without an owner that are left, then
    parts that telemetry and usage left to nobody; then every pool is split. So what a split is weighed by is known whole, and
    no split weighs on another. Each charge and part is taken once, and the parts of each pool add to it exactly.
    Part of the caller's transaction, after `tie_out`.
    """
    with connection.cursor() as cursor:
        cursor.execute(_TABLES)
        cursor.execute(bases.TABLES)
    taken = 0
    splits: list[tuple[Rule, SplitRule]] = []
    for row, rule in _rules(day):
        if isinstance(rule, GpuShare):
            taken += gpu_bill.run(day=day, rule=rule, rule_id=row.pk, now=now)
        else:
            taken += _claim(_CLAIM_RULE, rule.charges(prefix="select"), row, day)
            splits.append((row, rule))
    for row, rule in splits:
        taken += _claim(_CLAIM_RULE, rule.leftovers(prefix="select"), row, day)
    for row, rule in splits:
        taken += _claim(_GO_ON, rule.parts(prefix="select"), row, day)
    if taken:
        bases.stage()
        for row, rule in splits:
            _split(rule, row, day=day, now=now)
    return taken


def figures(*, day: date) -> None:
    """Notes whether what other days may be weighed by has changed. Part of the caller's transaction, once the day is written."""
    days = Days(day, date.fromordinal(day.toordinal() + 1))
    with connection.cursor() as cursor:
        cursor.execute(_FIGURES, {"day": day, "start": days.start_at, "end": days.end_at})


def due(*, since: date | None) -> list[date]:
    """The days from `since` on whose pools were weighed by owners or by other days' figures that are different now.

    Safe at any time: what is not yet committed makes its day due once it is.
    """
    return [day for (day,) in fetch(_DUE, {"open": since})]


def reads_owners(*, day: date) -> bool:
    """Whether any split of the day is weighed by owners, so that every set has to have one before `run`."""
    return any(rule.reads_owners for _, rule in _rules(day))


def jobs(*, day: date) -> int:
    """Gives the charges of fine-tunes that a provider ran to their runs; returns how many charges that were. Before `tie_out`,
    which would take them for inference.
    """
    days = Days(day, date.fromordinal(day.toordinal() + 1))
    values = {"start": days.start_at, "end": days.end_at}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM ingest_finetunerun WHERE provider <> 'self_hosted' OR provider_job <> '')"
        )
        if not cursor.fetchone()[0]:
            return 0  # most companies have none, and need not look at every charge
        cursor.execute(_CLAIM_JOBS)
        named: int = cursor.rowcount
        cursor.execute(_CLAIM_TRAINING, values)
        unnamed: int = cursor.rowcount
    if named:
        _store(_JOBS, method="fine_tune", rule_id=None, values={})
    if unnamed:
        _store(_TRAINING, method="fine_tune", rule_id=None, values=values)
    return named + unnamed


def _rules(day: date) -> Iterator[tuple[Rule, SplitRule]]:
    """The split rules in force on the day, by position. A closed day keeps the rules it was closed with."""
    found = Rule.objects.filter(ruleset_id=bases.ruleset(day), is_active=True).order_by("position")
    for row in found.exclude(kind="match"):
        if (row.valid_from and day < row.valid_from) or (row.valid_to and day >= row.valid_to):
            continue
        rule = rules.parse(row.kind, row.config)
        if isinstance(rule, SplitRule):
            yield row, rule


def _pool(row: Rule) -> str:
    return f"rule:{row.position}:{row.name}"


def _claim(sql: str, condition: Fragment, row: Rule, day: date) -> int:
    if condition.sql == "FALSE":
        return 0
    chosen = condition.sql.replace("{unowned}", _UNOWNED)
    values = {"pool": _pool(row), "day": day, "ruleset": row.ruleset_id, **condition.parameters}
    with connection.cursor() as cursor:
        cursor.execute(sql.format(condition=chosen), values)
        taken: int = cursor.rowcount
    return taken


def _split(rule: SplitRule, row: Rule, *, day: date, now: datetime) -> None:
    """Splits what one rule took."""
    weighing = rule.weighing()
    with connection.cursor() as cursor:
        for statement in _SHARED.split(";"):
            cursor.execute(statement, {"pool": _pool(row), "follows": weighing.basis == "subject"})
        cursor.execute("ANALYZE book_shared")
        cursor.execute("SELECT count(*), bool_or(is_long) FROM book_shared")
        groups, is_long = cursor.fetchone()
    if not groups:
        return
    reads_month = weighing.basis == "subject" or (
        bool(is_long) and weighing.basis in (*_MEASURED, "usage_sets") and weighing.basis != "gpu_time"
    )
    _note(row, rule, day=day, reads_month=reads_month)
    bases.fill(weighing=weighing, day=day, is_long=bool(is_long))
    _hold(now)
    sources = [source_id for (source_id,) in fetch("SELECT DISTINCT source_id FROM book_shared ORDER BY 1")]
    reason = _REASONS.get(weighing.basis, f"no_{weighing.basis}")
    sets = [splitting.owner_set(source_id=one, team="", reason=reason, now=now) for one in sources]
    stable = f"model, deployment, {splitting.STABLE_SET}"
    for weighed in (_WEIGHED, _WHOLE):
        parts = splitting.parts_sql(weighted=weighed, pool="number", order=stable, carried=_OUT)
        with connection.cursor() as cursor:
            cursor.execute(
                f"""INSERT INTO book_part (method, rule_id, is_estimated_weight, {", ".join(_OUT)}, weight, {_COSTS})
                    SELECT %(method)s, %(rule)s, FALSE, parts.* FROM ({parts}) parts""",
                {"method": rule.kind, "rule": row.pk, "sources": sources, "sets": sets},
            )


def _note(row: Rule, rule: SplitRule, *, day: date, reads_month: bool) -> None:
    """What the pool's weights depend on, read before them: whatever commits in between makes the day due again."""
    days = bases.month(day)
    by_owner = rule.weighing().basis in _MEASURED or "unowned" in rule.pools
    with connection.cursor() as cursor:
        cursor.execute(_VERSIONS, {"day": day, "first": days.start, "last": days.end})
        (version,) = cursor.fetchone()
        weighed = [days.start, days.end, version] if reads_month else [None, None, None]
        cursor.execute(
            "INSERT INTO book_pool VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
            [_pool(row), rule.kind, rule.pool_kind, row.pk, by_owner, *weighed],
        )


def _hold(now: datetime) -> None:
    """The sets that carry the parts of the owners in `book_share`."""
    owners = fetch(
        """SELECT DISTINCT g.source_id, s.team, s.feature, s.cost_centre, s.environment
           FROM book_share s CROSS JOIN (SELECT DISTINCT source_id FROM book_shared) g
           WHERE s.team IS NOT NULL ORDER BY 1, 2, 3, 4, 5"""
    )
    held = []
    for source_id, team, *more in owners:
        names = dict(zip(("feature", "cost_centre", "environment"), more, strict=True))
        reason = "" if team else "unowned"
        set_id = splitting.owner_set(source_id=source_id, team=team, reason=reason, now=now, **names)
        held.append((source_id, team, *more, set_id))
    with connection.cursor() as cursor:
        cursor.executemany("INSERT INTO book_holder VALUES (%s, %s, %s, %s, %s, %s)", held)


def _store(weighted: str, *, method: str, rule_id: int | None, values: dict[str, Any]) -> None:
    order = f"part_model, deployment, {splitting.STABLE_SET}"
    parts = splitting.parts_sql(weighted=weighted, pool=_POOL, order=order, carried=_CARRIED)
    names = ", ".join(_CARRIED).replace("part_model", "model")
    with connection.cursor() as cursor:
        cursor.execute(
            f"""INSERT INTO book_part (method, rule_id, is_estimated_weight, {names}, weight, {", ".join(splitting.COSTS)})
                SELECT %(method)s, %(rule)s, FALSE, parts.* FROM ({parts}) parts""",
            {"method": method, "rule": rule_id, **values},
        )
