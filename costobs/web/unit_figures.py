"""The units people choose from, and the small sums of the unit economics page."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from attribution.queries import FineTuneLine, GpuCost, SpendTotal, UnitCost
from costobs.kernel import fmt

_HOUR_MS = Decimal(3_600_000)
_MILLION = Decimal(1_000_000)
_PLACES = Decimal("1e-12")


@dataclass(frozen=True, slots=True)
class Unit:
    """One unit: `cost` gives what `scale` of it cost, `volume` how many there were; both from one group's unit costs."""

    key: str
    tab: str
    sentence: str  # A request costs
    word: str  # request
    scale: int
    per: str  # request
    volume_label: str
    cost: Callable[[UnitCost], Decimal | None]
    volume: Callable[[UnitCost], int]

    @property
    def is_usage(self) -> bool:
        """Whether logged calls are its denominator, so that it has a day, a group and a latency."""
        return self.key not in {"fine_tune_run", "gpu_hour"}

    def text(self, value: Decimal | None, currency: str) -> str:
        """The amount for one `per`; a dash where there is nothing to divide by."""
        found = fmt.unit_cost(None if value is None else value / self.scale, self.word, currency, scale=self.scale)
        return found.amount if found else fmt.NOT_APPLICABLE


def _none(row: UnitCost) -> Decimal | None:
    return None


def _requests(row: UnitCost) -> int:
    return row.requests


UNITS = {
    unit.key: unit
    for unit in (
        Unit(
            "tokens", "1M tokens", "1M tokens cost", "token", 1_000_000, "1M tokens", "Tokens",
            lambda row: row.cost_per_million_tokens, lambda row: row.tokens,
        ),
        Unit(
            "request", "Request", "A request costs", "request", 1, "request", "Requests",
            lambda row: row.cost_per_request, _requests,
        ),
        Unit(
            "thousand_requests", "1k requests", "1k requests cost", "request", 1_000, "1k requests", "Requests",
            lambda row: row.cost_per_thousand_requests, _requests,
        ),
        Unit(
            "agent_run", "Agent run", "An agent run costs", "agent run", 1, "agent run", "Agent runs",
            lambda row: row.cost_per_agent_run, lambda row: row.agent_runs,
        ),
        Unit(
            "fine_tune_run", "Fine-tune run", "A fine-tune run costs", "fine-tune run", 1, "fine-tune run",
            "Fine-tune runs", _none, _requests,
        ),
        Unit("gpu_hour", "GPU-hour", "A GPU-hour costs", "GPU-h", 1, "GPU-hour", "GPU-hours", _none, _requests),
    )
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Part:
    """One part of where the money goes; `kind` is empty, `idle` or `other`."""

    key: str
    label: str
    cost: Decimal
    kind: str = ""


def is_unknown(run: FineTuneLine) -> bool:
    """Without a bill or GPU time there is no cost yet, which is not zero."""
    return run.is_estimated and run.cost == run.storage_cost


def per_fine_tune_run(runs: Sequence[FineTuneLine]) -> Decimal | None:
    """The mean of runs that cost something in these days."""
    paid = [run.cost for run in runs if run.cost]
    return (sum(paid, Decimal(0)) / len(paid)).quantize(_PLACES) if paid else None


def per_gpu_hour(costs: Sequence[GpuCost]) -> Decimal | None:
    """What was paid for one measured GPU-hour."""
    measured = sum((row.paid_cost - row.no_telemetry_cost for row in costs), Decimal(0))
    milliseconds = sum(row.gpu_ms for row in costs)
    return (measured * _HOUR_MS / milliseconds).quantize(_PLACES) if milliseconds else None


def parts(total: SpendTotal, row: UnitCost | None) -> list[Part]:
    """Where a dollar goes: what token kinds carry, GPU time nobody used, and the rest. The parts add to the total."""
    if row is None:
        return [Part("rest", "Not carried by tokens", total.cost, "other")]
    kinds = [
        Part("input", "Uncached input", _carried(row.cost_per_million_input, row.input_uncached)),
        Part("cached", "Cached input", _carried(row.cost_per_million_cached, row.cache_read)),
        Part("output", "Output", _carried(row.cost_per_million_output, row.output)),
    ]
    others = row.usage_cost - sum((part.cost for part in kinds), Decimal(0))
    rest = total.cost - row.usage_cost - total.idle_cost - total.overhead_cost
    found = [
        *kinds,
        Part("others", "Cache writes, audio, images", others),
        Part("overhead", "GPU busy without a request", total.overhead_cost),
        Part("rest", "Not carried by tokens", rest, "other"),
        Part("idle", "Idle GPU", total.idle_cost, "idle"),
    ]
    return [part for part in found if abs(part.cost) >= Decimal("0.000001")]


def without_usage(total: Decimal, rows: Sequence[UnitCost]) -> Decimal:
    """Spend of the scope that no group with logged usage has: fine-tune runs, idle nodes, tax, subscriptions."""
    return total - sum((row.cost for row in rows), Decimal(0))


def change_ratio(now: Decimal | None, before: Decimal | None) -> Decimal | None:
    """-0.09 when it became 9 % cheaper; None when either side is missing."""
    return None if now is None or not before else (now - before) / before


def _carried(per_million: Decimal | None, tokens: int) -> Decimal:
    return Decimal(0) if per_million is None else per_million * tokens / _MILLION
