"""How long a look for anomalies takes on the sample data: the first of a process, and those that follow.

    python bench/anomaly_looks.py [--data DIRECTORY] [--runs 5]

`forced` judges days and hours with nothing remembered. `hours, all` is the hour pass of a process that begins, `hours, again`
two minutes later with nothing new, `hours, load` after a load of today, `hours, next` one hour on, when every series is one
hour longer. Medians. Without `--data` the sample is loaded into a temporary directory first.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--data", help="a data directory that holds the sample (COSTOBS_DATA)")
    asked.add_argument("--runs", type=int, default=5)
    options = asked.parse_args()
    from bench import sample

    with sample.loaded(options.data):
        _measure(options.runs)


def _measure(runs: int) -> None:
    from django.db.models import F

    from alerts import anomalies
    from ingest.models import Touched, UsageHour

    # The newest hour of the sample is the hour at work.
    newest = UsageHour.objects.order_by("-hour").values_list("hour", flat=True)[0]
    now = newest + timedelta(minutes=20)
    anomalies.run(now=now, is_asked=True)
    times: dict[str, list[float]] = {}

    def timed(name: str, work: Callable[[], object]) -> None:
        before = time.perf_counter()
        work()
        times.setdefault(name, []).append(time.perf_counter() - before)

    for run in range(runs):
        at = now + timedelta(minutes=run)
        anomalies.forget()
        timed("forced", lambda at=at: anomalies.run(now=at, is_asked=True))
        anomalies.forget()
        timed("hours, all", lambda at=at: anomalies.run(now=at))
        timed("hours, again", lambda at=at: anomalies.run(now=at + timedelta(minutes=2)))
        Touched.objects.filter(day=newest.astimezone(UTC).date()).update(version=F("version") + 1)
        timed("hours, load", lambda at=at: anomalies.run(now=at + timedelta(minutes=4)))
        # The days are looked at again once an hour: that is not what is measured here.
        later = at + timedelta(hours=1)
        anomalies.run(now=later, is_asked=True)
        anomalies.run(now=at)
        timed("hours, next", lambda later=later: anomalies.run(now=later))
    print(f"now {datetime.isoformat(now)}, {runs} runs")
    for name, all_ in times.items():
        print(f"{name}: {statistics.median(all_):.2f} s (from {min(all_):.2f} to {max(all_):.2f})")


if __name__ == "__main__":
    main()
