"""Issue a statement: from a scope to the document that every face and every delivery shows, and to its files."""

import re
from dataclasses import dataclass, replace
from datetime import date, datetime

from attribution import printing, queries
from attribution.exports import KINDS, Document, Export
from attribution.models import PeriodBook
from costobs.kernel.period import Days, parse_month
from costobs.kernel.scope import COSTS, BadScope, SpendScope

# A statement adds up to the invoices, or to what the commitments behind them were worth.
COLUMNS = ("effective", "billed")


class NoStatement(LookupError):
    """There is no statement of that id; the message says what there is."""


@dataclass(frozen=True, slots=True)
class Named:
    """What the id of a statement says. `cost_centre` None: all of them; `teams` None: not narrowed; `version` 0: showback."""

    month: Days
    currency: str
    cost: str
    cost_centre: str | None
    teams: tuple[str, ...] | None
    version: int


@dataclass(frozen=True, slots=True)
class File:
    """One export of a statement, written."""

    name: str
    media_type: str
    content: bytes


def document(*, scope: SpendScope, cost_centre: str | None = None, teams: tuple[str, ...] | None = None) -> Document:
    """The statement of `scope.days`, whole or of one cost centre, narrowed to `teams` inside what the scope may see.

    Cents are shared out over everything the scope sees, then the part asked for is cut out of it: a line is printed alike in
    every statement of the same viewer.
    """
    found = queries.statement(scope=scope)
    return _cut(found, printing.printed(found), scope, cost_centre, teams)


def all_documents(*, scope: SpendScope) -> list[Document]:
    """The whole statement of a month and the one of each cost centre in it."""
    found = queries.statement(scope=scope)
    sheet = printing.printed(found)
    own = [_cut(found, sheet, scope, centre, None) for centre in found.cost_centres]
    return [_cut(found, sheet, scope, None, None), *own]


def for_export(shown: Document, export: Export, *, scope: SpendScope) -> Document:
    """The document with what this kind of file needs besides the statement."""
    if not export.needs_focus:
        return shown
    narrowed = scope
    if shown.cost_centre is not None:
        narrowed = narrowed.where("cost_centre", shown.cost_centre)
    if shown.teams is not None:
        narrowed = narrowed.where("team", *shown.teams)
    rows, categories = queries.focus_rows(scope=narrowed), queries.service_categories(scope=narrowed)
    return replace(shown, focus_rows=rows, categories=categories)


def files(*, scope: SpendScope, cost_centre: str | None, kinds: list[str]) -> list[File]:
    """Exports of one statement, written."""
    shown = document(scope=scope, cost_centre=cost_centre)
    found = []
    for name in kinds:
        export = KINDS[name]()
        full = for_export(shown, export, scope=scope)
        found.append(File(export.file_name(full), export.media_type, b"".join(export.write(full))))
    return found


def parse(identity: str) -> Named:
    """What an id says. Raises NoStatement with the form of one."""
    parts = identity.strip("/").split("/")
    wanted = "expected an id as 2026-10/USD/effective/4410/v1 or 2026-10/USD/effective/showback"
    if not 4 <= len(parts) <= 6:
        raise NoStatement(f"{wanted}, found {identity!r}")
    try:
        month, currency, cost = parse_month(parts[0]), printing.unslug(parts[1]), parts[2]
        middle, version = parts[3:-1], _version(parts[-1])
        teams = None
        if middle and middle[-1].startswith("@"):
            teams = tuple(sorted(printing.unslug(one) for one in middle.pop()[1:].split(",")))
        centre = printing.unslug(middle.pop(0)) if middle else None
    except (ValueError, OverflowError) as problem:
        raise NoStatement(f"{wanted}: {problem}") from problem
    if middle or cost not in COSTS or cost not in COLUMNS:
        raise NoStatement(f"{wanted}, found {identity!r}")
    if any("\x00" in text for text in (currency, centre or "", *(teams or ()))):
        raise NoStatement(f"{wanted}: no name holds a null character")
    return Named(month, currency, cost, centre, teams, version)


def by_id(named: Named, *, teams: tuple[str, ...] | None) -> tuple[Document, SpendScope]:
    """The statement an id names, as far as a viewer with `teams` may see it. Raises NoStatement."""
    scope = SpendScope(named.month, (), named.cost, named.currency, teams)
    try:
        shown = document(scope=scope, cost_centre=named.cost_centre, teams=named.teams)
    except BadScope as problem:
        raise NoStatement(str(problem)) from problem
    version = shown.statement.version if shown.statement.is_chargeback else 0
    if version != named.version:
        raise NoStatement(f"this version is not in force; what is: {shown.id}")
    if not shown.statement.lines:
        raise NoStatement(f"{shown.id} has no lines that you may see")
    return shown, scope


def months() -> list[date]:
    """The first days of the months the books hold, oldest first."""
    extent = queries.extent()
    if extent is None:
        return []
    first, last = extent.start, extent.last
    count = (last.year - first.year) * 12 + last.month - first.month + 1
    return [date(first.year + (first.month - 1 + at) // 12, (first.month - 1 + at) % 12 + 1, 1) for at in range(count)]


def _cut(
    found: queries.Statement,
    sheet: printing.PrintedStatement,
    scope: SpendScope,
    cost_centre: str | None,
    teams: tuple[str, ...] | None,
) -> Document:
    own, printed = found, sheet
    if cost_centre is not None:
        own, printed = printing.cut(own, printed, cost_centre=cost_centre)
    if teams is not None:
        own, printed = printing.only(own, printed, teams=teams)
    if teams is not None and scope.teams is not None:
        teams = tuple(team for team in teams if team in scope.teams)
    visible = scope.teams if teams is None else teams
    if visible is not None:
        own = replace(own, reconciliation=())
    terms = queries.terms(month=found.month)
    return Document(
        id=printing.identity(own, teams=visible, cost_centre=cost_centre),
        statement=own,
        sheet=printed,
        sha256=printing.checksum(own),
        cost_centre=cost_centre,
        teams=visible,
        company=terms.company,
        journal=terms.journal,
    )


def _version(text: str) -> int:
    if text == "showback":
        return 0
    if not re.fullmatch(r"v[1-9][0-9]{0,8}", text):
        raise ValueError(f"expected showback or a version as v1, found {text!r}")
    return int(text[1:])


@dataclass(frozen=True, slots=True)
class Closed:
    """A month that is closed."""

    month: date
    version: int
    closed_at: datetime


def closed_since(moment: datetime) -> list[Closed]:
    """The months that closed from a moment on and still are, oldest first."""
    found = PeriodBook.objects.filter(state="closed", closed_at__gte=moment).order_by("month")
    return [Closed(one.month, one.version, one.closed_at) for one in found if one.closed_at is not None]
