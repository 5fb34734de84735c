"""The part of spend that corrects months closed before: it is spend, but no day costs it again."""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal

from attribution.queries.scoped import books, fetch
from costobs.kernel.scope import SpendScope


def is_adjusted() -> bool:
    """Whether anything in the books corrects a closed month; asked first where there are many scopes."""
    return bool(fetch("SELECT EXISTS (SELECT FROM attribution_dailycost WHERE origin_day IS NOT NULL)")[0][0])


def adjusted_spend(*, scope: SpendScope, group_by: Sequence[str] = ()) -> dict[tuple[str, ...], Decimal]:
    """What the scope's days have booked to correct closed months, by the keys of `group_by`; groups without any are absent."""
    scoped = books(scope, group_by)
    keys = scoped.keys()
    rows = fetch(
        f"""SELECT {"".join(f"{key}, " for key in keys)} sum({scoped.cost})
            {scoped.source()} AND d.is_current AND d.origin_day IS NOT NULL
            {f"GROUP BY {', '.join(map(str, range(1, len(keys) + 1)))}" if keys else ""}""",
        scoped.parameters,
    )
    return {tuple(row[:-1]): row[-1] for row in rows if row[-1]}


def adjusted_by_day(*, scope: SpendScope) -> dict[date, Decimal]:
    """The same by the day it is booked on."""
    scoped = books(scope)
    sql = f"""SELECT d.day, sum({scoped.cost}) {scoped.source()} AND d.is_current AND d.origin_day IS NOT NULL GROUP BY 1"""
    return dict(fetch(sql, scoped.parameters))
