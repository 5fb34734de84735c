"""costobs budgets: make, list, evaluate and pause budgets; approve, decline and undo what their ladders do."""

import csv
import io
from argparse import ArgumentParser
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
from django.core.management.base import BaseCommand, CommandError

from alerts import (
    budget_copies,
    budget_files,
    budgets,
    evaluate,
    execute,
    lease_lines,
    queries,
    rung_checks,
    windows,
)
from alerts.lease_lines import AccountLine, LeaseLine
from alerts.management import budget_arguments
from alerts.rows import BudgetLine, BudgetTerms, RunLine
from attribution.exports import guarded
from costobs.kernel import fmt, money

BY = "command line"


class Command(BaseCommand):
    help = "Budgets and their ladders: costobs budgets create --name Search --team search --amount 24000 --period month"

    def add_arguments(self, parser: ArgumentParser) -> None:
        budget_arguments.add(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        now = datetime.now(UTC)
        try:
            getattr(self, f"_{options['act'].replace('-', '_')}")(options, now)
        except (budgets.Invalid, windows.Invalid, execute.Conflict, execute.NotConfirmed, queries.NotFound) as problem:
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
            terms=BudgetTerms(
                rolling_days=options["rolling_days"],
                zone=options["zone"],
                parent_id=self._id(options["parent"], now) if options["parent"] else None,
                starts_on=options["starts_on"],
                ends_on=options["ends_on"],
                is_prorated=options["prorated"],
                rollover=options["rollover"],
                rollover_cap_percent=options["rollover_cap"],
                borrow_percent=options["borrow"],
                is_hard=options["hard"],
                on_unreachable=options["on_unreachable"],
                default_max_tokens=options["default_max_tokens"],
                aborts_running=options["abort_running"],
                criticality=options["criticality"],
            ),
            by=BY,
            now=now,
        )
        self.stdout.write(f"budget {budget_id}: {options['name']}")

    def _export(self, options: dict[str, Any], now: datetime) -> None:
        lines = sorted(queries.budgets(now=now, teams=None), key=lambda line: line.name)
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(budget_files.COLUMNS)
        table.writerows([guarded(cell) for cell in row] for row in budget_files.rows(ids=[line.id for line in lines]))
        if options["file"] == "-":
            self.stdout.write(text.getvalue(), ending="")
            return
        Path(options["file"]).write_text(text.getvalue(), encoding="utf-8")
        self.stdout.write(f"{len(lines)} budgets in {options['file']}")

    def _import(self, options: dict[str, Any], now: datetime) -> None:
        try:
            content = Path(options["file"]).read_bytes()
            step = budget_files.plan if options["dry_run"] else budget_files.apply
            found = step(content=content, by=BY, now=now)
        except (OSError, budget_files.Unreadable) as problem:
            raise CommandError(str(problem)) from problem
        for row in found.rows:
            for mistake in row.mistakes:
                self.stderr.write(f"line {row.line}, {mistake.column}: {mistake.text}")
        if not found.is_right:
            raise CommandError(f"nothing was written: {found.count('wrong')} of {len(found.rows)} rows are wrong")
        counts = ", ".join(f"{found.count(verdict)} {verdict}" for verdict in ("new", "changed", "same"))
        self.stdout.write(f"{'would be' if options['dry_run'] else 'budgets'}: {counts}")

    def _copy(self, options: dict[str, Any], now: datetime) -> None:
        made = budget_copies.copy(
            budget_id=self._id(options["name"], now),
            name=options["new_name"],
            growth_percent=options["growth"],
            to_next=options["next"],
            with_children=options["with_children"],
            by=BY,
            now=now,
        )
        names = {line.id: line.name for line in queries.budgets(now=now, teams=None)}
        for budget_id in made:
            self.stdout.write(f"budget {budget_id}: {names[budget_id]}")

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
            self._pause_all(options, now)
            return
        budget_id = self._id(options["name"], now)
        budgets.pause(budget_id=budget_id, until=until, by=BY, now=now, reason=options["reason"])
        self.stdout.write(f"{options['name']} paused until {fmt.moment(until)}")

    def _pause_all(self, options: dict[str, Any], now: datetime) -> None:
        until = now + timedelta(hours=options["hours"])
        count = windows.pause_all(until=until, by=BY, now=now, reason=options["reason"])
        self.stdout.write(f"{count} ladders paused until {fmt.moment(until)}")

    def _resume_all(self, options: dict[str, Any], now: datetime) -> None:
        self.stdout.write("resumed" if windows.resume_all(by=BY, now=now) else "nothing was paused")

    def _windows(self, options: dict[str, Any], now: datetime) -> None:
        rows = [
            {
                "id": line.id,
                "kind": line.kind,
                "name": line.name,
                "when": line.when_words,
                "for": line.scope_words,
                "open_until": line.open_until and fmt.moment(line.open_until),
            }
            for line in windows.windows(now=now)
        ]
        rows += [
            {
                "id": line.id,
                "kind": "protected",
                "name": line.reason,
                "when": "always",
                "for": line.scope_words,
                "open_until": None,
            }
            for line in windows.protected()
        ]
        self._show(rows, options["format"])

    def _window(self, options: dict[str, Any], now: datetime) -> None:
        names = ("name", "kind", "weekly", "zone", "starts_at", "ends_at", "scope")
        window_id = windows.add(**{name: options[name] for name in names}, by=BY, now=now)
        self.stdout.write(f"window {window_id}: {options['name']}")

    def _window_remove(self, options: dict[str, Any], now: datetime) -> None:
        self.stdout.write("removed" if windows.remove(window_id=options["id"], by=BY, now=now) else "gone already")

    def _protect(self, options: dict[str, Any], now: datetime) -> None:
        found = windows.protect(scope=options["scope"], by=BY, now=now, reason=options["reason"])
        self.stdout.write(f"protected {found}: {rung_checks.scope_text(options['scope'])}")

    def _unprotect(self, options: dict[str, Any], now: datetime) -> None:
        self.stdout.write(
            "no longer" if windows.unprotect(protected_id=options["id"], by=BY, now=now) else "gone already"
        )

    def _resume(self, options: dict[str, Any], now: datetime) -> None:
        budgets.pause(budget_id=self._id(options["name"], now), until=None, by=BY, now=now)
        self.stdout.write(f"{options['name']} resumed")

    def _delete(self, options: dict[str, Any], now: datetime) -> None:
        budgets.delete(budget_id=self._id(options["name"], now), by=BY, now=now)
        self.stdout.write(f"{options['name']} deleted")

    def _approve(self, options: dict[str, Any], now: datetime) -> None:
        found = queries.action(id=options["run"], teams=None)
        missing = execute.approve(run_id=found.id, version=found.version, by=BY, now=now, confirm=options["confirm"])
        waits = f"; it waits for {missing} more, somebody else" if missing else ""
        self.stdout.write(f"approved: {found.words} for {found.target_words}{waits}")

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
        "forecast_low": _text(line.forecast_low_cost),
        "forecast_high": _text(line.forecast_high_cost),
        "forecast_method": line.forecast_method,
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
