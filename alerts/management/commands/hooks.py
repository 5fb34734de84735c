"""costobs hooks: what budgets may scale or stop, and what that would do."""

import sys
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from alerts import resources
from alerts.hooks import RESOURCES
from alerts.resource_lines import ResourceLine
from costobs.kernel import fmt

BY = "command line"


class Command(BaseCommand):
    help = "What budgets may scale or stop: costobs hooks plan vllm --to 0"

    def add_arguments(self, parser: ArgumentParser) -> None:
        acts = parser.add_subparsers(dest="act", required=True)
        acts.add_parser("list", help="list the hooks and where they stand")
        add = acts.add_parser(
            "add", help="add a hook; its secrets are read from standard input, a line for each (\\n: a new line)"
        )
        add.add_argument("name")
        add.add_argument("--kind", required=True, choices=RESOURCES.names())
        add.add_argument("--set", action="append", default=[], type=_pair, metavar="NAME=VALUE", help="a setting")
        add.add_argument("--secret", action="append", default=[], metavar="NAME", help="a secret on standard input")
        add.add_argument(
            "--scope", action="append", default=[], type=_pair, metavar="DIMENSION=VALUE", help="whose calls it serves"
        )
        add.add_argument("--dedicated", action="store_true", help="one owner uses it, whatever the calls say")
        add.add_argument("--protected", action="store_true", help="no action touches it")
        add.add_argument("--drain-seconds", type=int, default=60, help="the longest wait for running requests")
        add.add_argument("--kept-cost", type=_amount, metavar="AMOUNT", help="what a day at 0 still costs")
        for act, told in (
            ("look", "what it says of itself now"),
            ("plan", "what going to so many units would do; changes nothing"),
            ("apply", "go to so many units until somebody undoes it; without --yes it only plans"),
            ("changes", "what was done to it"),
            ("remove", "remove a hook"),
        ):
            one = acts.add_parser(act, help=told)
            one.add_argument("name")
            if act in {"plan", "apply"}:
                one.add_argument("--to", type=int, required=True, metavar="UNITS")
        acts.choices["apply"].add_argument("--yes", action="store_true", help="do it; the worker carries it out")
        acts.choices["apply"].add_argument("--reason", default="", help="for the audit log")
        acts.add_parser("undo", help="give a change back").add_argument("change", type=int)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            getattr(self, f"_{options['act']}")(options, datetime.now(UTC))
        except (resources.Invalid, resources.Held, resources.NotFound, resources.NotReached) as problem:
            raise CommandError(str(problem)) from problem

    def _list(self, _options: dict[str, Any], _now: datetime) -> None:
        for one in resources.resources():
            stands = one.look_error or one.standing_words or "not looked at yet"
            held = one.held_by or ("protected" if one.is_protected else "")
            self.stdout.write("  ".join(part for part in (one.name, one.hook, one.scope_words, stands, held) if part))

    def _add(self, options: dict[str, Any], now: datetime) -> None:
        scope: dict[str, list[str]] = {}
        for name, value in options["scope"]:
            scope.setdefault(name, []).append(value)
        # Not arguments: they are seen by every user of the machine.
        secrets = {name: sys.stdin.readline().strip().replace("\\n", "\n") for name in options["secret"]}
        draft = resources.Draft(
            name=options["name"],
            hook=options["kind"],
            config=dict(options["set"]),
            credentials=secrets,
            scope=scope,
            is_dedicated=options["dedicated"],
            is_protected=options["protected"],
            drain_seconds=options["drain_seconds"],
            kept_cost=options["kept_cost"],
        )
        made = resources.create(draft=draft, by=BY, now=now)
        self.stdout.write(f"hook {made}: {options['name']}; look at it with: costobs hooks look {options['name']}")

    def _look(self, options: dict[str, Any], now: datetime) -> None:
        self.stdout.write(resources.look(resource_id=_named(options["name"]).id, now=now))

    def _plan(self, options: dict[str, Any], now: datetime) -> None:
        found = resources.trial(resource_id=_named(options["name"]).id, to_units=options["to"], now=now)
        users = [f"{team or 'nobody'} {fmt.percent(percent / 100)}" for team, percent in found.users]
        saves = fmt.UNKNOWN if found.saves_cost is None else fmt.money(found.saves_cost, found.currency)
        lines = [("stands at", found.standing_words), ("would do", found.words)]
        if not found.is_there:
            lines += [("loses", found.loses or "nothing"), ("saves a day", f"{saves}: {found.saves_words}")]
            lines += [("resuming", found.resume_words)]
        lines += [("tokens of 7 days", ", ".join(users) or "none were logged for its scope")]
        lines += [("actions", found.refusal)] if found.refusal else []
        self.stdout.write("\n".join(f"{label:<17}{text}" for label, text in lines))

    def _apply(self, options: dict[str, Any], now: datetime) -> None:
        self._plan(options, now)
        if not options["yes"]:
            self.stdout.write("Nothing was changed. With --yes the worker does it, until: costobs hooks undo")
            return
        made = resources.request(
            resource_id=_named(options["name"]).id, to_units=options["to"], by=BY, now=now, reason=options["reason"]
        )
        self.stdout.write(f"change {made} is asked for; give it back with: costobs hooks undo {made}")

    def _changes(self, options: dict[str, Any], _now: datetime) -> None:
        for one in resources.recent(resource_id=_named(options["name"]).id):
            told: Sequence[str] = (str(one.id), fmt.moment(one.asked_at), one.state_words, one.words, one.error)
            self.stdout.write("  ".join(part for part in told if part))

    def _undo(self, options: dict[str, Any], now: datetime) -> None:
        if not resources.undo(change_id=options["change"], by=BY, now=now):
            raise CommandError(f"change {options['change']} is over, or is being undone already")
        self.stdout.write(f"change {options['change']} is given back by the worker")

    def _remove(self, options: dict[str, Any], now: datetime) -> None:
        resources.remove(resource_id=_named(options["name"]).id, by=BY, now=now)


def _named(name: str) -> ResourceLine:
    found = next((one for one in resources.resources() if one.name == name), None)
    if found is None:
        raise CommandError(f"there is no hook called {name!r}; known: {', '.join(resources.names()) or 'none'}")
    return found


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ArgumentTypeError(f"expected NAME=VALUE, found {text!r}")
    return name, value


def _amount(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise ArgumentTypeError(f"expected an amount such as 12.50, found {text!r}") from None
