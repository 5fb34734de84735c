"""Sets what a unit should cost at most."""

from datetime import datetime
from decimal import Decimal

from django.db import transaction

from attribution.models import UnitTarget
from costobs.audit import record
from costobs.kernel.money import EXACT

SCALES = (1, 1_000, 1_000_000)
_LONGEST = 200
_MOST_PLACES, _MOST = 30, Decimal(10) ** 15


class BadTarget(ValueError):
    """An aim that cannot be one; the message says what was expected."""


def set_target(*, unit: str, currency: str, scale: int, amount: Decimal | None, by: str, now: datetime) -> None:
    """Sets the aim of `scale` of a unit, in place of the earlier one; `amount` None keeps the scale only. Raises BadTarget.

    Repeated, it changes nothing but who set it and when.
    """
    if not unit.strip() or len(unit) > _LONGEST:
        raise BadTarget(f"expected a unit of at most {_LONGEST} characters, found {unit[:80]!r}")
    if scale not in SCALES:
        raise BadTarget(f"expected a scale of 1, 1000 or 1000000, found {scale}")
    one = None
    if amount is not None:
        if not amount.is_finite() or not 0 < amount < _MOST or -int(amount.as_tuple().exponent) > _MOST_PLACES:
            raise BadTarget(f"expected an amount above 0 with at most {_MOST_PLACES} decimals, found {amount}")
        one = EXACT.scaleb(amount, -SCALES.index(scale) * 3)  # a thousand and a million only move the point
    with transaction.atomic():
        before = UnitTarget.objects.select_for_update().filter(unit=unit, currency=currency).first()
        values = {"scale": scale, "amount": one, "set_by": by, "set_at": now}
        UnitTarget.objects.update_or_create(unit=unit, currency=currency, defaults=values)
        record.write(
            actor=by,
            act="unit.target_set",
            subject=f"unit:{unit}",
            at=now,
            before={"amount": _text(before.amount), "scale": before.scale} if before else {},
            after={"amount": _text(one), "scale": scale, "currency": currency},
        )


def remove_target(*, unit: str, currency: str, by: str, now: datetime) -> None:
    """Takes an aim back. Repeated, it changes nothing."""
    with transaction.atomic():
        removed, _ = UnitTarget.objects.filter(unit=unit, currency=currency).delete()
        if removed:
            record.write(actor=by, act="unit.target_removed", subject=f"unit:{unit}", at=now)


def _text(amount: Decimal | None) -> str:
    return "" if amount is None else f"{amount:f}"
