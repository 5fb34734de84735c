"""How a forecast is told: its interval, its method, and by how much that missed before."""

from decimal import Decimal

from attribution import outlook
from costobs.kernel import fmt
from costobs.kernel.period import month
from costobs.web import filters

NAIVE = "naive pace"


def month_ahead(asked: filters.Asked) -> outlook.Outlook | None:
    """The end of the current month for the filters, currency and cost column of a page."""
    return outlook.of(scope=asked.scope, period=month(asked.now.date()), now=asked.now)


def spread(ahead: outlook.Outlook, currency: str) -> str:
    """`$68.9k–$74.6k in 8 of 10 cases`, or between which days a naive pace lies."""
    tail = "in 8 of 10 cases" if ahead.is_interval else "at the cheapest and dearest day"
    return f"{fmt.money_range(ahead.low, ahead.high, currency)} {tail}"


def basis(ahead: outlook.Outlook, currency: str) -> str:
    """Method and past error, and what corrects closed months."""
    once = (
        f"; {fmt.money(ahead.adjusted_cost, currency, mode='kpi')} of it corrects closed months, once"
        if ahead.adjusted_cost
        else ""
    )
    if not ahead.is_interval:
        return f"Naive pace: the average of {ahead.history_days} complete days{once}"
    return f"{method(ahead.method)}; {past_error(ahead.error_percent, ahead.pace_error_percent)}{once}"


def method(name: str) -> str:
    """The name of a method, to begin a sentence."""
    return f"{name[:1].upper()}{name[1:]}"


def past_error(error_percent: Decimal | None, pace_error_percent: Decimal | None = None) -> str:
    """`missed by 4.2 % before (naive pace 7.9 %)`: what sums of open days were off when it was tried on the past."""
    if error_percent is None:
        return "not tested on the past yet"
    pace = "" if pace_error_percent is None else f" (naive pace {fmt.percent(pace_error_percent / 100)})"
    return f"missed by {fmt.percent(error_percent / 100)} before{pace}"


def budget_method(name: str, error_percent: Decimal | None) -> str:
    """Of a budget's forecast: method and past error, or that it is the naive pace."""
    if name == NAIVE:
        return "Naive pace: the average of the complete days"
    return f"{method(name)}; {past_error(error_percent)}"


def forecast_label(is_interval: bool) -> str:
    """What the band of a chart is."""
    return "forecast; band: 8 of 10 cases" if is_interval else "naive pace; band: at the cheapest and the dearest day"
