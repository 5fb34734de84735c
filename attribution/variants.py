"""Variants side by side: what each costs, how fast and how good it is, how sure that is, and what differs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from attribution import intervals
from attribution.intervals import Estimate, Series
from attribution.queries import variant_rows
from attribution.queries.variant_rows import DIMENSIONS as DIMENSIONS  # what pages offer
from attribution.queries.variant_rows import Score, VariantRows
from costobs.kernel import fmt
from costobs.kernel.scope import BadScope, SpendScope

MOST = 4
FEWEST_REQUESTS = 100
_MILLION = Decimal(1_000_000)
_OTHER_MIX, _OTHER_LENGTH = Decimal("0.1"), Decimal("0.25")


@dataclass(frozen=True, slots=True)
class UnitFigure:
    """What one unit of the business cost with a variant: figures that name it, on the days they tell of."""

    name: str
    unit: str
    value: Decimal
    days: int
    cost_per_unit: Decimal | None
    interval: Estimate | None


@dataclass(frozen=True, slots=True)
class Variant:
    """One variant in a scope. Costs are what its calls carry, without idle and bypass. An interval is at 95 %, None where
    there is too little to have one: seven days for costs, two scores, enough calls for a percentile."""

    value: str
    requests: int
    tokens: int
    cost: Decimal
    estimated_cost: Decimal
    first: date | None
    last: date | None
    days: int
    tokens_per_request: Decimal | None
    cost_per_request: Decimal | None
    cost_per_request_interval: Estimate | None
    cost_per_million_tokens: Decimal | None
    cost_per_million_tokens_interval: Estimate | None
    error_rate: Estimate | None
    latency: dict[int, Estimate | None]  # by permille: 500, 950, 990
    p_ms: dict[int, int | None]
    ttft: Estimate | None  # p95 of the first token
    quality_name: str
    quality: Estimate | None
    scores: int
    units: Sequence[UnitFigure]


@dataclass(frozen=True, slots=True)
class Difference:
    """A variant against the first one. Costs are relative (-0.31 is 31 % less), the rest is a difference."""

    cost_per_request: Estimate | None
    cost_per_million_tokens: Estimate | None
    p95_ms: Estimate | None
    error_rate: Estimate | None
    quality: Estimate | None


@dataclass(frozen=True, slots=True)
class Warned:
    """Why a comparison may mislead: `key` names the reason, `words` say it."""

    key: str
    words: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """Variants in the order asked for, with the differences of the second and later ones to the first."""

    dimension: str
    variants: Sequence[Variant]
    differences: Sequence[Difference]
    warnings: Sequence[Warned]


def values(*, scope: SpendScope, dimension: str) -> list[tuple[str, Decimal]]:
    """What can be compared, dearest first; "" is what names none. Raises BadScope."""
    _known(dimension)
    return variant_rows.candidates(scope=scope, dimension=dimension)


def compare(*, scope: SpendScope, dimension: str, values: Sequence[str]) -> Comparison:
    """Two to four values of a dimension in one scope. Raises BadScope."""
    _known(dimension)
    if not 2 <= len(values) <= MOST or len(set(values)) != len(values):
        raise BadScope(f"expected two to {MOST} different variants, found {len(values)}")
    rows = variant_rows.rows_of(scope=scope, dimension=dimension, values=values)
    name = _shared_score(rows)
    variants = [_variant(one, name) for one in rows]
    differences = [_difference(one, rows[0], now, variants[0]) for one, now in zip(rows[1:], variants[1:], strict=True)]
    return Comparison(dimension, variants, differences, list(_warnings(rows, variants)))


def _known(dimension: str) -> None:
    if dimension not in DIMENSIONS:
        raise BadScope(f"unknown kind of variant {dimension!r}; known: {', '.join(DIMENSIONS)}")


def _shared_score(rows: Sequence[VariantRows]) -> str:
    """The score that most variants have, and of those the most given one."""
    names: dict[str, tuple[int, int]] = {}
    for one in rows:
        for score in one.scores:
            variants, scores = names.get(score.name, (0, 0))
            names[score.name] = (variants + 1, scores + score.scores)
    return max(names, key=lambda name: (names[name], name), default="")


def _variant(rows: VariantRows, score_name: str) -> Variant:
    requests, tokens = sum(one.requests for one in rows.days), sum(one.tokens for one in rows.days)
    cost = sum((one.cost for one in rows.days), Decimal(0))
    by_requests, by_tokens = _by_requests(rows), _by_tokens(rows)
    score = _score(rows, score_name)
    active = [one.day for one in rows.days if one.requests or one.tokens]
    latency = {one: intervals.percentile(rows.durations.latency, permille=one) for one in (500, 950, 990)}
    told = rows.durations.percentiles()
    return Variant(
        value=rows.value,
        requests=requests,
        tokens=tokens,
        cost=cost,
        estimated_cost=sum((one.estimated_cost for one in rows.days), Decimal(0)),
        first=min(active, default=None),
        last=max(active, default=None),
        days=len(active),
        tokens_per_request=Decimal(tokens) / requests if by_requests and requests else None,
        cost_per_request=cost / requests if by_requests and requests else None,
        cost_per_request_interval=intervals.ratio(by_requests) if by_requests else None,
        cost_per_million_tokens=cost * _MILLION / tokens if tokens else None,
        cost_per_million_tokens_interval=_times(intervals.ratio(by_tokens), _MILLION),
        error_rate=intervals.rate(sum(one.errors for one in rows.days), requests),
        latency=latency,
        p_ms={500: told["p50_ms"], 950: told["p95_ms"], 990: told["p99_ms"]},
        ttft=intervals.percentile(rows.durations.ttft, permille=950),
        quality_name=score_name,
        quality=intervals.mean(score.mean, score.deviation, score.scores) if score else None,
        scores=score.scores if score else 0,
        units=list(_units(rows)),
    )


def _difference(rows: VariantRows, base_rows: VariantRows, now: Variant, base: Variant) -> Difference:
    here, there = _by_requests(rows), _by_requests(base_rows)
    return Difference(
        cost_per_request=intervals.ratio_change(here, there) if here and there else None,
        cost_per_million_tokens=intervals.ratio_change(_by_tokens(rows), _by_tokens(base_rows)),
        p95_ms=_apart(now.latency[950], base.latency[950]),
        error_rate=_apart(now.error_rate, base.error_rate),
        quality=_apart(now.quality, base.quality),
    )


def _apart(now: Estimate | None, base: Estimate | None) -> Estimate | None:
    return intervals.difference(now, base) if now and base else None


def _by_requests(rows: VariantRows) -> Series | None:
    """None where a part of the cost is of calls that nobody counted."""
    if any(one.uncounted_tokens for one in rows.days):
        return None
    units = [Decimal(one.requests) for one in rows.days]
    return Series([one.day for one in rows.days], [one.cost for one in rows.days], units)


def _by_tokens(rows: VariantRows) -> Series:
    units = [Decimal(one.tokens) for one in rows.days]
    return Series([one.day for one in rows.days], [one.cost for one in rows.days], units)


def _score(rows: VariantRows, name: str) -> Score | None:
    return next((one for one in rows.scores if one.name == name), None)


def _times(of: Estimate | None, factor: Decimal) -> Estimate | None:
    return Estimate(of.value * factor, of.low * factor, of.high * factor) if of else None


def _units(rows: VariantRows) -> Iterator[UnitFigure]:
    costs = {one.day: one.cost for one in rows.days}
    for name, unit in dict.fromkeys((one.name, one.unit) for one in rows.figures):
        told: dict[date, Decimal] = {}
        for one in rows.figures:
            if (one.name, one.unit) == (name, unit):
                told[one.day] = told.get(one.day, Decimal(0)) + one.value
        days = sorted(told)
        amounts, units = [costs.get(day, Decimal(0)) for day in days], [told[day] for day in days]
        whole = sum(units, Decimal(0))
        each = sum(amounts, Decimal(0)) / whole if whole > 0 else None
        yield UnitFigure(name, unit, whole, len(days), each, intervals.ratio(Series(days, amounts, units)))


def _warnings(rows: Sequence[VariantRows], variants: Sequence[Variant]) -> Iterator[Warned]:
    base = variants[0]
    for one in variants:
        if one.requests < FEWEST_REQUESTS:
            yield Warned("few", f"{_name(one)} had {one.requests:,} requests: too few to say much.")
        elif one.days < intervals.FEWEST_DAYS:
            words = f"{_name(one)} ran on {one.days} days: below {intervals.FEWEST_DAYS} days costs have no interval."
            yield Warned("few", words)
    for own, one in zip(rows[1:], variants[1:], strict=True):
        for check in (_other_days, _other_mix, _other_length):
            if words := check(own, rows[0], one, base):
                yield Warned(check.__name__.removeprefix("_"), words)
    yield from _mixed_prices(rows, variants)


def _mixed_prices(rows: Sequence[VariantRows], variants: Sequence[Variant]) -> Iterator[Warned]:
    for own, one in zip(rows, variants, strict=True):
        if own.prices > 1:
            yield Warned("prices", f"The price of {_name(one)} changed in these days; its cost is a mean of both.")
        if own.is_conservative:
            yield Warned("prices", f"A part of {_name(one)} has no known price and counts at a conservative one.")
    shares = {_name(one): one.estimated_cost / one.cost for one in variants if one.cost}
    if shares and max(shares.values()) - min(shares.values()) > Decimal("0.5"):
        most, least = max(shares, key=lambda name: shares[name]), min(shares, key=lambda name: shares[name])
        yield Warned("prices", f"{most} is mostly estimated from prices, {least} mostly billed.")


def _other_days(rows: VariantRows, base_rows: VariantRows, one: Variant, base: Variant) -> str:
    here, there = ({day.day for day in each.days if day.requests or day.tokens} for each in (rows, base_rows))
    shared = len(here & there)
    if not here or not there or shared * 10 >= len(here | there) * 8:
        return ""
    return (
        f"{_name(one)} and {_name(base)} share {shared} of {len(here | there)} days: what changed over time is in it."
    )


def _other_mix(rows: VariantRows, base_rows: VariantRows, one: Variant, base: Variant) -> str:
    """Half of what would have to move between features to make the mixes equal."""
    here, there = (_shares(each.features) for each in (rows, base_rows))
    names = sorted({*here, *there})
    moved = {name: here.get(name, Decimal(0)) - there.get(name, Decimal(0)) for name in names}
    if not here or not there or sum(abs(share) for share in moved.values()) / 2 <= _OTHER_MIX:
        return ""
    largest = max(names, key=lambda name: abs(moved[name]))
    return (
        f"{_name(one)} serves other features than {_name(base)}: {largest or 'calls without a feature'} is"
        f" {_percent(here.get(largest))} against {_percent(there.get(largest))} of requests. Choose one feature."
    )


def _other_length(rows: VariantRows, base_rows: VariantRows, one: Variant, base: Variant) -> str:
    if not one.tokens_per_request or not base.tokens_per_request:
        return ""
    ratio = one.tokens_per_request / base.tokens_per_request - 1
    if abs(ratio) <= _OTHER_LENGTH:
        return ""
    word = "longer" if ratio > 0 else "shorter"
    return f"Calls of {_name(one)} are {_percent(abs(ratio))} {word} than those of {_name(base)}."


def _shares(features: Mapping[str, int]) -> dict[str, Decimal]:
    whole = sum(features.values())
    return {name: Decimal(count) / whole for name, count in features.items()} if whole else {}


def _percent(share: Decimal | None) -> str:
    return fmt.percent(share or Decimal(0), places=0)


def _name(one: Variant) -> str:
    return one.value or "Not named"
