"""Copies of budgets: once more beside the first, or from the next period on, with another amount."""

import re
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal

from django.db import transaction

from alerts import budgets, spans
from alerts.budgets import Invalid
from alerts.models import Budget
from alerts.rows import BudgetTerms
from costobs.kernel import money
from costobs.kernel import period as periods

_FROM = re.compile(r", from \d{1,2} [A-Z][a-z]{2} \d{4}$")
_LEAST, _MOST = Decimal(-99), Decimal(1000)


def copy(
    *,
    budget_id: int,
    by: str,
    now: datetime,
    name: str = "",
    growth_percent: Decimal = Decimal(0),
    to_next: bool = False,
    with_children: bool = False,
) -> list[int]:
    """The ids of the new budgets, the copy itself first. Raises Invalid, and then nothing is written.

    `to_next`: the copy begins where the first one ends, and lasts as long; one without an end ends with its current period.
    The amount grows by a percentage, rounded at the minor unit. What is below comes along `with_children`. A copy begins with
    nothing carried over.
    """
    if not growth_percent.is_finite() or not _LEAST <= growth_percent <= _MOST:
        raise Invalid({"growth_percent": f"expected {_LEAST} to {_MOST} percent, found {growth_percent}"})
    with transaction.atomic():
        return _copied(budget_id, None, name, growth_percent, by, now, to_next=to_next, with_children=with_children)


def _copied(
    budget_id: int,
    parent_id: int | None,
    name: str,
    growth: Decimal,
    by: str,
    now: datetime,
    *,
    to_next: bool,
    with_children: bool,
) -> list[int]:
    given = budgets.arguments(budget_id)
    row = Budget.objects.get(pk=budget_id)
    terms: BudgetTerms = given["terms"]
    begins = _next_start(row, now) if to_next else None
    if begins is not None:
        if terms.ends_on is None:
            budgets.update(budget_id=budget_id, terms=replace(terms, ends_on=begins), by=by, now=now)
        terms = replace(terms, starts_on=begins, ends_on=_next_end(terms))
    if parent_id is not None:
        terms = replace(terms, parent_id=parent_id)
    given |= {"terms": terms, "amount": _grown(given["amount"], growth, row.currency)}
    given["name"] = name.strip() or _name(row.name, begins)
    copy_id = budgets.create(**given, by=by, now=now, is_sample=row.is_sample)
    found = [copy_id]
    if with_children:
        below = Budget.objects.filter(parent_id=budget_id, is_active=True).exclude(pk=copy_id).order_by("name")
        for child in list(below.values_list("pk", flat=True)):
            found += _copied(child, copy_id, "", growth, by, now, to_next=to_next, with_children=True)
    return found


def _next_start(row: Budget, now: datetime) -> date:
    if row.ends_on is not None:
        return row.ends_on
    following = spans.after(row, spans.current(row, now))
    if following is None:
        raise Invalid(
            {"period": f"{row.name} rolls and has no next period; give it a last day first, or copy it beside"}
        )
    return following.days.start


def _next_end(terms: BudgetTerms) -> date | None:
    """As long after its new begin as before: in months where both days are the first of one."""
    if terms.starts_on is None or terms.ends_on is None:
        return None
    if terms.starts_on.day == terms.ends_on.day == 1:
        months = (terms.ends_on.year - terms.starts_on.year) * 12 + terms.ends_on.month - terms.starts_on.month
        return periods.add_months(terms.ends_on, months)
    return terms.ends_on + timedelta(days=(terms.ends_on - terms.starts_on).days)


def _grown(amount: Decimal, growth: Decimal, currency: str) -> Decimal:
    if not growth:
        return amount
    share = money.EXACT.multiply(amount, money.EXACT.add(Decimal(100), growth)).scaleb(-2, context=money.EXACT)
    return money.round_minor(share, currency)


def _name(name: str, begins: date | None) -> str:
    """`Search, from 1 Dec 2026`, however often it was copied; beside the first one `Search (copy)`, counted on."""
    plain = _FROM.sub("", name)
    if begins is not None:
        return f"{plain}, from {begins:%-d %b %Y}"
    taken = set(Budget.objects.filter(name__startswith=plain).values_list("name", flat=True))
    wanted = [f"{plain} (copy)", *(f"{plain} (copy {number})" for number in range(2, 1000))]
    return next((one for one in wanted if one not in taken), f"{plain} (copy)")
