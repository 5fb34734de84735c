"""costobs channels: where alerts go."""

import sys
from argparse import ArgumentParser
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from alerts import subscribe

BY = "command line"


class Command(BaseCommand):
    help = "Where alerts go: costobs channels email --name finance --to finance@example.com"

    def add_arguments(self, parser: ArgumentParser) -> None:
        acts = parser.add_subparsers(dest="act", required=True)
        email = acts.add_parser("email", help="add an e-mail channel")
        email.add_argument("--name", required=True)
        email.add_argument("--to", action="append", required=True, help="repeat for several")
        slack = acts.add_parser("slack", help="add a Slack channel; the webhook's address is read from standard input")
        slack.add_argument("--name", required=True)
        acts.add_parser("list", help="list the channels")
        acts.add_parser("remove", help="remove a channel").add_argument("name")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            getattr(self, f"_{options['act']}")(options, datetime.now(UTC))
        except subscribe.Invalid as problem:
            raise CommandError(str(problem)) from problem

    def _email(self, options: dict[str, Any], now: datetime) -> None:
        made = subscribe.create(name=options["name"], kind="email", config={"to": options["to"]}, by=BY, now=now)
        self.stdout.write(f"channel {made}: {options['name']}")

    def _slack(self, options: dict[str, Any], now: datetime) -> None:
        # Not an argument: the address is a secret, and arguments are seen by every user of the machine.
        credentials = {"webhook_url": sys.stdin.readline().strip()}
        made = subscribe.create(name=options["name"], kind="slack", credentials=credentials, by=BY, now=now)
        self.stdout.write(f"channel {made}: {options['name']}")

    def _list(self, _options: dict[str, Any], _now: datetime) -> None:
        for line in subscribe.channels():
            to = ", ".join(line.config.get("to", ())) or "webhook"
            self.stdout.write(f"{line.name}  {line.kind}  {to}  {'active' if line.is_active else 'paused'}")

    def _remove(self, options: dict[str, Any], now: datetime) -> None:
        found = next((line for line in subscribe.channels() if line.name == options["name"]), None)
        if found is None:
            raise CommandError(f"there is no channel called {options['name']!r}")
        subscribe.remove(channel_id=found.id, by=BY, now=now)
