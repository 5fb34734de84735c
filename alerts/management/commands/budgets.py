"""costobs budgets: make, list, evaluate and pause budgets; approve, decline and undo what their ladders do."""

from argparse import ArgumentParser, ArgumentTypeError
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import orjson
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from alerts import budgets, evaluate, execute, lease_lines, queries
from alerts.lease_lines import AccountLine, LeaseLine
from alerts.rows import BudgetLine, RunLine
from costobs.kernel import fmt, money

BY = "command line"
_TOP_LEVEL = {"approval", "expires_after_hours"}


def rung(text: str) -> budgets.RungSpec:
    """`75:throttle:requests_per_minute=6,approval=one` as a rung."""
    percent, found, rest = text.partition(":")
    action, _, settings_text = rest.partition(":")
    try:
        amount = money.parse(percent)
    except money.MoneyError:
        found = ""
    if not found or not action:
        raise ArgumentTypeError(f"expected PERCENT:ACTION[:SETTING=VALUE,…], found {text!r}")
    values: dict[str, str] = {}
    for pair in filter(None, settings_text.split(",")):
        name, equals, value = pair.partition("=")
        if not equals:
            raise ArgumentTypeError(f"expected SETTING=VALUE, found {pair!r}")
        values[name.strip()] = value.strip()
    hours = values.get("expires_after_hours")
    if hours is not None and not hours.isdigit():
        raise ArgumentTypeError(f"expires_after_hours: expected a whole number, found {hours!r}")
    return budgets.RungSpec(
        percent=amount,
        action=action,
        config={name: value for name, value in values.items() if name not in _TOP_LEVEL},
        approval=values.get("approval", "automatic"),
        expires_after_hours=None if hours is None else int(hours),
    )


class Command(BaseCommand):
    help = "Budgets and their ladders: costobs budgets create --name Search --team search --amount 24000 --period month"

    def add_arguments(self, parser: ArgumentParser) -> None:
        acts = parser.add_subparsers(dest="act", required=True)
        create = acts.add_parser("create", help="make a budget")
        create.add_argument("--name", required=True)
        for name in ("team", "feature", "model", "key"):
            create.add_argument(f"--{name}", action="append", default=[], help="repeat for several")
        create.add_argument("--filter", action="append", default=[], metavar="DIM=VALUE[,VALUE]", help="any dimension")
        create.add_argument("--amount", required=True)
        create.add_argument("--currency", default=settings.COSTOBS_CURRENCY)
        create.add_argument("--period", default="month", help=", ".join(budgets.PERIODS))
        create.add_argument("--owner", default="", metavar="EMAIL")
        create.add_argument(
            "--rung", action="append", type=rung, default=[], metavar="PERCENT:ACTION[:SETTING=VALUE,…]",
            help="60:notify, 100:throttle:requests_per_minute=6, 110:shutdown:approval=one",
        )  # fmt: skip
        listing = acts.add_parser("list", help="list the budgets")
        listing.add_argument("--format", default="table", choices=["table", "json"])
        evaluation = acts.add_parser("evaluate", help="compare every budget with the books now; starts no action")
        evaluation.add_argument("--format", default="table", choices=["table", "json"])
        actions = acts.add_parser("actions", help="list what ladders did and want to do")
        actions.add_argument("--format", default="table", choices=["table", "json"])
        leases = acts.add_parser("leases", help="list what hard budgets have lent to gates")
        leases.add_argument("--format", default="table", choices=["table", "json"])
        pause = acts.add_parser("pause", help="suspend a ladder, or all of them")
        pause.add_argument("name", nargs="?", default="")
        pause.add_argument("--all", action="store_true")
        pause.add_argument("--hours", type=int, default=1)
        pause.add_argument("--reason", default="")
        acts.add_parser("resume", help="end a pause").add_argument("name")
        acts.add_parser("delete", help="delete a budget with its history").add_argument("name")
        self._add_decisions(acts)

    def _add_decisions(self, acts: Any) -> None:  # argparse does not export the type of sub-parsers
        for verb, what in (("approve", "let a waiting action run"), ("decline", "refuse it"), ("undo", "take it back")):
            parser = acts.add_parser(verb, help=what)
            parser.add_argument("run", type=int)
            parser.add_argument("--reason", default="")
            if verb == "approve":
                parser.add_argument("--confirm", default="", metavar="NAME", help="the budget's name, for a shutdown")

    def handle(self, *args: Any, **options: Any) -> None:
        now = datetime.now(UTC)
        try:
            getattr(self, f"_{options['act']}")(options, now)
        except (budgets.Invalid, execute.Conflict, execute.NotConfirmed, queries.NotFound) as problem:
            raise CommandError(str(problem)) from problem

    def _create(self, options: dict[str, Any], now: datetime) -> None:
        scope = {name: options[name] for name in ("team", "feature", "model", "key") if options[name]}
        for text in options["filter"]:
            name, found, values = text.partition("=")
            if not found:
                raise CommandError(f"expected --filter DIM=VALUE, found {text!r}")
            scope[name] = values.split(",")
        budget_id = budgets.create(
            name=options["name"],
            scope=scope,
            amount=options["amount"],
            currency=options["currency"],
            period=options["period"],
            rungs=options["rung"],
            owner_email=options["owner"],
            by=BY,
            now=now,
        )
        self.stdout.write(f"budget {budget_id}: {options['name']}")

    def _list(self, options: dict[str, Any], now: datetime) -> None:
        self._show([_document(line) for line in queries.budgets(now=now, teams=None)], options["format"])

    def _evaluate(self, options: dict[str, Any], now: datetime) -> None:
        evaluate.run(now=now)
        self._list(options, now)

    def _actions(self, options: dict[str, Any], now: datetime) -> None:
        self._show([_run_document(run) for run in queries.action_log(teams=None)], options["format"])

    def _leases(self, options: dict[str, Any], now: datetime) -> None:
        found = lease_lines.accounts(now=now)
        self._show([row for account in found for row in _lease_documents(account)], options["format"])

    def _pause(self, options: dict[str, Any], now: datetime) -> None:
        until = now + timedelta(hours=options["hours"])
        if options["all"]:
            count = budgets.pause_all(until=until, by=BY, now=now, reason=options["reason"])
            self.stdout.write(f"{count} ladders paused until {fmt.moment(until)}")
            return
        budget_id = self._id(options["name"], now)
        budgets.pause(budget_id=budget_id, until=until, by=BY, now=now, reason=options["reason"])
        self.stdout.write(f"{options['name']} paused until {fmt.moment(until)}")

    def _resume(self, options: dict[str, Any], now: datetime) -> None:
        budgets.pause(budget_id=self._id(options["name"], now), until=None, by=BY, now=now)
        self.stdout.write(f"{options['name']} resumed")

    def _delete(self, options: dict[str, Any], now: datetime) -> None:
        budgets.delete(budget_id=self._id(options["name"], now), by=BY, now=now)
        self.stdout.write(f"{options['name']} deleted")

    def _approve(self, options: dict[str, Any], now: datetime) -> None:
        found = queries.action(id=options["run"], teams=None)
        execute.approve(run_id=found.id, version=found.version, by=BY, now=now, confirm=options["confirm"])
        self.stdout.write(f"approved: {found.words} for {found.target_words}")

    def _decline(self, options: dict[str, Any], now: datetime) -> None:
        found = queries.action(id=options["run"], teams=None)
        execute.decline(run_id=found.id, version=found.version, by=BY, now=now, reason=options["reason"])
        self.stdout.write(f"declined: {found.words} for {found.target_words}")

    def _undo(self, options: dict[str, Any], now: datetime) -> None:
        found = queries.action(id=options["run"], teams=None)
        execute.undo(run_id=found.id, by=BY, now=now, version=found.version, reason=options["reason"])
        self.stdout.write(f"undone: {found.words} for {found.target_words}")

    def _id(self, name: str, now: datetime) -> int:
        for line in queries.budgets(now=now, teams=None, with_inactive=True):
            if line.name == name:
                return line.id
        raise CommandError(f"there is no budget called {name!r}")

    def _show(self, rows: list[dict[str, Any]], form: str) -> None:
        if form == "json":
            self.stdout.write(orjson.dumps(rows, option=orjson.OPT_INDENT_2).decode())
            return
        if not rows:
            self.stdout.write("nothing yet")
            return
        table = [list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)]
        widths = [max(len(line[index]) for line in table) for index in range(len(table[0]))]
        for line in table:
            cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
            self.stdout.write("  ".join(cells).rstrip())


def _cell(value: object) -> str:
    return fmt.NOT_APPLICABLE if value is None else str(value)


def _text(amount: Decimal | None) -> str | None:
    return None if amount is None else money.text(amount)


def _document(line: BudgetLine) -> dict[str, Any]:
    return {
        "id": line.id,
        "name": line.name,
        "scope": line.scope_words,
        "period": fmt.period(line.days.start, line.days.end),
        "amount": money.text(line.amount),
        "spend": _text(line.spend_cost),
        "estimated": _text(line.estimated_cost),
        "currency": line.currency,
        "used_percent": _text(line.used_percent),
        "forecast": _text(line.forecast_cost),
        "state": line.state,
        "next": None if line.next_step is None else line.next_step.text,
    }


def _lease_documents(account: AccountLine) -> list[dict[str, Any]]:
    """The account, then what each process holds of it."""
    whole = {
        "budget": account.budget,
        "gate": None,
        "process": None,
        "state": None,
        "currency": account.currency,
        "limit": money.text(account.limit_cost),
        "settled": money.text(account.settled_cost),
        "other": money.text(account.other_cost),
        "outstanding": money.text(account.outstanding_cost),
        "free": money.text(account.free_cost),
        "freed": money.text(account.freed_cost),
    }
    return [whole, *(_lease_document(whole, one) for one in account.leases)]


def _lease_document(whole: dict[str, Any], one: LeaseLine) -> dict[str, Any]:
    own = {
        "gate": one.gate,
        "process": one.process,
        "state": one.state,
        "settled": money.text(one.settled_cost),
        "outstanding": money.text(one.outstanding_cost),
        "freed": money.text(one.freed_cost),
    }
    return {**whole, "limit": None, "other": None, "free": None, **own}


def _run_document(run: RunLine) -> dict[str, Any]:
    return {
        "id": run.id,
        "budget": run.budget_name,
        "action": run.words,
        "target": run.target_words,
        "state": run.state,
        "reason": run.reason,
        "asked_at": f"{run.asked_at:%Y-%m-%d %H:%M} UTC",
        "note": run.error or run.decided_by or run.ended_by or None,
    }
