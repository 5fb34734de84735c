"""What people set: from how much on anomalies are looked at and told, for everything or for one scope and its parts."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal

from django.db import transaction

from alerts import anomaly_limits, anomaly_lines
from alerts.anomaly_items import key_of
from alerts.anomaly_limits import NAMES, Book, Own
from alerts.causes import GROUPS, Scope
from alerts.models import AnomalyThreshold
from costobs.audit import record
from costobs.kernel import money

Teams = tuple[str, ...] | None

_MOST = Decimal(10) ** 9
_MOST_PERCENT = Decimal(10_000)
_WORDS = {
    "day_cost": "spend a day",
    "hour_cost": "spend an hour",
    "impact_cost": "above expected",
    "impact_percent": "percent above expected",
}


class Invalid(ValueError):
    """It cannot be kept; `errors` says what is wrong by the name of the field."""

    def __init__(self, errors: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {text}" for name, text in errors.items()))
        self.errors = dict(errors)


class NotFound(Exception):
    """Nothing is set for this scope, for this viewer."""


def own(*, scope: Mapping[str, str], values: Mapping[str, str | Decimal | None]) -> Own:
    """What was given, read: empty is as in the wider scope. Raises Invalid."""
    errors: dict[str, str] = {}
    group = next((one for one in GROUPS if set(one) == {name for name in scope if scope[name].strip()}), None)
    if group is None:
        known = "; ".join(" and ".join(one) or "nothing, for everything" for one in GROUPS)
        errors["scope"] = f"expected {known}; found {' and '.join(sorted(scope))}"
    read: dict[str, Decimal | None] = {}
    for name in NAMES:
        try:
            read[name] = _amount(values.get(name), _MOST_PERCENT if name == "impact_percent" else _MOST)
        except ValueError as problem:
            errors[name] = str(problem)
    if not errors and not any(value is not None for value in read.values()):
        errors["impact_cost"] = "expected one limit at least; to have none of its own, remove the row"
    if errors:
        raise Invalid(errors)
    return Own(
        tuple((name, scope[name].strip()) for name in group or ()),
        day_cost=read["day_cost"],
        hour_cost=read["hour_cost"],
        impact_cost=read["impact_cost"],
        impact_percent=read["impact_percent"],
    )


def put(*, own: Own, by: str, now: datetime) -> int:
    """Sets the limits of a scope in place of those it had; the id of the row. They hold from the next look on."""
    with transaction.atomic():
        before = AnomalyThreshold.objects.select_for_update().filter(scope_key=key_of(own.scope)).first()
        held = None if before is None else anomaly_limits.own(before)
        if before is not None and held is not None and held.named == own.named:
            return before.pk
        row, _created = AnomalyThreshold.objects.update_or_create(
            scope_key=key_of(own.scope),
            defaults={
                "scope": dict(own.scope), "changed_by": by, "changed_at": now,
                **{name: getattr(own, name) for name in NAMES},
            },
        )  # fmt: skip
        subject = f"scope:{row.scope_key or 'all spend'}"
        record.write(
            actor=by,
            act="anomaly.threshold_set",
            subject=subject,
            at=now,
            before=_told(held) if held else None,
            after=_told(own),
        )
    return row.pk


def remove(*, threshold_id: int, by: str, now: datetime) -> Own:
    """Takes the limits of a scope out: those of the wider one hold again. What they were. Raises NotFound."""
    with transaction.atomic():
        row = AnomalyThreshold.objects.select_for_update().filter(pk=threshold_id).first()
        if row is None:
            raise NotFound("nothing is set there any more")
        gone = anomaly_limits.own(row)
        row.delete()
        record.write(
            actor=by, act="anomaly.threshold_removed", subject=f"scope:{row.scope_key or 'all spend'}", at=now,
            before=_told(gone),
        )  # fmt: skip
    return gone


def book(*, teams: Teams) -> Book:
    """What is set, as far as the viewer may know of it: what holds for everything, and what is set for scopes of own teams."""
    whole = anomaly_limits.book()
    if teams is None:
        return whole
    return Book(whole.usual, tuple(one for one in whole.owns if not one.scope or dict(one.scope).get("team") in teams))


def one(*, threshold_id: int, teams: Teams) -> Own:
    """One row. Raises NotFound."""
    row = AnomalyThreshold.objects.filter(pk=threshold_id).first()
    found = None if row is None else anomaly_limits.own(row)
    if found is None or (teams is not None and found.scope and dict(found.scope).get("team") not in teams):
        raise NotFound("nothing is set there any more")
    return found


def words(scope: Scope) -> str:
    """`team search`, `everything`."""
    return anomaly_lines.words(dict(scope)) if scope else "everything"


def _told(own_: Own) -> dict[str, str]:
    return {_WORDS[name]: money.text(value) for name, value in own_.named.items()}


def _amount(given: str | Decimal | None, most: Decimal) -> Decimal | None:
    if given is None or given == "":
        return None
    try:
        found = money.parse(str(given).strip())
    except ValueError as problem:
        raise ValueError(f"expected a number such as 50 or 12.5, found {str(given)[:40]!r}") from problem
    if not money.fits(found):
        raise ValueError("expected a number of at most 15 digits and 12 decimals")
    if not 0 <= found <= most:
        raise ValueError(f"expected 0 to {money.text(most)}, found {money.text(found)}")
    return found
