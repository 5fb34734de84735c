"""How fast a usage log becomes rolled-up rows, against COPY of the same rows straight into the same table.

    python bench/ingest.py [--events 1000000] [--shape dense|sparse|both] [--rounds 1]

Dense is live traffic: few attribute sets, one day. Sparse is a backfill: so many sets and hours that nearly every event makes
a rollup row of its own. Both start from a file on disk and end with everything committed; the fold into UsageHour is inside
the time. The database is an embedded one, made for the run in a temporary directory and removed afterwards.
"""

import argparse
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

NOW = datetime(2026, 11, 1, tzinfo=UTC)
FIRST = datetime(2026, 10, 1, tzinfo=UTC)
CHUNK = 250_000
DAY = 86_400
# The aims of the product: events a second, as a share of what COPY alone does.
AIMS = {"dense": 0.5, "sparse": 0.3}


@dataclass(frozen=True, slots=True)
class Shape:
    """How many attribute sets the events have and over how many days they are spread."""

    sets: int
    days: int


SHAPES = {"dense": Shape(sets=40, days=1), "sparse": Shape(sets=12_000, days=30)}


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--events", type=int, default=1_000_000)
    asked.add_argument("--shape", choices=[*SHAPES, "both"], default="both")
    asked.add_argument("--rounds", type=int, default=1)
    options = asked.parse_args()
    with tempfile.TemporaryDirectory(prefix="costobs-bench-") as folder, _database(folder):
        for name in SHAPES if options.shape == "both" else [options.shape]:
            for number in range(options.rounds):
                _measure(name, Path(folder), events=options.events, number=number)


@contextmanager
def _database(folder: str) -> Iterator[None]:
    """An embedded database of its own, with the product's tables."""
    os.environ["COSTOBS_DATA"] = folder
    os.environ.pop("DATABASE_URL", None)
    os.environ.setdefault("COSTOBS_SECRET_KEY", "only for this measurement, of no use anywhere else")
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "costobs.settings")
    import django

    from costobs.embedded import postgres

    django.setup()
    with postgres.running():
        from django.core.management import call_command

        call_command("migrate", verbosity=0)
        yield


def _measure(name: str, folder: Path, *, events: int, number: int) -> None:
    from django.db import connection

    from ingest import configure, load

    log, rows = folder / "events.ndjson", folder / "rows.csv"
    _write(log, SHAPES[name], events)
    source_id = configure.create_source(kind="usage_log", name=f"{name} {number}", now=NOW)
    began = time.perf_counter()
    (result,) = load.from_paths(source_id=source_id, paths=[str(log)], now=NOW)
    took = time.perf_counter() - began
    if result.rows_loaded != events:
        raise SystemExit(f"expected {events:,} rows loaded, found {result}")
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*), sum(requests) FROM ingest_usagehour WHERE source_id = %s", [source_id])
        hours, folded = cursor.fetchone()
        if folded != events:
            raise SystemExit(f"expected {events:,} events in the rollup, found {folded:,}")
    copied = _copy_straight(rows)
    ratio = copied / took
    print(
        f"{name:6} {events:>9,} events, {log.stat().st_size / 1e6:,.0f} MB: "
        f"loaded and rolled up {took:6.2f} s = {events / took:>9,.0f}/s ({hours:,} rollup rows); "
        f"COPY {copied:6.2f} s = {events / copied:>9,.0f}/s; "
        f"ratio {ratio:.2f} (aim {AIMS[name]}); peak {_peak_mb():,.0f} MB"
    )
    _empty(log, rows)


def _write(path: Path, shape: Shape, events: int) -> None:
    """The log: events in order of time, with the attribute sets taken in turn by a fixed scattering."""
    step = shape.days * DAY * 1000 / events
    with path.open("wb") as target:
        for first in range(0, events, CHUNK):
            index = pl.int_range(first, min(first + CHUNK, events), eager=True)
            number = pl.col("n")
            scattered = number * 7_919 % shape.sets
            frame = pl.DataFrame({"n": index}).with_columns(
                at=(pl.lit(FIRST) + pl.duration(milliseconds=(number * step).cast(pl.Int64))),
                prompt=200 + number * 2_654_435_761 % 30_000,
                output=20 + number * 40_503 % 2_000,
            )
            frame = frame.select(
                pl.format("event-{}", number).alias("event_id"),
                pl.col("at").dt.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").alias("occurred_at"),
                pl.lit("openai").alias("gen_ai.provider.name"),
                pl.when(number % 5 == 0)
                .then(pl.lit("gpt-5"))
                .otherwise(pl.lit("gpt-5-mini"))
                .alias("gen_ai.request.model"),
                pl.lit("chat").alias("gen_ai.operation.name"),
                pl.col("prompt").alias("gen_ai.usage.input_tokens"),
                (pl.col("prompt") // 3).alias("gen_ai.usage.cache_read.input_tokens"),
                pl.col("output").alias("gen_ai.usage.output_tokens"),
                (300 + pl.col("output") * 9).alias("latency_ms"),
                pl.lit(200).alias("http.response.status_code"),
                pl.lit("ok").alias("outcome"),
                pl.struct(
                    pl.format("key-{}", scattered).alias("key"),
                    pl.format("team-{}", scattered % 12).alias("team"),
                    pl.format("feature-{}", scattered % 60).alias("feature"),
                ).alias("attributes"),
            )
            target.write(frame.write_ndjson().encode())


def _copy_straight(path: Path) -> float:
    """Seconds that COPY takes for the rows that were just loaded, into the same table, emptied first."""
    from django.db import connection

    with connection.cursor() as cursor:
        with (
            path.open("wb") as target,
            cursor.copy("COPY (SELECT * FROM ingest_usageevent) TO STDOUT (FORMAT csv)") as out,
        ):
            for part in out:
                target.write(part)
        cursor.execute("TRUNCATE ingest_usageevent")
        began = time.perf_counter()
        with path.open("rb") as source, cursor.copy("COPY ingest_usageevent FROM STDIN (FORMAT csv)") as into:
            while part := source.read(1 << 20):
                into.write(part)
        return time.perf_counter() - began


def _empty(*files: Path) -> None:
    from django.db import connection

    for file in files:
        file.unlink()
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE ingest_usageevent, ingest_usagehour")


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
