"""How fast a usage log becomes rolled-up rows, against COPY of the same rows straight into an identical empty table.

    python bench/ingest.py [--events 1000000] [--shape dense|sparse|both] [--rounds 3]

Dense is live traffic: few attribute sets, one day. Sparse is a backfill: so many sets and hours that nearly every event makes
a rollup row of its own. Both start from a file on disk and end with everything committed; the fold into UsageHour is inside
the time. COPY gets the rows as CSV that is in memory already, and commits. Rounds alternate between the two, after one that is
not counted, and medians are printed. The database is an embedded one, as durable as the product's, made for the run.
"""

import argparse
import os
import resource
import statistics
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
COPY_BYTES = 1 << 20
DAY = 86_400
# The aims of the product: events a second, as a share of what COPY alone does.
AIMS = {"dense": 0.5, "sparse": 0.3}


@dataclass(frozen=True, slots=True)
class Shape:
    """How many attribute sets the events have and over how many days they are spread."""

    sets: int
    days: int


SHAPES = {"dense": Shape(sets=40, days=1), "sparse": Shape(sets=12_000, days=30)}


@dataclass(frozen=True, slots=True)
class Took:
    """Seconds on the clock, and of processor time in this process and in PostgreSQL."""

    clock: float
    client: float
    server: float


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--events", type=int, default=1_000_000)
    asked.add_argument("--shape", choices=[*SHAPES, "both"], default="both")
    asked.add_argument("--rounds", type=int, default=3)
    options = asked.parse_args()
    with tempfile.TemporaryDirectory(prefix="costobs-bench-") as folder, _database(folder):
        for name in SHAPES if options.shape == "both" else [options.shape]:
            log = Path(folder) / f"{name}.ndjson"
            _write(log, SHAPES[name], options.events)
            # One more than asked: the first one warms up (the server's files of its log are made, then reused) and is left out.
            rounds = [_round(name, log, events=options.events, number=number) for number in range(options.rounds + 1)]
            _report(name, log, rounds[1:], events=options.events)
            log.unlink()


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


def _round(name: str, log: Path, *, events: int, number: int) -> tuple[Took, Took, int]:
    """The load, the COPY, and how many rollup rows the load made."""
    from ingest import configure, load

    source_id = configure.create_source(kind="usage_log", name=f"{name} {number}", now=NOW)
    with _timed() as loading:
        (result,) = load.from_paths(source_id=source_id, paths=[str(log)], now=NOW)
    if result.rows_loaded != events:
        raise SystemExit(f"expected {events:,} rows loaded, found {result}")
    hours, folded = _row(
        f"SELECT count(*), coalesce(sum(requests), 0) FROM ingest_usagehour WHERE source_id = {source_id}"
    )
    if folded != events:
        raise SystemExit(f"expected {events:,} events in the rollup, found {folded:,}")
    copying = _copy_straight(events)
    _execute("TRUNCATE ingest_usageevent, ingest_usagehour")
    return loading[0], copying, hours


def _report(name: str, log: Path, rounds: list[tuple[Took, Took, int]], *, events: int) -> None:
    loading = statistics.median(load.clock for load, _, _ in rounds)
    copying = statistics.median(copy.clock for _, copy, _ in rounds)
    print(f"{name}: {events:,} events, {log.stat().st_size / 1e6:,.0f} MB, {rounds[0][2]:,} rollup rows")
    for load, copy, _ in rounds:
        print(f"  load {_told(load)}; COPY {_told(copy)}; ratio {copy.clock / load.clock:.2f}")
    print(
        f"  median: load {loading:.2f} s = {events / loading:,.0f}/s; COPY {copying:.2f} s = {events / copying:,.0f}/s; "
        f"ratio {copying / loading:.2f} (aim {AIMS[name]}); peak {_peak_mb():,.0f} MB",
        flush=True,
    )


def _told(took: Took) -> str:
    return f"{took.clock:.2f} s (processor: client {took.client:.2f} s, server {took.server:.2f} s)"


@contextmanager
def _timed() -> Iterator[list[Took]]:
    """What the block took, as the only element of the list once it has ended."""
    _execute("CHECKPOINT")
    found: list[Took] = []
    clock, client, server = time.perf_counter(), time.process_time(), _server_seconds()
    yield found
    found.append(Took(time.perf_counter() - clock, time.process_time() - client, _server_seconds() - server))


def _server_seconds() -> float:
    """Processor time of all processes of the server, those that have ended included; 0 where there is no /proc."""
    from costobs.embedded import paths

    master = (paths.postgres_dir() / "postmaster.pid").read_text().split()[0]
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended meanwhile
        if stat.parent.name == master:
            ticks += sum(map(int, fields[11:15]))
        elif fields[1] == master:
            ticks += sum(map(int, fields[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


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


def _copy_straight(events: int) -> Took:
    """What COPY takes for the rows that were just loaded, into a new table with the same partitions and index."""
    from django.db import connection, transaction

    with (
        connection.cursor() as cursor,
        cursor.copy("COPY (SELECT * FROM ingest_usageevent) TO STDOUT (FORMAT csv)") as out,
    ):
        rows = b"".join(out)
    _execute("CREATE TABLE bench_copy (LIKE ingest_usageevent INCLUDING ALL) PARTITION BY RANGE (occurred_at)")
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT relname, pg_get_expr(relpartbound, oid) FROM pg_class
               WHERE oid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = 'ingest_usageevent'::regclass)"""
        )
        for partition, bounds in cursor.fetchall():
            cursor.execute(f"CREATE TABLE copy_{partition} PARTITION OF bench_copy {bounds}")
    copy = "COPY bench_copy FROM STDIN (FORMAT csv)"
    with _timed() as took, transaction.atomic(), connection.cursor() as cursor, cursor.copy(copy) as into:
        for start in range(0, len(rows), COPY_BYTES):
            into.write(rows[start : start + COPY_BYTES])
    if _row("SELECT count(*) FROM bench_copy") != (events,):
        raise SystemExit(f"expected {events:,} rows copied")
    _execute("DROP TABLE bench_copy")
    return took[0]


def _execute(statement: str) -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(statement)


def _row(query: str) -> tuple[int, ...]:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(query)
        return tuple(int(value) for value in cursor.fetchone())


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
