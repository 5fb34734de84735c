"""costobs price: what tokens cost: set an operator's price, list prices, find usage nobody priced."""

from argparse import ArgumentParser
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from costobs import pipeline
from costobs.kernel import money
from costobs.kernel.period import Days, day_of, month
from ingest import price, price_book
from ingest.rows import DISJOINT_TOKEN_KINDS

_MILLION = 6
_SHOWN = ("input_uncached", "cache_read", "cache_write_5m", "cache_write_1h", "output")


class Command(BaseCommand):
    help = "Prices of tokens: costobs price set --provider P --model M --input 0.40 --output 1.20"

    def add_arguments(self, parser: ArgumentParser) -> None:
        acts = parser.add_subparsers(dest="act", required=True)
        made = acts.add_parser("set", help="set your price from a day on; usage since then is priced again")
        made.add_argument("--provider", required=True, help="gen_ai.provider.name, or self_hosted for your own GPUs")
        made.add_argument("--model", required=True)
        made.add_argument("--tier", default="standard", help="service tier (default: standard)")
        made.add_argument("--input", required=True, metavar="PRICE", help="per 1M input tokens")
        made.add_argument("--output", required=True, metavar="PRICE", help="per 1M output tokens")
        for kind in DISJOINT_TOKEN_KINDS:
            if kind not in {"input_uncached", "output"}:
                told = "per 1M tokens (default: what it is a part of)"
                made.add_argument(f"--{kind.replace('_', '-')}", default="", metavar="PRICE", help=told)
        made.add_argument("--request", default="", metavar="PRICE", help="for one request, beside its tokens")
        made.add_argument("--from", dest="start", default="", metavar="DATE", help="first UTC day (default: today)")
        made.add_argument("--currency", default="USD")
        made.add_argument("--by", default="command line", help="who sets it, for the audit log")
        listed = acts.add_parser("list", help="the prices in force, per 1M tokens")
        listed.add_argument("--provider", default="")
        renewed = acts.add_parser("refresh", help="after an update: follow the list where it has changed")
        renewed.add_argument(
            "--from", dest="start", default="", metavar="DATE", help="first open day (default: this month)"
        )
        missing = acts.add_parser("unpriced", help="usage of models without a price, at a conservative price")
        missing.add_argument("--days", type=int, default=30, help="how many days back (default: 30)")

    def handle(self, *args: Any, **options: Any) -> None:
        getattr(self, f"_{options['act']}")(options, datetime.now(UTC))

    def _set(self, options: dict[str, Any], now: datetime) -> None:
        names = ("input", "request", *DISJOINT_TOKEN_KINDS)
        try:
            prices = {name: money.parse(options[name]) for name in names if options.get(name)}
            start = date.fromisoformat(options["start"]) if options["start"] else day_of(now)
            moved = price.set_override(
                provider=options["provider"],
                model=options["model"],
                service_tier=options["tier"],
                valid_from=start,
                prices=prices,
                currency=options["currency"],
                set_by=options["by"],
                now=now,
            )
        except (money.MoneyError, price.BadPrice, price.PriceMoved, ValueError) as problem:
            raise CommandError(str(problem)) from problem
        self.stdout.write(
            f"{options['provider']}/{options['model']} ({options['tier']}) from {start}:"
            f" {moved.events} calls of {len(moved.days)} days priced again"
        )
        while pipeline.settle(datetime.now(UTC)):
            continue

    def _refresh(self, options: dict[str, Any], now: datetime) -> None:
        try:
            start = date.fromisoformat(options["start"]) if options["start"] else month(day_of(now)).start
            moved = price.refresh(now=now, open_from=start)
        except (price.PriceMoved, ValueError) as problem:
            raise CommandError(str(problem)) from problem
        self.stdout.write(f"{moved} models have other prices now; usage from {start} on is priced again")
        while pipeline.settle(datetime.now(UTC)):
            continue

    def _list(self, options: dict[str, Any], _now: datetime) -> None:
        lines = [["provider", "model", "tier", "prompt from", "valid from", *_SHOWN, "per 1M", "provenance"]]
        lines += [
            [
                row.provider,
                row.model,
                row.service_tier,
                str(row.context_from),
                "always" if row.valid_from.year == 1970 else f"{row.valid_from:%Y-%m-%d}",
                *(_per_million(getattr(row, f"{kind}_price")) for kind in _SHOWN),
                row.currency,
                row.provenance,
            ]
            for row in price_book.current(provider=options["provider"])
        ]
        self._table(lines, "no prices yet: they are looked up when the first usage is loaded")

    def _unpriced(self, options: dict[str, Any], now: datetime) -> None:
        last = day_of(now) + timedelta(days=1)
        lines = [["provider", "model", "requests", "tokens", "conservative cost", "first seen", "last seen"]]
        lines += [
            [
                row.provider,
                row.model,
                f"{row.requests:,}",
                f"{row.tokens:,}",
                f"{row.cost_at_conservative_price:,.2f} {row.currency}",
                f"{row.first_seen:%Y-%m-%d %H:%M}Z",
                f"{row.last_seen:%Y-%m-%d %H:%M}Z",
            ]
            for row in price.unpriced(days=Days(last - timedelta(days=options["days"]), last))
        ]
        self._table(lines, "all usage has a price")
        for provider, tier in price.unknown_tiers():
            self.stderr.write(f"{provider}: no price is known for tier {tier}; it counts at the standard price")

    def _table(self, lines: list[list[str]], empty: str) -> None:
        if len(lines) == 1:
            self.stdout.write(empty)
            return
        widths = [max(len(line[index]) for line in lines) for index in range(len(lines[0]))]
        for line in lines:
            self.stdout.write("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _per_million(per_token: Decimal) -> str:
    return money.text(per_token.scaleb(_MILLION).normalize())
