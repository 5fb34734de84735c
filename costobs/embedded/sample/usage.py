"""The sample's calls: columns of events, the log file they make, and what they add up to."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from random import Random

import polars as pl

from costobs.embedded.sample import features, organisation, story, traces
from costobs.embedded.sample.organisation import Feature, Model
from costobs.embedded.sample.story import Story

KINDS = ("input_uncached", "cache_read", "cache_write_5m", "output")
_PREFIX = "gen_ai.usage."
_CHANCES = ("size", "scale", "cached", "slow_a", "slow_b", "end", "first")


@dataclass(slots=True)
class _Drawn:
    """The random part of the calls of one feature on some days, in columns."""

    at: list[datetime]
    number: list[int]
    hour_error: list[float]
    growth: list[float]
    run: list[int]
    progress: list[float]  # how far an agent's run has come, 0.5 where there is no run
    key: list[str]
    chances: dict[str, list[float]]


def events(told: Story, *, since: datetime, until: datetime) -> pl.DataFrame:
    """The calls of [since, until) in order of time, in the columns of a usage log; the same for the same story."""
    days = story.span(since, until)
    frames = [_of_feature(told, feature, days) for feature in features.FEATURES]
    joined = pl.concat(frame for frame in frames if frame is not None)
    inside = joined.filter((pl.col("at") >= since) & (pl.col("at") < until))
    return inside.sort("at", "event_id")


def ndjson(frame: pl.DataFrame) -> bytes:
    """The events as a log file, one JSON object on each line."""
    attributes = pl.struct(pl.col("key", "account", "team", "feature", "cost_centre", "environment"))
    return (
        frame.select(
            "event_id",
            pl.col("at").dt.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").alias("occurred_at"),
            pl.col("provider").alias("gen_ai.provider.name"),
            pl.col("model").alias("gen_ai.request.model"),
            pl.col("operation").alias("gen_ai.operation.name"),
            pl.sum_horizontal("input_uncached", "cache_read", "cache_write_5m", ignore_nulls=False).alias(
                f"{_PREFIX}input_tokens"
            ),
            pl.col("cache_read").alias(f"{_PREFIX}cache_read.input_tokens"),
            pl.col("cache_write_5m").alias(f"{_PREFIX}cache_creation.input_tokens"),
            pl.col("output").alias(f"{_PREFIX}output_tokens"),
            pl.col("reasoning").alias(f"{_PREFIX}reasoning.output_tokens"),
            "usage_known",
            "latency_ms",
            "ttft_ms",
            pl.col("status").alias("http.response.status_code"),
            "outcome",
            "deployment",
            "trace_id",
            attributes.alias("attributes"),
        )
        .write_ndjson()
        .encode()
    )


def by_day(frame: pl.DataFrame) -> pl.DataFrame:
    """Tokens by day, provider, account and model, one column for each kind: what a bill is made from."""
    keys = [pl.col("at").dt.date().alias("day"), "provider", "account", "model"]
    return frame.group_by(keys).agg(pl.col(*KINDS).sum()).sort("day", "provider", "account", "model")


def by_hour(frame: pl.DataFrame) -> pl.DataFrame:
    """Tokens of our own deployments by hour: what keeps their GPUs busy."""
    own = frame.filter(pl.col("deployment") != "")
    keys = [pl.col("at").dt.truncate("1h").alias("hour"), "deployment"]
    return own.group_by(keys).agg(pl.col("input_uncached", "output").sum()).sort("hour", "deployment")


def _of_feature(told: Story, feature: Feature, days: list[date]) -> pl.DataFrame | None:
    drawn = _Drawn([], [], [], [], [], [], [], {name: [] for name in _CHANCES})
    for day in days:
        _draw_day(told, feature, day, drawn)
    return _calls(feature, organisation.MODELS[feature.model], drawn) if drawn.at else None


def _draw_day(told: Story, feature: Feature, day: date, drawn: _Drawn) -> None:
    chance = told.random("calls", feature.name or feature.key, day)
    expected = told.volume(feature, day)
    inverse = traces.trace(feature.shape).arrival_seconds
    model = organisation.MODELS[feature.model]
    growth = told.prompt_growth(day)
    key = story.RUNAWAY_KEY if told.is_runaway(feature, day) else feature.key
    begin, number = story.midnight(day), 0
    for hour, share in enumerate(story.RHYTHMS[feature.rhythm]):
        rotation, errors = chance.random() * 3600, told.error_rate(model.provider, model.error_rate, day, hour)
        starts = sorted(
            (inverse[int(chance.random() * traces.RESOLUTION)] + rotation) % 3600
            for _ in range(int(expected * share + chance.random()))
        )
        for start in starts:
            for at, run, progress in _steps(feature, hour * 3600 + start, len(drawn.at), chance):
                drawn.at.append(begin + timedelta(milliseconds=int(at * 1000)))
                drawn.run.append(run)
                drawn.progress.append(progress)
                drawn.number.append(number)
                drawn.hour_error.append(errors)
                drawn.growth.append(growth)
                drawn.key.append(key)
                number += 1
    for values in drawn.chances.values():
        values.extend(chance.random() for _ in range(number))


def _steps(feature: Feature, start: float, run: int, chance: Random) -> Iterator[tuple[float, int, float]]:
    """The calls of one start: one, or those of an agent's run, which goes on for minutes but ends with its day."""
    if not feature.steps:
        yield start, -1, 0.5
        return
    count = max(2, round(feature.steps * math.exp(chance.gauss(-0.12, 0.5))))
    for step in range(count):
        yield min(start, 86_399.9), run, (step + 0.5) / count
        start += 6 + 40 * chance.random()


def _calls(feature: Feature, model: Model, drawn: _Drawn) -> pl.DataFrame:
    frame = pl.DataFrame(
        {
            "at": pl.Series(drawn.at, dtype=pl.Datetime("us", "UTC")),
            "number": pl.Series(drawn.number, dtype=pl.Int32),
            "run": pl.Series(drawn.run, dtype=pl.Int32),
            "progress": drawn.progress,
            "growth": drawn.growth,
            "hour_error": drawn.hour_error,
            "key": drawn.key,
            **drawn.chances,
        }
    )
    frame = _sized(frame, feature, model)
    frame = _timed(frame, feature, model)
    return _named(_ended(frame, feature), feature, model)


def _sized(frame: pl.DataFrame, feature: Feature, model: Model) -> pl.DataFrame:
    """Token counts: each call takes the sizes of one real request, scaled to the feature's means."""
    real = traces.trace(feature.shape)
    at = (pl.col("size") * len(real.context)).floor().cast(pl.UInt32)
    context = pl.lit(pl.Series(real.context)).gather(at)
    generated = pl.lit(pl.Series(real.generated)).gather(at)
    spread = 0.75 + 0.5 * pl.col("scale")
    # The real sizes reach from 3 to 7,000 tokens; a floor keeps a feature's own prompt in each of its calls.
    if feature.steps:
        prompt = feature.prompt * (0.3 + 1.4 * pl.col("progress")) * (0.85 + 0.15 * context)
    else:
        prompt = feature.prompt * (0.35 + 0.65 * context)
    output = feature.output * (0.3 + 0.7 * generated) * spread
    cached = (feature.cached * (0.55 + 0.9 * pl.col("cached"))).clip(0, 0.94)
    if feature.steps:
        cached = (cached * (0.55 + 0.9 * pl.col("progress"))).clip(0, 0.94)
    frame = frame.with_columns(
        (prompt * spread * pl.col("growth")).clip(16, model.prompt_limit).round().cast(pl.Int64).alias("prompt"),
        (output.clip(1, 32_000) if feature.output else pl.lit(0.0)).round().cast(pl.Int64).alias("output"),
        cached.alias("share"),
    )
    return frame.with_columns(
        (pl.col("prompt") * pl.col("share")).floor().cast(pl.Int64).alias("cache_read"),
        (pl.col("prompt") * feature.written).floor().cast(pl.Int64).alias("cache_write_5m"),
        (pl.col("output") * (feature.reasoning * (0.7 + 0.6 * pl.col("scale"))).clip(0, 0.95))
        .floor()
        .cast(pl.Int64)
        .alias("reasoning"),
    ).with_columns((pl.col("prompt") - pl.col("cache_read") - pl.col("cache_write_5m")).alias("input_uncached"))


def _timed(frame: pl.DataFrame, feature: Feature, model: Model) -> pl.DataFrame:
    """Log-normal times: to the first token by prompt, then by each token of output."""
    radius = (-2 * (1 - pl.col("slow_a")).log()).sqrt()
    turn = 2 * math.pi * pl.col("slow_b")
    first = (model.ttft_ms * (1 + pl.col("prompt") / 150_000) + 40) * (0.38 * radius * turn.cos()).exp()
    rest = pl.col("output") * model.ms_per_token * (0.22 * radius * turn.sin()).exp()
    return frame.with_columns(
        first.round().cast(pl.Int64).alias("ttft_ms")
        if feature.is_streamed
        else pl.lit(None, pl.Int64).alias("ttft_ms"),
        (first + rest).round().cast(pl.Int64).alias("latency_ms"),
    )


def _ended(frame: pl.DataFrame, feature: Feature) -> pl.DataFrame:
    """How each call ended: well, with an error (nothing used), or cut off by the client (used, but nobody counted)."""
    is_error = pl.col("end") < pl.col("hour_error")
    is_cut = ~is_error & (pl.col("end") > 0.994) & feature.is_streamed
    status = pl.when(pl.col("first") < 0.55).then(429).when(pl.col("first") < 0.85).then(529).otherwise(500)
    frame = frame.with_columns(
        pl.when(is_error)
        .then(pl.lit("error"))
        .when(is_cut)
        .then(pl.lit("cancelled"))
        .otherwise(pl.lit("ok"))
        .alias("outcome"),
        pl.when(is_error).then(status).otherwise(200).cast(pl.Int64).alias("status"),
        (~is_cut).alias("usage_known"),
        *(
            pl.when(is_error).then(0).when(is_cut).then(None).otherwise(pl.col(kind)).alias(kind)
            for kind in (*KINDS, "reasoning")
        ),
    )
    return frame.with_columns(
        pl.when(is_error)
        .then((pl.col("first") * 900 + 30).round().cast(pl.Int64))
        .otherwise(pl.col("latency_ms"))
        .alias("latency_ms"),
        pl.when(is_error).then(None).otherwise(pl.col("ttft_ms")).alias("ttft_ms"),
    )


def _named(frame: pl.DataFrame, feature: Feature, model: Model) -> pl.DataFrame:
    stream = feature.name or feature.key
    day = pl.col("at").dt.strftime("%Y%m%d")
    owned = feature.is_owned
    # A run is known by its first call, so that it has the same name whichever span it is told in.
    first = pl.col("number").first().over(day, "run").cast(pl.String)
    run = pl.when(pl.col("run") >= 0).then(pl.concat_str(pl.lit(f"run-{stream}-"), day, pl.lit("-"), first))
    return frame.select(
        "at",
        pl.concat_str(pl.lit(f"{stream}-"), day, pl.lit("-"), pl.col("number").cast(pl.String).str.zfill(5)).alias(
            "event_id"
        ),
        pl.lit(model.provider).alias("provider"),
        pl.lit(model.name).alias("model"),
        pl.lit(feature.operation).alias("operation"),
        pl.lit(feature.deployment).alias("deployment"),
        *KINDS,
        "reasoning",
        "usage_known",
        "latency_ms",
        "ttft_ms",
        "status",
        "outcome",
        run.fill_null("").alias("trace_id"),
        "key",
        pl.lit(feature.account).alias("account"),
        pl.lit(feature.team if owned else "").alias("team"),
        pl.lit(feature.name if owned else "").alias("feature"),
        pl.lit(organisation.COST_CENTRES.get(feature.team, "") if owned else "").alias("cost_centre"),
        pl.lit(feature.environment).alias("environment"),
    )
