"""How long the server needs for each page on the sample data.

    python bench/pages.py [--data DIRECTORY] [--runs 20] [--days 28]

Pages are asked for by Django's test client in one process: queries, figures and templates, without network and browser. Each
is asked for twice to warm up and then `--runs` times. Without `--data` the sample is loaded into a temporary directory first.
"""

import argparse
import statistics
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

AIM_MS = 200


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--data", help="a data directory that holds the sample (COSTOBS_DATA)")
    asked.add_argument("--runs", type=int, default=20)
    asked.add_argument("--days", type=int, default=28, help="days in scope")
    options = asked.parse_args()
    from bench import sample

    with sample.loaded(options.data):
        sys.exit(_measure(runs=options.runs, days=options.days))


def _measure(*, runs: int, days: int) -> int:
    """Prints a line for each page; returns 1 when one did not answer with 200."""
    from django.contrib.auth import get_user_model
    from django.test import Client

    client = Client(raise_request_exception=True)
    client.force_login(get_user_model().objects.get_or_create(username="bench", defaults={"is_superuser": True})[0])
    failed = 0
    print(f"{'page':46} {'bytes':>9} {'p50 ms':>8} {'p95 ms':>8}")
    for address in _addresses(days):
        times = []
        for number in range(runs + 2):
            began = time.perf_counter()
            answer = client.get(address)
            size = len(answer.getvalue())
            if number >= 2:
                times.append((time.perf_counter() - began) * 1000)
        if answer.status_code != 200:
            print(f"{address:46} answered {answer.status_code}")
            failed = 1
            continue
        p50, p95 = statistics.median(times), statistics.quantiles(times, n=20)[-1]
        note = "" if p95 < AIM_MS else f"  over the aim of {AIM_MS} ms"
        print(f"{address:46} {size:>9,} {p50:>8.0f} {p95:>8.0f}{note}")
    return failed


def _addresses(days: int) -> list[str]:
    """The pages people look at, in a scope that ends today."""
    from django.urls import reverse

    from alerts import queries

    now = datetime.now(UTC)
    scope = f"?from={now.date() - timedelta(days=days - 1)}&to={now.date()}"
    month = f"{now.date().replace(day=1) - timedelta(days=1):%Y-%m}"
    found = [reverse(name) + scope for name in ("overview", "explore", "unit_costs", "gpus")]
    found += [f"{reverse('explore')}{scope}&group=team", reverse("budgets")]
    found += [reverse("budget", args=[line.id]) for line in queries.budgets(now=now, teams=None)[:1]]
    return [*found, reverse("chargeback_month", args=[month]), reverse("sources")]


if __name__ == "__main__":
    main()
