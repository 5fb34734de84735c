"""Takes the sample organisation out of an installation, room by room."""

from datetime import date, datetime, timedelta

from alerts import forget as alerts_forget
from attribution import close, known, teams, terms
from attribution import forget as attribution_forget
from attribution import queries as attribution_queries
from costobs import pipeline
from costobs.sample import rules
from ingest import configure, queries


def run(*, by: str, now: datetime) -> int:
    """Deletes the sample's budgets, gates, books, sources, teams, rules and prices; returns how many sources went.

    Every part may be gone already, so that a removal that was killed is finished by the next. Raises close.Refused while a
    closed month holds spend of other sources beside the sample's.
    """
    mine = [line for line in queries.sources(now=now) if line.is_sample]
    close.forget(source_ids=[line.id for line in mine], by=by, now=now)
    terms.forget(set_by=close.SAMPLE)
    alerts_forget.sample()
    shared = _shared_days({line.name for line in mine})
    for line in mine:
        attribution_forget.source(source_id=line.id)
        configure.remove_source(source_id=line.id)
    teams.forget_sample()
    rules.take_away(by=by, now=now)
    rules.take_prices_away(now=now)
    if shared:
        pipeline.restate(shared, now)
    known.end_empty_days(now=now)
    return len(mine)


def _shared_days(names: set[str]) -> list[date]:
    """The days on which other sources have rows too: authority and shares may differ there without the sample."""
    extent = attribution_queries.extent()
    if extent is None:
        return []
    found = queries.completeness(first=extent.start, last=extent.end + timedelta(days=1))
    ours = {day for name, days in found.items() if name in names for day in days}
    others = {day for name, days in found.items() if name not in names for day in days}
    return sorted(ours & others)
