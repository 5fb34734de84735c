"""costobs spend: the same numbers as the pages, for scripts."""

import csv
from argparse import ArgumentParser
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import orjson
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from attribution import queries
from costobs.kernel import money, scope
from costobs.kernel.period import Days


class Command(BaseCommand):
    help = "Spend by any dimensions: costobs spend --group-by team,model --from 2026-11-01"

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--group-by", default="", help=f"up to four of {', '.join(scope.DIMENSIONS)}")
        parser.add_argument(
            "--from", dest="start", default="", help="first day, YYYY-MM-DD (default: the first in the books)"
        )
        parser.add_argument(
            "--to", dest="end", default="", help="last day, inclusive, YYYY-MM-DD (default: the last one)"
        )
        parser.add_argument("--cost", default="effective", help=f"one of {', '.join(scope.COSTS)}")
        parser.add_argument("--currency", default=settings.COSTOBS_CURRENCY)
        parser.add_argument("--filter", action="append", default=[], metavar="DIM=VALUE[,VALUE]")
        parser.add_argument("--format", default="table", choices=["table", "csv", "json"])

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            asked = _scope(options)
            group_by = [name for name in options["group_by"].split(",") if name]
            rows = queries.spend(scope=asked, group_by=group_by)
        except (scope.BadScope, ValueError) as problem:
            raise CommandError(str(problem)) from problem
        total = money.total(row.cost for row in rows)
        for other in queries.other_currencies(scope=asked):
            self.stderr.write(f"not included: spend in {other}; ask for it with --currency {other}")
        match options["format"]:
            case "json":
                self.stdout.write(
                    orjson.dumps(_document(asked, group_by, rows, total), option=orjson.OPT_INDENT_2).decode()
                )
            case "csv":
                writer = csv.writer(self.stdout)
                writer.writerow([*group_by, "cost", "estimated_cost", "currency"])
                writer.writerows(
                    [*row.keys, money.text(row.cost), money.text(row.estimated_cost), asked.currency] for row in rows
                )
            case _:
                self._table(group_by, rows, total, asked.currency)

    def _table(self, group_by: list[str], rows: list[Any], total: Decimal, currency: str) -> None:
        lines = [[*group_by, f"cost ({currency})", "estimated"]]
        lines += [[*row.keys, f"{row.cost:,.2f}", f"{row.estimated_cost:,.2f}"] for row in rows]
        lines += [[*(["Total"] + [""] * (len(group_by) - 1) if group_by else []), f"{total:,.2f}", ""]]
        widths = [max(len(line[index]) for line in lines) for index in range(len(lines[0]))]
        for line in lines:
            names = [cell.ljust(width) for cell, width in zip(line[:-2], widths[:-2], strict=True)]
            figures = [cell.rjust(width) for cell, width in zip(line[-2:], widths[-2:], strict=True)]
            self.stdout.write("  ".join([*names, *figures]))


def _scope(options: dict[str, Any]) -> scope.SpendScope:
    extent = queries.extent() or Days(date(1970, 1, 1), date(1970, 1, 1))
    start = date.fromisoformat(options["start"]) if options["start"] else extent.start
    end = date.fromisoformat(options["end"]) + timedelta(days=1) if options["end"] else extent.end
    filters = []
    for text in options["filter"]:
        name, found, values = text.partition("=")
        if not found:
            raise scope.BadScope(f"expected --filter DIM=VALUE, found {text!r}")
        filters.append(scope.Filter(name, tuple(values.split(","))))
    return scope.SpendScope(
        Days(start, max(start, end)), tuple(filters), options["cost"], options["currency"], teams=None
    )


def _document(asked: scope.SpendScope, group_by: list[str], rows: list[Any], total: Decimal) -> dict[str, Any]:
    return {
        "from": asked.days.start,
        "to": asked.days.last if len(asked.days) else asked.days.start,
        "cost": asked.cost,
        "currency": asked.currency,
        "total": money.text(total),
        "rows": [
            {
                **dict(zip(group_by, row.keys, strict=True)),
                "cost": money.text(row.cost),
                "estimated_cost": money.text(row.estimated_cost),
            }
            for row in rows
        ],
    }
