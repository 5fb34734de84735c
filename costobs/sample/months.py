"""The sample's closed months: the oldest complete ones, compared, reviewed and closed as finance would, with one markup."""

from collections.abc import Iterator
from datetime import date, datetime

from attribution import close, periods, reconcile, terms
from attribution import queries as attribution_queries
from costobs.embedded.sample import organisation
from costobs.kernel.period import add_months
from costobs.kernel.period import month as month_of
from ingest import queries

_NOTE = "The sample closes its oldest months by itself."
_REASON = "nobody follows it up in the sample"
_MARKUP = ("growth", "4", "Platform fee")


def close_oldest(*, now: datetime) -> int:
    """Closes the sample's months before the last complete one, so that one is left to close by hand; returns how many.

    Only once, and only where nothing but the sample is there: no month of anybody's own data closes by itself, and
    `close.make_room` opens these again when other data come.
    """
    if close.has_books() or not all(line.is_sample for line in queries.sources(now=now)):
        return 0
    months = list(_oldest(now))
    if months and not terms.markups():
        team, percent, label = _MARKUP
        centre = organisation.COST_CENTRES[team]
        terms.add_markup(
            cost_centre=centre, percent=percent, label=label, first_month=months[-1], by=close.SAMPLE, now=now
        )
    for number, month in enumerate(months):
        reconcile.run(month=month_of(month), now=now)
        try:
            close.review(month=month, by=close.SAMPLE, now=now)
            left = close.status(month=month, now=now).open_lines
            waive = {line.key: _REASON for line in left if line.may_be_waived}
            close.close(month=month, by=close.SAMPLE, now=now, note=_NOTE, waive=waive)
        except close.Refused:
            return number  # a month that is not ready stays open, and those after it
    return len(months)


def _oldest(now: datetime) -> Iterator[date]:
    extent = attribution_queries.extent()
    last = add_months(now.date().replace(day=1), -1)
    month = extent.start.replace(day=1) if extent else last
    while month < last and periods.closed_until() is None:
        yield month
        month = add_months(month, 1)
