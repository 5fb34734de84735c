"""What makes one usage event wrong although it could be read, and how that is told."""

from collections.abc import Callable

import polars as pl

from ingest.rows import Rejected
from ingest.sources.formats import instants, lines
from ingest.sources.formats.usage import usage_bodies
from ingest.sources.formats.usage.usage_bodies import PREFIX

_LIMIT = 2**31 - 1
# What identifies an event or what was called lies in indexes, of which PostgreSQL lets an entry have 2,704 bytes.
_LONGEST = {
    "event_id": 1000,
    "gen_ai.provider.name": 200,
    "gen_ai.request.model": 500,
    "gen_ai.response.model": 500,
    "gen_ai.operation.name": 200,
    "service_tier": 200,
    "deployment": 500,
}

Check = tuple[str, pl.Expr, Callable[[dict[str, object]], str]]


def wrong(frame: pl.DataFrame) -> pl.Series:
    """True for each row that fails any check."""
    return frame.select(pl.any_horizontal(mask.fill_null(False) for _, mask, _ in CHECKS).alias("wrong")).to_series()


def _outside(name: str) -> Check:
    column = pl.col(name)
    return name, (column < 0) | (column > _LIMIT), lambda row: f"{name} is {row[name]}; expected 0 to {_LIMIT:,}"


def _too_long(name: str, most: int) -> Check:
    return (
        name,
        pl.col(name).str.len_bytes() > most,
        lambda row: f"expected at most {most} bytes, found {len(str(row[name]).encode()):,}",
    )


CHECKS: tuple[Check, ...] = (
    (
        "occurred_at",
        pl.col("instant").is_null(),
        lambda row: f"expected a moment in time, found {row['occurred_at']!r}",
    ),
    (
        "occurred_at",
        (pl.col("instant") < instants.EARLIEST_USAGE) | (pl.col("instant") >= instants.LATEST),
        lambda row: f"{row['occurred_at']} is outside 2015-01-01 to 2100-01-01",
    ),
    (
        "gen_ai.provider.name",
        pl.col("provider_name") == "",
        lambda row: "no provider; name it in the line or in the source's configuration",
    ),
    *(_too_long(name, most) for name, most in _LONGEST.items()),
    *(_outside(name) for name in (*usage_bodies.COUNTS, "latency_ms", "ttft_ms")),
    (
        f"{PREFIX}input_tokens",
        pl.col("kind_input_uncached") < 0,
        lambda row: (
            f"cached, written, audio and image tokens exceed the {row[f'{PREFIX}input_tokens']} input tokens "
            f"by {-int(str(row['kind_input_uncached']))}; input_tokens must include them"
        ),
    ),
    (
        f"{PREFIX}cache_creation_1h.input_tokens",
        pl.col("kind_cache_write_5m") < 0,
        lambda row: f"{row['kind_cache_write_1h']} one-hour cache writes exceed all cache writes",
    ),
    (
        f"{PREFIX}output_tokens",
        (pl.col("kind_output") < 0) | (pl.col("kind_reasoning") > pl.col(f"{PREFIX}output_tokens")),
        lambda row: f"reasoning or audio tokens exceed the {row[f'{PREFIX}output_tokens']} output tokens",
    ),
    (
        "http.response.status_code",
        (pl.col("http.response.status_code") < 0) | (pl.col("http.response.status_code") > 999),
        lambda row: f"expected an HTTP status, found {row['http.response.status_code']}",
    ),
)


def reasons(frame: pl.DataFrame, wrong: pl.Series, block: lines.Block, name: str) -> list[Rejected]:
    """Why each wrong line is wrong: the first check that it fails."""
    verdicts = frame.select(mask.fill_null(False).alias(str(at)) for at, (_, mask, _) in enumerate(CHECKS)).filter(
        wrong
    )
    found = []
    positions = wrong.arg_true()
    for at, verdict, row in zip(
        positions, verdicts.iter_rows(), frame.filter(wrong).iter_rows(named=True), strict=True
    ):
        field, _, reason = CHECKS[verdict.index(True)]
        found.append(Rejected(name, int(row["row_number"]), field, reason(row), block.head(at)))
    return found
