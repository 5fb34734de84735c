"""Lines: percentiles, unit costs, and several panels over the same days; gaps stay gaps."""

from collections.abc import Mapping, Sequence
from decimal import Decimal

from costobs.kernel import fmt
from costobs.web.charts import bars, colour, frame
from costobs.web.charts.model import Chart, Height, LegendItem, Line, Mark, Panel, RungLine, Value, Write

_LINE_PIXELS = 15
_PLOT_PIXELS = 190  # the plotted height of chart--secondary, near enough to keep two labels apart
_PANEL_PIXELS = 80


def lines(
    *,
    at: Sequence[frame.Moment],
    lines: Sequence[Line],
    write: Write,
    from_zero: bool = True,
    target: RungLine | None = None,
    marks: Sequence[Mark] = (),
    slots: Mapping[str, int] | None = None,
    height: Height = "secondary",
) -> Chart:
    """Up to seven lines over days or moments, labelled at their ends; `write` makes the words of axis and hover."""
    colours = _colours(lines, slots)
    traces = [_trace(at, line, colours[line.key], write) for line in lines]
    values: list[Value] = [value for line in lines for value in line.values]
    shapes = bars.mark_lines(marks)
    labels = _end_labels(at, lines, colours, _PLOT_PIXELS)
    if target is not None:
        values.append(target.amount)
        labels = [*labels, _words_at(target, 0)]
        shapes["shapes"] = [*_as_list(shapes["shapes"]), level(target)]
    layout: frame.Json = {
        "hovermode": "x unified",
        "margin": {"l": 8, "r": 72, "t": 8, "b": 8},
        "xaxis": frame.time_axis(at),
        "yaxis": frame.value_axis(values, write, from_zero=from_zero),
        "shapes": shapes["shapes"],
        "annotations": [*_as_list(shapes["annotations"]), *labels],
    }
    return Chart(frame.figure(traces, layout), height, legend_of(lines, colours), tuple(marks))


def percentiles(
    *,
    at: Sequence[frame.Moment],
    p50: Sequence[Value],
    p95: Sequence[Value],
    p99: Sequence[Value],
    height: Height = "secondary",
) -> Chart:
    """p50, p95 and p99 in milliseconds: one hue in three lightnesses."""
    shown = [Line("p99", "p99", p99, "p99"), Line("p95", "p95", p95, "p95"), Line("p50", "p50", p50, "p50")]
    return lines(at=at, lines=shown, write=fmt.latency, height=height)


def multiples(
    *,
    at: Sequence[frame.Moment],
    panels: Sequence[Panel],
    slots: Mapping[str, int] | None = None,
) -> Chart:
    """Two to four panels one below the other over one x axis; each has its own unit, none has a second axis."""
    keys = {line.key: line for panel in panels for line in panel.lines}
    colours = _colours(list(keys.values()), slots)
    traces: list[frame.Json] = []
    layout: frame.Json = {"hovermode": "x unified", "margin": {"l": 8, "r": 56, "t": 22, "b": 8}, "bargap": 0.28}
    annotations: list[frame.Json] = []
    step = 1 / len(panels)
    for index, panel in enumerate(panels):
        suffix = "" if index == 0 else str(index + 1)
        top = 1 - index * step
        domain = [max(0.0, top - step * 0.74), top]
        traces += [
            {**_trace(at, line, colours[line.key], panel.write, bars_=panel.bars), "xaxis": "x", "yaxis": f"y{suffix}"}
            for line in panel.lines
        ]
        values = [value for line in panel.lines for value in line.values]
        layout[f"yaxis{suffix}"] = {**frame.value_axis(values, panel.write, count=3), "domain": domain}
        annotations.append(_panel_title(panel.title, top))
        annotations += [
            {**one, "yref": f"y{suffix}"}
            for one in _end_labels(at, panel.lines, colours, _PANEL_PIXELS)
            if not panel.bars
        ]
    last = "" if len(panels) == 1 else str(len(panels))
    layout["xaxis"] = {**frame.time_axis(at), "anchor": f"y{last}"}
    layout["annotations"] = annotations
    height: Height = {1: "small", 2: "m2", 3: "m3"}.get(len(panels), "m4")  # type: ignore[assignment]
    return Chart(frame.figure(traces, layout), height, ())


def _panel_title(title: str, top: float) -> frame.Json:
    return {
        "xref": "paper",
        "yref": "paper",
        "x": 0,
        "y": top,
        "text": title,
        "showarrow": False,
        "xanchor": "left",
        "yanchor": "bottom",
        "yshift": 2,
        "font": {"color": "var(--text-2)", "size": 12},
    }


def _colours(shown: Sequence[Line], slots: Mapping[str, int] | None) -> dict[str, str]:
    own = slots or colour.slots(line.key for line in shown if not line.token)
    return {
        line.key: f"var(--{line.token})" if line.token else colour.token(own.get(line.key, colour.RESERVED))
        for line in shown
    }


def _trace(at: Sequence[frame.Moment], line: Line, token: str, write: Write, *, bars_: bool = False) -> frame.Json:
    urls = line.urls or [""] * len(at)
    words = [fmt.UNKNOWN if value is None else write(Decimal(value)) for value in line.values]
    shared: frame.Json = {
        "name": line.label,
        "x": [frame.stamp(one) for one in at],
        "y": frame.numbers(line.values),
        "customdata": [[word, url] for word, url in zip(words, urls, strict=True)],
        "hovertemplate": f"%{{customdata[0]}}<extra>{line.label}</extra>",
    }
    if bars_:
        return {"type": "bar", "marker": {"color": token}, **shared}
    style = {"color": token, "width": 1.25 if line.thin else 2, "dash": "dash" if line.dashed else "solid"}
    return {
        "type": "scatter",
        "mode": _mode(line.values),
        "line": style,
        "marker": {"size": 4, "color": token},
        "connectgaps": False,
        **shared,
    }


def _mode(values: Sequence[Value]) -> str:
    """A known value between two gaps would be no line at all, so such a series shows its points."""
    known = [value is not None for value in values]
    lonely = any(
        here
        and not (known[index - 1] if index else False)
        and not (known[index + 1] if index + 1 < len(known) else False)
        for index, here in enumerate(known)
    )
    return "lines+markers" if lonely else "lines"


def _end_labels(
    at: Sequence[frame.Moment], shown: Sequence[Line], colours: Mapping[str, str], pixels: int
) -> list[frame.Json]:
    """The name of each line at its last known value, apart from each other on a plot of about `pixels` height."""
    ends = [(line, last) for line in shown if (last := _last_known(line.values)) is not None]
    heights = _heights([Decimal(line.values[last] or 0) for line, last in ends], shown, pixels)
    return [
        {
            "x": frame.stamp(at[last]),
            "y": frame.number(line.values[last]),
            "text": line.label,
            "showarrow": False,
            "xanchor": "left",
            "xshift": 4,
            "yshift": shift,
            "font": {"color": colours[line.key] if line.token in {"p50", "p95"} else "var(--text-2)"},
        }
        for (line, last), shift in zip(ends, spread(heights), strict=True)
    ]


def _last_known(values: Sequence[Value]) -> int | None:
    return next((index for index in range(len(values) - 1, -1, -1) if values[index] is not None), None)


def _heights(ends: Sequence[Decimal], shown: Sequence[Line], pixels: int) -> list[Decimal]:
    top = max((Decimal(value) for line in shown for value in line.values if value is not None), default=Decimal(0))
    return [end / top * pixels if top > 0 else Decimal(0) for end in ends]


def level(rung: RungLine) -> frame.Json:
    """A threshold from edge to edge."""
    return {
        "type": "line",
        "layer": "below",
        "xref": "paper",
        "x0": 0,
        "x1": 1,
        "y0": frame.number(rung.amount),
        "y1": frame.number(rung.amount),
        "line": {"color": f"var(--{rung.token})", "width": 1.5, "dash": "solid" if rung.solid else "dash"},
    }


def _words_at(rung: RungLine, shift: int) -> frame.Json:
    """Its words at the right edge, in the state's colour, moved by `shift` pixels where two would overlap."""
    return {
        "xref": "paper",
        "x": 1.01,
        "y": frame.number(rung.amount),
        "text": rung.label,
        "showarrow": False,
        "xanchor": "left",
        "yshift": shift,
        "font": {"color": f"var(--{rung.token})"},
    }


def level_words(rungs: Sequence[RungLine], *, span: Decimal, pixels: int) -> list[frame.Json]:
    """Labels of thresholds, pushed up so that no two are closer than a line of text."""
    shifts = spread([rung.amount / span * pixels for rung in rungs])
    return [_words_at(rung, shift) for rung, shift in zip(rungs, shifts, strict=True)]


def spread(at: Sequence[Decimal]) -> list[int]:
    """How many pixels up each label moves from its height so that none covers another."""
    shifts = [0] * len(at)
    free = Decimal("-Infinity")
    for index in sorted(range(len(at)), key=lambda one: at[one]):
        moved = max(at[index], free)
        free = moved + _LINE_PIXELS
        shifts[index] = int(moved - at[index])
    return shifts


def legend_of(shown: Sequence[Line], colours: Mapping[str, str]) -> tuple[LegendItem, ...]:
    return tuple(
        LegendItem(line.label, bars.name(colours[line.key]), "dash" if line.dashed else "thin" if line.thin else "line")
        for line in shown
    )


def _as_list(value: object) -> list[frame.Json]:
    return value if isinstance(value, list) else []
