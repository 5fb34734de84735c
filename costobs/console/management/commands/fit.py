"""costobs fit: token weights of a deployment from the log of its engine."""

import gzip
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, TextIO

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from attribution import token_weights
from costobs import pipeline
from costobs.audit import record
from costobs.kernel.period import day_of


class Command(BaseCommand):
    help = "Fit what tokens weigh on own GPUs: costobs fit DEPLOYMENT --log FILE --quantization w8a8"

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("deployment", help="as telemetry and usage name it")
        parser.add_argument(
            "--log",
            required=True,
            metavar="FILE",
            help="vLLM's log, started with --enable-logging-iteration-details, plain or .gz; - is standard input",
        )
        parser.add_argument("--quantization", default="", help="such as bf16, w8a8, fp8")
        parser.add_argument("--from", dest="start", default="", metavar="DATE", help="first UTC day (default: today)")
        parser.add_argument("--by", default="command line", help="who fits it, for the audit log")
        parser.add_argument("--dry-run", action="store_true", help="say what was fitted, and keep nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        now = datetime.now(UTC)
        try:
            start = date.fromisoformat(options["start"]) if options["start"] else day_of(now)
            with _lines(options["log"]) as lines:
                found = token_weights.fit(token_weights.parse(lines))
        except (token_weights.BadLog, ValueError, OSError, EOFError) as problem:
            raise CommandError(str(problem)) from problem
        self.stdout.write(
            f"{options['deployment']}: a {found.a_ms:f} ms a step, b {found.b_ms:f} ms an input token, c {found.c_ms:f} ms an"
            f" output token; R² {found.r2:f} over {found.steps} steps"
        )
        if not found.is_fitted:
            self.stdout.write(
                f"Not good enough: expected {token_weights.LEAST_STEPS} steps of prompts and outputs and an R² of"
                f" {token_weights.LEAST_R2} at least. The default weights stand, marked estimated."
            )
        else:
            self.stdout.write(f"input : cached : output = 1 : {found.cached_weight:f} : {found.output_weight:f}")
        if options["dry_run"]:
            return
        days = _keep(options, found, start, now)
        self.stdout.write(f"in force from {start}; {days} days are made again")
        while pipeline.settle(datetime.now(UTC)):
            continue


def _keep(options: dict[str, Any], found: token_weights.Fit, start: date, now: datetime) -> int:
    with transaction.atomic():
        days = token_weights.record(
            deployment=options["deployment"],
            quantization=options["quantization"],
            found=found,
            valid_from=start,
            by=options["by"],
            now=now,
        )
        record.write(
            actor=options["by"],
            act="token_weights.fitted",
            subject=f"deployment:{options['deployment']}",
            at=now,
            after={
                "from": start.isoformat(),
                "quantization": options["quantization"],
                "method": found.method,
                "output_weight": str(found.output_weight),
                "r2": str(found.r2),
                "steps": found.steps,
            },
        )
    return days


@contextmanager
def _lines(name: str) -> Iterator[TextIO]:
    if name == "-":
        yield sys.stdin
    elif name.endswith(".gz"):
        with gzip.open(name, "rt", errors="replace") as file:
            yield file
    else:
        with Path(name).open(errors="replace") as file:
            yield file
