"""costobs price: what tokens cost: set an operator's price, list prices, find usage nobody priced."""

from argparse import ArgumentParser
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from costobs import pipeline, repricing
from costobs.access import scopes
from costobs.kernel import money
from costobs.kernel.period import Days, day_of
from ingest import price, price_book, price_changes, price_lines, price_list
from ingest.price_lines import Line
from ingest.price_usage import Repriced
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
        listed.add_argument(
            "--known-at", default="", metavar="DATE", help="as they were believed at the end of that UTC day"
        )
        renewed = acts.add_parser(
            "refresh", help="after an update: follow the list where it has changed, in open months"
        )
        renewed.add_argument("--by", default="command line", help="who does it, for the audit log")
        table = acts.add_parser("import", help="set the prices of a CSV file, as the price book exports it")
        table.add_argument("file")
        table.add_argument("--by", default="command line", help="who sets them, for the audit log")
        acts.add_parser("changes", help="the newest changes, and what became of them")
        for verb, told in (
            ("approve", "agree to a change that somebody else proposed"),
            ("apply", "put a change in force"),
            ("undo", "take a change back: open months get their former prices"),
        ):
            decided = acts.add_parser(verb, help=told)
            decided.add_argument("change", type=int)
            decided.add_argument("--by", default="command line", help="who decides, for the audit log")
        missing = acts.add_parser("unpriced", help="usage of models without a price, at a conservative price")
        missing.add_argument("--days", type=int, default=30, help="how many days back (default: 30)")

    def handle(self, *args: Any, **options: Any) -> None:
        getattr(self, f"_{options['act']}")(options, datetime.now(UTC))

    def _set(self, options: dict[str, Any], now: datetime) -> None:
        names = ("input", "request", *DISJOINT_TOKEN_KINDS)
        try:
            prices = {name: money.parse(options[name]) for name in names if options.get(name)}
            start = date.fromisoformat(options["start"]) if options["start"] else day_of(now)
            what = (options["provider"], options["model"], options["tier"])
            line = Line(*what, start, options["currency"].strip().upper(), {0: prices})
            change_id = price_changes.propose(kind="price", lines=[line], by=_person(options["by"]), now=now)
        except (money.MoneyError, price.BadPrice, ValueError) as problem:
            raise CommandError(str(problem)) from problem
        moved = self._applied(change_id, options["by"], now)
        self.stdout.write(
            f"{options['provider']}/{options['model']} ({options['tier']}) from {start}:"
            f" {moved.events} calls of {len(moved.days)} days priced again"
        )
        self._settle()

    def _import(self, options: dict[str, Any], now: datetime) -> None:
        path = Path(options["file"])
        try:
            lines, problems = price_lines.read(path.read_text(encoding="utf-8-sig"), file=path.name)
            for problem in problems:
                self.stderr.write(f"left out: {problem}")
            change_id = price_changes.propose(
                kind="file", lines=lines, by=_person(options["by"]), now=now, problems=problems
            )
        except (OSError, UnicodeDecodeError, price.BadPrice) as problem:
            raise CommandError(str(problem)) from problem
        moved = self._applied(change_id, options["by"], now)
        self.stdout.write(f"{len(lines)} prices set; {moved.events} calls of {len(moved.days)} days priced again")
        self._settle()

    def _refresh(self, options: dict[str, Any], now: datetime) -> None:
        change_id = price_changes.propose_list(now=now)
        if change_id is None:
            waiting = [one for one in price_changes.listing(states=price_changes.OPEN_STATES) if one.kind == "list"]
            if not waiting:
                self.stdout.write(_not_followed())
                return
            change_id = waiting[0].pk
        moved = self._applied(change_id, options["by"], now)
        self.stdout.write(f"the prices follow the installed list; {moved.events} calls are priced again")
        self._settle()

    def _changes(self, options: dict[str, Any], _now: datetime) -> None:
        lines = [["change", "state", "what", "proposed by", "approved by", "applied by"]]
        lines += [
            [str(one.pk), one.state, one.title, one.proposed_by, one.approved_by, one.applied_by]
            for one in price_changes.listing()
        ]
        self._table(lines, "no price was proposed yet")

    def _approve(self, options: dict[str, Any], now: datetime) -> None:
        by = scopes.named(options["by"])
        if not by.may_see_all:
            raise CommandError(
                f"expected --by as the e-mail address of an administrator or of finance, found {options['by']!r}"
            )
        try:
            repricing.approve(change_id=options["change"], by=by.name, now=now)
        except repricing.NotNow as problem:
            raise CommandError(str(problem)) from problem
        self.stdout.write(
            f"change {options['change']} is approved; put it in force: costobs price apply {options['change']}"
        )

    def _apply(self, options: dict[str, Any], now: datetime) -> None:
        moved = self._applied(options["change"], options["by"], now)
        self.stdout.write(f"change {options['change']} is in force; {moved.events} calls are priced again")
        self._settle()

    def _undo(self, options: dict[str, Any], now: datetime) -> None:
        try:
            moved = repricing.undo(change_id=options["change"], by=options["by"], now=now)
        except (repricing.NotNow, price.PriceMoved) as problem:
            raise CommandError(str(problem)) from problem
        self.stdout.write(f"change {options['change']} is taken back; {moved.events} calls have their former price")
        self._settle()

    def _applied(self, change_id: int, by: str, now: datetime) -> Repriced:
        """Puts a change in force. Raises CommandError with the number of the change where another person has to agree."""
        try:
            return repricing.apply(change_id=change_id, by=by, now=now)
        except repricing.NotNow as problem:
            raise CommandError(
                f"change {change_id} is proposed and does not count yet: {problem}."
                f" In the browser: Settings, Prices; or: costobs price approve {change_id} --by NAME"
            ) from problem
        except (price.BadPrice, price.PriceMoved) as problem:
            raise CommandError(str(problem)) from problem

    def _settle(self) -> None:
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
            for row in self._listed(options)
        ]
        self._table(lines, "no prices yet: they are looked up when the first usage is loaded")

    def _listed(self, options: dict[str, Any]) -> list[Any]:
        if not options["known_at"]:
            return price_book.current(provider=options["provider"])
        try:
            day = date.fromisoformat(options["known_at"])
        except ValueError as problem:
            raise CommandError(str(problem)) from problem
        at = datetime.combine(day + timedelta(days=1), time(0), UTC)
        return price_book.believed(at=at, provider=options["provider"])

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
        for provider, tier in price_book.unknown_tiers():
            self.stderr.write(f"{provider}: no price is known for tier {tier}; it counts at the standard price")

    def _table(self, lines: list[list[str]], empty: str) -> None:
        if len(lines) == 1:
            self.stdout.write(empty)
            return
        widths = [max(len(line[index]) for line in lines) for index in range(len(lines[0]))]
        for line in lines:
            self.stdout.write("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _person(name: str) -> str:
    """As the pages call somebody who has an account: whoever proposes here is not another person there."""
    found = scopes.named(name)
    return name if found is scopes.NOBODY else found.name


def _not_followed() -> str:
    """Why there is nothing to follow: the prices are the list's, or somebody decided against them."""
    if not price.outdated():
        return "the prices in force are those of the installed list"
    decided = next(one for one in price_changes.listing(limit=10_000) if one.list_version == price_list.PACKAGE)
    return f"the update to {decided.list_version} was {decided.state} as change {decided.pk}; it is not proposed twice"


def _per_million(per_token: Decimal) -> str:
    return money.text(per_token.scaleb(_MILLION).normalize())
