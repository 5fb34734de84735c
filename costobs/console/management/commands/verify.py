"""costobs verify: proves that the books add up, with tolerance zero."""

from argparse import ArgumentParser
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from attribution import verify
from costobs.kernel import money, period

# Every share of the books is in one of these columns, so that they add to what was billed.
_PARTS = (
    ("attributed", ("direct",)),
    ("shared", ("shared",)),
    ("idle", ("idle_workload", "idle_infrastructure")),
    ("overhead", ("overhead",)),
    ("unallocated", ("unallocated",)),
    ("adjustments", ("adjustment",)),
)
_HEAD = ("source", "currency", "cost", "billed", *(name for name, _ in _PARTS), "difference")
_NAMES = 3  # the columns of text


class Command(BaseCommand):
    help = "Prove that what the vendors delivered equals what the books hold, exactly"

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--month", default="", help="one month, YYYY-MM (default: everything)")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            days = period.parse_month(options["month"]) if options["month"] else None
        except ValueError as problem:
            raise CommandError(str(problem)) from problem
        result = verify.run(days=days)
        for line in result.sums if days is None else ():
            parts = ", ".join(f"{name} {money.text(amount)}" for name, amount in line.parts)
            self.stdout.write(
                f"{line.source} {line.currency} {line.cost}: delivered {money.text(line.delivered)} = {parts or 'nothing'};"
                f" difference {money.text(line.difference)}"
            )
        if days is not None:
            self._month(result.sums)
        for finding in result.failures:
            expected, found, off = (money.text(each) for each in (finding.expected, finding.found, finding.difference))
            self.stderr.write(
                f"{finding.check}: expected {expected}, found {found}, difference {off}; {finding.advice}"
            )
        self.stdout.write(f"{result.checks} checks, {len(result.failures)} failures")
        if result.failures:
            raise CommandError("the books do not balance")

    def _month(self, sums: Sequence[verify.Sum]) -> None:
        """A line for each source, currency and cost column: what was billed, where it went, and that nothing is left."""
        rows = [_HEAD]
        for line in sums:
            parts = {
                name: money.total(amount for share, amount in line.parts if share in shares) for name, shares in _PARTS
            }
            amounts = [line.delivered, *parts.values(), line.difference]
            rows.append((line.source, line.currency, line.cost.removesuffix("_cost"), *map(_text, amounts)))
        widths = [max(len(row[index]) for row in rows) for index in range(len(_HEAD))]
        for row in rows:
            cells = [
                cell.ljust(width) if index < _NAMES else cell.rjust(width)
                for index, (cell, width) in enumerate(zip(row, widths, strict=True))
            ]
            self.stdout.write("  ".join(cells).rstrip())


def _text(amount: Decimal) -> str:
    return money.text(amount) if amount else "0"
