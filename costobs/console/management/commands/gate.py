"""costobs gate: make a gate and its token, make and revoke the keys of its clients."""

from argparse import ArgumentParser
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from alerts import gate_keys, gates, queries
from costobs.access import gates as whole_gates
from costobs.kernel import fmt

BY = "command line"
_LIMITS = {
    "requests_per_minute": ("--rpm", "requests a minute"),
    "tokens_per_minute": ("--tpm", "tokens a minute"),
    "max_inflight": ("--max-inflight", "requests at the same time"),
    "max_tokens": ("--max-tokens", "output tokens of a request"),
    "priority": ("--priority", "vLLM's priority (lower numbers first)"),
}


class Command(BaseCommand):
    help = (
        "Gates and their client keys: costobs gate create --name chat-1 --deployment chat-small;"
        " costobs gate serve --help runs one as a proxy"
    )

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
        _add_limits(key_create)
        key_limit = key.add_parser("limit", help="set the limits of a key; those not named are taken off")
        key_limit.add_argument("key_id")
        _add_limits(key_limit)
        key.add_parser("rotate", help="a new text for a key; the old one ends within seconds").add_argument("key_id")
        key.add_parser("revoke", help="end a key within seconds").add_argument("key_id")

    def handle(self, *args: Any, **options: Any) -> None:
        act = f"key_{options['key_act']}" if options["act"] == "key" else options["act"]
        try:
            getattr(self, f"_{act}")(options, datetime.now(UTC))
        except (gates.Invalid, gate_keys.Invalid, whole_gates.Invalid) as problem:
            raise CommandError(str(problem)) from problem

    def _create(self, options: dict[str, Any], now: datetime) -> None:
        name, deployment, provider = options["name"], options["deployment"], options["provider"]
        text = whole_gates.create(name=name, deployment=deployment, provider=provider, by=BY, now=now)
        self.stdout.write(text)
        self.stderr.write("Keep it now: only its hash is stored. Give it to the gate as COSTOBS_GATE_TOKEN.")

    def _remove(self, options: dict[str, Any], now: datetime) -> None:
        if not whole_gates.remove(name=options["name"], by=BY, now=now):
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
        for key in gate_keys.listed():
            features = "no features" if key.features is None else ", ".join(key.features)
            models = "all models" if key.models is None else ", ".join(key.models)
            limits = ", ".join(f"{name} {value}" for name, value in key.limits.items()) or "no limits"
            self.stdout.write(f"key {key.key_id}  {key.name}  team {key.team}  {features}  {models}  {limits}")

    def _key_create(self, options: dict[str, Any], now: datetime) -> None:
        key_id, text = gates.create_key(
            name=options["name"] or options["team"],
            team=options["team"],
            features=options["feature"],
            models=options["model"],
            limits={name: options[name] for name in _LIMITS},
            by=BY,
            now=now,
        )
        self.stdout.write(text)
        self.stderr.write(f"This is {key_id}. Keep it now: only its hash is stored.")

    def _key_limit(self, options: dict[str, Any], now: datetime) -> None:
        key_id = options["key_id"]
        found = gate_keys.key(key_id=key_id)
        limits = {name: options[name] for name in _LIMITS}
        if found is None or not gate_keys.change(
            key_id=key_id, features=found.features, models=found.models, limits=limits, by=BY, now=now
        ):
            raise CommandError(f"there is no key {key_id!r} in force")

    def _key_rotate(self, options: dict[str, Any], now: datetime) -> None:
        text = gate_keys.rotate(key_id=options["key_id"], by=BY, now=now)
        if text is None:
            raise CommandError(f"there is no key {options['key_id']!r} in force")
        self.stdout.write(text)
        self.stderr.write("Keep it now: only its hash is stored. The old one ends within seconds.")

    def _key_revoke(self, options: dict[str, Any], now: datetime) -> None:
        if not gates.revoke_key(key_id=options["key_id"], by=BY, now=now):
            raise CommandError(f"there is no key {options['key_id']!r} in force")


def _add_limits(parser: ArgumentParser) -> None:
    for name, (flag, words) in _LIMITS.items():
        parser.add_argument(flag, dest=name, type=int, help=f"{words}, at each gate")
