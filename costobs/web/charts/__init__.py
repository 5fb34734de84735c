"""Charts: typed functions that turn amounts into validated Plotly figures, with colours and words decided here."""

from costobs.web.charts.bars import daily_bars, fold, stacked_rows
from costobs.web.charts.budget import bridge, burn_up
from costobs.web.charts.colour import slots
from costobs.web.charts.expected import expected_band
from costobs.web.charts.frame import money_writer
from costobs.web.charts.gpu import heat
from costobs.web.charts.model import (
    Chart,
    Effect,
    ForecastDay,
    LegendItem,
    Line,
    Mark,
    Panel,
    Point,
    RungLine,
    Series,
)
from costobs.web.charts.points import composition, cost_latency
from costobs.web.charts.trends import lines, multiples, percentiles

__all__ = [
    "Chart",
    "Effect",
    "ForecastDay",
    "LegendItem",
    "Line",
    "Mark",
    "Panel",
    "Point",
    "RungLine",
    "Series",
    "bridge",
    "burn_up",
    "composition",
    "cost_latency",
    "daily_bars",
    "expected_band",
    "fold",
    "heat",
    "lines",
    "money_writer",
    "multiples",
    "percentiles",
    "slots",
    "stacked_rows",
]
