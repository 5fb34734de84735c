"""The parts of one budget's page and of an action's: burn-up, ladder, variance, who is affected, what happened when."""

from datetime import datetime

from alerts import triggers
from alerts.queries import BudgetDetail, BudgetLine, PeriodVariance, RungRow
from costobs.access.scopes import Viewer
from costobs.kernel import fmt
from costobs.kernel.period import Days
from costobs.web import action_tables, budget_forecast, budget_table, forecast_words
from costobs.web.parts import Cell, Column, Kpi, Row, Rung, Table

_TRIGGERS = {kind.kind: kind.title for kind in triggers.KINDS}
_HELD = {"running", "in_force"}


def heading(found: BudgetDetail, now: datetime) -> str:
    """`Search is forecast to pass $24,000 about 26 Nov and end at $29.0k`."""
    line = found.line
    amount = fmt.money(line.amount, line.currency, mode="kpi")
    held = next((rung.run for rung in found.rungs if rung.run and rung.run.state in _HELD), None)
    tail = f"; {line.state_words.lower()} since {fmt.moment(held.applied_at or held.asked_at)}" if held else ""
    if line.used_ratio is None:
        return f"{line.name}: {amount} for {budget_table.period_words(line)}, {_unevaluated(line)}"
    if line.used_ratio >= 1:
        return f"{line.name} has passed {amount}: {fmt.percent(line.used_ratio)} is used{tail}"
    if line.forecast_cost is not None and line.is_forecast_over:
        whole = next((day.day for day in budget_forecast.days(found, now) if day.mid >= line.amount), None)
        about = f" about {fmt.short_day(whole)}" if whole else ""
        end = fmt.money(line.forecast_cost, line.currency, mode="short")
        return f"{line.name} is forecast to pass {amount}{about} and end at {end}{tail}"
    end = (
        f", forecast to end at {fmt.money(line.forecast_cost, line.currency, mode='short')}"
        if line.forecast_cost
        else ""
    )
    return f"{line.name} has used {fmt.percent(line.used_ratio)} of {amount}{end}{tail}"


def sub(line: BudgetLine, now: datetime) -> str:
    """Scope, period, owner, and how fresh the figures are."""
    parts = [
        line.scope_words[:1].upper() + line.scope_words[1:],
        f"{fmt.period(line.days.start, line.days.end)}, {budget_table.period_words(line)}",
    ]
    if line.owner_email:
        parts.append(f"owner {line.owner_email}")
    if line.evaluated_at:
        parts.append(f"evaluated {fmt.ago(line.evaluated_at, now)}")
    if line.complete_through:
        parts.append(f"complete to {fmt.moment(line.complete_through)}")
    if line.paused_until:
        parts.append(f"ladder paused until {fmt.moment(line.paused_until)}")
    return " · ".join(parts)


def kpis(line: BudgetLine) -> list[Kpi]:
    """State, actual, forecast, variance."""
    variance = budget_table.variance_cell(line.forecast_cost, line.amount, line.currency).text
    estimated = (
        f"{fmt.money(line.estimated_cost, line.currency, mode='kpi')} of it estimated"
        if line.estimated_cost
        else "all billed"
    )
    step = budget_table.next_step_words(line)
    return [
        Kpi(
            "Actual",
            fmt.money(line.spend_cost, line.currency, mode="kpi"),
            state=line.state,
            note=estimated if line.spend_cost is not None else "Not evaluated in this period yet",
        ),
        Kpi(
            "Used",
            fmt.UNKNOWN if line.used_ratio is None else fmt.percent(line.used_ratio),
            compare=f"{fmt.percent(line.elapsed_ratio)} of the period is gone",
            note=f"Even pace would be {fmt.money(line.amount * line.elapsed_ratio, line.currency, mode='kpi')}",
        ),
        Kpi(
            "Forecast at end",
            fmt.NOT_APPLICABLE
            if line.forecast_cost is None
            else fmt.money(line.forecast_cost, line.currency, mode="short"),
            compare=_spread(line, variance) if line.forecast_cost is not None else "",
            note=forecast_words.budget_method(line.forecast_method, line.forecast_error_percent)
            if line.forecast_cost is not None
            else "Three complete days of the period are needed",
        ),
        Kpi(
            "Budget",
            fmt.money(line.amount, line.currency, mode="kpi"),
            compare=budget_table.period_words(line),
            note=f"Next: {step}",
        ),
    ]


def _spread(line: BudgetLine, variance: str) -> str:
    if line.forecast_low_cost is None or line.forecast_high_cost is None:
        return variance
    between = fmt.money_range(line.forecast_low_cost, line.forecast_high_cost, line.currency, level=80)
    return f"{between}; {variance}"


def rungs(found: BudgetDetail, viewer: Viewer) -> list[Rung]:
    """The ladder, each step with its state, when it fired or would, and what may be decided."""
    return [
        Rung(
            label=f"{rung.percent.normalize():f} %" if rung.trigger == "actual" else _TRIGGERS[rung.trigger],
            action=rung.words,
            marker=rung.state,
            when=_when(rung, found.line),
            note=_rung_note(rung, found.line),
            actions=action_tables.links(viewer, rung.run) if rung.run else (),
        )
        for rung in found.rungs
    ]


def variance(found: BudgetDetail, books: Days | None) -> Table:
    """Budget against actual by period, newest first; the open period is judged by its forecast.

    Periods before the first day of the `books` are left out: what was spent then is not known, and not nothing.
    """
    periods = [period for period in found.periods if books is not None and period.days.end > books.start]
    line = found.line
    places = fmt.column_places([line.amount, *(period.actual_cost for period in periods)])
    columns = [
        Column("Window" if line.period == "rolling" else line.period.capitalize()),
        Column("Budget", numeric=True, title="With what was carried over and borrowed then"),
        Column("Actual", numeric=True),
        Column("Forecast", numeric=True),
        Column(
            "Variance", numeric=True, title="Forecast minus budget while the period is open, then actual minus budget"
        ),
        Column("Verdict"),
    ]
    rows = [
        Row(
            [
                Cell(period.label, note="open" if period.is_current else ""),
                Cell(fmt.money(period.amount, line.currency, places=places), note=_made_of(period, line)),
                Cell(fmt.money(period.actual_cost, line.currency, places=places)),
                Cell(
                    fmt.NOT_APPLICABLE
                    if period.forecast_cost is None
                    else fmt.money(period.forecast_cost, line.currency, mode="short")
                ),
                budget_table.variance_cell(period.forecast_cost or period.actual_cost, period.amount, line.currency),
                Cell("Favourable" if period.is_favourable else "Unfavourable"),
            ]
        )
        for period in periods
    ]
    begin = f" The books begin {fmt.day(books.start)}." if books is not None else ""
    is_today = any(not period.is_settled for period in periods)
    against = "Periods before it was kept are measured against today's amount; s" if is_today else "S"
    note = f"{against}pend is what the books say now.{begin}"
    return Table(f"Variance by {line.period}", columns, rows, note=note)


def _made_of(period: PeriodVariance, line: BudgetLine) -> str:
    parts = []
    if period.carried_cost:
        parts.append(f"{fmt.money(period.carried_cost, line.currency, signed=True)} carried over")
    if period.borrowed_cost:
        parts.append(f"{fmt.money(period.borrowed_cost, line.currency, signed=True)} borrowed")
    return ", ".join(parts)


def _unevaluated(line: BudgetLine) -> str:
    return "not begun yet" if line.standing == "upcoming" else "not evaluated in this period yet"


def _when(rung: RungRow, line: BudgetLine) -> str:
    if rung.at is not None:
        return fmt.moment(rung.at)
    if rung.trigger != "actual":
        level = "" if rung.level is None or rung.trigger == "schedule" else f"; now {fmt.percent(rung.level / 100)}"
        return f"{rung.when_words}{level or ('' if rung.trigger == 'schedule' else '; not known yet')}"
    if rung.expected_on is not None:
        return (
            f"about {fmt.short_day(rung.expected_on)}{budget_forecast.between(rung)},"
            f" at {fmt.money(rung.threshold_cost, line.currency, mode='kpi')}"
        )
    known = "not in this period at this pace" if line.forecast_cost is not None else "no forecast yet"
    return f"at {fmt.money(rung.threshold_cost, line.currency, mode='kpi')}; {known}"


def _rung_note(rung: RungRow, line: BudgetLine) -> str:
    parts = []
    if rung.needs != "automatic":
        people = (
            f"the lead of {', '.join(line.teams)}, finance or an administrator"
            if line.teams
            else "finance or an administrator"
        )
        count = "two of " if rung.needs == "two" else ""
        parts.append(f"needs approval by {count}{people}{_why_more(rung, line)}")
    parts += _limits_words(rung)
    if rung.run is not None:
        run = rung.run
        if run.decided_by:
            parts.append(f"decided by {action_tables.actor(run.decided_by)}")
        if run.state in _HELD and run.expires_at:
            parts.append(f"until {fmt.moment(run.expires_at)} or undo")
        if run.error:
            parts.append(run.error)
    return "; ".join(parts)


def _why_more(rung: RungRow, line: BudgetLine) -> str:
    return "" if rung.needs == rung.approval else f", because its scope is of {line.criticality} criticality"


def _limits_words(rung: RungRow) -> list[str]:
    """What holds the step back: how much it may hit by itself, how long it waits."""
    config, found = rung.config, []
    if "max_share_percent" in config:
        found.append(f"asks when it would hit more than {config['max_share_percent']} % of requests or spend")
    if "max_keys" in config:
        found.append(f"asks when it would hit more than {config['max_keys']} keys")
    if config.get("hysteresis_percent"):
        found.append(f"over again only {config['hysteresis_percent']} points below")
    return found
