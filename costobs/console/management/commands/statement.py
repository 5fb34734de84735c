"""costobs statement: what a month costs each cost centre, in every form that the page and the API have."""

import os
import tempfile
from argparse import ArgumentParser
from decimal import Decimal
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from attribution import issue, printing, queries
from attribution.exports import KINDS, Document
from costobs.kernel import fmt, money, period
from costobs.kernel.scope import BadScope, SpendScope

_TEXT = ("text/", "application/json")


class Command(BaseCommand):
    help = "The statement of a month: costobs statement 2026-10 --cost-centre 4410 --format pdf --out 4410.pdf"

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("month", help="YYYY-MM")
        parser.add_argument("--cost-centre", metavar="NAME", help='only this one; "" is spend without a cost centre')
        parser.add_argument("--format", default="table", choices=["table", *KINDS.names()])
        parser.add_argument(
            "--out", type=Path, metavar="FILE", help="where the file goes; in a directory it gets its own name"
        )
        parser.add_argument("--cost", default="effective", choices=issue.COLUMNS)
        parser.add_argument("--currency", default=settings.COSTOBS_CURRENCY, help="(default: %(default)s)")

    def handle(self, *args: Any, **options: Any) -> None:
        kind, out, centre = options["format"], options["out"], options["cost_centre"]
        if kind == "table" and out is not None:
            raise CommandError(f"expected --format with --out, one of: {', '.join(KINDS.names())}")
        if kind != "table" and out is None and not KINDS[kind].media_type.startswith(_TEXT):
            raise CommandError(f"expected --out FILE with --format {kind}, which is not text")
        asked = _scope(options)
        shown = issue.document(scope=asked, cost_centre=centre)
        if not shown.statement.lines:
            raise CommandError(_nothing(asked, centre))
        for line in _left_out(shown):
            self.stderr.write(line)
        if kind == "table":
            self._table(shown)
            return
        (file,) = issue.files(scope=asked, cost_centre=centre, kinds=[kind])
        if out is None:
            self.stdout.write(file.content.decode(), ending="")
            return
        path = _written(out / file.name if out.is_dir() else out, file.content)
        self.stdout.write(f"{path}: {shown.id}, sha256 of its figures {shown.sha256}")

    def _table(self, shown: Document) -> None:
        """Cents as on the page, a line for each cost centre and team; in front, what the figures may be used for."""
        self.stdout.write(f"{shown.id}\n{shown.meaning}")
        sheet = shown.sheet
        lines = [["cost centre", "team", *printing.PARTS, "total", *printing.CHARGED, "charged"]]
        lines += [
            [centre, team, *(fmt.money(amount, shown.statement.currency, mode="statement") for amount in _amounts(row))]
            for centre, team, row in [
                *((row.cost_centre or "none", row.team or "nobody", row) for row in sheet.rows),
                ("Total", "", sheet.total),
            ]
        ]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        for line in lines:
            cells = [cell.ljust(width) if at < 2 else cell.rjust(width) for at, (cell, width) in _each(line, widths)]
            self.stdout.write("  ".join(cells))


def _each(line: list[str], widths: list[int]) -> enumerate[tuple[str, int]]:
    return enumerate(zip(line, widths, strict=True))


def _amounts(row: printing.Printed) -> list[Any]:
    return [*(row.parts[name] for name in printing.PARTS), row.total, row.converted, row.markup, row.charged]


def _scope(options: dict[str, Any]) -> SpendScope:
    try:
        days = period.parse_month(options["month"])
        return SpendScope(days, (), options["cost"], options["currency"].upper(), teams=None)
    except (BadScope, ValueError, OverflowError) as problem:
        raise CommandError(str(problem)) from problem


def _nothing(asked: SpendScope, centre: str | None) -> str:
    month, known = f"{asked.days.start:%Y-%m}", queries.statement(scope=asked).cost_centres
    if centre is not None and known:
        names = ", ".join(name or '""' for name in known)
        return f"no spend of {month} in {asked.currency} has the cost centre {centre!r}; found: {names}"
    return f"the books hold no spend of {month}; `costobs spend` says what there is"


def _left_out(shown: Document) -> list[str]:
    """Spend in other currencies that has no rate: in no total, so it is told beside it."""
    waiting: dict[str, list[Decimal]] = {}
    for one in shown.statement.conversions:
        if one.converted_cost is None:
            waiting.setdefault(one.currency, []).append(one.cost)
    return [
        f"not in these totals: {money.text(money.total(costs))} {currency}, a day of which has no exchange rate"
        for currency, costs in waiting.items()
    ]


def _written(path: Path, content: bytes) -> Path:
    """Whole or not at all: a full disk leaves the file that was there."""
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            file.write(content)
        Path(file.name).chmod(0o666 & ~_umask())
        Path(file.name).replace(path)
    except OSError as problem:
        raise CommandError(f"cannot write {path}: {problem.strerror}") from problem
    return path


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
