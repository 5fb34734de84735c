"""A statement as it is printed: cents that add up along every row and down every column, and a checksum of the exact figures."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import orjson

from attribution.queries.statements import Reconciliation, Statement, StatementLine
from costobs.kernel import money

PARTS = ("direct", "shared", "idle", "overhead", "unallocated", "adjustment")
TIES = ("estimated", "timing", "billed")
RULE = (
    "Every row and every column adds up as printed: the total of the month is rounded once, then shared down to the rows and"
    " from each row to its cells by largest remainder. A cell differs from its exact amount by less than one cent; the exports"
    " carry every digit."
)


@dataclass(frozen=True, slots=True)
class Printed:
    """One row in minor units. `parts` add to `total`; so do `ties`: not billed yet, commitment timing, billed."""

    cost_centre: str
    team: str
    parts: dict[str, Decimal]
    ties: dict[str, Decimal]
    total: Decimal


@dataclass(frozen=True, slots=True)
class PrintedStatement:
    """The rows and the row below them; `total` is the exact total, rounded."""

    rows: tuple[Printed, ...]
    total: Printed


def printed(statement: Statement) -> PrintedStatement:
    """The statement in minor units, by the rule in RULE."""
    currency = statement.currency
    totals = money.largest_remainder([line.total_cost for line in statement.lines], currency)
    rows = tuple(_row(line, whole, currency) for line, whole in zip(statement.lines, totals, strict=True))
    return PrintedStatement(
        rows,
        Printed(
            "",
            "",
            {name: money.total(row.parts[name] for row in rows) for name in PARTS},
            {name: money.total(row.ties[name] for row in rows) for name in TIES},
            money.total(totals),
        ),
    )


def by_cost_centre(rows: Sequence[Printed]) -> dict[str, Decimal]:
    """Printed totals by cost centre, in the order of the rows."""
    found: dict[str, Decimal] = {}
    for row in rows:
        found[row.cost_centre] = money.EXACT.add(found.get(row.cost_centre, Decimal(0)), row.total)
    return found


def exact_parts(line: StatementLine) -> dict[str, Decimal]:
    """What the total of a line is made of, with every digit."""
    return {name: getattr(line, f"{name}_cost") for name in PARTS}


def exact_ties(line: StatementLine) -> dict[str, Decimal]:
    """What leads from the total of a line to the invoices: not billed yet, commitment timing, billed."""
    timing = money.EXACT.subtract(money.EXACT.subtract(line.total_cost, line.estimated_cost), line.billed_cost)
    return {"estimated": line.estimated_cost, "timing": timing, "billed": line.billed_cost}


def state(statement: Statement) -> str:
    """`open` while days still arrive, `provisional` once every day of the month is billed, then what people made of it."""
    return statement.book or ("provisional" if statement.is_final else "open")


def identity(statement: Statement, *, teams: Sequence[str] | None = None) -> str:
    """The lasting name of a statement: month, currency and cost column, and the teams it is narrowed to."""
    whole = f"{statement.month:%Y-%m}/{statement.currency}/{statement.cost}"
    return whole if teams is None else f"{whole}/{','.join(sorted(teams))}"


def checksum(statement: Statement) -> str:
    """SHA-256 of everything the statement says. The same figures give the same checksum."""
    return hashlib.sha256(orjson.dumps(_content(statement), option=orjson.OPT_SORT_KEYS)).hexdigest()


def _row(line: StatementLine, total: Decimal, currency: str) -> Printed:
    parts = money.largest_remainder([*exact_parts(line).values()], currency, target=total)
    ties = money.largest_remainder([*exact_ties(line).values()], currency, target=total)
    return Printed(
        line.cost_centre,
        line.team,
        dict(zip(PARTS, parts, strict=True)),
        dict(zip(TIES, ties, strict=True)),
        total,
    )


def _content(statement: Statement) -> dict[str, Any]:
    return {
        "month": statement.month,
        "currency": statement.currency,
        "cost": statement.cost,
        "state": state(statement),
        "lines": [_line(line) for line in statement.lines],
        "reconciliation": [_reconciled(one) for one in statement.reconciliation],
    }


def _line(line: StatementLine) -> list[str]:
    figures = [*exact_parts(line).values(), line.total_cost, *exact_ties(line).values()]
    return [line.cost_centre, line.team, *(_digits(amount) for amount in figures)]


def _reconciled(one: Reconciliation) -> list[str]:
    figures = (one.invoiced_cost, one.in_books_cost, one.other_authority_cost)
    return [one.invoice_issuer_name, one.provider_name, *sorted(one.invoices), *(_digits(amount) for amount in figures)]


def _digits(amount: Decimal) -> str:
    # The scale of a sum may follow the order of its rows; 1.50 and 1.5 are one amount.
    return money.text(amount.normalize(money.EXACT)) if amount else "0"
