"""What an action of a budget would hit: its share of the requests and of the spend of the last 7 days, and its keys."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import ROUND_UP, Decimal

from alerts import queries, spent
from alerts.models import Budget
from alerts.spent import Window
from attribution import queries as spend_queries
from costobs.kernel import fmt
from costobs.kernel import period as periods
from costobs.kernel.period import Days
from costobs.kernel.scope import SpendScope

DAYS = 7
_CENTI = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class Reach:
    """Shares in percent of the whole installation, rounded up; None where nothing was logged or spent at all."""

    requests_percent: Decimal | None
    spend_percent: Decimal | None
    keys: int
    per_day_cost: Decimal
    currency: str

    @property
    def share_percent(self) -> Decimal:
        """The larger of the two shares."""
        return max(self.requests_percent or Decimal(0), self.spend_percent or Decimal(0))

    def words(self) -> str:
        """`12.5 % of the requests and 30 % of the spend of the last 7 days, 3 keys`."""
        shares = [
            f"{fmt.percent(share / 100)} of the {what}"
            for share, what in ((self.requests_percent, "requests"), (self.spend_percent, "spend"))
            if share is not None
        ]
        last = (
            f"{' and '.join(shares)} of the last {DAYS} days" if shares else f"nothing was used in the last {DAYS} days"
        )
        return f"{last}, {self.keys} key{'' if self.keys == 1 else 's'}"

    def is_too_wide(self, *, max_share_percent: Decimal | None, max_keys: int | None) -> bool:
        """Whether it is more than an automatic action may hit; None is no limit."""
        return (max_share_percent is not None and self.share_percent > max_share_percent) or (
            max_keys is not None and self.keys > max_keys
        )


def reach(*, budget: Budget, now: datetime) -> Reach:
    """What an action of the budget would hit, by what was used in the last 7 days, today's included."""
    today = periods.day_of(now)
    days = Days(today - timedelta(days=DAYS - 1), today + timedelta(days=1))
    scope = queries.spend_scope(budget, days)
    whole = SpendScope(days, (), "effective", budget.currency, teams=None)
    cost, all_cost = _costs(budget, days)
    requests, all_requests = (_requests(one, days) for one in (scope, whole))
    return Reach(
        requests_percent=_share(Decimal(requests), Decimal(all_requests)),
        spend_percent=_share(cost, all_cost),
        keys=len(queries.keys_of(budget)),
        per_day_cost=(cost / len(days)).quantize(_CENTI),
        currency=budget.currency,
    )


def _costs(budget: Budget, days: Days) -> tuple[Decimal, Decimal]:
    """What the scope and what everything cost, each with what came in other currencies."""
    own = Window(budget.scope, budget.currency, days.start_at, days.end_at, days.end_at)
    found = spent.spent({0: own, 1: replace(own, scope={})})
    return found[0].cost, found[1].cost


def _requests(scope: SpendScope, days: Days) -> int:
    found = spend_queries.calls_by_hour(scope=scope, since=days.start_at, until=days.end_at)
    return sum(hour.requests for hour in found)


def _share(part: Decimal, whole: Decimal) -> Decimal | None:
    if whole <= 0:
        return None
    return min(Decimal(100), max(Decimal(0), part * 100 / whole).quantize(_CENTI, rounding=ROUND_UP))
