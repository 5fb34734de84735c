"""Unit economics as CSV files: the rows of the page, with every digit and every column."""

from collections.abc import Mapping, Sequence
from decimal import Decimal

from django.http import HttpResponse

from attribution.queries import EnergyUse, FineTuneLine, TunedModel, UnitCost
from costobs.web import csv_file, filters, unit_figures

_FIELDS = (
    "cost", "usage_cost", "loaded_cost", "estimated_cost", "requests", "errors", "refused", "unknown_usage",
    "input_uncached", "cache_read", "cache_write", "output", "reasoning", "tokens", "uncounted_tokens",
    "cost_per_million_input", "cost_per_million_cached", "cost_per_million_output", "cost_per_million_tokens",
    "loaded_cost_per_million_tokens", "cost_per_request", "cost_per_thousand_requests", "agent_runs",
    "cost_per_agent_run", "tokens_per_request", "cache_hit_rate", "error_rate", "p50_ms", "p90_ms", "p95_ms",
    "p99_ms", "ttft_p50_ms", "ttft_p95_ms",
)  # fmt: skip
# Of own GPUs that are metered.
_ENERGY = {
    "energy_joules": "joules",
    "energy_wh_per_million_tokens": "wh_per_million_tokens",
    "co2e_grams": "grams",
    "co2e_grams_per_million_tokens": "grams_per_million_tokens",
}
_RUN_FIELDS = (
    "run_id", "name", "provider", "team", "base_model", "artefact", "method", "state", "started_at", "ended_at", "gpu_ms",
    "trained_tokens", "useful_cost", "idle_cost", "wasted_cost", "storage_cost", "cost", "is_estimated",
)  # fmt: skip
_MODEL_FIELDS = (
    "tries", "total_cost", "requests", "tokens", "serving_cost", "amortised_per_million", "serving_per_million",
    "full_per_million", "api_provider", "api_per_million", "break_even_tokens",
)  # fmt: skip
_WHERE = ("from", "to", "currency", "cost_column")


def by_group(
    asked: filters.Asked, rows: Sequence[UnitCost], total: Decimal, energy: Sequence[EnergyUse]
) -> HttpResponse:
    """One line for each group; what no usage explains is the last, so that the costs add to the scope's total."""
    used = {row.keys: row for row in energy}
    lines = [
        (
            row.keys[0],
            *_where(asked),
            *(getattr(row, name) for name in _FIELDS),
            *(getattr(used.get(row.keys), name, None) for name in _ENERGY.values()),
        )
        for row in rows
    ]
    rest = unit_figures.without_usage(total, rows)
    if rest:
        lines.append(("(without logged usage)", *_where(asked), rest, *[None] * (len(_FIELDS) + len(_ENERGY) - 1)))
    name = f"unit-costs-by-{asked.group}-{asked.scope.days.start}-{asked.scope.days.last}.csv"
    return csv_file.response(name=name, columns=[asked.group, *_WHERE, *_FIELDS, *_ENERGY], rows=lines)


def fine_tune_runs(
    asked: filters.Asked, runs: Sequence[FineTuneLine], models: Mapping[int, TunedModel]
) -> HttpResponse:
    """One line for each run; costs are empty where no bill and no GPU time tells them yet. Of a run that made a model, what it
    took to get it and what it has served since, over its whole life."""
    lines = [
        (*_where(asked), *(_told(run, name) for name in _RUN_FIELDS), *_served(models.get(run.id))) for run in runs
    ]
    name = f"fine-tune-runs-{asked.scope.days.start}-{asked.scope.days.last}.csv"
    return csv_file.response(name=name, columns=[*_WHERE, *_RUN_FIELDS, *_MODEL_FIELDS], rows=lines)


def _served(model: TunedModel | None) -> list[csv_file.Value]:
    if model is None:
        return [None] * len(_MODEL_FIELDS)
    return [len(model.attempts), *(getattr(model, name) for name in _MODEL_FIELDS[1:])]


def _told(run: FineTuneLine, name: str) -> csv_file.Value:
    if (name.endswith("_cost") or name == "cost") and name != "storage_cost":
        return None if unit_figures.is_unknown(run) else getattr(run, name)
    found: csv_file.Value = getattr(run, name)
    return found


def _where(asked: filters.Asked) -> tuple[csv_file.Value, ...]:
    return asked.scope.days.start, asked.scope.days.last, asked.scope.currency, asked.scope.cost
