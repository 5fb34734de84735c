"""Half-open periods of UTC time: days, months, and the periods of a budget."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta


@dataclass(frozen=True, slots=True, order=True)
class Days:
    """The UTC days from `start` up to, not including, `end`."""

    start: date
    end: date

    def __post_init__(self) -> None:
        if self.end < self.start:
            raise ValueError(f"a period cannot end ({self.end}) before it starts ({self.start})")

    def __len__(self) -> int:
        return (self.end - self.start).days

    def __iter__(self) -> Iterator[date]:
        return (self.start + timedelta(days=offset) for offset in range(len(self)))

    def __contains__(self, day: date) -> bool:
        return self.start <= day < self.end

    @property
    def last(self) -> date:
        """The last day inside; for people, who read periods as closed."""
        return self.end - timedelta(days=1)

    @property
    def start_at(self) -> datetime:
        return datetime.combine(self.start, datetime.min.time(), UTC)

    @property
    def end_at(self) -> datetime:
        return datetime.combine(self.end, datetime.min.time(), UTC)

    def until(self, day: date) -> "Days":
        """The part before `day`, possibly empty."""
        return Days(self.start, max(self.start, min(self.end, day)))

    def before(self) -> "Days":
        """The same number of days, just before."""
        return Days(self.start - timedelta(days=len(self)), self.start)


def day_of(moment: datetime) -> date:
    """The UTC day of an aware datetime; a naive one is an error."""
    if moment.tzinfo is None:
        raise ValueError("expected a datetime with a time zone")
    return moment.astimezone(UTC).date()


def month(day: date) -> Days:
    """The calendar month that holds `day`."""
    start = day.replace(day=1)
    return Days(start, (start + timedelta(days=32)).replace(day=1))


def parse_month(text: str) -> Days:
    """`2026-11` as a period. Raises ValueError with what was expected."""
    try:
        return month(date.fromisoformat(f"{text}-01"))
    except ValueError as problem:
        raise ValueError(f"expected a month as YYYY-MM, found {text!r}") from problem


def add_months(day: date, months: int) -> date:
    """The first day of the month that lies `months` after the month of `day`."""
    index = day.year * 12 + day.month - 1 + months
    return date(index // 12, index % 12 + 1, 1)


def budget_period(kind: str, day: date) -> Days:
    """The day, ISO week, month or quarter that holds `day`."""
    match kind:
        case "day":
            return Days(day, day + timedelta(days=1))
        case "week":
            start = day - timedelta(days=day.weekday())
            return Days(start, start + timedelta(days=7))
        case "month":
            return month(day)
        case "quarter":
            start = date(day.year, 3 * ((day.month - 1) // 3) + 1, 1)
            return Days(start, add_months(start, 3))
    raise ValueError(f"expected day, week, month or quarter, found {kind!r}")
