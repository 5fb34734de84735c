"""costobs spend: the same numbers as the pages, for scripts."""

import csv
from argparse import ArgumentParser
from datetime import UTC, date, datetime, time, timedelta
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
        parser.add_argument(
            "--known-at",
            default="",
            metavar="MOMENT",
            help=f"as it was known then: a day (its end) or 2026-11-03T12:00Z; by {', '.join(queries.KNOWN_DIMENSIONS)}",
        )
        parser.add_argument("--format", default="table", choices=["table", "csv", "json"])

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            asked = _scope(options)
            group_by = [name for name in options["group_by"].split(",") if name]
            moment = _known_at(options["known_at"], datetime.now(UTC)) if options["known_at"] else None
            rows: list[Any] = (
                queries.spend(scope=asked, group_by=group_by)
                if moment is None
                else queries.spend_as_of(scope=asked, known_at=moment, group_by=group_by)
            )
        except (scope.BadScope, ValueError) as problem:
            raise CommandError(str(problem)) from problem
        total = money.total(row.cost for row in rows)
        for other in queries.other_currencies(scope=asked):
            self.stderr.write(f"not included: spend in {other}; ask for it with --currency {other}")
        match options["format"]:
            case "json":
                known = {} if moment is None else {"known_at": queries.known_moment(known_at=moment)}
                self.stdout.write(
                    orjson.dumps(known | _document(asked, group_by, rows, total), option=orjson.OPT_INDENT_2).decode()
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


def _known_at(text: str, now: datetime) -> datetime:
    """A day means its end; a moment must say its time zone."""
    if len(text) == 10:
        end = datetime.combine(date.fromisoformat(text) + timedelta(days=1), time(0), UTC)
        found = min(end, now) if date.fromisoformat(text) <= now.date() else end
    else:
        found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError(f"expected --known-at with a time zone, such as 2026-11-03T12:00Z, found {text!r}")
    if found > now:
        raise ValueError(f"expected --known-at in the past, found {text!r}: nobody knows yet")
    return found


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
