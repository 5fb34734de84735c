"""The arguments of `costobs budgets`, and how what is typed is read."""

from argparse import ArgumentParser, ArgumentTypeError
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from django.conf import settings

from alerts import (
    budget_cells,
    budgets,
    rung_checks,
    term_checks,
    windows,
)
from alerts.actions.base import BadConfig


def rung(text: str) -> budgets.RungSpec:
    """`75:throttle:requests_per_minute=6,approval=one,trigger=burn_rate,hours=6` as a rung. Several weekly windows, or names
    of resources, stand in one value with `;` between them.
    """
    try:
        return budget_cells.rung(text)
    except ValueError as problem:
        raise ArgumentTypeError(str(problem)) from problem


def moment(text: str) -> datetime:
    """`2026-12-24T22:00` as an instant; UTC where no zone is named."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError(f"expected a time such as 2026-12-24T22:00, found {text!r}") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def scope(text: str) -> dict[str, list[str]]:
    """`team=search|growth environment=prod` as a scope."""
    try:
        return rung_checks.parse_scope(text)
    except BadConfig as problem:
        raise ArgumentTypeError(str(problem)) from problem


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as problem:
        raise ArgumentTypeError(f"expected a day as YYYY-MM-DD, found {text!r}") from problem


def _percent(text: str) -> Decimal:
    try:
        return budget_cells.percent(text) or Decimal(0)
    except ValueError as problem:
        raise ArgumentTypeError(str(problem)) from problem


def add(parser: ArgumentParser) -> None:
    """The arguments of `costobs budgets`."""
    acts = parser.add_subparsers(dest="act", required=True)
    create = acts.add_parser("create", help="make a budget")
    create.add_argument("--name", required=True)
    for name in ("team", "feature", "model", "key"):
        create.add_argument(f"--{name}", action="append", default=[], help="repeat for several")
    create.add_argument("--filter", action="append", default=[], metavar="DIM=VALUE[,VALUE]", help="any dimension")
    create.add_argument("--amount", required=True)
    create.add_argument("--currency", default=settings.COSTOBS_CURRENCY)
    create.add_argument("--period", default="month", help=", ".join(budgets.PERIODS))
    create.add_argument("--owner", default="", metavar="EMAIL")
    create.add_argument(
        "--rung", action="append", type=rung, default=[], metavar="PERCENT:ACTION[:SETTING=VALUE,…]",
        help="60:notify, 100:throttle:requests_per_minute=6, 110:shutdown:approval=one",
    )  # fmt: skip
    _add_terms(create)
    listing = acts.add_parser("list", help="list the budgets")
    listing.add_argument("--format", default="table", choices=["table", "json"])
    evaluation = acts.add_parser("evaluate", help="compare every budget with the books now; starts no action")
    evaluation.add_argument("--format", default="table", choices=["table", "json"])
    actions = acts.add_parser("actions", help="list what ladders did and want to do")
    actions.add_argument("--format", default="table", choices=["table", "json"])
    leases = acts.add_parser("leases", help="list what hard budgets have lent to gates")
    leases.add_argument("--format", default="table", choices=["table", "json"])
    pause = acts.add_parser("pause", help="suspend a ladder, or all of them")
    pause.add_argument("name", nargs="?", default="")
    pause.add_argument("--all", action="store_true")
    pause.add_argument("--hours", type=int, default=1)
    pause.add_argument("--reason", default="")
    acts.add_parser("resume", help="end a pause").add_argument("name")
    acts.add_parser("delete", help="delete a budget with its history").add_argument("name")
    _add_tables(acts)
    _add_decisions(acts)
    _add_holds(acts)


def _add_terms(create: ArgumentParser) -> None:
    create.add_argument("--rolling-days", type=int, metavar="N", help="of a rolling period: today and the days before")
    create.add_argument("--zone", default="UTC", help="whose midnights begin its days: Europe/Berlin")
    create.add_argument("--parent", default="", metavar="NAME", help="the budget above it")
    create.add_argument("--starts-on", type=_day, metavar="DAY", help="its first day, YYYY-MM-DD")
    create.add_argument("--ends-on", type=_day, metavar="DAY", help="the first day after it")
    create.add_argument("--prorated", action="store_true", help="a period it has in part gets its part of the amount")
    create.add_argument("--rollover", default="none", choices=term_checks.ROLLOVERS)
    create.add_argument("--rollover-cap", metavar="PERCENT", type=_percent)
    create.add_argument("--borrow", metavar="PERCENT", type=_percent, help="of the next period's amount; repaid there")
    create.add_argument("--hard", action="store_true", help="gates refuse what would pass it")
    create.add_argument("--on-unreachable", default="closed", choices=term_checks.UNREACHABLE)
    create.add_argument("--default-max-tokens", type=int, metavar="N")
    create.add_argument("--abort-running", action="store_true")
    create.add_argument("--criticality", default="normal", choices=term_checks.CRITICALITIES)


def _add_tables(acts: Any) -> None:  # argparse does not export the type of sub-parsers
    acts.add_parser("export", help="all budgets as CSV, as import reads it").add_argument(
        "file", nargs="?", default="-"
    )
    bring = acts.add_parser("import", help="make and change budgets from CSV: all of it, or nothing if a row is wrong")
    bring.add_argument("file")
    bring.add_argument("--dry-run", action="store_true", help="only show what it would do")
    copy = acts.add_parser("copy", help="copy a budget, with another amount")
    copy.add_argument("name")
    copy.add_argument("--as", dest="new_name", default="", metavar="NAME")
    copy.add_argument("--next", action="store_true", help="from its next period on; the first one ends there")
    copy.add_argument("--growth", default=Decimal(0), type=_percent, metavar="PERCENT")
    copy.add_argument("--with-children", action="store_true")


def _add_decisions(acts: Any) -> None:  # argparse does not export the type of sub-parsers
    for verb, what in (("approve", "let a waiting action run"), ("decline", "refuse it"), ("undo", "take it back")):
        parser = acts.add_parser(verb, help=what)
        parser.add_argument("run", type=int)
        parser.add_argument("--reason", default="")
        if verb == "approve":
            parser.add_argument("--confirm", default="", metavar="NAME", help="the budget's name, for a shutdown")


def _add_holds(acts: Any) -> None:  # as above
    pause = acts.add_parser("pause-all", help="break glass: nothing fires and nothing holds")
    pause.add_argument("--hours", type=int, default=1)
    pause.add_argument("--reason", required=True)
    acts.add_parser("resume-all", help="end the break-glass pause")
    shown = acts.add_parser("windows", help="maintenance windows, quiet hours and protected scopes")
    shown.add_argument("--format", choices=["table", "json"], default="table")
    window = acts.add_parser("window", help="add one: --weekly 'sat-sun 00:00-24:00', or --from and --until")
    window.add_argument("name")
    window.add_argument("--kind", choices=list(windows.KINDS), default="maintenance")
    window.add_argument("--weekly", default="")
    window.add_argument("--zone", default="UTC")
    window.add_argument("--from", dest="starts_at", type=moment)
    window.add_argument("--until", dest="ends_at", type=moment)
    window.add_argument("--scope", type=scope, default={}, help="'team=search|growth'; every budget without it")
    acts.add_parser("window-remove", help="by its number").add_argument("id", type=int)
    guard = acts.add_parser("protect", help="requests that no action touches: 'team=search environment=prod'")
    guard.add_argument("scope", type=scope)
    guard.add_argument("--reason", default="")
    acts.add_parser("unprotect", help="by its number").add_argument("id", type=int)
