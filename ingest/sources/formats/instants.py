"""Reading the many ways in which vendors write a moment in time."""

import re
from datetime import UTC, datetime
from functools import lru_cache

import polars as pl
import pyarrow as pa

EARLIEST_USAGE = datetime(2015, 1, 1, tzinfo=UTC)
EARLIEST_CHARGE = datetime(2000, 1, 1, tzinfo=UTC)
LATEST = datetime(2100, 1, 1, tzinfo=UTC)

INSTANT = pl.Datetime("us", "UTC")

# 2026-11-21T10:00:00.123Z and its relatives: everything that is UTC by its own word or, having no zone, by convention.
_UTC_TEXT = r"^(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d(?:\.\d+)?) ?(?:Z|UTC|[+-]00:?00)?$"
_SHORTEST = len("2026-11-21T10:00:00Z")
_SLASHED = re.compile(r"^(\d{1,2})/(\d{1,2})/(\d{2}|\d{4})(?:[ T](\d{1,2}):(\d\d)(?::(\d\d))?)?$")
_NUMBER = re.compile(r"^-?\d+(?:\.\d+)?$")
_BASIC = re.compile(r"^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)(?:\.\d+)?Z?$")


def parse(texts: pl.Series) -> pl.Series:
    """The instants of a text column, null where it holds none. Naive times are UTC; M/D/YY is read the American way."""
    if (uniform := _uniform(texts)) is not None:
        return uniform
    clean = texts.str.strip_chars()
    found = clean.str.replace(_UTC_TEXT, "${1}T${2}").str.to_datetime(
        "%Y-%m-%dT%H:%M:%S%.f", time_unit="us", strict=False
    )
    found = found.dt.replace_time_zone("UTC").alias(texts.name)
    missed = found.is_null() & clean.is_not_null()
    if not missed.any():
        return found
    odd = clean.filter(missed).unique()
    read = pl.Series([one(text) for text in odd], dtype=INSTANT)
    looked_up = clean.replace_strict(odd, read, default=None, return_dtype=INSTANT)
    return pl.select(pl.when(missed).then(looked_up).otherwise(found).alias(texts.name)).to_series()


def _uniform(texts: pl.Series) -> pl.Series | None:
    """The same where every text is ISO 8601 to the second and names its zone, as nearly all logs are; else None."""
    if texts.dtype != pl.String or not (texts.str.len_bytes() >= _SHORTEST).all():
        return None
    try:
        return pl.Series(texts.name, texts.to_arrow().cast(pa.timestamp("us", "UTC")), dtype=INSTANT)
    except pa.ArrowInvalid:
        return None


def parse_repeated(texts: pl.Series) -> pl.Series:
    """The same for a column that repeats itself, as the hours of a bill do."""
    distinct = texts.unique()
    if len(distinct) * 4 > len(texts):
        return parse(texts)
    return texts.replace_strict(distinct, parse(distinct), return_dtype=INSTANT)


@lru_cache(maxsize=65_536)
def one(text: str) -> datetime | None:
    """The instant a single text names, or None: ISO 8601, a bare date, M/D/YY, or seconds to nanoseconds since 1970."""
    text = text.strip()
    if not text:
        return None
    if slashed := _SLASHED.match(text):
        return _american(slashed)
    if basic := _BASIC.match(text):
        return _built(*(int(part) for part in basic.groups()))
    if _NUMBER.match(text) and len(text.lstrip("-").partition(".")[0]) >= 9:
        return _epoch(text)
    try:
        moment = datetime.fromisoformat(text.removesuffix(" UTC"))
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _american(found: re.Match[str]) -> datetime | None:
    month, day, year, hour, minute, second = (int(part or 0) for part in found.groups())
    return _built(year + 2000 if year < 100 else year, month, day, hour, minute, second)


def _built(*parts: int) -> datetime | None:
    year, month, day, hour, minute, second = parts
    try:
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None


def _epoch(text: str) -> datetime | None:
    """Seconds, milli-, micro- or nanoseconds since 1970, told apart by the number of digits."""
    whole, _, fraction = text.partition(".")
    digits = len(whole.lstrip("-"))
    per_second = next((10**places for places in (0, 3, 6, 9) if digits <= 10 + places), 0)
    if not per_second:
        return None
    micros = int(whole) * 1_000_000 // per_second
    if per_second == 1 and fraction:
        micros += int(fraction[:6].ljust(6, "0"))
    try:
        return datetime.fromtimestamp(micros // 1_000_000, tz=UTC).replace(microsecond=micros % 1_000_000)
    except (ValueError, OverflowError, OSError):
        return None
