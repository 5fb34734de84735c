"""How every number, date and change is written: the same words on pages, in Slack, in mail and on charts."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Literal

from costobs.kernel import money as exact

MINUS = "\u2212"
EN_DASH = "\u2013"
NOT_APPLICABLE = EN_DASH
UNKNOWN = "unknown"

SYMBOLS = {"USD": "$", "EUR": "€", "GBP": "£", "JPY": "¥", "INR": "₹", "KRW": "₩", "BRL": "R$", "ILS": "₪", "VND": "₫"}
_SUFFIXES = ((Decimal(10) ** 12, "T"), (Decimal(10) ** 9, "B"), (Decimal(10) ** 6, "M"), (Decimal(10) ** 3, "k"))
_SCALES = {1: "", 1_000: "1k ", 1_000_000: "1M "}
_CENT = Decimal("0.01")
_FLOOR = Decimal("0.0001")
_TWO_DIGITS = Context(prec=2, rounding=ROUND_HALF_EVEN)

MoneyMode = Literal["kpi", "short", "table", "statement"]
Polarity = Literal["none", "up_bad", "up_good"]
Tone = Literal["neutral", "unfavourable", "favourable"]


def rounded(value: Decimal, places: int) -> Decimal:
    return value.quantize(Decimal(1).scaleb(-places), rounding=ROUND_HALF_EVEN)


def digits(value: Decimal, places: int = 0) -> str:
    """The magnitude with thousands separators; never a sign."""
    return f"{abs(rounded(value, places)):,f}"


def _sign(value: Decimal, signed: bool) -> str:
    if value < 0:
        return MINUS
    return "+" if signed and value > 0 else ""


def _symbol(currency: str, mixed: bool) -> str:
    return f"{currency} " if mixed else SYMBOLS.get(currency, f"{currency} ")


# --- money --------------------------------------------------------------------------------------------
def money(
    amount: Decimal | int | None,
    currency: str = "USD",
    *,
    mode: MoneyMode = "table",
    places: int | None = None,
    signed: bool = False,
    mixed: bool = False,
) -> str:
    """An amount with its currency; None is `unknown`, zero is `$0`, and what is not zero never looks like it.

    kpi: 48,312 in full below 100k, then three digits; short: 71.4k, for estimates; table: whole units, or `places`
    decimals (see `column_places`); statement: always the minor unit. `mixed` writes the code in place of the symbol.
    """
    if amount is None:
        return UNKNOWN
    value = Decimal(amount)
    symbol = _symbol(currency, mixed)
    if mode == "statement":
        return f"{_sign(value, signed)}{symbol}{digits(exact.round_minor(value, currency), _minor(currency))}"
    if value == 0:
        return f"{symbol}{digits(Decimal(0), places or 0)}"
    suffix = _short(value) if mode == "short" else _three(value) if mode == "kpi" and abs(value) >= 100_000 else None
    if suffix is not None:
        return f"{_sign(value, signed)}{symbol}{suffix}"
    if places is None:
        whole = 1000 if mode == "kpi" else 100
        places = 0 if mode == "table" or abs(value) >= whole else _minor(currency)
    if rounded(value, places) == 0:
        return _tiny(value, symbol, Decimal(1).scaleb(-places), signed)
    return f"{_sign(value, signed)}{symbol}{digits(value, places)}"


def _minor(currency: str) -> int:
    return exact.MINOR_UNITS.get(currency, 2)


def _tiny(value: Decimal, symbol: str, quantum: Decimal, signed: bool) -> str:
    if value < 0:
        return f">{MINUS}{symbol}{quantum:f}"
    return f"<{'+' if signed else ''}{symbol}{quantum:f}"


def _three(value: Decimal) -> str:
    for scale, suffix in _SUFFIXES:
        part = abs(value) / scale
        if part >= Decimal("0.9995"):
            places = 0 if part >= Decimal("99.95") else 1 if part >= Decimal("9.995") else 2
            return f"{digits(part, places)}{suffix}"
    return digits(value)


def _short(value: Decimal) -> str | None:
    """71.4k, 5.0k and 124k; an exact number of thousands drops its decimals; below 1,000 nothing is shortened."""
    size = abs(value)
    if size < 1000:
        return None
    if size >= 99_950:
        return _three(value)
    part = size / 1000
    return f"{digits(part, 0 if part == part.to_integral_value() else 1)}k"


def column_places(amounts: Iterable[Decimal | None]) -> int:
    """The decimals of one table column: two when its largest amount is below 100, else none."""
    sizes = [abs(amount) for amount in amounts if amount is not None]
    return 2 if sizes and max(sizes) < 100 else 0


def money_range(low: Decimal, high: Decimal, currency: str = "USD", *, level: int | None = None) -> str:
    """`$68.9k–$74.6k (80 %)`; without `level` the brackets are left out, for where it is named nearby."""
    text = f"{money(low, currency, mode='short')}{EN_DASH}{money(high, currency, mode='short')}"
    return text if level is None else f"{text} ({level} %)"


def converted(amount: Decimal, currency: str, *, source: str, rate: Decimal, on: date) -> str:
    """`€44,210 (from USD at 0.9151, 20 Nov)`."""
    return f"{money(amount, currency)} (from {source} at {rate:f}, {short_day(on)})"


# --- unit costs ---------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class UnitCost:
    """`amount` is `$0.42`, `per` is `1M tokens`; a page may set the second smaller."""

    amount: str
    per: str

    def __str__(self) -> str:
        return f"{self.amount} / {self.per}"


def unit_cost(
    cost: Decimal | None, unit: str, currency: str = "USD", *, scale: int | None = None, mixed: bool = False
) -> UnitCost | None:
    """The cost of one `unit` (singular), written per 1, 1k or 1M so that the value is 0.01 to 999; None stays None.

    Tokens are always at least per 1k and by custom per 1M. `scale` fixes the scale, for one column or one sentence.
    """
    if cost is None:
        return None
    scale = scale or unit_scale(cost, unit)
    return UnitCost(_unit_amount(cost * scale, _symbol(currency, mixed)), _per(unit, scale))


def unit_scale(cost: Decimal, unit: str) -> int:
    """1, 1,000 or 1,000,000: the smallest at which `cost` reads as a cent or more."""
    size = abs(cost)
    if unit == "token":
        return 1_000 if size * 1_000_000 >= 1000 else 1_000_000
    if size == 0:
        return 1
    return next((scale for scale in (1, 1_000) if size * scale >= _CENT), 1_000_000)


def _per(unit: str, scale: int) -> str:
    if scale == 1:
        return unit
    return f"{_SCALES[scale]}{unit if unit == 'GPU-h' else unit + 's'}"


def _unit_amount(value: Decimal, symbol: str) -> str:
    size = abs(value)
    if size == 0:
        return f"{symbol}0"
    if size < _FLOOR:
        return f"<{symbol}{_FLOOR:f}" if value > 0 else f">{MINUS}{symbol}{_FLOOR:f}"
    if size < _CENT:
        places = 1 - _TWO_DIGITS.create_decimal(size).adjusted()
    else:
        places = 2 if size < 10 else 1 if size < 100 else 0
    return f"{_sign(value, signed=False)}{symbol}{digits(value, places)}"


def unit_price(per_million: Decimal | None, currency: str = "USD") -> str:
    """A price of the price book, per 1M: `$0.1500 / 1M`."""
    return UNKNOWN if per_million is None else f"{_symbol(currency, False)}{digits(per_million, 4)} / 1M"


def exported(value: Decimal, places: int = 10) -> str:
    """Full precision for CSV: a point, no separators, never an exponent, at least `places` decimals."""
    missing = -places if int(value.as_tuple().exponent) > -places else None
    return f"{value if missing is None else value.quantize(Decimal(1).scaleb(missing)):f}"


# --- change -------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Materiality:
    """Below either bound a change is neutral; the amount is in the currency's units."""

    amount: Decimal = Decimal(100)
    ratio: Decimal = Decimal("0.05")


@dataclass(frozen=True, slots=True)
class Delta:
    """A change: text for chat and mail, parts for a page. `amount` has no sign, `percent` has one."""

    direction: Literal["up", "down", "flat"]
    amount: str
    signed: str
    percent: str
    tone: Tone

    @property
    def text(self) -> str:
        """`▲ $6,940 (+16.8 %)`, for where there is no icon."""
        if self.direction == "flat":
            return "no change"
        return f"{'▲' if self.direction == 'up' else '▼'} {self.amount} ({self.percent})"


def delta(
    now: Decimal | None,
    before: Decimal | None,
    currency: str = "USD",
    *,
    polarity: Polarity = "none",
    materiality: Materiality | None = None,
    mode: MoneyMode = "table",
    places: int | None = None,
) -> Delta | None:
    """The change of an amount; None when either side is unknown."""
    if now is None or before is None:
        return None
    change = now - before
    bounds = materiality or Materiality()
    tone = _tone(
        change, before, polarity, material=abs(change) >= bounds.amount and _share(change, before) >= bounds.ratio
    )
    amount = money(abs(change), currency, mode=mode, places=places)
    signed = money(change, currency, mode=mode, places=places, signed=True)
    return Delta(_direction(change), amount, signed, change_percent(now, before), tone)


def unit_delta(
    now: Decimal | None, before: Decimal | None, unit: str, currency: str = "USD", *, ratio: Decimal = Decimal("0.05")
) -> Delta | None:
    """The change of a unit cost at the scale of `now`; dearer is unfavourable once it passes `ratio`."""
    if now is None or before is None:
        return None
    change = now - before
    scale = unit_scale(now, unit)
    amount = _unit_amount(abs(change) * scale, _symbol(currency, False))
    tone = _tone(change, before, "up_bad", material=_share(change, before) >= ratio)
    return Delta(_direction(change), amount, f"{_sign(change, True)}{amount}", change_percent(now, before), tone)


def _direction(change: Decimal) -> Literal["up", "down", "flat"]:
    return "up" if change > 0 else "down" if change < 0 else "flat"


def _share(change: Decimal, before: Decimal) -> Decimal:
    return abs(change / before) if before else Decimal(1)


def _tone(change: Decimal, before: Decimal, polarity: Polarity, *, material: bool) -> Tone:
    if polarity == "none" or change == 0 or not material:
        return "neutral"
    return "unfavourable" if (change > 0) == (polarity == "up_bad") else "favourable"


def percent(ratio: Decimal | None, *, places: int = 1, signed: bool = False) -> str:
    """0.938 as `93.8 %`; None is `–`, the share of nothing."""
    if ratio is None:
        return NOT_APPLICABLE
    value = ratio * 100
    if value != 0 and rounded(value, places) == 0:
        return f"{'<' if value > 0 else '>' + MINUS}{Decimal(1).scaleb(-places):f} %"
    return f"{_sign(value, signed)}{digits(value, places)} %"


def change_percent(now: Decimal, before: Decimal, *, places: int = 1) -> str:
    """`+16.8 %`, `×12` from 1000 % on, `new` from nothing, `ended` to nothing."""
    if before == 0:
        return "new" if now else percent(Decimal(0), places=places)
    if now == 0:
        return "ended"
    ratio = (now - before) / abs(before)
    if ratio >= 10:
        return f"×{digits(now / before)}"
    return percent(ratio, places=places, signed=True)


def points(now: Decimal, before: Decimal) -> str:
    """The difference of two ratios in percentage points: `+2.1 pp`."""
    difference = rounded((now - before) * 100, 1)
    return f"{_sign(difference, True)}{digits(difference, 1)} pp"


def variance(actual: Decimal, budget: Decimal, currency: str = "USD", *, statement: bool = False) -> str:
    """`$5.0k over (+21 %)`; a statement shows the minor unit and U or F (unfavourable, favourable)."""
    change = actual - budget
    if change == 0:
        return "on budget"
    word, letter = ("over", "U") if change > 0 else ("under", "F")
    amount = money(abs(change), currency, mode="statement" if statement else "short")
    share = f" ({percent(change / budget, places=0, signed=True)})" if budget else ""
    return f"{amount} {word}{share}" + (f" {letter}" if statement else "")


# --- counts and durations -----------------------------------------------------------------------------
def count(value: Decimal | int | None) -> str:
    """Tokens, requests, rows: `3.9B`, `214k`, in full below 1,000."""
    if value is None:
        return UNKNOWN
    number = Decimal(value)
    for scale, suffix in _SUFFIXES:
        part = abs(number) / scale
        if part >= Decimal("0.9995"):
            return f"{_sign(number, False)}{digits(part, 0 if part >= Decimal('99.95') else 1)}{suffix}"
    return f"{_sign(number, False)}{digits(number)}"


def integer(value: Decimal | int | None) -> str:
    """In full with separators: `1,284`."""
    return UNKNOWN if value is None else f"{_sign(Decimal(value), False)}{digits(Decimal(value))}"


def latency(milliseconds: Decimal | int | None) -> str:
    """`380 ms` below a second, then `1.42 s`."""
    if milliseconds is None:
        return UNKNOWN
    value = Decimal(milliseconds)
    if rounded(value, 0) < 1000:
        return f"{digits(value)} ms" if value >= 1 or value == 0 else "<1 ms"
    seconds = value / 1000
    return f"{digits(seconds, 2 if seconds < Decimal('9.995') else 1)} s"


def gpu_hours(value: Decimal | int | None) -> str:
    """`1,284 GPU-h`, one decimal below 100."""
    if value is None:
        return UNKNOWN
    hours = Decimal(value)
    return f"{digits(hours, 1 if hours < 100 else 0)} GPU-h"


def duration(span: timedelta, *, parts: int = 2) -> str:
    """The largest parts: `4 h 12 min`, `3 d 2 h`, `45 s`."""
    seconds = int(span.total_seconds())
    sizes = [(seconds // 86_400, "d"), (seconds // 3600 % 24, "h"), (seconds // 60 % 60, "min"), (seconds % 60, "s")]
    first = next((index for index, (value, _) in enumerate(sizes) if value), 3)
    return " ".join(f"{value} {unit}" for value, unit in sizes[first : first + parts] if value) or "0 s"


# --- dates: half-open inside, closed for people -------------------------------------------------------
def day(value: date) -> str:
    """`21 Nov 2026`."""
    return f"{value.day} {value:%b %Y}"


def short_day(value: date) -> str:
    """`21 Nov`."""
    return f"{value.day} {value:%b}"


def month(value: date) -> str:
    """`Nov 2026`."""
    return f"{value:%b %Y}"


def period(start: date, end: date, *, year: bool = True) -> str:
    """The days from `start` up to, not including, `end`, as people say it: `1–21 Nov 2026`."""
    last = max(start, end - timedelta(days=1))
    tail = f" {last.year}" if year else ""
    if start == last:
        return f"{short_day(start)}{tail}"
    if start.year != last.year:
        return f"{day(start)} {EN_DASH} {day(last)}"
    if start.month != last.month:
        return f"{short_day(start)} {EN_DASH} {short_day(last)}{tail}"
    return f"{start.day}{EN_DASH}{short_day(last)}{tail}"


def moment(value: datetime | None, *, year: bool = False) -> str:
    """`20 Nov, 23:00 UTC`; a naive datetime is an error."""
    if value is None:
        return UNKNOWN
    if value.tzinfo is None:
        raise ValueError("expected a datetime with a time zone")
    utc = value.astimezone(UTC)
    return f"{day(utc) if year else short_day(utc)}, {utc:%H:%M} UTC"


def ago(value: datetime, now: datetime) -> str:
    """`2 h ago`; show it only with `moment(value)` in the title."""
    return "just now" if now - value < timedelta(minutes=1) else f"{duration(now - value, parts=1)} ago"
