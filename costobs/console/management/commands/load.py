"""costobs load KIND PATH…: loads files into the ledger and brings the books up to date."""

from argparse import ArgumentParser
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from costobs import pipeline
from costobs.kernel.registry import UnknownKind
from ingest import configure, load
from ingest.sources import KINDS
from ingest.sources.base import SourceUnavailable


class Command(BaseCommand):
    help = "Load files: costobs load focus_export bill.csv usage/"

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("kind", help=f"one of {', '.join(KINDS.names())}")
        parser.add_argument("paths", nargs="+", help="files or directories; for s3:// add a source: costobs source add")
        parser.add_argument("--name", default="files", help="name of the source the rows belong to (default: files)")
        parser.add_argument("--no-settle", action="store_true", help="do not bring the books up to date afterwards")

    def handle(self, *args: Any, **options: Any) -> None:
        now = datetime.now(UTC)
        try:
            KINDS[options["kind"]]
        except UnknownKind as problem:
            raise CommandError(str(problem)) from problem
        source_id = configure.create_source(kind=options["kind"], name=options["name"], now=now)
        refused = 0
        try:
            for result in load.from_paths(source_id=source_id, paths=options["paths"], now=now):
                refused += result.state in {"refused", "failed"}
                self.stdout.write(_sentence(result))
        except SourceUnavailable as problem:
            raise CommandError(str(problem)) from problem
        if not options["no_settle"]:
            while pipeline.settle(datetime.now(UTC)):
                continue
        if refused:
            raise CommandError(f"{refused} of the files were refused; the rest is loaded. See the Sources page.")


def _sentence(result: load.LoadResult) -> str:
    if result.state == "unchanged":
        return f"{result.name}: unchanged, it is in the books already"
    if result.state in {"refused", "failed"}:
        return f"{result.name}: {result.state}. {result.error}"
    return (
        f"{result.name}: {result.state}, {result.rows_read} rows read = {result.rows_loaded} loaded"
        f" + {result.rows_duplicate} known + {result.rows_quarantined} quarantined"
    )
