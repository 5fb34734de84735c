"""Effective-dated prices of usage: found or made once for each distinct model, tier and day, never for a row."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal

from django.db import IntegrityError, connection, transaction
from django.db.models import Max

from costobs.audit import record
from costobs.kernel import money
from costobs.kernel.period import Days, day_of
from ingest import price_list, price_rows, price_tiers, price_usage
from ingest.models import Offering, UnitPrice
from ingest.price_list import Prices
from ingest.price_rows import OPERATOR, Key
from ingest.price_usage import Repriced, Unpriced
from ingest.sources.formats import classify


class PriceMoved(Exception):
    """Others changed the prices of a model again and again while this one looked; try later."""


class BadPrice(ValueError):
    """A price that cannot be: below zero, of a token kind that does not exist, or known before the one it replaces."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A distinct combination found on usage: the provider's OpenTelemetry name, a model, a tier as said, a UTC day."""

    provider: str
    model: str
    service_tier: str
    day: date


@dataclass(frozen=True, slots=True)
class PriceStep:
    """The row that holds for prompts of at least `context_from` tokens, all input kinds together."""

    context_from: int
    price_id: int
    valid_from: datetime
    valid_to: datetime | None


@dataclass(frozen=True, slots=True)
class _Row:
    step: PriceStep
    is_conservative: bool

    def holds(self, at: datetime) -> bool:
        return self.step.valid_from <= at and (self.step.valid_to is None or at < self.step.valid_to)


def resolve(wanted: Sequence[Wanted]) -> dict[Wanted, tuple[PriceStep, ...]]:
    """The price rows of each combination, by ascending `context_from`; the first begins at 0.

    An operator's price wins over the list for as long as it is valid. A model without a price gets a conservative one
    and is thereby quarantined (see `unpriced`). Missing rows are inserted; two workers that try at once meet at the
    exclusion constraint and use the same rows. A load calls `settle` when it closes. Raises PriceMoved.
    """
    keys = {each: key_of(each) for each in dict.fromkeys(wanted)}
    for _attempt in range(4):
        rows = _current(set(keys.values()))
        result = {each: _holding(rows.get(key, ()), each.day, key) for each, key in keys.items()}
        missing = {(keys[each], each.day) for each, steps in result.items() if not steps}
        if not missing:
            return result
        _insert_missing(sorted(missing), rows)
    raise PriceMoved(f"could not settle the prices of {', '.join('/'.join(key) for key, _day in sorted(missing))}")


def settle(*, price_ids: Collection[int], since: date) -> None:
    """Last statement of a load's closing transaction: makes sure that the usage it has placed has the prices that hold
    now, and that they stay so until it commits, else a re-pricing that ran since they were resolved would miss it.

    `price_ids` are those of the placed rows, `since` their first day. Raises PriceMoved.
    """
    if _hold(price_ids):
        return
    gone = UnitPrice.objects.filter(id__in=price_ids, known_to__isnull=False)
    for provider, model in gone.values_list("provider", "model").distinct().order_by("provider", "model"):
        reprice(provider=provider, model=model, since=since, keeps=True)


def set_override(
    *,
    provider: str,
    model: str,
    service_tier: str = price_tiers.STANDARD,
    valid_from: date,
    prices: Mapping[str, Decimal],
    currency: str = "USD",
    set_by: str,
    now: datetime,
    open_from: date | None = None,
    above: Mapping[int, Mapping[str, Decimal]] | None = None,
) -> Repriced:
    """Sets the operator's price from a UTC day on, until a later operator's price begins, and re-prices usage.

    `prices` are per 1M tokens of `input`, `output` and any other token kind, and `request` for one request; kinds left
    out cost what they are part of. `above` has those of prompts of at least so many tokens. Usage before `open_from` (the
    first open day of the books) keeps its price, and what was believed stays, with `known_to`. Repeated, it changes
    nothing. Raises BadPrice, PriceMoved.
    """
    key = key_of(Wanted(provider, model, service_tier, valid_from))
    steps = {at: per_token(each) for at, each in sorted({0: prices, **(above or {})}.items())}
    currency = currency.strip().upper()
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"price {'/'.join(key)}"])
        before = _replace_once_settled(key, _midnight(valid_from), steps, currency, set_by, now, open_from)
        if before is not None:
            record.write(
                actor=set_by,
                act="price.set",
                subject=f"price:{'/'.join(key)}",
                at=now,
                before=before,
                after={"valid_from": valid_from.isoformat(), "currency": currency, **_told(steps[0])},
            )
        return reprice(provider=provider, model=model, since=max(valid_from, open_from or valid_from))


def reprice(*, provider: str, model: str, since: date, keeps: bool = False) -> Repriced:
    """Points the usage of a model at the prices that are believed now, from a UTC day on, and folds its hours again, in
    one transaction. The caller keeps `since` inside open months, or asks with `keeps` that what an older price kept when its
    month was closed stays. Repeated, it moves nothing.
    """
    canonical = classify.canonical_model(provider, model)
    at = _midnight(since)
    with transaction.atomic():
        offerings = list(Offering.objects.filter(provider=provider, model=canonical).values_list("id", flat=True))
        for _attempt in range(4):
            spans = _spans(price_usage.days_of(offerings=offerings, since=at))
            if _hold({span.price_id for span in spans}):
                return price_usage.repoint(spans=spans, since=at, keeps=keeps)
    raise PriceMoved(f"the prices of {provider}/{canonical} change all the time")


def withdraw(*, set_by: str, now: datetime, open_from: date | None = None) -> int:
    """Ends the prices that someone set, as if they had never been: usage from `open_from` on gets the price it has without.

    The rows stay, with `known_to`. Returns how many prices ended; repeated, none.
    """
    with transaction.atomic():
        held = UnitPrice.objects.filter(provenance=OPERATOR, set_by=set_by, known_to=None)
        keys = sorted({(row.provider, row.model, row.valid_from.date()) for row in held})
        ended = held.update(known_to=now, kept_until=open_from)
        for provider, model, since in keys:
            reprice(provider=provider, model=model, since=max(since, open_from or since))
            record.write(actor=set_by, act="price.withdrawn", subject=f"price:{provider}/{model}", at=now)
    return ended


def refresh(*, now: datetime, open_from: date) -> int:
    """`follow_list`; returns how many models moved; repeated, none."""
    return len(follow_list(now=now, open_from=open_from))


def follow_list(*, now: datetime, open_from: date) -> list[Repriced]:
    """Brings stored list prices to the installed list, after an update of it, and re-prices usage from `open_from`.

    Rows whose price did not change stay. Conservative prices give way where the list has learned the model. Returns what
    moved, by priced model; repeated, nothing.
    """
    moved = []
    for provider, model, tier in outdated():
        with transaction.atomic():
            stale = UnitPrice.objects.filter(provider=provider, model=model, service_tier=tier, known_to=None)
            gone = [row.pk for row in stale.exclude(provenance=OPERATOR).order_by("id") if not _is_listed(row)]
            UnitPrice.objects.filter(id__in=gone).update(known_to=now, kept_until=open_from)
            moved.append(reprice(provider=provider, model=model, since=open_from))
    return moved


def outdated() -> dict[Key, list[int]]:
    """The prices believed now of which the installed list says otherwise: the ids of their rows, by key."""
    found: dict[Key, list[int]] = {}
    rows = UnitPrice.objects.filter(known_to=None).exclude(provenance=OPERATOR)
    for row in rows.order_by("provider", "model", "service_tier", "id"):
        if not _is_listed(row):
            found.setdefault((row.provider, row.model, row.service_tier), []).append(row.pk)
    return found


def unpriced(*, days: Days) -> list[Unpriced]:
    """Usage that is quarantined because no price is known: counted at a conservative price, never at zero."""
    return price_usage.unpriced(days=days)


def key_of(wanted: Wanted) -> Key:
    """Under which provider, model and tier a combination is priced."""
    tier = price_tiers.canonical(wanted.provider, wanted.service_tier)
    return wanted.provider, classify.canonical_model(wanted.provider, wanted.model), tier


def per_token(prices: Mapping[str, Decimal]) -> Prices:
    """Complete prices of single tokens from those per 1M that a person gives. Raises BadPrice."""
    tokens = {kind: price for kind, price in prices.items() if kind != "request"}
    try:
        return price_list.from_operator(tokens, prices.get("request", Decimal(0)))
    except (KeyError, ValueError) as problem:
        raise BadPrice(str(problem.args[0])) from problem


def _current(keys: Collection[Key]) -> dict[Key, list[_Row]]:
    """The rows that are believed now, by key; one query whatever the number of keys."""
    rows: dict[Key, list[_Row]] = {}
    found = UnitPrice.objects.filter(known_to=None, model__in={key[1] for key in keys}).values_list(
        "provider", "model", "service_tier", "context_from", "id", "valid_from", "valid_to", "is_conservative"
    )
    for provider, model, tier, context_from, price_id, valid_from, valid_to, is_conservative in found:
        if (key := (provider, model, tier)) in keys:
            step = PriceStep(context_from, price_id, valid_from, valid_to)
            rows.setdefault(key, []).append(_Row(step, is_conservative))
    return rows


def _holding(rows: Iterable[_Row], day: date, key: Key) -> tuple[PriceStep, ...]:
    """The steps that hold on a day; conservative ones only while the list still knows no price."""
    valid = [row for row in rows if row.holds(_midnight(day))]
    known = [row.step for row in valid if not row.is_conservative]
    if not known and price_list.period_on(*key, day) is None:
        known = [row.step for row in valid]
    return tuple(sorted(known, key=lambda step: step.context_from))


def _insert_missing(missing: Sequence[tuple[Key, date]], rows: Mapping[Key, list[_Row]]) -> None:
    """One row for each step of the price period that holds on each missing day, cut where other rows begin and end."""
    keys = {key for key, _day in missing}
    replaced = _replaced(keys)
    made: dict[tuple[object, ...], UnitPrice] = {}
    for key, day in missing:
        for row in price_rows.rows_for(key, day):
            row.valid_from, row.valid_to = _cut(row, _midnight(day), rows.get(key, ()))
            # Two beliefs about the same time must not overlap: this one begins when the one it follows ended.
            row.known_from = max(row.valid_from, replaced.get(key, row.valid_from))
            made.setdefault((*key, row.context_from, row.is_conservative, row.valid_from), row)
    UnitPrice.objects.bulk_create([made[name] for name in sorted(made)], ignore_conflicts=True)


def _cut(row: UnitPrice, at: datetime, others: Iterable[_Row]) -> tuple[datetime, datetime | None]:
    """The part of the row's validity around `at` that no other row has; the list gives way to the operator."""
    start, end = row.valid_from, row.valid_to
    for other in others:
        if other.is_conservative and not row.is_conservative:
            continue
        if other.step.valid_from > at:
            end = min(end or other.step.valid_from, other.step.valid_from)
        elif other.step.valid_to is not None and other.step.valid_to <= at:
            start = max(start, other.step.valid_to)
    return start, end


def _replaced(keys: Collection[Key]) -> dict[Key, datetime]:
    """When the newest belief that was given up about each key ended."""
    found = (
        UnitPrice.objects.filter(model__in={key[1] for key in keys}, known_to__isnull=False)
        .values_list("provider", "model", "service_tier")
        .annotate(ended=Max("known_to"))
    )
    return {(provider, model, tier): ended for provider, model, tier, ended in found}


def _replace_once_settled(
    key: Key,
    start: datetime,
    steps: Mapping[int, Prices],
    currency: str,
    set_by: str,
    now: datetime,
    open_from: date | None,
) -> dict[str, object] | None:
    """`_replace`, tried again when a load was just inserting a list price that nobody else could see yet."""
    for _attempt in range(4):
        try:
            with transaction.atomic():
                return _replace(key, start, steps, currency, set_by, now, open_from)
        except IntegrityError:
            continue
    raise PriceMoved(f"could not settle the price of {'/'.join(key)}")


def _replace(
    key: Key,
    start: datetime,
    steps: Mapping[int, Prices],
    currency: str,
    set_by: str,
    now: datetime,
    open_from: date | None,
) -> dict[str, object] | None:
    """Closes the beliefs that the new rows contradict and inserts them; None when they say what is believed already."""
    provider, model, tier = key
    rows = list(
        UnitPrice.objects.select_for_update()
        .filter(provider=provider, model=model, service_tier=tier, known_to=None)
        .order_by("context_from", "id")
    )
    later = [row.valid_from for row in rows if row.provenance == OPERATOR and row.valid_from > start]
    end = min(later, default=None)
    old = [
        row for row in rows if (end is None or row.valid_from < end) and (row.valid_to is None or row.valid_to > start)
    ]
    said = [
        (row.context_from, row.valid_from, row.valid_to, price_rows.prices_of(row), row.currency)
        for row in old
        if row.provenance == OPERATOR
    ]
    if said == [(step, start, end, dict(prices), currency) for step, prices in steps.items()]:
        return None
    if early := [row for row in old if row.known_from > now]:
        raise BadPrice(
            f"expected a time after {max(row.known_from for row in early):%Y-%m-%d %H:%M}Z, found {now:%Y-%m-%d %H:%M}Z"
        )
    UnitPrice.objects.filter(id__in=[row.pk for row in old]).update(known_to=now, kept_until=open_from)
    made = [part for row in old for part in _remainders(row, start, end, now)]
    for step, prices in steps.items():
        new = price_rows.unsaved(key, prices, OPERATOR, step, start, end, currency)
        new.set_by, new.known_from = set_by, now
        made.append(new)
    UnitPrice.objects.bulk_create(made)
    return _told(price_rows.prices_of(old[-1])) | {"provenance": old[-1].provenance} if old else {}


def _remainders(row: UnitPrice, start: datetime, end: datetime | None, now: datetime) -> list[UnitPrice]:
    """What is left of a row before `start` and from `end` on, as it is believed from now."""
    parts: list[tuple[datetime, datetime | None]] = [(row.valid_from, start)] if row.valid_from < start else []
    if end is not None and (row.valid_to is None or row.valid_to > end):
        parts.append((end, row.valid_to))
    made = []
    for valid_from, valid_to in parts:
        key = (row.provider, row.model, row.service_tier)
        prices, currency = price_rows.prices_of(row), row.currency
        part = price_rows.unsaved(key, prices, row.provenance, row.context_from, valid_from, valid_to, currency)
        part.is_conservative, part.set_by, part.known_from = row.is_conservative, row.set_by, now
        made.append(part)
    return made


def _is_listed(row: UnitPrice) -> bool:
    """Whether the installed list still says what the row says; of a conservative row: still says nothing."""
    on = day_of(row.valid_from)
    key = (row.provider, row.model, row.service_tier)
    if row.is_conservative:
        return not price_list.periods(*key)
    period = price_list.period_on(*key, on)
    if period is None:
        return True  # a model that the list has dropped keeps the price it had
    if period.valid_to and (row.valid_to is None or row.valid_to > period.valid_to):
        return False
    steps = {step.context_from: dict(step.prices) for step in period.steps}
    return steps.get(row.context_from) == price_rows.prices_of(row)


def _spans(days: Sequence[tuple[int, date]]) -> list[price_usage.Span]:
    """The price rows of offerings on days, each validity once."""
    named = {one.pk: one for one in Offering.objects.filter(id__in={offering for offering, _day in days})}
    wanted = {
        (offering, day): Wanted(named[offering].provider, named[offering].model, named[offering].service_tier, day)
        for offering, day in days
    }
    resolved = resolve(list(wanted.values()))
    spans: dict[price_usage.Span, None] = {}
    for (offering, _day), each in wanted.items():
        steps = resolved[each]
        for step, above in zip(steps, [*steps[1:], None], strict=True):
            high = above.context_from if above else None
            spans[
                price_usage.Span(offering, step.valid_from, step.valid_to, step.context_from, high, step.price_id)
            ] = None
    return list(spans)


def _hold(price_ids: Collection[int]) -> bool:
    """Keeps prices from being superseded until the transaction ends; False when one was. Loads share the lock."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id FROM ingest_unitprice WHERE id = ANY(%s) AND known_to IS NULL ORDER BY id FOR SHARE",
            [sorted(price_ids)],
        )
        return len(cursor.fetchall()) == len(price_ids)


def _told(prices: Prices) -> dict[str, object]:
    return {f"{kind}_price": money.text(price) for kind, price in prices.items()}


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(0), UTC)
