"""What all figures share: validation, axes with ticks already written, and the edge where Decimal becomes a number."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_CEILING, Decimal
from functools import cache

import plotly.graph_objects as go
import plotly.io as pio

from costobs.kernel import fmt
from costobs.web.charts.model import Value, Write

Json = dict[str, object]
Moment = date | datetime

pio.templates.default = None  # the theme is merged in the browser, from CSS variables
_STEPS = (Decimal(1), Decimal(2), Decimal("2.5"), Decimal(5), Decimal(10))


def number(value: Value) -> float | None:
    """A value as a pixel needs it: a binary number is enough, what is read is text made from the Decimal."""
    return None if value is None else float(value)


def numbers(values: Sequence[Value]) -> list[float | None]:
    return [number(value) for value in values]


def figure(traces: Sequence[Json], layout: Json) -> Mapping[str, object]:
    """The figure after Plotly's own validation: an attribute that does not exist raises ValueError here."""
    made = go.Figure(data=list(traces), layout={"showlegend": False, "margin": dict(_MARGIN), **layout})
    plain: Mapping[str, object] = made.to_plotly_json()
    return plain


_MARGIN = {"l": 8, "r": 12, "t": 8, "b": 8}


@cache
def money_writer(currency: str) -> Write:
    """Axis and hover words for amounts: three digits with a suffix, cents when small and not round."""

    def write(value: Decimal) -> str:
        if abs(value) < 1000 and value == value.to_integral_value():
            return fmt.money(value, currency, places=0)
        return fmt.money(value, currency, mode="kpi" if abs(value) < 1000 else "short")

    return write


def full_money(value: Value, currency: str, places: int | None = None) -> str:
    """What the hover box says; `places` is the precision of the whole chart (`places_of`), else cents below 100."""
    if places is None:
        places = fmt.column_places([None if value is None else Decimal(value)])
    return fmt.money(value, currency, places=places)


def places_of(values: Iterable[Value]) -> int:
    return fmt.column_places(None if value is None else Decimal(value) for value in values)


def ticks(low: Decimal, high: Decimal, *, count: int = 5) -> list[Decimal]:
    """At most six round values from at or below `low` to at or above `high`."""
    span = high - low
    if span <= 0:
        return [low]
    rough = span / (count - 1)
    power = Decimal(1).scaleb(rough.adjusted())
    step = next(power * step for step in _STEPS if power * step >= rough)
    first = (low / step).to_integral_value(rounding="ROUND_FLOOR") * step
    steps = int(((high - first) / step).to_integral_value(rounding=ROUND_CEILING))
    return [first + step * index for index in range(steps + 1)]


def value_axis(values: Sequence[Value], write: Write, *, from_zero: bool = True, count: int = 5) -> Json:
    """A value axis with round ticks in words; `from_zero` for everything but lines whose caption says otherwise."""
    known = [Decimal(value) for value in values if value is not None]
    low, high = (min(known), max(known)) if known else (Decimal(0), Decimal(1))
    if from_zero:
        low, high = min(low, Decimal(0)), max(high, Decimal(0))
    if low == high:
        high = low + 1
    room = high + (high - low) * Decimal("0.06") if high > 0 else high
    places = [place for place in ticks(low, high, count=count) if place <= room]
    return {
        "range": [number(places[0]), number(room)],
        "tickvals": numbers(places),
        "ticktext": [write(place) for place in places],
        "fixedrange": True,
        "automargin": True,
        "zeroline": low < 0,
    }


def name_axis() -> Json:
    """Rows by name, the first one on top."""
    return {"autorange": "reversed", "showgrid": False, "fixedrange": True, "automargin": True, "type": "category"}


def log_ticks(values: Sequence[Decimal]) -> list[Decimal]:
    """1, 2 and 5 of each power of ten around positive `values`; only powers of ten over more than two decades."""
    known = [value for value in values if value > 0] or [Decimal(1)]
    low, high = min(known), max(known)
    wide = high / low > 100
    powers = range(low.adjusted(), high.adjusted() + 2)
    marks = [Decimal(digit).scaleb(power) for power in powers for digit in ((1,) if wide else (1, 2, 5))]
    below = [mark for mark in marks if mark <= low][-1:]
    above = [mark for mark in marks if mark >= high][:1]
    return sorted({*below, *(mark for mark in marks if low < mark < high), *above})


def stamp(at: Moment) -> str:
    """The x value of a day or of a UTC moment."""
    if isinstance(at, datetime):
        return f"{at.astimezone(UTC):%Y-%m-%d %H:%M}"
    return at.isoformat()


def time_axis(at: Sequence[Moment]) -> Json:
    """Days or moments: ticks on Mondays, on first days of months, or on hours, whichever gives about seven."""
    marks = _time_ticks(at)
    return {
        "type": "date",
        "showgrid": False,
        "fixedrange": True,
        "automargin": True,
        "tickvals": [stamp(mark) for mark in marks],
        "ticktext": [_tick_text(mark, at) for mark in marks],
        "hoverformat": "%a %-d %b, %H:%M UTC" if at and isinstance(at[0], datetime) else "%a %-d %b %Y",
    }


def _time_ticks(at: Sequence[Moment]) -> list[Moment]:
    if len(at) <= 8:
        return list(at)
    if isinstance(at[0], datetime):
        hours = int((at[-1] - at[0]) / timedelta(hours=1)) if isinstance(at[-1], datetime) else 0
        step = 4 if hours <= 30 else 12 if hours <= 80 else 24
        return [mark for mark in at if isinstance(mark, datetime) and mark.hour % step == 0 and mark.minute == 0]
    if len(at) <= 62:
        mondays = [mark for mark in at if mark.weekday() == 0]
        return mondays if len(mondays) <= 6 else mondays[::2]
    if len(at) <= 100:
        return [mark for mark in at if mark.day in (1, 15)]
    return [mark for mark in at if mark.day == 1]


def _tick_text(mark: Moment, at: Sequence[Moment]) -> str:
    if not isinstance(mark, datetime):
        return fmt.short_day(mark)
    last = at[-1]
    one_day = isinstance(last, datetime) and isinstance(at[0], datetime) and last - at[0] <= timedelta(hours=30)
    return f"{mark:%H}:00" if one_day else fmt.short_day(mark) if mark.hour == 0 else f"{mark:%H}:00"
