"""Whose a resource is, and what a day of it costs: read from the books and the calls of the last seven days."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_DOWN, Decimal

from alerts import wording
from attribution import queries
from costobs.kernel import fmt
from costobs.kernel import period as periods
from costobs.kernel.period import Days
from costobs.kernel.scope import Filter, SpendScope

DAYS = 7
# Bought for a term: it is paid whether it runs or not.
COMMITTED = ("reserved", "savings_plan")
Scope = Mapping[str, Sequence[str]]
_CENTI = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class Share:
    """How many tokens of a resource's calls in the last seven days were of one budget; `percent` None: none were logged."""

    tokens: int
    own_tokens: int
    percent: Decimal | None


@dataclass(frozen=True, slots=True)
class Saving:
    """What a change saves each day; `cost` None: not known. `words` say where it comes from and what stays paid."""

    cost: Decimal | None
    words: str


def share(*, resource: Scope, budget: Scope, now: datetime) -> Share:
    """The budget's part of the tokens, cut (not rounded) at two decimals, so that 89.999 is not yet 90."""
    whole = _tokens(_filters(resource), now) if resource else 0
    own = _tokens((*_filters(resource), *_filters(budget)), now) if whole else 0
    percent = (Decimal(100) * own / whole).quantize(_CENTI, rounding=ROUND_DOWN) if whole else None
    return Share(whole, own, percent)


def users(*, resource: Scope, now: datetime) -> list[tuple[str, Decimal]]:
    """The teams behind the tokens of the last seven days and their percent, the largest first; "" is nobody's."""
    if not resource:
        return []
    scope, since = _scope(_filters(resource), now), now - timedelta(days=DAYS)
    by_team: dict[str, int] = {}
    for one in queries.usage_by_hour(scope=scope, since=since, until=now, group_by=["team"]):
        by_team[one.keys[0]] = by_team.get(one.keys[0], 0) + one.tokens
    whole = sum(by_team.values())
    ordered = sorted(by_team.items(), key=lambda item: (-item[1], item[0]))
    return [(team, (Decimal(100) * tokens / whole).quantize(_CENTI)) for team, tokens in ordered if tokens]


def refusal(*, resource: Scope, is_dedicated: bool, budget: Scope, least_percent: Decimal, now: datetime) -> str:
    """Why this budget may not scale or stop the resource; empty: it may. A dedicated resource has one owner by declaration."""
    if is_dedicated:
        return ""
    if not resource:
        return "it says not whose calls it serves; give it a scope, or mark it as dedicated"
    found = share(resource=resource, budget=budget, now=now)
    if found.percent is None:
        return f"no call to {wording.scope(resource)} was logged in the last {DAYS} days, so nobody is known to own it"
    if found.percent < least_percent:
        return (
            f"others use it too: {fmt.percent(found.percent / 100, places=2)} of the tokens of {wording.scope(resource)}"
            f" in the last {DAYS} days were this budget's, {fmt.percent(least_percent / 100, places=0)} are needed"
        )
    return ""


def protected(*, resource: Scope, scopes: Sequence[Scope], now: datetime) -> str:
    """Why the resource may not be touched: calls of a protected scope went through it in the last seven days; or empty."""
    for scope in scopes if resource else ():
        if scope and _tokens((*_filters(resource), *_filters(scope)), now):
            return f"calls of {wording.scope(scope)}, which is protected, went through it in the last {DAYS} days"
    return ""


def saving(
    *,
    resource: Scope,
    kept_cost: Decimal | None,
    from_units: int,
    to_units: int,
    currency: str,
    now: datetime,
    are_units_alike: bool = True,
) -> Saving:
    """Effective cost of the last seven complete UTC days, by seven, times the part of the units that goes, less what stays
    paid: capacity bought for a term, and what the resource names itself (disks of a stopped machine).
    """
    if not resource:
        return Saving(None, "it has no scope, so its cost cannot be told from the rest")
    if to_units and not are_units_alike:
        return Saving(None, "a limit saves what it will refuse, which nobody knows before")
    today = periods.day_of(now)
    days = Days(today - timedelta(days=DAYS), today)
    scope = SpendScope(days, _filters(resource), "effective", currency, teams=None)
    rows = queries.spend(scope=scope, group_by=["purchase_option"])
    whole = sum((row.cost for row in rows), Decimal(0))
    if whole <= 0:
        return Saving(None, f"no cost of {wording.scope(resource)} is in the books of the last {DAYS} days")
    committed = sum((row.cost for row in rows if row.keys[0] in COMMITTED), Decimal(0))
    gone = Decimal(max(0, from_units - to_units)) / max(1, from_units)
    kept = (kept_cost or Decimal(0)) if to_units == 0 else Decimal(0)
    saved = max((whole - committed) / DAYS * gone - kept, Decimal(0)).quantize(_CENTI, rounding=ROUND_DOWN)
    return Saving(saved, _words(whole, committed, kept, gone, currency))


def _words(whole: Decimal, committed: Decimal, kept: Decimal, gone: Decimal, currency: str) -> str:
    words = f"{fmt.money(whole / DAYS, currency)} a day over the last {DAYS} complete days"
    if gone != 1:
        words += f", of which {fmt.percent(gone, places=0)} of the units go"
    if committed > 0:
        words += f", less {fmt.money(committed / DAYS, currency)} a day bought for a term"
    if kept > 0:
        words += f", less {fmt.money(kept, currency)} a day that stays paid"
    return words


def _filters(scope: Scope) -> tuple[Filter, ...]:
    return tuple(Filter(name, tuple(scope[name])) for name in sorted(scope))


def _tokens(filters: tuple[Filter, ...], now: datetime) -> int:
    found = queries.usage_by_hour(scope=_scope(filters, now), since=now - timedelta(days=DAYS), until=now)
    return sum(one.tokens for one in found)


def _scope(filters: tuple[Filter, ...], now: datetime) -> SpendScope:
    today = periods.day_of(now)
    return SpendScope(Days(today - timedelta(days=DAYS), today + timedelta(days=1)), filters, teams=None)
