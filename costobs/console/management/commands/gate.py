"""costobs gate: make a gate and its token, make and revoke the keys of its clients."""

from argparse import ArgumentParser
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from alerts import gates, queries
from costobs.access import tokens
from costobs.kernel import fmt
from ingest import configure

BY = "command line"


class Command(BaseCommand):
    help = "Gates and their client keys: costobs gate create --name chat-1 --deployment chat-small"

    def add_arguments(self, parser: ArgumentParser) -> None:
        acts = parser.add_subparsers(dest="act", required=True)
        create = acts.add_parser("create", help="make a gate; its token is shown once")
        create.add_argument("--name", required=True)
        create.add_argument("--deployment", required=True, help="what the server serves, as it is called in reports")
        create.add_argument("--provider", default="self_hosted")
        acts.add_parser("list", help="list gates and keys")
        remove = acts.add_parser("remove", help="take a gate out and end its token; its usage stays")
        remove.add_argument("name")
        key = acts.add_parser("key", help="client keys").add_subparsers(dest="key_act", required=True)
        key_create = key.add_parser("create", help="make a key; it is shown once")
        key_create.add_argument("--team", required=True)
        key_create.add_argument("--name", default="", help="default: the team's name")
        key_create.add_argument("--feature", action="append", help="that a header may name; repeat for several")
        key_create.add_argument("--model", action="append", help="that it may call; repeat for several (default: all)")
        key.add_parser("revoke", help="end a key within seconds").add_argument("key_id")

    def handle(self, *args: Any, **options: Any) -> None:
        act = f"key_{options['key_act']}" if options["act"] == "key" else options["act"]
        try:
            getattr(self, f"_{act}")(options, datetime.now(UTC))
        except (gates.Invalid, tokens.BadToken, configure.BadConfig) as problem:
            raise CommandError(str(problem)) from problem

    def _create(self, options: dict[str, Any], now: datetime) -> None:
        name, deployment, provider = options["name"], options["deployment"], options["provider"]
        config = {"provider": provider, "deployment": deployment}
        with transaction.atomic():
            source_id = configure.create_source(kind="gate", name=name, config=config, now=now)
            gates.create(name=name, deployment=deployment, provider=provider, source_id=source_id, by=BY, now=now)
            _token, text = tokens.create(
                name=_token_name(name), grants=["gate"], source_id=source_id, created_by=BY, now=now
            )
        self.stdout.write(text)
        self.stderr.write("Keep it now: only its hash is stored. Give it to the gate as COSTOBS_GATE_TOKEN.")

    def _remove(self, options: dict[str, Any], now: datetime) -> None:
        with transaction.atomic():
            found = gates.remove(name=options["name"], by=BY, now=now)
            tokens.revoke(name=_token_name(options["name"]), revoked_by=BY, now=now)
        if not found:
            raise CommandError(f"there is no gate called {options['name']!r}")

    def _list(self, _options: dict[str, Any], now: datetime) -> None:
        for gate in queries.gates(now=now):
            seen = (
                f"{gate.processes} live"
                if gate.is_live
                else "never seen"
                if gate.last_seen_at is None
                else f"last seen {fmt.moment(gate.last_seen_at)}"
            )
            self.stdout.write(f"gate {gate.name}  {gate.provider}/{gate.deployment}  {seen}")
        for key in queries.client_keys():
            features = "no features" if key.features is None else ", ".join(key.features)
            models = "all models" if key.models is None else ", ".join(key.models)
            self.stdout.write(f"key {key.key_id}  {key.name}  team {key.team}  {features}  {models}")

    def _key_create(self, options: dict[str, Any], now: datetime) -> None:
        key_id, text = gates.create_key(
            name=options["name"] or options["team"],
            team=options["team"],
            features=options["feature"],
            models=options["model"],
            by=BY,
            now=now,
        )
        self.stdout.write(text)
        self.stderr.write(f"This is {key_id}. Keep it now: only its hash is stored.")

    def _key_revoke(self, options: dict[str, Any], now: datetime) -> None:
        if not gates.revoke_key(key_id=options["key_id"], by=BY, now=now):
            raise CommandError(f"there is no key {options['key_id']!r} in force")


def _token_name(gate: str) -> str:
    return f"gate {gate}"
