"""Lines: percentiles, unit costs, and several panels over the same days; gaps stay gaps."""

from collections.abc import Mapping, Sequence
from decimal import Decimal

from costobs.web import fmt
from costobs.web.charts import bars, colour, frame
from costobs.web.charts.model import Chart, Height, LegendItem, Line, Mark, Panel, RungLine, Value, Write


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
    labels = _end_labels(at, lines, colours)
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
            {**one, "yref": f"y{suffix}"} for one in _end_labels(at, panel.lines, colours) if not panel.bars
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


def _end_labels(at: Sequence[frame.Moment], shown: Sequence[Line], colours: Mapping[str, str]) -> list[frame.Json]:
    labels: list[frame.Json] = []
    for line in shown:
        last = next((index for index in range(len(at) - 1, -1, -1) if line.values[index] is not None), None)
        if last is not None:
            labels.append(
                {
                    "x": frame.stamp(at[last]),
                    "y": frame.number(line.values[last]),
                    "text": line.label,
                    "showarrow": False,
                    "xanchor": "left",
                    "xshift": 4,
                    "font": {"color": "var(--text-2)" if not line.token.startswith("p") else colours[line.key]},
                }
            )
    return labels


def level(rung: RungLine) -> frame.Json:
    """A threshold from edge to edge."""
    return {
        "type": "line",
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
    placed: list[frame.Json] = []
    lowest_free = Decimal(-pixels)
    for rung in sorted(rungs, key=lambda one: one.amount):
        at = rung.amount / span * pixels
        moved = max(at, lowest_free)
        lowest_free = moved + 15
        placed.append(_words_at(rung, int(moved - at)))
    return placed


def legend_of(shown: Sequence[Line], colours: Mapping[str, str]) -> tuple[LegendItem, ...]:
    return tuple(
        LegendItem(line.label, bars.name(colours[line.key]), "dash" if line.dashed else "thin" if line.thin else "line")
        for line in shown
    )


def _as_list(value: object) -> list[frame.Json]:
    return value if isinstance(value, list) else []
