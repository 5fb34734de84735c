"""costobs close: takes a month through review and closing, or says what is left to do."""

from argparse import ArgumentParser
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from attribution import close
from costobs.access import scopes
from costobs.kernel import period

_BY = "costobs close"


class Command(BaseCommand):
    help = "Close a month, or say what is left to do before it can close"

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("month", help="YYYY-MM")
        act = parser.add_mutually_exclusive_group()
        act.add_argument(
            "--check", action="store_true", help="only say how far it is; status 1 while something is open"
        )
        act.add_argument("--review", action="store_true", help="say that its figures were looked at and are right")
        act.add_argument("--ask-reopen", metavar="REASON", help="ask for a closed month to be opened again")
        act.add_argument("--agree-reopen", action="store_true", help="open it again, as somebody else has asked")
        act.add_argument("--decline-reopen", action="store_true", help="leave it closed")
        parser.add_argument("--by", default=_BY, help="who does it, for the audit log")
        parser.add_argument("--note", default="", help="a note that is kept with the closed month")
        parser.add_argument(
            "--waive",
            action="append",
            default=[],
            metavar="LINE=REASON",
            help="close without this line of the checklist; may be repeated",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        now = datetime.now(UTC)
        try:
            month = period.parse_month(options["month"]).start
            if options["check"]:
                self._check(close.status(month=month, now=now))
            else:
                self._act(month=month, now=now, options=options)
        except ValueError as problem:
            raise CommandError(str(problem)) from problem

    def _act(self, *, month: Any, now: datetime, options: dict[str, Any]) -> None:
        by = options["by"]
        if options["review"]:
            close.review(month=month, by=by, now=now)
        elif options["ask_reopen"] is not None:
            close.ask_reopen(month=month, reason=options["ask_reopen"], by=_account(by), now=now)
        elif options["agree_reopen"]:
            close.agree_reopen(month=month, by=_account(by), now=now)
        elif options["decline_reopen"]:
            close.decline_reopen(month=month, by=by, now=now)
        else:
            close.close(month=month, by=by, now=now, note=options["note"], waive=_reasons(options["waive"]))
        self._tell(close.status(month=month, now=now))

    def _check(self, book: close.Book) -> None:
        self._tell(book)
        if book.state != "closed" and book.open_lines:
            raise CommandError(f"{len(book.open_lines)} lines are open")

    def _tell(self, book: close.Book) -> None:
        who = f" by {book.closed_by}, sha256 {book.sha256}" if book.sha256 else ""
        self.stdout.write(f"{book.month:%Y-%m} {book.state}{who}")
        if book.reopen_asked_by:
            self.stdout.write(f"  {book.reopen_asked_by} asks to open it again: {book.reopen_reason}")
        for line in book.checklist:
            because = f" (waived by {line.waived_by}: {line.reason})" if line.reason else ""
            self.stdout.write(f"  {line.state:<6} {line.key:<12} {line.title}: {line.words}{because}")


def _account(name: str) -> str:
    """The name of an account: two people open a month, and a name that is made up here is nobody."""
    viewer = scopes.named(name)
    if not viewer.may_act_for(None):
        raise CommandError(
            f"expected --by as the e-mail address of an administrator or of finance, found {name!r}; two people open a month"
        )
    return viewer.name


def _reasons(given: list[str]) -> dict[str, str]:
    found = {}
    for one in given:
        key, _, reason = one.partition("=")
        if not reason.strip():
            raise CommandError(f"expected --waive LINE=REASON, found {one!r}")
        found[key.strip()] = reason
    return found
