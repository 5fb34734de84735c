"""costobs rules: who owns spend: the rules in force, their history, owners from a file, and a rule file published."""

import sys
from argparse import ArgumentParser
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
from django.core.management.base import BaseCommand, CommandError

from attribution import own, owner_import, rule_changes, rule_drafts, rule_preview, rulesets
from attribution.owning import RuleDraft
from attribution.rules.base import BadRule
from costobs import pipeline
from costobs.kernel import fmt
from costobs.kernel.period import Days, add_months, month

_BY = "command line"


class Command(BaseCommand):
    help = "Rules: costobs rules list, show, publish, history, restore, and import owners.csv"

    def add_arguments(self, parser: ArgumentParser) -> None:
        acts = parser.add_subparsers(dest="act", required=True)
        acts.add_parser("list", help="the rules in force, the first to be asked first")
        shown = acts.add_parser("show", help="the rules of a version as JSON, which `publish` reads again")
        shown.add_argument("version", nargs="?", type=int, help="default: the version in force")
        publish = acts.add_parser("publish", help="make the rules of a JSON file the ones in force")
        publish.add_argument("file", help="a list of rules as `show` prints it; - is standard input")
        publish.add_argument("--note", required=True, help="what changes and why")
        publish.add_argument("--dry-run", action="store_true", help="say what would change and move, and keep nothing")
        listed = acts.add_parser("history", help="the versions, newest first")
        listed.add_argument("--limit", type=int, default=20)
        restore = acts.add_parser("restore", help="put the rules of an old version in force, as a new version")
        restore.add_argument("version", type=int)
        restore.add_argument("--note", default="")
        imported = acts.add_parser(
            "import", help="owners from a CSV file, a catalog-info.yaml, or a list in YAML or JSON"
        )
        imported.add_argument("file")
        imported.add_argument("--note", default="")
        imported.add_argument("--dry-run", action="store_true", help="say what the file would change, and keep nothing")
        for act in (publish, restore, imported):
            act.add_argument("--by", default=_BY, help="who does it, for the audit log")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            getattr(self, f"_{options['act']}")(options, datetime.now(UTC))
        except (BadRule, rule_drafts.Refused, owner_import.Unreadable) as problem:
            raise CommandError(str(problem)) from problem

    def _list(self, options: dict[str, Any], now: datetime) -> None:
        version = own.ensure_default_ruleset(now=now)
        self.stdout.write(f"version {version}")
        for at, rule in enumerate(own.current_rules(), start=1):
            state = "" if rule.is_active else "  (disabled)"
            self.stdout.write(f"{at:3}  {rule.name}{state}: {rule_changes.summary(rule)}")

    def _show(self, options: dict[str, Any], now: datetime) -> None:
        version = options["version"] or own.ensure_default_ruleset(now=now)
        rules = [rule_drafts.document_of(rule) for rule in rulesets.version(version).rules]
        self.stdout.write(orjson.dumps(rules, option=orjson.OPT_INDENT_2).decode())

    def _publish(self, options: dict[str, Any], now: datetime) -> None:
        own.ensure_default_ruleset(now=now)
        drafts = _rules(_read(options["file"]))
        if options["dry_run"]:
            self._tell(own.current_rules(), drafts, now)
            return
        self._done(rulesets.apply(drafts=drafts, by=options["by"], note=options["note"], now=now))

    def _history(self, options: dict[str, Any], now: datetime) -> None:
        for one in rulesets.history(limit=max(1, options["limit"])):
            mark = "  in force" if one.is_current else ""
            self.stdout.write(
                f"version {one.id}  {fmt.moment(one.created_at, year=True)}  {one.created_by}  {one.note}{mark}"
            )
            for closed in one.closed_months:
                self.stdout.write(f"    {fmt.month(closed)} closed with it")
            for change in one.changes:
                self.stdout.write(f"    {change}")

    def _restore(self, options: dict[str, Any], now: datetime) -> None:
        self._done(rulesets.restore(version=options["version"], by=options["by"], note=options["note"], now=now))

    def _import(self, options: dict[str, Any], now: datetime) -> None:
        own.ensure_default_ruleset(now=now)
        found = owner_import.plan(
            owner_import.read(_read(options["file"]), name=Path(options["file"]).name), own.current_rules()
        )
        for one in found.rows:
            if one.verdict == "unusable":
                self.stderr.write(f"line {one.row.line}: {one.row.problem}")
        counts = ", ".join(f"{found.count(verdict)} {verdict}" for verdict in ("new", "changed", "same", "unusable"))
        self.stdout.write(f"{Path(options['file']).name}: {counts}")
        if options["dry_run"]:
            self._tell(own.current_rules(), list(found.rules), now)
        elif found.changes_anything:
            note = options["note"] or f"owners from {Path(options['file']).name}"
            self._done(rulesets.apply(drafts=found.rules, by=options["by"], note=note, now=now))

    def _tell(self, before: list[RuleDraft], after: list[RuleDraft], now: datetime) -> None:
        """What would change, and what would move of the last complete month."""
        for rule in after:
            rule_drafts.checked_rule(rule)
        for change in rule_changes.between(before, after):
            self.stdout.write(str(change))
        days: Days = month(add_months(now.date(), -1))
        for one in rule_preview.moves(drafts=after, days=days):
            amount = fmt.money(one.effective_cost, one.currency, mode="statement")
            self.stdout.write(
                f"{fmt.month(one.month)}: {amount} {one.currency}, {one.part.replace('_', ' ')}"
                f" {one.from_team or 'unallocated'} -> {one.to_team or 'unallocated'}"
            )

    def _done(self, done: rulesets.Published) -> None:
        for change in done.changes:
            self.stdout.write(str(change))
        self.stdout.write(f"version {done.version} is in force; {done.reopened_days} days are split anew")
        while done.reopened_days and pipeline.settle(datetime.now(UTC)):
            continue


def _read(name: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as problem:
        raise CommandError(f"{name} cannot be read: {problem.strerror}") from problem


def _rules(content: bytes) -> list[RuleDraft]:
    try:
        found = orjson.loads(content)
    except orjson.JSONDecodeError as problem:
        raise CommandError(f"expected a list of rules as JSON: {problem}") from problem
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise CommandError("expected a list of rules as JSON, as `costobs rules show` prints it")
    return [rule_drafts.rule_of(one) for one in found]
