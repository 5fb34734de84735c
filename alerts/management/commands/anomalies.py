"""costobs anomalies: what costs more than expected, and looking for it now."""

from argparse import ArgumentParser
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from alerts import anomalies, anomaly_lines, anomaly_preview, anomaly_queries, thresholds
from alerts.anomaly_limits import NAMES, Limits, Own
from alerts.anomaly_queries import AnomalyLine
from costobs.kernel import fmt, money

_ACTOR = "command line"


class Command(BaseCommand):
    help = "List anomalies, show one with its drivers, look for them now, or set from when they are told"

    def add_arguments(self, parser: ArgumentParser) -> None:
        acts = parser.add_subparsers(dest="act", required=True)
        listed = acts.add_parser("list", help="open ones first")
        listed.add_argument("--state", choices=["open", "closed"], default="")
        acts.add_parser("show", help="one of them").add_argument("id", type=int)
        acts.add_parser("look", help="judge what is complete, at once")
        acts.add_parser("thresholds", help="from how much on anomalies are looked at and told")
        for act, words in (
            ("set", "set the limits of a scope"),
            ("preview", "what limits would have told of the last 90 days"),
        ):
            limits = acts.add_parser(act, help=words)
            limits.add_argument(
                "--scope",
                action="append",
                default=[],
                metavar="NAME=VALUE",
                help="such as team=search; none: everything",
            )
            for name in NAMES:
                limits.add_argument(f"--{name.replace('_', '-')}", default="", metavar="NUMBER")
        acts.add_parser("unset", help="take the limits of a scope out").add_argument("id", type=int)

    def handle(self, *args: Any, **options: Any) -> None:
        acts: dict[str, Callable[[], None]] = {
            "list": lambda: self._list(options["state"]),
            "show": lambda: self._show(options["id"]),
            "look": self._look,
            "thresholds": self._thresholds,
            "set": lambda: self._set(_own(options)),
            "preview": lambda: self._preview(_own(options)),
            "unset": lambda: self._unset(options["id"]),
        }
        try:
            acts[options["act"]]()
        except (thresholds.Invalid, thresholds.NotFound) as problem:
            raise CommandError(str(problem)) from problem

    def _look(self) -> None:
        found = anomalies.run(now=datetime.now(UTC), is_asked=True)
        waits = f"; days wait for {found.waits_for}" if found.waits_for else ""
        self.stdout.write(f"{found.opened} opened, {found.updated} updated, {found.closed} closed{waits}")

    def _thresholds(self) -> None:
        book = thresholds.book(teams=None)
        self.stdout.write(f"everything  {_limits(book.default())}")
        for one in book.owns:
            if one.scope:
                self.stdout.write(f"{one.id}  {thresholds.words(one.scope)}  {_limits(book.of(one.scope))}")

    def _set(self, own: Own) -> None:
        made = thresholds.put(own=own, by=_ACTOR, now=datetime.now(UTC))
        holds = thresholds.book(teams=None).of(own.scope)
        self.stdout.write(f"{made}  {thresholds.words(own.scope)}  {_limits(holds)}, from the next look on")

    def _unset(self, threshold_id: int) -> None:
        gone = thresholds.remove(threshold_id=threshold_id, by=_ACTOR, now=datetime.now(UTC))
        self.stdout.write(f"removed: for {thresholds.words(gone.scope)} the wider limits hold again")

    def _preview(self, own: Own) -> None:
        found = anomaly_preview.preview(book=thresholds.book(teams=None), now=datetime.now(UTC), teams=None, own=own)
        for one in found.rows:
            told = "told" if one.is_told else "only shown"
            impact = fmt.money(one.impact_cost, one.currency, signed=True)
            self.stdout.write(f"{one.started_on} to {one.last_on}  {impact}  {one.scope_words}  {told}")
        self.stdout.write(
            f"with these limits the last {len(found.days)} days would have told {found.told}, with those set now {found.told_now}"
        )

    def _list(self, state: str) -> None:
        rows = anomaly_queries.anomalies(teams=None, state=state)
        for line in rows:
            self.stdout.write(self._line(line))
        if not rows:
            self.stdout.write("no anomaly; look now with: costobs anomalies look")

    def _line(self, line: AnomalyLine) -> str:
        impact = fmt.money(line.impact_cost, line.currency, signed=True)
        return (
            f"{line.id}  {impact}  {line.scope_words}  since {anomaly_lines.since(line)}  "
            f"{line.driver_words}  {line.outcome_words.lower()}"
        )

    def _show(self, anomaly_id: int) -> None:
        try:
            line = anomaly_queries.anomaly(anomaly_id=anomaly_id, teams=None)
        except anomaly_queries.NotFound as problem:
            raise CommandError(str(problem)) from problem
        self.stdout.write(self._line(line))
        for driver in line.drivers:
            self.stdout.write(f"  {driver.words}: {money.text(driver.cost)} {line.currency}")
        for new in line.new_keys:
            self.stdout.write(f"  new key {new.key}: {money.text(new.cost)} {line.currency}")
        for place in line.places:
            self.stdout.write(f"  {place.dimension} {place.value}: {money.text(place.excess_cost)} {line.currency}")
        for one in line.coincidences:
            self.stdout.write(f"  {fmt.moment(one.at)}: {one.text}")


def _own(options: dict[str, Any]) -> Own:
    """The limits given. Raises Invalid."""
    pairs = [one.partition("=") for one in options["scope"]]
    if any(not sign or not value.strip() for _name, sign, value in pairs):
        raise thresholds.Invalid({"scope": f"expected NAME=VALUE, found {' '.join(options['scope'])}"})
    scope = {name.strip(): value for name, _sign, value in pairs}
    return thresholds.own(scope=scope, values={name: options[name] for name in NAMES})


def _limits(limits: Limits) -> str:
    return (
        f"told from {money.text(limits.impact_cost)} and {money.text(limits.impact_percent)} % above expected, "
        f"looked at from {money.text(limits.day_cost)} a day, {money.text(limits.hour_cost)} an hour"
    )
