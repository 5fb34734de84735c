"""Variants side by side: models, deployments, quantizations, prompt versions, with intervals."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse

from attribution import queries, variants
from attribution.intervals import Estimate
from attribution.variants import Difference, Variant
from costobs.kernel import fmt
from costobs.kernel.scope import SpendScope
from costobs.web import csv_file, filters, unit_compare_tables
from costobs.web.page import page as page_view
from costobs.web.parts import Link, Notice
from costobs.web.unit_compare_tables import LETTERS

_LABELS = {
    "model": "Model",
    "deployment": "Deployment",
    "quantization": "Quantization",
    "prompt_version": "Prompt version",
}


@page_view
def page(request: HttpRequest) -> HttpResponse:
    asked = filters.read(request, groups=())
    dimension, feature, scope = _question(request, asked)
    listed = variants.values(scope=scope, dimension=dimension)
    chosen = _chosen(request, listed)
    context: dict[str, Any] = {
        "page": "unit_costs",
        "scope": asked.bar,
        "dimensions": [(key, label, key == dimension) for key, label in _LABELS.items()],
        "features": [("", "All features", not feature)]
        + [(name, name, name == feature) for name, _ in _features(asked) if name],
        "selects": _selects(listed, chosen, asked.scope.currency),
        "hidden": [
            (name, value)
            for name in ("preset", "from", "to", "basis", "cmp", "f")
            for value in request.GET.getlist(name)
        ],
        "sub": f"{_LABELS[dimension]}, {asked.bar.label}, complete days; intervals hold the true value 95 times in 100.",
    }
    if len(chosen) < 2:
        return render(request, "pages/unit_compare.html", context | _nothing(request, dimension, listed))
    found = variants.compare(scope=scope, dimension=dimension, values=chosen)
    context |= {
        "heading": unit_compare_tables.sentence(found, found.differences[0], 1, is_title=True),
        "actions": [Link("Export CSV", f"{reverse('unit_compare_export')}?{asked.query}", icon="download")],
        "warnings": found.warnings,
        "sentences": [
            unit_compare_tables.sentence(found, one, at) for at, one in enumerate(found.differences, start=1)
        ],
        "table": unit_compare_tables.side_by_side(found, asked.scope.currency),
        "differences": unit_compare_tables.differences(found),
    }
    return render(request, "pages/unit_compare.html", context)


@page_view
def export(request: HttpRequest) -> HttpResponse:
    """One line for each variant and measure, with every digit of the estimate and its interval."""
    asked = filters.read(request, groups=())
    dimension, _, scope = _question(request, asked)
    chosen = _chosen(request, variants.values(scope=scope, dimension=dimension))
    rows: list[tuple[csv_file.Value, ...]] = []
    if len(chosen) >= 2:
        found = variants.compare(scope=scope, dimension=dimension, values=chosen)
        where = (scope.days.start, scope.days.last, scope.currency, scope.cost)
        for one in found.variants:
            rows += [(*where, one.value, *line) for line in _measures(one)]
        for one, change in zip(found.variants[1:], found.differences, strict=True):
            named = [(name, getattr(change, name)) for name in Difference.__slots__]
            rows += [
                (*where, one.value, f"{name}_against_{found.variants[0].value or 'unnamed'}", *_three(value))
                for name, value in named
            ]
    columns = ["from", "to", "currency", "cost_column", dimension, "measure", "value", "low", "high"]
    return csv_file.response(name=f"variants-by-{dimension}-{scope.days.start}.csv", columns=columns, rows=rows)


def _question(request: HttpRequest, asked: filters.Asked) -> tuple[str, str, SpendScope]:
    dimension = request.GET.get("dim", "model")
    feature = request.GET.get("feature", "")
    scope = asked.complete.where("feature", feature) if feature else asked.complete
    return dimension, feature, scope


def _features(asked: filters.Asked) -> list[tuple[str, Decimal]]:
    return queries.dimension_values(scope=asked.scope, dimension="feature", limit=50)


def _chosen(request: HttpRequest, listed: Sequence[tuple[str, Decimal]]) -> list[str]:
    """What the address names, in its order and each once; nothing named is the two dearest."""
    known = [value for value, _ in listed]
    if not any(letter.lower() in request.GET for letter in LETTERS):
        return [value for value in known if value][:2]
    named = [request.GET.get(letter.lower(), "-") for letter in LETTERS]
    return list(dict.fromkeys(value for value in named if value in known))


def _selects(listed: Sequence[tuple[str, Decimal]], chosen: Sequence[str], currency: str) -> list[dict[str, Any]]:
    found = []
    for at, letter in enumerate(LETTERS):
        own = chosen[at] if at < len(chosen) else None
        options = [
            (value, f"{value or 'Not named'}, {fmt.money(cost, currency)}", value == own) for value, cost in listed
        ]
        found.append({"name": letter.lower(), "label": letter, "options": options, "is_empty": own is None})
    return found


def _nothing(request: HttpRequest, dimension: str, listed: Sequence[tuple[str, Decimal]]) -> dict[str, Any]:
    told = {
        "prompt_version": 'Tag calls with prompt_version (or variant), such as tags: {"prompt_version": "v7"}.',
        "quantization": "Names like llama-8b-awq say it, or the tag quantization of calls.",
    }
    heading = f"Nothing to compare by {_LABELS[dimension].lower()} in these days"
    text = told.get(dimension, "A comparison needs two of them with calls that cost something.")
    if len([value for value, _ in listed if value]) >= 2:
        heading, text = "Choose two to compare", "Each with calls in these days; up to four."
    links = [Link("Widen to 90 days", filters.url(request, preset="90d"))]
    return {"heading": heading, "notice": Notice("empty", heading, text, links)}


def _measures(one: Variant) -> list[tuple[csv_file.Value, ...]]:
    plain: list[tuple[csv_file.Value, ...]] = [
        (name, getattr(one, name), None, None) for name in ("requests", "tokens", "cost", "estimated_cost", "tokens_per_request")
    ]  # fmt: skip
    known = [
        ("cost_per_request", one.cost_per_request, one.cost_per_request_interval),
        ("cost_per_million_tokens", one.cost_per_million_tokens, one.cost_per_million_tokens_interval),
        *((f"p{permille // 10}_ms", one.p_ms[permille], one.latency[permille]) for permille in (500, 950, 990)),
        ("ttft_p95_ms", one.ttft.value if one.ttft else None, one.ttft),
        ("error_rate", one.error_rate.value if one.error_rate else None, one.error_rate),
        (f"quality_{one.quality_name}", one.quality.value if one.quality else None, one.quality),
        *((f"cost_per_{each.name}", each.cost_per_unit, each.interval) for each in one.units),
    ]
    return plain + [(name, value, *_three(interval)[1:]) for name, value, interval in known]


def _three(told: Estimate | None) -> tuple[csv_file.Value, csv_file.Value, csv_file.Value]:
    return (told.value, told.low, told.high) if told else (None, None, None)
