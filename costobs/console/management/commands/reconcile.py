"""costobs reconcile: compares what was estimated with what was billed, and says why they differ."""

import json
from argparse import ArgumentParser
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from attribution import queries, reconcile
from costobs.kernel import fmt, money, period
from costobs.kernel.scope import SpendScope


class Command(BaseCommand):
    help = "Compare estimates with bills of a month, and name why they differ"

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--month", required=True, help="the month, YYYY-MM")
        parser.add_argument("--currency", default=settings.COSTOBS_CURRENCY, help="of the bills (default: %(default)s)")
        parser.add_argument("--format", choices=("text", "json"), default="text")
        parser.add_argument("--again", action="store_true", help="compare the month anew, whether it changed or not")

    def handle(self, *args: Any, **options: Any) -> None:
        now = timezone.now()
        try:
            days = period.parse_month(options["month"])
        except ValueError as problem:
            raise CommandError(str(problem)) from problem
        if options["again"] or days in reconcile.due(now=now):
            reconcile.run(month=days, now=now)
        found = queries.compared(scope=SpendScope(days, currency=options["currency"].upper(), teams=None))
        if options["format"] == "json":
            self.stdout.write(json.dumps(_document(found), indent=2))
            return
        for line in _lines(found):
            self.stdout.write(line)


def _lines(found: queries.Comparison) -> list[str]:
    if not found.providers:
        return ["no usage and no bill of a provider of models in this month"]
    lines = [
        f"{one.provider} {one.currency}: estimated {money.text(one.estimated_cost)}, billed {money.text(one.billed_cost)},"
        f" difference {money.text(one.difference)}, logged share {_share(one.coverage)},"
        f" unknown {money.text(one.unknown_cost)}{', over its threshold' if one.is_over else ''}"
        f"{f', {money.text(one.waiting_cost)} waits for its bill' if one.waiting_cost else ''}"
        for one in found.providers
    ]
    lines += [f"  {one.cause}: {money.text(one.amount)}, cells {one.cells}, days {one.days}" for one in found.causes]
    lines.append(f"explained: {_share(found.explained_share)}")
    others = [currency for currency in found.currencies if currency != found.currency]
    return [*lines, f"other currencies: {', '.join(others)} (--currency)"] if others else lines


def _share(ratio: Decimal | None) -> str:
    return "nothing to compare" if ratio is None else fmt.percent(ratio)


def _document(found: queries.Comparison) -> dict[str, Any]:
    return {
        "from": found.days.start.isoformat(),
        "to": found.days.last.isoformat(),
        "currency": found.currency,
        "currencies": list(found.currencies),
        "estimated_cost": money.text(found.estimated_cost),
        "billed_cost": money.text(found.billed_cost),
        "difference": money.text(found.difference),
        "waiting_cost": money.text(found.waiting_cost),
        "explained_share": _ratio(found.explained_share),
        "causes": [{"cause": one.cause, "amount": money.text(one.amount), "cells": one.cells} for one in found.causes],
        "providers": [
            {
                "provider": one.provider,
                "estimated_cost": money.text(one.estimated_cost),
                "billed_cost": money.text(one.billed_cost),
                "drift_cost": money.text(one.drift_cost),
                "unknown_cost": money.text(one.unknown_cost),
                "coverage": _ratio(one.coverage),
                "is_over": one.is_over,
            }
            for one in found.providers
        ],
    }


def _ratio(value: Decimal | None) -> str | None:
    return None if value is None else money.text(value.quantize(Decimal("1e-6")))
