"""What budgets have spent: many questions to the books at once, whole UTC days from the days, the rest from their hours.

Days of a budget begin at midnight of its zone. Where that is midnight in UTC, the books answer by day; else only the UTC days
at its edges are read by the hour. An hour belongs to the day in which it begins.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from attribution import queries as spend_queries
from attribution import rates
from attribution.queries import HourSpend, SpendRow
from attribution.rates import Rate
from costobs.kernel import fmt, money
from costobs.kernel import period as periods
from costobs.kernel.period import Days
from costobs.kernel.scope import Filter, SpendScope

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Window:
    """One question: the spend of a scope from `starts_at` to `ends_at`, of which everything before `split_at` is complete."""

    scope: Mapping[str, Sequence[str]]
    currency: str
    starts_at: datetime
    split_at: datetime
    ends_at: datetime

    @property
    def dimensions(self) -> tuple[str, ...]:
        """The dimensions the scope names, in their order."""
        return tuple(sorted(self.scope))


@dataclass(frozen=True, slots=True)
class Spent:
    """The answer, in the currency asked for. `complete_cost` is what was spent before `split_at`, without what corrects
    closed months (`adjusted_cost`, before and after).

    `converted_cost` is the part that came in other currencies, at `rates`; what no rate is known for is in no figure, and its
    currencies are `unconverted`.
    """

    cost: Decimal
    estimated_cost: Decimal
    unpriced_cost: Decimal
    complete_cost: Decimal
    adjusted_cost: Decimal
    converted_cost: Decimal = Decimal(0)
    rates: str = ""
    unconverted: tuple[str, ...] = ()


@dataclass(slots=True)
class _Group:
    """Spend of one combination of keys, or of a part of it."""

    keys: tuple[str, ...]
    cost: Decimal
    estimated_cost: Decimal
    unpriced_cost: Decimal


@dataclass(slots=True)
class _Other:
    """Spend in another currency on one UTC day, before or after the split."""

    currency: str
    day: date
    is_complete: bool
    group: _Group


@dataclass(slots=True)
class _Reader:
    """Asks each question once, however many budgets share it."""

    is_adjusted: bool
    days: dict[tuple[Days, str, tuple[str, ...]], list[SpendRow]] = field(default_factory=dict)
    hours: dict[tuple[Days, str, tuple[str, ...]], list[HourSpend]] = field(default_factory=dict)
    adjusted: dict[tuple[Days, str, tuple[str, ...]], dict[tuple[str, ...], Decimal]] = field(default_factory=dict)
    rates: dict[tuple[str, str, Days], dict[date, Rate]] = field(default_factory=dict)

    def groups(self, start: datetime, end: datetime, currency: str, dimensions: tuple[str, ...]) -> list[_Group]:
        """The spend of [start, end) by the dimensions; a combination may come in several parts."""
        whole = whole_days(start, end)
        found = [
            _Group(row.keys, row.cost, row.estimated_cost, row.unpriced_cost)
            for row in (self._by_day(whole, currency, dimensions) if len(whole) else [])
        ]
        for edge in _edges(start, end, whole):
            found += [
                _Group(hour.keys, hour.cost, hour.estimated_cost, hour.unpriced_cost)
                for hour in self.by_hour(Days(edge, edge + _DAY), currency, dimensions)
                if start <= hour.hour < end
            ]
        return found

    def by_hour(self, days: Days, currency: str, dimensions: tuple[str, ...]) -> list[HourSpend]:
        """Spend by hour; asked once."""
        key = (days, currency, dimensions)
        if key not in self.hours:
            self.hours[key] = spend_queries.spend_by_hour(scope=_scope(days, currency), group_by=dimensions)
        return self.hours[key]

    def corrected(
        self, start: datetime, end: datetime, currency: str, dimensions: tuple[str, ...]
    ) -> dict[tuple[str, ...], Decimal]:
        """What the UTC days that begin in [start, end) have booked for closed months."""
        days = Days(_first_day(start), max(_first_day(start), _first_day(end)))
        if not self.is_adjusted or not len(days):
            return {}
        key = (days, currency, dimensions)
        if key not in self.adjusted:
            self.adjusted[key] = spend_queries.adjusted_spend(scope=_scope(days, currency), group_by=dimensions)
        return self.adjusted[key]

    def rates_of(self, currency: str, into: str, days: Days) -> dict[date, Rate]:
        """The rates of the days; asked once."""
        key = (currency, into, days)
        if key not in self.rates:
            self.rates[key] = rates.daily(currencies=[currency], into=into, days=list(days))[currency]
        return self.rates[key]

    def _by_day(self, days: Days, currency: str, dimensions: tuple[str, ...]) -> list[SpendRow]:
        key = (days, currency, dimensions)
        if key not in self.days:
            self.days[key] = spend_queries.spend(scope=_scope(days, currency), group_by=dimensions)
        return self.days[key]


def spent(windows: Mapping[int, Window]) -> dict[int, Spent]:
    """The answer to each window, by its number. Windows that ask alike are answered together and summed exactly.

    Spend in other currencies than the window's counts too, at the exchange rate of its day.
    """
    if not windows:
        return {}
    alike: dict[tuple[datetime, datetime, datetime, str, tuple[str, ...]], list[int]] = {}
    for number, window in windows.items():
        key = (window.starts_at, window.split_at, window.ends_at, window.currency, window.dimensions)
        alike.setdefault(key, []).append(number)
    reader = _Reader(spend_queries.is_adjusted())
    first = min(periods.day_of(window.starts_at) for window in windows.values())
    last = max(_first_day(window.ends_at) for window in windows.values())
    currencies = spend_queries.currencies_of(days=Days(first, max(first, last)))
    found: dict[int, Spent] = {}
    for members in alike.values():
        found |= _answers(reader, {number: windows[number] for number in members}, currencies)
    return found


def by_day(window: Window, zone: ZoneInfo) -> dict[date, Decimal]:
    """The same spend by the days of a zone, what came in other currencies at its rate; days without any are absent."""
    return _converted(window, lambda scope: _dated(scope, window, zone))


def by_hour(window: Window, *, of_sources: Sequence[int] | None = None) -> dict[datetime, Decimal]:
    """The same spend by hour, what came in other currencies at the rate of its UTC day; hours without any are absent.

    `of_sources`: only what calls seen by these sources cost.
    """

    def hours(scope: SpendScope) -> Iterable[tuple[date, datetime, Decimal]]:
        for one in spend_queries.spend_by_hour(scope=scope, of_sources=of_sources):
            if window.starts_at <= one.hour < window.ends_at:
                yield periods.day_of(one.hour), one.hour, one.cost

    return _converted(window, hours)


def _converted[At: date](
    window: Window, read: Callable[[SpendScope], Iterable[tuple[date, At, Decimal]]]
) -> dict[At, Decimal]:
    """What `read` finds (UTC day, when, cost) in each currency, summed in that of the window."""
    filters = tuple(Filter(name, tuple(window.scope[name])) for name in window.dimensions)
    days = Days(periods.day_of(window.starts_at), _first_day(window.ends_at))
    found: dict[At, list[Decimal]] = {}
    for currency in {window.currency, *spend_queries.currencies_of(days=days)}:
        scope = SpendScope(days, filters, "effective", currency, teams=None)
        known = (
            _no_rates(days) if currency == window.currency else _Reader(False).rates_of(currency, window.currency, days)
        )
        for day, at, cost in read(scope):
            if (rate := known.get(day)) is not None:
                found.setdefault(at, []).append(money.EXACT.multiply(cost, rate.value))
    return {at: money.total(costs) for at, costs in sorted(found.items())}


def blended(window: Window, extra: Sequence[str]) -> list[tuple[tuple[str, ...], Decimal, Decimal]]:
    """The spend of the window in its own currency by `extra` dimensions: their keys, cost, and of it what is unpriced."""
    further = tuple(name for name in extra if name not in window.dimensions)
    asked = (*window.dimensions, *further)
    wanted = [set(window.scope[name]) for name in window.dimensions]
    groups = _Reader(False).groups(window.starts_at, window.ends_at, window.currency, asked)
    return [
        (tuple(group.keys[asked.index(name)] for name in extra), group.cost, group.unpriced_cost)
        for group in groups
        if _is_wanted(group.keys[: len(wanted)], wanted)
    ]


def whole_days(start: datetime, end: datetime) -> Days:
    """The UTC days that lie in [start, end) as a whole, possibly none."""
    first, last = _first_day(start), periods.day_of(end)
    return Days(first, max(first, last))


def _answers(reader: _Reader, windows: Mapping[int, Window], currencies: Sequence[str]) -> dict[int, Spent]:
    """The answers to windows of the same time, currency and dimensions."""
    one = next(iter(windows.values()))
    split = min(max(one.split_at, one.starts_at), one.ends_at)
    asked = (one.currency, one.dimensions)
    before = reader.groups(one.starts_at, split, *asked)
    current = reader.groups(split, one.ends_at, *asked)
    corrected = reader.corrected(one.starts_at, split, *asked)
    corrected_now = reader.corrected(split, one.ends_at, *asked)
    others = _others(reader, one, split, [name for name in currencies if name != one.currency])
    found = {}
    for number, window in windows.items():
        wanted = [set(window.scope[name]) for name in window.dimensions]
        complete = _within(before, wanted)
        known = [*complete, *_within(current, wanted)]
        was_corrected = _sum(corrected, wanted)
        plain = Spent(
            cost=money.total(group.cost for group in known),
            estimated_cost=money.total(group.estimated_cost for group in known),
            unpriced_cost=money.total(group.unpriced_cost for group in known),
            complete_cost=money.EXACT.subtract(money.total(group.cost for group in complete), was_corrected),
            adjusted_cost=money.EXACT.add(was_corrected, _sum(corrected_now, wanted)),
        )
        mine = [other for other in others if other.group.cost and _is_wanted(other.group.keys, wanted)]
        found[number] = _with_others(reader, plain, mine, window) if mine else plain
    return found


def _others(reader: _Reader, one: Window, split: datetime, currencies: Iterable[str]) -> list[_Other]:
    days = Days(periods.day_of(one.starts_at), max(periods.day_of(one.starts_at), _first_day(one.ends_at)))
    return [
        _Other(
            currency,
            periods.day_of(hour.hour),
            hour.hour < split,
            _Group(hour.keys, hour.cost, hour.estimated_cost, hour.unpriced_cost),
        )
        for currency in currencies
        for hour in reader.by_hour(days, currency, one.dimensions)
        if one.starts_at <= hour.hour < one.ends_at
    ]


def _with_others(reader: _Reader, plain: Spent, others: Sequence[_Other], window: Window) -> Spent:
    """The answer with what came in other currencies, each day at its rate."""
    days = Days(periods.day_of(window.starts_at), _first_day(window.ends_at))
    sums = {name: [getattr(plain, name)] for name in ("cost", "estimated_cost", "unpriced_cost", "complete_cost")}
    converted: list[Decimal] = []
    used: dict[date, Rate] = {}
    missing: set[str] = set()
    for other in others:
        rate = reader.rates_of(other.currency, window.currency, days).get(other.day)
        if rate is None:
            missing.add(other.currency)
            continue
        used[rate.day] = rate
        cost = money.EXACT.multiply(other.group.cost, rate.value)
        converted.append(cost)
        sums["cost"].append(cost)
        sums["estimated_cost"].append(money.EXACT.multiply(other.group.estimated_cost, rate.value))
        sums["unpriced_cost"].append(money.EXACT.multiply(other.group.unpriced_cost, rate.value))
        if other.is_complete:
            sums["complete_cost"].append(cost)
    totals = {name: money.total(amounts) for name, amounts in sums.items()}
    return Spent(
        **totals,
        adjusted_cost=plain.adjusted_cost,
        converted_cost=money.total(converted),
        rates=_told(used),
        unconverted=tuple(sorted(missing)),
    )


def _told(used: Mapping[date, Rate]) -> str:
    """`ECB, 2–21 Nov 2026`."""
    if not used:
        return ""
    names = " and ".join(sorted({rate.publisher for rate in used.values()}))
    return f"{names}, {fmt.period(min(used), max(used) + _DAY)}"


def _dated(scope: SpendScope, window: Window, zone: ZoneInfo) -> Iterable[tuple[date, date, Decimal]]:
    """UTC day, day of the zone and cost; by day where the days are those of UTC, else by hour."""
    if zone.key == "UTC":
        for row in spend_queries.spend_by_day(scope=scope):
            yield row.day, row.day, row.cost
        return
    for hour in spend_queries.spend_by_hour(scope=scope):
        if window.starts_at <= hour.hour < window.ends_at:
            yield periods.day_of(hour.hour), hour.hour.astimezone(zone).date(), hour.cost


def _no_rates(days: Days) -> dict[date, Rate]:
    return {day: Rate(Decimal(1), day, "") for day in days}


def _edges(start: datetime, end: datetime, whole: Days) -> list[date]:
    """The UTC days that [start, end) has a part of."""
    days = {periods.day_of(start), periods.day_of(end)} if start < end else set()
    return sorted(day for day in days if day not in whole and Days(day, day + _DAY).start_at < end)


def _first_day(moment: datetime) -> date:
    """The first UTC day that begins at the moment or after it."""
    day = periods.day_of(moment)
    return day if Days(day, day + _DAY).start_at == moment else day + _DAY


def _scope(days: Days, currency: str) -> SpendScope:
    return SpendScope(days, (), "effective", currency, teams=None)


def _is_wanted(keys: Sequence[str], wanted: Sequence[set[str]]) -> bool:
    return all(key in values for key, values in zip(keys, wanted, strict=True))


def _within(groups: Iterable[_Group], wanted: Sequence[set[str]]) -> list[_Group]:
    return [group for group in groups if _is_wanted(group.keys, wanted)]


def _sum(found: Mapping[tuple[str, ...], Decimal], wanted: Sequence[set[str]]) -> Decimal:
    return money.total(cost for keys, cost in found.items() if _is_wanted(keys, wanted))
