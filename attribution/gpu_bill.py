"""Splits the bill of GPU nodes by what their GPUs did: to requests, fine-tune runs, idle time, overhead and the unknown."""

from collections.abc import Iterator, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from django.db import connection

from attribution import gpu_time, splitting
from attribution.rules.gpu_share import DEFAULT_WEIGHTS, GpuShare

METHOD = "gpu_share"

_TABLES = """
CREATE TEMPORARY TABLE IF NOT EXISTS book_node_work (
    node text, hour timestamptz, attribute_set_id bigint, model text, deployment text, token_kind text, share_kind text,
    run_id bigint, amount numeric
) ON COMMIT DELETE ROWS;
CREATE TEMPORARY TABLE IF NOT EXISTS book_carrier (
    source_id bigint, deployment text, share_kind text, attribute_set_id bigint
) ON COMMIT DELETE ROWS;
DELETE FROM book_node_work; DELETE FROM book_carrier;
"""

# A node's charges: its resource (an ARN or path ends with it) or a tag is its name, or a rule says whose resource it is. What
# the bill takes for any machine or service is a GPU, as its telemetry shows; energy, storage and traffic stay what they are.
_CLAIM = """
WITH nodes AS (
    SELECT DISTINCT node AS alias, node FROM book_gpu_time WHERE node <> ''
    UNION
    SELECT a.alias, t.node FROM unnest(%(aliases)s::text[], %(nodes)s::text[]) AS a (alias, node)
    JOIN (SELECT DISTINCT node FROM book_gpu_time) t USING (node)
)
UPDATE book_charge c SET pool = 'gpu:' || n.node,
    cost_kind = CASE WHEN c.cost_kind IN ('', 'cpu_compute', 'other_service') THEN 'gpu_compute' ELSE c.cost_kind END
FROM nodes n
WHERE c.pool IS NULL AND c.counts AND c.ends <= c.starts + interval '1 day' AND n.alias IN (
    c.resource_id, regexp_replace(c.resource_id, '^.*[/:]', ''), c.resource_name, c.tags->>'node', c.tags->>'Node',
    c.tags->>'hostname', c.tags->>'Hostname', c.tags->>'Name', c.tags->>'name', c.tags->>'kubernetes.io/hostname')
"""

# Busy time of a deployment goes to the requests of the same hour by weighted tokens; without requests it is overhead.
_WORK = """
WITH weights AS (
    SELECT * FROM unnest(%(deployments)s::text[], %(input)s::numeric[], %(cached)s::numeric[], %(output)s::numeric[])
        AS w (deployment, input, cached, output)
), weighed AS (
    SELECT u.hour, u.deployment, u.attribute_set_id, u.model, u.token_kind, sum(u.tokens * CASE
        WHEN u.token_kind = 'cache_read' THEN coalesce(w.cached, d.cached)
        WHEN u.token_kind IN ('output', 'audio_output') THEN coalesce(w.output, d.output)
        ELSE coalesce(w.input, d.input) END) AS weight
    FROM book_usage u LEFT JOIN weights w ON w.deployment = u.deployment JOIN weights d ON d.deployment = '*'
    WHERE u.counts AND u.hour IS NOT NULL AND u.deployment <> '' AND u.tokens > 0 GROUP BY 1, 2, 3, 4, 5
), shares AS (
    SELECT *, sum(weight) OVER (PARTITION BY hour, deployment) AS whole FROM weighed WHERE weight > 0
), spent AS (
    SELECT node, hour, deployment, state, sum(amount - taken) AS amount FROM book_gpu_time GROUP BY 1, 2, 3, 4
)
INSERT INTO book_node_work
SELECT s.node, s.hour, u.attribute_set_id, u.model, s.deployment, u.token_kind, 'direct', NULL::bigint,
    s.amount * u.weight / u.whole
FROM spent s JOIN shares u USING (hour, deployment) WHERE s.state = 'busy' AND s.amount > 0
UNION ALL
SELECT s.node, s.hour, NULL::bigint, '', s.deployment, '',
    CASE WHEN s.state = 'busy' THEN 'overhead' WHEN s.state = 'unknown' THEN 'unallocated'
        WHEN s.deployment = '' THEN 'idle_infrastructure' ELSE 'idle_workload' END, NULL::bigint, s.amount
FROM spent s WHERE s.amount > 0 AND NOT (s.state = 'busy' AND EXISTS (
    SELECT FROM shares u WHERE u.hour = s.hour AND u.deployment = s.deployment))
UNION ALL
SELECT t.node, t.hour, r.attribute_set_id, r.base_model, '', '', 'direct', t.run_id, sum(t.amount)
FROM book_run_time t JOIN ingest_finetunerun r ON r.id = t.run_id GROUP BY 1, 2, 3, 4, 8
"""

# Each billed period of a node is a pool of its own: an hour's price goes to that hour's work.
_WEIGHTED = """
(SELECT p.*, coalesce(w.attribute_set_id, k.attribute_set_id) AS attribute_set_id, w.model, w.deployment, w.token_kind,
    w.share_kind, w.run_id, w.share_kind = 'direct' AND w.run_id IS NULL AND NOT w.deployment = ANY(%(fitted)s)
        AS is_estimated_weight, sum(w.amount) AS weight
 FROM (SELECT row_number() OVER () AS pool_id, c.source_id, c.pool, substr(c.pool, 5) AS node, c.starts, c.ends,
           c.service_provider_name AS provider_name,
           c.sub_account_id AS sub_account, c.service_name, c.region_id AS region, c.invoice_issuer_name, c.charge_category,
           c.charge_class, c.cost_kind, c.purchase_option, c.currency, sum(c.billed_cost) AS billed_cost,
           sum(c.effective_cost) AS effective_cost, sum(c.list_cost) AS list_cost, sum(c.contracted_cost) AS contracted_cost
       FROM book_charge c WHERE starts_with(c.pool, 'gpu:') GROUP BY 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16) p
 JOIN book_node_work w ON w.node = p.node AND w.hour >= date_trunc('hour', p.starts, 'UTC')
    AND w.hour < greatest(p.ends, date_trunc('hour', p.starts, 'UTC') + interval '1 hour')
 LEFT JOIN book_carrier k ON w.attribute_set_id IS NULL AND k.source_id = p.source_id AND k.deployment = w.deployment
    AND k.share_kind = w.share_kind
 GROUP BY p.pool_id, p.source_id, p.pool, p.node, p.starts, p.ends, p.provider_name, p.sub_account, p.service_name, p.region,
    p.invoice_issuer_name, p.charge_category, p.charge_class, p.cost_kind, p.purchase_option, p.currency, p.billed_cost,
    p.effective_cost, p.list_cost, p.contracted_cost, 21, 22, 23, 24, 25, 26)
"""
_ORDER = f"share_kind, deployment, model, token_kind, {splitting.STABLE_SET}, coalesce(run_id, 0)"
_DIMENSIONS = (
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
    "model",
    "deployment",
    "token_kind",
    "share_kind",
    "is_estimated_weight",
    "run_id",
)
_REASONS = {
    "overhead": "overhead",
    "unallocated": "no_telemetry",
    "idle_infrastructure": "idle",
    "idle_workload": "idle",
}


def run(*, day: date, rule: GpuShare, rule_id: int | None, now: datetime) -> int:
    """Splits the staged charges of GPU nodes; returns how many charges it took. The parts of each period add to it exactly.

    Part of the caller's transaction, between `staging.fill` and the writing of the books.
    """
    if not gpu_time.fill(day=day, now=now):
        return 0
    with connection.cursor() as cursor:
        cursor.execute(_TABLES)
        cursor.execute(_CLAIM, {"aliases": list(rule.nodes), "nodes": list(rule.nodes.values())})
        taken: int = cursor.rowcount
        if not taken:
            return 0
        cursor.execute(_WORK, _weights(rule))
        _carriers(rule, now)
        cursor.execute("ANALYZE book_node_work")
        parts = splitting.parts_sql(weighted=_WEIGHTED, pool="pool_id", order=_ORDER, carried=_DIMENSIONS)
        cursor.execute(
            f"""INSERT INTO book_part (method, rule_id, {", ".join(_DIMENSIONS)}, weight, {", ".join(splitting.COSTS)})
                SELECT '{METHOD}', %(rule)s, parts.* FROM ({parts}) parts""",
            {"rule": rule_id, "fitted": list(rule.deployment_weights)},
        )
    return taken


def _weights(rule: GpuShare) -> dict[str, Any]:  # parameters of SQL
    named = {"*": rule.token_weights, **rule.deployment_weights}
    columns: dict[str, Sequence[str | Decimal]] = {
        name: [weights[name] for weights in named.values()] for name in DEFAULT_WEIGHTS
    }
    return {"deployments": list(named), **columns}


def _carriers(rule: GpuShare, now: datetime) -> None:
    """The sets that carry time without requests: of the deployment's owner, where the rule names one."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT DISTINCT c.source_id, w.deployment, w.share_kind FROM book_charge c
               JOIN book_node_work w ON c.pool = 'gpu:' || w.node WHERE w.attribute_set_id IS NULL ORDER BY 1, 2, 3"""
        )
        rows = list(_carrier_rows(cursor.fetchall(), rule, now))
        cursor.executemany("INSERT INTO book_carrier VALUES (%s, %s, %s, %s)", rows)


def _carrier_rows(
    wanted: list[tuple[int, str, str]], rule: GpuShare, now: datetime
) -> Iterator[tuple[int, str, str, int]]:
    for source_id, deployment, share_kind in wanted:
        team = rule.deployment_owners.get(deployment, "")
        reason = _REASONS[share_kind]
        yield (
            source_id,
            deployment,
            share_kind,
            splitting.owner_set(source_id=source_id, team=team, reason=reason, now=now),
        )
