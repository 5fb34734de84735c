"""The arithmetic of the GPU page: sums of what was paid, activity by node, and the grid of the heat map."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal

from attribution.queries import GpuCost, GpuHourCell, GpuNodeCost
from costobs.kernel.period import Days

_MILLION = Decimal(1_000_000)
_PLACES = Decimal("1e-12")


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of money paid for GPUs; `busy + idle + no_telemetry` is `paid`, exactly."""

    paid: Decimal
    used: Decimal
    overhead: Decimal
    fine_tuned: Decimal
    idle_workload: Decimal
    idle_infrastructure: Decimal
    no_telemetry: Decimal

    @property
    def busy(self) -> Decimal:
        return self.used + self.overhead + self.fine_tuned

    @property
    def idle(self) -> Decimal:
        return self.idle_workload + self.idle_infrastructure

    @property
    def idle_ratio(self) -> Decimal | None:
        return self.idle / self.paid if self.paid else None


@dataclass(frozen=True, slots=True)
class Activity:
    """What the samples of one node or deployment say."""

    gpus: int
    models: tuple[str, ...]
    covered_ms: int
    busy_ms: Decimal
    last_busy: datetime | None  # start of the newest hour with any activity

    @property
    def ratio(self) -> Decimal | None:
        return self.busy_ms / self.covered_ms if self.covered_ms else None


@dataclass(frozen=True, slots=True)
class Grid:
    """The heat map: rows by hours, in percent; None where nothing was measured."""

    rows: tuple[str, ...]
    at: tuple[datetime, ...]
    values: tuple[tuple[Decimal | None, ...], ...]
    sources: tuple[str, ...]
    left_out: int  # rows that did not fit


NOTHING = Fate(*(Decimal(0),) * 7)


def fate(row: GpuCost | GpuNodeCost) -> Fate:
    """One row's money."""
    return Fate(
        row.paid_cost,
        row.used_cost,
        row.overhead_cost,
        row.fine_tuned_cost,
        row.idle_workload_cost,
        row.idle_infrastructure_cost,
        row.no_telemetry_cost,
    )


def total(rows: Iterable[GpuCost | GpuNodeCost]) -> Fate:
    """The sum of rows."""
    return add(fate(row) for row in rows)


def add(parts: Iterable[Fate]) -> Fate:
    """The sum of parts."""
    found = NOTHING
    for one in parts:
        found = Fate(
            found.paid + one.paid,
            found.used + one.used,
            found.overhead + one.overhead,
            found.fine_tuned + one.fine_tuned,
            found.idle_workload + one.idle_workload,
            found.idle_infrastructure + one.idle_infrastructure,
            found.no_telemetry + one.no_telemetry,
        )
    return found


def bought_as(rows: Iterable[Iterable[tuple[str, Decimal]]]) -> list[tuple[str, Decimal]]:
    """Purchase options of several rows added up, the largest first."""
    found: dict[str, Decimal] = {}
    for option, cost in itertools.chain.from_iterable(rows):
        found[option] = found.get(option, Decimal(0)) + cost
    return sorted(found.items(), key=lambda one: (-one[1], one[0]))


def per_million_tokens(rows: Sequence[GpuCost], *, loaded: bool = False) -> Decimal | None:
    """Busy time of deployments over their tokens; `loaded` adds their idle time and overhead. None without tokens."""
    served = [row for row in rows if row.tokens]
    tokens = sum(row.tokens for row in served)
    cost = sum(
        (row.used_cost + (row.overhead_cost + row.idle_workload_cost if loaded else Decimal(0)) for row in served),
        Decimal(0),
    )
    return (cost * _MILLION / tokens).quantize(_PLACES) if tokens else None


def activity(cells: Iterable[GpuHourCell], *, by: str) -> Mapping[str, Activity]:
    """Samples folded by `node` or `deployment`."""
    found: dict[str, list[GpuHourCell]] = {}
    for cell in cells:
        found.setdefault(cell.node if by == "node" else cell.deployment, []).append(cell)
    return {name: _activity(one) for name, one in found.items()}


def week(days: Days, today: date) -> Days:
    """The last seven days of a period, none of them in the future."""
    known = days.until(today + timedelta(days=1))
    return Days(max(known.start, known.end - timedelta(days=7)), known.end)


def grid(cells: Sequence[GpuHourCell], *, days: Days, now: datetime, most: int) -> Grid:
    """Every GPU by every full hour of `days` so far; with more than `most` GPUs, the least busy ones."""
    at = [days.start_at + timedelta(hours=hour) for hour in range(len(days) * 24)]
    at = [hour for hour in at if hour + timedelta(hours=1) <= now]
    seen: dict[str, dict[datetime, Decimal | None]] = {}
    for cell in cells:
        value = None if cell.busy_permille is None else Decimal(cell.busy_permille) / 10
        seen.setdefault(f"{cell.node} · {cell.gpu}", {})[cell.hour] = value
    kept = sorted(sorted(seen, key=lambda row: (mean(seen[row].values()) or Decimal(0), row))[:most])
    return Grid(
        rows=tuple(kept),
        at=tuple(at),
        values=tuple(tuple(seen[row].get(hour) for hour in at) for row in kept),
        sources=tuple(sorted({cell.activity_source for cell in cells if cell.activity_source})),
        left_out=len(seen) - len(kept),
    )


def mean(values: Iterable[Decimal | None]) -> Decimal | None:
    """Of what is known; None when nothing is."""
    known = [value for value in values if value is not None]
    return sum(known, Decimal(0)) / len(known) if known else None


def _activity(cells: Sequence[GpuHourCell]) -> Activity:
    measured = [cell for cell in cells if cell.busy_permille is not None]
    return Activity(
        gpus=len({(cell.node, cell.gpu) for cell in cells}),
        models=tuple(sorted({cell.gpu_model for cell in cells if cell.gpu_model})),
        covered_ms=sum(cell.covered_ms for cell in measured),
        busy_ms=sum((Decimal(cell.busy_permille or 0) * cell.covered_ms / 1000 for cell in measured), Decimal(0)),
        last_busy=max((cell.hour for cell in measured if cell.busy_permille), default=None),
    )
