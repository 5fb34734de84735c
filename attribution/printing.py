"""A statement as it is printed: cents that add up along every row and every column, its name, and a checksum of the figures."""

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import orjson

from attribution.queries.conversions import Conversion
from attribution.queries.statements import Reconciliation, Statement, StatementLine
from costobs.kernel import money

PARTS = ("direct", "shared", "idle", "overhead", "unallocated", "adjustment", "tax")
TIES = ("estimated", "timing", "billed")
CHARGED = ("converted", "markup")
RULE = (
    "Every row and every column adds up as printed: the total of the month is rounded once, then shared down to the rows and"
    " from each row to its cells by largest remainder; so are what other currencies come to and the markup. A cell differs from"
    " its exact amount by less than one cent; the exports carry every digit."
)
_PLAIN = re.compile(rb"[A-Za-z0-9_.]")


@dataclass(frozen=True, slots=True)
class Printed:
    """One row in minor units. `parts` add to `total`; so do `ties`: not billed yet, commitment timing, billed.

    `charged` is the total, `converted` from other currencies, and `markup`.
    """

    cost_centre: str
    team: str
    parts: dict[str, Decimal]
    ties: dict[str, Decimal]
    total: Decimal
    converted: Decimal = Decimal(0)
    markup: Decimal = Decimal(0)

    @property
    def charged(self) -> Decimal:
        """What is charged."""
        return money.total([self.total, self.converted, self.markup])


@dataclass(frozen=True, slots=True)
class PrintedStatement:
    """The rows and the row below them; `total.charged` is the exact charge, rounded."""

    rows: tuple[Printed, ...]
    total: Printed


def printed(statement: Statement) -> PrintedStatement:
    """The statement in minor units, by the rule in RULE."""
    currency, lines = statement.currency, statement.lines
    costs = [line.total_cost for line in lines]
    converted = [line.converted_cost for line in lines]
    markups = [line.markup_cost for line in lines]
    # What is charged is rounded as a whole, and each column takes what the columns before it leave.
    whole = money.round_minor(money.total(costs), currency)
    with_others = money.round_minor(money.total([*costs, *converted]), currency)
    charged = money.round_minor(money.total([*costs, *converted, *markups]), currency)
    columns = (
        money.largest_remainder(costs, currency, target=whole),
        money.largest_remainder(converted, currency, target=with_others - whole),
        money.largest_remainder(markups, currency, target=charged - with_others),
    )
    rows = tuple(
        _row(line, total, other, markup, currency) for line, total, other, markup in zip(lines, *columns, strict=True)
    )
    return PrintedStatement(rows, _summed(rows))


def cut(statement: Statement, sheet: PrintedStatement, *, cost_centre: str) -> tuple[Statement, PrintedStatement]:
    """The statement of one cost centre: the same cents as its rows have in the whole one. Invoices are about all of them."""
    return _only(statement, sheet, lambda one: one.cost_centre == cost_centre)


def only(statement: Statement, sheet: PrintedStatement, *, teams: Sequence[str]) -> tuple[Statement, PrintedStatement]:
    """The statement of some teams, likewise."""
    return _only(statement, sheet, lambda one: one.team in teams)


def _only(
    statement: Statement, sheet: PrintedStatement, keep: Callable[[StatementLine | Printed | Conversion], bool]
) -> tuple[Statement, PrintedStatement]:
    rows = tuple(row for row in sheet.rows if keep(row))
    own = replace(
        statement,
        lines=tuple(line for line in statement.lines if keep(line)),
        conversions=tuple(one for one in statement.conversions if keep(one)),
        reconciliation=(),
    )
    return own, PrintedStatement(rows, _summed(rows))


def by_cost_centre(rows: Sequence[Printed]) -> dict[str, Printed]:
    """The rows of each cost centre summed, in the order of the rows."""
    found: dict[str, list[Printed]] = {}
    for row in rows:
        found.setdefault(row.cost_centre, []).append(row)
    return {centre: replace(_summed(own), cost_centre=centre) for centre, own in found.items()}


def exact_parts(line: StatementLine) -> dict[str, Decimal]:
    """What the total of a line is made of, with every digit."""
    return {name: getattr(line, f"{name}_cost") for name in PARTS}


def exact_ties(line: StatementLine) -> dict[str, Decimal]:
    """What leads from the total of a line to the invoices: not billed yet, commitment timing, billed."""
    timing = money.EXACT.subtract(money.EXACT.subtract(line.total_cost, line.estimated_cost), line.billed_cost)
    return {"estimated": line.estimated_cost, "timing": timing, "billed": line.billed_cost}


def exact(line: StatementLine) -> dict[str, Decimal]:
    """Every figure of a line with every digit, in the order of the exports."""
    charged = {"converted": line.converted_cost, "markup": line.markup_cost, "charged": line.charged_cost}
    return {**exact_parts(line), "total": line.total_cost, **exact_ties(line), **charged}


def figures(row: Printed) -> dict[str, Decimal]:
    """The same figures as `exact` has, as printed."""
    charged = {"converted": row.converted, "markup": row.markup, "charged": row.charged}
    return {**row.parts, "total": row.total, **row.ties, **charged}


def state(statement: Statement) -> str:
    """`open` while days still arrive, `provisional` once every day of the month is billed, then `reviewed` and `closed`."""
    return statement.state


def kind(statement: Statement) -> str:
    """What the statement may be used for."""
    return "chargeback" if statement.is_chargeback else "showback"


def identity(statement: Statement, *, teams: Sequence[str] | None = None, cost_centre: str | None = None) -> str:
    """The lasting name of a statement, fit for an address: month/currency/cost column, what it is narrowed to, and its version.

    2026-10/USD/effective/4410/v1 is cost centre 4410 in October as it was closed first. Narrowed to teams it has @search,growth.
    An open month has `showback` for its version.
    """
    parts = [f"{statement.month:%Y-%m}", slug(statement.currency), statement.cost]
    if cost_centre is not None:
        parts.append(slug(cost_centre))
    if teams is not None:
        parts.append(f"@{','.join(slug(team) for team in sorted(teams))}")
    return "/".join([*parts, f"v{statement.version}" if statement.is_chargeback else "showback"])


def slug(name: str) -> str:
    """A name as one piece of an address: what is not plain is written as ~ and its hexadecimal bytes; "-" is no name."""
    if not name:
        return "-"
    text = "".join(
        chr(byte) if _PLAIN.match(bytes([byte])) or (byte == 0x2D and name != "-") else f"~{byte:02X}"
        for byte in name.encode()
    )
    # A path of one or two dots means another place.
    return text.replace(".", "~2E") if set(text) == {"."} else text


def unslug(text: str) -> str:
    """The name a slug stands for. Raises ValueError for what is none."""
    if text == "-":
        return ""
    if not re.fullmatch(r"(?:[A-Za-z0-9_.-]|~[0-9A-F]{2})+", text):
        raise ValueError(f"expected letters, digits, _ . - and ~ with two hexadecimal digits, found {text!r}")
    pieces = re.sub(r"~([0-9A-F]{2})", lambda found: chr(int(found[1], 16)), text)
    return pieces.encode("latin-1").decode()


def checksum(statement: Statement) -> str:
    """SHA-256 of everything the statement says. The same figures give the same checksum."""
    return hashlib.sha256(orjson.dumps(_content(statement), option=orjson.OPT_SORT_KEYS)).hexdigest()


def _row(line: StatementLine, total: Decimal, converted: Decimal, markup: Decimal, currency: str) -> Printed:
    parts = money.largest_remainder([*exact_parts(line).values()], currency, target=total)
    ties = money.largest_remainder([*exact_ties(line).values()], currency, target=total)
    return Printed(
        line.cost_centre,
        line.team,
        dict(zip(PARTS, parts, strict=True)),
        dict(zip(TIES, ties, strict=True)),
        total,
        converted,
        markup,
    )


def _summed(rows: Sequence[Printed]) -> Printed:
    return Printed(
        "",
        "",
        {name: money.total(row.parts[name] for row in rows) for name in PARTS},
        {name: money.total(row.ties[name] for row in rows) for name in TIES},
        money.total(row.total for row in rows),
        money.total(row.converted for row in rows),
        money.total(row.markup for row in rows),
    )


def _content(statement: Statement) -> dict[str, Any]:
    return {
        "month": statement.month,
        "currency": statement.currency,
        "cost": statement.cost,
        "state": state(statement),
        "version": statement.version,
        "lines": [_line(line) for line in statement.lines],
        "conversions": [_conversion(one) for one in statement.conversions],
        "reconciliation": [_reconciled(one) for one in statement.reconciliation],
    }


def _line(line: StatementLine) -> list[str]:
    markup = [_digits(line.markup.percent), line.markup.label] if line.markup else []
    return [line.cost_centre, line.team, *(_digits(amount) for amount in exact(line).values()), *markup]


def _conversion(one: Conversion) -> list[str]:
    converted = "" if one.converted_cost is None else _digits(one.converted_cost)
    return [one.cost_centre, one.team, one.currency, _digits(one.cost), _digits(one.tax_cost), converted, one.rates]


def _reconciled(one: Reconciliation) -> list[str]:
    figures = (one.invoiced_cost, one.in_books_cost, one.other_authority_cost)
    return [one.invoice_issuer_name, one.provider_name, *sorted(one.invoices), *(_digits(amount) for amount in figures)]


def _digits(amount: Decimal) -> str:
    # The scale of a sum may follow the order of its rows; 1.50 and 1.5 are one amount.
    return money.text(amount.normalize(money.EXACT)) if amount else "0"
