"""The maths of reconciling: from what was logged and what was billed to causes whose sizes add to the difference."""

from decimal import Decimal, localcontext

from attribution.causes import amounts, prices, tokens
from attribution.causes.facts import (
    CAUSES,
    UNKNOWN,
    Calls,
    Cause,
    Cell,
    Class,
    Explained,
    Extra,
    Line,
    Logged,
    Month,
    Price,
)

_DIGITS = 60


def explain(month: Month) -> list[Explained]:
    """Compares every cell of every day. The same input gives the same answer, in any order.

    Quantities are valued at our own price, prices at the billed tokens, the exchange rate at the billed amount: so that the
    causes add up and each is what would be gone without it.
    """
    with localcontext(prec=_DIGITS):
        counts = _counts(month)
        tokens.explain(counts)
        return amounts.explain(counts, prices.read(counts))


def _counts(month: Month) -> tokens.Counts:
    logged: dict[tokens.At, dict[Class, Decimal]] = {}
    for cell, classes in month.logged.items():
        for day in month.days:
            start = month.start(day)
            found = {of: Decimal(one.between(start, start + 24)) for of, one in classes.items()}
            if any(found.values()):
                logged[cell, day] = {of: count for of, count in found.items() if count}
    billed, margin = {}, {}
    for at, lines in month.lines.items():
        if (at[0].provider, at[1]) in month.complete:
            billed[at], margin[at] = tokens.billed_tokens(lines, _unit_cost(month, at, logged.get(at, {})))
    for at in logged:
        if (at[0].provider, at[1]) in month.complete and at not in billed:
            billed[at], margin[at] = Decimal(0), Decimal(1)
    return tokens.Counts(month, logged, {at: dict(found) for at, found in logged.items()}, billed, margin)


def _unit_cost(month: Month, at: tokens.At, logged: dict[Class, Decimal]) -> Decimal | None:
    options = prices.options_of(month, at, logged)
    if not options:
        return None
    currency = month.prices[next(iter(options))[0]].currency
    return prices.unit_of(options) * prices.rate_of(month, *at, currency)[0]


__all__ = [
    "CAUSES",
    "UNKNOWN",
    "Calls",
    "Cause",
    "Cell",
    "Class",
    "Explained",
    "Extra",
    "Line",
    "Logged",
    "Month",
    "Price",
    "explain",
]
