"""The rows behind variants of one thing: models, deployments, quantizations, prompt versions."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any

import orjson

from attribution.queries.scoped import Scoped, books, fetch, usage
from attribution.queries.unit_sums import COUNTED, USED, Durations, durations
from attribution.queries.unit_values import EXPRESSIONS, FIGURES
from attribution.queries.values import scores_of
from costobs.kernel.scope import SpendScope

DIMENSIONS = ("model", "deployment", "quantization", "prompt_version")
# By which names calls, scores and figures tell of a prompt version in their tags.
TAGS = {
    "model": ("model",),
    "deployment": ("deployment",),
    "quantization": ("quantization",),
    "prompt_version": ("prompt_version", "prompt", "variant"),
}
_QUANTIZATIONS = (
    ("NVFP4", r"nv-?fp4"), ("MXFP4", r"mx-?fp4"), ("FP4", r"fp4"), ("W4A16", r"w4a16"), ("W8A8", r"w8a8"), ("AWQ", r"awq"),
    ("GPTQ", r"gptq"), ("NF4", r"nf4|bnb|bitsandbytes"), ("INT4", r"int4|4-?bit"), ("INT8", r"int8|8-?bit"),
    ("FP8", r"fp8|f8e4m3"), ("GGUF", r"gguf|q[2-8]_[0k]"), ("BF16", r"bf16"), ("FP16", r"fp16|f16"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Choice:
    """One variant as conditions on the books (d) and on usage (d, f), with their parameters."""

    value: str
    on_books: str
    on_usage: str
    on_scores: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class VariantDay:
    """What a variant did on one day; `cost` is what its calls carry."""

    day: date
    requests: int
    errors: int
    tokens: int
    uncounted_tokens: int
    cost: Decimal
    estimated_cost: Decimal


@dataclass(frozen=True, slots=True)
class Score:
    """Scores of one name, as shares of their scale."""

    name: str
    scores: int
    mean: Decimal
    deviation: Decimal | None


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure of the business that names the variant, of one whole UTC day."""

    name: str
    unit: str
    day: date
    value: Decimal


@dataclass(frozen=True, slots=True)
class VariantRows:
    """Everything known of one variant."""

    value: str
    days: Sequence[VariantDay]
    durations: Durations
    features: Mapping[str, int]
    prices: int  # the most prices one offering had
    is_conservative: bool
    scores: Sequence[Score] = field(default_factory=tuple)
    figures: Sequence[Figure] = field(default_factory=tuple)


def quantization(model: str, deployment: str) -> str:
    """How the weights are stored, as the names say it; "" where they do not."""
    text = f"{model} {deployment}".lower()
    return next(
        (name for name, words in _QUANTIZATIONS if re.search(rf"(?<![a-z0-9])(?:{words})(?![a-z0-9])", text)), ""
    )


def tag(tags: str, names: Sequence[str]) -> str:
    """The value of the first of `names` in the tags of an attribute set: a JSON object, or `name:value, …`."""
    try:
        told = orjson.loads(tags)
    except orjson.JSONDecodeError:
        pairs = re.findall(r"([\w.\-]+)\s*[:=]\s*([^,;]+)", tags)
        told = {key: value.strip() for key, value in pairs}
    if not isinstance(told, dict):
        return ""
    lowered = {str(key).lower(): value for key, value in told.items()}
    return next((str(lowered[name]) for name in names if lowered.get(name) not in (None, "")), "")


def candidates(*, scope: SpendScope, dimension: str) -> list[tuple[str, Decimal]]:
    """The values there are in the scope, by what their calls carry, dearest first. "" is what names none."""
    scoped = books(scope, ["model", "deployment"])
    sql = f"""SELECT d.model, d.deployment, d.attribute_set_id, sum({scoped.cost}) {scoped.source()}
        AND d.is_current AND {USED} GROUP BY 1, 2, 3"""
    rows = fetch(sql, scoped.parameters)
    sets = _tags({row[2] for row in rows}) if dimension in ("quantization", "prompt_version") else {}
    found: dict[str, Decimal] = {}
    for model, deployment, attribute_set, cost in rows:
        value = _value(dimension, model, deployment, sets.get(attribute_set, ""))
        found[value] = found.get(value, Decimal(0)) + cost
    return sorted(found.items(), key=lambda one: (-one[1], one[0]))


def rows_of(*, scope: SpendScope, dimension: str, values: Sequence[str]) -> list[VariantRows]:
    """What is known of each variant, in the order asked for."""
    return [_rows(scope, choice, dimension) for choice in _choices(scope, dimension, values)]


def _choices(scope: SpendScope, dimension: str, values: Sequence[str]) -> list[Choice]:
    """Which calls a value means. A value that is told by tags or names is looked up once, among the calls of the scope."""
    if dimension in ("model", "deployment"):
        column, own = f"d.{dimension} = %(variant)s", f"f.{dimension} = %(variant)s"
        return [Choice(value, column, own, column, {"variant": value}) for value in values]
    scoped = usage(scope)
    sql = f"SELECT DISTINCT f.model, f.deployment, d.attribute_set_id {scoped.source()}"
    rows = fetch(sql, scoped.parameters)
    sets = _tags({row[2] for row in rows})
    return [_told(dimension, value, rows, sets) for value in values]


def _told(dimension: str, value: str, rows: Sequence[tuple[Any, ...]], sets: Mapping[int, str]) -> Choice:
    own = [row for row in rows if _value(dimension, row[0], row[1], sets.get(row[2], "")) == value]
    taken = set(own)
    others = {row[0] for row in rows if row not in taken}
    parameters = {
        "variant": value,
        "variant_models": [row[0] for row in own],
        "variant_deployments": [row[1] for row in own],
        "variant_sets": [row[2] for row in own],
        # A score that names no deployment is of the variant where its model is of no other.
        "own_models": sorted({row[0] for row in own} - others),
    }
    keys = "unnest(%(variant_models)s::text[], %(variant_deployments)s::text[], %(variant_sets)s::bigint[])"
    scores = "d.variant = %(variant)s AND d.variant <> ''"
    if dimension == "quantization":
        scores = f"({scores} OR (d.variant = '' AND d.model = ANY(%(own_models)s)))"
    return Choice(
        value,
        f"(d.model, d.deployment, d.attribute_set_id) IN (SELECT * FROM {keys})",
        f"(f.model, f.deployment, d.attribute_set_id) IN (SELECT * FROM {keys})",
        scores,
        parameters,
    )


def _value(dimension: str, model: str, deployment: str, tags: str) -> str:
    if dimension == "model":
        return model
    if dimension == "deployment":
        return deployment
    told = tag(tags, TAGS[dimension]) if tags else ""
    return told or (quantization(model, deployment) if dimension == "quantization" else "")


def _tags(ids: set[int]) -> dict[int, str]:
    sql = "SELECT id, attributes->>'tags' FROM ingest_attributeset WHERE id = ANY(%(ids)s) AND attributes ? 'tags'"
    return dict(fetch(sql, {"ids": sorted(ids)}))


def _rows(scope: SpendScope, choice: Choice, dimension: str) -> VariantRows:
    timing = usage(scope, table="ingest_latencyday")
    timing.parameters |= choice.parameters
    timed = durations(timing, [], extra=f"AND {choice.on_usage}")
    days, prices, is_conservative = _days(scope, choice)
    return VariantRows(
        value=choice.value,
        days=days,
        durations=timed.get((), Durations([], [])),
        features=_features(scope, choice),
        prices=prices,
        is_conservative=is_conservative,
        scores=[
            Score(*row) for row in scores_of(scope=scope, condition=choice.on_scores, parameters=choice.parameters)
        ],
        figures=_figures(scope, choice.value, dimension),
    )


def _days(scope: SpendScope, choice: Choice) -> tuple[list[VariantDay], int, bool]:
    summed = " + ".join(f"d.{kind}" for kind in COUNTED)
    counting = usage(scope)
    counting.parameters |= choice.parameters
    where = f"{counting.source()} AND d.is_current AND {choice.on_usage}"
    sql = f"""SELECT d.day, sum(d.requests)::bigint, sum(d.errors)::bigint, sum({summed})::bigint,
        coalesce(sum({summed}) FILTER (WHERE d.requests = 0), 0)::bigint {where} GROUP BY 1 ORDER BY 1"""
    counted = fetch(sql, counting.parameters)
    sql = f"""SELECT coalesce(max(n), 0), coalesce(bool_or(c), FALSE) FROM (SELECT count(DISTINCT d.price_id) AS n,
        bool_or((SELECT p.is_conservative FROM ingest_unitprice p WHERE p.id = d.price_id)) AS c {where}
        GROUP BY d.offering_id) x"""
    ((prices, is_conservative),) = fetch(sql, counting.parameters)
    spending = books(scope)
    spending.parameters |= choice.parameters
    sql = f"""SELECT d.day, sum({spending.cost}), coalesce(sum({spending.cost}) FILTER (WHERE d.basis = 'estimated'), 0)
        {spending.source()} AND d.is_current AND {USED} AND {choice.on_books} GROUP BY 1"""
    costs = {day: (cost, estimated) for day, cost, estimated in fetch(sql, spending.parameters)}
    nothing = (Decimal(0), Decimal(0))
    days = [
        VariantDay(day, requests, errors, tokens, uncounted, *costs.get(day, nothing))
        for day, requests, errors, tokens, uncounted in counted
    ]
    return days, prices, is_conservative


def _features(scope: SpendScope, choice: Choice) -> dict[str, int]:
    scoped = usage(scope, ["feature"])
    scoped.parameters |= choice.parameters
    sql = f"""SELECT {scoped.keys()[0]}, sum(d.requests)::bigint {scoped.source()}
        AND d.is_current AND {choice.on_usage} GROUP BY 1"""
    return dict(fetch(sql, scoped.parameters))


def _figures(scope: SpendScope, value: str, dimension: str) -> list[Figure]:
    """Figures of single days whose attributes name the variant."""
    if not value:
        return []
    scoped = Scoped(scope, table=FIGURES, expressions=EXPRESSIONS, dimensions=("team", "feature"))
    sql = f"""SELECT d.name, d.unit, d.day, d.value, d.tags {scoped.source()} AND d.tags <> ''
        AND d.period_start = date_trunc('day', d.period_start, 'UTC')
        AND d.period_end = d.period_start + interval '1 day' ORDER BY 1, 2, 3"""
    rows = fetch(sql, scoped.parameters)
    return [Figure(*row[:4]) for row in rows if tag(row[4], TAGS[dimension]) == value]
