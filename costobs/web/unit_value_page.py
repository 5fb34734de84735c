"""Unit economics of one unit of business value: what one costs, its margin and its target."""

from decimal import Decimal
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from attribution import queries
from attribution.queries import DefinedUnit, Target, UnitValue, UnitValues
from costobs.kernel import fmt
from costobs.web import csv_file, filters, unit_figures, unit_value_tables
from costobs.web.page import page as page_view
from costobs.web.parts import Kpi, Link, Notice
from costobs.web.unit_value_tables import SCALES, one_of, per, text

PREFIX = "figure:"
_BY = {"day": "Day", "week": "Week", "month": "Month"}
_PART_FIELDS = ("api", "gpu", "shared", "idle", "other", "estimated")


def key(unit: DefinedUnit) -> str:
    """How a defined unit is called in addresses and targets."""
    return f"{PREFIX}{unit.name}"


def tabs(request: HttpRequest, asked: filters.Asked, current: str) -> list[tuple[str, str, bool]]:
    """A tab for each defined unit the viewer may see."""
    names = dict.fromkeys((key(one), one.name.replace("_", " ").capitalize()) for one in _units(asked))
    return [(label, filters.url(request, drop=["by", "scale"], unit=found), found == current) for found, label in names]


def context(request: HttpRequest, asked: filters.Asked, unit: str) -> dict[str, Any]:
    """Everything the page shows of one unit."""
    name, currency = unit.removeprefix(PREFIX), asked.scope.currency
    by = request.GET.get("by", "")
    values = queries.unit_values(scope=asked.scope, name=name, by=by)
    target = queries.unit_targets(currency=currency).get(unit)
    if values.whole is None:
        return _nothing(request, asked, values)
    scale = _scale(request, target)
    before = _before(asked, values)
    cost = values.whole.cost_per_unit
    return {
        "heading": _heading(asked, values, scale, before),
        "sub": _sub(values, target, scale, currency),
        "kpis": _kpis(asked, values, scale, target, before),
        "choices": [
            ("By", [(label, filters.url(request, by=one), one == values.by) for one, label in _BY.items()]),
            (
                "Shown by",
                [
                    (label.strip() or "1", filters.url(request, scale=size), size == scale)
                    for size, label in SCALES.items()
                ],
            ),
        ],
        "wide_trend": unit_value_tables.trend(asked, values, scale, target),
        "table": unit_value_tables.periods(request, values, scale, currency, target),
        "table_caption": "A period leads to the spend behind it.",
        "owners": unit_value_tables.owners(request, values, scale, currency) if len(values.owners) > 1 else None,
        "notice": _missed(cost, target, values, scale, currency),
    }


@page_view
def export(request: HttpRequest) -> HttpResponse:
    """The periods of one unit with every digit."""
    asked = filters.read(request, groups=())
    name = request.GET.get("unit", "").removeprefix(PREFIX)
    values = queries.unit_values(scope=asked.scope, name=name, by=request.GET.get("by", ""))
    columns = [
        "name", "unit", "team", "feature", "from", "to", "currency", "cost_column", "value", "cost",
        *(f"{part}_cost" for part in _PART_FIELDS), "cost_per_unit", "margin",
    ]  # fmt: skip
    lines = [("", "", one) for one in values.periods] + [(team, feature, one) for team, feature, one in values.owners]
    rows = [
        (
            name, values.unit, team, feature, one.span.start, one.span.last, one.currency, asked.scope.cost, one.value,
            one.cost, *(getattr(one.parts, part) for part in _PART_FIELDS), one.cost_per_unit, one.margin,
        )
        for team, feature, one in lines
    ]  # fmt: skip
    return csv_file.response(name=f"unit-by-{values.by}-{asked.scope.days.start}.csv", columns=columns, rows=rows)


def _units(asked: filters.Asked) -> list[DefinedUnit]:
    return queries.defined_units(scope=asked.scope)


def _scale(request: HttpRequest, target: Target | None) -> int:
    asked = request.GET.get("scale", "")
    if asked in {str(size) for size in SCALES}:
        return int(asked)
    return target.scale if target else 1


def _before(asked: filters.Asked, values: UnitValues) -> UnitValue | None:
    if asked.compare is None:
        return None
    return queries.unit_values(scope=asked.compare, name=values.name, unit=values.unit, by=values.by).whole


def _heading(asked: filters.Asked, values: UnitValues, scale: int, before: UnitValue | None) -> str:
    whole, currency = values.whole, asked.scope.currency
    if whole is None or whole.cost_per_unit is None:
        return f"No {values.unit or 'unit'} to divide by in {asked.bar.label}"
    if whole.margin_rate is not None:
        return f"{fmt.percent(whole.margin_rate)} of revenue is left after {fmt.money(whole.cost, currency)} of spend"
    said = f"{one_of(values, scale).capitalize()} cost{'s' if scale == 1 else ''} {text(whole.cost_per_unit, scale, currency)}"
    ratio = unit_figures.change_ratio(whole.cost_per_unit, before.cost_per_unit if before else None)
    if ratio is None:
        return said
    if abs(ratio) < Decimal("0.005"):
        return f"{said}, as before"
    word = "more" if ratio > 0 else "less"
    return f"{said}, {fmt.percent(abs(ratio), places=0)} {word} than {asked.compare_label.removeprefix('vs ')}"


def _sub(values: UnitValues, target: Target | None, scale: int, currency: str) -> str:
    parts = [f"{len(values.whole.days) if values.whole else 0} whole days with figures"]
    if target is not None and target.amount is not None:
        parts.append(f"target: at most {text(target.amount, scale, currency)} / {per(values, scale)}")
    if values.left_out:
        words = "they repeat others, do not fill whole days, or are longer than a period"
        parts.append(f"{values.left_out} figures are left out: {words}")
    return "; ".join(parts) + "."


def _kpis(
    asked: filters.Asked, values: UnitValues, scale: int, target: Target | None, before: UnitValue | None
) -> list[Kpi]:
    whole, currency = values.whole, asked.scope.currency
    if whole is None:
        return []
    state = ""
    if target is not None and target.amount is not None and whole.cost_per_unit is not None:
        state = "over" if target.is_missed_by(whole.cost_per_unit) else "on_track"
    found = [
        Kpi(
            "Unit cost",
            text(whole.cost_per_unit, scale, currency),
            unit=per(values, scale),
            state=state,
            compare=f"{text(before.cost_per_unit, scale, currency)} before" if before else "",
        ),
        Kpi(
            values.name.replace("_", " ").capitalize(),
            unit_value_tables.count(whole.value),
            note=f"counted in {values.unit}" if values.unit else "",
        ),
        Kpi("Spend behind it", fmt.money(whole.cost, currency, mode="kpi"), note=_estimated(whole)),
    ]
    if values.is_revenue:
        known = whole.margin is not None
        note = (
            f"{fmt.percent(whole.margin_rate)} of revenue"
            if known
            else f"Revenue is in {whole.unit}, spend in {currency}"
        )
        found.append(Kpi("Margin", fmt.money(whole.margin, currency, mode="kpi") if known else fmt.UNKNOWN, note=note))
    return found


def _estimated(whole: UnitValue) -> str:
    share = whole.parts.estimated / whole.cost if whole.cost else None
    return f"{fmt.percent(share)} estimated, the rest billed" if share is not None else ""


def _missed(
    cost: Decimal | None, target: Target | None, values: UnitValues, scale: int, currency: str
) -> Notice | None:
    if target is None or target.amount is None or cost is None or not target.is_missed_by(cost):
        return None
    over = fmt.percent(cost / target.amount - 1)
    aim = f"{text(target.amount, scale, currency)} / {per(values, scale)}"
    return Notice("late", f"The target of {aim} is missed by {over}", f"Set by {target.set_by}.")


def _nothing(request: HttpRequest, asked: filters.Asked, values: UnitValues) -> dict[str, Any]:
    title = f"No figure of {values.name.replace('_', ' ')} fills a whole day in {asked.bar.label}"
    notice = Notice(
        "nothing_matches" if request.GET.getlist("f") else "empty",
        title,
        "Send counts with the API, ask your own database, or upload a CSV (date, feature, count).",
        [
            Link("Define a unit", reverse("unit_define"), icon="upload"),
            Link("Widen to 90 days", filters.url(request, preset="90d")),
        ],
    )
    return {"heading": title, "sub": "", "notice": notice}
