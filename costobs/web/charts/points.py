"""Cost against latency as dots on log axes, and what a whole is made of as one bar of 100 %."""

from collections.abc import Mapping, Sequence
from decimal import Decimal

from costobs.kernel import fmt
from costobs.web.charts import bars, colour, frame, labels
from costobs.web.charts.model import Chart, Height, LegendItem, Point, Series, Write


def cost_latency(
    *,
    points: Sequence[Point],
    unit: str = "1k requests",
    currency: str = "USD",
    slots: Mapping[str, int] | None = None,
    height: Height = "main",
) -> Chart:
    """One dot for each point, cost of `unit` against p95 latency.

    A point at or below zero cannot stand on a log axis and is left to the table.
    """
    shown = [point for point in points if point.latency > 0 and point.cost > 0]
    write = frame.money_writer(currency)
    own = slots or colour.slots(point.key for point in shown)
    latencies, costs = [point.latency for point in shown], [point.cost for point in shown]
    places = [(_share(point.latency, latencies), _share(point.cost, costs)) for point in shown]
    named = labels.placed(shown, places)
    trace: frame.Json = {
        "type": "scatter",
        "mode": "markers+text",
        "x": [frame.number(point.latency) for point in shown],
        "y": [frame.number(point.cost) for point in shown],
        # Names that would lie over each other are left to the hover and the table.
        "text": [text for text, _ in named],
        "textposition": [side for _, side in named],
        "textfont": {"size": 11, "color": "var(--text-2)"},
        "cliponaxis": False,
        "marker": {
            "size": 10,
            "color": [colour.token(own.get(point.key, colour.RESERVED)) for point in shown],
            "line": {"color": "var(--surface)", "width": 1},
        },
        "customdata": [
            [f"{point.label}<br>{_cost(point, unit, write)}<br>p95 {fmt.latency(point.latency)}", point.url]
            for point in shown
        ],
        "hovertemplate": "%{customdata[0]}<extra></extra>",
    }
    layout: frame.Json = {
        "hovermode": "closest",
        "margin": {"l": 8, "r": 24, "t": 26, "b": 8},
        "xaxis": _log_axis(latencies, fmt.latency),
        "yaxis": _log_axis(costs, write),
        "annotations": _quadrants(f"{currency} / {unit}, upwards; p95 latency, to the right"),
    }
    return Chart(frame.figure([trace], layout), height, ())


def _quadrants(unit: str) -> list[frame.Json]:
    """The words of two corners, and what the axes measure; none of it stands upright."""
    plain = {"color": "var(--text-2)"}
    return [
        _corner("slow and dear", 1, 1),
        _corner("fast and cheap", 0, 0),
        {**_corner(unit, 0, 1), "yanchor": "bottom", "yshift": 8, "font": plain},
    ]


def _cost(point: Point, unit: str, write: Write) -> str:
    return f"{write(point.cost)} / {unit}"


def _log_axis(values: Sequence[Decimal], write: Write) -> frame.Json:
    places = frame.log_ticks(values)
    return {
        "type": "log",
        "range": [frame.number(end) for end in _ends(values)],
        "tickvals": frame.numbers(places),
        "ticktext": [write(place) for place in places],
        "fixedrange": True,
        "automargin": True,
    }


def _share(value: Decimal, values: Sequence[Decimal]) -> float:
    """Where a value lies on their log axis, 0..1."""
    low, high = _ends(values)
    return frame.number((value.log10() - low) / (high - low)) or 0.0


def _ends(values: Sequence[Decimal]) -> tuple[Decimal, Decimal]:
    places = frame.log_ticks(values)
    return places[0].log10() - Decimal("0.05"), places[-1].log10() + Decimal("0.05")


def _corner(words: str, x: int, y: int) -> frame.Json:
    return {
        "xref": "paper",
        "yref": "paper",
        "x": x,
        "y": y,
        "text": words,
        "showarrow": False,
        "xanchor": "right" if x else "left",
        "yanchor": "top" if y else "bottom",
        "font": {"color": "var(--text-3)", "size": 11},
    }


def composition(
    *,
    parts: Sequence[Series],
    currency: str = "USD",
    slots: Mapping[str, int] | None = None,
    height: Height = "strip",
) -> Chart:
    """One horizontal bar of 100 %: where a dollar goes. Each part is a Series with one value.

    Raises ValueError for a negative part: a credit is no part of a whole.
    """
    whole = sum((part.total for part in parts), Decimal(0))
    if any(part.total < 0 for part in parts):
        raise ValueError("a part of a whole cannot be negative; show credits in the table")
    colours = bars.colours_of(parts, slots)
    traces = [_part(part, whole, colours[part.key], currency) for part in parts if part.total > 0]
    layout: frame.Json = {
        "barmode": "stack",
        "bargap": 0,
        "hovermode": "closest",
        "margin": {"l": 0, "r": 0, "t": 0, "b": 0},
        "xaxis": {"range": [0, 100], "visible": False, "fixedrange": True},
        "yaxis": {"visible": False, "fixedrange": True, "type": "category"},
    }
    legend = tuple(
        LegendItem(
            f"{part.label} {fmt.percent(part.total / whole if whole else None)}",
            bars.name(colours[part.key]),
            part.kind if part.kind in colour.HATCHES else "solid",
        )
        for part in parts
    )
    return Chart(frame.figure(traces, layout), height, legend)


def _part(part: Series, whole: Decimal, token: str, currency: str) -> frame.Json:
    share = part.total / whole
    words = f"{part.label}: {frame.full_money(part.total, currency)} ({fmt.percent(share)})"
    hatch = colour.HATCHES.get(part.kind, "")
    return {
        "type": "bar",
        "orientation": "h",
        "name": part.label,
        "y": ["whole"],
        "x": [frame.number(share * 100)],
        "customdata": [[words, part.urls[0] if part.urls else ""]],
        "hovertemplate": "%{customdata[0]}<extra></extra>",
        "marker": {
            "color": token,
            "pattern": {"shape": [hatch], "fgcolor": token, "bgcolor": "var(--surface)", "solidity": 0.45, "size": 6},
            "line": {"color": "var(--surface)", "width": 1},
        },
    }
