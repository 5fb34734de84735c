"""One day of charges and usage, read once and laid out for the steps that make its books.

The tables are temporary, belong to the connection and are empty again at the end of the transaction.
"""

from datetime import date
from typing import Any

from django.db import connection

from attribution.dimensions import (
    AI_CATEGORY,
    CLOUDS,
    PROVIDERS,
    SELF_HOSTED,
    canonical_sql,
    provider_name_sql,
    service_name_sql,
)
from costobs.kernel.period import Days

TOKEN_KINDS = (
    "input_uncached",
    "cache_read",
    "cache_write_5m",
    "cache_write_1h",
    "output",
    "audio_input",
    "audio_output",
    "image_input",
)

# What a provider of models sells beside the calls: no call pays for it.
BESIDE_CALLS = ("fine_tuning", "storage", "vector_store", "network")

_TABLES = """
CREATE TEMPORARY TABLE IF NOT EXISTS book_charge (
    source_id bigint, attribute_set_id bigint, provider text, starts timestamptz, ends timestamptz,
    billing_account_id text, sub_account_id text, service_provider_name text, invoice_issuer_name text, currency text,
    service_category text, service_name text, charge_category text, charge_class text, charge_description text, sku_id text,
    resource_id text, resource_name text, resource_type text, region_id text, model text, token_kind text, cost_kind text,
    purchase_option text, tags jsonb, tokens numeric, is_complete boolean, is_llm boolean, counts boolean, pool text,
    billed_cost numeric, effective_cost numeric, list_cost numeric, contracted_cost numeric,
    commitment_discount_id text, commitment_discount_status text
) ON COMMIT DELETE ROWS;
CREATE TEMPORARY TABLE IF NOT EXISTS book_usage (
    source_id bigint, hour timestamptz, attribute_set_id bigint, provider text, provider_name text, service_name text,
    account text, project text, model text, deployment text, currency text, token_kind text, tokens numeric, cost numeric,
    is_unpriced boolean, counts boolean
) ON COMMIT DELETE ROWS;
CREATE TEMPORARY TABLE IF NOT EXISTS book_part (
    source_id bigint, pool text, method text, rule_id bigint, attribute_set_id bigint, provider_name text,
    sub_account text, service_name text, region text, invoice_issuer_name text, charge_category text, charge_class text,
    cost_kind text, purchase_option text, currency text, model text, deployment text, token_kind text, share_kind text,
    is_estimated_weight boolean, run_id bigint, weight numeric, billed_cost numeric, effective_cost numeric,
    list_cost numeric, contracted_cost numeric,
    origin text NOT NULL DEFAULT '', booked_method text, passed_to text NOT NULL DEFAULT ''
) ON COMMIT DELETE ROWS;
CREATE TEMPORARY TABLE IF NOT EXISTS book_gpu_time (
    node text, gpu text, hour timestamptz, deployment text, state text, amount numeric, taken numeric
) ON COMMIT DELETE ROWS;
CREATE TEMPORARY TABLE IF NOT EXISTS book_run_time (
    run_id bigint, node text, gpu text, hour timestamptz, amount numeric
) ON COMMIT DELETE ROWS;
DELETE FROM book_charge; DELETE FROM book_usage; DELETE FROM book_part; DELETE FROM book_gpu_time; DELETE FROM book_run_time;
"""

# A quantity in tokens, however the vendor counts them: Tokens, 1K tokens, 1000 Tokens, 1M Token, million tokens.
UNIT = """
(CASE WHEN {unit} !~* 'tok' THEN NULL
    WHEN {unit} ~* '(1|^|\\s)\\s*m(illion)?\\M|1,?000,?000|mtok|million' THEN 1000000
    WHEN {unit} ~* '(1|^|\\s)\\s*k\\M|1,?000|ktok|thousand' THEN 1000 ELSE 1 END)
"""

_CHARGES = f"""
INSERT INTO book_charge
SELECT c.source_id, c.attribute_set_id, p.provider,
    c.charge_period_start, c.charge_period_end, c.billing_account_id, c.sub_account_id, c.service_provider_name,
    c.invoice_issuer_name, c.billing_currency, c.service_category, c.service_name, c.charge_category, c.charge_class,
    c.charge_description, c.sku_id, c.resource_id, c.resource_name, c.resource_type, c.region_id, c.model, c.token_kind,
    c.cost_kind, c.purchase_option, c.tags, coalesce(c.consumed_quantity * {UNIT.format(unit="c.consumed_unit")},
        c.pricing_quantity * {UNIT.format(unit="c.pricing_unit")}),
    v.complete_through IS NULL OR v.complete_through >= %(end)s,
    c.charge_category = 'Usage' AND c.cost_kind <> ALL(%(beside)s) AND (c.model <> '' OR (p.provider = ANY(%(dedicated)s))
        OR (c.service_category = '{AI_CATEGORY}' AND c.service_subcategory = 'Generative AI')),
    TRUE, NULL, c.billed_cost, c.effective_cost, c.list_cost, c.contracted_cost, c.commitment_discount_id,
    c.commitment_discount_status
FROM ingest_charge c
JOIN ingest_delivery v ON v.id = c.delivery_id AND v.state = 'current'
CROSS JOIN LATERAL (SELECT {canonical_sql("c.service_provider_name")} AS provider) p
WHERE c.charge_period_start >= %(start)s AND c.charge_period_start < %(end)s
"""

# The row of no kind holds what a request costs by itself; it is there for free ones too, so that authority sees all usage.
# Hours are added up before kinds and prices come into it.
_KINDS = ", ".join(f"('{kind}', u.{kind}, u.{kind} * p.{kind}_price)" for kind in TOKEN_KINDS)
_USAGE = f"""
INSERT INTO book_usage
SELECT u.source_id, u.hour, u.attribute_set_id, f.provider,
    {provider_name_sql("f.provider")}, {service_name_sql("f.provider")}, coalesce(a.attributes->>'account', ''),
    coalesce(a.attributes->>'project', ''), f.model, f.deployment, p.currency, k.kind, sum(k.tokens), sum(k.cost),
    p.is_conservative, TRUE
FROM (
    SELECT h.source_id, CASE WHEN o.provider = '{SELF_HOSTED}' THEN h.hour END AS hour, h.attribute_set_id, h.offering_id,
        h.price_id, sum(h.requests) AS requests, {", ".join(f"sum(h.{kind}) AS {kind}" for kind in TOKEN_KINDS)}
    FROM ingest_usagehour h JOIN ingest_offering o ON o.id = h.offering_id
    WHERE h.hour >= %(start)s AND h.hour < %(end)s GROUP BY 1, 2, 3, 4, 5
) u
JOIN ingest_offering f ON f.id = u.offering_id
JOIN ingest_unitprice p ON p.id = u.price_id
JOIN ingest_attributeset a ON a.id = u.attribute_set_id
CROSS JOIN LATERAL (VALUES {_KINDS}, ('', 0::numeric, u.requests * p.request_price)) AS k (kind, tokens, cost)
WHERE k.kind = '' OR k.tokens <> 0
GROUP BY 1, 2, 3, f.provider, 7, 8, f.model, f.deployment, p.currency, k.kind, p.is_conservative
"""

# A charge is wide and its columns say little: a small sample serves the plans, and costs a tenth of the usual one.
_LOOK = """
SET LOCAL default_statistics_target = 10; ANALYZE book_charge; SET LOCAL default_statistics_target TO DEFAULT; ANALYZE book_usage
"""


def fill(*, day: date) -> None:
    """Lays out the day. Part of the caller's transaction."""
    days = Days(day, date.fromordinal(day.toordinal() + 1))
    values: dict[str, Any] = {  # parameters of SQL
        "day": day,
        "beside": list(BESIDE_CALLS),
        "start": days.start_at,
        "end": days.end_at,
        "dedicated": _dedicated(),
    }
    with connection.cursor() as cursor:
        cursor.execute(_TABLES)
        cursor.execute(_CHARGES, values)
        cursor.execute(_USAGE, values)
        cursor.execute(_LOOK)


def _dedicated() -> list[str]:
    """The providers all of whose usage is models."""
    own = PROVIDERS[SELF_HOSTED].provider_name
    return sorted({one.provider_name for one in PROVIDERS.values()} - {*CLOUDS, own})
