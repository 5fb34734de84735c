"""costobs anomalies: what costs more than expected, and looking for it now."""

from argparse import ArgumentParser
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from alerts import anomalies, anomaly_lines, anomaly_queries
from alerts.anomaly_queries import AnomalyLine
from costobs.kernel import fmt, money


class Command(BaseCommand):
    help = "List anomalies, show one with its drivers, or look for them now"

    def add_arguments(self, parser: ArgumentParser) -> None:
        acts = parser.add_subparsers(dest="act", required=True)
        listed = acts.add_parser("list", help="open ones first")
        listed.add_argument("--state", choices=["open", "closed"], default="")
        acts.add_parser("show", help="one of them").add_argument("id", type=int)
        acts.add_parser("look", help="judge what is complete, at once")

    def handle(self, *args: Any, **options: Any) -> None:
        act = options["act"]
        if act == "list":
            self._list(options["state"])
        elif act == "show":
            self._show(options["id"])
        else:
            found = anomalies.run(now=datetime.now(UTC), is_asked=True)
            waits = f"; days wait for {found.waits_for}" if found.waits_for else ""
            self.stdout.write(f"{found.opened} opened, {found.updated} updated, {found.closed} closed{waits}")

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
        for place in line.places:
            self.stdout.write(f"  {place.dimension} {place.value}: {money.text(place.excess_cost)} {line.currency}")
        for one in line.coincidences:
            self.stdout.write(f"  {fmt.moment(one.at)}: {one.text}")
