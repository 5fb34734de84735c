"""Stacked bars: spend by day, and rows such as GPU pools; both start at zero and mark what is not final."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal

from costobs.kernel import fmt
from costobs.web.charts import colour, frame
from costobs.web.charts.model import Chart, ForecastDay, Height, LegendItem, Mark, Series, Value

_LAST_KINDS = ("shared", "other", "unpriced", "idle", "unallocated")


def fold(series: Sequence[Series], *, keep: int = 5) -> list[Series]:
    """The `keep` largest by total, the rest summed as `Other (n)`; idle, unallocated and the like always stay, last."""
    named = sorted((one for one in series if not one.kind), key=lambda one: (-one.total, one.key))
    kept, rest = named[:keep], named[keep:]
    if len(rest) == 1:
        kept, rest = named, []
    special = sorted((one for one in series if one.kind), key=lambda one: (_LAST_KINDS.index(one.kind), one.key))
    other = [Series("other", f"Other ({len(rest)})", _sums(rest), "other")] if rest else []
    return [*kept, *other, *special]


def _sums(series: Sequence[Series]) -> list[Value]:
    return [_sum(column) for column in _columns(series)]


def _columns(series: Sequence[Series]) -> Iterator[tuple[Value, ...]]:
    return zip(*(one.values for one in series), strict=True)


def _ends(series: Sequence[Series]) -> list[Value]:
    """How far the bars of each day reach: down by the credits, up by the rest."""
    found: list[Value] = []
    for column in _columns(series):
        known = [Decimal(value) for value in column if value is not None]
        found += [
            sum((value for value in known if value < 0), Decimal(0)),
            sum((value for value in known if value > 0), Decimal(0)),
        ]
    return found


def _sum(values: Collection[Value]) -> Decimal | None:
    known = [Decimal(value) for value in values if value is not None]
    return sum(known, Decimal(0)) if known else None


def daily_bars(
    *,
    days: Sequence[date],
    series: Sequence[Series],
    currency: str = "USD",
    not_final: Mapping[date, str] | None = None,
    comparison: Sequence[Value] = (),
    comparison_label: str = "",
    forecast: Sequence[ForecastDay] = (),
    marks: Sequence[Mark] = (),
    slots: Mapping[str, int] | None = None,
    height: Height = "main",
) -> Chart:
    """Spend by day, stacked in the order given from the bottom.

    `not_final` maps a day to why and until when (`estimated, billed by 23 Nov`); its bars are hatched. `comparison` is
    the other period's total by day number, drawn as a thin line. `forecast` starts where complete data end.
    """
    open_days = not_final or {}
    colours = colours_of(series, slots)
    totals = _sums(series) if series else [None] * len(days)
    places = frame.places_of(totals)
    traces = [_day_trace(days, one, colours[one.key], open_days, (currency, places)) for one in series]
    traces.append(_total_trace(days, totals, comparison, comparison_label, open_days, currency))
    if comparison:
        traces.append(ghost(days, comparison[: len(days)]))
    traces += cone(forecast, "band", "text-2", currency)
    highest = [*totals, *_ends(series), *comparison, *(point.high for point in forecast)]
    axis_days = [*days, *(point.day for point in forecast if point.day not in set(days))]
    layout: frame.Json = {
        # Credits hang below zero; with "stack" they would be painted over what they reduce.
        "barmode": "relative",
        "bargap": 0.28,
        "hovermode": "x unified",
        "xaxis": frame.time_axis(axis_days),
        "yaxis": frame.value_axis(highest, frame.money_writer(currency)),
        **mark_lines(marks),
    }
    legend = _legend(series, colours, bool(open_days), comparison_label if comparison else "", bool(forecast))
    return Chart(frame.figure(traces, layout), height, legend, tuple(marks))


def colours_of(series: Sequence[Series], slots: Mapping[str, int] | None) -> dict[str, str]:
    """The CSS variable of each series; kinds take the reserved grey."""
    own = slots or colour.slots(one.key for one in series if not one.kind)
    return {
        one.key: colour.token(colour.RESERVED if one.kind else one.slot or own.get(one.key, colour.RESERVED))
        for one in series
    }


def _day_trace(
    days: Sequence[date], one: Series, token: str, open_days: Mapping[date, str], unit: tuple[str, int]
) -> frame.Json:
    hatch = colour.HATCHES.get(one.kind, "")
    urls = one.urls or [""] * len(days)
    texts = [frame.full_money(value, *unit) for value in one.values]
    return {
        "type": "bar",
        "name": one.label,
        "x": [frame.stamp(day) for day in days],
        "y": frame.numbers(one.values),
        "customdata": [[text, url] for text, url in zip(texts, urls, strict=True)],
        "hovertemplate": f"%{{customdata[0]}}<extra>{one.label}</extra>",
        "marker": {
            "color": token,
            "pattern": pattern([colour.NOT_FINAL if day in open_days else hatch for day in days], token),
            "line": {"color": [token if day in open_days or hatch else "var(--surface)" for day in days], "width": 1},
        },
    }


def pattern(shapes: Sequence[str], token: str) -> frame.Json:
    """The hatch of each bar, '' for none."""
    # The foreground is the stripe: it must be the series colour, else the bar vanishes into the card.
    return {"shape": list(shapes), "fgcolor": token, "bgcolor": "var(--surface)", "solidity": 0.45, "size": 6}


def _total_trace(
    days: Sequence[date],
    totals: Sequence[Value],
    comparison: Sequence[Value],
    comparison_label: str,
    open_days: Mapping[date, str],
    currency: str,
) -> frame.Json:
    """Nothing to see; the line `Total` of the hover box, with the change and what is not final."""
    texts = []
    places = frame.places_of(totals)
    for index, day in enumerate(days):
        words = [frame.full_money(totals[index], currency, places)]
        before = comparison[index] if index < len(comparison) else None
        change = fmt.delta(_decimal(totals[index]), _decimal(before), currency, places=places)
        if change is not None:
            words.append(f"{change.signed} ({change.percent}) {comparison_label}".strip())
        if day in open_days:
            words.append(open_days[day])
        texts.append([" · ".join(words), ""])
    return {
        "type": "scatter",
        "mode": "markers",
        "name": "Total",
        "x": [frame.stamp(day) for day in days],
        "y": frame.numbers(totals),
        "marker": {"opacity": 0, "size": 1, "color": "var(--text-2)"},
        "customdata": texts,
        "hovertemplate": "<b>%{customdata[0]}</b><extra>Total</extra>",
    }


def _decimal(value: Value) -> Decimal | None:
    return None if value is None else Decimal(value)


def ghost(days: Sequence[date], values: Sequence[Value]) -> frame.Json:
    """The comparison period, thin and grey, aligned by day number; its figures are in the total's line."""
    return {
        "type": "scatter",
        "mode": "lines",
        "x": [frame.stamp(day) for day in days],
        "y": frame.numbers(values),
        "line": {"color": "var(--border-strong)", "width": 1.25},
        "connectgaps": False,
        "hoverinfo": "skip",
    }


def cone(
    forecast: Sequence[ForecastDay], band: str, line: str, currency: str, label: str = "forecast, 80 % range"
) -> list[frame.Json]:
    """The middle dashed inside its band; `label` says what the band is."""
    if not forecast:
        return []
    x = [frame.stamp(point.day) for point in forecast]
    edge: frame.Json = {"type": "scatter", "mode": "lines", "x": x, "line": {"width": 0}, "hoverinfo": "skip"}
    words = [
        [f"{frame.full_money(point.mid, currency)} · {fmt.money_range(point.low, point.high, currency)}", ""]
        for point in forecast
    ]
    return [
        {**edge, "y": [frame.number(point.high) for point in forecast]},
        {
            **edge,
            "y": [frame.number(point.low) for point in forecast],
            "fill": "tonexty",
            "fillcolor": f"var(--{band})",
        },
        {
            "type": "scatter",
            "mode": "lines",
            "name": "Forecast",
            "x": x,
            "y": [frame.number(point.mid) for point in forecast],
            "line": {"color": f"var(--{line})", "width": 2, "dash": "dash"},
            "customdata": words,
            "hovertemplate": f"%{{customdata[0]}}<extra>{label}</extra>",
        },
    ]


def mark_lines(marks: Sequence[Mark]) -> frame.Json:
    """Numbered events: a dotted line and its number at the top; the text is in the list under the chart."""
    return {
        "shapes": [
            {
                "type": "line",
                "xref": "x",
                "yref": "paper",
                "x0": frame.stamp(mark.at),
                "x1": frame.stamp(mark.at),
                "y0": 0,
                "y1": 1,
                "line": {"color": "var(--border-strong)", "width": 1, "dash": "dot"},
            }
            for mark in marks
        ],
        "annotations": [
            {
                "x": frame.stamp(mark.at),
                "y": 1,
                "yref": "paper",
                "text": str(mark.number),
                "showarrow": False,
                "yanchor": "top",
                "bgcolor": "var(--text-2)",
                "bordercolor": "var(--text-2)",
                "borderpad": 2,
                "font": {"color": "var(--surface)", "size": 11},
            }
            for mark in marks
        ],
    }


def _legend(
    series: Sequence[Series], colours: Mapping[str, str], has_open: bool, comparison_label: str, has_forecast: bool
) -> tuple[LegendItem, ...]:
    items = [
        LegendItem(one.label, name(colours[one.key]), one.kind if one.kind in colour.HATCHES else "solid")
        for one in series
    ]
    if has_open:
        items.append(LegendItem("not final", "text-2", "hatch"))
    if comparison_label:
        items.append(LegendItem(comparison_label, "border-strong", "thin"))
    if has_forecast:
        items.append(LegendItem("forecast, 80 % range", "text-2", "dash"))
    return tuple(items)


def name(token: str) -> str:
    """`c1` of `var(--c1)`."""
    return token.removeprefix("var(--").removesuffix(")")


def stacked_rows(
    *,
    rows: Sequence[str],
    series: Sequence[Series],
    currency: str = "USD",
    totals: Sequence[str] = (),
    slots: Mapping[str, int] | None = None,
    height: Height = "secondary",
) -> Chart:
    """Horizontal stacked bars, one for each row: used, workload idle, infrastructure idle, no telemetry.

    `totals` are words at the end of each bar; each series has one value for each row.
    """
    colours = colours_of(series, slots)
    sums = _sums(series) if series else []
    tops = [sum((Decimal(value) for value in column if value and value > 0), Decimal(0)) for column in _columns(series)]
    unit = (currency, frame.places_of(sums))
    traces = [_row_trace(rows, one, colours[one.key], unit) for one in series]
    words = totals or [frame.full_money(value, *unit) for value in sums]
    axis = frame.value_axis([*sums, *_ends(series)], frame.money_writer(currency))
    layout: frame.Json = {
        # Credits hang below zero; with "stack" they would be painted over what they reduce.
        "barmode": "relative",
        "bargap": 0.35,
        "hovermode": "y unified",
        "margin": {"l": 8, "r": 72, "t": 4, "b": 8},
        "xaxis": axis,
        "yaxis": frame.name_axis(),
        "annotations": [
            {"x": frame.number(top), "y": row, "text": word, "showarrow": False, "xanchor": "left", "xshift": 4}
            for row, value, top, word in zip(rows, sums, tops, words, strict=True)
            if value is not None
        ],
    }
    legend = _legend(series, colours, has_open=False, comparison_label="", has_forecast=False)
    return Chart(frame.figure(traces, layout), height, legend)


def _row_trace(rows: Sequence[str], one: Series, token: str, unit: tuple[str, int]) -> frame.Json:
    urls = one.urls or [""] * len(rows)
    hatch = colour.HATCHES.get(one.kind, "")
    return {
        "type": "bar",
        "orientation": "h",
        "name": one.label,
        "y": list(rows),
        "x": frame.numbers(one.values),
        "customdata": [[frame.full_money(v, *unit), url] for v, url in zip(one.values, urls, strict=True)],
        "hovertemplate": f"%{{customdata[0]}}<extra>{one.label}</extra>",
        "marker": {
            "color": token,
            "pattern": pattern([hatch] * len(rows), token),
            "line": {"color": token if hatch else "var(--surface)", "width": 1},
        },
    }
