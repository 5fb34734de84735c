"""How well anomalies are found: labelled series with and without injected ones, beside "50 % above yesterday".

    python bench/anomalies.py [--series 120] [--seed 7]

Each series is 112 days of spend with a weekday season, growth and noise. Into three of four of them one anomaly is put in
the last 28 days: a spike (1 day, x1.5 to x4), a level shift (from a day on, x1.4 to x3) or a drift (3 to 8 % more each day,
for 14 days). An episode that begins within the labelled days counts as found; any other episode is a false alarm.
"""

import argparse
import math
import random
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from alerts import seasons

DAYS, JUDGED = 112, 28
START = datetime(2026, 6, 1, tzinfo=UTC)
KINDS = ("none", "spike", "shift", "drift")
WEEK = (1.0, 1.05, 1.1, 1.08, 0.95, 0.45, 0.4)


def series(kind: str, random_: random.Random) -> tuple[list[tuple[datetime, Decimal]], range]:
    """A series, and the days of the anomaly in it (none: an empty range)."""
    base, growth, noise = random_.uniform(50, 5000), random_.uniform(-0.002, 0.006), random_.uniform(0.03, 0.15)
    flat = random_.random() < 0.3
    first = DAYS - JUDGED + random_.randrange(2, JUDGED - 8)
    length = {"none": 0, "spike": 1, "shift": DAYS - first, "drift": 14}[kind]
    factor = {"spike": random_.uniform(1.5, 4), "shift": random_.uniform(1.4, 3), "drift": random_.uniform(1.03, 1.08)}
    made = []
    for day in range(DAYS):
        season = 1.0 if flat else WEEK[(START + timedelta(days=day)).weekday()]
        cost = base * season * math.exp(growth * day + random_.gauss(0, noise))
        if first <= day < first + length:
            cost *= factor[kind] ** (day - first + 1) if kind == "drift" else factor[kind]
        made.append((START + timedelta(days=day), Decimal(repr(round(cost, 6)))))
    return made, range(first, first + length)


def ours(given: Sequence[tuple[datetime, Decimal]]) -> list[range]:
    """The episodes that the product opens."""
    judged_from = START + timedelta(days=DAYS - JUDGED)
    judged = seasons.judge(given, grain="day", judged_from=judged_from)
    found = seasons.episodes(judged, minimum=Decimal(0))
    return [range((one.odd[0].at - START).days, (one.odd[-1].at - START).days + 1) for one in found]


def baseline(given: Sequence[tuple[datetime, Decimal]]) -> list[range]:
    """A day that costs more than half again what the day before did."""
    days = [index for index in range(DAYS - JUDGED, DAYS) if given[index][1] > given[index - 1][1] * Decimal("1.5")]
    return [range(day, day + 1) for day in days]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=120, help="of each kind")
    parser.add_argument("--seed", type=int, default=7)
    asked = parser.parse_args()
    print(f"{asked.series} series of each kind, seed {asked.seed}")
    for name, method in (("median/MAD on logs", ours), ("50 % above yesterday", baseline)):
        random_ = random.Random(asked.seed)
        hits, false, late = Counter[str](), Counter[str](), list[int]()
        for kind in KINDS:
            for _each in range(asked.series):
                given, truth = series(kind, random_)
                found = method(given)
                true = [one for one in found if any(day in truth for day in one)]
                false[kind] += len(found) - len(true)
                if true:
                    hits[kind] += 1
                    late.append(min(day for one in true for day in one if day in truth) - truth.start)
        sought = asked.series * 3
        precision = sum(hits.values()) / max(1, sum(hits.values()) + sum(false.values()))
        recalls = ", ".join(f"{kind} {hits[kind] / asked.series:.0%}" for kind in KINDS[1:])
        print(
            f"{name}: precision {precision:.1%}, recall {sum(hits.values()) / sought:.1%} ({recalls}); "
            f"false alarms in series without: {false['none'] / asked.series:.2f} per series of 28 days; "
            f"median days to detection {sorted(late)[len(late) // 2] if late else '-'}"
        )


if __name__ == "__main__":
    main()
