"""What a forecast may build on: how far the days of a scope are complete, and whether the history has changed."""

from datetime import date, datetime, timedelta

from attribution.queries.scoped import books, fetch
from costobs.kernel import period as periods
from costobs.kernel.period import Days
from costobs.kernel.scope import SpendScope

_RECENT_DAYS = 14  # a source that delivered nothing to the scope for so long holds nothing back


def known_until(*, scope: SpendScope, now: datetime) -> date:
    """The first day of the scope that is not complete at `now`, at most today; its days do not count, its filters do.

    Each provider is complete as far as the source that reaches farthest for it (usage stands in for a bill that comes
    later), and the scope as far as the provider that reaches least. A source that is late makes its days unknown, not zero.
    """
    today = periods.day_of(now)
    scoped = books(
        scope.during(Days(today - timedelta(days=_RECENT_DAYS), today + timedelta(days=1))), ["source"]
    )  # asked for the source, it joins it as s
    sql = f"""
        SELECT min(reaches) FROM (
            SELECT d.provider_name, max((coalesce(s.complete_through, %(now)s) AT TIME ZONE 'UTC')::date) AS reaches
            {scoped.source()} AND d.is_current AND d.origin_day IS NULL GROUP BY 1) x"""
    found: date | None = fetch(sql, {**scoped.parameters, "now": now})[0][0]
    return today if found is None else min(found, today)


def history_mark(*, now: datetime, days: int) -> str:
    """A text that stays the same while no complete day of the last `days` changes: their versions, owners and sources."""
    today = periods.day_of(now)
    sql = """
        SELECT concat_ws('/', %(today)s::date,
            (SELECT concat(count(*), ':', sum(rolled_up_version)) FROM ingest_touched
             WHERE day >= %(start)s AND day < %(today)s),
            (SELECT concat(count(*), ':', sum(version)) FROM attribution_dayfigures
             WHERE day >= %(start)s AND day < %(today)s),
            (SELECT max(id) FROM attribution_rulesetversion WHERE is_current),
            (SELECT max(closed_at) FROM attribution_periodbook),
            (SELECT string_agg(concat(id, '=', (least(complete_through, %(now)s) AT TIME ZONE 'UTC')::date), ',' ORDER BY id)
             FROM ingest_source WHERE complete_through >= %(start)s))"""
    found: str = fetch(sql, {"today": today, "start": today - timedelta(days=days), "now": now})[0][0]
    return found
