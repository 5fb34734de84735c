"""The forecast on a budget's page: the burn-up with its 80 % band, when it crosses each step, and what was said before."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from alerts.queries import BudgetDetail, BudgetLine, BurnDay, RungRow, RunLine
from alerts.rows import Said
from attribution import pace
from costobs.kernel import fmt
from costobs.web import charts, forecast_words
from costobs.web.parts import Cell, ChartCard, Column, Notice, Row, Table

_VERBS = {"notify": "Notify", "throttle": "Throttle", "reroute": "Reroute", "shutdown": "Shut down"}
_TOKENS = {"notify": "watch", "throttle": "thr", "reroute": "thr", "shutdown": "over"}
_ON_MONEY = {"actual", "forecast"}


def burn_up(found: BudgetDetail, now: datetime) -> ChartCard:
    """Cumulative spend against the ladder, with what fired as numbered points."""
    line = found.line
    reached = {day.day: day.cumulative_cost for day in found.burn_up}
    fired = [run for run in reversed(found.runs) if _day(run, line) in reached and run.state != "superseded"]
    marks = [
        charts.Mark(number, _day(run, line), f"{fmt.moment(run.asked_at)}: {_fired(run)}", reached[_day(run, line)])
        for number, run in enumerate(fired, start=1)
    ]
    forecast = days(found, now)
    chart = charts.burn_up(
        start=line.days.start,
        end=line.days.end,
        days=[day.day for day in found.burn_up],
        actual=[day.cumulative_cost for day in found.burn_up],
        budget=line.amount,
        rungs=[_rung_line(rung) for rung in found.rungs if rung.trigger in _ON_MONEY],
        marks=marks,
        forecast=forecast,
        forecast_label=forecast_words.forecast_label(found.ahead is not None),
        not_final_from=found.not_final_from,
        currency=line.currency,
    )
    return ChartCard(
        id="burn-up",
        title="Burn-up against the ladder",
        caption=f"{line.currency}, effective cost, cumulative, days of {line.terms.zone}."
        f" Dotted: billed data have not arrived.{_how(found)}",
        chart=chart,
        summary=_pace_sentence(line) + _crossings(found),
        table=_burn_table(found),
    )


def days(found: BudgetDetail, now: datetime) -> list[charts.ForecastDay]:
    """The forecast from the last complete day to the end of the period in its 80 % band; else the naive pace, between its
    cheapest and its dearest day.
    """
    if found.ahead is not None:
        return _curve(found)
    line, today = found.line, found.line.today
    by_day = {day.day: day.cost for day in found.burn_up}
    adjusted = {day.day: day.adjusted_cost for day in found.burn_up if day.adjusted_cost}
    ahead = pace.of(by_day=by_day, period=line.days, today=today, adjusted=adjusted)
    left = [day for day in line.days if day >= today]
    if ahead is None or line.forecast_cost is None or not left:
        return []
    base = sum((cost for day, cost in by_day.items() if day < today), Decimal(0))
    start = charts.ForecastDay(today - timedelta(days=1), base, base, base)
    return [
        start,
        *(
            charts.ForecastDay(
                day,
                low=base + (ahead.low - base) * step / len(left),
                mid=base + (ahead.amount - base) * step / len(left),
                high=base + (ahead.high - base) * step / len(left),
            )
            for step, day in enumerate(left, start=1)
        ),
    ]


def _curve(found: BudgetDetail) -> list[charts.ForecastDay]:
    """From what was spent before the first open day on."""
    if found.ahead is None:
        return []
    through = found.ahead.through
    spent = next((day.cumulative_cost for day in reversed(found.burn_up) if day.day < through), Decimal(0))
    points = [charts.ForecastDay(one.day, one.low_cost, one.expected_cost, one.high_cost) for one in found.ahead.days]
    if through <= found.line.days.start:
        return points
    return [charts.ForecastDay(through - timedelta(days=1), spent, spent, spent), *points]


def _how(found: BudgetDetail) -> str:
    """Of the caption: what the forecast is made of and how good it was."""
    ahead = found.ahead
    if ahead is None:
        no_end = " A rolling window has no end to look ahead to, so it has the naive pace and no forecast."
        return no_end if found.line.period == "rolling" else ""
    error = forecast_words.past_error(ahead.error_percent, ahead.pace_error_percent)
    return (
        f" Forecast: {ahead.method} of {ahead.history_days} days; sums of {ahead.tested_days} days {error},"
        f" in {ahead.tests} tests."
    )


def _crossings(found: BudgetDetail) -> str:
    """` 100 % is expected about 24 Nov (between 22 Nov and 28 Nov).` for each step that is still ahead."""
    texts = [
        f" {rung.percent.normalize():f} % is expected about {fmt.short_day(rung.expected_on)}{between(rung)}."
        for rung in found.rungs
        if rung.expected_on is not None and found.ahead is not None
    ]
    return "".join(texts)


def between(rung: RungRow) -> str:
    """` (22 Nov to 28 Nov in 8 of 10 cases)`, or nothing without a forecast; an open end is `or not in this period`."""
    if rung.earliest_on is None:
        return ""
    first = fmt.short_day(rung.earliest_on)
    if rung.latest_on is None:
        return f" (from {first}, or not in this period)"
    return (
        "" if rung.latest_on == rung.earliest_on else f" ({first} to {fmt.short_day(rung.latest_on)} in 8 of 10 cases)"
    )


def said(found: Sequence[Said], line: BudgetLine) -> Table:
    """What was expected on a few days of earlier periods, and what it became."""
    places = fmt.column_places([one.actual_cost for one in found])
    columns = [
        Column(line.period.capitalize()),
        Column("Said", title="How many of its days were complete then"),
        Column("We said", numeric=True, title="And between which amounts in 8 of 10 cases"),
        Column("It became", numeric=True),
        Column("Forecast minus actual", numeric=True),
        Column("In the interval"),
        Column("Method"),
    ]
    return Table(
        "Forecasts and what they became",
        columns,
        [Row(_said_cells(one, line.currency, places)) for one in found],
        note=_said_note(found),
        empty=Notice(
            "info", "Nothing to compare yet", "A forecast needs 31 complete days before it, and then its period to end."
        ),
    )


def _said_cells(one: Said, currency: str, places: int) -> list[Cell]:
    error = fmt.percent(one.error_cost / one.actual_cost, signed=True) if one.actual_cost else ""
    return [
        Cell(one.label),
        Cell(f"on day {one.known_days}", note="worked out afterwards" if one.is_later else ""),
        Cell(
            fmt.money(one.forecast_cost, currency, places=places),
            note=fmt.money_range(one.low_cost, one.high_cost, currency),
        ),
        Cell(fmt.money(one.actual_cost, currency, places=places)),
        Cell(fmt.money(one.error_cost, currency, places=places, signed=True), note=error),
        Cell("Yes" if one.is_inside else "No"),
        Cell(one.method),
    ]


def _said_note(found: Sequence[Said]) -> str:
    if not found:
        return ""
    held = sum(1 for one in found if one.is_inside)
    later = ""
    if any(one.is_later for one in found):
        later = " Worked out afterwards: as it would have been said, from the books as they are now."
    return f"{held} of {len(found)} ended inside the interval, which is meant to hold 8 of 10.{later}"


def _day(run: RunLine, line: BudgetLine) -> date:
    return run.asked_at.astimezone(ZoneInfo(line.terms.zone)).date()


def _fired(run: RunLine) -> str:
    return f"{run.words} at {run.percent.normalize():f} %, {run.state_words.lower()}"


def _rung_line(rung: RungRow) -> charts.RungLine:
    on = ", forecast" if rung.trigger == "forecast" else ""
    label = f"{_VERBS[rung.action]}{on} {rung.percent.normalize():f} %"
    return charts.RungLine(label, rung.threshold_cost, _TOKENS[rung.action])


def _pace_sentence(line: BudgetLine) -> str:
    if line.spend_cost is None:
        return "This period has not been evaluated yet."
    even = line.amount * line.elapsed_ratio
    ahead = fmt.money(abs(line.spend_cost - even), line.currency, mode="kpi")
    word = "more" if line.spend_cost > even else "less"
    return (
        f"{fmt.money(line.spend_cost, line.currency, mode='kpi')} is used with {fmt.percent(line.elapsed_ratio, places=0)} of the"
        f" period gone: {ahead} {word} than an even pace. One day of it is"
        f" {fmt.money(line.amount / len(line.days), line.currency, mode='kpi')} (est.)."
    )


def _burn_table(found: BudgetDetail) -> Table:
    currency = found.line.currency
    places = fmt.column_places([day.cumulative_cost for day in found.burn_up])
    return Table(
        caption="Cumulative spend by day",
        columns=[Column("Day"), Column("Spend", numeric=True), Column("Cumulative", numeric=True)],
        rows=[
            Row(
                [
                    Cell(fmt.day(day.day), note=_day_note(day, currency)),
                    Cell(fmt.money(day.cost, currency, places=places)),
                    Cell(fmt.money(day.cumulative_cost, currency, places=places)),
                ]
            )
            for day in found.burn_up
        ],
    )


def _day_note(day: BurnDay, currency: str) -> str:
    if day.adjusted_cost:
        return f"{fmt.money(day.adjusted_cost, currency, mode='statement')} of it corrects closed months"
    return "" if day.is_final else "not final"
