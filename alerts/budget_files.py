"""Budgets from a file and into one: first what each row would do, then all of it or nothing."""

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import transaction

from alerts import budget_cells, budgets
from alerts.budgets import Invalid
from alerts.models import Budget
from alerts.rows import BudgetTerms
from costobs.kernel import money

MOST_BYTES = 2_000_000
MOST_ROWS = 2_000
COLUMNS = (
    "name", "owner_email", "scope", "amount", "currency", "period", "rolling_days", "zone", "parent", "starts_on", "ends_on",
    "is_prorated", "rollover", "rollover_cap_percent", "borrow_percent", "is_hard", "on_unreachable", "default_max_tokens",
    "aborts_running", "criticality", "protected", "ladder",
)  # fmt: skip
_NEEDED = ("name", "amount")
_TERMS: Mapping[str, Callable[[str], Any]] = {  # Any: each cell has a type of its own
    "rolling_days": budget_cells.whole,
    "starts_on": budget_cells.day,
    "ends_on": budget_cells.day,
    "is_prorated": budget_cells.yes,
    "rollover_cap_percent": budget_cells.percent,
    "borrow_percent": budget_cells.percent,
    "is_hard": budget_cells.yes,
    "default_max_tokens": budget_cells.whole,
    "aborts_running": budget_cells.yes,
    "protected": budget_cells.protected,
    "zone": lambda text: text.strip() or "UTC",
    "rollover": lambda text: text.strip().lower() or "none",
    "on_unreachable": lambda text: text.strip().lower() or "closed",
    "criticality": lambda text: text.strip().lower() or "normal",
}
_COLUMN_OF = {"rungs": "ladder", "parent_id": "parent", "id": "name"}


class Unreadable(ValueError):
    """The file is no table of budgets; the message says what was expected."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """What is wrong in one cell."""

    column: str
    text: str


@dataclass(frozen=True, slots=True)
class RowPlan:
    """What one row would do: new, changed, same or wrong. `changes` are (column, before, after) as text."""

    line: int
    name: str
    verdict: str
    changes: tuple[tuple[str, str, str], ...]
    mistakes: tuple[Mistake, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a file would do, row by row."""

    rows: tuple[RowPlan, ...]

    def count(self, verdict: str) -> int:
        """How many rows have this verdict."""
        return sum(1 for row in self.rows if row.verdict == verdict)

    @property
    def is_right(self) -> bool:
        """Whether every row could be used; else nothing is written."""
        return not self.count("wrong")


class _Undo(Exception):
    """Rolls a savepoint back."""


@dataclass(frozen=True, slots=True)
class _Row:
    line: int
    cells: Mapping[str, str]

    @property
    def name(self) -> str:
        """The name as it was typed."""
        return self.cells.get("name", "").strip()

    @property
    def parent(self) -> str:
        """The name of the budget above, or nothing."""
        return self.cells.get("parent", "").strip()


def rows(*, ids: Sequence[int]) -> list[tuple[str, ...]]:
    """The budgets as rows of COLUMNS, in the order given; read back they change nothing.

    A parent that is not among them is not named: whoever asks may not see it.
    """
    found = {row.pk: row for row in Budget.objects.filter(pk__in=ids).select_related("parent")}
    parent = COLUMNS.index("parent")
    listed = []
    for row in (found[each] for each in ids if each in found):
        cells = list(_exported(row))
        cells[parent] = cells[parent] if row.parent_id in found else ""
        listed.append(tuple(cells))
    return listed


def plan(*, content: bytes, by: str, now: datetime) -> Plan:
    """What the file would do; nothing is written. Raises Unreadable."""
    return _carried_out(_read(content), by, now, is_kept=False)


def apply(*, content: bytes, by: str, now: datetime) -> Plan:
    """Does what the file says, in one transaction: rows with the name of a budget change it, others make one.

    If any row is wrong nothing is written, and the plan says what is wrong. Raises Unreadable. Repeated, it changes nothing.
    """
    return _carried_out(_read(content), by, now, is_kept=True)


def decoded(content: bytes) -> str:
    """The text of a file: UTF-8, else Windows-1252, as spreadsheets save it."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")


def _carried_out(asked: Sequence[_Row], by: str, now: datetime, *, is_kept: bool) -> Plan:
    found: dict[int, RowPlan] = {}
    try:
        with transaction.atomic():
            names: dict[str, int] = {}
            for row in _parents_first(asked):
                first = names.setdefault(row.name, row.line)
                twice = first if first != row.line and row.name else None
                found[row.line] = _one(row, by, now, twice=twice)
            result = Plan(tuple(found[line] for line in sorted(found)))
            if not is_kept or not result.is_right:
                raise _Undo
    except _Undo:
        pass
    return result


def _one(row: _Row, by: str, now: datetime, *, twice: int | None) -> RowPlan:
    if twice is not None:
        return RowPlan(row.line, row.name, "wrong", (), (Mistake("name", f"line {twice} has the same name"),))
    existing = Budget.objects.filter(name=row.name).select_related("parent").first()
    before = _exported(existing) if existing else None
    given, mistakes = _given(row, existing)
    if mistakes:
        return RowPlan(row.line, row.name, "wrong", (), tuple(mistakes))
    changes: tuple[tuple[str, str, str], ...] = ()
    try:
        with transaction.atomic():
            budget_id = _write(existing, given, by, now)
            after = _exported(Budget.objects.select_related("parent").get(pk=budget_id))
            changes = _changes(before, after)
            if not changes:
                raise _Undo  # no entry in the audit log for what changes nothing
    except _Undo:
        return RowPlan(row.line, row.name, "same", (), ())
    except Invalid as problem:
        return RowPlan(row.line, row.name, "wrong", (), tuple(_mistakes(problem)))
    return RowPlan(row.line, row.name, "changed" if existing else "new", changes, ())


def _write(existing: Budget | None, given: Mapping[str, Any], by: str, now: datetime) -> int:
    if existing is None:
        return budgets.create(**given, by=by, now=now)
    budgets.update(budget_id=existing.pk, **given, by=by, now=now)
    return existing.pk


def _given(row: _Row, existing: Budget | None) -> tuple[dict[str, Any], list[Mistake]]:
    """The arguments of the step, and every cell that cannot be read. Columns that are absent stay as they are."""
    mistakes: list[Mistake] = []

    def cell(column: str, read: Callable[[str], Any]) -> Any:  # Any: as the column says
        try:
            return read(row.cells[column])
        except ValueError as problem:
            mistakes.append(Mistake(column, str(problem)))
            return None

    has = row.cells.keys()
    given: dict[str, Any] = {
        "name": row.name,
        "amount": cell("amount", budget_cells.decimal),
        "currency": row.cells.get("currency", "").strip()
        or (existing.currency if existing else settings.COSTOBS_CURRENCY),
        "period": row.cells.get("period", "").strip().lower() or (existing.period if existing else "month"),
    }
    for column, name, read, empty in (
        ("scope", "scope", budget_cells.scope, {}),
        ("ladder", "rungs", budget_cells.ladder, []),
        ("owner_email", "owner_email", str.strip, ""),
    ):
        if column in has:
            given[name] = cell(column, read)
        elif existing is None:
            given[name] = empty
    terms = budgets.arguments(existing.pk)["terms"] if existing else BudgetTerms()
    values = {column: cell(column, read) for column, read in _TERMS.items() if column in has}
    if "parent" in has:
        values["parent_id"] = _parent(row, mistakes)
    if not mistakes:
        given["terms"] = replace(terms, **values)
    return given, mistakes


def _parent(row: _Row, mistakes: list[Mistake]) -> int | None:
    if not row.parent:
        return None
    found = Budget.objects.filter(name=row.parent).values_list("pk", flat=True).first()
    if found is None:
        text = f"there is no budget called {row.parent!r}, here or in this file above its own children"
        mistakes.append(Mistake("parent", text))
    return found


def _mistakes(problem: Invalid) -> Iterator[Mistake]:
    for name, text in problem.errors.items():
        head, _, index = name.partition(".")
        column = _COLUMN_OF.get(head, head)
        yield Mistake(column, f"step {int(index) + 1}: {text}" if index.isdigit() else text)


def _changes(before: Sequence[str] | None, after: Sequence[str]) -> tuple[tuple[str, str, str], ...]:
    if before is None:
        return tuple((column, "", text) for column, text in zip(COLUMNS, after, strict=True) if text)
    pairs = zip(COLUMNS, before, after, strict=True)
    return tuple((column, was, is_) for column, was, is_ in pairs if was != is_)


def _parents_first(asked: Sequence[_Row]) -> list[_Row]:
    """Rows after the row of the budget above them, else in their order; what hangs in a circle comes last."""
    waiting, done = list(asked), list[_Row]()
    while waiting:
        open_names = {row.name for row in waiting}
        ready = [row for row in waiting if row.parent not in open_names or row.parent == row.name] or waiting
        done += ready
        lines = {row.line for row in ready}
        waiting = [row for row in waiting if row.line not in lines]
    return done


def _exported(row: Budget) -> tuple[str, ...]:
    given = budgets.arguments(row.pk)
    terms: BudgetTerms = given["terms"]
    cells = {one.name: _text(getattr(terms, one.name)) for one in fields(terms) if one.name in _TERMS}
    cells |= {
        "name": row.name,
        "owner_email": row.owner_email,
        "scope": budget_cells.scope_text(given["scope"]),
        "amount": money.text(row.amount),
        "currency": row.currency,
        "period": row.period,
        "parent": row.parent.name if row.parent else "",
        "protected": budget_cells.protected_text(terms.protected),
        "ladder": budget_cells.ladder_text(given["rungs"]),
    }
    return tuple(cells[column] for column in COLUMNS)


def _text(value: Any) -> str:  # Any: a term of any type
    if value is None:
        return ""
    if isinstance(value, bool):
        return budget_cells.YES if value else budget_cells.NO
    return f"{value:f}" if hasattr(value, "as_tuple") else str(value)


def _read(content: bytes) -> list[_Row]:
    if len(content) > MOST_BYTES:
        raise Unreadable(f"expected at most {MOST_BYTES} bytes, found more; split the file")
    text = decoded(content)
    if "\x00" in text:
        raise Unreadable("expected a table as text, found null characters; save it as CSV in UTF-8")
    head = text.lstrip().partition("\n")[0]
    mark = max(",;\t", key=head.count)
    table = csv.reader(io.StringIO(text), delimiter=mark, strict=True)
    try:
        lines = [(table.line_num, cells) for cells in table if any(map(str.strip, cells))]
    except csv.Error as problem:
        raise Unreadable(f"line {table.line_num} is no row of a table: {problem}") from problem
    if not lines:
        raise Unreadable("expected a table with a first line of column names, found nothing")
    columns = [name.strip().lower() for name in lines[0][1]]
    _check_columns(columns)
    if len(lines) - 1 > MOST_ROWS:
        raise Unreadable(f"expected at most {MOST_ROWS} budgets, found {len(lines) - 1}; split the file")
    return [_row(line, columns, cells) for line, cells in lines[1:]]


def _check_columns(columns: Sequence[str]) -> None:
    unknown = [name for name in columns if name not in COLUMNS]
    if unknown:
        raise Unreadable(f"unknown column {unknown[0]!r}; known: {', '.join(COLUMNS)}")
    twice = [name for name in COLUMNS if columns.count(name) > 1]
    if twice:
        raise Unreadable(f"the column {twice[0]!r} is there twice")
    missing = [name for name in _NEEDED if name not in columns]
    if missing:
        raise Unreadable(f"expected a column {missing[0]!r}; found {', '.join(columns)}")


def _row(line: int, columns: Sequence[str], cells: Sequence[str]) -> _Row:
    if len(cells) > len(columns):
        raise Unreadable(
            f"line {line} has {len(cells)} cells, but there are {len(columns)} columns; quote cells with commas"
        )
    # A spreadsheet shows a text that begins like a formula behind an apostrophe; so did the export.
    plain = [cell[1:] if cell[:1] == "'" and cell[1:2] in set("=+-@\t\r'") else cell for cell in cells]
    return _Row(line, dict(zip(columns, [*plain, *[""] * (len(columns) - len(plain))], strict=True)))
