"""Splits the bill of GPU nodes by what their GPUs did: to requests, fine-tune runs, idle time, overhead and the unknown."""

from collections.abc import Iterator, Mapping
from datetime import date, datetime
from decimal import Decimal

from django.db import connection

from attribution import energy, gpu_shares, gpu_time, gpu_windows, periods, splitting, token_weights
from attribution.models import PeriodBook
from attribution.rules.gpu_share import GpuShare

METHOD = "gpu_share"
_LEAST_WEIGHT, _MOST_WEIGHT = Decimal("0.01"), Decimal(10_000)

_TABLES = """
CREATE TEMPORARY TABLE IF NOT EXISTS book_node_work (
    node text, hour timestamptz, attribute_set_id bigint, model text, deployment text, token_kind text, share_kind text,
    run_id bigint, is_estimated boolean, amount numeric
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

# What the books split by: the shares of the day's GPU time. A fine-tune run has its own time, whatever telemetry called it.
_WORK = """
INSERT INTO book_node_work
SELECT node, hour, nullif(attribute_set_id, 0), model, deployment, token_kind, share_kind, NULL::bigint, is_estimated, amount
FROM book_gpu_share WHERE run_id = 0 AND amount > 0
UNION ALL
SELECT t.node, t.hour, r.attribute_set_id, r.base_model, '', '', 'direct', t.run_id, FALSE, sum(t.amount)
FROM book_run_time t JOIN ingest_finetunerun r ON r.id = t.run_id GROUP BY 1, 2, 3, 4, 8
"""

# Each billed period of a node is a pool of its own: an hour's price goes to that hour's work.
_WEIGHTED = """
(SELECT p.*, coalesce(w.attribute_set_id, k.attribute_set_id) AS attribute_set_id, w.model, w.deployment, w.token_kind,
    w.share_kind, w.run_id, bool_or(w.is_estimated) AS is_estimated_weight, sum(w.amount) AS weight
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
    *splitting.CARRIED,
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
    is_closed = periods.is_closed(day)
    if not gpu_time.fill(day=day, now=now):
        if not is_closed:
            energy.forget(day=day)
        return 0
    gpu_windows.fill(day=day, weights=_weights(rule, day), turns=rule.time_sliced)
    gpu_shares.fill(day=day, kinds=gpu_windows.KINDS, is_closed=is_closed)
    energy.fill(day=day)
    taken = _split(rule=rule, rule_id=rule_id, now=now)
    if not is_closed:
        energy.keep(day=day, electricity=_electricity(rule))
    return taken


def _split(*, rule: GpuShare, rule_id: int | None, now: datetime) -> int:
    with connection.cursor() as cursor:
        cursor.execute(_TABLES)
        cursor.execute(_CLAIM, {"aliases": list(rule.nodes), "nodes": list(rule.nodes.values())})
        taken: int = cursor.rowcount
        if not taken:
            return 0
        cursor.execute(_WORK)
        _carriers(rule, now)
        cursor.execute("ANALYZE book_node_work")
        parts = splitting.parts_sql(weighted=_WEIGHTED, pool="pool_id", order=_ORDER, carried=_DIMENSIONS)
        cursor.execute(
            f"""INSERT INTO book_part (method, rule_id, {", ".join(_DIMENSIONS)}, weight, {", ".join(splitting.COSTS)})
                SELECT '{METHOD}', %(rule)s, parts.* FROM ({parts}) parts""",
            {"rule": rule_id},
        )
    return taken


def _weights(rule: GpuShare, day: date) -> dict[str, gpu_windows.Weights]:
    """What a person stated for a deployment, else what was fitted for it, else the rule's own for all."""
    found = {"*": _stated(rule.token_weights, is_estimated=True)}
    for deployment, fit in token_weights.in_force(day=day, known_at=_closed_at(day)).items():
        if fit.is_fitted:
            found[deployment] = gpu_windows.Weights(
                input=fit.b_ms,
                cached=fit.b_ms * fit.cached_weight,
                output=fit.c_ms,
                step=fit.a_ms,
                mean_output=fit.b_ms * fit.output_weight,
                is_in_ms=True,
                is_estimated=False,
            )
    return found | {name: _stated(one, is_estimated=False) for name, one in rule.deployment_weights.items()}


def _closed_at(day: date) -> datetime | None:
    """When the month of a day was closed: what was fitted later changes nothing there."""
    found = PeriodBook.objects.filter(month=day.replace(day=1), state="closed").values_list("closed_at", flat=True)
    return found.first()


def _stated(weights: Mapping[str, Decimal], *, is_estimated: bool) -> gpu_windows.Weights:
    # Only ratios matter; weights that are very large or small are brought to where whole numbers tell them apart.
    top = max(weights.values())
    unit = Decimal(1) if _LEAST_WEIGHT <= top <= _MOST_WEIGHT else top
    given, cached, output = (weights[name] / unit for name in ("input", "cached", "output"))
    return gpu_windows.Weights(given, cached, output, Decimal(0), output, is_in_ms=False, is_estimated=is_estimated)


def _electricity(rule: GpuShare) -> dict[str, energy.Electricity]:
    return {
        place: energy.Electricity(said.get("pue"), said.get("grams_per_kwh"))
        for place, said in rule.electricity.items()
    }


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
