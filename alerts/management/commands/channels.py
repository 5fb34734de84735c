"""costobs channels: where alerts go."""

import sys
from argparse import ArgumentParser
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from alerts import subscribe

BY = "command line"


class Command(BaseCommand):
    help = "Where alerts go: costobs channels email --name finance --to finance@example.com"

    def add_arguments(self, parser: ArgumentParser) -> None:
        acts = parser.add_subparsers(dest="act", required=True)
        email = acts.add_parser("email", help="add an e-mail channel")
        email.add_argument("--name", required=True)
        email.add_argument("--to", action="append", help="repeat for several")
        email.add_argument("--to-owner", action="store_true", help="write to the owner of each budget instead")
        slack = acts.add_parser("slack", help="add a Slack channel; the webhook's address is read from standard input")
        slack.add_argument("--name", required=True)
        app = acts.add_parser("slack-app", help="add a Slack app; its bot and app-level tokens are read, a line each")
        app.add_argument("--name", required=True)
        app.add_argument("--channel", required=True, help="its id, as C0123456789")
        webhook = acts.add_parser("webhook", help="add a signed webhook; its secret is read from standard input")
        webhook.add_argument("--name", required=True)
        webhook.add_argument("--url", required=True)
        pager = acts.add_parser("pagerduty", help="add PagerDuty events; the routing key is read from standard input")
        pager.add_argument("--name", required=True)
        pager.add_argument("--url", default="", help="of another service that takes events v2")
        acts.add_parser("list", help="list the channels")
        for act, words in (
            ("test", "send a test"),
            ("pause", "send nothing for now"),
            ("resume", "send again"),
            ("remove", "remove a channel"),
        ):
            acts.add_parser(act, help=words).add_argument("name")

    def handle(self, *args: Any, **options: Any) -> None:
        act = options["act"].replace("-", "_")
        try:
            getattr(self, f"_{act}")(options, datetime.now(UTC))
        except (subscribe.Invalid, subscribe.NotArrived) as problem:
            raise CommandError(str(problem)) from problem

    def _email(self, options: dict[str, Any], now: datetime) -> None:
        config = {"to_owner": True} if options["to_owner"] else {"to": options["to"] or []}
        self._create("email", options, config, None, now)

    # Secrets are no arguments: arguments are seen by every user of the machine.
    def _slack(self, options: dict[str, Any], now: datetime) -> None:
        self._create("slack", options, {}, {"webhook_url": _line()}, now)

    def _slack_app(self, options: dict[str, Any], now: datetime) -> None:
        credentials = {"bot_token": _line(), "app_token": _line()}
        self._create("slack_app", options, {"channel": options["channel"]}, credentials, now)

    def _webhook(self, options: dict[str, Any], now: datetime) -> None:
        self._create("webhook", options, {"url": options["url"]}, {"secret": _line()}, now)

    def _pagerduty(self, options: dict[str, Any], now: datetime) -> None:
        config = {"url": options["url"]} if options["url"] else {}
        self._create("pagerduty", options, config, {"routing_key": _line()}, now)

    def _create(
        self,
        kind: str,
        options: dict[str, Any],
        config: dict[str, Any],
        credentials: dict[str, str] | None,
        now: datetime,
    ) -> None:
        made = subscribe.create(name=options["name"], kind=kind, config=config, credentials=credentials, by=BY, now=now)
        self.stdout.write(f"channel {made}: {options['name']}")

    def _list(self, _options: dict[str, Any], _now: datetime) -> None:
        for line in subscribe.channels():
            state = "active" if line.is_active else "paused"
            error = f"  {line.last_error}" if line.last_error else ""
            self.stdout.write(f"{line.name}  {line.kind}  {line.place or 'webhook'}  {state}{error}")

    def _test(self, options: dict[str, Any], now: datetime) -> None:
        found = _found(options["name"])
        subscribe.test(channel_id=found.id, by=BY, base_url=settings.COSTOBS_URL, now=now)
        self.stdout.write("the test went out")

    def _pause(self, options: dict[str, Any], now: datetime) -> None:
        subscribe.pause(channel_id=_found(options["name"]).id, is_active=False, by=BY, now=now)

    def _resume(self, options: dict[str, Any], now: datetime) -> None:
        subscribe.pause(channel_id=_found(options["name"]).id, is_active=True, by=BY, now=now)

    def _remove(self, options: dict[str, Any], now: datetime) -> None:
        subscribe.remove(channel_id=_found(options["name"]).id, by=BY, now=now)


def _line() -> str:
    return sys.stdin.readline().strip()


def _found(name: str) -> subscribe.ChannelLine:
    found = next((line for line in subscribe.channels() if line.name == name), None)
    if found is None:
        raise CommandError(f"there is no channel called {name!r}")
    return found
