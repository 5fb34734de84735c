"""Hourly charges of what a company owns or pays by the month: amortisation, energy, hosting and monthly lines, exactly."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

import orjson
import polars as pl

from costobs.kernel import money
from costobs.kernel.period import month
from ingest.sources.base import Window
from ingest.sources.formats.owned.owned_machines import Line, Machine

PROVIDER = "Owned"
_HOUR = timedelta(hours=1)
_PLACES = 6
_SCALE = 10**_PLACES
# The FOCUS service category of each kind of a monthly line; what is not here is Other.
_CATEGORIES = {
    "storage": "Storage",
    "network": "Networking",
    "cpu_compute": "Compute",
    "gpu_compute": "Compute",
    "vector_store": "Databases",
    "api_inference": "AI and Machine Learning",
    "serverless_inference": "AI and Machine Learning",
    "fine_tuning": "AI and Machine Learning",
    "licence": "Business Applications",
}
_COMPUTE = {"cpu_compute", "gpu_compute"}
_WORDS = {"licence": "Licence", "staff": "Staff", "other_service": "Other"}


@dataclass(frozen=True, slots=True)
class Portion:
    """The same charge over several hours: one cost and quantity for each hour, and the texts that all have."""

    first: datetime
    costs: Sequence[str]
    quantities: Sequence[str]
    texts: dict[str, str]

    def frame(self) -> pl.DataFrame:
        """Its charges, in FOCUS columns."""
        starts = pl.datetime_range(
            self.first,
            self.first + len(self.costs) * _HOUR,
            "1h",
            closed="left",
            time_unit="us",
            time_zone="UTC",
            eager=True,
        )
        return pl.DataFrame(
            {
                "charge_period_start": starts,
                "charge_period_end": starts + _HOUR,
                "billed_cost": self.costs,
                "consumed_quantity": self.quantities,
                "pricing_quantity": self.quantities,
            }
        ).with_columns(pl.lit(text).alias(name) for name, text in self.texts.items())


def of_machine(machine: Machine, span: Window) -> Iterator[Portion]:
    """Amortisation until it is written off, then only energy and hosting; what is left when it retires, in its last hour."""
    owned = _within(span, machine.purchased_at, machine.retired_at)
    if owned is None:
        return
    kind = "gpu_compute" if machine.gpus else "cpu_compute"
    model = f", {machine.gpus} × {machine.gpu_model or 'GPU'}" if machine.gpus else ""
    base = {
        **_texts(machine.currency, machine.region, {**machine.tags, "node": machine.name}),
        "service_name": "Owned capacity",
        "resource_id": machine.name,
        "resource_name": machine.name,
        "resource_type": "GPU node" if machine.gpus else "Machine",
        "purchase_option": "owned",
    }
    term = _within(owned, machine.purchased_at, machine.written_off_at)
    compute = {**base, "service_category": "Compute", "cost_kind": kind, **_unit("Hours")}
    if term is not None and machine.depreciable:
        costs = _steps(machine.depreciable, machine.purchased_at, machine.written_off_at, term)
        yield _hourly(term, costs, {**compute, "charge_description": f"Amortisation of {machine.name}{model}"})
    if machine.hosting_per_month:
        texts = {**compute, "charge_description": f"Hosting of {machine.name}{model}"}
        yield _hourly(owned, _by_month(machine.hosting_per_month, owned), texts)
    if machine.watts:
        yield _energy(machine, owned, {**base, "service_category": "Other", "cost_kind": "energy", **_unit("kWh")})
    if (rest := _left(machine)) and machine.retired_at is not None and machine.retired_at == owned.end:
        texts = {
            **compute,
            "charge_description": f"Left of {machine.name} when it was retired",
            "charge_category": "Adjustment",
        }
        yield Portion(owned.end - _HOUR, [money.text(rest)], ["1"], texts)


def of_line(line: Line, span: Window) -> Iterator[Portion]:
    """A monthly amount, spread over the hours of its month; the hours of a whole month add to it exactly."""
    paid = _within(span, line.starts_at, line.ends_at)
    if paid is None or not line.amount:
        return
    texts = {
        **_texts(line.currency, line.region, line.tags),
        "service_name": line.name,
        "service_category": _CATEGORIES.get(line.kind, "Other"),
        "charge_description": f"{_WORDS.get(line.kind, line.kind.replace('_', ' ').capitalize())}: {line.name}",
        "charge_frequency": "Recurring",
        "cost_kind": line.kind,
        "purchase_option": "owned" if line.kind in _COMPUTE else "",
        **_unit("Hours"),
    }
    yield _hourly(paid, _by_month(line.amount, paid), texts)


def _left(machine: Machine) -> Decimal:
    """What is not amortised on the day a machine retires."""
    if machine.retired_at is None or machine.retired_at >= machine.written_off_at or not machine.depreciable:
        return Decimal(0)
    span = (machine.purchased_at, machine.written_off_at)
    spent = _cumulative(machine.depreciable, _hours(*span), _hours(machine.purchased_at, machine.retired_at))
    return money.EXACT.subtract(machine.depreciable, spent)


def _energy(machine: Machine, owned: Window, texts: dict[str, str]) -> Portion:
    kwh = money.EXACT.multiply(money.EXACT.multiply(machine.watts or Decimal(0), machine.pue), Decimal("0.001"))
    cost_at = [(one.valid_from, money.text(money.EXACT.multiply(kwh, one.per_kwh))) for one in machine.prices]
    costs = []
    for hour in range(_hours(owned.start, owned.end)):
        day = (owned.start + hour * _HOUR).date()
        costs.append(next(cost for since, cost in reversed(cost_at) if since <= day))
    texts = {**texts, "charge_description": f"Energy of {machine.name}"}
    return Portion(owned.start, costs, [money.text(kwh)] * len(costs), texts)


def _hourly(span: Window, costs: Sequence[Decimal], texts: dict[str, str]) -> Portion:
    return Portion(span.start, [money.text(cost) for cost in costs], ["1"] * len(costs), texts)


def _by_month(amount: Decimal, span: Window) -> list[Decimal]:
    """The hours of a span, which lies in one month, as parts of that month's amount."""
    whole = month(span.start.date())
    return _steps(amount, whole.start_at, whole.end_at, span)


def _steps(amount: Decimal, start: datetime, end: datetime, span: Window) -> list[Decimal]:
    """The hours of `span` as parts of an amount for all hours from `start` to `end`.

    Each is the difference of two running totals, so that however the hours are taken together, nothing is lost.
    """
    whole, first = _hours(start, end), _hours(start, span.start)
    totals = [_cumulative(amount, whole, hour) for hour in range(first, first + _hours(span.start, span.end) + 1)]
    return [money.EXACT.subtract(after, before) for before, after in itertools.pairwise(totals)]


def _cumulative(amount: Decimal, whole: int, hours: int) -> Decimal:
    """How much of an amount for `whole` hours the first ones take, at six places; all of them take all of it."""
    if hours == whole:
        return amount
    scaled = int(money.EXACT.multiply(amount, Decimal(_SCALE)))
    return Decimal(scaled * hours // whole).scaleb(-_PLACES, money.EXACT)


def _within(span: Window, start: datetime, end: datetime | None) -> Window | None:
    first, last = max(span.start, start), span.end if end is None else min(span.end, end)
    return Window(first, last) if first < last else None


def _hours(start: datetime, end: datetime) -> int:
    return (end - start) // _HOUR


def _texts(currency: str, region: str, tags: Mapping[str, str]) -> dict[str, str]:
    return {
        "billing_currency": currency,
        "charge_category": "Usage",
        "charge_frequency": "Usage-Based",
        "service_provider_name": PROVIDER,
        "region_id": region,
        "tags": orjson.dumps(dict(tags), option=orjson.OPT_SORT_KEYS).decode() if tags else "",
    }


def _unit(name: str) -> dict[str, str]:
    return {"consumed_unit": name, "pricing_unit": name}
