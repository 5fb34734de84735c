"""What pages, API and commands may ask about budgets, their ladder and what it did."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from django.db.models import Count, Prefetch, Q, QuerySet

from alerts import blend, brakes, curves, history, ladder, lines, spans, tree
from alerts.models import ActionRun, Budget, BudgetState, DriftItem, Gate, GateKey, Rung
from alerts.rows import (
    BlendPart,
    BudgetDetail,
    BudgetLine,
    BudgetTerms,
    BurnDay,
    Counts,
    Family,
    GateLine,
    KeyLine,
    NextStep,
    Overlap,
    PeriodVariance,
    Relative,
    RungRow,
    RunLine,
)
from costobs.kernel import money
from costobs.kernel.period import Days
from costobs.kernel.scope import SpendScope

__all__ = [
    "BlendPart",
    "BudgetDetail",
    "BudgetLine",
    "BudgetTerms",
    "BurnDay",
    "Counts",
    "Family",
    "GateLine",
    "KeyLine",
    "NextStep",
    "Overlap",
    "PeriodVariance",
    "Relative",
    "RunLine",
    "RungRow",
]
Teams = Sequence[str] | None
_PERIODS_SHOWN = 6


class NotFound(LookupError):
    """There is no such budget or action, or the viewer may not see it."""


def budgets(*, now: datetime, teams: Teams, with_inactive: bool = False) -> list[BudgetLine]:
    """The budgets the viewer may see, in their current period: worst variance first, then most used.

    A viewer bound to teams sees the budgets whose scope names only those teams.
    """
    rows = _budget_rows().filter(*([] if with_inactive else [Q(is_active=True)]))
    shown = [row for row in rows if may_see(row, teams)]
    states = _states(shown, now)
    pause = brakes.pause(now=now)
    found = [lines.budget_line(row, states.get(row.pk), now, pause) for row in shown]
    return sorted(found, key=lambda line: (-(line.variance_percent or -100), -(line.used_percent or 0), line.name))


def budget(*, id: int, now: datetime, teams: Teams) -> BudgetDetail:  # noqa: A002 - the name of the URL's argument
    """One budget with its ladder, burn-up, history and what would be affected. Raises NotFound."""
    row = _budget_rows().filter(pk=id).first()
    if row is None or not may_see(row, teams):
        raise NotFound(f"there is no budget {id}")
    seen = [one for one in Budget.objects.order_by("name") if may_see(one, teams) and one.is_sample == row.is_sample]
    states = _states([row, *seen], now)
    line = lines.budget_line(row, states.get(row.pk), now, brakes.pause(now=now))
    window = history.window(row, now)
    burn = history.burn_up(row, window, now)
    so_far = burn[-1].cumulative_cost if burn else Decimal(0)
    curve = _curve(line, burn, now)
    runs = list(
        ActionRun.objects.filter(budget=row)
        .select_related("rung", "budget")
        .prefetch_related("approvals")
        .order_by("-id")[:200]
    )
    return BudgetDetail(
        line=line,
        rungs=tuple(lines.rung_row(rung, line, runs, now, curve) for rung in lines.rungs_of(row)),
        burn_up=burn,
        not_final_from=next((day.day for day in burn if not day.is_final), None),
        periods=history.periods(row, line, so_far, now),
        keys=tuple(keys_of(row)),
        gates=tuple(gate for gate in gates(now=now) if gate.is_sample == row.is_sample),
        runs=tuple(lines.run_line(run) for run in runs),
        family=tree.family(row, states, seen, line.base_amount),
        overlaps=tree.overlaps(row, [one.pk for one in seen], window),
        blend=blend.parts(window, converted_cost=line.converted_cost),
        ahead=lines.ahead(curve) if curve else None,
    )


def budget_line(*, budget_id: int, now: datetime) -> BudgetLine:
    """One budget in its current period, for the steps that write about it. Raises NotFound."""
    row = _budget_rows().filter(pk=budget_id).first()
    if row is None:
        raise NotFound(f"there is no budget {budget_id}")
    return lines.budget_line(row, _states([row], now).get(row.pk), now, brakes.pause(now=now))


def periods_during(*, lines: Sequence[BudgetLine], days: Days, now: datetime) -> dict[int, PeriodVariance]:
    """Each of these budgets, which the viewer sees, in its own period of exactly these days, else in its current one."""
    return history.during(lines, days, now)


def waiting_actions(*, teams: Teams) -> list[RunLine]:
    """Actions that wait for somebody, oldest first."""
    return _run_lines(teams, Q(state="waiting_approval"), "asked_at")


def actions_in_force(*, teams: Teams) -> list[RunLine]:
    """Actions that are in force, or about to be, newest first; failed ones of open periods come with them."""
    return _run_lines(teams, Q(state__in=ladder.APPLYING) | Q(state="failed", ended_at=None), "-id")


def action(*, id: int, teams: Teams) -> RunLine:  # noqa: A002 - the name of the URL's argument
    """One action. Raises NotFound."""
    found = _run_lines(teams, Q(pk=id), "id")
    if not found:
        raise NotFound(f"there is no action {id}")
    return found[0]


def action_log(*, teams: Teams, budget_id: int | None = None, limit: int = 100) -> list[RunLine]:
    """Everything the ladders did, newest first."""
    return _run_lines(teams, Q() if budget_id is None else Q(budget_id=budget_id), "-id", limit)


def client_keys(*, with_revoked: bool = False) -> list[KeyLine]:
    """The client keys of the gates, by team and name."""
    rows = GateKey.objects.filter(*([] if with_revoked else [Q(revoked_at=None)])).order_by("team", "name", "pk")
    return [
        KeyLine(
            id=row.pk,
            key_id=row.key_id,
            name=row.name,
            team=row.team,
            features=None if row.features is None else tuple(row.features),
            models=None if row.models_allowed is None else tuple(row.models_allowed),
            created_at=row.created_at,
            revoked_at=row.revoked_at,
            is_sample=row.is_sample,
        )
        for row in rows
    ]


def gates(*, now: datetime) -> list[GateLine]:
    """The gates by name."""
    live = now - timedelta(minutes=1)
    rows = Gate.objects.annotate(live=Count("processes", filter=Q(processes__last_seen_at__gt=live))).order_by("name")
    return [
        GateLine(
            id=row.pk,
            name=row.name,
            provider=row.provider,
            deployment=row.deployment,
            source_id=row.source_id,
            last_seen_at=row.last_seen_at,
            seen_policy_version=row.seen_policy_version,
            processes=row.live,
            is_live=row.live > 0,
            is_sample=row.is_sample,
        )
        for row in rows
    ]


def attention_count(*, teams: Teams) -> int:
    """Budgets that are not on track, and actions that wait: the number in the navigation."""
    return counts(teams=teams).attention


def drifting_count() -> int:
    """Providers with a month whose estimates are too far from the bills: the number in the navigation."""
    return DriftItem.objects.filter(closed_at=None).values("provider").distinct().count()


def counts(*, teams: Teams) -> Counts:
    """Budgets by the state of their newest evaluation, and actions that wait, hold or failed."""
    newest = BudgetState.objects.order_by("budget_id", "-period_start").distinct("budget_id")
    by_state: dict[str, int] = {}
    for row in newest.select_related("budget"):
        if row.budget.is_active and may_see(row.budget, teams):
            by_state[row.state] = by_state.get(row.state, 0) + 1
    open_runs = ActionRun.objects.filter(Q(state__in=ladder.OPEN) | Q(state="failed", ended_at=None))
    states = [run.state for run in open_runs.select_related("budget") if may_see(run.budget, teams)]
    waiting = states.count("waiting_approval")
    return Counts(
        attention=sum(by_state.get(state, 0) for state in ladder.ATTENTION) + waiting,
        waiting=waiting,
        in_force=states.count("in_force") + states.count("running"),
        failed=states.count("failed"),
        by_state=by_state,
    )


def keys_of(row: Budget) -> list[KeyLine]:
    """The client keys whose requests can fall into the budget."""
    return [key for key in client_keys() if key.is_sample == row.is_sample and _key_in(key, row)]


def spend_scope(row: Budget, days: Days) -> SpendScope:
    """The budget's question to the books: the same one that a page with these filters asks."""
    return history.spend_scope(row, days)


def _budget_rows() -> QuerySet[Budget]:
    open_runs = ActionRun.objects.filter(Q(state__in=ladder.OPEN) | Q(state="failed", ended_at=None))
    return Budget.objects.prefetch_related(
        Prefetch("rungs", _active_rungs(), to_attr=lines.RUNGS),
        Prefetch(
            "actionrun_set", open_runs.select_related("rung").prefetch_related("approvals"), to_attr=lines.OPEN_RUNS
        ),
    ).order_by("name")


def _active_rungs() -> QuerySet[Rung]:
    return Rung.objects.filter(is_active=True).select_related("measured").order_by("percent", "pk")


def may_see(row: Budget, teams: Teams) -> bool:
    """Whether a viewer bound to these teams may see the budget: its scope names only them."""
    if teams is None:
        return True
    named = row.scope.get("team", [])
    return bool(named) and set(named) <= set(teams)


def _states(rows: Sequence[Budget], now: datetime) -> dict[int, BudgetState]:
    """The evaluation of the current period by budget."""
    starts = {row.pk: spans.current(row, now).key_date for row in rows}
    found = BudgetState.objects.filter(budget_id__in=starts, period_start__in=set(starts.values()))
    return {state.budget_id: state for state in found if state.period_start == starts[state.budget_id]}


def _run_lines(teams: Teams, chosen: Q, order: str, limit: int | None = None) -> list[RunLine]:
    rows = (
        ActionRun.objects.filter(chosen).select_related("rung", "budget").prefetch_related("approvals").order_by(order)
    )
    if teams is not None:
        rows = rows.filter(budget__scope__has_key="team")
    found = [
        lines.run_line(run)
        for run in rows[: None if limit is None or teams is not None else limit]
        if may_see(run.budget, teams)
    ]
    return found[:limit]


def _curve(line: BudgetLine, burn: Sequence[BurnDay], now: datetime) -> curves.Curve | None:
    """The curve that the evaluation took its forecast from; none where it took the naive pace."""
    found = curves.newest(starts={line.id: line.key_date}, now=now).get(line.id)
    if found is None or line.spend_cost is None:
        return None
    adjusted = money.total(day.adjusted_cost for day in burn)
    return found.at(today=line.today, spent_cost=line.spend_cost, adjusted_cost=adjusted)


def _key_in(key: KeyLine, row: Budget) -> bool:
    """Whether a request with this key can fall into the budget."""
    teams, named, features, models = (row.scope.get(name) for name in ("team", "key", "feature", "model"))
    return (
        (teams is None or key.team in teams)
        and (named is None or key.key_id in named)
        and (features is None or bool(set(features) & set(key.features or ())))
        and (models is None or key.models is None or bool(set(models) & set(key.models)))
    )
