"""Joining the owner of a row: from the current rules, or in a closed month from the rules that were pinned when it closed.

The owner day of a row is the day it corrects, else its day. Without a closed month in reach the joins are the plain ones.
"""

from dataclasses import dataclass
from datetime import date

from django.db import connection

from costobs.kernel.period import Days, add_months

SPECIFIC = "own_model.team IS NOT NULL"
CURRENT = "(SELECT id FROM attribution_rulesetversion WHERE is_current)"


def owner(column: str) -> str:
    """A part of the owner as SQL: by set and model where a rule names one, else by set."""
    return f"coalesce(CASE WHEN {SPECIFIC} THEN own_model.{column} ELSE own_any.{column} END, '')"


TEAM = owner("team")
# One row at least: in the usual case, without a closed month, this answers everything that folding asks.
_PINNED = """
SELECT b.month, b.ruleset_id, (SELECT id FROM attribution_rulesetversion WHERE is_current),
    CASE WHEN b.month IS NOT NULL THEN {origin} END, {changes}
FROM (SELECT 1) one LEFT JOIN attribution_periodbook b ON b.state = 'closed' ORDER BY b.month
"""
_ORIGIN = """(SELECT min(origin_day) FROM attribution_dailycost
    WHERE origin_day IS NOT NULL AND day >= %(start)s AND day < %(end)s)"""
_CHANGES = """EXISTS (SELECT FROM attribution_ownership
    WHERE ruleset_id IN ({rulesets}) AND valid_from > %(start)s AND valid_from < %(end)s)"""


@dataclass(frozen=True, slots=True)
class Pins:
    """The closed months that decide about owners in a scope, oldest first, each with its first day and its ruleset.

    `first_origin` is the earliest day that rows of the scope correct, None without such rows. `changes`: whether the rules in
    force give somebody another owner inside the scope; None where nobody asked.
    """

    books: tuple[tuple[date, int], ...] = ()
    current: int | None = None
    first_origin: date | None = None
    changes: bool | None = None

    def ruleset(self, day: str) -> str:
        """The ruleset of a row as SQL; `day` is its owner day."""
        return f"(CASE {self._rulesets(day)} ELSE {CURRENT} END)" if self.differ else CURRENT

    def apart(self, day: str, *, by_month: bool) -> str:
        """What keeps rows apart when they are folded over their days, as SQL, "" for nothing: the rules their owners come
        from, or with `by_month` the closed month itself.
        """
        if by_month:
            return self.month(day)
        return f"(CASE {self._rulesets(day)} END)" if self.differ else ""

    def _rulesets(self, day: str) -> str:
        arms: list[tuple[date, int]] = []
        for month, ruleset in self.books:
            if arms and arms[-1][1] == ruleset:
                arms.pop()
            arms.append((add_months(month, 1), ruleset))
        return " ".join(f"WHEN {day} < DATE '{end}' THEN {ruleset}" for end, ruleset in arms)

    def month(self, day: str) -> str:
        """The closed month of a row as SQL, NULL in open ones. Days before a closed month that had no rows belong to it."""
        whens = " ".join(f"WHEN {day} < DATE '{add_months(month, 1)}' THEN DATE '{month}'" for month, _ in self.books)
        return f"(CASE {whens} END)"

    @property
    def differ(self) -> bool:
        """Whether a closed month has other rules than those in force."""
        return any(ruleset != self.current for _, ruleset in self.books)

    @property
    def rulesets(self) -> str:
        """All rulesets in reach, as the inside of an SQL list: what keeps the others out of the join."""
        pinned = sorted({ruleset for _, ruleset in self.books})
        return ", ".join([*(str(ruleset) for ruleset in pinned), CURRENT])


def pins(days: Days, *, with_origins: bool, with_changes: bool = False) -> Pins:
    """What is pinned for rows of `days`; nothing when they are open and, `with_origins`, correct no closed day."""
    origin = _ORIGIN if with_origins else "NULL::date"
    asked = _CHANGES.format(rulesets=CURRENT) if with_changes else "NULL::boolean"
    found = _found(origin, asked, {"start": days.start, "end": days.end})
    if found.books and days.start >= add_months(found.books[-1][0], 1) and found.first_origin is None:
        return Pins(changes=found.changes)
    return found


def every_pin() -> Pins:
    """What is pinned for rows of any day."""
    return _found("NULL::date", "NULL::boolean", {})


def owner_join(found: Pins, *, model: str, day: str) -> str:
    """The joins that `owner` reads, for rows aliased d with an attribute set; `day` is their owner day."""
    ruleset = found.ruleset(day)
    reach = {
        name: f"AND {name}.ruleset_id IN ({found.rulesets})" if found.differ else ""
        for name in ("own_any", "own_model")
    }
    return f"""
LEFT JOIN attribution_ownership own_any ON own_any.ruleset_id = {ruleset} {reach["own_any"]}
    AND own_any.attribute_set_id = d.attribute_set_id AND own_any.model = ''
    AND {day} >= own_any.valid_from AND {day} < own_any.valid_to
LEFT JOIN attribution_ownership own_model ON own_model.ruleset_id = {ruleset} {reach["own_model"]}
    AND own_model.attribute_set_id = d.attribute_set_id AND own_model.model <> '' AND own_model.model = {model}
    AND {day} >= own_model.valid_from AND {day} < own_model.valid_to
"""


def team_join(found: Pins, *, day: str) -> str:
    """The team of the owner as `team`: as it is, or as it was when the month of the row closed."""
    if not found.books:
        return f"LEFT JOIN attribution_team team ON team.name = {TEAM}"
    return f"""
LEFT JOIN attribution_team live_team ON live_team.name = {TEAM}
LEFT JOIN attribution_closedteam closed_team ON closed_team.team = {TEAM} AND closed_team.month = {found.month(day)}
LEFT JOIN LATERAL (SELECT coalesce(closed_team.cost_centre, live_team.cost_centre) AS cost_centre) team ON TRUE
"""


def changes(found: Pins, days: Days) -> bool:
    """Whether somebody's owner changes inside the days, or inside those that rows of the days correct."""
    if not found.books and found.changes is not None:
        return found.changes
    first = min(days.start, found.first_origin or days.start)
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {_CHANGES.format(rulesets=found.rulesets)}",
            {"start": first, "end": days.end},
        )
        return bool(cursor.fetchone()[0])


def _found(origin: str, asked: str, parameters: dict[str, date]) -> Pins:
    with connection.cursor() as cursor:
        cursor.execute(_PINNED.format(origin=origin, changes=asked), parameters or None)
        rows = cursor.fetchall()
    _, _, current, first_origin, is_changing = rows[0]
    books = tuple((month, ruleset) for month, ruleset, *_ in rows if month is not None)
    return Pins(books, current if books else None, first_origin, is_changing)
