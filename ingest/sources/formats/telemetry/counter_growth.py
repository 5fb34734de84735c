"""How much counters grew in a span of time, exactly: from the readings as they were scraped, with resets."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from ingest.sources.base import Window
from ingest.sources.formats.telemetry.prometheus import Series, millis
from ingest.sources.formats.telemetry.server_counters import SCRAPE_LABELS, base_name, is_creation

Identity = tuple[str, frozenset[tuple[str, str]]]
# Readings are 64-bit floating point numbers: beyond this, whole numbers are no longer exact.
_MOST = 2**53


@dataclass(frozen=True, slots=True)
class Grown:
    """One counter in the span: `growth` is None where there was one reading only, and nothing to compare it with."""

    name: str
    labels: Mapping[str, str]
    growth: int | None


@dataclass(frozen=True, slots=True)
class Found:
    """The counters that were read in the span; `unreadable` are the ones whose readings are no whole numbers."""

    grown: Sequence[Grown]
    unreadable: Sequence[Series]


def measure(series: Iterable[Series], span: Window, *, since: datetime) -> Found:
    """The growth of each counter in the span. `since` is where the readings begin: before the span, so that the first
    reading in it has one to be compared with.

    Growth is the sum of the differences of readings; where a reading is lower than the one before, the server has
    started again and counts from zero. The first reading of a counter counts from zero as well if the counter itself
    says that it began after `since`; else it is only what later readings are compared with. Growth across a gap in the
    readings belongs to the span in which the gap ends. The growths of spans that follow each other add up to that of
    the whole.
    """
    counters, began = _counters(series)
    readings = _readings(counters, span, since, began)
    unreadable = set(readings.filter(pl.col("is_unreadable"))["counter"].to_list())
    sums = (
        readings.filter(pl.col("at").is_between(millis(span.start), millis(span.end), closed="left"))
        .group_by("counter")
        .agg(growth=pl.col("growth").sum(), compared=pl.col("growth").count())
        .sort("counter")
    )
    grown = [
        Grown(counters[counter].name, counters[counter].labels, growth if compared else None)
        for counter, growth, compared in sums.rows()
        if counter not in unreadable
    ]
    return Found(grown, [counters[counter] for counter in sorted(unreadable)])


def _counters(series: Iterable[Series]) -> tuple[list[Series], dict[int, int]]:
    """Each counter once, and when it began to count (milliseconds since 1970) if it says so."""
    by_identity: dict[Identity, list[Series]] = {}
    created: dict[Identity, int] = {}
    for one in series:
        if is_creation(one.name):
            first = pl.Series([one.points[0][1]]).cast(pl.Float64, strict=False)[0] if one.points else None
            if first is not None:
                created[_identity(one)] = round(first * 1000)
        else:
            by_identity.setdefault(_identity(one), []).append(one)
    counters = [
        _merged(same) for _, same in sorted(by_identity.items(), key=lambda item: (item[0][0], sorted(item[0][1])))
    ]
    return counters, {index: created[_identity(one)] for index, one in enumerate(counters) if _identity(one) in created}


def _identity(one: Series) -> Identity:
    # Without an address nothing but what the scrape adds may tell two servers apart.
    dropped = SCRAPE_LABELS if "instance" in one.labels else frozenset()
    return base_name(one.name), frozenset((name, value) for name, value in one.labels.items() if name not in dropped)


def _merged(same: Sequence[Series]) -> Series:
    """One counter scraped several times: the longest series speaks, the others only for when it is silent.

    Their readings are not mixed: clocks differ, and a counter that seems to fall would be taken for a restart.
    """
    longest, *others = sorted(same, key=lambda one: (-len(one.points), sorted(one.labels.items())))
    points = list(longest.points)
    for other in others:
        points += [point for point in other.points if not points or not points[0][0] <= point[0] <= points[-1][0]]
        points.sort()
    return Series(base_name(longest.name), longest.labels, tuple(points))


def _readings(counters: Sequence[Series], span: Window, since: datetime, began: Mapping[int, int]) -> pl.DataFrame:
    numbers = pl.DataFrame(
        {
            "counter": [index for index, one in enumerate(counters) for _ in one.points],
            "at": [at for one in counters for at, _ in one.points],
            "text": [text for one in counters for _, text in one.points],
        },
        schema={"counter": pl.Int64, "at": pl.Int64, "text": pl.String},
    )
    value = pl.col("text").cast(pl.Float64, strict=False)
    frame = (
        numbers.with_columns(value=value)
        .filter(pl.col("value").is_finite() & (pl.col("at") < millis(span.end)))
        .with_columns(
            is_unreadable=(pl.col("value") != pl.col("value").floor())
            | (pl.col("value") < 0)
            | (pl.col("value") >= _MOST)
        )
        .with_columns(number=pl.when(~pl.col("is_unreadable")).then(pl.col("value")).cast(pl.Int64))
        .sort("counter", "at")
    )
    new = [index for index, at in began.items() if at >= millis(since)]
    before = pl.col("number").shift(1).over("counter")
    return frame.with_columns(
        growth=pl.when(before.is_null())
        .then(pl.when(pl.col("counter").is_in(new)).then(pl.col("number")))
        .when(pl.col("number") >= before)
        .then(pl.col("number") - before)
        .otherwise(pl.col("number"))
    )
