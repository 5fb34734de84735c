"""costobs source: the connectors that are read on schedule."""

import sys
from argparse import ArgumentParser
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import orjson
from django.core.management.base import BaseCommand, CommandError

from costobs import pipeline
from costobs.access import tokens
from costobs.kernel.registry import UnknownKind
from ingest import backfill, configure, probe, source_detail
from ingest import queries as ingest_queries
from ingest.sources import KINDS

_BY = "command line"
_NAMED = (
    ("pause", "stop reading a source; what was loaded stays"),
    ("resume", "read a paused source again"),
    ("test", "say what a source can see and what is missing; loads nothing"),
    ("rotate", "replace credentials, given as a JSON object on standard input"),
    ("backfill", "read a span of the past again, newest first"),
    ("cancel-backfill", "end the backfill of a source; what it loaded stays"),
    ("remove", "delete a source with every row it delivered"),
)


class Command(BaseCommand):
    help = (
        "Add, list, test, backfill, pause and remove sources:"
        ' costobs source add dcgm eu-1 --config \'{"url": "http://prometheus:9090"}\''
    )

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
        for act, words in _NAMED:
            named = acts.add_parser(act, help=words)
            named.add_argument("kind")
            named.add_argument("name")
            if act == "remove":
                named.add_argument("--yes", action="store_true", help="do not ask")
            if act == "backfill":
                named.add_argument("--from", dest="first", required=True, help="the first day, such as 2026-01-01")
                named.add_argument("--to", dest="last", help="the last day, UTC (default: today)")
                named.add_argument("--queue", action="store_true", help="leave it to the workers and do not wait")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            getattr(self, f"_{options['act'].replace('-', '_')}")(options, datetime.now(UTC))
        except (UnknownKind, configure.BadConfig, backfill.Refused, pipeline.InUse) as problem:
            raise CommandError(str(problem)) from problem

    def _add(self, options: dict[str, Any], now: datetime) -> None:
        kind, name = options["kind"], options["name"]
        credentials = _object(sys.stdin.read(), "credentials") if options["credentials"] else {}
        config = _object(options["config"], "--config")
        configure.add_source(kind=kind, name=name, config=config, credentials=credentials, by=_BY, now=now)
        self.stdout.write(f"{kind}/{name} is added. Read it now with: costobs sync {name}")

    def _list(self, _options: dict[str, Any], now: datetime) -> None:
        reading = source_detail.open_backfills()
        for line in ingest_queries.sources(now=now):
            through = (
                f"complete through {line.complete_through:%Y-%m-%d %H:%M} UTC"
                if line.complete_through
                else "no data yet"
            )
            past = f"backfill {reading[line.id].share:.0%} done" if line.id in reading else ""
            words = (f"{line.kind}/{line.name}", line.status, through, past, line.last_error)
            self.stdout.write("  ".join(word for word in words if word))

    def _manual(self, options: dict[str, Any], _now: datetime) -> None:
        self.stdout.write(KINDS[options["kind"]].__doc__ or "")

    def _pause(self, options: dict[str, Any], now: datetime) -> None:
        configure.pause(source_id=_id(options), is_active=False, by=_BY, now=now)

    def _resume(self, options: dict[str, Any], now: datetime) -> None:
        configure.pause(source_id=_id(options), is_active=True, by=_BY, now=now)

    def _test(self, options: dict[str, Any], now: datetime) -> None:
        found = probe.saved(source_id=_id(options), by=_BY, now=now)
        for one in found:
            self.stdout.write(
                f"{one.state:7}  {one.subject}: {one.detail}" + (f"  -> {one.remedy}" if one.remedy else "")
            )
        missing = sum(one.state == "missing" for one in found)
        if missing:
            raise CommandError(f"{missing} of {len(found)} checks failed")

    def _rotate(self, options: dict[str, Any], now: datetime) -> None:
        given = _object(sys.stdin.read(), "credentials")
        changed = configure.rotate(source_id=_id(options), credentials=given, by=_BY, now=now)
        self.stdout.write(f"replaced: {', '.join(changed)}; the others stay. Check them with: costobs source test …")

    def _backfill(self, options: dict[str, Any], now: datetime) -> None:
        source_id = _id(options)
        last = _day(options["last"], "--to") if options["last"] else now.date()
        start, end = _midnight(_day(options["first"], "--from")), _midnight(last + timedelta(days=1))
        backfill.request(source_id=source_id, start=start, end=end, by=_BY, now=now)
        if options["queue"]:
            self.stdout.write("the workers read it; see how far they are with: costobs source list")
            return
        while (piece := backfill.run(source_id=source_id, now=datetime.now(UTC))) is not None:
            span = f"{piece.start:%Y-%m-%d} to {piece.end:%Y-%m-%d}"
            self.stdout.write(f"{span}: {piece.units} units, {piece.rows_loaded} rows {piece.error}".rstrip())
            if piece.state == "failed":
                raise CommandError("the backfill failed; retry it on the page of the source once that is put right")
            if piece.state != "running":
                self.stdout.write("a worker has it in hand" if piece.state == "busy" else piece.state)
                break
        while pipeline.settle(datetime.now(UTC)):
            continue

    def _cancel_backfill(self, options: dict[str, Any], now: datetime) -> None:
        state = backfill.cancel(source_id=_id(options), by=_BY, now=now)
        self.stdout.write("cancelled" if state == "cancelled" else "it ends after the unit it is reading")

    def _remove(self, options: dict[str, Any], now: datetime) -> None:
        source_id, name = _id(options), f"{options['kind']}/{options['name']}"
        if not options["yes"] and input(f"Delete {name} with every row it delivered? Type its name to go on: ") != name:
            raise CommandError("nothing was deleted")
        rebuilt = pipeline.forget_source(source_id=source_id, by=_BY, now=now)
        ended = tokens.revoke_of_source(source_id=source_id, revoked_by=_BY, now=now)
        self.stdout.write(f"{name} is gone; {rebuilt} days of the books were rebuilt without it")
        if ended:
            self.stdout.write(f"tokens that pushed to it are revoked: {', '.join(ended)}")


def _id(options: dict[str, Any]) -> int:
    found = ingest_queries.source_named(kind=options["kind"], name=options["name"])
    if found is None:
        raise CommandError(f"there is no source {options['kind']}/{options['name']}; see: costobs source list")
    return found


def _day(text: str, what: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise CommandError(f"expected {what} as a day such as 2026-01-31, found {text!r}") from None


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _object(text: str, what: str) -> dict[str, Any]:
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError as problem:
        raise CommandError(f"expected {what} as a JSON object: {problem}") from problem
    if not isinstance(found, dict):
        raise CommandError(f"expected {what} as a JSON object, found {type(found).__name__}")
    return found
