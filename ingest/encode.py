"""Encoding on the client: distinct attribute combinations, offerings and prices become ids before a row is copied."""

import hashlib
from collections.abc import Iterable, Sequence
from contextlib import closing
from datetime import datetime
from io import BytesIO

import orjson
import polars as pl
from django.db import connection

from ingest import ahead, price
from ingest.rows import ATTRIBUTES
from ingest.sources.formats import classify

_ATTRIBUTE_COLUMNS = [f"attr_{name}" for name in ATTRIBUTES]
_OFFERING = ["provider", "request_model", "response_model", "deployment", "service_tier", "operation"]
_SLICE_ROWS = 100_000
_PROMPT = ("input_uncached", "cache_read", "cache_write_5m", "cache_write_1h", "audio_input", "image_input")


def digest(attributes: dict[str, str]) -> str:
    """The identity of an attribute set: SHA-256 of its canonical JSON."""
    return hashlib.sha256(orjson.dumps(attributes, option=orjson.OPT_SORT_KEYS)).hexdigest()


class Encoder:
    """Remembers, for one load, which id each distinct combination has. It holds distinct values, never rows."""

    def __init__(self, *, source_id: int, now: datetime) -> None:
        self._source_id = source_id
        self._now = now
        self._sets = pl.DataFrame(schema={**dict.fromkeys(_ATTRIBUTE_COLUMNS, pl.String), "attribute_set_id": pl.Int64})
        self._offerings: dict[tuple[str, ...], int] = {}
        self._models: dict[int, tuple[str, str, str]] = {}
        self._prices: dict[price.Wanted, tuple[price.PriceStep, ...]] = {}

    def attribute_sets(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The frame with `attribute_set_id` in place of its attr_ columns."""
        found = self._with_known_sets(frame)
        if unknown := found.filter(pl.col("attribute_set_id").is_null()).select(_ATTRIBUTE_COLUMNS).unique().rows():
            ids = self._store_sets(unknown)
            added = [(*row, ids[row]) for row in unknown]
            self._sets = self._sets.vstack(pl.DataFrame(added, schema=self._sets.schema, orient="row"))
            found = self._with_known_sets(frame)
        return found.drop(_ATTRIBUTE_COLUMNS)

    def _with_known_sets(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Most logs use few of the attributes: the others are "" in every row and need not be compared row by row."""
        is_used = frame.select((pl.col(_ATTRIBUTE_COLUMNS) != "").any()).row(0)
        used = [name for name, says in zip(_ATTRIBUTE_COLUMNS, is_used, strict=True) if says] or _ATTRIBUTE_COLUMNS[:1]
        unused = [name for name in _ATTRIBUTE_COLUMNS if name not in used]
        known = self._sets.filter(pl.all_horizontal(pl.col(name) == "" for name in unused)) if unused else self._sets
        return frame.join(known.select(*used, "attribute_set_id"), on=used, how="left", maintain_order="left")

    def offerings(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The frame with `offering_id` in place of the columns that say which model served the call."""
        distinct = frame.select(_OFFERING).unique().rows()
        self._store_offerings([row for row in distinct if row not in self._offerings])
        ids = pl.DataFrame(
            [(*row, self._offerings[row]) for row in distinct],
            schema={**dict.fromkeys(_OFFERING, pl.String), "offering_id": pl.Int64},
            orient="row",
        )
        return frame.join(ids, on=_OFFERING, how="left", maintain_order="left").drop(_OFFERING)

    def prices(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The frame with the `price_id` that holds for each row's offering, day and prompt size."""
        frame = frame.with_columns(day=pl.col("occurred_at").dt.date())
        distinct = frame.select("offering_id", "day").unique().rows()
        wanted = {(offering, day): price.Wanted(*self._models[offering], day) for offering, day in distinct}
        missing = [want for want in wanted.values() if want not in self._prices]
        self._prices.update(price.resolve(missing) if missing else {})
        steps = [
            (offering, day, step.context_from, step.price_id)
            for (offering, day), want in wanted.items()
            for step in self._prices[want]
        ]
        table = pl.DataFrame(
            steps,
            schema={"offering_id": pl.Int64, "day": pl.Date, "context_from": pl.Int64, "price_id": pl.Int64},
            orient="row",
        )
        if len(steps) == len(distinct):
            priced = frame.join(
                table.drop("context_from"), on=["offering_id", "day"], how="left", maintain_order="left"
            )
        else:
            priced = _by_prompt_size(frame, table)
        return priced.drop("day")

    def bucket_prices(self, frame: pl.DataFrame) -> pl.DataFrame:
        """`prices` for buckets: their tokens are sums of many prompts, so `context_from` says which step of a price holds."""
        kept = frame.rename({kind: f"sum_{kind}" for kind in _PROMPT})
        prompts = [pl.col("context_from") if kind == _PROMPT[0] else pl.lit(0) for kind in _PROMPT]
        priced = self.prices(kept.with_columns(**dict(zip(_PROMPT, prompts, strict=True))))
        return priced.drop(_PROMPT).rename({f"sum_{kind}": kind for kind in _PROMPT})

    def _store_sets(self, rows: Sequence[tuple[str, ...]]) -> dict[tuple[str, ...], int]:
        if not rows:
            return {}
        attributes = [{name: value for name, value in zip(ATTRIBUTES, row, strict=True) if value} for row in rows]
        digests = [digest(one) for one in attributes]
        documents = [orjson.dumps(one, option=orjson.OPT_SORT_KEYS).decode() for one in attributes]
        with connection.cursor() as cursor:
            cursor.execute(
                """INSERT INTO ingest_attributeset (source_id, digest, attributes, seen_at)
                   SELECT %s, d, a::jsonb, %s FROM unnest(%s::text[], %s::text[]) AS new (d, a) ORDER BY d
                   ON CONFLICT (source_id, digest) DO NOTHING""",
                [self._source_id, self._now, digests, documents],
            )
            cursor.execute(
                "SELECT digest, id FROM ingest_attributeset WHERE source_id = %s AND digest = ANY(%s)",
                [self._source_id, digests],
            )
            ids = dict(cursor.fetchall())
        return {row: ids[one] for row, one in zip(rows, digests, strict=True)}

    def _store_offerings(self, rows: Sequence[tuple[str, ...]]) -> None:
        if not rows:
            return
        models = [classify.canonical_model(row[0], row[2] or row[1]) for row in rows]
        columns = [list(column) for column in zip(*rows, strict=True)]
        with connection.cursor() as cursor:
            cursor.execute(
                """INSERT INTO ingest_offering
                       (provider, request_model, response_model, deployment, service_tier, operation, model)
                   SELECT * FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[],
                       %s::text[]) AS new ORDER BY 1, 2, 3, 4, 5, 6
                   ON CONFLICT DO NOTHING""",
                [*columns, models],
            )
            cursor.execute(
                """SELECT provider, request_model, response_model, deployment, service_tier, operation, id, model
                   FROM ingest_offering
                   WHERE (provider, request_model, response_model, deployment, service_tier, operation) IN (
                       SELECT * FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[]))""",
                columns,
            )
            for *key, offering_id, model in cursor.fetchall():
                self._offerings[tuple(key)] = offering_id
                self._models[offering_id] = (key[0], model, key[4] or "standard")


def as_csv(frame: pl.DataFrame) -> bytes:
    """The rows as CSV for PostgreSQL: null is nothing, empty text is quoted, times say that they are UTC."""
    buffer = BytesIO()
    frame.write_csv(buffer, include_header=False, datetime_format="%Y-%m-%d %H:%M:%S%.6fZ")
    return buffer.getvalue()


def copy_csv(*, table: str, frame: pl.DataFrame) -> None:
    """Copies the frame's columns into `table` by name."""
    parts = (as_csv(part) for part in frame.iter_slices(_SLICE_ROWS))
    with closing(ahead.of(parts) if len(frame) > _SLICE_ROWS else parts) as chunks:
        copy_chunks(table=table, columns=frame.columns, chunks=chunks)


def copy_chunks(*, table: str, columns: Sequence[str], chunks: Iterable[bytes]) -> None:
    """Copies CSV into `table`, in one statement."""
    names = ", ".join(f'"{name}"' for name in columns)
    with connection.cursor() as cursor, cursor.copy(f"COPY {table} ({names}) FROM STDIN (FORMAT csv)") as copy:
        for chunk in chunks:
            copy.write(chunk)


def _by_prompt_size(frame: pl.DataFrame, table: pl.DataFrame) -> pl.DataFrame:
    prompt = pl.sum_horizontal(pl.col(name).cast(pl.Int64) for name in _PROMPT)
    indexed = frame.with_row_index("_row").with_columns(_prompt=prompt).sort("_prompt")
    return (
        indexed.join_asof(
            table.sort("context_from"),
            left_on="_prompt",
            right_on="context_from",
            by=["offering_id", "day"],
            strategy="backward",
            check_sortedness=False,
        )
        .sort("_row")
        .drop("_row", "_prompt", "context_from")
    )
