"""What a company owns or pays by the month, read from a configuration: machines with price and power, and monthly lines."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from costobs.kernel import money
from costobs.kernel.period import add_months
from ingest.rows import COST_KINDS

_MACHINE = (
    "name", "gpus", "gpu_model", "purchase_price", "residual_value", "purchased_on", "amortisation_months", "retired_on",
    "power_watts", "idle_watts", "max_watts", "load", "pue", "power_price", "hosting_per_month", "currency", "region", "team",
    "owner", "tags",
)  # fmt: skip
_LINE = ("name", "kind", "amount", "currency", "from", "until", "region", "team", "owner", "tags")
# How people call the kinds, beside their names.
_ALIASES = {
    "license": "licence",
    "licences": "licence",
    "licenses": "licence",
    "salary": "staff",
    "labour": "staff",
    "labor": "staff",
    "vector_stores": "vector_store",
    "egress": "network",
    "cpu": "cpu_compute",
    "gpu": "gpu_compute",
    "other": "other_service",
}
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_FIRST, _LAST = date(2000, 1, 1), date(2100, 1, 1)
_LONGEST_MONTHS = 600
_MOST_DIGITS, _MOST_PLACES = 15, 12


class BadEntry(ValueError):
    """An entry cannot be used; the message begins with its place, such as `machines[0].purchase_price`."""

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(f"{place}: {reason}")


@dataclass(frozen=True, slots=True)
class Price:
    """What one kilowatt-hour costs from a day on."""

    valid_from: date
    per_kwh: Decimal


@dataclass(frozen=True, slots=True)
class Machine:
    """A node that was bought. `watts` is its draw while it is owned; None when nobody says, which is not zero."""

    name: str
    gpus: int
    gpu_model: str
    depreciable: Decimal  # price minus residual value
    purchased_at: datetime
    written_off_at: datetime  # the end of the amortisation
    retired_at: datetime | None
    watts: Decimal | None
    pue: Decimal
    prices: tuple[Price, ...]
    hosting_per_month: Decimal
    currency: str
    region: str
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Line:
    """An amount for each month, from a day until (not including) another."""

    name: str
    kind: str
    amount: Decimal
    starts_at: datetime
    ends_at: datetime | None
    currency: str
    region: str
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Defaults:
    """What entries that say nothing have."""

    currency: str
    pue: Decimal
    power_price: Any  # a number or a list of dated ones, as it was typed


def machines(entries: Any, defaults: Defaults) -> tuple[Machine, ...]:
    """The machines of a configuration. Raises BadEntry with the place of the first mistake."""
    found = tuple(
        _machine(_Entry("machines", at, entry, _MACHINE), defaults) for at, entry in _listed("machines", entries)
    )
    for at, one in enumerate(found):
        for before in found[:at]:
            lives_on = before.retired_at is None or one.purchased_at < before.retired_at
            is_later = one.retired_at is None or before.purchased_at < one.retired_at
            if before.name == one.name and lives_on and is_later:
                raise BadEntry(
                    f"machines[{at}].name", f"{one.name!r} is there twice; retire one before the other begins"
                )
    return found


def lines(entries: Any, defaults: Defaults) -> tuple[Line, ...]:
    """The monthly lines of a configuration. Raises BadEntry with the place of the first mistake."""
    return tuple(
        _line(_Entry("monthly_lines", at, entry, _LINE), defaults) for at, entry in _listed("monthly_lines", entries)
    )


def amount(place: str, value: Any, *, least: Decimal | None = Decimal(0)) -> Decimal:
    """An exact decimal from text or a JSON number, whose shortest digits count. Raises BadEntry."""
    if isinstance(value, bool) or value in (None, ""):
        raise BadEntry(place, f"expected an amount such as 1.25, found {value!r}")
    try:
        found = money.parse(str(value))
    except money.MoneyError:
        raise BadEntry(place, f"expected an amount such as 1.25, found {value!r}") from None
    if found.adjusted() >= _MOST_DIGITS or int(found.as_tuple().exponent) < -_MOST_PLACES:
        raise BadEntry(place, f"expected at most {_MOST_DIGITS} digits and {_MOST_PLACES} decimals, found {value!r}")
    if least is not None and found < least:
        raise BadEntry(place, f"expected at least {least}, found {value!r}")
    return found


def currency(place: str, value: str) -> str:
    """A currency code of three letters. Raises BadEntry."""
    code = value.upper()
    if len(code) != 3 or not code.isascii() or not code.isalpha():
        raise BadEntry(place, f"expected a currency of three letters such as EUR, found {value!r}")
    return code


def prices(place: str, value: Any) -> tuple[Price, ...]:
    """Power prices: one number, or a list of {"from": day, "per_kwh": number}, the first of which may have no day."""
    if not isinstance(value, list | tuple):
        return (Price(_FIRST, amount(place, value)),)
    found = []
    for at, entry in enumerate(value):
        each = _Entry(place, at, entry, ("from", "per_kwh"))
        since = each.day("from") if each.has("from") else _FIRST
        found.append(Price(since, each.amount("per_kwh")))
    days = [one.valid_from for one in found]
    if not found or len(set(days)) != len(days):
        raise BadEntry(place, f"expected a price for each of its days once, found {value!r}")
    return tuple(sorted(found, key=lambda one: one.valid_from))


class _Entry:
    """One object of a list, read field by field; every mistake names its place."""

    def __init__(self, listed: str, at: int, entry: Any, known: Sequence[str]) -> None:
        self.place = f"{listed}[{at}]"
        if not isinstance(entry, Mapping):
            raise BadEntry(self.place, f"expected an object, found {entry!r}")
        unknown = [name for name in entry if name not in known]
        if unknown:
            raise BadEntry(f"{self.place}.{unknown[0]}", f"is not known; known: {', '.join(known)}")
        self.entry = entry

    def has(self, name: str) -> bool:
        return self.entry.get(name) not in (None, "")

    def text(self, name: str, default: str = "") -> str:
        value = self.entry.get(name)
        if value is None:
            return default
        if not isinstance(value, str) or "\x00" in value:
            raise BadEntry(f"{self.place}.{name}", f"expected text, found {value!r}")
        return value.strip() or default

    def required(self, name: str) -> str:
        if not (found := self.text(name)):
            raise BadEntry(f"{self.place}.{name}", "is needed")
        return found

    def amount(self, name: str, default: Decimal | None = None, *, least: Decimal | None = Decimal(0)) -> Decimal:
        if default is not None and not self.has(name):
            return default
        return amount(f"{self.place}.{name}", self.entry.get(name), least=least)

    def whole(self, name: str, default: int, *, most: int) -> int:
        value = self.entry.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
            raise BadEntry(f"{self.place}.{name}", f"expected a whole number up to {most}, found {value!r}")
        return value

    def day(self, name: str) -> date:
        text = self.required(name)
        try:
            found = date.fromisoformat(text if _DAY.fullmatch(text) else "")
        except ValueError:
            raise BadEntry(f"{self.place}.{name}", f"expected a day as YYYY-MM-DD, found {text!r}") from None
        if not _FIRST <= found < _LAST:
            raise BadEntry(f"{self.place}.{name}", f"{text} is outside {_FIRST} to {_LAST}")
        return found

    def currency(self, default: str) -> str:
        return currency(f"{self.place}.currency", self.text("currency", default))

    def tags(self) -> dict[str, str]:
        """Tags with the team and owner that are written beside them."""
        value = self.entry.get("tags") or {}
        if not isinstance(value, Mapping) or not all(isinstance(text, str) for pair in value.items() for text in pair):
            raise BadEntry(f"{self.place}.tags", f"expected pairs of text, found {value!r}")
        named = {name: self.text(name) for name in ("owner", "team") if self.has(name)}
        return {**value, **named}


def _listed(name: str, entries: Any) -> list[tuple[int, Any]]:
    if not isinstance(entries, list | tuple):
        raise BadEntry(name, f"expected a list, found {entries!r}")
    return list(enumerate(entries))


def _machine(entry: _Entry, defaults: Defaults) -> Machine:
    name = entry.required("name")
    bought = entry.day("purchased_on")
    depreciable = _depreciable(entry)
    months = entry.whole("amortisation_months", 0, most=_LONGEST_MONTHS)
    if depreciable and not months:
        raise BadEntry(f"{entry.place}.amortisation_months", "is needed for a purchase_price")
    retired = _at(entry.day("retired_on")) if entry.has("retired_on") else None
    if retired is not None and retired <= _at(bought):
        raise BadEntry(f"{entry.place}.retired_on", f"expected a day after purchased_on ({bought})")
    watts = _watts(entry)
    return Machine(
        name=name,
        gpus=entry.whole("gpus", 0, most=100_000),
        gpu_model=entry.text("gpu_model"),
        depreciable=depreciable,
        purchased_at=_at(bought),
        written_off_at=_at(_months_after(bought, months)),
        retired_at=retired,
        watts=watts,
        pue=entry.amount("pue", defaults.pue, least=Decimal(1)),
        prices=_power_prices(entry, defaults, bought) if watts else (),
        hosting_per_month=entry.amount("hosting_per_month", Decimal(0)),
        currency=entry.currency(defaults.currency),
        region=entry.text("region"),
        tags=entry.tags(),
    )


def _depreciable(entry: _Entry) -> Decimal:
    price = entry.amount("purchase_price", Decimal(0))
    residual = entry.amount("residual_value", Decimal(0))
    if residual > price:
        raise BadEntry(
            f"{entry.place}.residual_value", f"expected at most the purchase_price ({price}), found {residual}"
        )
    return money.EXACT.subtract(price, residual)


def _watts(entry: _Entry) -> Decimal | None:
    """The draw in watts: as given, or between idle and full load. Without a load, full load: dear rather than unknown."""
    if entry.has("power_watts"):
        for name in ("idle_watts", "max_watts", "load"):
            if entry.has(name):
                raise BadEntry(f"{entry.place}.{name}", "expected either power_watts or idle_watts with max_watts")
        return entry.amount("power_watts")
    if not entry.has("idle_watts") and not entry.has("max_watts"):
        return None
    idle, most = entry.amount("idle_watts", Decimal(0)), entry.amount("max_watts")
    load = entry.amount("load", Decimal(1))
    if most < idle:
        raise BadEntry(f"{entry.place}.max_watts", f"expected at least idle_watts ({idle}), found {most}")
    if load > 1:
        raise BadEntry(f"{entry.place}.load", f"expected a share from 0 to 1, found {load}")
    return money.EXACT.add(idle, money.EXACT.multiply(money.EXACT.subtract(most, idle), load))


def _power_prices(entry: _Entry, defaults: Defaults, bought: date) -> tuple[Price, ...]:
    place = f"{entry.place}.power_price"
    given = entry.entry.get("power_price")
    if given in (None, ""):
        given = defaults.power_price
    if given in (None, "", [], ()):
        raise BadEntry(place, "is needed for its power: of the machine, or of all")
    found = prices(place, given)
    if found[0].valid_from > bought:
        raise BadEntry(place, f"there is none before {found[0].valid_from}, and the machine was bought on {bought}")
    return found


def _line(entry: _Entry, defaults: Defaults) -> Line:
    name, kind = entry.required("name"), entry.required("kind").lower().replace(" ", "_")
    kind = _ALIASES.get(kind, kind)
    if kind not in COST_KINDS:
        known = ", ".join((*COST_KINDS, "other"))
        raise BadEntry(f"{entry.place}.kind", f"expected one of {known}; found {entry.text('kind')!r}")
    starts = _at(entry.day("from"))
    ends = _at(entry.day("until")) if entry.has("until") else None
    if ends is not None and ends <= starts:
        raise BadEntry(f"{entry.place}.until", "expected a day after from: the first day that is no longer paid")
    return Line(
        name=name,
        kind=kind,
        amount=entry.amount("amount", least=None),
        starts_at=starts,
        ends_at=ends,
        currency=entry.currency(defaults.currency),
        region=entry.text("region"),
        tags=entry.tags(),
    )


def _months_after(day: date, months: int) -> date:
    """The same day of a later month; its last one where there is no such day: 31 January and a month is 28 February."""
    first = add_months(day.replace(day=1), months)
    following = add_months(first, 1)
    return min(date.fromordinal(first.toordinal() + day.day - 1), date.fromordinal(following.toordinal() - 1))


def _at(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
