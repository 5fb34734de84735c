"""Budgets as people make and change them: checked, with every mistake named, and written to the audit log."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from django.db import connection, transaction
from django.db.models import Q

from alerts import ladder, rung_checks, spans, term_checks, terms
from alerts.lines import terms_of
from alerts.models import ActionRun, Budget, BudgetForecast, BudgetPeriod, BudgetState, Rung
from alerts.rows import BudgetTerms
from alerts.rung_checks import RungSpec
from costobs.audit import record
from costobs.kernel import money
from costobs.kernel.scope import DIMENSIONS

__all__ = ["PERIODS", "PLAIN", "Invalid", "RungSpec", "create", "delete", "pause", "update"]
PERIODS = spans.KINDS
PLAIN = BudgetTerms()  # UTC, no parent, nothing carried over, soft
_TIMING = ("zone", "rolling_days")


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
    terms: BudgetTerms = PLAIN


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
    terms: BudgetTerms = PLAIN,
    is_sample: bool = False,
) -> int:
    """The id of a new budget. Raises Invalid."""
    given = _Draft(name, scope, amount, currency, period, owner_email, rungs, terms)
    draft = _checked(given, budget_id=None, is_sample=is_sample)
    with transaction.atomic():
        row = Budget(is_sample=is_sample, created_at=now, created_by=by, **_columns(draft))
        row.carries_from = _first_key(row)
        row.save(force_insert=True)
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
    terms: BudgetTerms | None = None,
    rungs: Sequence[RungSpec] | None = None,
) -> None:
    """Changes what is given. Actions in force keep the plan they were started with. Raises Invalid.

    Scope, currency, period and zone stay while an action is open: its target would no longer be the budget's.
    """
    with transaction.atomic():
        if terms is not None and terms.parent_id is not None:
            _lock_tree()
        row = _locked(budget_id)
        before = _draft_of(row)
        asked: dict[str, Any] = {
            "name": name, "scope": scope, "amount": amount, "currency": currency, "period": period,
            "owner_email": owner_email, "rungs": rungs, "terms": terms,
        }  # fmt: skip
        given = replace(before, **{field: value for field, value in asked.items() if value is not None})
        after = _checked(given, budget_id, is_sample=row.is_sample)
        moved = _moved(before, after)
        if moved and _open_runs(row).exists():
            raise Invalid(
                {moved[0]: "an action of this budget is open; undo or decline it first, or wait until it ends"}
            )
        _keep(row, before, after, now, is_moved=bool(moved))
        if spans.standing(row, now) != "running" and _open_runs(row).exists():
            raise Invalid({"ends_on": "an action of this budget is open; undo or decline it before the budget rests"})
        _replace_rungs(row, after.rungs)
        record.write(
            actor=by,
            act="budget.changed",
            subject=f"budget:{row.pk}",
            at=now,
            before=_document(before),
            after=_document(after),
        )


def arguments(budget_id: int) -> dict[str, Any]:
    """What `create` takes to make the same budget. Raises Invalid."""
    row = Budget.objects.filter(pk=budget_id).first()
    if row is None:
        raise Invalid({"id": f"there is no budget {budget_id}"})
    draft = _draft_of(row)
    return {one.name: getattr(draft, one.name) for one in fields(draft)}


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


def _moved(before: _Draft, after: _Draft) -> list[str]:
    """The fields that make it another question to the books."""
    moved = [name for name in ("scope", "currency", "period") if getattr(after, name) != getattr(before, name)]
    return moved + [name for name in _TIMING if getattr(after.terms, name) != getattr(before.terms, name)]


def _keep(row: Budget, before: _Draft, after: _Draft, now: datetime, *, is_moved: bool) -> None:
    """Writes the columns; what was found for an old question or an old amount does not stand for the new one."""
    had_memory = terms.has_memory(row)
    for name, value in _columns(after).items():
        setattr(row, name, value)
    if not terms.has_memory(row):
        row.carries_from = None
    elif is_moved or not had_memory:
        # What was spent before somebody wished it to count is no debt and no credit.
        row.carries_from = spans.current(row, now).key_date
    row.save(update_fields=[*_columns(after), "carries_from"])
    if is_moved:
        BudgetState.objects.filter(budget=row).delete()
        BudgetForecast.objects.filter(budget=row).delete()
        BudgetPeriod.objects.filter(budget=row).delete()
    elif (before.amount, before.terms) != (after.amount, after.terms):
        unknown = {"amount": None, "carried_cost": Decimal(0), "borrowed_cost": Decimal(0)}
        BudgetState.objects.filter(budget=row, ends_at__gt=now).update(**unknown)


def _first_key(row: Budget) -> date | None:
    """The first period whose remainder counts: the one of its first day, else the one it is made in."""
    if not terms.has_memory(row):
        return None
    return spans.on(row, row.starts_on or spans.created_on(row)).key_date


def _lock_tree() -> None:
    """Two people at once must not hang two budgets below each other."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('costobs budget tree'))")


def _locked(budget_id: int) -> Budget:
    row = Budget.objects.select_for_update().filter(pk=budget_id).first()
    if row is None:
        raise Invalid({"id": f"there is no budget {budget_id}"})
    return row


def _open_runs(row: Budget) -> Any:  # a queryset of open runs; django-stubs cannot name it without a cycle
    return ActionRun.objects.filter(budget=row, state__in=ladder.OPEN)


def _checked(draft: _Draft, budget_id: int | None, *, is_sample: bool) -> _Draft:
    """The draft with clean values. Raises Invalid with every mistake at once."""
    errors: dict[str, str] = {}
    name = draft.name.strip()
    if not name or len(name) > 100 or not name.isprintable():
        errors["name"] = "expected a name of 1 to 100 characters that can be printed"
    elif Budget.objects.filter(Q(name=name) & ~Q(pk=budget_id)).exists():
        errors["name"] = f"a budget called {name!r} exists"
    scope = _checked_scope(draft.scope, errors)
    amount = _checked_amount(draft.amount, errors)
    currency = draft.currency.strip().upper()
    if len(currency) != 3 or not currency.isascii() or not currency.isalpha():
        errors["currency"] = f"expected a code of three letters such as USD, found {draft.currency!r}"
    if draft.period not in PERIODS:
        errors["period"] = f"expected one of {', '.join(PERIODS)}, found {draft.period!r}"
    if draft.owner_email and ("@" not in draft.owner_email or not draft.owner_email.strip().isprintable()):
        errors["owner_email"] = f"expected an e-mail address, found {draft.owner_email!r}"
    rungs = rung_checks.checked(draft.rungs, scope, errors)
    about = term_checks.About(draft.period, scope, budget_id, is_sample)
    checked = term_checks.check(draft.terms, about, errors)
    if errors:
        raise Invalid(errors)
    return _Draft(name, scope, amount, currency, draft.period, draft.owner_email.strip(), rungs, checked)


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
        if any("\x00" in value for value in named):
            errors["scope"] = f"{dimension}: a value holds a null character, which no name has"
            continue
        clean[dimension] = named
    return dict(sorted(clean.items()))


def _checked_amount(amount: Decimal | str, errors: dict[str, str]) -> Decimal:
    try:
        found = money.parse(amount)
    except money.MoneyError as problem:
        errors["amount"] = str(problem)
        return Decimal(0)
    if not money.fits(found) or not Decimal("0.01") <= found <= Decimal(10) ** 15:
        errors["amount"] = (
            f"expected an amount of 0.01 or more with {money.SPLIT_PLACES} decimals at most, found {str(amount)[:40]}"
        )
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
    return _Draft(row.name, row.scope, row.amount, row.currency, row.period, row.owner_email, rungs, terms_of(row))


def _columns(draft: _Draft) -> dict[str, Any]:
    return {
        "name": draft.name,
        "scope": dict(draft.scope),
        "amount": draft.amount,
        "currency": draft.currency,
        "period": draft.period,
        "owner_email": draft.owner_email,
        **asdict(draft.terms),
        "protected": [dict(one) for one in draft.terms.protected],
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
    plain = {name: _plain(value) for name, value in _columns(draft).items()}
    return {**plain, "amount": money.text(Decimal(draft.amount)), "rungs": rungs}


def _plain(value: Any) -> Any:  # what JSON can keep of a column
    if isinstance(value, Decimal):
        return money.text(value)
    return value.isoformat() if isinstance(value, date) else value
