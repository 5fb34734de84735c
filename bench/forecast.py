"""How good forecasts are: how often the end of a period lay in its 80 % interval, and how far off they were.

    python -m bench.forecast [--seeds 20] [--sample [--data DIRECTORY]]

Many synthetic scopes of eight shapes (flat, weekdays, growth, level shift, spikes, sparse, falling, month-end), each forecast
from 45 to 150 days of history and at 3 to 27 days gone of a month, against what then came. The named baseline, the naive
pace, is measured on the same months in the same run. With `--sample` also the scopes of the built-in sample: each team,
model, feature and provider of it and all of it, from its own days (`--data`: a directory that holds it). A forecast sees
only the days before it.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from itertools import pairwise

import numpy as np

from attribution import forecast

FIRST = date(2026, 3, 1)
DAYS = 300
SHAPES = ("flat", "weekdays", "growth", "shift", "spikes", "sparse", "falling", "month-end")


def costs(shape: str, seed: int) -> np.ndarray:
    """300 days of one scope."""
    random = np.random.default_rng([SHAPES.index(shape), seed])
    day = np.arange(DAYS)
    dates = [FIRST + timedelta(days=int(index)) for index in day]
    working = np.array([1.0 if one.weekday() < 5 else random.uniform(0.3, 0.6) for one in dates])
    size = 10 ** random.uniform(1, 4)
    drift = np.exp(np.cumsum(random.normal(0, 0.012, DAYS)))
    noise = np.exp(random.normal(0, random.uniform(0.05, 0.2), DAYS))
    if shape == "flat":
        return size * noise
    if shape == "sparse":
        return size * (random.random(DAYS) < 0.3) * random.gamma(2, 1, DAYS)
    base = size * working * drift * noise
    if shape == "growth":
        base *= np.exp(random.uniform(0.003, 0.012) * day)
    elif shape == "falling":
        base *= np.exp(-random.uniform(0.002, 0.006) * day)
    elif shape == "shift":
        base *= np.where(day < random.integers(60, 260), 1.0, random.choice([0.4, 0.6, 1.7, 2.5]))
    elif shape == "spikes":
        base += size * 8 * (random.random(DAYS) < 0.02) - size * 2 * (random.random(DAYS) < 0.01)
    elif shape == "month-end":
        base += size * 5 * np.array([(one + timedelta(days=1)).day == 1 for one in dates])
    return base


@dataclass
class Tally:
    """One row of the result."""

    held: list[bool] = field(default_factory=list)
    missed: list[float] = field(default_factory=list)
    pace_missed: list[float] = field(default_factory=list)
    came: list[float] = field(default_factory=list)
    widths: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    methods: dict[str, int] = field(default_factory=dict)

    def add(self, other: "Tally") -> None:
        for name in ("held", "missed", "pace_missed", "came", "widths", "seconds"):
            getattr(self, name).extend(getattr(other, name))
        for name, count in other.methods.items():
            self.methods[name] = self.methods.get(name, 0) + count

    def line(self, name: str) -> str:
        whole = sum(self.came)
        percents = [100 * miss / came for miss, came in zip(self.missed, self.came, strict=True) if came]
        paces = [100 * miss / came for miss, came in zip(self.pace_missed, self.came, strict=True) if came]
        return (
            f"{name:<16} {len(self.held):>6} {100 * statistics.mean(self.held):>9.1f} %"
            f" {statistics.mean(percents):>8.1f} %{statistics.mean(paces):>8.1f} %"
            f" {100 * sum(self.missed) / whole:>8.1f} %{100 * sum(self.pace_missed) / whole:>8.1f} %"
            f" {100 * sum(self.widths) / whole:>8.1f} % {1000 * statistics.median(self.seconds):>6.0f} ms"
        )


def months(
    series: np.ndarray, seed: int, first: date, least: int
) -> Iterator[tuple[list[Decimal], date, int, int, float]]:
    """History, today, days ahead, days gone, and what the days ahead came to."""
    random = np.random.default_rng([7, seed])
    values = [Decimal(str(round(float(one), 6))) for one in series]
    starts = [index for index in range(len(series)) if (first + timedelta(days=index)).day == 1]
    for start, end in pairwise(starts):
        gone = int(random.integers(3, 28))
        today = start + gone
        if today >= least and today < end:
            kept = values[max(0, today - int(random.integers(least, 150))) : today]
            yield kept, first + timedelta(days=today), end - today, gone, float(series[today:end].sum())


def measure(series: np.ndarray, seed: int, first: date, least: int = 45) -> Tally:
    """Every month of one scope, forecast once on a day in it."""
    found = Tally()
    for kept, today, ahead, gone, came in months(series, seed, first, least):
        if came <= 0:
            continue
        forecast._of.cache_clear()
        started = time.perf_counter()
        said = forecast.of(costs=kept, until=today, ahead=ahead, elapsed=gone)
        found.seconds.append(time.perf_counter() - started)
        if said is None:
            found.seconds.pop()
            continue
        whole = said.days[-1]
        pace = float(sum(kept[-gone:], Decimal(0))) / gone * ahead
        found.held.append(float(whole.low) <= came <= float(whole.high))
        found.missed.append(abs(float(whole.expected) - came))
        found.pace_missed.append(abs(pace - came))
        found.came.append(came)
        found.widths.append(float(whole.high - whole.low))
        found.methods[said.method] = found.methods.get(said.method, 0) + 1
    return found


HEAD = f"{'scope':<16} {'months':>6} {'in 80 %':>11} {'MAPE':>10}{'pace':>10} {'WAPE':>10}{'pace':>10} {'width':>10} {'each':>9}"


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--seeds", type=int, default=20)
    asked.add_argument("--sample", action="store_true")
    asked.add_argument("--data", help="a data directory that holds the sample (COSTOBS_DATA)")
    options = asked.parse_args()
    print("Of the days that were still open: what they came to against what was said.")
    print(HEAD)
    whole = Tally()
    for shape in SHAPES:
        tally = Tally()
        for seed in range(options.seeds):
            tally.add(measure(costs(shape, seed), seed, FIRST))
        print(tally.line(shape), flush=True)
        _scaled(whole, tally)
    print(whole.line("all, each alike"))
    print(
        "methods:",
        ", ".join(f"{name} {count}" for name, count in sorted(whole.methods.items(), key=lambda one: -one[1])),
    )
    if options.sample:
        _measure_sample(options.data)


def _measure_sample(data: str | None) -> None:
    print("\nThe sample's scopes, each day of a month on which there are 31 days of history:")
    print(HEAD)
    whole, small = Tally(), 0
    for name, first, series in _sample(data):
        if np.count_nonzero(series) < 60:
            small += 1
            continue
        tally = Tally()
        for seed in range(6):
            tally.add(measure(series, seed, first, least=34))
        if tally.held:
            print(tally.line(name[:24]), flush=True)
            _scaled(whole, tally)
    print(whole.line("all, each alike"))
    print(f"left out: {small} scopes with cost on fewer than 60 days")


def _sample(data: str | None) -> Iterator[tuple[str, date, np.ndarray]]:
    """Every team, model, feature and provider of the sample, and all of it: name, first day, cost of each complete day."""
    with ExitStack() as stack:
        os.environ["COSTOBS_DATA"] = data or stack.enter_context(tempfile.TemporaryDirectory(prefix="costobs-bench-"))
        os.environ.pop("DATABASE_URL", None)
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "costobs.settings")
        import django

        from costobs.embedded import postgres

        django.setup()
        stack.enter_context(postgres.running())
        from django.core.management import call_command

        from attribution import queries
        from costobs.kernel.period import Days
        from costobs.kernel.scope import SpendScope
        from ingest import queries as ingest_queries

        call_command("migrate", verbosity=0)
        if not ingest_queries.has_sample():
            call_command("sample")
        extent = queries.extent()
        whole = Days(extent.start, extent.end - timedelta(days=1))  # the last day is not over
        for dimension in (None, "team", "model", "feature", "provider_name"):
            by_key: dict[str, np.ndarray] = {}
            for row in queries.spend_by_day(scope=SpendScope(whole, teams=None), group_by=dimension):
                by_key.setdefault(row.key, np.zeros(len(whole)))[(row.day - whole.start).days] = float(row.cost)
            for key, series in by_key.items():
                yield f"{dimension or 'all'} {key}", whole.start, series


def _scaled(whole: Tally, tally: Tally) -> None:
    """Adds a shape so that every month weighs the same, whatever its size."""
    scaled = Tally(tally.held, *([], [], [], []), tally.seconds, tally.methods)
    for miss, pace, came, width in zip(tally.missed, tally.pace_missed, tally.came, tally.widths, strict=True):
        scaled.missed.append(miss / came)
        scaled.pace_missed.append(pace / came)
        scaled.came.append(1.0)
        scaled.widths.append(width / came)
    whole.add(scaled)


if __name__ == "__main__":
    main()
