"""How long a month takes from charges and events to the books, against bare GROUP BY over the same rows.

    python -m bench.books [--lines 1000000] [--events 1000000]

The rows are made in PostgreSQL, in the tables and partitions that loads fill: charge lines of a cloud (40 teams, 12 services, an
attribute set for each 5,000 lines) and of a provider of models, with support, taxes and credits; and events (5 models, a set for
each 10,000, a tenth in agent runs) folded to hours as a load does. The lines lie as in eight files, each in the order of time,
the events as they came in. Then every day is allocated and rolled up, oldest first, with rules that split support by direct
cost, taxes evenly and give credits to the owners of what they credit. What the split costs shows in a second pass without
rules. The bare GROUP BY sums the same columns of the same lines by the columns DailyCost has, and the same events by day, set,
model and price, in the same server, and keeps nothing. `verify` then proves the month.
"""

import argparse
import sys
import tempfile
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import ingest as timing

FIRST, DAYS = date(2026, 9, 1), 30
NOW = datetime(2026, 10, 3, tzinfo=UTC)
MODELS = 5
# As many sets as make the books as dense at every size: 2,000 and 1,000 for ten million rows.
LINES_A_SET, EVENTS_A_SET = 5_000, 10_000

_SETS = """
INSERT INTO ingest_attributeset (source_id, digest, attributes, seen_at)
SELECT %(source)s, encode(sha256(convert_to(concat(%(source)s, '/', i), 'UTF8')), 'hex'),
    jsonb_build_object('key', 'key-' || i, 'team', CASE WHEN i %% 50 > 0 THEN 'team-' || i %% 40 ELSE '' END,
        'project', 'p-' || i %% 20), %(now)s
FROM generate_series(1, %(sets)s) AS i
"""
# What varies from line to line is drawn from its number, so that each run has the same rows. Of a hundred lines 15 are for
# models, one each support, tax and credit.
_LINES = """
INSERT INTO ingest_charge (source_id, delivery_id, file_index, row_number, charge_period_start, charge_period_end,
    billing_period_start, billing_period_end, book_month, billing_account_id, billing_currency, attribute_set_id,
    charge_category, cost_kind, service_provider_name, invoice_issuer_name, service_name, sub_account_id, region_id, resource_id,
    sku_id, model, token_kind, consumed_unit, consumed_quantity, billed_cost, effective_cost, list_cost, contracted_cost,
    tags, extra, {texts})
SELECT %(source)s, %(delivery)s, 1, i, t.at, t.at + interval '1 hour', %(first)s, %(last)s, %(first)s, 'payer', 'USD', s.id,
    CASE k.kind WHEN 'tax' THEN 'Tax' WHEN 'credit' THEN 'Credit' ELSE 'Usage' END,
    CASE WHEN k.kind = 'model' THEN 'api_inference' WHEN k.kind = '' THEN 'cpu_compute' ELSE k.kind END,
    CASE k.kind WHEN 'model' THEN 'OpenAI' ELSE 'AWS' END, CASE k.kind WHEN 'model' THEN 'OpenAI' ELSE 'AWS' END,
    CASE k.kind WHEN 'model' THEN 'OpenAI API' WHEN '' THEN 'Service ' || (i / 7) %% 12 ELSE initcap(k.kind) END,
    CASE k.kind WHEN 'model' THEN 'p-' || s.n %% 20 ELSE 'account-' || s.n %% 20 END, 'region-' || s.n %% 4,
    CASE WHEN k.kind IN ('', 'credit') THEN 'i-' || s.n * 10 + (i / 3) %% 10 ELSE '' END,
    CASE WHEN k.kind = '' THEN 'sku-' || (i / 7) %% 300 ELSE '' END,
    CASE k.kind WHEN 'model' THEN 'model-' || i %% {models} ELSE '' END,
    CASE k.kind WHEN 'model' THEN (ARRAY['input_uncached', 'cache_read', 'output'])[1 + (i / 5) %% 3] ELSE '' END,
    CASE k.kind WHEN 'model' THEN 'Tokens' ELSE 'Hrs' END, i %% 5000 + 1,
    k.sign * c.cost, k.sign * c.cost * 0.9, k.sign * c.cost * 1.25, k.sign * c.cost, '{{}}', '{{}}', {blanks}
FROM generate_series(1, %(lines)s::bigint) AS i
CROSS JOIN LATERAL (SELECT %(first)s::timestamp AT TIME ZONE 'UTC'
    + make_interval(days => ((i %% f.length) * {days} / f.length)::int, hours => (i %% 24)::int) AS at
    FROM (SELECT %(lines)s::bigint / 8 + 1 AS length) f) t
JOIN LATERAL (SELECT CASE WHEN i %% 101 < 15 THEN 'model' WHEN i %% 101 = 15 THEN 'support' WHEN i %% 101 = 16 THEN 'tax'
    WHEN i %% 101 = 17 THEN 'credit' ELSE '' END AS kind, CASE WHEN i %% 101 = 17 THEN -1 ELSE 1 END AS sign) k ON TRUE
JOIN LATERAL (SELECT ((i * 7919) %% 1000003)::numeric / 1000000 AS cost) c ON TRUE
JOIN (SELECT id, row_number() OVER (ORDER BY id) AS n FROM ingest_attributeset WHERE source_id = %(source)s) s
    ON s.n = 1 + (i * 31) %% {sets}
"""
_EVENTS = """
INSERT INTO ingest_usageevent (source_id, event_id, occurred_at, attribute_set_id, offering_id, price_id, input_uncached,
    cache_read, cache_write_5m, cache_write_1h, output, reasoning, audio_input, audio_output, image_input, usage_known, latency_ms,
    ttft_ms, status, outcome, trace_id, session_id)
SELECT %(source)s, 'e' || i, %(first)s::timestamp AT TIME ZONE 'UTC' + make_interval(
    days => ((i - 1) * {days} / %(events)s::bigint)::int, secs => (i * 13) %% 86400),
    s.id, o.offering_id, o.price_id, 200 + i %% 3000, i %% 700, 0, 0, 50 + i %% 400, 0, 0, 0, 0, TRUE,
    300 + i %% 9000, 80 + i %% 900, 200, 'ok', CASE WHEN i %% 10 = 0 THEN 'run-' || i / 100 ELSE '' END, ''
FROM generate_series(1, %(events)s::bigint) AS i
JOIN (SELECT id, row_number() OVER (ORDER BY id) AS n FROM ingest_attributeset WHERE source_id = %(source)s) s
    ON s.n = 1 + (i * 31) %% {sets}
JOIN (SELECT f.id AS offering_id, p.id AS price_id, row_number() OVER (ORDER BY f.id) AS n FROM ingest_offering f
      JOIN ingest_unitprice p ON p.model = f.model) o ON o.n = 1 + (i / 7) %% {models}
"""
_SUMS = (
    "input_uncached",
    "cache_read",
    "cache_write_5m",
    "cache_write_1h",
    "output",
    "reasoning",
    "audio_input",
    "audio_output",
    "image_input",
)
_FOLD = f"""
INSERT INTO ingest_usagehour (hour, source_id, attribute_set_id, offering_id, price_id, requests, errors, refused, unknown_usage,
    latency_ms, {", ".join(_SUMS)})
SELECT date_trunc('hour', occurred_at, 'UTC'), source_id, attribute_set_id, offering_id, price_id, count(*), 0, 0, 0,
    sum(latency_ms), {", ".join(f"sum({name})" for name in _SUMS)}
FROM ingest_usageevent GROUP BY 1, 2, 3, 4, 5
"""
_COSTS = "sum(billed_cost), sum(effective_cost), sum(list_cost), sum(contracted_cost)"
BARE = {
    "charges": f"""SELECT count(*) FROM (SELECT (charge_period_start AT TIME ZONE 'UTC')::date AS day, source_id, billing_currency,
        service_provider_name, sub_account_id, service_name, region_id, invoice_issuer_name, charge_category, charge_class,
        cost_kind, purchase_option, attribute_set_id, model, token_kind, {_COSTS}
        FROM ingest_charge GROUP BY {", ".join(str(at) for at in range(1, 16))}) x""",
    "events": f"""SELECT count(*) FROM (SELECT (occurred_at AT TIME ZONE 'UTC')::date AS day, source_id, attribute_set_id,
        offering_id, price_id, count(*), sum(latency_ms), {", ".join(f"sum({name})" for name in _SUMS)}
        FROM ingest_usageevent GROUP BY 1, 2, 3, 4, 5) x""",
}


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--lines", type=int, default=1_000_000)
    asked.add_argument("--events", type=int, default=1_000_000)
    asked.add_argument("--explain", action="store_true", help="one day's slowest statements, by PostgreSQL's own plan")
    options = asked.parse_args()
    with tempfile.TemporaryDirectory(prefix="costobs-bench-") as folder, timing._database(folder):
        _fill(options.lines, options.events)
        if options.explain:
            _explain()
            return
        bare = _bare()
        with_rules = _books("with rules", rules=True)
        without = _books("without rules", rules=False)
        _prove()
        for at, words in enumerate(("by the clock", "in processor seconds")):
            print(
                f"ratio to bare GROUP BY {words}: {with_rules[at] / bare[at]:.1f} with rules,"
                f" {without[at] / bare[at]:.1f} without"
            )


def _fill(lines: int, events: int) -> None:
    from ingest import partitions
    from ingest.models import Delivery, Load, Offering, Source, UnitPrice

    days = [FIRST + timedelta(days=number) for number in range(DAYS)]
    partitions.ensure_months(days)
    partitions.ensure_days(days)
    bill, log = (
        Source.objects.create(kind=kind, name="bench", created_at=NOW) for kind in ("focus_export", "usage_log")
    )
    load = Load.objects.create(source=bill, name="bench", state="succeeded", started_at=NOW, heartbeat_at=NOW)
    delivery = Delivery.objects.create(
        source=bill,
        load=load,
        export="bench",
        billing_period_start=FIRST,
        run_id="1",
        state="current",
        rows=lines,
        delivered_at=NOW,
    )
    past = datetime(2020, 1, 1, tzinfo=UTC)
    for number in range(MODELS):
        model = f"model-{number}"
        Offering.objects.create(
            provider="openai",
            request_model=model,
            response_model=model,
            deployment="",
            service_tier="",
            operation="chat",
            model=model,
        )
        kinds = [f.name for f in UnitPrice._meta.get_fields() if f.name.endswith("_price")]
        UnitPrice.objects.create(
            provider="openai",
            model=model,
            valid_from=past,
            known_from=past,
            provenance="bench",
            **dict.fromkeys(kinds, "0.000001"),
        )
    values = {"now": NOW, "first": FIRST, "last": FIRST + timedelta(days=DAYS), "lines": lines, "events": events}
    _run(_SETS, {**values, "source": bill.pk, "sets": _sets(lines, LINES_A_SET)})
    _run(_SETS, {**values, "source": log.pk, "sets": _sets(events, EVENTS_A_SET)})
    with timing._timed() as filling:
        _run(_lines_sql(_sets(lines, LINES_A_SET)), {**values, "source": bill.pk, "delivery": delivery.pk})
        _run(_EVENTS.format(days=DAYS, sets=_sets(events, EVENTS_A_SET), models=MODELS), {**values, "source": log.pk})
        _run(_FOLD, {})
    _run(
        "INSERT INTO ingest_touched (source_id, day) SELECT s, d FROM unnest(%(s)s::bigint[]) s, unnest(%(d)s::date[]) d",
        {"s": [bill.pk, log.pk], "d": days},
    )
    _run("ANALYZE", {})
    (size,) = _rows("SELECT pg_size_pretty(pg_database_size(current_database()))")[0]
    print(f"{lines:,} lines and {events:,} events made in {timing._told(filling[0])}; {size}", flush=True)


def _sets(rows: int, each: int) -> int:
    return max(rows // each, 10)


def _lines_sql(sets: int) -> str:
    """The statement for the lines, with every text column that is not drawn left blank."""
    from ingest.models import Charge

    named = _LINES.partition("SELECT")[0]
    texts = [f.column for f in Charge._meta.concrete_fields if f.get_internal_type() == "TextField"]
    blank = [name for name in texts if f"{name}," not in named.replace("\n", " ")]
    return _LINES.format(
        texts=", ".join(blank), blanks=", ".join("''" for _ in blank), days=DAYS, models=MODELS, sets=sets
    )


def _bare() -> tuple[float, float]:
    """Seconds of the bare GROUP BYs, each after one that warms up: the clock's and the processor's."""
    clock = processor = 0.0
    for name, query in BARE.items():
        _rows(query)
        with timing._timed() as grouping:
            (groups,) = _rows(query)[0]
        print(f"GROUP BY of {name}: {timing._told(grouping[0])} for {groups:,} groups", flush=True)
        clock += grouping[0].clock
        processor += grouping[0].client + grouping[0].server
    return clock, processor


def _books(words: str, *, rules: bool) -> tuple[float, float]:
    from attribution import books

    _rule(rules=rules)
    with timing._timed() as settling:
        for number in range(DAYS):
            books.rebuild(day=FIRST + timedelta(days=number), now=NOW)
    (rows,) = _rows("SELECT count(*) FROM attribution_dailycost")[0]
    print(f"books {words}: {timing._told(settling[0])} for {rows:,} rows of DailyCost", flush=True)
    return settling[0].clock, settling[0].client + settling[0].server


def _rule(*, rules: bool) -> None:
    from attribution import own
    from attribution.own import RuleDraft

    drafts = [
        RuleDraft("proportional", "Support", {"pools": ["support"], "basis": "direct_cost"}),
        RuleDraft("even_split", "Tax", {"pools": ["tax"]}),
        RuleDraft("follow", "Credits", {"pools": ["credits"]}),
    ]
    own.reattribute(drafts=[*(drafts if rules else []), *own.DEFAULT_RULES], now=NOW, by="bench")


def _prove() -> None:
    from attribution import verify

    found = verify.run()
    if found.failures:
        raise SystemExit(f"the books do not balance: {found.failures[0]}")
    print(f"verified: {found.checks:,} comparisons, difference 0", flush=True)


def _run(sql: str, values: dict[str, Any]) -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(sql, values)


def _rows(query: str) -> list[tuple[Any, ...]]:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(query)
        return list(cursor.fetchall())


def _explain() -> None:
    """The time of each statement of one day, the slowest first."""
    import time

    from django.db import connection

    from attribution import books

    taken: list[tuple[float, str]] = []

    def watch(execute: Any, sql: Any, params: Any, many: Any, context: Any) -> Any:
        began = time.perf_counter()
        try:
            return execute(sql, params, many, context)
        finally:
            taken.append((time.perf_counter() - began, " ".join(str(sql).split())[:110]))

    _rule(rules=True)
    books.rebuild(day=FIRST, now=NOW)
    with connection.execute_wrapper(watch):
        books.rebuild(day=FIRST + timedelta(days=1), now=NOW)
    for seconds, sql in sorted(taken, reverse=True)[:25]:
        print(f"{seconds * 1000:8.0f} ms  {sql}")
    print(f"{sum(one for one, _ in taken) * 1000:8.0f} ms  in all")


if __name__ == "__main__":
    main()
