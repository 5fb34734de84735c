"""What a review pack says: pure functions from figures to sections and to the notice that carries them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from alerts import wording
from alerts.anomaly_lines import AnomalyLine
from alerts.rows import BudgetLine, Button, Notice, PeriodVariance, RunLine, Section
from attribution.queries import Comparison, GpuCost, Mover, SpendTotal, UnitCost
from costobs.kernel import fmt
from costobs.kernel.period import Days

NAMES = {"finance": "Finance review", "engineering": "Engineering review"}
_EACH_WAY = 3
_BUDGETS = 8
_UNITS = 6
_NO_OWNER = "nobody (unallocated)"


@dataclass(frozen=True, slots=True)
class Plan:
    """One budget in the pack: its period, and what moved in it most."""

    line: BudgetLine
    period: PeriodVariance
    reason: str


@dataclass(frozen=True, slots=True)
class Frame:
    """What every pack is about."""

    audience: str
    kind: str  # week, month, quarter
    days: Days
    before: Days
    currency: str
    teams: tuple[str, ...] | None
    complete_through: datetime | None


def notice(frame: Frame, total: SpendTotal, before: SpendTotal, sections: Sequence[Section], over: int) -> Notice:
    """The pack: its first line alone says spend, change, and how many budgets end over."""
    name = pack_name(frame.kind, frame.days)
    spent = fmt.money(total.cost, frame.currency)
    earlier = (
        pack_name(frame.kind, frame.before).lower() if frame.kind == "week" else pack_name(frame.kind, frame.before)
    )
    change = f"{fmt.change_percent(total.cost, before.cost)} on {earlier}"
    whose = "" if frame.teams is None else f" of {', '.join(frame.teams)}"
    ends = "No budget is over." if over == 0 else f"{over} budget{'s are' if over > 1 else ' is'} over or will be."
    state = (
        "" if not total.estimated_cost else f" {fmt.money(total.estimated_cost, frame.currency)} of it is estimated."
    )
    fresh = f"Complete to {fmt.moment(frame.complete_through)}" if frame.complete_through else "How complete is unknown"
    return Notice(
        about=NAMES[frame.audience],
        first_line=f"{name}{whose}: {spent} ({change}). {ends}",
        header=f"{NAMES[frame.audience]}: {name}",
        lead=f"{spent} spent in {fmt.period(frame.days.start, frame.days.end)}{whose}, {change}.{state}",
        facts=(),
        steps=(),
        consequence=ends,
        buttons=(
            Button(f"Open {frame.kind}", _explore(frame), "primary"),
            Button("Budgets", "/budgets/"),
        ),
        footer=f"{fresh} · Effective cost in {frame.currency}, UTC days",
        tone="watch" if over else "ok",
        sections=tuple(sections),
    )


def plan(found: Sequence[Plan], currency: str) -> Section:
    """Budget, actual, forecast, variance and its reason: the worst first."""
    rows = []
    for one in found[:_BUDGETS]:
        line, period = one.line, one.period
        ends = period.forecast_cost if period.forecast_cost is not None else period.actual_cost
        rows.append(
            (
                f"{line.name}, {period.label}",
                fmt.money(period.amount, line.currency),
                fmt.money(period.actual_cost, line.currency),
                fmt.NOT_APPLICABLE if period.forecast_cost is None else fmt.money(period.forecast_cost, line.currency),
                fmt.variance(ends, period.amount, line.currency),
                one.reason or fmt.NOT_APPLICABLE,
            )
        )
    over = sum(1 for one in found if one.period.variance_cost > 0)
    lead = f"{over} of {len(found)} budgets end over." if found else "No budget is set up."
    note = f"and {len(found) - _BUDGETS} more on the page of budgets" if len(found) > _BUDGETS else ""
    columns = ("Budget", "budget", "actual", "forecast", "variance", "moved most")
    return Section("Budget, actual, forecast", lead, columns if rows else (), tuple(rows), note)


def moved(title: str, found: Sequence[Mover], why: Mapping[str, str], currency: str) -> Section:
    """The largest changes up and down, with what moved them."""
    up = [one for one in found if one.change > 0][:_EACH_WAY]
    down = [one for one in found if one.change < 0][:_EACH_WAY]
    rows = tuple(
        (
            one.key or _NO_OWNER,
            fmt.money(one.change, currency, signed=True),
            fmt.money(one.cost, currency),
            why.get(one.key, ""),
        )
        for one in (*up, *down)
    )
    lead = "" if rows else "Nothing moved."
    return Section(title, lead, ("Name", "change", "now", "because") if rows else (), rows)


def why_moved(now: UnitCost | None, before: UnitCost | None) -> str:
    """`volume +214 %, price per token −1 %`: in words of tokens; "" where neither is known."""
    if now is None or before is None or not now.tokens or not before.tokens:
        return ""
    volume = fmt.change_percent(Decimal(now.tokens), Decimal(before.tokens), places=0)
    one, other = now.cost_per_million_tokens, before.cost_per_million_tokens
    if one is None or other is None or not other:
        return f"volume {volume}"
    return f"volume {volume}, price per token {fmt.change_percent(one, other, places=0)}"


def unallocated(total: SpendTotal, before: SpendTotal, currency: str) -> Section:
    """What nobody owns."""
    share = fmt.percent(total.unallocated_cost / total.cost) if total.cost else fmt.percent(Decimal(0))
    change = fmt.money(total.unallocated_cost - before.unallocated_cost, currency, signed=True)
    lead = f"{fmt.money(total.unallocated_cost, currency)} ({share}) is owned by nobody, {change} on the period before."
    parts = (
        ("Direct", total.direct_cost),
        ("Shared by rule", total.shared_cost),
        ("Idle", total.idle_cost),
        ("Overhead", total.overhead_cost),
        ("Unallocated", total.unallocated_cost),
    )
    rows = tuple((name, fmt.money(cost, currency)) for name, cost in parts)
    return Section("Unallocated", lead, ("Share", "amount"), rows)


def reconciliation(found: Comparison, currency: str) -> Section:
    """Estimates against bills."""
    if not found.providers:
        return Section("Reconciliation", "No bill of this time has been compared with estimates yet.")
    rows = tuple(
        (
            one.provider,
            fmt.money(one.estimated_cost, currency),
            fmt.money(one.billed_cost, currency),
            fmt.money(one.drift_cost, currency, signed=True),
            "passed" if one.is_over else "kept",
        )
        for one in found.providers
    )
    apart = fmt.money(found.difference, currency, signed=True)
    unknown = fmt.money(found.unknown_cost, currency)
    lead = f"Bills are {apart} from estimates; {unknown} of the differences has no known cause."
    return Section("Reconciliation", lead, ("Provider", "estimated", "billed", "apart", "threshold"), rows)


def month_close(months: Sequence[tuple[date, str, Sequence[str]]]) -> Section:
    """How far the months are, and what is left before each may close."""
    rows = tuple((fmt.month(month), state, "; ".join(left) or "nothing") for month, state, left in months)
    return Section("Month close", "", ("Month", "state", "left"), rows)


def units(found: Sequence[UnitCost], before: Mapping[str, UnitCost], currency: str) -> Section:
    """Unit costs of the dearest models, with their change."""
    rows = []
    for one in [row for row in found if row.cost_per_million_tokens is not None][:_UNITS]:
        was = before.get(one.keys[0])
        change = fmt.unit_delta(
            one.cost_per_million_tokens, was.cost_per_million_tokens if was else None, "million tokens", currency
        )
        rows.append(
            (
                one.keys[0] or "unknown",
                fmt.unit_price(one.cost_per_million_tokens, currency).replace(" / 1M", ""),
                change.percent if change else "new",
                _request(one, currency),
            )
        )
    lead = "" if rows else "No logged tokens carry a cost."
    columns = ("Model", "per 1M tokens", "change", "per 1,000 requests")
    return Section("Unit costs", lead, columns if rows else (), tuple(rows))


def waste(gpus: Sequence[GpuCost], total: SpendTotal, currency: str) -> Section:
    """Paid and not used: idle GPUs, and what nobody owns."""
    rows = []
    for one in sorted(gpus, key=lambda row: -(row.idle_workload_cost + row.idle_infrastructure_cost)):
        idle = one.idle_workload_cost + one.idle_infrastructure_cost
        if idle:
            share = fmt.percent(idle / one.paid_cost) if one.paid_cost else ""
            rows.append((one.deployment or "nothing loaded", fmt.money(idle, currency), share))
    lead = f"{fmt.money(total.idle_cost, currency)} paid and idle; {fmt.money(total.unallocated_cost, currency)} owned by nobody."
    return Section(
        "Idle and unallocated", lead, ("Deployment", "idle", "share of its cost") if rows else (), tuple(rows[:_UNITS])
    )


def at_risk(lines: Sequence[BudgetLine], waiting: Sequence[RunLine]) -> Section:
    """Budgets that are over, throttled or heading there, and approvals that wait."""
    rows = [
        (
            line.name,
            line.state_words,
            fmt.percent(line.used_ratio),
            line.next_step.text + wording.about(line.next_step.on) if line.next_step else "",
        )
        for line in lines
        if line.is_active
        and (line.state in {"watch", "throttled", "over", "stopped", "unknown"} or line.is_forecast_over)
    ]
    rows += [(run.budget_name, "waits for approval", "", run.words) for run in waiting]
    lead = "" if rows else "No budget is at risk, and nothing waits for approval."
    return Section("Budgets at risk", lead, ("Budget", "state", "used", "next") if rows else (), tuple(rows))


def anomalies(found: Sequence[AnomalyLine]) -> Section:
    """What cost more than expected, told before or too small for that; the dearest first."""
    dearest = sorted(found, key=lambda line: -line.impact_cost)
    rows = tuple(
        (
            line.scope_words,
            fmt.money(line.impact_cost, line.currency),
            fmt.moment(line.started_at),
            "open" if line.is_open else line.outcome_words.lower(),
            line.driver_words,
        )
        for line in dearest[:_UNITS]
    )
    lead = (
        "Nothing cost more than expected."
        if not found
        else f"{len(found)} found, among them those below the alert's minimum."
    )
    return Section("Anomalies", lead, ("Where", "above expected", "since", "state", "mostly") if rows else (), rows)


def pack_name(kind: str, days: Days) -> str:
    """`Week 47`, `November 2026`, `Q4 2026`."""
    match kind:
        case "week":
            return f"Week {days.start.isocalendar().week}"
        case "quarter":
            return f"Q{(days.start.month - 1) // 3 + 1} {days.start.year}"
    return f"{days.start:%B %Y}"


def _request(one: UnitCost, currency: str) -> str:
    if one.cost_per_request is None:
        return fmt.UNKNOWN
    return str(fmt.unit_cost(one.cost_per_request, "request", currency, scale=1_000)).partition(" / ")[0]


def _explore(frame: Frame) -> str:
    teams = "" if frame.teams is None else f"&f=team:{'|'.join(frame.teams)}"
    return f"/explore/?preset=custom&from={frame.days.start}&to={frame.days.last}&currency={frame.currency}{teams}"
