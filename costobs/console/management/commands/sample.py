"""costobs sample: loads the sample organisation, tops it up to now, or removes it."""

from argparse import ArgumentParser
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from attribution import close
from costobs.sample import install


class Command(BaseCommand):
    help = "Load the sample organisation, or top it up to now: costobs sample [remove]"

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("act", nargs="?", choices=["load", "remove"], default="load")
        parser.add_argument(
            "--again", action="store_true", help="load it even where it was removed or where there are other data"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["act"] == "remove":
            try:
                gone = install.remove(by="command line", now=_now())
            except close.Refused as problem:
                raise CommandError(f"nothing was removed: {problem}") from problem
            self.stdout.write("sample: removed" if gone else "sample: there is none")
            return
        try:
            for step in install.run(clock=_now, is_asked=options["again"]):
                if step.state != "unchanged":
                    self.stdout.write(_sentence(step))
                    self.stdout.flush()
        except install.NotWanted as why:
            self.stdout.write(f"sample: not loaded. {why}")
            return
        self.stdout.write("sample: ready")


def _sentence(step: install.Progress) -> str:
    done = "loaded" if step.state == "succeeded" else step.state
    return f"sample: {step.what} {done}, {step.rows:,} rows, {step.percent} %"


def _now() -> datetime:
    return datetime.now(UTC)
