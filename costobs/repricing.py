"""From a proposed price to the books: what it would move and for whom, whether it needs a second person, and putting it in force.

Only here a change of prices meets the months that are closed and the teams that own usage.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal

from django.conf import settings
from django.db import transaction

from attribution import periods, queries, rates
from costobs.kernel import money
from costobs.kernel.period import Days, month
from costobs.kernel.scope import SpendScope
from ingest import price_changes, price_diff
from ingest.price_changes import NotNow
from ingest.price_usage import Repriced

# An approval holds while what the change moves stays within this share of what was approved.
MOST_DRIFT = Decimal("0.10")
_CENT = Decimal("0.01")
_END_OF_TIME = date(9999, 1, 1)

__all__ = ["NotNow", "Preview", "apply", "approve", "preview", "undo"]


@dataclass(frozen=True, slots=True)
class Preview:
    """What a change would move if it were applied now. `reasons` say why it needs a second person; none: it does not."""

    effect: price_diff.Effect
    teams: tuple[queries.TeamEffect, ...]
    open_from: date | None
    reasons: tuple[str, ...]

    @property
    def needs_approval(self) -> bool:
        """Whether another person has to agree."""
        return bool(self.reasons)


def preview(*, change_id: int) -> Preview:
    """The effect of a change on open months, and on closed ones had they been open. Nothing of it is kept. Raises NotNow."""
    with transaction.atomic():
        change = price_changes.get(change_id)
        if change is None:
            raise NotNow(f"expected a change of prices, found none with the number {change_id}")
        return _preview(change)


def approve(*, change_id: int, by: str, now: datetime, seen: Mapping[str, Decimal] | None = None) -> None:
    """Another person agrees to what the change moves at this moment. Raises NotNow; so too when that is more than a tenth
    away from what the person has `seen`, by currency.
    """
    with transaction.atomic():
        change = price_changes.locked(change_id)
        effect = _preview(change).effect.change()
        if seen is not None and (drift := _drift(seen, effect, said="was shown")):
            raise NotNow(f"{drift}; look at it again")
        price_changes.approve(change=change, by=by, now=now, effect=effect)


def apply(*, change_id: int, by: str, now: datetime) -> Repriced:
    """Puts a change in force: prices the usage of open months anew and opens their days. Closed months keep their prices.

    What it moves is worked out once more. One that needs a second person and has none is refused; so is one that moves more
    than a tenth more or less than what was approved, and its approval is void. Raises NotNow, BadPrice, PriceMoved.
    """
    with transaction.atomic():
        change = price_changes.locked(change_id)
        found = _preview(change)
        drift = _drift(_approved(change), found.effect.change()) if change.state == "approved" else ""
        if change.state == "proposed" and found.needs_approval:
            raise NotNow(f"another person has to approve this change: {'; '.join(found.reasons)}")
        if not drift:
            return price_changes.apply(change=change, by=by, now=now, open_from=found.open_from)
        price_changes.reopen(change=change, now=now, reason=drift)
    raise NotNow(f"{drift}; it has to be approved again")


def undo(*, change_id: int, by: str, now: datetime, reason: str = "") -> Repriced:
    """Takes a change back: open months are priced as before it. Raises NotNow."""
    return price_changes.undo(change_id=change_id, by=by, now=now, open_from=periods.closed_until(), reason=reason)


def _preview(change: price_changes.Change) -> Preview:
    open_from = periods.closed_until()
    price_changes.stage(change)
    effect = price_diff.read(open_from=open_from)
    scope = SpendScope(Days(open_from or date.min, _END_OF_TIME), teams=None)
    return Preview(effect, tuple(queries.price_effects(scope=scope)), open_from, tuple(_reasons(effect)))


def _reasons(effect: price_diff.Effect) -> list[str]:
    """Why somebody else has to agree: a first price for what had none never needs it."""
    limit, share = settings.COSTOBS_PRICE_APPROVAL_COST, settings.COSTOBS_PRICE_APPROVAL_SHARE
    found = []
    by_month: dict[tuple[date, str], list[Decimal]] = {}
    for line in effect.lines:
        # What one model gains and another loses moves twice, though the sum stays: somebody pays it.
        by_month.setdefault((line.month, line.currency), []).append(abs(line.known_change))
    moved = {key: money.total(parts) for key, parts in by_month.items()}
    for currency in sorted({currency for _month, currency in moved}):
        whole = money.total(change for (_month, one), change in moved.items() if one == currency)
        if _in_reporting_currency(whole, currency, max(at for at, one in moved if one == currency)) > limit:
            found.append(f"it moves more than {money.text(limit)} {settings.COSTOBS_CURRENCY}")
    for (first, currency), change in sorted(moved.items()):
        scope = SpendScope(month(first), currency=currency, teams=None)
        if change > share * abs(queries.total(scope=scope).cost):
            found.append(f"it moves more than {money.text((share * 100).normalize())} % of {first:%Y-%m} in {currency}")
    return found


def _in_reporting_currency(amount: Decimal, currency: str, day: date) -> Decimal:
    """The amount to compare with the limit; without a rate it counts as above every limit, unless it is nothing."""
    if not amount:
        return amount
    last = month(day).end - timedelta(days=1)
    try:
        return rates.convert(amount, currency=currency, into=settings.COSTOBS_CURRENCY, day=last)
    except rates.MissingRate:
        return Decimal("Infinity")


def _approved(change: price_changes.Change) -> dict[str, Decimal]:
    return {currency: Decimal(amount) for currency, amount in change.approved_effect.items()}


def _drift(approved: Mapping[str, Decimal], now: Mapping[str, Decimal], *, said: str = "was approved") -> str:
    """How far what the change moves has gone from what was approved; "" while it is near enough."""
    for currency in sorted({*approved, *now}):
        then, here = approved.get(currency, Decimal(0)), now.get(currency, Decimal(0))
        if abs(here - then) > max(abs(then) * MOST_DRIFT, _CENT):
            return (
                f"{money.text(then)} {currency} {said}, and now it would move {money.text(here)} {currency},"
                f" more than {money.text((MOST_DRIFT * 100).normalize())} % away"
            )
    return ""
