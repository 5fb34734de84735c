"""How long it takes from publishing one changed rule to the new numbers, over twelve months of books.

    python bench/rules.py [--sets 5000] [--models 40] [--pairs 2] [--days 365] [--rounds 3]

Each attribute set calls `--pairs` of the models each day: 5,000 sets, 2 models and 365 days are 3,650,000 rows of DailyCost.
Measured: the live preview of the last month and of all twelve, publishing, then the total and the spend by team over all
days, as Overview asks for them; beside a bare GROUP BY of the same rows in PostgreSQL, in the same run.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

AIM_SECONDS = 2
LAST = date(2026, 11, 1)
NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)

_SETS = """
INSERT INTO ingest_attributeset (source_id, digest, attributes, seen_at)
SELECT %(source)s, md5(g::text), jsonb_build_object('key', 'sk-' || g, 'project', 'project-' || g %% 200,
    'feature', 'feature-' || g %% 30) || CASE WHEN g %% 3 = 0 THEN jsonb_build_object('team', 'team-' || g %% 40)
    ELSE '{}'::jsonb END, now()
FROM generate_series(1, %(sets)s) g
"""
_ROWS = """
INSERT INTO attribution_dailycost (day, source_id, basis, is_current, is_unpriced, currency, provider_name, sub_account,
    service_name, region, invoice_issuer_name, charge_category, charge_class, cost_kind, purchase_option, attribute_set_id,
    model, deployment, token_kind, share_kind, method, billed_cost, effective_cost, list_cost, contracted_cost)
SELECT %(start)s::date + d, %(source)s, 'billed', TRUE, FALSE, 'USD', 'OpenAI', '', 'OpenAI API', '', '', 'Usage', '',
    'api_inference', '', a.id, 'model-' || (a.id * 7 + p * 3) %% %(models)s, '', 'output', 'direct', 'tie_out', c, c, c, c
FROM generate_series(0, %(days)s - 1) d, ingest_attributeset a, generate_series(0, %(pairs)s - 1) p,
    LATERAL (SELECT round(((a.id * 31 + d * 17 + p * 7) %% 9973)::numeric / 1000, 6) AS c) costs
"""
_BARE = "SELECT attribute_set_id, sum(effective_cost) FROM attribution_dailycost WHERE is_current GROUP BY 1"


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("sets", 5000), ("models", 40), ("pairs", 2), ("days", 365), ("rounds", 3)):
        asked.add_argument(f"--{name}", type=int, default=default)
    options = asked.parse_args()
    with ExitStack() as stack:
        os.environ["COSTOBS_DATA"] = stack.enter_context(tempfile.TemporaryDirectory(prefix="costobs-bench-"))
        os.environ.pop("DATABASE_URL", None)
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "costobs.settings")
        import django

        from costobs.embedded import postgres

        django.setup()
        stack.enter_context(postgres.running())
        _prepare(options)
        sys.exit(_measure(options))


def _prepare(options: argparse.Namespace) -> None:
    from django.core.management import call_command
    from django.db import connection

    from attribution import own
    from ingest import configure

    call_command("migrate", verbosity=0)
    source = configure.create_source(kind="usage_log", name="calls", now=NOW)
    values = {**vars(options), "source": source, "start": LAST - timedelta(days=options.days)}
    with connection.cursor() as cursor:
        cursor.execute(_SETS, values)
        cursor.execute(_ROWS, values)
        print(f"{options.sets:,} attribute sets, {cursor.rowcount:,} rows of DailyCost on {options.days} days")
        cursor.execute("ANALYZE")
    print(f"owners of all sets by the default rules: {_seconds(lambda: own.run(now=NOW)):.2f} s")
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE attribution_ownership")


def _measure(options: argparse.Namespace) -> int:
    """Prints medians; returns 1 when the numbers are over the aim or do not add up."""
    from django.db import connection

    from attribution import own, queries, rule_preview
    from attribution.owning import RuleDraft
    from costobs.kernel.period import Days
    from costobs.kernel.scope import SpendScope

    days = Days(LAST - timedelta(days=options.days), LAST)
    scope = SpendScope(days, teams=None)
    month = Days(date(2026, 10, 1), LAST)

    def bare() -> None:
        with connection.cursor() as cursor:
            cursor.execute(_BARE)
            cursor.fetchall()

    times: dict[str, list[float]] = {}
    whole = queries.total(scope=scope).cost
    for number in range(options.rounds):
        changed = RuleDraft(
            "match", "One key", {"when": {"key": [f"sk-{number + 1}*"]}, "set": {"team": f"new-{number}"}}
        )
        drafts = [changed, *own.DEFAULT_RULES]
        for name, act in (
            ("bare GROUP BY", bare),
            ("preview, one month", lambda drafts=drafts: rule_preview.moves(drafts=drafts, days=month)),
            ("preview, all days", lambda drafts=drafts: rule_preview.moves(drafts=drafts, days=days)),
            ("publish", lambda drafts=drafts: own.reattribute(drafts=drafts, now=NOW, by="bench")),
            ("spend by team", lambda: queries.spend(scope=scope, group_by=["team"])),
            ("total", lambda: queries.total(scope=scope)),
        ):
            times.setdefault(name, []).append(_seconds(act))
        teams = {row.keys[0]: row.cost for row in queries.spend(scope=scope, group_by=["team"])}
        if sum(teams.values()) != whole or not teams.get(f"new-{number}"):
            print("the numbers after publishing do not add up")
            return 1
    medians = {name: statistics.median(found) for name, found in times.items()}
    for name, median in medians.items():
        print(f"{name:20} {median:7.2f} s  {median / medians['bare GROUP BY']:6.2f} of the bare GROUP BY")
    seen = medians["publish"] + medians["spend by team"]
    print(
        f"{'publish to by team':20} {seen:7.2f} s  {seen / medians['bare GROUP BY']:6.2f} of the bare GROUP BY, aim {AIM_SECONDS} s"
    )
    return 0 if seen < AIM_SECONDS else 1


def _seconds(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
