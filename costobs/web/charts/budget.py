"""Money against a plan: the burn-up with its ladder, and the bridge from one period's spend to another's."""

from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal

from costobs.kernel import fmt
from costobs.web.charts import bars, colour, frame, trends
from costobs.web.charts.model import Chart, Effect, ForecastDay, Height, LegendItem, Mark, RungLine, Value

_PLOT_PIXELS = 250  # the plotted height of chart--main, near enough to keep two labels apart
_LABEL_PIXELS, _LETTER_PIXELS = 128, 6


def burn_up(
    *,
    start: date,
    end: date,
    days: Sequence[date],
    actual: Sequence[Value],
    budget: Decimal,
    rungs: Sequence[RungLine] = (),
    marks: Sequence[Mark] = (),
    forecast: Sequence[ForecastDay] = (),
    forecast_label: str = "forecast, 80 % range",
    not_final_from: date | None = None,
    currency: str = "USD",
    height: Height = "main",
) -> Chart:
    """Cumulative spend over the budget's period `[start, end)` against even pace and the ladder.

    `actual` is the running total at the end of each of `days`; from `not_final_from` on it is dotted. Every rung is a
    line with its words at the right edge; `marks` with an amount are numbered points on the line.
    """
    last = end - timedelta(days=1)
    whole = [start + timedelta(days=offset) for offset in range((end - start).days)]
    levels = [RungLine(f"Budget {fmt.money(budget, currency)}", budget, "text", solid=True), *rungs]
    known: list[Value] = [*actual, *(rung.amount for rung in levels), *(point.high for point in forecast)]
    axis = frame.value_axis(known, frame.money_writer(currency))
    traces = [_even_pace(start, last, budget), *_actual(days, actual, not_final_from, currency)]
    traces += bars.cone(forecast, "band-1", "c1", currency, forecast_label)
    if any(mark.amount is not None for mark in marks):
        traces.append(_markers(marks))
    top = max(Decimal(value) for value in known if value is not None)
    layout: frame.Json = {
        "hovermode": "x unified",
        "margin": {"l": 8, "r": _room(levels), "t": 8, "b": 8},
        "xaxis": {**frame.time_axis(whole), "range": [frame.stamp(start), frame.stamp(last)]},
        "yaxis": axis,
        "shapes": [trends.level(rung) for rung in levels],
        "annotations": trends.level_words(levels, span=top, pixels=_PLOT_PIXELS),
    }
    legend = [LegendItem("actual", "c1", "line"), LegendItem("even pace", "border-strong", "thin")]
    if forecast:
        legend.append(LegendItem(forecast_label, "c1", "dash"))
    return Chart(frame.figure(traces, layout), height, tuple(legend), tuple(marks))


def _room(levels: Sequence[RungLine]) -> int:
    """The pixels that the words at the right edge need."""
    return max(_LABEL_PIXELS, 24 + _LETTER_PIXELS * max(len(level.label) for level in levels))


def _even_pace(start: date, last: date, budget: Decimal) -> frame.Json:
    days = (last - start).days + 1
    return {
        "type": "scatter",
        "mode": "lines",
        "x": [frame.stamp(start), frame.stamp(last)],
        "y": [frame.number(budget / days), frame.number(budget)],
        "line": {"color": "var(--border-strong)", "width": 1},
        "hoverinfo": "skip",
    }


def _actual(
    days: Sequence[date], actual: Sequence[Value], not_final_from: date | None, currency: str
) -> list[frame.Json]:
    cut = next((index for index, day in enumerate(days) if not_final_from and day >= not_final_from), len(days))
    firm = _actual_line(days[:cut], actual[:cut], "Actual", "solid", currency)
    if cut == len(days):
        return [firm]
    first = max(cut - 1, 0)
    return [firm, _actual_line(days[first:], actual[first:], "Actual, not final", "dot", currency)]


def _actual_line(days: Sequence[date], values: Sequence[Value], label: str, dash: str, currency: str) -> frame.Json:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": label,
        "x": [frame.stamp(day) for day in days],
        "y": frame.numbers(values),
        "line": {"color": "var(--c1)", "width": 3, "dash": dash},
        "connectgaps": False,
        "customdata": [[frame.full_money(value, currency), ""] for value in values],
        "hovertemplate": f"%{{customdata[0]}}<extra>{label}</extra>",
    }


def _markers(marks: Sequence[Mark]) -> frame.Json:
    shown = [mark for mark in marks if mark.amount is not None]
    return {
        "type": "scatter",
        "mode": "markers+text",
        "name": "Ladder",
        "x": [frame.stamp(mark.at) for mark in shown],
        "y": [frame.number(mark.amount) for mark in shown],
        "text": [str(mark.number) for mark in shown],
        "textfont": {"size": 10, "color": "var(--text)"},
        "textposition": "middle center",
        "marker": {"size": 17, "color": "var(--surface)", "line": {"color": "var(--text)", "width": 1.5}},
        "customdata": [[mark.text, ""] for mark in shown],
        "hovertemplate": "%{customdata[0]}<extra></extra>",
    }


def bridge(*, effects: Sequence[Effect], currency: str = "USD", height: Height = "main") -> Chart:
    """Effects that add up, each starting where the one before ended, and totals from zero; more is never simply red."""
    bases, lengths, running = [], [], Decimal(0)
    for effect in effects:
        bases.append(Decimal(0) if effect.is_total else running)
        lengths.append(effect.amount)
        running = effect.amount if effect.is_total else running + effect.amount
    ends = [base + length for base, length in zip(bases, lengths, strict=True)]
    axis = frame.value_axis([*bases, *ends], frame.money_writer(currency), count=3)
    trace: frame.Json = {
        "type": "bar",
        "orientation": "h",
        "y": [effect.label for effect in effects],
        "x": frame.numbers(lengths),
        "base": frame.numbers(bases),
        "customdata": [[_effect_words(effect, currency, effects[0].is_total), effect.url] for effect in effects],
        "hovertemplate": "%{y}: %{customdata[0]}<extra></extra>",
        "marker": {
            "color": [f"var(--{_effect_token(effect)})" for effect in effects],
            "pattern": {
                **bars.pattern([colour.NOT_FINAL if effect.is_estimated else "" for effect in effects], ""),
                "fgcolor": [f"var(--{_effect_token(effect)})" for effect in effects],
            },
        },
    }
    layout: frame.Json = {
        "hovermode": "closest",
        "bargap": 0.25,
        "margin": {"l": 8, "r": 64, "t": 4, "b": 8},
        "xaxis": {**axis, "zeroline": True},
        "yaxis": frame.name_axis(),
        "annotations": [
            {
                "x": frame.number(max(base, end)),
                "y": effect.label,
                "text": _effect_words(effect, currency, effects[0].is_total),
                "showarrow": False,
                "xanchor": "left",
                "xshift": 3,
                "font": {"color": "var(--text)"},
            }
            for effect, base, end in zip(effects, bases, ends, strict=True)
        ],
    }
    legend = (LegendItem("more", "more"), LegendItem("less", "less"))
    return Chart(frame.figure([trace], layout), height, legend)


def _effect_words(effect: Effect, currency: str, has_start: bool) -> str:
    """A total after a start is a level; one after effects only is a change and keeps its sign."""
    return fmt.money(effect.amount, currency, signed=not (effect.is_total and has_start))


def _effect_token(effect: Effect) -> str:
    return "text-2" if effect.is_total else "more" if effect.amount >= 0 else "less"
