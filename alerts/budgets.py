"""Budgets as people make and change them: checked, with every mistake named, and written to the audit log."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.db.models import Q

from alerts import ladder, rung_checks
from alerts.models import ActionRun, Budget, BudgetForecast, BudgetState, Rung
from alerts.rung_checks import RungSpec
from costobs.audit import record
from costobs.kernel import money
from costobs.kernel.scope import DIMENSIONS

__all__ = ["Invalid", "RungSpec", "create", "delete", "pause", "update"]
PERIODS = ("day", "week", "month", "quarter")


class Invalid(ValueError):
    """The budget cannot be kept as asked; `errors` has a message for each field (`rungs.0` for the first rung)."""

    def __init__(self, errors: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {text}" for name, text in errors.items()))
        self.errors = dict(errors)


@dataclass(frozen=True, slots=True)
class _Draft:
    name: str
    scope: Mapping[str, Sequence[str]]
    amount: Decimal | str
    currency: str
    period: str
    owner_email: str
    rungs: Sequence[RungSpec]


def create(
    *,
    name: str,
    scope: Mapping[str, Sequence[str]],
    amount: Decimal | str,
    currency: str,
    period: str,
    rungs: Sequence[RungSpec],
    by: str,
    now: datetime,
    owner_email: str = "",
    is_sample: bool = False,
) -> int:
    """The id of a new budget. Raises Invalid."""
    draft = _checked(_Draft(name, scope, amount, currency, period, owner_email, rungs), budget_id=None)
    with transaction.atomic():
        row = Budget.objects.create(is_sample=is_sample, created_at=now, created_by=by, **_columns(draft))
        Rung.objects.bulk_create(Rung(budget=row, **_rung_columns(spec)) for spec in draft.rungs)
        record.write(actor=by, act="budget.created", subject=f"budget:{row.pk}", at=now, after=_document(draft))
    return row.pk


def update(
    *,
    budget_id: int,
    by: str,
    now: datetime,
    name: str | None = None,
    scope: Mapping[str, Sequence[str]] | None = None,
    amount: Decimal | str | None = None,
    currency: str | None = None,
    period: str | None = None,
    owner_email: str | None = None,
    rungs: Sequence[RungSpec] | None = None,
) -> None:
    """Changes what is given. Actions in force keep the plan they were started with. Raises Invalid.

    Scope, currency and period stay while an action is open: its target would no longer be the budget's.
    """
    with transaction.atomic():
        row = _locked(budget_id)
        before = _draft_of(row)
        given = _Draft(
            name=before.name if name is None else name,
            scope=before.scope if scope is None else scope,
            amount=before.amount if amount is None else amount,
            currency=before.currency if currency is None else currency,
            period=before.period if period is None else period,
            owner_email=before.owner_email if owner_email is None else owner_email,
            rungs=before.rungs if rungs is None else rungs,
        )
        after = _checked(given, budget_id)
        moved = [key for key in ("scope", "currency", "period") if getattr(after, key) != getattr(before, key)]
        if moved and _open_runs(row).exists():
            raise Invalid(
                {moved[0]: "an action of this budget is open; undo or decline it first, or wait until it ends"}
            )
        Budget.objects.filter(pk=row.pk).update(**_columns(after))
        if moved:
            # What was found for the old question must not move the ladder of the new one.
            BudgetState.objects.filter(budget=row).delete()
            BudgetForecast.objects.filter(budget=row).delete()
        _replace_rungs(row, after.rungs)
        record.write(
            actor=by,
            act="budget.changed",
            subject=f"budget:{row.pk}",
            at=now,
            before=_document(before),
            after=_document(after),
        )


def pause(*, budget_id: int, until: datetime | None, by: str, now: datetime, reason: str = "") -> None:
    """Suspends the ladder until then (None: resumes it): nothing fires and what is in force does not hold meanwhile."""
    if until is not None and until <= now:
        raise Invalid({"until": f"expected a time after now, found {until:%Y-%m-%d %H:%M} UTC"})
    with transaction.atomic():
        row = _locked(budget_id)
        Budget.objects.filter(pk=row.pk).update(paused_until=until)
        record.write(
            actor=by,
            act="budget.paused" if until else "budget.resumed",
            subject=f"budget:{row.pk}",
            at=now,
            before={"paused_until": row.paused_until and row.paused_until.isoformat()},
            after={"paused_until": until and until.isoformat()},
            reason=reason,
        )


def delete(*, budget_id: int, by: str, now: datetime) -> None:
    """Deletes a budget with its history; the audit log keeps what it was. Raises Invalid while an action is open."""
    with transaction.atomic():
        row = _locked(budget_id)
        if _open_runs(row).exists():
            raise Invalid({"id": "an action of this budget is open; undo or decline it first"})
        before = _document(_draft_of(row))
        row.delete()
        record.write(actor=by, act="budget.deleted", subject=f"budget:{budget_id}", at=now, before=before)


def _locked(budget_id: int) -> Budget:
    row = Budget.objects.select_for_update().filter(pk=budget_id).first()
    if row is None:
        raise Invalid({"id": f"there is no budget {budget_id}"})
    return row


def _open_runs(row: Budget) -> Any:  # a queryset of open runs; django-stubs cannot name it without a cycle
    return ActionRun.objects.filter(budget=row, state__in=ladder.OPEN)


def _checked(draft: _Draft, budget_id: int | None) -> _Draft:
    """The draft with clean values. Raises Invalid with every mistake at once."""
    errors: dict[str, str] = {}
    name = draft.name.strip()
    if not name or len(name) > 100:
        errors["name"] = "expected a name of 1 to 100 characters"
    elif Budget.objects.filter(Q(name=name) & ~Q(pk=budget_id)).exists():
        errors["name"] = f"a budget called {name!r} exists"
    scope = _checked_scope(draft.scope, errors)
    amount = _checked_amount(draft.amount, errors)
    currency = draft.currency.strip().upper()
    if len(currency) != 3 or not currency.isascii() or not currency.isalpha():
        errors["currency"] = f"expected a code of three letters such as USD, found {draft.currency!r}"
    if draft.period not in PERIODS:
        errors["period"] = f"expected one of {', '.join(PERIODS)}, found {draft.period!r}"
    if draft.owner_email and "@" not in draft.owner_email:
        errors["owner_email"] = f"expected an e-mail address, found {draft.owner_email!r}"
    rungs = rung_checks.checked(draft.rungs, scope, errors)
    if errors:
        raise Invalid(errors)
    return _Draft(name, scope, amount, currency, draft.period, draft.owner_email.strip(), rungs)


def _checked_scope(scope: Mapping[str, Sequence[str]], errors: dict[str, str]) -> dict[str, list[str]]:
    clean: dict[str, list[str]] = {}
    for dimension, values in scope.items():
        if dimension not in DIMENSIONS:
            errors["scope"] = f"unknown dimension {dimension!r}; known: {', '.join(DIMENSIONS)}"
            continue
        named = sorted({value.strip() for value in values if value.strip()})
        if not named:
            errors["scope"] = f"{dimension} has no value"
            continue
        clean[dimension] = named
    return dict(sorted(clean.items()))


def _checked_amount(amount: Decimal | str, errors: dict[str, str]) -> Decimal:
    try:
        found = money.parse(amount)
    except money.MoneyError as problem:
        errors["amount"] = str(problem)
        return Decimal(0)
    if not Decimal("0.01") <= found <= Decimal(10) ** 15:
        errors["amount"] = f"expected an amount of 0.01 or more, found {money.text(found)}"
    return found


def _replace_rungs(row: Budget, specs: Sequence[RungSpec]) -> None:
    """Removed rungs become inactive, since their history stays; one that comes back is the same rung again."""
    Rung.objects.filter(budget=row).update(is_active=False)
    for spec in specs:
        columns = _rung_columns(spec)
        step = {name: columns.pop(name) for name in ("trigger", "percent", "action")}
        Rung.objects.update_or_create(budget=row, **step, defaults={**columns, "is_active": True})


def _draft_of(row: Budget) -> _Draft:
    rungs = tuple(
        RungSpec(rung.percent, rung.action, rung.config, rung.approval, rung.expires_after_hours, rung.trigger)
        for rung in Rung.objects.filter(budget=row, is_active=True).order_by("percent", "pk")
    )
    return _Draft(row.name, row.scope, row.amount, row.currency, row.period, row.owner_email, rungs)


def _columns(draft: _Draft) -> dict[str, Any]:
    return {
        "name": draft.name,
        "scope": dict(draft.scope),
        "amount": draft.amount,
        "currency": draft.currency,
        "period": draft.period,
        "owner_email": draft.owner_email,
    }


def _rung_columns(spec: RungSpec) -> dict[str, Any]:
    return {
        "trigger": spec.trigger,
        "percent": spec.percent,
        "action": spec.action,
        "config": dict(spec.config),
        "approval": spec.approval,
        "expires_after_hours": spec.expires_after_hours,
    }


def _document(draft: _Draft) -> dict[str, Any]:
    rungs = [{**_rung_columns(spec), "percent": f"{spec.percent:f}"} for spec in draft.rungs]
    return {**_columns(draft), "amount": money.text(Decimal(draft.amount)), "rungs": rungs}
