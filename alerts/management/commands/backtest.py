"""costobs backtest: what the ladder of a budget would have done on the last days."""

from argparse import ArgumentParser
from datetime import UTC, datetime
from typing import Any

import orjson
from django.core.management.base import BaseCommand, CommandError

from alerts import backtest, queries, wording
from alerts.replay import Event
from costobs.kernel import fmt, money


class Command(BaseCommand):
    help = 'What a ladder would have done: costobs backtest "Search answers" --days 90'

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("budget", help="its name")
        parser.add_argument("--days", type=int, default=90, help=f"1 to {backtest.MOST_DAYS}; the last complete ones")
        parser.add_argument("--format", default="table", choices=["table", "json"])

    def handle(self, *args: Any, **options: Any) -> None:
        now = datetime.now(UTC)
        names = {line.name: line.id for line in queries.budgets(now=now, teams=None, with_inactive=True)}
        if options["budget"] not in names:
            known = ", ".join(sorted(names)) or "none"
            raise CommandError(f"there is no budget {options['budget']!r}; there are: {known}")
        tested = backtest.of_budget(budget_id=names[options["budget"]], teams=None)
        try:
            found = backtest.run(tested=tested, days=options["days"], now=now)
        except ValueError as problem:
            raise CommandError(str(problem)) from problem
        if options["format"] == "json":
            self.stdout.write(orjson.dumps(_document(found), option=orjson.OPT_INDENT_2).decode())
            return
        self.stdout.write(backtest.sentence(found))
        for event in found.told:
            what = wording.action(event.step.action, event.step.config)
            self.stdout.write(f"  {fmt.moment(event.at)}  {event.step.percent.normalize():f} %  {what}  {event.state}")
        for text in backtest.ASSUMPTIONS:
            self.stdout.write(f"  · {text}")


def _document(found: backtest.Backtest) -> dict[str, Any]:
    return {
        "budget": found.name,
        "from": found.days.start.isoformat(),
        "to": found.days.last.isoformat(),
        "currency": found.currency,
        "zone": found.zone,
        "sentence": backtest.sentence(found),
        "notified": found.notified,
        "asked": found.asked,
        "throttled_on": [day.isoformat() for day in found.started_on("throttle")],
        "shut_down_on": [day.isoformat() for day in found.started_on("shutdown")],
        "refused_requests": found.refused_requests,
        "refused_cost": money.text(found.refused_cost),
        "rerouted_requests": found.rerouted_requests,
        "false_alarms": len(found.false_alarms),
        "events": [_event(event, found) for event in found.events],
        "periods": [
            {
                "from": one.days.start.isoformat(),
                "to": one.days.last.isoformat(),
                "amount": money.text(one.amount),
                "actual_cost": money.text(one.actual_cost),
                "is_over": one.is_over,
            }
            for one in found.periods
        ],
        "assumptions": list(backtest.ASSUMPTIONS),
    }


def _event(event: Event, found: backtest.Backtest) -> dict[str, Any]:
    refused = found.refusals.get(event.id)
    return {
        "at": event.at.isoformat(),
        "percent": f"{event.step.percent:f}",
        "looks_at": event.step.trigger,
        "action": event.step.action,
        "state": event.state,
        "level_percent": f"{event.level:f}",
        "period_start": event.period_start.isoformat(),
        "episode": event.episode,
        "ended_at": event.ended_at.isoformat() if event.ended_at else None,
        "ended_by": event.ended_by,
        "refused_requests": refused.requests if refused else None,
        "refused_cost": money.text(refused.cost) if refused else None,
        "rerouted_requests": found.rerouted.get(event.id),
        "false_alarm": event in found.false_alarms,
    }
