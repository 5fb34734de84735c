"""How a draft becomes the rules in force; every version that ever was, and the way back to it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from django.db import transaction

from attribution import own, periods, rule_changes
from attribution.models import PeriodBook, RulesetVersion
from attribution.owning import RuleDraft
from attribution.rule_changes import Change
from attribution.rule_drafts import Draft, Refused, checked_rule, discard, draft, rules_in, rules_of
from costobs.audit import record
from costobs.kernel.period import Days
from ingest import tidy

_MOST_NOTE = 500


class Stale(ValueError):
    """Somebody published since the draft was begun; `changes` say what."""

    def __init__(self, *, by: str, version: int, base: int, changes: Sequence[Change]) -> None:
        self.by, self.version, self.changes = by, version, tuple(changes)
        told = "; ".join(str(one) for one in changes) or "nothing that can be seen in the rules"
        super().__init__(
            f"your draft begins with version {base}, but {by} has published version {version} since: {told}."
            " Take over the newer version first; your changes are kept."
        )


@dataclass(frozen=True, slots=True)
class Version:
    """One version as history tells of it. `closed_months` are the months that were closed with it."""

    id: int
    created_at: datetime
    created_by: str
    note: str
    is_current: bool
    changes: tuple[Change, ...]
    closed_months: tuple[date, ...]
    rules: tuple[RuleDraft, ...]


@dataclass(frozen=True, slots=True)
class Published:
    """A new version, what changed, and how many days are split anew for it."""

    version: int
    changes: tuple[Change, ...]
    reopened_days: int


def publish(*, person: str, note: str, now: datetime) -> Published:
    """Makes the draft of a person the rules in force. Raises Stale when it does not begin with them, Refused and BadRule.

    Owners change at once, over all open months; days whose splits changed are opened and rebuilt by the next ticks. Closed
    months are not touched. Two who publish at once: the second is told of the first.
    """
    note = _note(note)
    with transaction.atomic():
        own.lock()
        found = draft(person=person, now=now)
        if found.is_stale:
            raise _stale(found)
        if not found.changes:
            raise Refused("nothing is changed; there is nothing to publish")
        done = _publish(rules_in(found.current), found.rules, before=found.current, by=person, note=note, now=now)
        discard(person=person)
    return done


def apply(*, drafts: Sequence[RuleDraft], by: str, note: str, now: datetime) -> Published:
    """Makes these rules the ones in force, without a draft: for the command line. Raises BadRule and Refused."""
    note = _note(note)
    checked = [checked_rule(one) for one in drafts]
    with transaction.atomic():
        own.lock()
        current = own.ensure_default_ruleset(now=now)
        return _publish(rules_in(current), checked, before=current, by=by, note=note, now=now)


def restore(*, version: int, by: str, now: datetime, note: str = "") -> Published:
    """Makes the rules of an old version the ones in force, as a new version. Raises Refused."""
    with transaction.atomic():
        own.lock()
        current = own.ensure_default_ruleset(now=now)
        if not RulesetVersion.objects.filter(pk=version).exists():
            raise Refused(f"there is no version {version}")
        wanted = rules_in(version)
        if version == current or not rule_changes.between(rules_in(current), wanted):
            raise Refused(f"version {version} says what the rules in force say; there is nothing to restore")
        reason = " ".join(note.replace("\x00", " ").split())
        words = f"version {version} restored{f': {reason}' if reason else ''}"[:_MOST_NOTE]
        return _publish(rules_in(current), wanted, before=current, by=by, note=words, now=now)


def history(*, limit: int = 100) -> list[Version]:
    """The versions, newest first, each with what it changed."""
    rows = list(RulesetVersion.objects.filter(pk__gt=0).order_by("-pk")[: limit + 1])
    by_version = rules_of([row.pk for row in rows])
    closed = _closed_with()
    found = []
    for at, row in enumerate(rows[:limit]):
        before = by_version[rows[at + 1].pk] if at + 1 < len(rows) else []
        found.append(_version(row, before, by_version[row.pk], closed))
    return found


def version(version_id: int) -> Version:
    """One version with its rules and what it changed. Raises Refused."""
    row = RulesetVersion.objects.filter(pk=version_id).first()
    if row is None:
        raise Refused(f"there is no version {version_id}")
    earlier = RulesetVersion.objects.filter(pk__lt=version_id, pk__gt=0).order_by("-pk").first()
    before = rules_in(earlier.pk) if earlier is not None else []
    return _version(row, before, rules_in(version_id), _closed_with())


def _publish(
    old: Sequence[RuleDraft], new: Sequence[RuleDraft], *, before: int, by: str, note: str, now: datetime
) -> Published:
    changes = rule_changes.between(old, new)
    if not changes:
        raise Refused("nothing is changed; there is nothing to publish")
    made = own.reattribute(drafts=new, now=now, by=by, note=note)
    days = affected_days(old, new)
    reopened = tidy.reopen(days=days) if days is not None else 0
    record.write(
        actor=by,
        act="ruleset.published",
        subject=f"ruleset:{made}",
        at=now,
        before={"version": before, "rules": len(old)},
        after={"version": made, "rules": len(new), "changes": [str(one) for one in changes]},
        reason=note,
    )
    return Published(made, tuple(changes), reopened)


def affected_days(old: Sequence[RuleDraft], new: Sequence[RuleDraft]) -> Days | None:
    """The open days that must be split anew when `new` follows `old`; None when no split changes."""
    span = rule_changes.split_span(old, new)
    if span is None:
        return None
    start, end = span[0], span[1]
    closed_until = periods.closed_until()
    if closed_until is not None:
        start = max(start, closed_until)
    return Days(start, max(start, end))


def _note(note: str) -> str:
    found = " ".join(note.replace("\x00", " ").split())
    if not found:
        raise Refused("say what changes and why; the note stays in the history")
    return found[:_MOST_NOTE]


def _stale(found: Draft) -> Stale:
    row = RulesetVersion.objects.get(pk=found.current)
    changes = rule_changes.between(rules_in(found.base), rules_in(found.current))
    return Stale(by=row.created_by, version=found.current, base=found.base, changes=changes)


def in_force(found: Draft) -> list[RuleDraft]:
    """The rules in force beside a draft."""
    return rules_in(found.current)


def behind(found: Draft) -> Stale | None:
    """Why a draft cannot be published as it is; None while it begins with the rules in force."""
    return _stale(found) if found.is_stale else None


def _closed_with() -> dict[int, list[date]]:
    found: dict[int, list[date]] = {}
    for month, ruleset in (
        PeriodBook.objects.filter(state="closed").order_by("month").values_list("month", "ruleset_id")
    ):
        found.setdefault(ruleset, []).append(month)
    return found


def _version(
    row: RulesetVersion, before: Sequence[RuleDraft], after: Sequence[RuleDraft], closed: Mapping[int, list[date]]
) -> Version:
    return Version(
        row.pk,
        row.created_at,
        row.created_by,
        row.note,
        row.is_current,
        tuple(rule_changes.between(before, after)) if before else (),
        tuple(closed.get(row.pk, ())),
        tuple(after),
    )
