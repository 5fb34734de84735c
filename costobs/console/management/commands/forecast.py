"""costobs forecast: where the current period of a scope or of the budgets will end, as on the pages."""

from argparse import ArgumentParser
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import orjson
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from alerts import evaluate, expected, queries
from attribution import outlook
from costobs.kernel import fmt, money
from costobs.kernel import period as periods
from costobs.kernel.scope import COSTS, BadScope, Filter, SpendScope

_PERIODS = ("week", "month", "quarter")


class Command(BaseCommand):
    help = "Where the period will end: costobs forecast --filter team=search, or costobs forecast --budgets"

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--period", default="month", choices=_PERIODS, help="the current one of these")
        parser.add_argument("--filter", action="append", default=[], metavar="DIM=VALUE[,VALUE]")
        parser.add_argument("--cost", default="effective", help=f"one of {', '.join(COSTS)}")
        parser.add_argument("--currency", default=settings.COSTOBS_CURRENCY)
        parser.add_argument("--budgets", action="store_true", help="work out every budget again, and list them")
        parser.add_argument("--format", default="table", choices=["table", "json"])

    def handle(self, *args: Any, **options: Any) -> None:
        now = datetime.now(UTC)
        if options["budgets"]:
            expected.run(now=now, again=True, limit=10_000)
            evaluate.run(now=now)
            found = [_budget(line) for line in queries.budgets(now=now, teams=None)]
        else:
            found = [_scope(options, now)]
        if options["format"] == "json":
            self.stdout.write(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
            return
        for one in found:
            self.stdout.write(_sentence(one))


def _budget(line: queries.BudgetLine) -> dict[str, Any]:
    return {
        "name": line.name,
        "from": line.days.start.isoformat(),
        "to": line.days.last.isoformat(),
        "currency": line.currency,
        "amount": money.text(line.amount),
        "forecast": _text(line.forecast_cost),
        "low": _text(line.forecast_low_cost),
        "high": _text(line.forecast_high_cost),
        "method": line.forecast_method,
        "error_percent": _text(line.forecast_error_percent),
    }


def _scope(options: dict[str, Any], now: datetime) -> dict[str, Any]:
    days = periods.budget_period(options["period"], now.date())
    try:
        asked = SpendScope(
            days, tuple(_filter(text) for text in options["filter"]), options["cost"], options["currency"], None
        )
        found = outlook.of(scope=asked, period=days, now=now)
    except BadScope as problem:
        raise CommandError(str(problem)) from problem
    is_interval = found is not None and found.is_interval
    return {
        "name": " ".join(options["filter"]) or "everything",
        "from": days.start.isoformat(),
        "to": days.last.isoformat(),
        "currency": options["currency"],
        "forecast": _text(found.amount if found else None),
        "low": _text(found.low if found and is_interval else None),
        "high": _text(found.high if found and is_interval else None),
        "method": found.method if found else "",
        "error_percent": _text(found.error_percent if found else None),
        "naive_pace_error_percent": _text(found.pace_error_percent if found else None),
        "history_days": found.history_days if found else 0,
    }


def _filter(text: str) -> Filter:
    name, found, values = text.partition("=")
    if not found:
        raise CommandError(f"expected --filter DIM=VALUE, found {text!r}")
    return Filter(name, tuple(values.split(",")))


def _text(amount: Decimal | None) -> str | None:
    return None if amount is None else money.text(amount)


def _sentence(one: dict[str, Any]) -> str:
    """`everything: $71.7k by 30 November 2026, $68.9k–$74.6k (80 %); weekday average, missed by 4.2 % before`."""
    if one["forecast"] is None:
        return f"{one['name']}: not enough history (31 complete days, or 3 of the period for a naive pace)"
    currency = one["currency"]
    text = f"{one['name']}: {fmt.money(Decimal(one['forecast']), currency, mode='short')} by {one['to']}"
    if one["low"] is not None:
        text += f", {fmt.money_range(Decimal(one['low']), Decimal(one['high']), currency, level=80)}"
    error = f", missed by {one['error_percent']} % before" if one["error_percent"] else ""
    return f"{text}; {one['method']}{error}"
