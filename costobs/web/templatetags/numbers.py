"""Template filters for numbers and dates: each calls one function of costobs.web.fmt."""

from datetime import date, datetime
from decimal import Decimal

from django import template

from costobs.kernel import fmt

register = template.Library()


@register.filter
def tied(text: str) -> str:
    """The text with no break between a figure and its percent sign."""
    return text.replace(" %", "\u00a0%")


@register.filter
def money(amount: Decimal | int | None, currency: str = "USD") -> str:
    """Whole units, for text and tables: `$19,012`."""
    return fmt.money(amount, currency)


@register.filter
def cents(amount: Decimal | int | None, currency: str = "USD") -> str:
    """Two decimals, for columns of small amounts: `$41.20`."""
    return fmt.money(amount, currency, places=2)


@register.filter
def kpi(amount: Decimal | int | None, currency: str = "USD") -> str:
    return fmt.money(amount, currency, mode="kpi")


@register.filter
def short(amount: Decimal | int | None, currency: str = "USD") -> str:
    """For estimates: `$71.4k`."""
    return fmt.money(amount, currency, mode="short")


@register.filter
def statement(amount: Decimal | int | None, currency: str = "USD") -> str:
    return fmt.money(amount, currency, mode="statement")


@register.filter
def per_token(cost: Decimal | None, currency: str = "USD") -> str:
    return _unit(cost, "token", currency)


@register.filter
def per_request(cost: Decimal | None, currency: str = "USD") -> str:
    return _unit(cost, "request", currency)


def _unit(cost: Decimal | None, unit: str, currency: str) -> str:
    return str(fmt.unit_cost(cost, unit, currency) or fmt.NOT_APPLICABLE)


@register.filter
def percent(ratio: Decimal | None) -> str:
    return fmt.percent(ratio)


@register.filter
def count(value: Decimal | int | None) -> str:
    return fmt.count(value)


@register.filter
def integer(value: Decimal | int | None) -> str:
    return fmt.integer(value)


@register.filter
def latency(milliseconds: Decimal | int | None) -> str:
    return fmt.latency(milliseconds)


@register.filter
def gpu_hours(value: Decimal | int | None) -> str:
    return fmt.gpu_hours(value)


@register.filter
def day(value: date) -> str:
    return fmt.day(value)


@register.filter
def short_day(value: date) -> str:
    return fmt.short_day(value)


@register.filter
def month(value: date) -> str:
    return fmt.month(value)


@register.filter
def moment(value: datetime | None) -> str:
    return fmt.moment(value)


@register.filter
def or_dash(value: object) -> object:
    """`–` for None: not applicable, which is neither unknown nor zero."""
    return fmt.NOT_APPLICABLE if value is None or value == "" else value
