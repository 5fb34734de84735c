"""How a number is made: the sources, methods, rules, prices and deliveries behind the scope."""

from attribution import queries
from costobs.kernel import fmt
from costobs.web import filters, words
from costobs.web.parts import Cell, Column, Row, Table


def tables(found: queries.Explanation, asked: filters.Asked) -> list[Table]:
    """Six small tables that account for the scope's total."""
    currency = asked.scope.currency
    return [
        _sources(found, currency),
        _methods(found, currency),
        _rules(found, currency),
        _splits(found, currency),
        _prices(found, currency),
        _deliveries(found),
    ]


def _sources(found: queries.Explanation, currency: str) -> Table:
    columns = [
        Column("Source"),
        Column("Kind"),
        Column("Basis"),
        Column("Counts"),
        Column("Rows", numeric=True),
        Column("Cost", numeric=True),
    ]
    rows = [
        Row(
            [
                Cell(one.source),
                Cell(one.kind),
                Cell(one.basis),
                Cell("yes" if one.is_current else "no: another source counts for the same money"),
                Cell(fmt.integer(one.rows)),
                Cell(fmt.money(one.cost, currency, places=2)),
            ]
        )
        for one in found.sources
    ]
    return Table("Sources", columns, rows)


def _methods(found: queries.Explanation, currency: str) -> Table:
    columns = [
        Column("How it was divided"),
        Column("Share"),
        Column("Rows", numeric=True),
        Column("Cost", numeric=True),
    ]
    rows = [
        Row(
            [
                Cell(one.method),
                Cell(words.SHARES.get(one.share_kind, one.share_kind)),
                Cell(fmt.integer(one.rows)),
                Cell(fmt.money(one.cost, currency, places=2)),
            ]
        )
        for one in found.methods
    ]
    return Table("Methods", columns, rows)


def _rules(found: queries.Explanation, currency: str) -> Table:
    columns = [
        Column("Rule"),
        Column("Position", numeric=True),
        Column("Kind"),
        Column("Rows", numeric=True),
        Column("Cost", numeric=True),
    ]
    rows = [
        Row(
            [
                Cell(one.name or "No rule"),
                Cell(str(one.position) if one.position is not None else fmt.NOT_APPLICABLE),
                Cell(one.kind or fmt.NOT_APPLICABLE),
                Cell(fmt.integer(one.rows)),
                Cell(fmt.money(one.cost, currency, places=2)),
            ]
        )
        for one in found.rules
    ]
    version = f"Ruleset version {found.ruleset_version}" if found.ruleset_version else "No ruleset yet"
    return Table(f"Rules ({version})", columns, rows)


def _splits(found: queries.Explanation, currency: str) -> Table:
    columns = [
        Column("Split by"),
        Column("Position", numeric=True),
        Column("What was split"),
        Column("Ruleset version", numeric=True),
        Column("Parts", numeric=True),
        Column("Cost", numeric=True),
    ]
    rows = [
        Row(
            [
                Cell(one.name or one.method.replace("_", " ")),
                Cell(str(one.position) if one.position is not None else fmt.NOT_APPLICABLE),
                Cell(
                    one.pool_kind.replace("_", " ").replace("+", ", "),
                    note=f"taken from a split of {one.origin}" if one.origin else "",
                ),
                Cell(str(one.ruleset_version)),
                Cell(fmt.integer(one.rows)),
                Cell(fmt.money(one.cost, currency, places=2)),
            ]
        )
        for one in found.splits
    ]
    return Table("Splits", columns, rows)


def _prices(found: queries.Explanation, currency: str) -> Table:
    columns = [
        Column("Model"),
        Column("Tier"),
        Column("Input / 1M", numeric=True),
        Column("Cached / 1M", numeric=True),
        Column("Output / 1M", numeric=True),
        Column("From"),
        Column("Where from", wide=True),
        Column("Requests", numeric=True),
    ]
    rows = [
        Row(
            [
                Cell(one.model, note="no price: counted at a conservative one" if one.is_conservative else ""),
                Cell(one.service_tier),
                Cell(fmt.unit_price(one.input_uncached_price * 1_000_000, currency)),
                Cell(fmt.unit_price(one.cache_read_price * 1_000_000, currency)),
                Cell(fmt.unit_price(one.output_price * 1_000_000, currency)),
                Cell(fmt.day(one.valid_from.date()) if one.valid_from.year > 2000 else "always"),
                Cell(one.provenance),
                Cell(fmt.integer(one.requests)),
            ],
            kind="unpriced" if one.is_conservative else "",
        )
        for one in found.prices
    ]
    return Table("Prices of estimated usage", columns, rows)


def _deliveries(found: queries.Explanation) -> Table:
    columns = [
        Column("Delivery"),
        Column("Source"),
        Column("Billing period"),
        Column("Rows", numeric=True),
        Column("Delivered"),
        Column("Complete through"),
    ]
    rows = [
        Row(
            [
                Cell(one.export, title=one.run_id),
                Cell(one.source),
                Cell(fmt.month(one.billing_period_start)),
                Cell(fmt.integer(one.rows)),
                Cell(fmt.moment(one.delivered_at, year=True)),
                Cell(fmt.moment(one.complete_through, year=True)),
            ]
        )
        for one in found.deliveries
    ]
    return Table("Deliveries of bills", columns, rows)
