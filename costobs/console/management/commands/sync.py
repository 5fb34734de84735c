"""costobs sync: reads what the configured sources have new, now."""

import logging
from argparse import ArgumentParser
from datetime import UTC, datetime, timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from costobs import pipeline
from ingest import load
from ingest import queries as ingest_queries
from ingest.sources.base import Window

log = logging.getLogger("costobs.console")


class Command(BaseCommand):
    help = "Read what the sources have new: costobs sync [NAME…]"

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "names", nargs="*", help="names of sources, or KIND/NAME (default: all that are read on schedule)"
        )
        parser.add_argument(
            "--days", type=int, help="how many days back to read (default: as far as the vendor restates)"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        now = datetime.now(UTC)
        lines = [
            line
            for line in ingest_queries.sources(now=now)
            if line.is_active and not line.is_pushed and not line.is_sample
        ]
        if wanted := set(options["names"]):
            lines = [line for line in lines if wanted & {line.name, f"{line.kind}/{line.name}"}]
            known = {name for line in lines for name in (line.name, f"{line.kind}/{line.name}")}
            if unknown := sorted(wanted - known):
                raise CommandError(f"no source that is read on schedule is called {', '.join(unknown)}")
        failed = 0
        for line in lines:
            window = Window(now - timedelta(days=options["days"]), now) if options["days"] else None
            try:
                for result in load.sync(source_id=line.id, window=window, now=now):
                    failed += result.state in {"failed", "refused"}
                    self.stdout.write(
                        f"{line.name}: {result.name}: {result.state} {result.rows_loaded} rows {result.error}".strip()
                    )
            except Exception:  # the others are read all the same
                failed += 1
                log.exception("source %s could not be read", line.name)
        while pipeline.settle(datetime.now(UTC)):
            continue
        if failed:
            raise CommandError(f"{failed} loads failed; see the Sources page")
