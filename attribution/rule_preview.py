"""What other rules would do to the books, in money: the computations of `own` and `books`, not kept."""

import time
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from itertools import pairwise

import orjson
from django.db import connection, transaction

from attribution import books, own, owning, periods
from attribution.models import Rule, RulesetVersion
from attribution.owning import Active, RuleDraft
from attribution.rules.base import OWNED, Owner
from attribution.rules.key_scope import KeyScope
from costobs.kernel import money
from costobs.kernel.period import Days, add_months

_ZERO = Decimal(0)
_NOBODY = Owner()
# Never given to a version that stays: the sequence of ids has no gaps from looking, and two dry runs wait for each other.
_DRY_RUN_ID = -1


@dataclass(frozen=True, slots=True)
class Moved:
    """Spend that would have another owner; "" is nobody. `part` is what would be other: team, feature …"""

    from_team: str
    to_team: str
    currency: str
    effective_cost: Decimal
    month: date  # its first day
    part: str = "team"


@dataclass(frozen=True, slots=True)
class TeamChange:
    """What a team would have after its splits are made anew; "" is nobody."""

    team: str
    currency: str
    before: Decimal
    after: Decimal

    @property
    def change(self) -> Decimal:
        return money.EXACT.subtract(self.after, self.before)


@dataclass(frozen=True, slots=True)
class SplitPreview:
    """The result of a dry run: `done` of `wanted` days were split anew before the time was up."""

    done: int
    wanted: int
    changes: tuple[TeamChange, ...]


def open_part(days: Days) -> Days:
    """The part of `days` that is not closed; empty when all of it is."""
    closed_until = periods.closed_until()
    if closed_until is None:
        return days
    return Days(min(max(days.start, closed_until), days.end), days.end)


def moves(*, drafts: Sequence[RuleDraft], days: Days, against: Sequence[RuleDraft] | None = None) -> list[Moved]:
    """What `drafts` would move on the open days of `days`, by month, largest first. Raises BadRule.

    Compared with the owners of today, or with `against`. Spend is added up by set, model and stretch of days before a rule
    is asked. What splits give is told by `splits`.
    """
    days = open_part(days)
    after = _Owners.of(drafts)
    before = _Owners.of(against) if against is not None else None
    starts = [*after.starts, *(before.starts if before else ())]
    moved: dict[tuple[date, str, str, str, str], Decimal] = {}
    touched = _Touched.by(after, before or _Owners.of(own.current_rules()))
    for row in _spend(days, starts):
        if not touched.is_(row):
            continue
        was = before.owner(row) if before else row.owner
        will = after.owner(row)
        if will == was:
            continue
        for part in OWNED:
            old, new = getattr(was, part), getattr(will, part)
            if old != new:
                place = (row.start.replace(day=1), part, old, new, row.currency)
                moved[place] = money.EXACT.add(moved.get(place, _ZERO), row.cost)
                break  # a move to another team is told once, whatever else comes with it
    found = [Moved(old, new, currency, cost, month, part) for (month, part, old, new, currency), cost in moved.items()]
    return sorted(found, key=lambda one: (OWNED.index(one.part), -abs(one.effective_cost), one.to_team, one.month))


def splits(*, drafts: Sequence[RuleDraft], days: Days, now: datetime, seconds: int = 20) -> SplitPreview:
    """Splits the open days of `days` by `drafts` in a transaction that is rolled back, and says what teams would have.

    Days are done one by one, the newest first, until all are or `seconds` have passed: a big ledger gets an answer as well.
    Raises BadRule.
    """
    days = open_part(days)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT day FROM ingest_touched WHERE day >= %s AND day < %s ORDER BY day DESC",
            [days.start, days.end],
        )
        wanted = [day for (day,) in cursor.fetchall()]
    totals: dict[tuple[str, str], list[Decimal]] = {}
    done = 0
    until = time.monotonic() + seconds
    for day in wanted:
        if time.monotonic() > until:
            break
        _add(totals, 0, _by_team(day))
        with transaction.atomic():
            _dry(drafts, now)
            books.rebuild(day=day, now=now)
            _add(totals, 1, _by_team(day))
            transaction.set_rollback(True)
        done += 1
    changes = [TeamChange(team, currency, old, new) for (team, currency), (old, new) in totals.items() if old != new]
    return SplitPreview(done, len(wanted), tuple(sorted(changes, key=lambda one: (-abs(one.change), one.team))))


def _dry(drafts: Sequence[RuleDraft], now: datetime) -> None:
    """Makes `drafts` the current version inside a transaction that will not be kept."""
    RulesetVersion.objects.filter(is_current=True).update(is_current=False)
    RulesetVersion.objects.create(pk=_DRY_RUN_ID, created_at=now, created_by="preview", is_current=True)
    Rule.objects.bulk_create(
        Rule(
            ruleset_id=_DRY_RUN_ID,
            position=position,
            kind=one.kind,
            name=one.name,
            config=dict(one.config),
            valid_from=one.valid_from,
            valid_to=one.valid_to,
            is_active=one.is_active,
        )
        for position, one in enumerate(drafts, start=1)
    )


_BY_TEAM = """
SELECT coalesce(CASE WHEN m.team IS NOT NULL THEN m.team ELSE o.team END, ''), d.currency, sum(d.effective_cost)
FROM attribution_dailycost d
LEFT JOIN attribution_ownership o ON o.ruleset_id = (SELECT id FROM attribution_rulesetversion WHERE is_current)
    AND o.attribute_set_id = d.attribute_set_id AND o.model = '' AND d.day >= o.valid_from AND d.day < o.valid_to
LEFT JOIN attribution_ownership m ON m.ruleset_id = (SELECT id FROM attribution_rulesetversion WHERE is_current)
    AND m.attribute_set_id = d.attribute_set_id AND m.model = d.model AND m.model <> ''
    AND d.day >= m.valid_from AND d.day < m.valid_to
WHERE d.is_current AND d.origin_day IS NULL AND d.day = %s GROUP BY 1, 2
"""


def _by_team(day: date) -> dict[tuple[str, str], Decimal]:
    with connection.cursor() as cursor:
        cursor.execute(_BY_TEAM, [day])
        return {(team, currency): cost for team, currency, cost in cursor.fetchall()}


def _add(totals: dict[tuple[str, str], list[Decimal]], at: int, found: Mapping[tuple[str, str], Decimal]) -> None:
    for key, cost in found.items():
        sums = totals.setdefault(key, [_ZERO, _ZERO])
        sums[at] = money.EXACT.add(sums[at], cost)


@dataclass(frozen=True, slots=True)
class _Piece:
    """Spend of one set and model on days in which no owner changes."""

    set_id: int
    attributes: Mapping[str, str]
    model: str
    start: date
    owner: Owner
    currency: str
    cost: Decimal


@dataclass(frozen=True, slots=True)
class _Owners:
    """Owners by one list of rules, each asked once."""

    active: Sequence[Active]
    starts: Sequence[date]
    models: frozenset[str]
    teams: frozenset[str]
    found: dict[tuple[int, str, date], Owner]

    @classmethod
    def of(cls, drafts: Sequence[RuleDraft]) -> "_Owners":
        active = [one for one in (owning.active(None, draft) for draft in drafts) if one is not None]
        models = own.models_of({glob for one in active for glob in one.rule.models()})
        return cls(active, owning.starts_of(active), frozenset(models), own.known_teams(), {})

    def owner(self, piece: _Piece) -> Owner:
        model = piece.model if piece.model in self.models else ""
        # Rules change at their own starts only, so pieces since the same start have one answer.
        since = self.starts[bisect_right(self.starts, piece.start) - 1]
        key = (piece.set_id, model, since)
        if key not in self.found:
            self.found[key] = owning.owner(self.active, piece.attributes, model, since, self.teams)[0]
        return self.found[key]


@dataclass(frozen=True, slots=True)
class _Touched:
    """Which sets a change can touch: those on which the old or the new form of a changed rule answers, or a rule that follows
    which teams there are. All, where it changes whom keys speak for.
    """

    asked: Sequence[Active]
    is_all: bool
    teams: frozenset[str]
    found: dict[tuple[int, str], bool]

    @classmethod
    def by(cls, after: _Owners, before: _Owners) -> "_Touched":
        # Rules that are not part of a version have no id to tell them apart by.
        old, new = (
            [replace(one, id=sign * at) for at, one in enumerate(owners.active, start=1)]
            for sign, owners in ((-1, before), (1, after))
        )
        _kept, changed = owning.compare(old, new)
        asked = [*changed, *(one for one in new if one.rule.follows_teams)]
        return cls(asked, any(isinstance(one.rule, KeyScope) for one in changed), after.teams, {})

    def is_(self, piece: _Piece) -> bool:
        key = (piece.set_id, piece.model)
        if key not in self.found:
            self.found[key] = self.is_all or any(
                owning.answers(one, piece.attributes, (piece.model,), self.teams) for one in self.asked
            )
        return self.found[key]


# Spend is added up before it is joined to its owner; inside a piece of days one answer holds.
_SPEND = """
WITH spend AS MATERIALIZED (
    SELECT d.attribute_set_id, d.model, d.currency, sum(d.effective_cost) AS cost
    FROM attribution_dailycost d
    WHERE d.is_current AND d.origin_day IS NULL AND d.day >= %(start)s AND d.day < %(end)s GROUP BY 1, 2, 3
)
SELECT s.attribute_set_id, s.model, s.currency, s.cost, CASE WHEN m.id IS NOT NULL THEN m.id ELSE o.id END
FROM spend s
LEFT JOIN attribution_ownership o ON o.ruleset_id = (SELECT id FROM attribution_rulesetversion WHERE is_current)
    AND o.attribute_set_id = s.attribute_set_id AND o.model = '' AND %(start)s >= o.valid_from AND %(start)s < o.valid_to
LEFT JOIN attribution_ownership m ON m.ruleset_id = (SELECT id FROM attribution_rulesetversion WHERE is_current)
    AND m.attribute_set_id = s.attribute_set_id AND m.model = s.model AND m.model <> ''
    AND %(start)s >= m.valid_from AND %(start)s < m.valid_to
"""
_OWNERS = """
SELECT id, team, feature, cost_centre, environment FROM attribution_ownership
WHERE ruleset_id = (SELECT id FROM attribution_rulesetversion WHERE is_current)
"""
_CHANGES = """
SELECT DISTINCT valid_from FROM attribution_ownership
WHERE ruleset_id = (SELECT id FROM attribution_rulesetversion WHERE is_current) AND valid_from > %(start)s AND valid_from < %(end)s
"""


def _spend(days: Days, starts: Sequence[date]) -> Iterator[_Piece]:
    """Spend by set, model and piece of days, with who owns it now."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT id, attributes::text FROM ingest_attributeset")
        documents: dict[int, Mapping[str, str]] = {set_id: orjson.loads(found) for set_id, found in cursor.fetchall()}
        cursor.execute(_OWNERS)
        owners = {owner_id: Owner(*parts) for owner_id, *parts in cursor.fetchall()}
        for piece in _pieces(days, starts):
            cursor.execute(_SPEND, {"start": piece.start, "end": piece.end})
            for set_id, model, currency, cost, owner_id in cursor.fetchall():
                owner = owners.get(owner_id, _NOBODY)
                yield _Piece(set_id, documents[set_id], model, piece.start, owner, currency, cost)


def _pieces(days: Days, starts: Sequence[date]) -> Iterator[Days]:
    """The days, cut at each month and wherever an owner may change by the rules of today or by those that begin at `starts`."""
    with connection.cursor() as cursor:
        cursor.execute(_CHANGES, {"start": days.start, "end": days.end})
        cuts = {day for (day,) in cursor.fetchall()} | {day for day in starts if day in days}
    month = add_months(days.start, 1)
    while month < days.end:
        cuts.add(month)
        month = add_months(month, 1)
    for start, end in pairwise([days.start, *sorted(cuts - {days.start}), days.end]):
        yield Days(start, end)
