"""Heat maps: GPU by hour and source by day, where a missing value is marked and never looks like zero."""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal

from costobs.kernel import fmt
from costobs.web.charts import frame
from costobs.web.charts.model import Chart, Height, LegendItem, Value

SEQUENCE = [[0, "var(--seq-0)"], [0.35, "var(--seq-1)"], [0.7, "var(--seq-2)"], [1, "var(--seq-3)"]]

_COLORBAR: frame.Json = {
    "thickness": 10,
    "outlinewidth": 0,
    "len": 1,
    "tickvals": [0, 50, 100],
    "ticktext": ["0 %", "50 %", "100 %"],
}


def heat(
    *,
    rows: Sequence[str],
    at: Sequence[datetime],
    values: Sequence[Sequence[Value]],
    metric: str = "SM active",
    urls: Sequence[str] = (),
    height: Height = "secondary",
) -> Chart:
    """Percent from 0 to 100 for each row and hour on a fixed scale; None is `no telemetry`, marked with a cross.

    `values` has one list for each of `rows`, one value for each of `at`; `urls` is where a click on a row leads.
    """
    x = [frame.stamp(moment) for moment in at]
    links = urls or [""] * len(rows)
    words = [
        [[_hover(row, moment, value, metric), link] for moment, value in zip(at, line, strict=True)]
        for row, link, line in zip(rows, links, values, strict=True)
    ]
    trace: frame.Json = {
        "type": "heatmap",
        "x": x,
        "y": list(rows),
        "z": [frame.numbers(line) for line in values],
        "customdata": words,
        "hovertemplate": "%{customdata[0]}<extra></extra>",
        "hoverongaps": False,
        "zmin": 0,
        "zmax": 100,
        "xgap": 1 if len(at) <= 48 else 0,
        "ygap": 2,
        "colorscale": SEQUENCE,
        "colorbar": _COLORBAR,
    }
    traces = [trace]
    gaps = [(x[c], rows[r], at[c]) for r, line in enumerate(values) for c, value in enumerate(line) if value is None]
    if gaps:
        traces.append(_crosses(gaps, metric))
    layout: frame.Json = {
        "hovermode": "closest",
        "margin": {"l": 8, "r": 8, "t": 4, "b": 8},
        "xaxis": frame.time_axis(at),
        "yaxis": frame.name_axis(),
        "plot_bgcolor": "var(--stale-bg)",
    }
    legend = (LegendItem("no telemetry", "text-3", "cross"),) if gaps else ()
    return Chart(frame.figure(traces, layout), height, legend)


def _crosses(gaps: Sequence[tuple[str, str, datetime]], metric: str) -> frame.Json:
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [x for x, _, _ in gaps],
        "y": [row for _, row, _ in gaps],
        "marker": {"symbol": "x-thin", "size": 6, "line": {"width": 1.25, "color": "var(--text-3)"}},
        "customdata": [[_hover(row, moment, None, metric), ""] for _, row, moment in gaps],
        "hovertemplate": "%{customdata[0]}<extra></extra>",
    }


def _hover(row: str, moment: datetime, value: Value, metric: str) -> str:
    said = "no telemetry" if value is None else f"{metric} {fmt.percent(Decimal(value) / 100, places=0)}"
    return f"{row}, {fmt.moment(moment.astimezone(UTC))}<br>{said}"
