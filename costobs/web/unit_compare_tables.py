"""Variants side by side as tables and sentences."""

from collections.abc import Callable, Sequence
from decimal import Decimal

from attribution.intervals import Estimate
from attribution.variants import Comparison, Difference, Variant
from costobs.kernel import fmt
from costobs.web import unit_figures
from costobs.web.parts import Cell, Column, Row, Table

LETTERS = "ABCD"
_TOKENS, _REQUEST = unit_figures.UNITS["tokens"], unit_figures.UNITS["request"]


def side_by_side(found: Comparison, currency: str) -> Table:
    """Measures in rows, variants in columns."""
    many = found.variants
    columns = [Column("Measure", wide=True)]
    columns += [
        Column(f"{letter}: {one.value or 'Not named'}", numeric=True)
        for letter, one in zip(LETTERS, many, strict=False)
    ]

    def money(unit: unit_figures.Unit) -> Callable[[Decimal], str]:
        return lambda value: unit.text(value, currency)

    def line(label: str, cells: Sequence[Cell]) -> Row:
        return Row([Cell(label), *cells])

    rows = [
        line("Requests", [Cell(fmt.integer(one.requests), note=_ran(one)) for one in many]),
        line("Spend carried by calls", [Cell(fmt.money(one.cost, currency)) for one in many]),
        line("Tokens per request", [_plain(one.tokens_per_request) for one in many]),
        line(
            "Cost of a request",
            [_cell(one.cost_per_request, one.cost_per_request_interval, money(_REQUEST)) for one in many],
        ),
        line(
            "Cost of 1M tokens",
            [_cell(one.cost_per_million_tokens, one.cost_per_million_tokens_interval, money(_TOKENS)) for one in many],
        ),
    ]
    for permille, label in ((500, "Latency p50"), (950, "Latency p95"), (990, "Latency p99")):
        rows.append(
            line(label, [_cell(_known(one.p_ms[permille]), one.latency[permille], fmt.latency) for one in many])
        )
    rows += [
        line("First token p95", [_of(one.ttft, fmt.latency) for one in many]),
        line("Errors", [_of(one.error_rate, lambda value: fmt.percent(value, places=2)) for one in many]),
    ]
    if any(one.quality for one in many):
        rows.append(
            line(
                f"Quality: {many[0].quality_name}",
                [_of(one.quality, fmt.percent, note=f"{fmt.integer(one.scores)} scores") for one in many],
            )
        )
    for name, unit in dict.fromkeys((each.name, each.unit) for one in many for each in one.units):
        cells = [_unit(one, name, unit, currency) for one in many]
        rows.append(line(f"Cost of one {unit or name.replace('_', ' ')}", cells))
    return Table("Variants side by side", columns, rows, note=_METHODS)


_METHODS = (
    "Costs: bootstrap over days. Errors: Wilson's interval. Percentiles: order statistics. Scores: Student's t. Costs are what"
    " calls carry, without idle time and bypass."
)


def differences(found: Comparison) -> Table:
    base = found.variants[0]
    columns = [
        Column(f"Against A: {base.value or 'Not named'}", wide=True),
        Column("Cost of a request", numeric=True),
        Column("Cost of 1M tokens", numeric=True),
        Column("p95", numeric=True),
        Column("Errors", numeric=True),
        Column("Quality", numeric=True),
    ]
    rows = []
    for at, (one, change) in enumerate(zip(found.variants[1:], found.differences, strict=True), start=1):
        cells = [
            _change(change.cost_per_request, _signed_percent, is_cost=True),
            _change(change.cost_per_million_tokens, _signed_percent, is_cost=True),
            _change(change.p95_ms, _signed_latency, is_cost=True),
            _change(change.error_rate, _signed_points, is_cost=True),
            _change(change.quality, _signed_points, is_cost=False),
        ]
        rows.append(Row([Cell(f"{LETTERS[at]}: {one.value or 'Not named'}"), *cells]))
    return Table("Differences", columns, rows, note="An interval that holds 0 is no measurable difference.")


def sentence(found: Comparison, change: Difference, at: int, *, is_title: bool = False) -> str:
    """`B costs 31 % less per request (28–34 %); its p95 is 120 ms slower; quality is not measurably different`."""
    one = found.variants[at]
    name = one.value or f"{LETTERS[at]} (not named)"
    parts = [f"{name} {_costs(change)}"]
    if is_title:
        return parts[0] + f" than {found.variants[0].value or 'A (not named)'}"
    parts.append(_slower(change.p95_ms))
    parts.append(_fails(change.error_rate))
    parts.append(_quality(change.quality))
    return "; ".join(part for part in parts if part) + "."


def _costs(change: Difference) -> str:
    told, per = change.cost_per_request, "per request"
    if told is None:
        told, per = change.cost_per_million_tokens, "per token"
    if told is None:
        return "has too few days to compare its cost"
    if not told.excludes_zero:
        return f"costs not measurably other {per} ({_span(told, _signed_percent)})"
    word = "more" if told.value > 0 else "less"
    low, high = sorted((abs(told.low), abs(told.high)))
    span = f"{fmt.percent(low, places=0).removesuffix(' %')}–{fmt.percent(high, places=0)}"
    return f"costs {fmt.percent(abs(told.value), places=0)} {word} {per} ({span})"


def _slower(told: Estimate | None) -> str:
    if told is None:
        return ""
    if not told.excludes_zero:
        return "its p95 is not measurably different"
    return f"its p95 is {fmt.latency(abs(told.value))} {'slower' if told.value > 0 else 'faster'}"


def _fails(told: Estimate | None) -> str:
    if told is None or not told.excludes_zero:
        return ""
    return f"it fails {'more' if told.value > 0 else 'less'} often ({_signed_points(told.value)})"


def _quality(told: Estimate | None) -> str:
    if told is None:
        return "quality was not scored on both"
    if not told.excludes_zero:
        return "quality is not measurably different"
    return f"quality is {_signed_points(told.value)} {'better' if told.value > 0 else 'worse'}"


def _plain(value: Decimal | None) -> Cell:
    return Cell(fmt.NOT_APPLICABLE if value is None else fmt.count(value))


def _cell(value: Decimal | None, interval: Estimate | None, write: Callable[[Decimal], str]) -> Cell:
    if value is None:
        return Cell(fmt.NOT_APPLICABLE)
    return Cell(write(value), note=_span(interval, write) if interval else "too few for an interval")


def _of(told: Estimate | None, write: Callable[[Decimal], str], note: str = "") -> Cell:
    if told is None:
        return Cell(fmt.NOT_APPLICABLE, note=note)
    return Cell(write(told.value), note="; ".join(filter(None, (_span(told, write), note))))


def _unit(one: Variant, name: str, unit: str, currency: str) -> Cell:
    found = next((each for each in one.units if (each.name, each.unit) == (name, unit)), None)
    if found is None or found.cost_per_unit is None:
        return Cell(fmt.NOT_APPLICABLE, note="no figure names it")
    return _cell(found.cost_per_unit, found.interval, lambda value: _REQUEST.text(value, currency))


def _change(told: Estimate | None, write: Callable[[Decimal], str], *, is_cost: bool) -> Cell:
    if told is None:
        return Cell(fmt.UNKNOWN, note="too little to tell")
    is_bad = (told.value > 0) == is_cost
    tone = "" if not told.excludes_zero else "unfavourable" if is_bad else "favourable"
    return Cell(write(told.value), note=_span(told, write), tone=tone)  # type: ignore[arg-type]


def _span(told: Estimate, write: Callable[[Decimal], str]) -> str:
    return f"{write(told.low)} to {write(told.high)}"


def _signed_percent(value: Decimal) -> str:
    return fmt.percent(value, signed=True)


def _signed_points(value: Decimal) -> str:
    return fmt.points(value, Decimal(0))


def _signed_latency(value: Decimal) -> str:
    return f"{fmt.MINUS if value < 0 else '+'}{fmt.latency(abs(value))}"


def _known(value: int | None) -> Decimal | None:
    return None if value is None else Decimal(value)


def _ran(one: Variant) -> str:
    if one.first is None or one.last is None:
        return "no call"
    return f"{one.days} days, {fmt.short_day(one.first)} to {fmt.short_day(one.last)}"
