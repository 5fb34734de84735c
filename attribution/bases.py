"""What the parts of shared money are weighed by: cost, tokens, requests, GPU time or a business metric, by owner.

Weights are gathered in `book_share` for one rule at a time. They are never negative: an owner whose credits outweigh its cost
weighs nothing. A row holds for pools of one `subject` ("" but for what follows its subject) that last a day, or `is_long`ger.
"""

from datetime import date
from typing import Any

from django.db import connection

from attribution.dimensions import SELF_HOSTED, canonical_sql
from attribution.models import PeriodBook, RulesetVersion
from attribution.rules.base import Weighing, usage_selection
from attribution.staging import TOKEN_KINDS
from costobs.kernel.period import Days, add_months

TABLES = """
CREATE TEMPORARY TABLE IF NOT EXISTS book_share (
    subject text, is_long boolean, currency text, team text, feature text, cost_centre text, environment text,
    attribute_set_id bigint, part_model text, part_deployment text, weight numeric
) ON COMMIT DELETE ROWS;
CREATE TEMPORARY TABLE IF NOT EXISTS book_direct (
    provider text, currency text, attribute_set_id bigint, model text, sub_account text, service_name text, deployment text,
    is_subject boolean, cost numeric
) ON COMMIT DELETE ROWS;
CREATE TEMPORARY TABLE IF NOT EXISTS book_owned (
    is_day boolean, provider text, currency text, sub_account text, service_name text, deployment text, team text,
    feature text, cost_centre text, environment text, cost numeric
) ON COMMIT DELETE ROWS;
CREATE TEMPORARY TABLE IF NOT EXISTS book_subject (
    subject text, provider text, currency text, sub_account text, service_name text, sku_id text, resource_id text,
    deployment text, is_part boolean
) ON COMMIT DELETE ROWS;
DELETE FROM book_share; DELETE FROM book_direct; DELETE FROM book_owned;
DO $$ BEGIN IF to_regclass('pg_temp.book_node_work') IS NOT NULL THEN DELETE FROM book_node_work; END IF; END $$;
"""

# Owners are those of the rules in force for the day, which a closed month keeps.
_OWNED_BY = """LEFT JOIN attribution_ownership {alias} ON {alias}.ruleset_id = %(ruleset)s
    AND {alias}.attribute_set_id = d.attribute_set_id AND {alias}.model = {model}
    AND d.day >= {alias}.valid_from AND d.day < {alias}.valid_to"""
OWNER_JOIN = "\n".join(
    (
        _OWNED_BY.format(alias="own_any", model="''"),
        _OWNED_BY.format(alias="own_model", model="nullif(d.model, '')"),
    )
)
TEAM, *_NAMES = (
    f"coalesce(CASE WHEN own_model.team IS NOT NULL THEN own_model.{name} ELSE own_any.{name} END, '')"
    for name in ("team", "feature", "cost_centre", "environment")
)
_OWNER = ", ".join((TEAM, *_NAMES))
_TEAM_ONLY = f"{TEAM}, '', '', ''"
# What counts on the day as the cost of whoever has the row, as `roll_up` will write it: charges no rule took, what bills and
# telemetry gave to usage, and estimates that no bill replaces.
_CHARGES = """x.pool IS NULL AND x.counts AND NOT (x.is_llm AND NOT x.is_complete AND EXISTS (
    SELECT FROM book_usage u WHERE u.counts AND u.provider_name = x.provider))"""
_GRANTED = "('Credit', 'Tax')"  # what is given on top of cost is no cost that anything is about
_DIRECT = f"""
INSERT INTO book_direct
SELECT x.provider, x.currency, x.attribute_set_id, x.model, x.sub_account_id, x.service_name, '',
    x.charge_category NOT IN {_GRANTED}, sum(x.effective_cost)
FROM book_charge x WHERE {_CHARGES} GROUP BY 1, 2, 3, 4, 5, 6, 8
UNION ALL
SELECT {canonical_sql("x.provider_name")}, x.currency, x.attribute_set_id, x.model, x.sub_account, x.service_name,
    x.deployment, x.charge_category NOT IN {_GRANTED}, sum(x.effective_cost)
FROM book_part x WHERE x.share_kind = 'direct' GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
UNION ALL
SELECT u.provider_name, u.currency, u.attribute_set_id, u.model, coalesce(nullif(u.account, ''), u.project), u.service_name,
    u.deployment, TRUE, sum(u.cost)
FROM book_usage u
WHERE u.counts AND NOT EXISTS (SELECT FROM book_charge b WHERE b.provider = u.provider_name AND b.is_llm AND b.is_complete
        AND b.counts AND NOT starts_with(coalesce(b.pool, ''), 'run:'))
    AND NOT (u.provider = '{SELF_HOSTED}' AND EXISTS (SELECT FROM book_part g
        WHERE g.method = 'gpu_share' AND g.deployment <> '' AND g.deployment = u.deployment))
GROUP BY 1, 2, 3, 4, 5, 6, 7
"""
# The other days of the month, as their books say. Corrections of closed months are not this month's cost.
_MONTH = """
FROM attribution_dailycost x WHERE x.is_current AND x.share_kind = 'direct' AND x.origin_day IS NULL
    AND x.day >= %(first)s AND x.day < %(last)s AND x.day <> %(day)s"""
_BOTH = "CROSS JOIN (VALUES (FALSE), (TRUE)) AS l (is_long)"
_COST = f"""
SELECT l.is_long, x.currency, x.attribute_set_id, x.model, %(day)s::date AS day, sum(x.cost) AS amount
FROM book_direct x {_BOTH} WHERE l.is_long IN (FALSE, %(is_long)s) GROUP BY 1, 2, 3, 4
UNION ALL
SELECT TRUE, x.currency, x.attribute_set_id, x.model, x.day, sum(x.effective_cost) {_MONTH} AND %(is_long)s GROUP BY 1, 2, 3, 4, 5
"""
_TOKENS = " + ".join(f"u.{kind}" for kind in TOKEN_KINDS)
_USED = f"""
FROM ingest_usageday u JOIN ingest_offering f ON f.id = u.offering_id {_BOTH}
WHERE u.is_current AND l.is_long IN (FALSE, %(is_long)s) AND {{condition}}
    AND (u.day = %(day)s OR (l.is_long AND u.day >= %(first)s AND u.day < %(last)s))"""
_COUNTED = f"""
SELECT l.is_long, '' AS currency, u.attribute_set_id, f.model, u.day, sum({{counted}}) AS amount {_USED} GROUP BY 1, 3, 4, 5
"""
# A figure of a longer period counts on each day for that day's share of it.
_METRIC = f"""
SELECT l.is_long, '' AS currency, m.attribute_set_id, '' AS model, %(day)s::date AS day, sum(m.value
    * extract(epoch FROM least(m.period_end, w.ends) - greatest(m.period_start, w.starts))
    / extract(epoch FROM m.period_end - m.period_start)) AS amount
FROM ingest_businessmetric m {_BOTH}
CROSS JOIN LATERAL (SELECT CASE WHEN l.is_long THEN %(month_start)s ELSE %(start)s END AS starts,
    CASE WHEN l.is_long THEN %(month_end)s ELSE %(end)s END AS ends) w
WHERE l.is_long IN (FALSE, %(is_long)s) AND m.name = %(metric)s AND m.period_start < w.ends AND m.period_end > w.starts
GROUP BY 1, 3
"""
_GPU_TIME = f"""
SELECT l.is_long, '' AS currency, w.attribute_set_id, w.model, %(day)s::date AS day, sum(w.amount) AS amount
FROM book_node_work w {_BOTH} WHERE w.attribute_set_id IS NOT NULL GROUP BY 1, 3, 4
"""
_BY_OWNER = f"""
INSERT INTO book_share (subject, is_long, currency, team, feature, cost_centre, environment, weight)
SELECT '', d.is_long, d.currency, {{owner}}, {{weight}}
FROM ({{amounts}}) d {OWNER_JOIN} WHERE {TEAM} <> '' AND (%(teams)s::text[] = '{{{{}}}}' OR {TEAM} = ANY(%(teams)s))
GROUP BY 2, 3, 4, 5, 6, 7 HAVING sum(d.amount) > 0
"""
_BY_SET = f"""
INSERT INTO book_share (subject, is_long, currency, attribute_set_id, part_model, part_deployment, weight)
SELECT '', l.is_long, '', u.attribute_set_id, f.model, f.deployment, sum({_TOKENS}) {_USED} GROUP BY 2, 4, 5, 6
HAVING sum({_TOKENS}) > 0
"""
_GIVEN = f"""
INSERT INTO book_share (subject, is_long, currency, team, feature, cost_centre, environment, weight)
SELECT '', l.is_long, '', t.team, '', '', '', t.weight
FROM unnest(%(names)s::text[], %(weights)s::numeric[]) AS t (team, weight) {_BOTH} WHERE t.weight > 0
"""

# Owners are found once for each kind of cost, before subjects are matched, so that a thousand credits cost no more than one.
# Where nobody's owner changes inside the month, its days are added up first.
_CHANGES = """EXISTS (SELECT FROM attribution_ownership o WHERE o.ruleset_id = %(ruleset)s
    AND (o.valid_from > %(first)s AND o.valid_from < %(last)s OR o.valid_to > %(first)s AND o.valid_to < %(last)s))"""
_PLACE = "d.provider, d.currency, d.sub_account, d.service_name, d.deployment"
_OWNED = f"""
INSERT INTO book_owned
SELECT d.is_day, {_PLACE}, {_OWNER}, sum(d.amount)
FROM (SELECT TRUE AS is_day, x.provider, x.currency, x.sub_account, x.service_name, x.deployment, x.attribute_set_id, x.model,
          %(day)s::date AS day, sum(x.cost) AS amount FROM book_direct x WHERE x.is_subject GROUP BY 2, 3, 4, 5, 6, 7, 8
      UNION ALL
      SELECT FALSE, {canonical_sql("m.provider_name")}, m.currency, m.sub_account, m.service_name, m.deployment,
          m.attribute_set_id, m.model, m.day, m.amount
      FROM (SELECT x.provider_name, x.currency, x.sub_account, x.service_name, x.deployment, x.attribute_set_id, x.model,
                CASE WHEN (SELECT {_CHANGES}) THEN x.day ELSE %(day)s::date END AS day, sum(x.effective_cost) AS amount
            {_MONTH} AND x.charge_category NOT IN {_GRANTED} GROUP BY 1, 2, 3, 4, 5, 6, 7, 8) m) d {OWNER_JOIN}
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
"""
_EXACT = f"""
SELECT d.subject, {{level}} AS level, d.currency, {_OWNER}, sum(d.amount)
FROM (SELECT g.subject, x.currency, x.attribute_set_id, x.model, %(day)s::date AS day, sum(x.effective_cost) AS amount
      FROM book_subject g JOIN book_charge x ON x.provider = g.provider AND x.currency = g.currency AND {{match}}
      WHERE {_CHARGES} AND x.charge_category NOT IN {_GRANTED} GROUP BY 1, 2, 3, 4) d {OWNER_JOIN}
GROUP BY 1, 3, 4, 5, 6, 7
"""
# Added up to what a level asks for before subjects meet it: a provider's whole month is a row for each owner then.
_NEAR = """
SELECT g.subject, {level}, o.currency, o.team, o.feature, o.cost_centre, o.environment, o.cost
FROM book_subject g JOIN (SELECT {keys}, currency, team, feature, cost_centre, environment, sum(cost) AS cost FROM book_owned
    WHERE {only} GROUP BY {keys}, currency, team, feature, cost_centre, environment) o
    ON o.currency = g.currency AND {same} WHERE {holds}
"""
_EXACTLY = (
    "x.resource_id = g.resource_id AND g.resource_id <> ''",
    "x.sku_id = g.sku_id AND g.sku_id <> '' AND x.sub_account_id = g.sub_account",
)
# Which rows count, what must be the same, and when the level may be asked at all.
_NEARLY = (
    ("is_day", ("deployment",), "g.is_part AND g.deployment <> ''"),
    ("TRUE", ("deployment",), "g.is_part AND g.deployment <> ''"),
    ("TRUE", ("provider", "service_name", "sub_account"), "g.service_name <> '' AND g.sub_account <> ''"),
    ("TRUE", ("provider", "sub_account"), "g.sub_account <> ''"),
    ("TRUE", ("provider", "service_name"), "g.service_name <> ''"),
    ("TRUE", ("provider",), "TRUE"),
)
_LEVELS = [_EXACT.format(level=at, match=match) for at, match in enumerate(_EXACTLY)] + [
    _NEAR.format(
        level=at,
        only=only,
        keys=", ".join(keys),
        same=" AND ".join(f"o.{key} = g.{key}" for key in keys),
        holds=holds,
    )
    for at, (only, keys, holds) in enumerate(_NEARLY, start=len(_EXACTLY))
]
_FIND = f"""
DELETE FROM book_subject;
INSERT INTO book_subject
SELECT DISTINCT subject, provider, currency, sub_account, service_name, sku_id, resource_id, deployment, is_part FROM book_shared;
DELETE FROM book_owned;
{_OWNED};
ANALYZE book_subject;
ANALYZE book_owned
"""
_SUBJECTS = f"""
INSERT INTO book_share (subject, is_long, currency, team, feature, cost_centre, environment, weight)
WITH matched (subject, level, currency, team, feature, cost_centre, environment, cost) AS ({" UNION ALL ".join(_LEVELS)}),
chosen AS (SELECT subject, currency, min(level) AS level FROM matched WHERE cost > 0 GROUP BY 1, 2)
SELECT m.subject, l.is_long, m.currency, m.team, m.feature, m.cost_centre, m.environment, m.cost
FROM matched m JOIN chosen c USING (subject, currency, level) {_BOTH} WHERE m.cost > 0
"""


def month(day: date) -> Days:
    """The days whose figures may weigh on what begins on `day`."""
    first = day.replace(day=1)
    return Days(first, add_months(first, 1))


def ruleset(day: date) -> int | None:
    """The rules in force for `day`: those its month closed with, else the current ones."""
    closed = PeriodBook.objects.filter(state="closed", month__gte=day.replace(day=1)).order_by("month")
    pinned = closed.values_list("ruleset_id", flat=True).first()
    return pinned or RulesetVersion.objects.filter(is_current=True).values_list("pk", flat=True).first()


def stage() -> None:
    """Lays out the day's own cost for the rules that ask for it; once all charges have been taken that rules take."""
    with connection.cursor() as cursor:
        cursor.execute(_DIRECT)
        cursor.execute("ANALYZE book_direct")


def fill(*, weighing: Weighing, day: date, is_long: bool) -> None:
    """Gathers the weights of one rule in `book_share`, for the pools in `book_shared`."""
    sql, values = _weights(weighing)
    days = month(day)
    of_day = Days(day, date.fromordinal(day.toordinal() + 1))
    values |= {
        "day": day,
        "ruleset": ruleset(day),
        "is_long": is_long,
        "first": days.start,
        "last": days.end,
        "month_start": days.start_at,
        "month_end": days.end_at,
        "start": of_day.start_at,
        "end": of_day.end_at,
        "teams": list(weighing.teams),
        "metric": weighing.metric,
    }
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM book_share")
        for statement in sql:
            cursor.execute(statement, values)


def _weights(weighing: Weighing) -> tuple[list[str], dict[str, Any]]:
    """The statements that fill `book_share`, and the parameters only they have."""
    if weighing.basis == "shares":
        return [_GIVEN], {"names": list(weighing.shares), "weights": list(weighing.shares.values())}
    if weighing.basis == "none" or (weighing.basis == "gpu_time" and not _has_node_work()):
        return [], {}
    if weighing.basis == "subject":
        return [*_FIND.split(";"), _SUBJECTS], {}
    condition = usage_selection(weighing.usage, prefix="usage")
    if weighing.basis == "usage_sets":
        return [_BY_SET.format(condition=condition.sql)], dict(condition.parameters)
    amounts = {
        "even": _COST,
        "direct_cost": _COST,
        "tokens": _COUNTED.format(counted=_TOKENS, condition=condition.sql),
        "requests": _COUNTED.format(counted="u.requests", condition=condition.sql),
        "metric": _METRIC,
        "gpu_time": _GPU_TIME,
    }[weighing.basis]
    sql = _BY_OWNER.format(
        owner=_OWNER if weighing.by_owner else _TEAM_ONLY,
        weight="1" if weighing.basis == "even" else "sum(d.amount)",
        amounts=amounts,
    )
    return [sql], dict(condition.parameters)


def _has_node_work() -> bool:
    """Whether the bill of any GPU node was split on the day."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('pg_temp.book_node_work') IS NOT NULL")
        return bool(cursor.fetchone()[0])
