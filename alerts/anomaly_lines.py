"""From an anomaly's row to what pages, messages and programs show of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from alerts.models import Anomaly
from costobs.kernel import fmt
from costobs.kernel.period import Days, day_of, month

_NAMES = {"provider_name": "provider"}
OUTCOMES = {
    "": "Open",
    "back": "Back to expected",
    "new_level": "The new level",
    "restated": "Corrected by newer data",
    "merged": "Part of another anomaly",
    "expected": "Expected",
    "not_anomaly": "Not an anomaly",
    "ignored": "Ignored",
}
DRIVERS = {
    "volume": "Volume: more tokens",
    "price": "Price: the same tokens cost more",
    "mix": "Mix: dearer models or keys took a larger share",
    "new_key": "New key",
    "new_model": "New model",
    "other": "Cost without tokens: idle capacity, fees, corrections",
    "season": "Weekday and trend",
}
_LONG_KEY = 24
_SHORT = {
    "volume": "volume", "price": "price", "mix": "mix", "new_key": "a new key", "new_model": "a new model",
    "other": "cost without tokens", "season": "weekday and trend",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Point:
    """One day or hour of the series."""

    at: datetime
    cost: Decimal
    expected: Decimal | None
    low: Decimal | None
    high: Decimal | None
    is_odd: bool


@dataclass(frozen=True, slots=True)
class Driver:
    """One part of the impact; the parts add to it exactly. `share` is of the whole, 0..1, and may be negative."""

    kind: str
    words: str
    cost: Decimal
    share: Decimal | None


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was not seen before, and what it cost in the odd days or hours."""

    key: str
    cost: Decimal


@dataclass(frozen=True, slots=True)
class Place:
    """Where an excess lies."""

    dimension: str
    value: str
    excess_cost: Decimal
    share: Decimal


@dataclass(frozen=True, slots=True)
class Coincidence:
    """Something that happened in the same hours; that it is the reason is for people to say."""

    at: datetime
    kind: str
    text: str
    path: str


@dataclass(frozen=True, slots=True)
class AnomalyLine:
    """One anomaly. `impact_cost` is what odd periods cost above expected, `if_goes_on_cost` what the rest of the month would."""

    id: int
    version: int
    scope: Mapping[str, str]
    name: str
    scope_words: str
    teams: tuple[str, ...]
    currency: str
    grain: str
    state: str
    outcome: str
    outcome_words: str
    started_at: datetime
    last_at: datetime
    periods: int
    actual_cost: Decimal
    expected_cost: Decimal
    impact_cost: Decimal
    newest_cost: Decimal
    newest_expected_cost: Decimal
    rate_cost: Decimal
    change_ratio: Decimal | None
    if_goes_on_cost: Decimal
    month_ends: Days
    score: Decimal
    points: tuple[Point, ...]
    drivers: tuple[Driver, ...]
    driver_words: str
    new_keys: tuple[NewKey, ...]
    new_models: tuple[str, ...]
    volume_percent: Decimal | None
    price_percent: Decimal | None
    places: tuple[Place, ...]
    coincidences: tuple[Coincidence, ...]
    complete_through: datetime | None
    detected_at: datetime
    updated_at: datetime
    closed_at: datetime | None
    acknowledged_by: str
    acknowledged_at: datetime | None
    muted_until: datetime | None
    is_sample: bool

    @property
    def is_open(self) -> bool:
        return self.state == "open"

    @property
    def per(self) -> str:
        """`day` or `hour`: what costs of one period are of."""
        return self.grain


def words(scope: Mapping[str, str]) -> str:
    """`key etl-7 of team data`, `all spend`."""
    named = dict(scope)
    team = named.pop("team", "")
    rest = ", ".join(f"{_NAMES.get(name, name)} {value}" for name, value in named.items())
    if not rest:
        return f"team {team}" if team else "all spend"
    return f"{rest} of team {team}" if team else rest


def line(row: Anomaly) -> AnomalyLine:
    """The row in the form that people read."""
    step = timedelta(days=1) if row.grain == "day" else timedelta(hours=1)
    rate = row.newest_cost - row.newest_expected_cost
    ends = month(day_of(row.last_at))
    left = max(0, (ends.end_at - (row.last_at + step)) // step)
    drivers = _drivers(row)
    return AnomalyLine(
        id=row.pk,
        version=row.version,
        scope=dict(row.scope),
        name=_name(row.scope),
        scope_words=words(row.scope),
        teams=(row.scope["team"],) if "team" in row.scope else (),
        currency=row.currency,
        grain=row.grain,
        state=row.state,
        outcome=row.outcome,
        outcome_words=OUTCOMES[row.outcome],
        started_at=row.started_at,
        last_at=row.last_at,
        periods=row.periods,
        actual_cost=row.actual_cost,
        expected_cost=row.expected_cost,
        impact_cost=row.impact_cost,
        newest_cost=row.newest_cost,
        newest_expected_cost=row.newest_expected_cost,
        rate_cost=rate,
        change_ratio=rate / row.newest_expected_cost if row.newest_expected_cost > 0 else None,
        if_goes_on_cost=max(Decimal(0), rate) * left,
        month_ends=ends,
        score=row.score,
        points=tuple(_point(one) for one in row.series),
        drivers=drivers,
        driver_words=_driver_words(row, drivers),
        new_keys=tuple(NewKey(key, Decimal(cost)) for key, cost in row.drivers.get("new_keys", ())),
        new_models=tuple(model for model, _cost in row.drivers.get("new_models", ())),
        volume_percent=_decimal(row.drivers.get("volume_percent")),
        price_percent=_decimal(row.drivers.get("price_percent")),
        places=tuple(Place(one[0], one[1], Decimal(one[2]), Decimal(one[3])) for one in row.where),
        coincidences=tuple(Coincidence(datetime.fromisoformat(one[0]), *one[1:]) for one in row.coincidences),
        complete_through=row.complete_through,
        detected_at=row.detected_at,
        updated_at=row.updated_at,
        closed_at=row.closed_at,
        acknowledged_by=row.acknowledged_by,
        acknowledged_at=row.acknowledged_at,
        muted_until=row.muted_until,
        is_sample=row.is_sample,
    )


def since(line_: AnomalyLine) -> str:
    """`18 Nov`, or with the hour where it was found by the hour."""
    return fmt.moment(line_.started_at) if line_.grain == "hour" else fmt.day(day_of(line_.started_at))


def _name(scope: Mapping[str, str]) -> str:
    # PostgreSQL keeps the keys of a JSON object in an order of its own.
    return next((value for name, value in scope.items() if name != "team"), scope.get("team", "All spend"))


def short_key(key: str) -> str:
    """A key as it is named in passing: whole if it is a name, the last four characters if it is long."""
    return key if len(key) <= _LONG_KEY else f"…{key[-4:]}"


def _driver_words(row: Anomaly, drivers: Sequence[Driver]) -> str:
    """`volume`, `new key …1a2b, $310 of it`."""
    if not drivers:
        return "not known"
    first = drivers[0].kind
    named = row.drivers.get({"new_key": "new_keys", "new_model": "new_models"}.get(first, ""), ())
    if not named:
        return _SHORT[first]
    name, cost = named[0]
    shown = f"key {short_key(name)}" if first == "new_key" else f"model {name}"
    return f"new {shown}, {fmt.money(Decimal(cost), row.currency)} of it"


def _drivers(row: Anomaly) -> tuple[Driver, ...]:
    found = [(kind, _decimal(row.drivers.get(kind)) or Decimal(0)) for kind in DRIVERS]
    whole = _decimal(row.drivers.get("difference"))
    made = [Driver(kind, DRIVERS[kind], cost, cost / whole if whole else None) for kind, cost in found if cost]
    return tuple(sorted(made, key=lambda one: -abs(one.cost)))


def _point(one: list[str]) -> Point:
    values = [_decimal(each) for each in one[2:5]]
    return Point(datetime.fromisoformat(one[0]), Decimal(one[1]), values[0], values[1], values[2], one[5] == "odd")


def _decimal(text: object) -> Decimal | None:
    return None if text is None else Decimal(str(text))
