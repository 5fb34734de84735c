"""The table of budgets: state, money, progress against time, and what the ladder does next."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.urls import reverse

from alerts.queries import BudgetLine
from costobs.kernel import fmt
from costobs.kernel.period import Days
from costobs.web import budget_tree, forecast_words
from costobs.web.budget_tree import Filter, Placed
from costobs.web.parts import Bullet, Cell, Column, Link, Notice, Row, Table

_COLUMNS = (
    Column("Budget"),
    Column("State"),
    Column("Budget", numeric=True),
    Column("Actual", numeric=True, title="Effective cost so far, billed and estimated"),
    Column("Used", numeric=True),
    Column("Progress vs time", title="Filled: used. Mark: the share of the period that is gone"),
    Column(
        "Forecast",
        numeric=True,
        title="Where the period is expected to end, and between which amounts in 8 of 10 cases",
    ),
    Column("Variance at end", numeric=True, title="Forecast minus budget"),
    Column("Next step on the ladder", wide=True),
)

_ALL = Filter()


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over budgets of one currency and one period, each dollar once; None where one of them is not known."""

    currency: str
    days: Days
    elapsed_ratio: Decimal
    budgets: int  # that were added; the others lie inside one of them
    amount: Decimal
    spend_cost: Decimal | None
    forecast_cost: Decimal | None

    @property
    def used_ratio(self) -> Decimal | None:
        return None if self.spend_cost is None or not self.amount else self.spend_cost / self.amount


def table(lines: Sequence[BudgetLine], now: datetime, short: bool, asked: Filter = _ALL) -> Table:
    """Budgets in the order given, children below their parent; `short` leaves out scope, owner, period and the whole ladder
    of each. Narrowed, the total is that of the rows shown.
    """
    placed = budget_tree.placed(lines, asked)
    shown = [one.line for one in placed]
    sums = totals(shown)
    places = fmt.column_places([amount for line in shown for amount in (line.amount, line.spend_cost)])
    return Table(
        caption="Budgets",
        columns=_COLUMNS,
        rows=[Row(_cells(one, now, places, short)) for one in placed],
        total=Row(_total_cells(len(shown), sums, places), kind="total") if sums and len(shown) > 1 else None,
        empty=Notice(
            "nothing_matches",
            "No budget is in this state and has this owner",
            "There are others.",
            [Link("Show all budgets", reverse("budgets"))],
        )
        if asked and lines
        else Notice(
            "empty",
            "No budget yet",
            "A budget watches a team, a feature, a model or everything, and says what happens at each step.",
            [Link("New budget", reverse("budget_new"), icon="plus", primary=True)],
        ),
        csv_url="" if short or not lines else f"{reverse('budgets')}?format=csv",
        note=_note(shown, sums),
    )


def totals(lines: Sequence[BudgetLine]) -> Totals | None:
    """The sums of the budgets that lie in no other one, so that nothing counts twice.

    None when several currencies, several periods or budgets that overlap in part leave no sum that means anything.
    """
    outer = [line for index, line in enumerate(lines) if not _is_inside_another(line, index, lines)]
    if not outer or len({(line.currency, line.days) for line in outer}) > 1 or overlapping(outer):
        return None
    return Totals(
        currency=outer[0].currency,
        days=outer[0].days,
        elapsed_ratio=outer[0].elapsed_ratio,
        budgets=len(outer),
        amount=sum((line.amount for line in outer), Decimal(0)),
        spend_cost=_sum([line.spend_cost for line in outer]),
        forecast_cost=_sum([line.forecast_cost for line in outer]),
    )


def overlapping(lines: Sequence[BudgetLine]) -> list[tuple[str, str]]:
    """Pairs of budgets that may count the same spend: no dimension keeps them apart."""
    return [
        (one.name, other.name)
        for index, one in enumerate(lines)
        for other in lines[index + 1 :]
        if all(set(one.scope[name]) & set(other.scope[name]) for name in one.scope.keys() & other.scope.keys())
    ]


def _is_inside_another(line: BudgetLine, index: int, lines: Sequence[BudgetLine]) -> bool:
    """Whether another budget counts everything that this one counts; of two alike the first stays. One that belongs to
    another lies inside it, whatever their dimensions say.
    """
    return bool(budget_tree.ancestors(line, lines)) or any(
        _covers(other, line) and (not _covers(line, other) or position < index)
        for position, other in enumerate(lines)
        if position != index
    )


def _covers(outer: BudgetLine, inner: BudgetLine) -> bool:
    if (outer.currency, outer.days) != (inner.currency, inner.days):
        return False
    return all(name in inner.scope and set(inner.scope[name]) <= set(values) for name, values in outer.scope.items())


def variance_cell(forecast: Decimal | None, amount: Decimal, currency: str) -> Cell:
    """`$5.0k over (+21 %)` in the tone of its sign; a dash without a forecast."""
    if forecast is None:
        return Cell(fmt.NOT_APPLICABLE, title="Three complete days of the period are needed")
    text = fmt.variance(forecast, amount, currency)
    return Cell(text, tone="unfavourable" if forecast > amount else "favourable" if forecast < amount else "")


def next_step_words(line: BudgetLine) -> str:
    """`Throttle to 6 requests/min at 100 %, about 26 Nov`, or why nothing is next."""
    if line.paused_until is not None:
        return f"Paused until {fmt.moment(line.paused_until)}"
    if line.next_step is None:
        return "No further step on spend" if line.ladder_words else "No ladder"
    step = line.next_step
    if line.is_waiting_approval or step.on is None:
        return step.text
    return f"{step.text}, about {fmt.short_day(step.on)}"


def _cells(one: Placed, now: datetime, places: int, short: bool) -> list[Cell]:
    line = one.line
    below = f" · belongs to {one.parent}" if one.parent else ""
    return [
        Cell(
            line.name,
            reverse("budget", args=[line.id]),
            title=_about(line),
            note="" if short else f"{line.scope_words}{below}",
            depth=one.depth,
        ),
        Cell(line.state_words, state=line.state, note=_state_note(line)),
        Cell(fmt.money(line.amount, line.currency, places=places), note="" if short else period_words(line)),
        Cell(fmt.money(line.spend_cost, line.currency, places=places), title=_evaluated(line, now)),
        Cell(fmt.percent(line.used_ratio) if line.used_ratio is not None else fmt.UNKNOWN),
        _progress(line),
        _forecast_cell(line),
        variance_cell(line.forecast_cost, line.amount, line.currency),
        Cell(next_step_words(line), note="" if short else line.ladder_words),
    ]


def period_words(line: BudgetLine) -> str:
    """`a month`, `30 days rolling`, with the zone where it is not UTC, and whether it is hard."""
    name = f"{line.terms.rolling_days} days rolling" if line.period == "rolling" else f"a {line.period}"
    zone = "" if line.terms.zone == "UTC" else f", {line.terms.zone}"
    return f"{name}{zone}{', hard' if line.terms.is_hard else ''}"


def _forecast_cell(line: BudgetLine) -> Cell:
    """`$29.0k`, under it its interval or that it is a naive pace; how it was made when pointed at."""
    text = _forecast(line.forecast_cost, line.currency)
    if line.forecast_cost is None:
        return Cell(text, title="Three complete days of the period are needed")
    note = forecast_words.NAIVE
    if line.forecast_low_cost is not None and line.forecast_high_cost is not None:
        note = fmt.money_range(line.forecast_low_cost, line.forecast_high_cost, line.currency)
    return Cell(text, note=note, title=forecast_words.budget_method(line.forecast_method, line.forecast_error_percent))


def _about(line: BudgetLine) -> str:
    parts = [line.name, line.scope_words, line.owner_email, fmt.period(line.days.start, line.days.end)]
    return " · ".join(part for part in parts if part)


def _state_note(line: BudgetLine) -> str:
    if line.is_waiting_approval:
        return "waiting approval"
    if line.unconverted:
        return f"no rate for {', '.join(line.unconverted)}"
    if line.is_unbalanced:
        return "books do not add up"
    return "forecast over" if line.is_forecast_over and line.state in {"on_track", "watch"} else ""


def _evaluated(line: BudgetLine, now: datetime) -> str:
    if line.evaluated_at is None:
        return "Not evaluated in this period yet"
    parts = [f"Evaluated {fmt.moment(line.evaluated_at)}, {fmt.ago(line.evaluated_at, now)}"]
    if line.estimated_cost:
        parts.append(f"{fmt.money(line.estimated_cost, line.currency)} of it is estimated")
    if line.converted_cost:
        parts.append(f"{fmt.money(line.converted_cost, line.currency)} of it is converted ({line.rates})")
    if line.unpriced_cost:
        parts.append(f"{fmt.money(line.unpriced_cost, line.currency)} of it is at a conservative price")
    return "; ".join(parts)


def _progress(line: BudgetLine) -> Cell:
    if line.used_ratio is None:
        return Cell(fmt.UNKNOWN)
    return Cell(bullet=Bullet(line.used_ratio, line.elapsed_ratio, line.state))


def _forecast(forecast: Decimal | None, currency: str) -> str:
    return fmt.NOT_APPLICABLE if forecast is None else fmt.money(forecast, currency, mode="short")


def _total_cells(count: int, sums: Totals, places: int) -> list[Cell]:
    return [
        Cell(f"Total ({count})" if sums.budgets == count else "Total, counted once"),
        Cell(),
        Cell(fmt.money(sums.amount, sums.currency, places=places)),
        Cell(fmt.money(sums.spend_cost, sums.currency, places=places)),
        Cell(fmt.percent(sums.used_ratio) if sums.used_ratio is not None else fmt.UNKNOWN),
        Cell(),
        Cell(_forecast(sums.forecast_cost, sums.currency)),
        variance_cell(sums.forecast_cost, sums.amount, sums.currency),
        Cell(),
    ]


def _note(lines: Sequence[BudgetLine], sums: Totals | None) -> str:
    pairs = overlapping(lines)
    if sums is not None:
        inside = len(lines) - sums.budgets
        return (
            f"{inside} of {len(lines)} budgets lie inside another one; the total counts their spend once."
            if pairs and inside
            else ""
        )
    outer = [line for index, line in enumerate(lines) if not _is_inside_another(line, index, lines)]
    if len({(line.currency, line.days) for line in outer}) > 1:
        return "No total: the budgets have several currencies or periods."
    names = "; ".join(f"{one} and {other}" for one, other in pairs[:3])
    more = f"; {len(pairs) - 3} more pairs" if len(pairs) > 3 else ""
    return f"No total: budgets overlap in part, so a sum would count spend twice ({names}{more})." if pairs else ""


def _sum(amounts: Sequence[Decimal | None]) -> Decimal | None:
    known = [amount for amount in amounts if amount is not None]
    return sum(known, Decimal(0)) if len(known) == len(amounts) else None
