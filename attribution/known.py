"""Writes down what the books are believed to say, so that any earlier belief can be asked for later.

A belief is the counted cost of one day by provider, basis, team and currency. Within one clock hour only the last one is
kept, because a live day changes every second: what was known is exact at every whole hour, and wherever `snapshot` was taken.
"""

from datetime import date, datetime, timedelta

from django.db import connection, transaction

from attribution import periods
from attribution.models import DailyCost, KnownRuleset, RulesetVersion
from attribution.queries import ownership
from attribution.splitting import COSTS
from costobs.kernel.period import Days

# What a tick writes down of a new ruleset: a day of a large company takes a tenth of a second.
_DAYS_AT_ONCE = 10
_KEY = "provider_name, basis, team, currency"
_COSTS = ", ".join(COSTS)
_SAME_KEY = "(k.provider_name, k.basis, k.team, k.currency) = (n.provider_name, n.basis, n.team, n.currency)"
_EQUAL = f"({', '.join(f'k.{cost}' for cost in COSTS)}) = ({', '.join(f'n.{cost}' for cost in COSTS)})"
_BELIEVED = "k.day = %(day)s AND k.known_to IS NULL"
_YOUNG = f"{_BELIEVED} AND NOT k.is_pinned AND k.known_from >= %(hour)s"

_STATEMENTS = (
    f"""CREATE TEMPORARY TABLE IF NOT EXISTS known_now (provider_name text, basis text, team text, currency text,
        {", ".join(f"{cost} numeric" for cost in COSTS)}) ON COMMIT DELETE ROWS""",
    "DELETE FROM known_now",
    f"""INSERT INTO known_now
        SELECT d.provider_name, d.basis, {ownership.TEAM}, d.currency, {", ".join(f"sum(d.{cost})" for cost in COSTS)}
        FROM (SELECT provider_name, basis, currency, attribute_set_id, model, coalesce(origin_day, day) AS owner_day,
                {", ".join(f"sum({cost}) AS {cost}" for cost in COSTS)}
            FROM attribution_dailycost WHERE day = %(day)s AND is_current GROUP BY 1, 2, 3, 4, 5, 6) d {{owners}}
        GROUP BY 1, 2, 3, 4
        HAVING {" OR ".join(f"sum(d.{cost}) <> 0" for cost in COSTS)}""",
    # What was first believed in this hour is replaced by what is believed at its end.
    f"""UPDATE attribution_knowncost k SET {", ".join(f"{cost} = n.{cost}" for cost in COSTS)} FROM known_now n
        WHERE {_YOUNG} AND {_SAME_KEY} AND NOT {_EQUAL}""",
    f"DELETE FROM attribution_knowncost k WHERE {_YOUNG} AND NOT EXISTS (SELECT FROM known_now n WHERE {_SAME_KEY})",
    # A clock that runs backwards ends a belief when it began, never before.
    f"""UPDATE attribution_knowncost k SET known_to = greatest(%(now)s, k.known_from)
        WHERE {_BELIEVED} AND NOT EXISTS (SELECT FROM known_now n WHERE {_SAME_KEY} AND {_EQUAL})""",
    f"""INSERT INTO attribution_knowncost (day, known_from, is_pinned, {_KEY}, {_COSTS})
        SELECT %(day)s, greatest(%(now)s, (SELECT max(k.known_to) FROM attribution_knowncost k
            WHERE k.day = %(day)s AND {_SAME_KEY})), FALSE, {_KEY}, {_COSTS} FROM known_now n
        WHERE NOT EXISTS (SELECT FROM attribution_knowncost k WHERE {_BELIEVED} AND {_SAME_KEY})""",
)


def run(*, day: date, now: datetime) -> None:
    """Compares the books of `day` with what is believed of it, and writes down what is new. Part of the caller's transaction.

    Of a closed day it looks at the first open one, where a correction is booked. Repeated, it changes nothing; two at once
    take turns.
    """
    until = periods.closed_until()
    _write(day=until if until is not None and day < until else day, now=now)


def snapshot(*, first: date, last: date, now: datetime) -> None:
    """Writes down what is believed of these days at this moment, for good: nothing later of the same hour replaces it."""
    with transaction.atomic():
        for offset in range((last - first).days + 1):
            day = first + timedelta(days=offset)
            _write(day=day, now=now)
            with connection.cursor() as cursor:
                cursor.execute(
                    "UPDATE attribution_knowncost SET is_pinned = TRUE WHERE day = %s AND known_to IS NULL", [day]
                )


def follow_rules(*, now: datetime, limit: int = _DAYS_AT_ONCE) -> int:
    """After a new ruleset: writes down at most `limit` open days by their new owners, the newest first, as known since it was
    published. Returns how many days it looked at; once all are written down, none.

    New rules change owners without touching the books, so no rebuild would tell. A year takes a while, and alerts wait for
    nobody's rules. The very first ruleset it meets is written down as known from `now`.
    """
    fresh = RulesetVersion.objects.filter(is_current=True).first()
    if fresh is None:
        return 0
    is_first = not KnownRuleset.objects.exclude(ruleset_id=fresh.pk).exists()
    noted, _ = KnownRuleset.objects.get_or_create(
        ruleset_id=fresh.pk, defaults={"noted_at": now, "left_before": date.max}
    )
    if noted.left_before is None:
        return 0
    days = DailyCost.objects.filter(day__lt=noted.left_before).values_list("day", flat=True).distinct()
    until = periods.closed_until()
    found = list((days.filter(day__gte=until) if until is not None else days).order_by("-day")[:limit])
    for day in found:
        with transaction.atomic():
            _write(day=day, now=noted.noted_at if is_first else fresh.created_at)
    noted.left_before = found[-1] if len(found) == limit else None
    noted.save()
    return len(found)


def end_empty_days(*, now: datetime) -> int:
    """Ends what is believed of days that the books no longer have, as after a source was removed: nobody rebuilds them."""
    with connection.cursor() as cursor:
        cursor.execute(
            """UPDATE attribution_knowncost k SET known_to = greatest(%(now)s, k.known_from) WHERE k.known_to IS NULL
               AND NOT EXISTS (SELECT FROM attribution_dailycost d WHERE d.day = k.day)""",
            {"now": now},
        )
        return int(cursor.rowcount)


def _write(*, day: date, now: datetime) -> None:
    values = {"day": day, "now": now, "hour": now.replace(minute=0, second=0, microsecond=0)}
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('costobs known'), %s)", [day.toordinal()])
        found = ownership.pins(Days(day, day + timedelta(days=1)), with_origins=True)
        owners = ownership.owner_join(found, model="d.model", day="d.owner_day")
        for statement in _STATEMENTS:
            cursor.execute(statement.replace("{owners}", owners), values)
