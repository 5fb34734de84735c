"""costobs verify: proves that the books add up, with tolerance zero."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from attribution import verify
from costobs.kernel import money, period


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
        for line in result.sums:
            parts = ", ".join(f"{name} {money.text(amount)}" for name, amount in line.parts)
            self.stdout.write(
                f"{line.source} {line.currency} {line.cost}: delivered {money.text(line.delivered)} = {parts or 'nothing'};"
                f" difference {money.text(line.difference)}"
            )
        for finding in result.failures:
            expected, found, off = (money.text(each) for each in (finding.expected, finding.found, finding.difference))
            self.stderr.write(
                f"{finding.check}: expected {expected}, found {found}, difference {off}; {finding.advice}"
            )
        self.stdout.write(f"{result.checks} checks, {len(result.failures)} failures")
        if result.failures:
            raise CommandError("the books do not balance")
