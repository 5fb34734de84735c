"""Change the terms of chargeback: the company's name, the layout of journal entries, and the markups. Every change is audited."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from django.db import IntegrityError, transaction

from attribution import periods
from attribution.exports.journal import BadLayout, Layout
from attribution.models import ChargebackTerms, Markup
from costobs.audit import record
from costobs.kernel import money
from costobs.kernel.period import month

_LONGEST = 120
_MOST_PERCENT = 100
_MOST_PLACES = 6


class Invalid(ValueError):
    """The change is not possible; `errors` says why, by field."""

    def __init__(self, errors: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {text}" for name, text in errors.items()))
        self.errors = dict(errors)


@dataclass(frozen=True, slots=True)
class MarkupEntry:
    """One markup as it was set; the newest first. `end_month` is exclusive, and equal to the first when it never held."""

    id: int
    cost_centre: str
    percent: Decimal
    label: str
    first_month: date
    end_month: date | None
    set_by: str
    set_at: datetime
    ended_by: str

    @property
    def never_held(self) -> bool:
        """Taken back before any month had it."""
        return self.end_month == self.first_month


def markups() -> list[MarkupEntry]:
    """Every markup that was ever set."""
    return [
        MarkupEntry(
            one.pk,
            one.cost_centre,
            one.percent,
            one.label,
            one.first_month,
            one.end_month,
            one.set_by,
            one.set_at,
            one.ended_by,
        )
        for one in Markup.objects.order_by("-first_month", "cost_centre", "-pk")
    ]


def set_company(*, company: str, by: str, now: datetime) -> None:
    """Names the company on statements. Raises Invalid."""
    text = " ".join(company.split())
    if len(text) > _LONGEST or "\x00" in text:
        raise Invalid({"company": f"use at most {_LONGEST} characters; this name has {len(text)}"})
    with transaction.atomic():
        row = _row()
        before = row.company
        row.company, row.changed_by, row.changed_at = text, by, now
        row.save()
        _audit("chargeback.company", by, now, {"company": before}, {"company": text})


def set_journal(*, layout: Mapping[str, Any], by: str, now: datetime) -> None:
    """Sets the columns and accounts of journal entries. Raises Invalid."""
    try:
        stored = Layout.parse(layout).stored()
    except BadLayout as problem:
        raise Invalid({"columns": str(problem)}) from problem
    with transaction.atomic():
        row = _row()
        before = row.journal
        row.journal, row.changed_by, row.changed_at = stored, by, now
        row.save()
        _audit("chargeback.journal", by, now, before, stored)


def add_markup(*, cost_centre: str, percent: str, label: str, first_month: date, by: str, now: datetime) -> int:
    """A markup from a month on, for one cost centre or ("") all without one of their own. Ends the one it follows.

    Raises Invalid for a closed month: what was charged stays what it was.
    """
    start = first_month.replace(day=1)
    try:
        with transaction.atomic():
            periods.keep_open()
            value = _checked(percent, label, first_month)
            before = Markup.objects.select_for_update().filter(
                cost_centre=cost_centre, first_month__lt=start, end_month__isnull=True
            )
            before.update(end_month=start, ended_by=by, ended_at=now)
            made = Markup.objects.create(
                cost_centre=cost_centre,
                percent=value,
                label=" ".join(label.split()),
                first_month=start,
                set_by=by,
                set_at=now,
            )
            after = {"percent": f"{value:f}", "label": made.label, "first_month": start.isoformat()}
            _audit("chargeback.markup_set", by, now, {}, {"cost_centre": cost_centre, **after})
    except IntegrityError as problem:
        raise Invalid(
            {"first_month": f"another markup of it holds in {start:%b %Y} or later; end that one first"}
        ) from problem
    return int(made.pk)


def end_markup(*, markup_id: int, end_month: date, by: str, now: datetime) -> bool:
    """Ends a markup before a month; False when there is none that goes on. Raises Invalid for a closed month."""
    end = end_month.replace(day=1)
    with transaction.atomic():
        periods.keep_open()
        _open(end, "end_month")
        row = Markup.objects.select_for_update().filter(pk=markup_id, end_month__isnull=True).first()
        if row is None:
            return False
        end = max(end, row.first_month)
        Markup.objects.filter(pk=row.pk).update(end_month=end, ended_by=by, ended_at=now)
        told = {
            "cost_centre": row.cost_centre,
            "percent": f"{row.percent:f}",
            "first_month": row.first_month.isoformat(),
        }
        _audit("chargeback.markup_ended", by, now, told, {"end_month": end.isoformat()})
    return True


def forget(*, set_by: str) -> None:
    """Takes away the markups of somebody who goes without a trace: the sample."""
    Markup.objects.filter(set_by=set_by).delete()


def _checked(percent: str, label: str, first_month: date) -> Decimal:
    errors: dict[str, str] = {}
    value = Decimal(0)
    try:
        value = money.parse(percent.strip().removesuffix("%").strip())
    except money.MoneyError:
        errors["percent"] = f"expected a percentage such as 5 or 7.25, found {percent!r}"
    if abs(value) > _MOST_PERCENT or -int(value.normalize().as_tuple().exponent) > _MOST_PLACES:
        errors["percent"] = (
            f"expected between -{_MOST_PERCENT} and {_MOST_PERCENT} % with up to {_MOST_PLACES} decimals"
        )
    elif not value and "percent" not in errors:
        errors["percent"] = "0 % is no markup: end the one that holds instead"
    if not label.strip() or len(label) > _LONGEST or "\x00" in label:
        errors["label"] = f"name the line as it is to be read, in up to {_LONGEST} characters"
    if errors:
        raise Invalid(errors)
    _open(first_month, "first_month")
    return value.normalize()


def _open(day: date, field: str) -> None:
    until = periods.closed_until()
    if until is not None and month(day).start < until:
        raise Invalid(
            {field: f"{day:%b %Y} is closed, and a closed month never changes; the first open one is {until:%b %Y}"}
        )


def _row() -> ChargebackTerms:
    ChargebackTerms.objects.get_or_create(is_only=True)
    return ChargebackTerms.objects.select_for_update().get(is_only=True)


def _audit(act: str, by: str, now: datetime, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    record.write(actor=by, act=act, subject="chargeback", at=now, before=before, after=after)
