"""costobs token: API tokens for programs."""

from argparse import ArgumentParser
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from costobs.access import tokens
from costobs.access.models import ApiToken
from ingest import configure
from ingest.sources import KINDS


class Command(BaseCommand):
    help = "Make, list and revoke API tokens: costobs token create NAME --grant read"

    def add_arguments(self, parser: ArgumentParser) -> None:
        acts = parser.add_subparsers(dest="act", required=True)
        create = acts.add_parser("create", help="make a token; it is shown once")
        create.add_argument("name")
        create.add_argument(
            "--grant", action="append", choices=tokens.GRANTS, help="repeat for several (default: read)"
        )
        create.add_argument("--team", action="append", help="only rows of this team; repeat for several (default: all)")
        create.add_argument("--source-kind", default="usage_log", help="kind of the source that pushed rows belong to")
        create.add_argument("--source-name", default="", help="its name (default: the token's name)")
        acts.add_parser("list", help="list the tokens in force")
        revoke = acts.add_parser("revoke", help="end a token at once")
        revoke.add_argument("name")

    def handle(self, *args: Any, **options: Any) -> None:
        getattr(self, f"_{options['act']}")(options, datetime.now(UTC))

    def _create(self, options: dict[str, Any], now: datetime) -> None:
        grants = options["grant"] or ["read"]
        source_id = None
        if {"ingest", "gate"} & set(grants):
            name = options["source_name"] or options["name"]
            source_id = configure.create_source(kind=_pushed(options["source_kind"]), name=name, now=now)
        try:
            _token, text = tokens.create(
                name=options["name"],
                grants=grants,
                teams=options["team"],
                source_id=source_id,
                created_by="command line",
                now=now,
            )
        except tokens.BadToken as problem:
            raise CommandError(str(problem)) from problem
        self.stdout.write(text)
        self.stderr.write("Keep it now: only its hash is stored.")

    def _list(self, _options: dict[str, Any], _now: datetime) -> None:
        for token in ApiToken.objects.filter(revoked_at=None).order_by("name"):
            used = f"last used {token.last_used_at:%Y-%m-%d %H:%M} UTC" if token.last_used_at else "never used"
            teams = "all teams" if token.teams is None else ", ".join(token.teams)
            self.stdout.write(f"{token.name}  {token.prefix}…  {', '.join(token.grants)}  {teams}  {used}")

    def _revoke(self, options: dict[str, Any], now: datetime) -> None:
        if not tokens.revoke(name=options["name"], revoked_by="command line", now=now):
            raise CommandError(f"there is no token called {options['name']!r} in force")


def _pushed(kind: str) -> str:
    """The kind, if rows of it can be pushed. Raises CommandError."""
    takes = [each.kind for each in KINDS if each.is_pushed or each.kind == "usage_log"]
    if kind not in takes:
        raise CommandError(f"rows of {kind!r} are not pushed; --source-kind is one of {', '.join(takes)}")
    return kind
