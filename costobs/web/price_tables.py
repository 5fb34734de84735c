"""Tables of prices: the book, one price's history, changes and what they move."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

from django.urls import reverse

from attribution import queries
from costobs.kernel import fmt, money
from costobs.web.parts import Cell, Column, Notice, Row, Table
from ingest.price_diff import EffectLine
from ingest.price_lines import Line

_MILLION = 6
_ALWAYS = 1970
_SHOWN = (
    ("input_uncached", "Input"),
    ("cache_read", "Cached"),
    ("cache_write_5m", "Cache write"),
    ("output", "Output"),
)
_KINDS = {"price": "One price", "file": "A table", "discount": "A discount", "list": "Update of the list"}


def per_million(row: Any) -> dict[str, Decimal]:
    """The prices of a row as people read them: of 1M tokens of each kind, and of one request."""
    kinds = [name.removesuffix("_price") for name in vars(row) if name.endswith("_price")]
    return {
        kind: (price if kind == "request" else price.scaleb(_MILLION)).normalize() + 0
        for kind in kinds
        for price in [getattr(row, f"{kind}_price")]
    }


def words(row: Any) -> str:
    """One price in words."""
    prices = per_million(row)
    told = f"{_price(prices['input_uncached'], row.currency)} in and {_price(prices['output'], row.currency)} out"
    return f"{told} per 1M tokens"


def book(rows: Sequence[Any], *, is_searched: bool, csv_url: str, paging: tuple[str, str, str]) -> Table:
    """The prices in force."""
    columns = [
        Column("Model"),
        Column(
            "Prompts from", numeric=True, title="A price by prompt size holds for prompts of at least so many tokens"
        ),
        *_price_columns(),
        Column("Valid", wide=True),
        Column("Where it comes from", wide=True),
    ]
    drawn = [
        Row(
            [
                Cell(row.model, history_url(row), mono=True, title=f"History of {row.model}", note=_whose(row)),
                Cell(_prompts(row.context_from)),
                *_price_cells(row),
                Cell(_valid(row)),
                _provenance(row),
            ],
            kind="unpriced" if row.is_conservative else "",
        )
        for row in rows
    ]
    empty = (
        Notice("nothing_matches", "No price matches", "Search by provider, model, tier or by who set it.")
        if is_searched
        else Notice(
            "empty",
            "No price is needed yet",
            "Prices are looked up in the public list when the first usage of a model is loaded.",
        )
    )
    pages, before, after = paging
    note = "Hatched: no price is known, so the dearest of the provider counts. The file has every kind and digit."
    return Table("Prices in force", columns, drawn, None, empty, csv_url if rows else "", note, pages, before, after)


def history(rows: Sequence[Any]) -> Table:
    """Every belief about one price, the newest first."""
    columns = [
        Column("Believed", wide=True),
        Column("Prompts from", numeric=True),
        *_price_columns(),
        Column("For usage", wide=True),
        Column("Where it comes from", wide=True),
    ]
    drawn = [
        Row(
            [
                Cell(_believed(row), note="believed now" if row.known_to is None else _kept(row)),
                Cell(_prompts(row.context_from)),
                *_price_cells(row),
                Cell(_valid(row)),
                _provenance(row),
            ],
            kind="unpriced" if row.is_conservative else "",
        )
        for row in rows
    ]
    return Table("What was believed, and when", columns, drawn)


def recent(rows: Sequence[Any]) -> Table:
    """Prices that took another's place lately."""
    columns = [Column("Model"), Column("Since", wide=True), *_price_columns(), Column("Valid", wide=True)]
    columns.append(Column("Where it comes from", wide=True))
    drawn = [
        Row(
            [
                Cell(row.model, history_url(row), mono=True, note=_whose(row)),
                Cell(fmt.moment(row.known_from)),
                *_price_cells(row),
                Cell(_valid(row)),
                _provenance(row),
            ]
        )
        for row in rows
    ]
    empty = Notice(
        "empty", "No price changed this month", "Prices that people set, and updates of the list, appear here."
    )
    return Table("Changed this month", columns, drawn, empty=empty)


def changes(rows: Sequence[Any]) -> Table:
    """Proposals and what became of them."""
    columns = [
        Column("Change", wide=True),
        Column("State"),
        Column("Proposed", wide=True),
        Column("Decided", wide=True),
    ]
    drawn = [
        Row(
            [
                Cell(row.title, reverse("settings_price_change", args=[row.pk]), note=_KINDS.get(row.kind, row.kind)),
                Cell("", state=row.state),
                Cell(fmt.moment(row.proposed_at), note=row.proposed_by),
                Cell(_decided(row)),
            ]
        )
        for row in rows
    ]
    empty = Notice("empty", "Nothing was proposed yet", "A proposed price shows what it would move before it counts.")
    return Table("Changes", columns, drawn, empty=empty)


def proposed(lines: Sequence[Line]) -> Table:
    """The prices that a change sets."""
    columns = [
        Column("Model"),
        Column("Tier"),
        Column("Prompts from", numeric=True),
        *_price_columns(),
        Column("From"),
    ]
    drawn = [
        Row(
            [
                Cell(line.model, mono=True, note=line.provider),
                Cell(line.service_tier),
                Cell(_prompts(at)),
                *(_given(prices, kind, line.currency) for kind, _label in _SHOWN),
                Cell(fmt.day(line.valid_from)),
            ]
        )
        for line in lines
        for at, prices in line.steps.items()
    ]
    note = "Per 1M tokens. A kind without a price costs what it is a part of."
    return Table("Prices it sets", columns, drawn, note=note)


def effect(title: str, lines: Sequence[EffectLine], empty: Notice) -> Table:
    """What moves, by month and model, with the total of each currency."""
    columns = [
        Column("Month"),
        Column("Model"),
        Column("Calls", numeric=True),
        Column("Priced at", numeric=True),
        Column("Would be", numeric=True),
        Column("Change", numeric=True),
    ]
    drawn = [
        Row(
            [
                Cell(fmt.month(line.month)),
                Cell(line.model, mono=True, note=line.provider),
                Cell(fmt.integer(line.calls)),
                *_moved(line.old_cost, line.new_cost, line.currency),
            ]
        )
        for line in lines
    ]
    return Table(title, columns, drawn, _total(lines, before=2), empty)


def teams(lines: Sequence[queries.TeamEffect]) -> Table:
    """What moves, by owner."""
    columns = [
        Column("Team"),
        Column("Priced at", numeric=True),
        Column("Would be", numeric=True),
        Column("Change", numeric=True),
    ]
    drawn = [
        Row(
            [Cell(line.team or "No owner"), *_moved(line.old_cost, line.new_cost, line.currency)],
            kind="" if line.team else "unallocated",
        )
        for line in lines
    ]
    empty = Notice("empty", "No team has usage of it in open months")
    return Table("By team", columns, drawn, _total(lines, before=0), empty)


def history_url(row: Any) -> str:
    """Where everything is told that was believed about the price of a row."""
    asked = {"provider": row.provider, "model": row.model, "tier": row.service_tier}
    return f"{reverse('settings_price_history')}?{urlencode(asked)}"


def _total(lines: Sequence[EffectLine] | Sequence[queries.TeamEffect], *, before: int) -> Row | None:
    """The sum, where all is in one currency: amounts of two are never added."""
    currencies = {line.currency for line in lines}
    if len(currencies) != 1:
        return None
    old, new = money.total(line.old_cost for line in lines), money.total(line.new_cost for line in lines)
    calls = [Cell(fmt.integer(sum(line.calls for line in lines if isinstance(line, EffectLine))))]
    blank = [Cell("Total"), *([Cell("")] * (before - 1)), *(calls if before else [])]
    return Row([*blank, *_moved(old, new, currencies.pop())], kind="total")


def _moved(old: Decimal, new: Decimal, currency: str) -> list[Cell]:
    places = fmt.column_places([old, new])
    return [
        Cell(fmt.money(old, currency, places=places)),
        Cell(fmt.money(new, currency, places=places)),
        Cell(fmt.money(new - old, currency, places=fmt.column_places([new - old]), signed=True)),
    ]


def _price_columns() -> list[Column]:
    return [Column(label, numeric=True, title="Per 1M tokens") for _kind, label in _SHOWN]


def _price_cells(row: Any) -> list[Cell]:
    prices = per_million(row)
    return [Cell(_price(prices[kind], row.currency)) for kind, _label in _SHOWN]


def _given(prices: Any, kind: str, currency: str) -> Cell:
    found = prices.get(kind, prices.get("input") if kind == "input_uncached" else None)
    return Cell(_price(found, currency) if found is not None else fmt.NOT_APPLICABLE)


def _price(per: Decimal, currency: str) -> str:
    """A price per 1M with the digits it has, at least two and at most six decimals."""
    exponent = (per.normalize() + 0).as_tuple().exponent
    return fmt.money(per, currency, places=min(6, max(2, -exponent if isinstance(exponent, int) else 2)))


def _prompts(at: int) -> str:
    return f"{fmt.integer(at)} tokens" if at else "any size"


def _whose(row: Any) -> str:
    return row.provider if row.service_tier == "standard" else f"{row.provider}, tier {row.service_tier}"


def _valid(row: Any) -> str:
    start = "always" if row.valid_from.year <= _ALWAYS else f"from {fmt.day(row.valid_from.date())}"
    return start if row.valid_to is None else f"{start} until {fmt.day(row.valid_to.date())}"


def _believed(row: Any) -> str:
    start = (
        "since it was valid" if row.known_from == row.valid_from else f"since {fmt.moment(row.known_from, year=True)}"
    )
    return start if row.known_to is None else f"{start}, until {fmt.moment(row.known_to, year=True)}"


def _kept(row: Any) -> str:
    return f"usage before {fmt.day(row.kept_until)} kept it: its month was closed" if row.kept_until else "given up"


def _provenance(row: Any) -> Cell:
    url = reverse("settings_price_change", args=[row.change_id]) if row.change_id else ""
    return Cell(row.provenance, url, note=f"set by {row.set_by}" if row.set_by else "")


def _decided(row: Any) -> str:
    if row.ended_at:
        return f"{row.ended_by}, {fmt.moment(row.ended_at)}"
    if row.applied_at:
        return f"{row.applied_by}, {fmt.moment(row.applied_at)}"
    return f"approved by {row.approved_by}" if row.approved_at else fmt.NOT_APPLICABLE
