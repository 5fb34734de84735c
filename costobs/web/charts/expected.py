"""What was, against what was to be expected: a line over its band, with what lies outside filled."""

from collections.abc import Sequence

from costobs.kernel import fmt
from costobs.web.charts import bars, frame
from costobs.web.charts.model import Chart, Height, LegendItem, Mark, Value


def expected_band(
    *,
    at: Sequence[frame.Moment],
    actual: Sequence[Value],
    expected: Sequence[Value],
    low: Sequence[Value],
    high: Sequence[Value],
    is_odd: Sequence[bool],
    currency: str,
    marks: Sequence[Mark] = (),
    height: Height = "main",
) -> Chart:
    """Actual cost over the band it was expected in; odd days or hours are marked. Unknown values stay gaps."""
    stamps = [frame.stamp(one) for one in at]
    edge: frame.Json = {
        "type": "scatter", "mode": "lines", "x": stamps, "line": {"width": 0}, "hoverinfo": "skip", "connectgaps": False,
    }  # fmt: skip
    odd = [index for index, one in enumerate(is_odd) if one]
    traces: list[frame.Json] = [
        {**edge, "y": frame.numbers(high)},
        {**edge, "y": frame.numbers(low), "fill": "tonexty", "fillcolor": "var(--band)"},
        _line("Expected", stamps, expected, currency, {"color": "var(--text-2)", "width": 1.25, "dash": "dash"}),
        _line("Actual", stamps, actual, currency, {"color": "var(--c1)", "width": 2.5}),
        {
            "type": "scatter",
            "mode": "markers",
            "name": "Above expected",
            "x": [stamps[index] for index in odd],
            "y": [frame.number(actual[index]) for index in odd],
            "marker": {"size": 8, "color": "var(--over)", "line": {"color": "var(--surface)", "width": 1}},
            "hoverinfo": "skip",
        },
    ]
    shapes = bars.mark_lines(marks)
    layout: frame.Json = {
        "hovermode": "x unified",
        "xaxis": frame.time_axis(at),
        "yaxis": frame.value_axis([*actual, *high], frame.money_writer(currency)),
        "shapes": shapes["shapes"],
        "annotations": shapes["annotations"],
    }
    legend = (
        LegendItem("Actual", "c1", "line"),
        LegendItem("Expected", "text-2", "dash"),
        LegendItem("Expected range", "band", "band"),
    )
    return Chart(frame.figure(traces, layout), height, legend, tuple(marks))


def _line(name: str, stamps: list[str], values: Sequence[Value], currency: str, style: frame.Json) -> frame.Json:
    words = [fmt.UNKNOWN if value is None else frame.full_money(value, currency) for value in values]
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": stamps,
        "y": frame.numbers(values),
        "line": style,
        "connectgaps": False,
        "customdata": [[one, ""] for one in words],
        "hovertemplate": f"%{{customdata[0]}}<extra>{name}</extra>",
    }
