"""List prices of one token, from the history genai-prices carries: pure, no database."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache
from importlib.metadata import version

from genai_prices import data_snapshot
from genai_prices.types import (
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    Provider,
    StartDateConstraint,
    TieredPrices,
    TimeOfDateConstraint,
)

from ingest import price_tiers
from ingest.rows import DISJOINT_TOKEN_KINDS
from ingest.sources.formats import classify

# Each disjoint token kind, and the flat price of a request: the names of UnitPrice's columns without `_price`.
PRICED = (*DISJOINT_TOKEN_KINDS, "request")
ALWAYS = datetime(1970, 1, 1, tzinfo=UTC)
PACKAGE = f"genai-prices {version('genai-prices')}"

SELF_HOSTED = "self_hosted"
# A provider that no list knows is counted at the dearest price of these, the three whose lists reach highest.
REFERENCE_PROVIDERS = ("openai", "anthropic", "google")
# Per 1M tokens. Our own GPUs have no list price; a model without an operator's price counts at what the dearest
# open-weight model cost at a provider that serves it: Llama 3.1 405B on demand at Amazon Bedrock when it was introduced
# (https://aws.amazon.com/bedrock/pricing/, us-west-2, July 2024).
SELF_HOSTED_REFERENCE = {"input": Decimal("5.32"), "output": Decimal("16")}

Prices = Mapping[str, Decimal]

_PER_MILLION, _PER_THOUSAND = -6, -3
_FREE = re.compile(r":free$")


@dataclass(frozen=True, slots=True)
class Step:
    """Prices per single token for prompts of at least `context_from` tokens, cached and written ones included."""

    context_from: int
    prices: Prices


@dataclass(frozen=True, slots=True)
class Period:
    """A half-open time in which the list price did not change; `valid_to` None is open."""

    valid_from: datetime
    valid_to: datetime | None
    steps: tuple[Step, ...]
    provenance: str


@lru_cache(maxsize=16_384)
def periods(provider: str, model: str, service_tier: str) -> tuple[Period, ...]:
    """The list prices of a model in a tier, oldest first; empty when the list has none per token.

    A price that depends on the time of day counts at the dearest hour of the day, because prices resolve to days.
    """
    found = _find(provider, model)
    if not found:
        return ()
    tier = price_tiers.canonical(provider, service_tier)
    result: list[Period] = []
    starts = [ALWAYS.date(), *_start_dates(found[1])]
    for start, end in zip(starts, [*starts[1:], None], strict=True):
        steps, note = _on_day(found[1], classify.price_provider(provider), tier, start)
        if not steps:
            continue
        told = f"{PACKAGE} {found[0].id}/{found[1].id}{note}"
        period = Period(_midnight(start), _midnight(end) if end else None, steps, told)
        if result and result[-1].steps == steps and result[-1].valid_to == period.valid_from:
            result[-1] = Period(result[-1].valid_from, period.valid_to, steps, result[-1].provenance)
        else:
            result.append(period)
    return tuple(result)


def period_on(provider: str, model: str, service_tier: str, day: date) -> Period | None:
    """The list price that holds on a UTC day."""
    at = _midnight(day)
    known = periods(provider, model, service_tier)
    return next((one for one in known if one.valid_from <= at and (one.valid_to is None or at < one.valid_to)), None)


@lru_cache(maxsize=1_024)
def dearest(provider: str) -> tuple[Prices, str]:
    """The dearest price of each kind among a provider's text models, at any time and prompt size; and whose it is.

    Text models are those with an input and an output price per token. A provider without a list counts at the dearest
    of the reference providers; our own GPUs at the reference price.
    """
    if classify.price_provider(provider) == SELF_HOSTED:
        return from_operator(SELF_HOSTED_REFERENCE), f"{SELF_HOSTED} reference"
    listed = _provider(provider)
    names = _with_fallbacks(listed) if listed else REFERENCE_PROVIDERS
    found = [prices for name in names for prices in _text_prices(name)]
    if not found:
        return dearest(REFERENCE_PROVIDERS[0])
    return maximum(found), provider if listed else " and ".join(REFERENCE_PROVIDERS)


def from_operator(per_million: Mapping[str, Decimal], request: Decimal = Decimal(0)) -> Prices:
    """Prices per token from an operator's prices per 1M (`input`, `output`, and token kinds), missing ones filled in.

    Raises KeyError for a kind that does not exist, ValueError without an input price or for a negative one.
    """
    known = {"input_uncached" if kind == "input" else kind: price for kind, price in per_million.items()}
    if unknown := sorted(set(known) - set(DISJOINT_TOKEN_KINDS)):
        raise KeyError(f"expected prices of {', '.join(DISJOINT_TOKEN_KINDS)}, found {', '.join(unknown)}")
    if "input_uncached" not in known:
        raise ValueError("expected an input price, found none")
    if wrong := [kind for kind, price in {**known, "request": request}.items() if not price.is_finite() or price < 0]:
        raise ValueError(f"expected prices of zero or more, found less for {', '.join(wrong)}")
    return {**_filled({kind: price.scaleb(_PER_MILLION) for kind, price in known.items()}), "request": request}


def maximum(prices: list[Prices]) -> Prices:
    """The dearest price of each kind."""
    return {kind: max(one[kind] for one in prices) for kind in PRICED}


def _filled(known: dict[str, Decimal]) -> dict[str, Decimal]:
    """Every token kind gets a price; what the vendor does not price apart costs what it is a part of.

    Cached and written input, audio and images are input; a write for one hour is a write; audio output is output.
    Output without a price (embeddings, which have none) counts as input, since unknown is not zero.
    """
    whole = dict(known)
    for kind, part_of in (
        ("cache_read", "input_uncached"),
        ("cache_write_5m", "input_uncached"),
        ("cache_write_1h", "cache_write_5m"),
        ("output", "input_uncached"),
        ("audio_input", "input_uncached"),
        ("audio_output", "output"),
        ("image_input", "input_uncached"),
    ):
        whole.setdefault(kind, whole[part_of])
    return {kind: whole[kind] for kind in DISJOINT_TOKEN_KINDS}


_LISTED = (
    ("input_uncached", "input_mtok"),
    ("cache_read", "cache_read_mtok"),
    ("cache_write_5m", "cache_write_mtok"),
    ("cache_write_1h", "cache_write_1h_mtok"),
    ("output", "output_mtok"),
    ("audio_input", "input_audio_mtok"),
    ("audio_output", "output_audio_mtok"),
    ("image_input", "input_image_mtok"),
)


def _steps(listed: ModelPrice, is_free: bool) -> tuple[Step, ...]:
    """The steps of one list price; none when it has no price per input token (speech by the hour, pages)."""
    if listed.input_mtok is None and not is_free:
        return ()
    # "More than 200,000 tokens" begins at 200,001.
    starts = {
        tier.start + 1 for value in vars(listed).values() if isinstance(value, TieredPrices) for tier in value.tiers
    }
    return tuple(Step(start, _prices(listed, start)) for start in sorted({0, *starts}))


def _prices(listed: ModelPrice, prompt: int) -> Prices:
    known = {
        kind: value.scaleb(_PER_MILLION)
        for kind, name in _LISTED
        if (value := _at(getattr(listed, name), prompt)) is not None
    }
    known.setdefault("input_uncached", Decimal(0))
    # Images made are output tokens to us, so an image model's whole output counts at the dearer of its two prices.
    if (made := _at(listed.output_image_mtok, prompt)) is not None:
        known["output"] = max(known.get("output", Decimal(0)), made.scaleb(_PER_MILLION))
    per_thousand = _at(listed.requests_kcount, prompt)
    return {**_filled(known), "request": per_thousand.scaleb(_PER_THOUSAND) if per_thousand else Decimal(0)}


def _at(price: Decimal | TieredPrices | None, prompt: int) -> Decimal | None:
    if not isinstance(price, TieredPrices):
        return price
    return next((tier.price for tier in reversed(price.tiers) if prompt > tier.start), price.base)


def _on_day(model: ModelInfo, provider: str, tier: str, day: date) -> tuple[tuple[Step, ...], str]:
    """The steps of a day, and what to add to their provenance."""
    is_free = bool(_FREE.search(model.id))
    moments = [datetime.combine(day, moment, UTC) for moment in _moments(model)]
    by_moment = [_standard(model, moment) for moment in moments]
    note = " at the dearest hour of the day" if any(one != by_moment[0] for one in by_moment) else ""
    variant, told = _variant(model, tier, moments[0])
    steps = _dearest_steps([_steps(_overlay(listed, variant), is_free) for listed in by_moment])
    if tier == price_tiers.STANDARD or variant:
        return steps, f"{told}{note}"
    multiplier = price_tiers.multiplier(provider, tier)
    if multiplier is None:
        return steps, note
    scaled = tuple(Step(step.context_from, multiplier.apply(step.prices)) for step in steps)
    return scaled, f" {tier} x{multiplier.factor}{note}"


def _standard(model: ModelInfo, moment: datetime) -> ModelPrice:
    """The standard price at a moment: the last one of the list whose condition holds.

    An hour of the day that is listed after a start date belongs to that start date: DeepSeek's peak hours of September
    2026 say nothing about the summer before.
    """
    if isinstance(model.prices, ModelPrice):
        return model.prices
    result, started = model.prices[0].prices, True
    for one in model.prices:
        if isinstance(one.constraint, StartDateConstraint):
            started = one.constraint.active(moment)
        if one.constraint is None or (started and one.constraint.active(moment)):
            result = one.prices
    return result


def _variant(model: ModelInfo, tier: str, moment: datetime) -> tuple[dict[str, Decimal | TieredPrices], str]:
    """The prices that the list gives for a tier by name, over the standard ones; the first that names a price wins."""
    result: dict[str, Decimal | TieredPrices] = {}
    context = price_tiers.CONTEXTS.get(tier, {})
    for variant in model.price_variants or () if context else ():
        holds = variant.constraint is None or variant.constraint.active(moment)
        if holds and all(context.get(name) == value for name, value in variant.when.items()):
            for name, price in vars(variant.prices).items():
                if price is not None:
                    result.setdefault(name, price)
    return result, f" {tier}" if result else ""


def _overlay(listed: ModelPrice, variant: dict[str, Decimal | TieredPrices]) -> ModelPrice:
    return ModelPrice(**{**vars(listed), **variant}) if variant else listed


def _dearest_steps(alternatives: list[tuple[Step, ...]]) -> tuple[Step, ...]:
    """One ladder that is at no prompt size cheaper than any of the alternatives."""
    if not all(alternatives):
        return ()
    starts = sorted({step.context_from for steps in alternatives for step in steps})
    return tuple(Step(start, maximum([_holds(steps, start).prices for steps in alternatives])) for start in starts)


def _holds(steps: tuple[Step, ...], prompt: int) -> Step:
    return next(step for step in reversed(steps) if step.context_from <= prompt)


def _moments(model: ModelInfo) -> list[time]:
    """A moment in each stretch of the day in which no time-of-day condition changes."""
    conditions = [one.constraint for one in _conditional(model) if isinstance(one.constraint, TimeOfDateConstraint)]
    edges = {_utc(edge) for each in conditions for edge in (each.start_time, each.end_time)}
    return sorted({time(0), *edges})


def _utc(edge: time) -> time:
    # A naive time of the list is UTC.
    return datetime.combine(ALWAYS.date() + timedelta(days=1), edge, edge.tzinfo or UTC).astimezone(UTC).time()


def _start_dates(model: ModelInfo) -> list[date]:
    constraints = [one.constraint for one in (*_conditional(model), *(model.price_variants or ()))]
    return sorted({one.start_date for one in constraints if isinstance(one, StartDateConstraint)})


def _conditional(model: ModelInfo) -> list[ConditionalPrice]:
    return [] if isinstance(model.prices, ModelPrice) else model.prices


def _text_prices(provider: str) -> Iterator[Prices]:
    listed = _provider(provider)
    for model in listed.models if listed else ():
        alternatives = [model.prices] if isinstance(model.prices, ModelPrice) else [one.prices for one in model.prices]
        for prices in alternatives:
            if prices.input_mtok is not None and prices.output_mtok is not None:
                yield from (step.prices for step in _steps(prices, is_free=False))


def _with_fallbacks(provider: Provider) -> tuple[str, ...]:
    return (provider.id, *(provider.fallback_model_providers or ()))


def _find(provider: str, model: str) -> tuple[Provider, ModelInfo] | None:
    listed = _provider(provider)
    if not listed:
        return None
    everyone = data_snapshot.get_snapshot().providers
    # Some canonical ids are not matched by their own rule, so the id itself is the second way in.
    found = listed.find_model(model, all_providers=everyone) or next(
        (one for one in listed.models if one.id == model), None
    )
    return (listed, found) if found else None


@lru_cache(maxsize=256)
def _provider(provider: str) -> Provider | None:
    return data_snapshot.find_provider_by_id(data_snapshot.get_snapshot().providers, classify.price_provider(provider))


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(0), UTC)
