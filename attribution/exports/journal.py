"""Journal entries: what each cost centre is debited, and the account all of it is credited to, in columns somebody chose."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar

import orjson

from attribution.exports import plain
from attribution.exports.base import Document, Export, guarded
from costobs.kernel import money
from costobs.kernel.period import month

FIELDS = {
    "date": "Last day of the month, as 2026-10-31",
    "month": "The month, as 2026-10",
    "entry": "The number of the row",
    "account": "The account of the row: the cost centre's, or the one that is credited",
    "cost_centre": "The cost centre",
    "team": "The team",
    "debit": "The amount, on rows that debit",
    "credit": "The amount, on rows that credit",
    "amount": "The amount: positive where it debits, negative where it credits",
    "currency": "The currency of the amount",
    "description": "What the row is for, in words",
    "part": "usage, tax, converted, markup or credit",
    "kind": "showback or chargeback",
    "statement_id": "The id of the statement",
    "sha256": "The checksum of the statement",
}
_USUAL = (
    ("Date", "date"),
    ("Account", "account"),
    ("Cost centre", "cost_centre"),
    ("Debit", "debit"),
    ("Credit", "credit"),
    ("Currency", "currency"),
    ("Description", "description"),
    ("Kind", "kind"),
    ("Reference", "statement_id"),
)
_MOST_COLUMNS, _LONGEST = 40, 200


class BadLayout(ValueError):
    """The layout cannot be used; the message names the line."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Columns as (header, source): the name of a field, or `=` and a fixed text. Accounts may hold `{cost_centre}`."""

    columns: tuple[tuple[str, str], ...] = _USUAL
    debit_account: str = "{cost_centre}"
    no_cost_centre_account: str = "unallocated"
    credit_account: str = "LLM clearing"
    markup_account: str = ""  # credited with the markup; "" = the same

    @classmethod
    def parse(cls, stored: Mapping[str, Any]) -> "Layout":
        """The layout in its stored form; {} is the usual one. Raises BadLayout."""
        columns = stored.get("columns")
        pairs = _USUAL if not columns else tuple((str(header), str(source)) for header, source in columns)
        usual = cls()
        return cls(
            _checked(pairs),
            _account(stored.get("debit_account", usual.debit_account), "debit account"),
            _account(
                stored.get("no_cost_centre_account", usual.no_cost_centre_account), "account without a cost centre"
            ),
            _account(stored.get("credit_account", usual.credit_account), "credit account"),
            str(stored.get("markup_account", "")).strip(),
        )

    def stored(self) -> dict[str, Any]:
        """The form `parse` reads."""
        return {
            "columns": [list(pair) for pair in self.columns],
            "debit_account": self.debit_account,
            "no_cost_centre_account": self.no_cost_centre_account,
            "credit_account": self.credit_account,
            "markup_account": self.markup_account,
        }


class Journal(Export):
    """Debits of the cost centres' accounts, credits of the clearing account; debits and credits of a currency are equal.

    Negative amounts change the side. Amounts are the printed cents. The columns and accounts are a setting.
    """

    kind: ClassVar = "journal"
    title: ClassVar = "Journal entries, CSV"
    extension: ClassVar = "journal.csv"
    media_type: ClassVar = "text/csv; charset=utf-8"

    def write(self, document: Document) -> Iterator[bytes]:
        layout = Layout.parse(document.journal)
        return plain.lines([header for header, _ in layout.columns], rows(document, layout))

    def basis(self, document: Document) -> Iterator[bytes]:
        yield from super().basis(document)
        yield orjson.dumps(Layout.parse(document.journal).stored())


@dataclass(frozen=True, slots=True)
class Entry:
    """One row: positive debits, negative credits."""

    account: str
    cost_centre: str
    team: str
    part: str
    amount: Decimal
    description: str


def rows(document: Document, layout: Layout) -> Iterator[Sequence[str]]:
    """The rows in the columns of the layout."""
    for number, entry in enumerate(entries(document, layout), start=1):
        values = _values(document, entry, number)
        yield [source[1:] if source.startswith("=") else values[source] for _, source in layout.columns]


def entries(document: Document, layout: Layout) -> list[Entry]:
    """Debits by cost centre, team and part, then what is credited; all of them add to zero."""
    found: list[Entry] = []
    credited: dict[str, list[Decimal]] = {}
    name = f"LLM cost {document.statement.month:%b %Y}"
    for line, row in document.lines():
        account = layout.debit_account if line.cost_centre else layout.no_cost_centre_account
        account = account.replace("{cost_centre}", line.cost_centre)
        markup = f"{line.markup.label}" if line.markup else "Markup"
        parts = {
            "usage": (money.EXACT.subtract(row.total, row.parts["tax"]), name),
            "tax": (row.parts["tax"], f"{name}, tax"),
            "converted": (row.converted, f"{name}, from other currencies"),
            "markup": (row.markup, f"{name}, {markup}"),
        }
        for part, (amount, words) in parts.items():
            if amount:
                who = f"{words}, {line.team or 'no owner'}"
                found.append(Entry(account, line.cost_centre, line.team, part, amount, who))
                to = layout.markup_account if part == "markup" and layout.markup_account else layout.credit_account
                credited.setdefault(to, []).append(amount)
    for account, amounts in credited.items():
        if whole := money.total(amounts):
            found.append(Entry(account, "", "", "credit", -whole, f"{name}, charged to cost centres"))
    return found


def _values(document: Document, entry: Entry, number: int) -> dict[str, str]:
    found = document.statement
    return {
        "date": month(found.month).last.isoformat(),
        "month": f"{found.month:%Y-%m}",
        "entry": str(number),
        "account": guarded(entry.account),
        "cost_centre": guarded(entry.cost_centre),
        "team": guarded(entry.team),
        "debit": money.text(entry.amount) if entry.amount > 0 else "",
        "credit": money.text(-entry.amount) if entry.amount < 0 else "",
        "amount": money.text(entry.amount),
        "currency": found.currency,
        "description": guarded(entry.description),
        "part": entry.part,
        "kind": document.kind,
        "statement_id": document.id,
        "sha256": document.sha256,
    }


def _checked(pairs: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    if len(pairs) > _MOST_COLUMNS:
        raise BadLayout(f"expected at most {_MOST_COLUMNS} columns, found {len(pairs)}")
    for header, source in pairs:
        if not header.strip() or len(header) > _LONGEST or len(source) > _LONGEST or "\x00" in header + source:
            raise BadLayout(f"expected a header of up to {_LONGEST} characters, found {header!r}")
        if not source.startswith("=") and source not in FIELDS:
            raise BadLayout(
                f"column {header}: expected one of {', '.join(FIELDS)}, or = and a fixed text; found {source!r}"
            )
    sources = {source for _, source in pairs}
    if "account" not in sources or not ("amount" in sources or {"debit", "credit"} <= sources):
        raise BadLayout(
            "the columns need account, and amount or both debit and credit; without them nothing can be booked"
        )
    return pairs


def _account(value: object, what: str) -> str:
    text = str(value).strip()
    if not text or len(text) > _LONGEST or "\x00" in text:
        raise BadLayout(f"{what}: expected an account of up to {_LONGEST} characters, found {text[:40]!r}")
    return text
