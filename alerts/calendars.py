"""Weekly windows in a zone: `mon-fri 20:00-07:00, sat-sun 00:00-24:00`; pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MOST = 20
_PART = re.compile(r"([a-z]{3})(?:-([a-z]{3}))?\s+(\d{1,2}):(\d{2})\s*-\s*(\d{1,2}):(\d{2})")
_EXAMPLE = "mon-fri 20:00-07:00, sat-sun 00:00-24:00"
# Windows that follow each other are one; who covers the whole week is told an end in a week and a day.
_AHEAD = timedelta(days=8)


class BadWindows(ValueError):
    """The text is no list of weekly windows; the message says what was expected."""


@dataclass(frozen=True, slots=True)
class Weekly:
    """A window that begins on these days (0 is Monday) at a minute of the day and ends at one, of the next day if not later."""

    days: frozenset[int]
    begins: int
    ends: int


def parse(text: str) -> tuple[Weekly, ...]:
    """The windows of a text. Raises BadWindows."""
    parts = [part.strip().lower() for part in re.split(r"[,;\n]", text) if part.strip()]
    if not 1 <= len(parts) <= MOST:
        raise BadWindows(f"expected 1 to {MOST} weekly windows such as {_EXAMPLE}, found {len(parts)}")
    return tuple(_weekly(part) for part in parts)


def clean(text: str) -> str:
    """The same text in one spelling. Raises BadWindows."""
    return ", ".join(words(one) for one in parse(text))


def words(one: Weekly) -> str:
    """`mon-fri 20:00-07:00`."""
    return f"{_days_words(one.days)} {_clock(one.begins)}-{_clock(one.ends)}"


def open_until(windows: Sequence[Weekly], zone: str, now: datetime) -> datetime | None:
    """When the window that is open now ends, with those that follow without a gap; None when none is open."""
    spans = sorted(_spans(windows, zone, now))
    end: datetime | None = None
    for begins, ends in spans:
        if (begins <= now < ends) or (end is not None and begins <= end):
            end = ends if end is None else max(end, ends)
    return end


def _spans(windows: Sequence[Weekly], zone: str, now: datetime) -> list[tuple[datetime, datetime]]:
    """The windows as instants, from yesterday's to a week ahead; a local time that a clock change skips is the one after."""
    place = ZoneInfo(zone)
    today = now.astimezone(place).date()
    found = []
    for offset in range(-1, _AHEAD.days):
        day = today + timedelta(days=offset)
        for one in windows:
            if day.weekday() in one.days:
                last = day + timedelta(days=1) if one.ends <= one.begins else day
                found.append((_instant(day, one.begins, place), _instant(last, one.ends, place)))
    return found


def _instant(day: date, minute: int, place: ZoneInfo) -> datetime:
    if minute == 24 * 60:
        day, minute = day + timedelta(days=1), 0
    return datetime.combine(day, time(minute // 60, minute % 60), place).astimezone(UTC)


def _weekly(part: str) -> Weekly:
    found = _PART.fullmatch(part)
    if found is None:
        raise BadWindows(f"expected weekly windows such as {_EXAMPLE}, found {part!r}")
    first, last = found[1], found[2] or found[1]
    if first not in DAYS or last not in DAYS:
        raise BadWindows(f"expected days of {', '.join(DAYS)}, found {part!r}")
    begin, end = DAYS.index(first), DAYS.index(last)
    days = {(begin + step) % 7 for step in range((end - begin) % 7 + 1)}
    begins, ends = _minute(found[3], found[4], part), _minute(found[5], found[6], part)
    if begins == ends or begins == 24 * 60:
        raise BadWindows(f"expected a window that ends at another time than it begins, found {part!r}")
    return Weekly(frozenset(days), begins, ends)


def _minute(hour: str, minute: str, part: str) -> int:
    found = int(hour) * 60 + int(minute)
    if int(minute) > 59 or found > 24 * 60:
        raise BadWindows(f"expected times from 00:00 to 24:00, found {part!r}")
    return found


def _days_words(days: frozenset[int]) -> str:
    """`mon-fri`, `fri-mon`, or `mon`: what was parsed is always one run of days."""
    first = next((day for day in sorted(days) if (day - 1) % 7 not in days), 0)
    last = (first + len(days) - 1) % 7
    return DAYS[first] if len(days) == 1 else f"{DAYS[first]}-{DAYS[last]}"


def _clock(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"
