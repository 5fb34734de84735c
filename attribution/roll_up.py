"""One day of the books: the parts of splits, the charges nobody split, and the estimates no bill has replaced."""

from datetime import date, datetime, timedelta
from typing import Any

from django.db import connection

from attribution import periods
from attribution.dimensions import SELF_HOSTED, usage_cost_kind_sql
from attribution.splitting import COSTS
from costobs.kernel.period import Days

_COSTS = ", ".join(COSTS)
_SUMS = ", ".join(f"sum({cost})" for cost in COSTS)

# Adjustments that are booked on the day correct others and stay; those that correct this one are in its own rows again.
_CLEAR = """
DELETE FROM attribution_dailycost WHERE day = %(day)s AND origin_day IS NULL;
DELETE FROM attribution_dailycost WHERE origin_day = %(day)s;
DELETE FROM attribution_allocatedcharge WHERE day = %(day)s;
DELETE FROM attribution_pool WHERE day = %(day)s;
DELETE FROM attribution_finetunecost WHERE day = %(day)s
"""
# The kinds of pools that no rule's selection makes, by the first word of their names.
_KIND = """CASE split_part({pool}, ':', 1) WHEN 'cell' THEN 'usage' WHEN 'gpu' THEN 'node' ELSE 'fine_tune' END"""
# A pool's origin: the charges it took, and the parts of other pools that were passed on to it.
_POOLS = f"""
INSERT INTO attribution_pool (day, source_id, pool, currency, method, pool_kind, rule_id, ruleset_id, by_owner, weighed_from,
    weighed_to, weighed_version, charges, {_COSTS})
SELECT %(day)s, o.source_id, o.pool, o.currency, min(coalesce(b.method, m.method)),
    min(coalesce(b.pool_kind, {_KIND.format(pool="o.pool")})), min(coalesce(b.rule_id, m.rule_id)),
    (SELECT id FROM attribution_rulesetversion WHERE is_current), coalesce(bool_or(b.by_owner), FALSE),
    min(b.weighed_from), min(b.weighed_to), min(b.weighed_version), sum(o.charges), {", ".join(f"sum(o.{cost})" for cost in COSTS)}
FROM (SELECT source_id, pool, currency, count(*) AS charges, {", ".join(f"sum({cost}) AS {cost}" for cost in COSTS)}
      FROM book_charge WHERE pool IS NOT NULL GROUP BY 1, 2, 3
      UNION ALL
      SELECT source_id, passed_to, currency, 0, {_SUMS} FROM book_part WHERE passed_to <> '' GROUP BY 1, 2, 3) o
LEFT JOIN (SELECT pool, min(method) AS method, min(rule_id) AS rule_id FROM book_part GROUP BY 1) m ON m.pool = o.pool
LEFT JOIN book_pool b ON b.pool = o.pool
GROUP BY o.source_id, o.pool, o.currency
"""
_PART = """source_id, pool, method, rule_id, attribute_set_id, provider_name, sub_account, service_name, region,
    invoice_issuer_name, charge_category, charge_class, cost_kind, purchase_option, model, deployment, token_kind,
    share_kind, currency, origin, passed_to"""
_PARTS = f"""
INSERT INTO attribution_allocatedcharge (day, ruleset_id, is_estimated_weight, {_PART}, pool_kind, weight, {_COSTS})
SELECT %(day)s, (SELECT id FROM attribution_rulesetversion WHERE is_current), bool_or(is_estimated_weight), {_PART},
    coalesce((SELECT b.pool_kind FROM book_pool b WHERE b.pool = p.pool), {_KIND.format(pool="p.pool")}), sum(weight), {_SUMS}
FROM book_part p GROUP BY {_PART}
"""
_BOOKED = """source_id, currency, provider_name, sub_account, service_name, region, invoice_issuer_name, charge_category,
    charge_class, cost_kind, purchase_option, attribute_set_id, model, deployment, token_kind, share_kind, method"""
_ROW = f"basis, is_current, is_unpriced, {_BOOKED}, {_COSTS}"
_LAY = """
CREATE TEMPORARY TABLE IF NOT EXISTS book_row (
    basis text, is_current boolean, is_unpriced boolean, source_id bigint, currency text, provider_name text,
    sub_account text, service_name text, region text, invoice_issuer_name text, charge_category text, charge_class text,
    cost_kind text, purchase_option text, attribute_set_id bigint, model text, deployment text, token_kind text,
    share_kind text, method text, billed_cost numeric, effective_cost numeric, list_cost numeric, contracted_cost numeric
) ON COMMIT DELETE ROWS;
DELETE FROM book_row
"""
_BOOK = f"INSERT INTO book_row ({_ROW})"
# A part that was split further is in the books by its own parts. They stay what the first split made them: GPU time, usage.
_BY = _BOOKED.replace("method", "coalesce(booked_method, method)")
_FROM_PARTS = f"""
{_BOOK} SELECT 'billed', TRUE, FALSE, {_BY}, {_SUMS} FROM book_part WHERE passed_to = '' GROUP BY {_BY}
"""
# Of a day whose bill is not complete, what the estimates tell sooner does not count yet.
_FROM_CHARGES = f"""
{_BOOK}
SELECT 'billed', c.counts AND NOT (c.is_llm AND NOT c.is_complete AND u.provider_name IS NOT NULL), FALSE,
    c.source_id, c.currency, c.service_provider_name, c.sub_account_id, c.service_name, c.region_id, c.invoice_issuer_name,
    c.charge_category, c.charge_class, c.cost_kind, c.purchase_option, c.attribute_set_id, c.model, '', c.token_kind, 'direct',
    CASE WHEN c.counts THEN 'charge' ELSE 'duplicate' END, {", ".join(f"sum(c.{cost})" for cost in COSTS)}
FROM book_charge c
LEFT JOIN (SELECT DISTINCT provider_name FROM book_usage WHERE counts) u ON u.provider_name = c.provider
WHERE c.pool IS NULL
GROUP BY 2, c.source_id, c.currency, c.service_provider_name, c.sub_account_id, c.service_name, c.region_id,
    c.invoice_issuer_name, c.charge_category, c.charge_class, c.cost_kind, c.purchase_option,
    c.attribute_set_id, c.model, c.token_kind, c.counts
"""
# An estimate is replaced where a bill that counts, complete for the day, charges for models of the same provider; for own
# GPUs, where the bill of the node has been split over the deployment.
_FROM_USAGE = f"""
{_BOOK}
SELECT 'estimated', u.counts AND b.provider IS NULL AND g.deployment IS NULL, u.is_unpriced, u.source_id, u.currency,
    u.provider_name, coalesce(nullif(u.account, ''), u.project), u.service_name, '', '', 'Usage', '',
    {usage_cost_kind_sql("u.provider")}, '', u.attribute_set_id, u.model, u.deployment, u.token_kind, 'direct',
    CASE WHEN u.counts THEN 'usage' ELSE 'duplicate' END,
    sum(u.cost), sum(u.cost), sum(u.cost), sum(u.cost)
FROM book_usage u
LEFT JOIN (SELECT DISTINCT provider FROM book_charge WHERE is_llm AND is_complete AND counts
        AND NOT starts_with(coalesce(pool, ''), 'run:')) b ON b.provider = u.provider_name
LEFT JOIN (SELECT DISTINCT deployment FROM book_part WHERE method = 'gpu_share' AND deployment <> '') g
    ON g.deployment = u.deployment AND u.provider = '{SELF_HOSTED}'
WHERE u.tokens <> 0 OR u.cost <> 0
GROUP BY 2, u.is_unpriced, u.source_id, u.currency, u.provider_name, 7, u.service_name, 13, u.attribute_set_id, u.model,
    u.deployment, u.token_kind, u.counts
"""
_WRITE = f"INSERT INTO attribution_dailycost (day, {_ROW}) SELECT %(day)s, {_ROW} FROM book_row"

# Useful seconds as reported; without them a run that ended well was useful throughout and one that did not was wasted.
_RUNS = """
WITH spent AS (
    SELECT p.run_id, p.currency, sum(p.effective_cost) AS cost FROM book_part p WHERE p.run_id IS NOT NULL GROUP BY 1, 2
), timed AS (
    SELECT s.*, r.state IN ('failed', 'preempted', 'cancelled') AS is_lost, r.useful_seconds, greatest(1,
        floor(extract(epoch FROM coalesce(r.ended_at, %(now)s) - r.started_at)))::numeric AS seconds
    FROM spent s JOIN ingest_finetunerun r ON r.id = s.run_id
), useful AS (
    SELECT *, CASE WHEN useful_seconds IS NULL THEN CASE WHEN is_lost THEN 0 ELSE cost END
        ELSE div(cost * least(useful_seconds, seconds) * 1000000000000, seconds) * 0.000000000001 END AS useful_cost FROM timed
)
INSERT INTO attribution_finetunecost (run_id, day, currency, useful_cost, idle_cost, wasted_cost, gpu_ms, is_estimated)
SELECT u.run_id, %(day)s, u.currency, u.useful_cost, CASE WHEN is_lost THEN 0 ELSE cost - useful_cost END,
    CASE WHEN is_lost THEN cost - useful_cost ELSE 0 END,
    coalesce((SELECT floor(sum(t.amount) / 7) FROM book_run_time t WHERE t.run_id = u.run_id), 0), FALSE FROM useful u
"""
# Keeping what a run made is booked where its charge is; here it is told of the run as well. A charge that names several runs
# (one model, trained twice) is of the one it names itself, else of the last that made the model.
_STORAGE = """
WITH named AS (
    SELECT c.ctid AS place, n.name, c.currency, c.effective_cost FROM book_charge c
    CROSS JOIN LATERAL (VALUES (c.tags->>'run_id'), (c.tags->>'run'), (c.tags->>'fine_tune_run'), (c.tags->>'training_job'),
        (c.tags->>'artefact'), (c.tags->>'artifact'), (c.tags->>'model_artifact'), (c.resource_id), (c.resource_name),
        (regexp_replace(rtrim(c.resource_id, '/'), '^.*[/:]', ''))) AS n (name)
    WHERE c.counts AND c.cost_kind = 'storage' AND length(n.name) > 3
), made AS (
    SELECT r.id, n.name, n.place, r.state, r.started_at FROM ingest_finetunerun r
    CROSS JOIN LATERAL (VALUES (r.external_id, 1), (r.provider_job, 1), (r.artefact, 2),
        (regexp_replace(rtrim(r.artefact, '/'), '^.*/', ''), 3)) AS n (name, place)
    WHERE n.name <> '' AND r.started_at < %(end)s
), kept AS (
    SELECT DISTINCT ON (named.place) made.id, named.currency, named.effective_cost FROM named JOIN made USING (name)
    ORDER BY named.place, made.place, made.state = 'succeeded' DESC, made.started_at DESC, made.id
)
INSERT INTO attribution_finetunecost AS c (run_id, day, currency, useful_cost, idle_cost, wasted_cost, storage_cost, gpu_ms)
SELECT id, %(day)s, currency, 0, 0, 0, sum(effective_cost), 0 FROM kept GROUP BY 1, 3
ON CONFLICT (run_id, day, currency) DO UPDATE SET storage_cost = excluded.storage_cost
"""
_CONSUMED = """
UPDATE ingest_touched t SET rolled_up_version = greatest(t.rolled_up_version, v.version)
FROM unnest(%(sources)s::bigint[], %(versions)s::bigint[]) AS v (source_id, version)
WHERE t.source_id = v.source_id AND t.day = %(day)s
"""


def lock(*, day: date) -> dict[int, int]:
    """Takes the day for this transaction and returns the versions of its sources, read before any of their rows.

    What commits later has a higher version, so the day stays open for it. Its month neither closes nor reopens meanwhile.
    """
    periods.keep_open()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('costobs books'), %s)", [day.toordinal()])
        cursor.execute("SELECT source_id, version FROM ingest_touched WHERE day = %s", [day])
        return dict(cursor.fetchall())


def lay() -> None:
    """Lays the staged day out as rows of the books, in a temporary table. Part of the caller's transaction."""
    with connection.cursor() as cursor:
        cursor.execute(_LAY)
        for statement in (_FROM_PARTS, _FROM_CHARGES, _FROM_USAGE):
            cursor.execute(statement)


def run(*, day: date, now: datetime) -> int:
    """Writes an open day to the books in place of what was there; returns the number of rows.

    Repeated, it writes the same rows. Part of the caller's transaction, after `lock` and `lay`.
    """
    values: dict[str, Any] = {"day": day, "now": now}
    with connection.cursor() as cursor:
        for statement in _CLEAR.split(";"):
            cursor.execute(statement, values)
        cursor.execute("SELECT EXISTS (SELECT FROM book_part)")
        if cursor.fetchone()[0]:
            cursor.execute(_POOLS, values)
            cursor.execute(_PARTS, values)
        cursor.execute(_WRITE, values)
        written: int = cursor.rowcount
        cursor.execute(_RUNS, values)
        cursor.execute(_STORAGE, values | {"end": Days(day, day + timedelta(days=1)).end_at})
    return written


def consume(*, day: date, versions: dict[int, int]) -> None:
    """Says that the day is in the books as its sources were at `versions`."""
    values: dict[str, Any] = {"day": day, "sources": list(versions), "versions": list(versions.values())}
    with connection.cursor() as cursor:
        cursor.execute(_CONSUMED, values)
