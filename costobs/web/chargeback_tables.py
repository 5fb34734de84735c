"""The tables and the chart of a statement: what is charged, what leads to the invoices, other currencies, cost centres."""

from dataclasses import dataclass
from decimal import Decimal
from urllib.parse import urlencode

from django.urls import reverse

from attribution import printing, queries
from attribution.exports.base import percent
from costobs.kernel import fmt
from costobs.kernel.period import Days
from costobs.web import charts
from costobs.web.charts.colour import Kind
from costobs.web.parts import Cell, ChartCard, Column, Notice, Row, RowKind, Table

PART_TITLES = {
    "direct": "Direct",
    "shared": "Shared",
    "idle": "Idle",
    "overhead": "Overhead",
    "unallocated": "Unallocated",
    "adjustment": "Adjustments",
    "tax": "Tax",
}
PART_HELP = {
    "direct": "Used by the team itself",
    "shared": "The team's part of what all use, split by rule",
    "idle": "Paid GPU capacity that nobody used",
    "overhead": "What a node costs besides its GPUs",
    "unallocated": "Spend that no rule gave to a team",
    "adjustment": "Credits, corrections and adjustments",
    "tax": "Tax as the invoices have it",
}
_KINDS: dict[str, Kind] = {"shared": "shared", "idle": "idle", "unallocated": "unallocated"}
_MOST_BARS = 12


@dataclass(frozen=True, slots=True)
class View:
    """One statement as a page shows it."""

    month: str
    name: str
    query: str
    found: queries.Statement
    sheet: printing.PrintedStatement
    days: Days
    cost: str

    def money(self, amount: Decimal, currency: str = "") -> str:
        """An amount as statements write it."""
        return fmt.money(amount, currency or self.found.currency, mode="statement")

    def centre_url(self, cost_centre: str) -> str:
        """The page of one cost centre."""
        return f"{reverse('chargeback_cost_centre', args=[self.month, printing.slug(cost_centre)])}?{self.query}"

    @property
    def has_more_than_total(self) -> bool:
        """Whether anything is charged beside what the books hold."""
        return self.has_converted or _is_used(self, "markup")

    @property
    def has_converted(self) -> bool:
        return any(one.converted_cost is not None for one in self.found.conversions)


def statement(view: View) -> Table:
    """Lines by cost centre and team: the parts of the total, then what is put on top, then what is charged."""
    names = [name for name in printing.PARTS if name != "overhead" or _is_used(view, name)]
    names += ["total"]
    names += ["converted"] if view.has_converted else []
    # Without a markup nothing is put on top, and the total is what is charged.
    names += ["markup"] if _is_used(view, "markup") else []
    names += ["charged"] if view.has_more_than_total else []
    columns = [Column("Cost centre"), Column("Team"), *(_column(name) for name in names)]
    rows = []
    for line, row in zip(view.found.lines, view.sheet.rows, strict=True):
        exact, figures = printing.exact(line), printing.figures(row)
        cells = [
            Cell(
                view.money(figures[name]),
                title=f"{exact[name]:f}" if exact[name] else "",
                note=f"{line.markup.label}, {percent(line.markup.percent)} %"
                if name == "markup" and line.markup
                else "",
            )
            for name in names
        ]
        rows.append(Row([*_names(view, row), *cells], kind=_kind(row)))
    figures = printing.figures(view.sheet.total)
    total = Row([Cell("Total"), Cell(""), *(Cell(view.money(figures[name])) for name in names)], kind="total")
    return Table(
        f"Statement of {view.name}", columns, rows, total if rows else None, nothing(view.name), note=printing.RULE
    )


def ties(view: View) -> Table:
    """From the total to what the invoices say."""

    def cells(row: printing.Printed) -> list[Cell]:
        return [Cell(view.money(amount)) for amount in (row.total, *(row.ties[name] for name in printing.TIES))]

    columns = [
        Column("Cost centre"),
        Column("Team"),
        Column("Total", numeric=True),
        Column("Not billed yet", numeric=True, title="Estimated from usage; part of the total"),
        Column("Commitment timing", numeric=True, title="Total minus what is billed and what is not billed yet"),
        Column("Billed", numeric=True, title="The same rows as the invoices have them"),
    ]
    rows = [Row([*_names(view, row), *cells(row)], kind=_kind(row)) for row in view.sheet.rows]
    total = Row([Cell("Total"), Cell(""), *cells(view.sheet.total)], kind="total") if rows else None
    note = "Total = not billed yet + commitment timing + billed."
    return Table("From the statement to the invoices", columns, rows, total, nothing(view.name), note=note)


def centres(view: View) -> Table:
    """Each cost centre with its total, what it is charged, and its share of all."""
    whole = view.sheet.total.charged
    rows = []
    for centre, row in printing.by_cost_centre(view.sheet.rows).items():
        part = row.charged / whole if whole else None
        rows.append(
            Row(
                [
                    Cell(centre or "No cost centre", view.centre_url(centre), title="Lines and source rows"),
                    Cell(
                        view.money(row.total), _explore_url(view, "cost_centre", centre), title="This spend in Explore"
                    ),
                    *([Cell(view.money(row.charged))] if view.has_more_than_total else []),
                    Cell(
                        fmt.NOT_APPLICABLE if part is None else fmt.percent(part),
                        share=part if part is not None and 0 <= part <= 1 else None,
                    ),
                ],
                kind="" if centre else "unallocated",
            )
        )
    columns = [
        Column("Cost centre"),
        Column("Total", numeric=True),
        *(
            [Column("Charged", numeric=True, title="With markup and other currencies")]
            if view.has_more_than_total
            else []
        ),
        Column("Share"),
    ]
    charged = [Cell(view.money(whole))] if view.has_more_than_total else []
    sums = [Cell(view.money(view.sheet.total.total)), *charged, Cell("")]
    total = Row([Cell("Total"), *sums], kind="total") if rows else None
    return Table("Cost centres", columns, rows, total, nothing(view.name))


def bars(view: View) -> ChartCard | None:
    """One small stacked bar for each cost centre, the largest first."""
    found = sorted(printing.by_cost_centre(view.sheet.rows).items(), key=lambda one: (-one[1].charged, one[0]))
    shown = [one for one in found if one[1].charged][:_MOST_BARS]
    if not shown:
        return None
    names = [*printing.PARTS, "converted", "markup"]
    slots = {"direct": 1, "overhead": 6, "adjustment": 7, "tax": 5, "converted": 3, "markup": 4}
    series = [
        charts.Series(
            name,
            _title(name),
            [printing.figures(row)[name] for _, row in shown],
            _KINDS.get(name, ""),
            slot=slots.get(name),
        )
        for name in names
    ]
    kept = [one for one in series if any(one.values)]
    # A bare number is a place on the axis to Plotly, so such a cost centre is called one.
    bare = any(not any(letter.isalpha() for letter in centre) for centre, _ in shown if centre)
    labels = [(f"Cost centre {centre}" if bare else centre) or "No cost centre" for centre, _ in shown]
    _, row = shown[0]
    return ChartCard(
        id="centres",
        title="What each cost centre is charged for",
        caption=f"{view.found.currency}, {view.name}."
        + (f" The {_MOST_BARS} largest of {len(found)}." if len(found) > len(shown) else ""),
        chart=charts.stacked_rows(
            rows=labels,
            series=kept,
            currency=view.found.currency,
            totals=[view.money(one.charged) for _, one in shown],
            height="small" if len(shown) < 4 else "secondary",
        ),
        summary=f"{labels[0]} has the most: {view.money(row.charged)} of {view.money(view.sheet.total.charged)}.",
    )


def conversions(view: View) -> Table:
    """Spend in other currencies: the amount in it, the rates, and what it comes to, or that it is in no total."""
    rows = [
        Row(
            [
                Cell(one.cost_centre or "No cost centre", view.centre_url(one.cost_centre)),
                Cell(one.team or "Unallocated"),
                Cell(one.currency),
                Cell(view.money(one.cost, one.currency), title=f"{one.cost:f}"),
                Cell(_rates(one), note=one.rates or "no rate of the month is known"),
                Cell(view.money(one.converted_cost), title=f"{one.converted_cost:f}")
                if one.converted_cost is not None
                else Cell("not included"),
            ],
            kind="" if one.team else "unallocated",
        )
        for one in view.found.conversions
    ]
    columns = [
        Column("Cost centre"),
        Column("Team"),
        Column("Currency"),
        Column("Amount", numeric=True),
        Column("Rate", wide=True),
        Column(f"In {view.found.currency}", numeric=True),
    ]
    note = (
        "Each day's amount is multiplied with the rate of the day, or of the last day before it; the product is exact."
    )
    total = Row([*[Cell("Total")], *[Cell("")] * 4, Cell(view.money(view.sheet.total.converted))], kind="total")
    return Table("Other currencies", columns, rows, total, note=note)


def reconciliation(view: View) -> Table:
    """Invoices of the month against the books."""
    found = view.found
    rows = []
    for one in found.reconciliation:
        invoices = ", ".join(one.invoices) or "no number on the bill"
        other = (
            f"{view.money(one.other_authority_cost)} counted through another source" if one.other_authority_cost else ""
        )
        name = Cell(
            one.provider_name, note="" if one.invoice_issuer_name == one.provider_name else one.invoice_issuer_name
        )
        amounts = [
            Cell(view.money(one.invoiced_cost)),
            Cell(view.money(one.in_books_cost), note=other),
            Cell(view.money(one.difference)),
        ]
        state = Cell(state="unexplained" if one.difference else "matched")
        rows.append(Row([name, Cell(invoices, mono=bool(one.invoices)), *amounts, state]))
    sums = [
        Cell(view.money(sum((getattr(one, name) for one in found.reconciliation), Decimal(0))))
        for name in ("invoiced_cost", "in_books_cost", "difference")
    ]
    columns = [
        Column("Provider"),
        Column("Invoice no.", wide=True),
        Column("Invoiced", numeric=True),
        Column("In the books", numeric=True),
        Column("Difference", numeric=True),
        Column("Status"),
    ]
    total = Row([Cell("Total"), Cell(""), *sums, Cell("")], kind="total")
    empty = Notice("not_arrived", "No bill of this month has arrived", "What is shown below is estimated from usage.")
    return Table("Reconciliation with invoices", columns, rows, total if rows else None, empty)


def _is_used(view: View, name: str) -> bool:
    """Whether a column holds anything; one that may be left out is left out where it does not."""
    has_rate = name == "markup" and any(line.markup for line in view.found.lines)
    return has_rate or any(printing.figures(row)[name] for row in view.sheet.rows)


def nothing(name: str) -> Notice:
    """What an empty month says."""
    return Notice("empty", f"Nothing in the books for {name}", "Choose another month, or load its bills and usage.")


def _column(name: str) -> Column:
    helped = {
        "total": "The books: what is used, shared, idle, adjusted and taxed",
        "converted": "Spend in other currencies at the rates of its days",
        "markup": "A percentage on everything but tax, set under Settings, Chargeback",
        "charged": "Total, other currencies and markup",
    }
    return Column(_title(name), numeric=True, title=PART_HELP.get(name) or helped[name])


def _title(name: str) -> str:
    others = {"total": "Total", "converted": "Other currencies", "markup": "Markup", "charged": "Charged"}
    return PART_TITLES.get(name) or others[name]


def _rates(one: queries.Conversion) -> str:
    if one.lowest_rate is None or one.highest_rate is None:
        return fmt.NOT_APPLICABLE
    low, high = f"{one.lowest_rate.normalize():f}", f"{one.highest_rate.normalize():f}"
    return low if low == high else f"{low} to {high}"


def _names(view: View, row: printing.Printed) -> list[Cell]:
    centre = Cell(row.cost_centre or "No cost centre", view.centre_url(row.cost_centre))
    return [centre, Cell(row.team or "Unallocated", _explore_url(view, "team", row.team))]


def _kind(row: printing.Printed) -> RowKind:
    return "" if row.team else "unallocated"


def _explore_url(view: View, dimension: str, value: str) -> str:
    query = [
        ("preset", "custom"),
        ("from", view.days.start.isoformat()),
        ("to", view.days.last.isoformat()),
        ("cmp", "month"),
        ("group", "team" if dimension == "cost_centre" and value else "service_name"),
        ("basis", view.cost),
        ("f", f"{dimension}:{value}"),
    ]
    return f"{reverse('explore')}?{urlencode(query)}"
