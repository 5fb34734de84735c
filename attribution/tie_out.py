"""Billed model cells take the weights of the usage they pay for; what was billed and never logged is bypass."""

from datetime import date, datetime

from django.db import connection

from attribution import splitting

METHOD = "tie_out"

# A bill and a log never agree to the token: clocks cut days and streams at other places. Within this share it is the same.
_SAME = "0.98"

# Cells: what one line of the bill is about. Only complete days, what counts, and providers that have usage at all on the day:
# where nothing was logged, a bill keeps its own tags.
_CELLS = """
CREATE TEMPORARY TABLE IF NOT EXISTS book_cell (
    pool text, source_id bigint, provider text, account text, model text, token_kind text, provider_name text,
    sub_account text, service_name text, region text, invoice_issuer_name text, charge_category text, charge_class text,
    cost_kind text, purchase_option text, currency text, tokens numeric, size numeric, covered numeric,
    billed_cost numeric, effective_cost numeric, list_cost numeric, contracted_cost numeric
) ON COMMIT DELETE ROWS;
CREATE TEMPORARY TABLE IF NOT EXISTS book_claim (
    pool text, attribute_set_id bigint, model text, deployment text, token_kind text, amount numeric
) ON COMMIT DELETE ROWS;
DELETE FROM book_cell; DELETE FROM book_claim;
"""
_POOL = """'cell:' || md5(concat_ws('|', c.source_id, c.service_provider_name, c.sub_account_id, c.service_name, c.region_id,
    c.invoice_issuer_name, c.charge_category, c.charge_class, c.cost_kind, c.purchase_option, c.currency, c.model, c.token_kind))"""
_CLAIM = f"""
UPDATE book_charge c SET pool = {_POOL}
WHERE c.pool IS NULL AND c.counts AND c.is_complete AND c.is_llm AND c.ends <= c.starts + interval '1 day'
    AND EXISTS (SELECT FROM book_usage u WHERE u.counts AND u.provider_name = c.provider)
"""
_GROUP = """
INSERT INTO book_cell
SELECT c.pool, c.source_id, c.provider, c.sub_account_id, c.model, c.token_kind, c.service_provider_name, c.sub_account_id,
    c.service_name, c.region_id, c.invoice_issuer_name, c.charge_category, c.charge_class, c.cost_kind, c.purchase_option,
    c.currency, CASE WHEN count(*) = count(c.tokens) AND c.token_kind <> '' AND sum(c.tokens) > 0 THEN sum(c.tokens) END,
    CASE WHEN sum(c.list_cost) > 0 THEN sum(c.list_cost) ELSE greatest(sum(c.billed_cost), 0) END, 0,
    sum(c.billed_cost), sum(c.effective_cost), sum(c.list_cost), sum(c.contracted_cost)
FROM book_charge c WHERE starts_with(c.pool, 'cell:')
GROUP BY c.pool, c.source_id, c.provider, c.sub_account_id, c.model, c.token_kind, c.service_provider_name, c.service_name,
    c.region_id, c.invoice_issuer_name, c.charge_category, c.charge_class, c.cost_kind, c.purchase_option, c.currency;
-- Where a provider's bill and log name accounts in different ways (an id here, a name there), accounts tell nothing.
UPDATE book_cell c SET account = '' WHERE NOT EXISTS (
    SELECT FROM book_cell o JOIN book_usage u ON u.counts AND u.provider_name = o.provider AND o.account <> ''
        AND o.account IN (u.account, u.project)
    WHERE o.provider = c.provider AND o.source_id = c.source_id);
"""

# Which usage belongs to a cell. Usage that names no account may belong to any.
_MATCH = """
u.counts AND u.provider_name = c.provider AND c.model IN ('', u.model)
    AND (c.token_kind IN ('', u.token_kind))
    AND (c.account = '' OR (u.account = '' AND u.project = '') OR c.account IN (u.account, u.project))
"""
# An estimate in another currency than the bill cannot size it; then usage of the cell is taken to cover it.
# Usage that several cells of one kind may claim (two regions, two accounts) covers each in proportion to its size, not each
# fully. A line without a model beside lines with models (tools, storage) is a further charge for the same calls.
_COVER = f"""
WITH logged AS (
    SELECT c.pool, c.model, c.token_kind, c.tokens IS NULL AS by_cost, u.account AS a, u.project AS p, u.model AS m,
        u.token_kind AS k,
        sum(CASE WHEN c.tokens IS NOT NULL THEN u.tokens WHEN u.currency = c.currency THEN u.cost ELSE c.size END) AS amount,
        coalesce(c.tokens, c.size) AS wanted
    FROM book_cell c JOIN book_usage u ON {_MATCH}
    GROUP BY c.pool, c.model, c.token_kind, c.tokens, c.size, u.account, u.project, u.model, u.token_kind
), shared AS (
    SELECT pool, sum(amount * CASE WHEN whole > 0 THEN wanted / whole ELSE 1 END) AS amount
    FROM (SELECT *, sum(wanted) OVER (PARTITION BY model, token_kind, by_cost, a, p, m, k) AS whole FROM logged) l
    GROUP BY pool
)
UPDATE book_cell c SET covered = CASE
    WHEN coalesce(c.tokens, c.size) <= 0 OR s.amount >= coalesce(c.tokens, c.size) THEN 1
    WHEN c.model = '' AND EXISTS (SELECT FROM book_cell o
        WHERE o.source_id = c.source_id AND o.provider = c.provider AND o.model <> '') THEN 1
    WHEN c.tokens IS NOT NULL AND s.amount >= c.tokens * {_SAME} THEN 1
    ELSE s.amount / coalesce(c.tokens, c.size) END
FROM shared s WHERE s.pool = c.pool
"""

_CLAIMED = f"""
INSERT INTO book_claim
SELECT c.pool, u.attribute_set_id, u.model, u.deployment, u.token_kind,
    sum(CASE WHEN c.token_kind = '' OR c.model = '' THEN u.cost ELSE u.tokens END) AS amount
FROM book_cell c JOIN book_usage u ON {_MATCH} GROUP BY 1, 2, 3, 4, 5
"""
# A covered part weighs its share of what was logged times the coverage; the bypass weighs what is left of one.
_WEIGHTED = """
(SELECT c.*, u.attribute_set_id, u.model AS part_model, u.deployment, u.token_kind AS part_kind, 'direct' AS share_kind,
    c.covered * u.amount / sum(u.amount) OVER (PARTITION BY c.pool) AS weight
 FROM book_cell c JOIN book_claim u ON u.pool = c.pool AND u.amount > 0
 UNION ALL
 SELECT c.*, b.attribute_set_id, c.model, '', c.token_kind, 'unallocated', CASE WHEN u.pool IS NULL THEN 1 ELSE 1 - c.covered END
 FROM book_cell c
 JOIN unnest(%(sources)s::bigint[], %(bypass)s::bigint[]) AS b (source_id, attribute_set_id) ON b.source_id = c.source_id
 LEFT JOIN (SELECT DISTINCT pool FROM book_claim WHERE amount > 0) u ON u.pool = c.pool
 WHERE c.covered < 1 OR u.pool IS NULL)
"""
_CARRIED = (
    *splitting.CARRIED,
    "part_model",
    "deployment",
    "part_kind",
    "share_kind",
)


def run(*, day: date, now: datetime) -> int:
    """Splits the billed cells of the staged day over the usage they cover; returns how many cells there were.

    Coverage is logged over billed tokens where the bill counts tokens, else estimated over list cost. The parts of a cell
    add to it exactly. Part of the caller's transaction; staged anew for each run, so it may be repeated.
    """
    with connection.cursor() as cursor:
        cursor.execute(_CELLS)
        cursor.execute(_CLAIM)
        if not cursor.rowcount:
            return 0
        cursor.execute(_GROUP)
        cursor.execute("ANALYZE book_cell")
        cursor.execute(_COVER)
        cursor.execute("SELECT DISTINCT source_id FROM book_cell ORDER BY 1")
        sources = [source_id for (source_id,) in cursor.fetchall()]
        bypass = [splitting.owner_set(source_id=one, team="", reason="bypass", now=now) for one in sources]
        cursor.execute(_CLAIMED)
        order = f"part_model, deployment, part_kind, share_kind, {splitting.STABLE_SET}"
        parts = splitting.parts_sql(weighted=_WEIGHTED, pool="pool", order=order, carried=_CARRIED)
        cursor.execute(
            f"""INSERT INTO book_part (method, is_estimated_weight, source_id, pool, attribute_set_id, provider_name,
                    sub_account, service_name, region, invoice_issuer_name, charge_category, charge_class, cost_kind,
                    purchase_option, currency, model, deployment, token_kind, share_kind, weight, {", ".join(splitting.COSTS)})
                SELECT '{METHOD}', FALSE, parts.* FROM ({parts}) parts""",
            {"sources": sources, "bypass": bypass},
        )
        cursor.execute("SELECT count(*) FROM book_cell")
        return int(cursor.fetchone()[0])
