"""Quality and business value beside cost, as tables, and events of note as marks on charts."""

from collections.abc import Sequence

from attribution import queries
from attribution.queries import BusinessValue, MarkerLine, Quality, UnitCost
from costobs.kernel import fmt
from costobs.web import charts, filters, unit_figures, words
from costobs.web.parts import Cell, Column, Row, Table

ACTS = {
    "deploy": "Deploy",
    "release": "Release",
    "rollback": "Rollback",
    "config_change": "Config change",
    "experiment": "Experiment",
    "incident": "Incident",
    "note": "Note",
}
_MOST_MARKS = 8


def quality(asked: filters.Asked, units: Sequence[UnitCost]) -> Table | None:
    """Scores by the page's group with the unit costs of the same group beside them; None where there are no scores."""
    found = queries.quality(scope=asked.scope, group_by=[asked.group])
    if not found:
        return None
    currency = asked.scope.currency
    by_key = {unit.keys: unit for unit in units}
    return Table(
        caption=f"Quality beside cost by {filters.by(asked.group)}",
        columns=[
            Column(filters.LABELS[asked.group], wide=True),
            Column("Score"),
            Column("Mean", numeric=True, title="As a share of the scale the score was given on"),
            Column("95 % interval", numeric=True, title="Of the mean: where it would lie if the scoring were repeated"),
            Column("Scores", numeric=True),
            Column("$ / 1M tokens", numeric=True),
            Column("$ / 1k requests", numeric=True),
        ],
        rows=[_quality_row(asked, one, by_key.get(one.keys), currency) for one in found],
        note="Scores are pushed to /api/v1/quality-scores. They may cover a part of the calls only.",
    )


def business(asked: filters.Asked) -> Table | None:
    """What one unit of business value costs; None where no figure was pushed."""
    found = queries.business_values(scope=asked.scope)
    if not found:
        return None
    currency = asked.scope.currency
    return Table(
        caption="Cost of business value",
        columns=[
            Column("Metric", wide=True),
            Column("Owner"),
            Column("Value", numeric=True),
            Column("Spend", numeric=True, title="Of the same owner in the same days"),
            Column("Cost of one", numeric=True),
        ],
        rows=[_business_row(one, currency) for one in found],
        note="Figures are pushed to /api/v1/business-metrics; only periods that lie wholly in these days count.",
    )


def marks(asked: filters.Asked) -> list[charts.Mark]:
    """The newest events of the scope, numbered from the left, as marks of a daily chart."""
    found = queries.markers(scope=asked.scope, limit=_MOST_MARKS)
    return [
        charts.Mark(number, one.at.date(), _sentence(one), url=one.url) for number, one in enumerate(found, start=1)
    ]


def _sentence(one: MarkerLine) -> str:
    where = f" in {one.environment}" if one.environment else ""
    whose = f", {one.team}" if one.team else ""
    return f"{fmt.moment(one.at)}: {ACTS.get(one.act, one.act)}{where}{whose}: {one.title}"


def _quality_row(asked: filters.Asked, one: Quality, unit: UnitCost | None, currency: str) -> Row:
    tokens = unit_figures.UNITS["tokens"].text(unit.cost_per_million_tokens if unit else None, currency)
    requests = unit_figures.UNITS["thousand_requests"].text(unit.cost_per_thousand_requests if unit else None, currency)
    interval = (
        f"{fmt.percent(one.low)} to {fmt.percent(one.high)}"
        if one.low is not None and one.high is not None
        else fmt.NOT_APPLICABLE
    )
    return Row(
        [
            Cell(words.label(asked.group, one.keys[0]), title=one.keys[0]),
            Cell(one.name),
            Cell(fmt.percent(one.mean)),
            Cell(interval),
            Cell(fmt.integer(one.scores)),
            Cell(tokens),
            Cell(requests),
        ]
    )


def _business_row(one: BusinessValue, currency: str) -> Row:
    owner = " / ".join(filter(None, (one.team, one.feature))) or "Everybody in this scope"
    unit = one.unit or "one"
    per = fmt.unit_cost(one.cost_per_unit, unit, currency)
    return Row(
        [
            Cell(one.name.replace("_", " "), title=one.name),
            Cell(owner),
            Cell(
                fmt.count(one.value) if one.value == int(one.value) else f"{one.value:f}",
                title=f"{one.value:f} × {one.unit}" if one.unit else f"{one.value:f}",
            ),
            Cell(fmt.money(one.cost, currency)),
            Cell(f"{per.amount} / {per.per}" if per else fmt.NOT_APPLICABLE),
        ]
    )
