"""What the sample's calls add up to by day: told once, then asked by the bills and the telemetry."""

from collections.abc import Iterable
from datetime import date, datetime, timedelta

import polars as pl

from costobs.embedded.sample import story, usage
from costobs.embedded.sample.story import Story

_MOST_DAYS_AT_ONCE = 10


class Tally:
    """Remembers the sums of whole days, not their calls."""

    def __init__(self, told: Story) -> None:
        self._told = told
        self._tokens: dict[date, pl.DataFrame] = {}
        self._work: dict[date, pl.DataFrame] = {}

    def events(self, *, since: datetime, until: datetime) -> pl.DataFrame:
        """`usage.events`, whose whole days are remembered."""
        frame = usage.events(self._told, since=since, until=until)
        whole = [
            day
            for day in story.span(since, until)
            if since <= story.midnight(day) and story.midnight(day + timedelta(days=1)) <= until
        ]
        self._remember(frame, whole)
        return frame

    def tokens(self, days: Iterable[date]) -> pl.DataFrame:
        """`usage.by_day` of these days."""
        return pl.concat(self._known(self._tokens, days))

    def work(self, days: Iterable[date]) -> pl.DataFrame:
        """`usage.by_hour` of these days."""
        return pl.concat(self._known(self._work, days))

    def _known(self, sums: dict[date, pl.DataFrame], days: Iterable[date]) -> list[pl.DataFrame]:
        wanted = sorted(set(days))
        missing = [day for day in wanted if day not in sums]
        for first in range(0, len(missing), _MOST_DAYS_AT_ONCE):
            part = missing[first : first + _MOST_DAYS_AT_ONCE]
            span = (story.midnight(part[0]), story.midnight(part[-1] + timedelta(days=1)))
            self._remember(usage.events(self._told, since=span[0], until=span[1]), story.span(*span))
        return [sums[day] for day in wanted]

    def _remember(self, frame: pl.DataFrame, days: Iterable[date]) -> None:
        tokens, work = usage.by_day(frame), usage.by_hour(frame)
        for day in days:
            self._tokens[day] = tokens.filter(pl.col("day") == day)
            self._work[day] = work.filter(pl.col("hour").dt.date() == day)
