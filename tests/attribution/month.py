"""A realistic month of calls, the log and the bill of it, and nine ways in which the two come apart, each of a known size.

`Month` holds the calls that really were made. `log` and `bill` are what the two sides make of them; a fault changes one side
and notes by day and account what it did to the difference. `write` puts both sides into the tables that sources fill.
"""

import random
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from django.db import connection

from attribution.models import ExchangeRate
from ingest import partitions
from ingest.models import Charge, Delivery, Load, Offering, Source, UnitPrice
from tests.attribution import world

DAYS = [date(2026, 2, 1) + timedelta(days=number) for number in range(28)]
NOW = datetime(2026, 3, 20, 12, tzinfo=UTC)
BEFORE, AFTER = DAYS[0] - timedelta(days=1), DAYS[-1] + timedelta(days=1)
KINDS = ("input_uncached", "cache_read", "output")
CURRENCY = {"north": "USD", "south": "USD", "paris": "EUR"}
PROVIDER = {"north": "openai", "south": "openai", "paris": "anthropic"}
BILLED_BY = {"openai": "OpenAI", "anthropic": "Anthropic"}
MODELS = {"openai": ("chat-large", "chat-small"), "anthropic": ("words-large", "words-small")}
# Prices of single tokens, in dollars, of the standard tier.
PRICES = {
    "chat-large": ("0.0000025", "0.00000125", "0.00001"),
    "chat-small": ("0.00000015", "0.000000075", "0.0000006"),
    "words-large": ("0.000003", "0.0000003", "0.000015"),
    "words-small": ("0.000001", "0.0000001", "0.000005"),
}
TIERS = {"standard": Decimal(1), "batch": Decimal("0.5")}
FAULTS = (
    "bypass", "price", "tier", "cached_tokens", "day_boundary", "cancelled", "duplicates", "fx", "credit",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Call:
    """One call as a side knows it. `bypasses`: nobody logged it."""

    at: datetime
    account: str
    model: str
    tier: str
    tokens: tuple[int, int, int]
    is_known: bool = True
    bypasses: bool = False
    id: str = ""
    source: int = 0

    @property
    def day(self) -> date:
        return self.at.date()


@dataclass(slots=True)
class Month:
    """Both sides of a month, and what each fault did: truth[cause][day, account] is an amount in the bill's currency."""

    seed: str
    calls: list[Call] = field(default_factory=list)
    log: list[Call] = field(default_factory=list)
    bill: list[Call] = field(default_factory=list)
    truth: dict[str, dict[tuple[date, str], Decimal]] = field(default_factory=dict)
    rates: dict[date, Decimal] = field(default_factory=dict)  # euros for a dollar
    credits: list[tuple[date, str, Decimal]] = field(default_factory=list)
    offset: dict[str, int] = field(default_factory=dict)
    cached: tuple[str, str, range] | None = None
    tier: tuple[str, str, range] | None = None
    price: tuple[str, dict[str, Decimal], range] | None = None
    fx: tuple[Decimal, range] | None = None
    lines: "list[BillLine]" = field(default_factory=list)

    def add(self, cause: str, day: date, account: str, amount: Decimal) -> None:
        found = self.truth.setdefault(cause, defaultdict(Decimal))
        if day in DAYS:
            found[day, account] += amount

    def rate(self, account: str, day: date) -> Decimal:
        return Decimal(1) if CURRENCY[account] == "USD" else self.rates[day]

    def bill_day(self, call: Call) -> date:
        return (call.at - timedelta(hours=self.offset.get(call.account, 0))).date()


def price_of(model: str, kind: str, tier: str = "standard") -> Decimal:
    return Decimal(PRICES[model][KINDS.index(kind)]) * TIERS[tier]


def make(seed: str, faults: Iterable[str] = ()) -> Month:
    """A month with these faults, of random size at random places; the same for the same seed."""
    chance = random.Random(f"{seed} calls")
    month = Month(seed)
    month.rates = {day: Decimal(chance.randint(84000, 88000)) / 100000 for day in (BEFORE, *DAYS, AFTER)}
    for account, provider in PROVIDER.items():
        for model in MODELS[provider]:
            _live(month, chance, account, model, "standard")
    _live(month, chance, "south", "chat-small", "batch")
    month.log, month.bill = list(month.calls), list(month.calls)
    chosen = sorted(faults, key=_ORDER.index)
    for fault in chosen:
        _INJECT[fault](month, random.Random(f"{seed} {fault}"), chosen)
    _price(month)
    return month


def _live(month: Month, chance: random.Random, account: str, model: str, tier: str) -> None:
    """Calls by the hour: a daily curve, quiet weekends, and now and then an hour without any; few fail without usage."""
    size = chance.randint(20, 90) * 1000
    for day in (BEFORE, *DAYS, AFTER):
        for hour in range(24):
            busy = 1 + (3 if 7 <= hour <= 18 else 0) - (1 if day.weekday() > 4 and hour > 6 else 0)
            if busy <= 0 or chance.random() < 0.45:
                continue
            prompt = int(size * busy * chance.uniform(0.3, 1.7))
            cached = int(prompt * chance.uniform(0.05, 0.6))
            tokens = (prompt - cached, cached, int(prompt * chance.uniform(0.05, 0.4)))
            at = datetime(day.year, day.month, day.day, hour, chance.randint(0, 59), chance.randint(0, 59), tzinfo=UTC)
            call = Call(at, account, model, tier, tokens, id=f"{account}-{model}-{tier}-{at:%m%dT%H%M%S}")
            month.calls.append(call)


def _span(chance: random.Random, least: int = 8) -> range:
    """Some days in a row, as numbers."""
    length = chance.randint(least, len(DAYS))
    first = chance.randint(0, len(DAYS) - length)
    return range(first, first + length)


def _within(day: date, span: range) -> bool:
    return (day - DAYS[0]).days in span


def _cancelled(month: Month, chance: random.Random, _chosen: list[str]) -> None:
    """Streams that clients left: the log has the prompt and no usage, the bill has all of it."""
    account = chance.choice(list(PROVIDER))
    model, span, share = MODELS[PROVIDER[account]][0], _span(chance), chance.uniform(0.03, 0.3)
    for number, call in enumerate(month.log):
        if (call.account, call.model) == (account, model) and _within(call.day, span) and chance.random() < share:
            month.log[number] = replace(call, tokens=(*call.tokens[:2], 0), is_known=False)


def _bypass(month: Month, chance: random.Random, chosen: list[str]) -> None:
    """An application that calls past the gateway: on the bill only. Not where streams are cancelled: nothing tells these apart."""
    left = {(call.account, call.model) for call in month.log if not call.is_known} if "cancelled" in chosen else set()
    places = [(account, model) for account, provider in PROVIDER.items() for model in MODELS[provider]]
    account, model = chance.choice([place for place in places if place not in left])
    span, share, size = _span(chance), chance.uniform(0.1, 0.6), chance.uniform(0.2, 1.5)
    for call in month.calls:
        is_here = (call.account, call.model, call.tier) == (account, model, "standard") and _within(call.day, span)
        if is_here and chance.random() < share:
            tokens = tuple(int(count * size * chance.uniform(0.5, 1.5)) + 1 for count in call.tokens)
            month.bill.append(replace(call, tokens=tokens, bypasses=True))  # type: ignore[arg-type]  # three of them


def _duplicates(month: Month, chance: random.Random, _chosen: list[str]) -> None:
    """A shipper that sends again: the same content under new ids, or the same ids through a second source."""
    account, span, share = chance.choice(list(PROVIDER)), _span(chance, 4), chance.uniform(0.03, 0.4)
    other = chance.random() < 0.5
    for call in list(month.log):
        if call.account == account and _within(call.day, span) and chance.random() < share:
            again = replace(call, source=1) if other else replace(call, id=f"{call.id}-again")
            month.log.append(again)


def _cached(month: Month, chance: random.Random, _chosen: list[str]) -> None:
    how = chance.choice(["logged_twice", "no_discount", "billed_twice", "not_told"])
    month.cached = (how, chance.choice(list(PROVIDER)), _span(chance))


def _boundary(month: Month, chance: random.Random, _chosen: list[str]) -> None:
    month.offset[chance.choice(list(PROVIDER))] = chance.choice([-10, -9, -8, -5, -2, -1, 1, 3, 5, 6, 7, 8])


def _tier(month: Month, chance: random.Random, _chosen: list[str]) -> None:
    account = chance.choice(list(PROVIDER))
    month.tier = (account, chance.choice(MODELS[PROVIDER[account]]), _span(chance))


def _wrong_price(month: Month, chance: random.Random, _chosen: list[str]) -> None:
    """A price that changed and nobody noticed: of one model for all accounts, from a day on."""
    model = chance.choice(list(PRICES))
    first = chance.randint(0, 16)
    factors = [Decimal(number) / 1000 for number in range(820, 1290, 7) if not 985 < number < 1015]
    kinds = chance.sample(KINDS, chance.randint(1, 2))
    month.price = (model, {kind: chance.choice(factors) for kind in kinds}, range(first, len(DAYS)))


def _fx(month: Month, chance: random.Random, _chosen: list[str]) -> None:
    factor = 1 + Decimal(chance.choice([-1, 1]) * chance.randint(40, 600)) / 10000
    month.fx = (factor, _span(chance, 5))


def _credit(month: Month, chance: random.Random, _chosen: list[str]) -> None:
    account = chance.choice(list(PROVIDER))
    for day in chance.sample(DAYS, chance.randint(1, 4)):
        amount = -Decimal(chance.randint(100, 9000)) / 100
        month.credits.append((day, account, amount))
        month.add("credit", day, account, amount)


_INJECT = {
    "cancelled": _cancelled,
    "bypass": _bypass,
    "duplicates": _duplicates,
    "cached_tokens": _cached,
    "day_boundary": _boundary,
    "tier": _tier,
    "price": _wrong_price,
    "fx": _fx,
    "credit": _credit,
}
_ORDER = list(_INJECT)


@dataclass(slots=True)
class BillLine:
    day: date
    account: str
    model: str
    kind: str
    tier: str
    tokens: int
    cost: Decimal


def _price(month: Month) -> None:
    """Makes the lines of the bill, and the sizes of what the faults did. Quantities are worth our price; a price, a tier and a
    rate make their difference on what was billed.
    """
    _log_cached(month)
    _note_log(month)
    sums: dict[tuple[date, str, str, str, str], int] = defaultdict(int)
    for call in month.bill:
        day = month.bill_day(call)
        if day not in DAYS:
            continue
        tokens, moved = _billed(month, call, day)
        for kind, count in zip(KINDS, tokens, strict=True):
            sums[day, call.account, call.model, kind, call.tier] += count
        rate = month.rate(call.account, day)
        if call.bypasses:
            seen = (sum(tokens[:2]), 0, tokens[2]) if _how(month, call.account, day) == "not_told" else tokens
            month.add("bypass", day, call.account, _cost(call.model, call.tier, seen) * rate)
        if moved and (not call.bypasses or _how(month, call.account, day) == "not_told"):
            month.add("cached_tokens", day, call.account, _cost(call.model, call.tier, moved) * rate)
    lines = []
    for (day, account, model, kind, tier), tokens in sorted(sums.items()):
        if tokens:
            lines.append(_line(month, day, account, model, kind, tier, tokens))
    month.lines = lines


def _how(month: Month, account: str, day: date) -> str:
    if month.cached and month.cached[1] == account and _within(day, month.cached[2]):
        return month.cached[0]
    return ""


def _billed(month: Month, call: Call, day: date) -> tuple[tuple[int, int, int], tuple[int, int, int] | None]:
    """The tokens a call is billed for, and by what the log would have to change because of cached tokens."""
    fresh, cached, output = call.tokens
    match _how(month, call.account, day):
        case "no_discount":
            return (fresh + cached, 0, output), (cached, -cached, 0)
        case "billed_twice":
            return (fresh + cached, cached, output), (cached, 0, 0)
        case "not_told":
            return call.tokens, (-cached, cached, 0)
        case "logged_twice":
            return call.tokens, (-cached, 0, 0)
    return call.tokens, None


def _log_cached(month: Month) -> None:
    for number, call in enumerate(month.log):
        fresh, cached, output = call.tokens
        match _how(month, call.account, month.bill_day(call)):
            case "not_told":
                month.log[number] = replace(call, tokens=(fresh + cached, 0, output))
            case "logged_twice":
                month.log[number] = replace(call, tokens=(fresh + cached, cached, output))


def _note_log(month: Month) -> None:
    """What repeats, unfinished streams and another day did, as the log has them."""
    known = {call.id: call for call in month.calls}
    seen: set[str] = set()
    for call in month.log:
        if call.source or call.id in seen or call.id.endswith("-again"):
            rate = month.rate(call.account, call.day)
            month.add("duplicates", call.day, call.account, -_cost(call.model, call.tier, call.tokens) * rate)
            continue
        seen.add(call.id)
        billed = month.bill_day(call)
        if not call.is_known:
            lost = (0, 0, known[call.id].tokens[2])
            month.add(
                "cancelled",
                billed,
                call.account,
                _cost(call.model, call.tier, lost) * _rate(month, call.account, billed),
            )
        if month.offset.get(call.account):
            worth = _cost(call.model, call.tier, call.tokens)
            if billed in DAYS:
                month.add("day_boundary", billed, call.account, worth * month.rate(call.account, billed))
            if call.day in DAYS:
                month.add("day_boundary", call.day, call.account, -worth * month.rate(call.account, call.day))


def _rate(month: Month, account: str, day: date) -> Decimal:
    return month.rate(account, day) if day in DAYS else Decimal(1)


def _cost(model: str, tier: str, tokens: tuple[int, int, int]) -> Decimal:
    return sum((count * price_of(model, kind, tier) for kind, count in zip(KINDS, tokens, strict=True)), Decimal(0))


def _line(month: Month, day: date, account: str, model: str, kind: str, tier: str, tokens: int) -> BillLine:
    rate = month.rate(account, day)
    cost = tokens * price_of(model, kind, tier) * rate
    if month.tier and month.tier[:2] == (account, model) and _within(day, month.tier[2]) and tier != "batch":
        cheaper = tokens * price_of(model, kind, "batch") * rate
        month.add("tier", day, account, cheaper - cost)
        cost = cheaper
    if month.price and month.price[0] == model and kind in month.price[1] and _within(day, month.price[2]):
        other = cost * month.price[1][kind]
        month.add("price", day, account, other - cost)
        cost = other
    if month.fx and CURRENCY[account] == "EUR" and _within(day, month.fx[1]):
        other = cost * month.fx[0]
        month.add("fx", day, account, other - cost)
        cost = other
    return BillLine(day, account, model, kind, tier, tokens, cost)


def write(month: Month, *, digits: int | None = None) -> None:
    """Puts log, bill, prices and rates into their tables; with `digits`, the bill rounds each line."""
    lines = month.lines
    partitions.ensure_days([BEFORE, *DAYS, AFTER])
    partitions.ensure_months([BEFORE, *DAYS, AFTER])
    sources = [world.source("usage_log", "gateway"), world.source("otlp", "collector")]
    prices = {(model, tier): _stored_price(model, tier) for model in PRICES for tier in TIERS}
    offerings = {(model, tier): _offering(model, tier) for model in PRICES for tier in TIERS}
    sets = {
        (which, account): world.attribute_set(sources[which], account=account)
        for which in (0, 1)
        for account in PROVIDER
    }
    events = [
        (
            sources[call.source].pk, call.id, call.at, sets[call.source, call.account], offerings[call.model, call.tier],
            prices[call.model, call.tier], *call.tokens, call.is_known,
        )
        for call in month.log
    ]  # fmt: skip
    _copy_events(events)
    bill = world.source("focus_export", "invoices")
    _copy_charges(month, bill, lines, digits)
    ExchangeRate.objects.bulk_create(
        ExchangeRate(base="USD", currency="EUR", day=day, rate=rate, publisher="test", known_from=NOW, set_by="ada")
        for day, rate in month.rates.items()
    )


def _stored_price(model: str, tier: str) -> int:
    by_kind = {kind: price_of(model, kind, tier) for kind in KINDS}
    provider = next(name for name, models in MODELS.items() if model in models)
    always = datetime(2020, 1, 1, tzinfo=UTC)
    more = ("cache_write_5m", "cache_write_1h", "audio_input", "audio_output", "image_input")
    row = UnitPrice.objects.create(
        provider=provider, model=model, service_tier=tier, valid_from=always, known_from=always, provenance="operator",
        request_price=0, **{f"{kind}_price": price for kind, price in by_kind.items()},
        **{f"{kind}_price": by_kind["input_uncached"] for kind in more},
    )  # fmt: skip
    return int(row.pk)


def _offering(model: str, tier: str) -> int:
    provider = next(name for name, models in MODELS.items() if model in models)
    row, _new = Offering.objects.get_or_create(
        provider=provider, model=model, request_model=model, response_model=model, deployment="", service_tier=tier,
        operation="chat",
    )  # fmt: skip
    return int(row.pk)


def _copy_events(events: list[tuple[object, ...]]) -> None:
    names = (
        "source_id, event_id, occurred_at, attribute_set_id, offering_id, price_id, input_uncached, cache_read, output, "
        "usage_known, cache_write_5m, cache_write_1h, reasoning, audio_input, audio_output, image_input, status, outcome, "
        "trace_id, session_id"
    )
    rest = (0, 0, 0, 0, 0, 0, 200, "ok", "", "")
    with connection.cursor() as cursor:
        with cursor.copy(f"COPY ingest_usageevent ({names}) FROM STDIN") as copy:
            for event in events:
                copy.write_row((*event, *rest))
        cursor.execute("""
            INSERT INTO ingest_usagehour (hour, source_id, attribute_set_id, offering_id, price_id, requests, errors, refused,
                unknown_usage, latency_ms, input_uncached, cache_read, cache_write_5m, cache_write_1h, output, reasoning,
                audio_input, audio_output, image_input)
            SELECT date_bin('1 hour', occurred_at, 'epoch'), source_id, attribute_set_id, offering_id, price_id, count(*), 0, 0,
                count(*) FILTER (WHERE NOT usage_known), 0, sum(input_uncached), sum(cache_read), 0, 0, sum(output), 0, 0, 0, 0
            FROM ingest_usageevent GROUP BY 1, 2, 3, 4, 5;
            INSERT INTO ingest_usageday (day, source_id, attribute_set_id, offering_id, price_id, is_current, requests, errors,
                refused, unknown_usage, latency_ms, input_uncached, cache_read, cache_write_5m, cache_write_1h, output,
                reasoning, audio_input, audio_output, image_input)
            SELECT (hour AT TIME ZONE 'UTC')::date, source_id, attribute_set_id, offering_id, price_id, TRUE, sum(requests), 0,
                0, sum(unknown_usage), 0, sum(input_uncached), sum(cache_read), 0, 0, sum(output), 0, 0, 0, 0
            FROM ingest_usagehour GROUP BY 1, 2, 3, 4, 5;
            INSERT INTO ingest_touched (source_id, day, version, rolled_up_version)
            SELECT DISTINCT source_id, day, 1, 1 FROM ingest_usageday ON CONFLICT DO NOTHING""")


def _copy_charges(month: Month, bill: Source, lines: list[BillLine], digits: int | None) -> None:
    load = Load.objects.create(source=bill, name="month", state="succeeded", started_at=NOW, heartbeat_at=NOW)
    delivery = Delivery.objects.create(
        source=bill, load=load, export="month", billing_period_start=DAYS[0], run_id="1", state="current", rows=0,
        delivered_at=NOW,
    )  # fmt: skip
    texts = [
        each.name
        for each in Charge._meta.get_fields()
        if each.get_internal_type() == "TextField" and not each.primary_key
    ]
    names = [
        *texts, "source_id", "delivery_id", "file_index", "row_number", "charge_period_start", "charge_period_end",
        "billing_period_start", "billing_period_end", "book_month", "billed_cost", "effective_cost", "list_cost",
        "contracted_cost", "consumed_quantity", "tags", "extra", "attribute_set_id",
    ]  # fmt: skip
    nobody = world.attribute_set(bill)
    with connection.cursor() as cursor, cursor.copy(f"COPY ingest_charge ({', '.join(names)}) FROM STDIN") as copy:
        for number, line in enumerate([*lines, *_credit_lines(month)]):
            cost = line.cost if digits is None else round(line.cost, digits)
            provider = BILLED_BY[PROVIDER[line.account]]
            told = {
                "sub_account_id": line.account, "billing_account_id": provider, "billing_currency": CURRENCY[line.account],
                "charge_category": "Usage" if line.model else "Credit", "service_provider_name": provider,
                "service_name": f"{provider} API", "model": line.model, "token_kind": line.kind,
                "consumed_unit": "Tokens" if line.model else "", "sku_id": f"{line.model} {line.kind} {line.tier}",
            }  # fmt: skip
            start = datetime(line.day.year, line.day.month, line.day.day, tzinfo=UTC)
            copy.write_row(
                (
                    *(told.get(name, "") for name in texts), bill.pk, delivery.pk, 0, number + 1, start,
                    start + timedelta(days=1), DAYS[0], AFTER, DAYS[0], cost, cost, cost, cost,
                    line.tokens or None, "{}", "{}", nobody,
                )
            )  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO ingest_touched (source_id, day, version, rolled_up_version) SELECT %s, unnest(%s::date[]), 1, 1",
            [bill.pk, DAYS],
        )


def _credit_lines(month: Month) -> list[BillLine]:
    return [BillLine(day, account, "", "", "", 0, amount) for day, account, amount in month.credits]
