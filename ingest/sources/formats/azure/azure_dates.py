"""Dates of Azure cost files: ISO, month first or day first, told for each file by the rows that leave no doubt."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal, get_args

import polars as pl

from ingest.sources.formats import instants, openings

Order = Literal["month first", "day first"]
ORDERS: tuple[Order, ...] = get_args(Order)
_SLASHED = re.compile(r"^(\d{1,2})[/-](\d{1,2})[/-](\d{4})(?:[ T]00:00(?::00(?:\.0+)?)?Z?)?$")
_DOTTED = re.compile(r"^(\d{1,2})\.(\d{1,2})\.(\d{4})$")
_COMPACT = re.compile(r"^(\d{4})(\d\d)(\d\d)$")


@dataclass(frozen=True, slots=True)
class Period:
    """First and last day of what a run covers."""

    first: date
    last: date

    def holds(self, day: date | None) -> bool:
        return day is not None and self.first <= day <= self.last


def days(texts: pl.Series, order: Order | None) -> pl.DataFrame:
    """`starts` and `ends` of the day each text names, in ISO; a text that names none stays, with the order that failed."""
    distinct = texts.unique()
    found = [_one(text, order) for text in distinct]
    starts = [
        day.isoformat() if day else (f"{text} as {order or 'a day'}" if text else "")
        for text, day in zip(distinct, found, strict=True)
    ]
    ends = [(day + timedelta(days=1)).isoformat() if day else "" for day in found]
    return pl.DataFrame(
        {
            "starts": texts.replace_strict(distinct, pl.Series(starts, dtype=pl.String), return_dtype=pl.String),
            "ends": texts.replace_strict(distinct, pl.Series(ends, dtype=pl.String), return_dtype=pl.String),
        }
    )


def order_of(texts: Iterable[str]) -> Order | None:
    """What the rows that leave no doubt say: 13 and above can only be a day. None where each of them could be either."""
    for text in texts:
        if found := _SLASHED.match(text.strip()):
            first, second = int(found.group(1)), int(found.group(2))
            if first > 12 >= second:
                return "day first"
            if second > 12 >= first:
                return "month first"
    return None


def settle(pieces: Iterable[Sequence[str]], period: Period | None, *, file: str) -> Order | None:
    """The order of a file's dates, from pieces of its date column; None where no date needs one.

    Rows that leave no doubt decide. Where all are open, the order in which the days lie in the run's period does. BadDelivery
    when neither tells: a bill is not read in the wrong months.
    """
    seen: set[str] = set()
    for piece in pieces:
        seen.update(piece)
        if not any(map(_is_slashed, seen)):
            return None
        if (order := _order_of(seen)) or (order := _only_order_inside(seen, period)):
            return order
    if not any(map(_is_open, seen)):
        return None
    inside = {order: sum(period.holds(_day(text, order)) for text in seen) if period else 0 for order in ORDERS}
    if len(set(inside.values())) == 1:
        first = min(text for text in seen if _is_open(text))
        reason = f"{first!r} and every other date of this file could be month first or day first; set date_order"
        raise openings.broken(file, reason, field="Date", row=1)
    return max(ORDERS, key=lambda order: inside[order])


def _order_of(texts: Iterable[str]) -> Order | None:
    """What the rows that leave no doubt say, as 13 and above can only be a day. Of two orders the more frequent one: the rows
    of the other are rejected one by one.
    """
    found = dict.fromkeys(ORDERS, 0)
    for text in texts:
        if slashed := _SLASHED.match(text.strip()):
            first, second = int(slashed.group(1)), int(slashed.group(2))
            found["day first"] += first > 12 >= second
            found["month first"] += second > 12 >= first
    if not any(found.values()):
        return None
    return "month first" if found["month first"] >= found["day first"] else "day first"


def _only_order_inside(texts: Iterable[str], period: Period | None) -> Order | None:
    """The order in which every day lies in the period, if that is only one of the two."""
    if period is None:
        return None
    slashed = list(filter(_is_slashed, texts))
    fits = [order for order in ORDERS if all(period.holds(_day(text, order)) for text in slashed)]
    return fits[0] if len(fits) == 1 else None


def _is_slashed(text: str) -> bool:
    return _SLASHED.match(text.strip()) is not None


def _is_open(text: str) -> bool:
    """Whether a text means another day in another order: 11/11/2026 does not."""
    found = _SLASHED.match(text.strip())
    return found is not None and int(found.group(1)) != int(found.group(2))


def _one(text: str, order: Order | None) -> date | None:
    text = text.strip()
    if _SLASHED.match(text):
        return _day(text, order) if order else _alike(text)
    if found := _DOTTED.match(text):
        return _built(found.group(3), found.group(2), found.group(1))
    if found := _COMPACT.match(text):
        return _built(*found.groups())
    moment = instants.one(text)
    return moment.date() if moment and moment.year < 9999 else None


def _day(text: str, order: Order) -> date | None:
    found = _SLASHED.match(text.strip())
    if found is None:
        return None
    first, second, year = found.groups()
    return _built(year, first, second) if order == "month first" else _built(year, second, first)


def _alike(text: str) -> date | None:
    """The day of a text that means the same in both orders; a file that was not seen to need an order has no other."""
    return None if _is_open(text) else _day(text, "month first")


def _built(year: str, month: str, day: str) -> date | None:
    try:
        return date(int(year), int(month), int(day))
    except ValueError:
        return None
