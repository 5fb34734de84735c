"""costobs source: the connectors that are read on schedule."""

import sys
from argparse import ArgumentParser
from datetime import UTC, datetime
from typing import Any

import orjson
from django.core.management.base import BaseCommand, CommandError

from costobs import pipeline
from costobs.audit import record
from costobs.kernel.registry import UnknownKind
from ingest import configure
from ingest import queries as ingest_queries
from ingest.sources import KINDS


class Command(BaseCommand):
    help = 'Add, list, pause and remove sources: costobs source add dcgm eu-1 --config \'{"url": "http://prometheus:9090"}\''

    def add_arguments(self, parser: ArgumentParser) -> None:
        acts = parser.add_subparsers(dest="act", required=True)
        add = acts.add_parser("add", help="add a source; it is read within a minute")
        add.add_argument("kind", help=f"one of {', '.join(KINDS.names())}")
        add.add_argument("name")
        add.add_argument(
            "--config", default="{}", help="settings as a JSON object; `costobs source manual KIND` explains them"
        )
        add.add_argument(
            "--credentials", action="store_true", help="read credentials as a JSON object from standard input"
        )
        acts.add_parser("list", help="list the sources and how they are")
        manual = acts.add_parser("manual", help="print the manual of a kind")
        manual.add_argument("kind")
        for act, words in (
            ("pause", "stop reading a source; what was loaded stays"),
            ("resume", "read a paused source again"),
            ("remove", "delete a source with every row it delivered"),
        ):
            parser_of = acts.add_parser(act, help=words)
            parser_of.add_argument("kind")
            parser_of.add_argument("name")
            if act == "remove":
                parser_of.add_argument("--yes", action="store_true", help="do not ask")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            getattr(self, f"_{options['act']}")(options, datetime.now(UTC))
        except (UnknownKind, configure.BadConfig) as problem:
            raise CommandError(str(problem)) from problem

    def _add(self, options: dict[str, Any], now: datetime) -> None:
        kind, name = options["kind"], options["name"]
        if ingest_queries.source_named(kind=kind, name=name) is not None:
            raise CommandError(f"there is a source {kind}/{name} already; remove it first or choose another name")
        credentials = _object(sys.stdin.read(), "credentials") if options["credentials"] else None
        configure.create_source(
            kind=kind, name=name, config=_object(options["config"], "--config"), credentials=credentials, now=now
        )
        record.write(actor="command line", act="source.added", subject=f"source:{kind}/{name}", at=now)
        self.stdout.write(f"{kind}/{name} is added. Read it now with: costobs sync {name}")

    def _list(self, _options: dict[str, Any], now: datetime) -> None:
        for line in ingest_queries.sources(now=now):
            through = (
                f"complete through {line.complete_through:%Y-%m-%d %H:%M} UTC"
                if line.complete_through
                else "no data yet"
            )
            self.stdout.write(f"{line.kind}/{line.name}  {line.status}  {through}  {line.last_error}".rstrip())

    def _manual(self, options: dict[str, Any], _now: datetime) -> None:
        self.stdout.write(KINDS[options["kind"]].__doc__ or "")

    def _pause(self, options: dict[str, Any], now: datetime) -> None:
        self._switch(options, is_active=False, now=now)

    def _resume(self, options: dict[str, Any], now: datetime) -> None:
        self._switch(options, is_active=True, now=now)

    def _switch(self, options: dict[str, Any], *, is_active: bool, now: datetime) -> None:
        configure.pause(source_id=_id(options), is_active=is_active)
        act = "source.resumed" if is_active else "source.paused"
        record.write(actor="command line", act=act, subject=f"source:{options['kind']}/{options['name']}", at=now)

    def _remove(self, options: dict[str, Any], now: datetime) -> None:
        source_id, name = _id(options), f"{options['kind']}/{options['name']}"
        if not options["yes"] and input(f"Delete {name} with every row it delivered? Type its name to go on: ") != name:
            raise CommandError("nothing was deleted")
        rebuilt = pipeline.forget_source(source_id=source_id, now=now)
        record.write(actor="command line", act="source.removed", subject=f"source:{name}", at=now)
        self.stdout.write(f"{name} is gone; {rebuilt} days of the books were rebuilt without it")


def _id(options: dict[str, Any]) -> int:
    found = ingest_queries.source_named(kind=options["kind"], name=options["name"])
    if found is None:
        raise CommandError(f"there is no source {options['kind']}/{options['name']}; see: costobs source list")
    return found


def _object(text: str, what: str) -> dict[str, Any]:
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError as problem:
        raise CommandError(f"expected {what} as a JSON object: {problem}") from problem
    if not isinstance(found, dict):
        raise CommandError(f"expected {what} as a JSON object, found {type(found).__name__}")
    return found
