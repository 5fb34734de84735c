"""The table of the GPU page: what was paid for each deployment or node, how it was bought, and what became of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from django.urls import reverse

from costobs.kernel import fmt
from costobs.web import filters, gpu_figures, words
from costobs.web.gpu_figures import Activity, Fate
from costobs.web.parts import Cell, Column, Notice, Row, Table

VIEWS = {"deployment": "By deployment", "node": "By node"}
OPTIONS = (*words.PURCHASES, "")
_NOT_TOLD = "Not told by the bill"


@dataclass(frozen=True, slots=True)
class Line:
    """One row of the page: a deployment or a node."""

    key: str
    label: str
    fate: Fate
    bought_as: tuple[tuple[str, Decimal], ...]
    activity: Activity | None
    tokens: int
    busy_ratio: Decimal | None
    per_million: Decimal | None


def table(asked: filters.Asked, lines: Sequence[Line], view: str) -> Table:
    currency = asked.scope.currency
    places = fmt.column_places([line.fate.paid for line in lines])
    columns = [
        Column("Deployment" if view == "deployment" else "Node"),
        Column("Busy time", numeric=True, title="Of the time that was measured"),
        Column("Paid", numeric=True, sort="descending"),
        Column(
            "Bought as",
            wide=True,
            title="Spot, reserved, savings plan, on-demand, serverless or owned; adds up to paid",
        ),
        Column("Busy", numeric=True, title="With requests, fine-tune runs, and busy without a request"),
        Column("Idle", numeric=True, title="With a model loaded, and with nothing loaded"),
        Column("No telemetry", numeric=True),
        Column("Last busy"),
    ]
    if view == "deployment":
        title = "Busy time with requests over tokens, on the days that are paid"
        columns.append(Column("$ / 1M tokens", numeric=True, title=title))
    total = gpu_figures.add(line.fate for line in lines)
    rows = [Row(_cells(line, currency, places, view), kind="idle" if not line.key else "") for line in lines]
    sums = [
        Cell(f"Total ({len(lines)} rows)"),
        Cell(),
        *_money_cells(total, gpu_figures.bought_as(line.bought_as for line in lines), currency, places),
        *[Cell()] * (len(columns) - 7),
    ]
    return Table(
        caption=f"GPUs {VIEWS[view].lower()}",
        columns=columns,
        rows=rows,
        total=Row(sums, kind="total") if rows else None,
        empty=Notice("not_arrived", "No bill or price for these nodes in these days"),
        csv_url=f"{reverse('gpus_export')}?{asked.query}",
        note="Paid is busy, idle and no telemetry together, exactly.",
    )


def per_million(cost: Decimal | None, currency: str) -> str:
    found = fmt.unit_cost(cost / 1_000_000 if cost is not None else None, "token", currency, scale=1_000_000)
    return found.amount if found else fmt.NOT_APPLICABLE


def _cells(line: Line, currency: str, places: int, view: str) -> list[Cell]:
    seen = line.activity
    cells = [
        Cell(
            line.label,
            title=line.key or "GPUs that had no model loaded",
            note=f"{seen.gpus} × {', '.join(seen.models)}" if seen else "GPUs unknown",
        ),
        Cell(fmt.percent(line.busy_ratio) if line.busy_ratio is not None else "no telemetry"),
        *_money_cells(line.fate, line.bought_as, currency, places),
        Cell(fmt.moment(seen.last_busy) if seen and seen.last_busy else fmt.NOT_APPLICABLE),
    ]
    return cells if view == "node" else [*cells, Cell(per_million(line.per_million, currency))]


def _money_cells(one: Fate, bought: Sequence[tuple[str, Decimal]], currency: str, places: int) -> list[Cell]:
    share = fmt.percent(one.idle_ratio, places=0)
    return [
        Cell(fmt.money(one.paid, currency, places=places)),
        Cell(_bought_as(bought, currency, places)),
        Cell(fmt.money(one.busy, currency, places=places)),
        Cell(fmt.money(one.idle, currency, places=places), note=share if one.idle else ""),
        Cell(fmt.money(one.no_telemetry, currency, places=places)),
    ]


def _bought_as(bought: Sequence[tuple[str, Decimal]], currency: str, places: int) -> str:
    """`Spot`, or `Reserved $40, Spot $8` where it was bought in several ways."""
    named = [(words.PURCHASES.get(option, _NOT_TOLD), cost) for option, cost in bought]
    if len(named) == 1:
        return named[0][0]
    return ", ".join(f"{name} {fmt.money(cost, currency, places=places)}" for name, cost in named)
