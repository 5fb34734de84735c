"""How long a month of an AWS bill takes from S3 to the books, against DuckDB reading the same files.

    python bench/cur.py [--lines 1000000] [--files 8]

Our own generator writes a CUR 2.0 of October 2026 (Parquet, 120 columns, four maps; the same rows each time) and puts it on an
S3 server of this machine. Loading is what the product does: read the manifest, fetch each file, map it to charges, copy them
into PostgreSQL in one delivery; the books are every touched day brought to DailyCost. Both are checked to the last digit
against the sums the generator kept in whole numbers. DuckDB reads the same files from disk, with as many threads as there are
cores, and groups them to daily totals by the columns DailyCost has. Generator, S3 server and DuckDB are processes of their
own, so that the peak is of the load alone; PostgreSQL's own processes are not in it.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import ingest as timing

NOW = datetime(2026, 11, 5, tzinfo=UTC)
BUCKET, EXPORT, PERIOD = "bills", "cur", "2026-10"
MOST_MEMORY_MB = 1000
# What DuckDB works out of each file; the categories of effective cost are those of the generator.
QUERY = """
SELECT CAST(line_item_usage_start_date AS DATE) AS day, line_item_usage_account_id, product['product_name'] AS service,
    product_region_code, line_item_line_item_type, line_item_usage_type, line_item_iam_principal,
    resource_tags['user_team'] AS team, resource_tags['user_app'] AS app, resource_tags['user_env'] AS env,
    sum(line_item_unblended_cost) AS billed, sum(CASE line_item_line_item_type
        WHEN 'SavingsPlanCoveredUsage' THEN savings_plan_savings_plan_effective_cost
        WHEN 'SavingsPlanNegation' THEN 0
        WHEN 'SavingsPlanRecurringFee' THEN savings_plan_total_commitment_to_date - savings_plan_used_commitment
        WHEN 'DiscountedUsage' THEN reservation_effective_cost
        ELSE line_item_unblended_cost END) AS effective
FROM read_parquet('{files}') GROUP BY ALL
"""


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--lines", type=int, default=1_000_000)
    asked.add_argument("--files", type=int, default=8)
    asked.add_argument("--only", choices=["write", "duckdb"], help=argparse.SUPPRESS)
    asked.add_argument("--folder", default="", help=argparse.SUPPRESS)
    options = asked.parse_args()
    if options.only == "write":
        from bench import cur_lines

        cur_lines.write(Path(options.folder), lines=options.lines, files=options.files)
    elif options.only == "duckdb":
        print(json.dumps(_duckdb(Path(options.folder))))
    else:
        _measure(options.lines, options.files)


def _measure(lines: int, files: int) -> None:
    from tests.servers import s3

    os.environ["COSTOBS_PRIVATE_HOSTS"] = "127.0.0.1"
    with tempfile.TemporaryDirectory(prefix="costobs-bench-") as folder:
        data = Path(folder) / "files"
        _apart("write", data, "--lines", str(lines), "--files", str(files))
        expected = json.loads((data / "totals.json").read_text())
        size = sum(each.stat().st_size for each in data.glob("*.parquet"))
        print(f"{lines:,} lines in {files} Parquet files, {size / 1e6:,.0f} MB", flush=True)
        with s3.started() as server, timing._database(folder):
            _upload(server.client(), data)
            loading, settling = _load(server.config, expected, lines)
            duck = json.loads(_apart("duckdb", data).splitlines()[-1])
        print(
            f"DuckDB: {duck['seconds']:.1f} s for {duck['groups']:,} groups; ratio load {loading / duck['seconds']:.1f},"
            f" load and books {(loading + settling) / duck['seconds']:.1f}"
        )


def _load(config: dict[str, str], expected: dict[str, Any], lines: int) -> tuple[float, float]:
    """Seconds of the load and of the books, which are compared with what the generator counted."""
    from costobs import pipeline
    from ingest import configure, load
    from tests.servers.s3 import CREDENTIALS

    source_id = configure.create_source(
        kind="aws_cur", name="bench", config={"url": f"s3://{BUCKET}/cur2", **config}, credentials=CREDENTIALS, now=NOW
    )
    with timing._timed() as loading:
        (result,) = load.sync(source_id=source_id, now=NOW)
    if result.state != "succeeded" or result.rows_read != lines:
        raise SystemExit(f"expected {lines:,} rows read, found {result}")
    peak = timing._peak_mb()
    print(
        f"load: {timing._told(loading[0])}, {lines / loading[0].clock:,.0f} lines/s; {result.rows_loaded:,} charges,"
        f" {result.rows_skipped:,} parts of a split left out; peak {peak:,.0f} MB (aim < {MOST_MEMORY_MB:,})",
        flush=True,
    )
    with timing._timed() as settling:
        while pipeline.settle(NOW):
            pass
    (rows,) = _rows("SELECT count(*) FROM attribution_dailycost")[0]
    print(
        f"books: {timing._told(settling[0])} for {rows:,} rows of DailyCost; peak {timing._peak_mb():,.0f} MB",
        flush=True,
    )
    _compare(expected)
    return loading[0].clock, settling[0].clock


def _compare(expected: dict[str, Any]) -> None:
    found = _rows(
        "SELECT day::text, sum(billed_cost), sum(effective_cost) FROM attribution_dailycost"
        " WHERE is_current AND basis = 'billed' GROUP BY 1 ORDER BY 1"
    )
    for day, billed, effective in found:
        wanted = [Decimal(each) for each in expected["days"].get(day, ("0", "0"))]
        if [billed, effective] != wanted:
            raise SystemExit(f"{day}: expected {wanted}, found {[billed, effective]}")
    if len(found) != len(expected["days"]):
        raise SystemExit(f"expected {len(expected['days'])} days, found {len(found)}")
    total = sum(Decimal(billed) for billed, _ in expected["days"].values())
    print(f"totals: exact on all {len(found)} days, {total:,} billed", flush=True)


def _upload(client: Any, data: Path) -> None:
    client.create_bucket(Bucket=BUCKET)
    names = sorted(each.name for each in data.glob("*.parquet"))
    keys = [f"cur2/{EXPORT}/data/BILLING_PERIOD={PERIOD}/{name}" for name in names]
    for name, key in zip(names, keys, strict=True):
        client.upload_file(str(data / name), BUCKET, key)
    manifest = {"exportName": EXPORT, "executionId": "bench", "dataFiles": [f"s3://{BUCKET}/{key}" for key in keys]}
    key = f"cur2/{EXPORT}/metadata/BILLING_PERIOD={PERIOD}/{EXPORT}-Manifest.json"
    client.put_object(Bucket=BUCKET, Key=key, Body=json.dumps(manifest).encode())


def _duckdb(data: Path) -> dict[str, float]:
    import duckdb

    began = time.perf_counter()
    groups = duckdb.sql(QUERY.format(files=data / "*.parquet")).fetchall()
    return {"seconds": time.perf_counter() - began, "groups": len(groups)}


def _apart(what: str, folder: Path, *more: str) -> str:
    """Runs a part of this measurement in a process of its own; returns what it printed."""
    command = [sys.executable, __file__, "--only", what, "--folder", str(folder), *more]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def _rows(query: str) -> list[tuple[Any, ...]]:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(query)
        return list(cursor.fetchall())


if __name__ == "__main__":
    main()
