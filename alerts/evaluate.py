"""Compare every budget with the books: how much is used, where it leads, and whether the data can be trusted."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal

from django.db import transaction

from alerts import brakes, curves, ladder, spans, spent, terms
from alerts.models import ActionRun, BooksCheck, Budget, BudgetState, Rung
from alerts.spent import Spent
from alerts.terms import Term
from costobs.kernel.period import Days, day_of
from ingest import queries as ingest_queries
from ingest.queries import Freshness


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What was found for one budget. `days` are its local days, `amount` is what it may spend in them."""

    budget_id: int
    name: str
    days: Days
    amount: Decimal
    spend_cost: Decimal
    forecast_cost: Decimal | None
    used_percent: Decimal
    state: str
    is_stale: bool


@dataclass(frozen=True, slots=True)
class _Trust:
    """Whether the figures of one budget are ground for more than a notice."""

    is_stale: bool
    is_unbalanced: bool
    complete_through: datetime | None
    late: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Ahead:
    """Where a budget leads; only a forecast that was tested on the past has an interval and an error."""

    cost: Decimal | None
    method: str
    low_cost: Decimal | None = None
    high_cost: Decimal | None = None
    error_percent: Decimal | None = None


_ASKED = (
    "scope", "amount", "currency", "period", "rolling_days", "zone", "starts_on", "ends_on", "is_prorated", "rollover",
    "rollover_cap_percent", "borrow_percent", "carries_from",
)  # fmt: skip
_EVALUATED = (
    "period_end",
    "starts_at",
    "ends_at",
    "amount",
    "carried_cost",
    "borrowed_cost",
    "evaluated_at",
    "complete_through",
    "spend_cost",
    "estimated_cost",
    "unpriced_cost",
    "converted_cost",
    "rates",
    "unconverted",
    "forecast_cost",
    "forecast_method",
    "forecast_low_cost",
    "forecast_high_cost",
    "forecast_error_percent",
    "used_percent",
    "state",
    "is_stale",
    "is_unbalanced",
    "late",
)


def run(*, now: datetime) -> list[Evaluation]:
    """Evaluates every active budget in its current period and keeps the result; repeating it changes only the time.

    The spend is the answer of `attribution.queries` to the budget's scope: billed where the bill is in, else estimated,
    with unpriced usage at its conservative price, and own GPUs, idle and shared cost as they were split. With books that are
    stale, do not add up or cannot be converted, the figures are kept and the state is `unknown`. A budget that has not begun
    or has ended is left alone.
    """
    active = list(Budget.objects.filter(is_active=True).order_by("pk"))
    rows = [row for row in active if spans.standing(row, now) == "running"]
    for standing in ("upcoming", "ended"):
        _rest([row for row in active if spans.standing(row, now) == standing], standing)
    if not rows:
        return []
    pause = brakes.pause(now=now)
    held = terms.of(rows, now)
    trusted = _trusted(rows, held, now)
    in_force = _in_force(rows)
    lowest = _lowest_rungs()
    found = spent.spent({row.pk: _window(row, held[row.pk], now) for row in rows})
    forecasts = curves.newest(starts={row.pk: held[row.pk].key_date for row in rows}, now=now)
    states = [
        _evaluate(
            row,
            held[row.pk],
            found[row.pk],
            now,
            trusted[row.pk],
            in_force.get(row.pk, frozenset()),
            lowest.get(row.pk),
            forecasts.get(row.pk),
            is_paused=brakes.paused_until(row, pause, now) is not None,
        )
        for row in rows
    ]
    kept = _keep(rows, states)
    return [_evaluation(row, held[row.pk], state) for row, state in zip(rows, states, strict=True) if row.pk in kept]


def _keep(rows: Sequence[Budget], states: list[BudgetState]) -> set[int]:
    """Writes the evaluations and returns whose they are; those of budgets that somebody changed or deleted meanwhile are left
    out: what one scope cost is no answer to what another may cost.
    """
    asked = {row.pk: _question(row) for row in rows}
    with transaction.atomic():
        # Whoever changes a budget waits until its evaluation is written, and then takes it away.
        found = Budget.objects.select_for_update(no_key=True).filter(pk__in=asked, is_active=True).order_by("pk")
        ids = {row.pk for row in found if _question(row) == asked[row.pk]}
        _write([state for state in states if state.budget_id in ids])
    return ids


def _question(row: Budget) -> tuple[object, ...]:
    """All that an evaluation of a budget rests on; of what only concerns its ladder nothing."""
    return tuple(getattr(row, name) for name in _ASKED)


def _write(states: list[BudgetState]) -> None:
    BudgetState.objects.bulk_create(
        states, update_conflicts=True, unique_fields=["budget", "period_start"], update_fields=_EVALUATED
    )


def _evaluation(row: Budget, term: Term, state: BudgetState) -> Evaluation:
    return Evaluation(
        budget_id=row.pk,
        name=row.name,
        days=term.days,
        amount=term.amount,
        spend_cost=state.spend_cost,
        forecast_cost=state.forecast_cost,
        used_percent=state.used_percent,
        state=state.state,
        is_stale=state.is_stale,
    )


def _evaluate(
    row: Budget,
    term: Term,
    spent: Spent,
    now: datetime,
    trust: _Trust,
    in_force: frozenset[str],
    lowest_rung: Decimal | None,
    curve: curves.Curve | None,
    *,
    is_paused: bool,
) -> BudgetState:
    today = spans.today(row, now)
    ahead = _ahead(curve, term.days, spent, today)
    state = _figures(row, term, spent, trust, ahead, now)
    state.state = ladder.standing(
        ladder.Facts(
            used_percent=state.used_percent,
            forecast_percent=None if ahead.cost is None else ladder.percent_of(ahead.cost, term.amount),
            lowest_rung=lowest_rung,
            is_stale=state.is_untrusted,
            is_paused=is_paused,
            in_force=in_force,
        )
    )
    return state


def _figures(row: Budget, term: Term, spent: Spent, trust: _Trust, ahead: _Ahead, now: datetime) -> BudgetState:
    """What was found, without what it is called."""
    unconverted = sorted({*spent.unconverted, *term.unconverted})
    return BudgetState(
        budget=row,
        period_start=term.key_date,
        period_end=term.span.whole.end,
        starts_at=term.starts_at,
        ends_at=term.ends_at,
        amount=term.amount,
        carried_cost=term.carried_cost,
        borrowed_cost=term.borrowed_cost,
        evaluated_at=now,
        complete_through=trust.complete_through,
        spend_cost=spent.cost,
        estimated_cost=spent.estimated_cost,
        unpriced_cost=spent.unpriced_cost,
        converted_cost=spent.converted_cost,
        rates=spent.rates,
        unconverted=" ".join(unconverted),
        forecast_cost=ahead.cost,
        forecast_method=ahead.method,
        forecast_low_cost=ahead.low_cost,
        forecast_high_cost=ahead.high_cost,
        forecast_error_percent=ahead.error_percent,
        used_percent=ladder.percent_of(spent.cost, term.amount),
        is_stale=trust.is_stale,
        is_unbalanced=trust.is_unbalanced,
        late=", ".join(trust.late),
    )


def _ahead(curve: curves.Curve | None, days: Days, spent: Spent, today: date) -> _Ahead:
    """The forecast that was worked out, with what is spent since; else the naive pace."""
    if curve is not None:
        now = curve.at(today=today, spent_cost=spent.cost, adjusted_cost=spent.adjusted_cost)
        return _Ahead(now.end.expected, now.method, now.end.low, now.end.high, now.error_percent)
    pace = ladder.naive_pace(
        days=days,
        complete=days.until(today),
        complete_cost=spent.complete_cost,
        spend_cost=spent.cost,
        adjusted_cost=spent.adjusted_cost,
    )
    return _Ahead(None, "") if pace is None else _Ahead(pace.forecast_cost, ladder.NAIVE_PACE)


def _window(row: Budget, term: Term, now: datetime) -> spent.Window:
    """The question: from the start of the period to the end of today in the budget's zone."""
    zone, today = spans.zone_of(row), spans.today(row, now)
    return spent.Window(
        scope=row.scope,
        currency=row.currency,
        starts_at=term.starts_at,
        split_at=spans.midnight(today, zone),
        ends_at=min(term.ends_at, spans.midnight(today + timedelta(days=1), zone)),
    )


def _trusted(rows: Sequence[Budget], held: Mapping[int, Term], now: datetime) -> dict[int, _Trust]:
    """Freshness by the sources a budget counts: those its scope names, else all of them; balance by its days."""
    fresh = ingest_queries.freshness(now=now)
    odd = set(BooksCheck.objects.filter(is_balanced=False).values_list("day", flat=True))
    known: dict[tuple[str, ...], tuple[bool, datetime | None, tuple[str, ...]]] = {}
    found = {}
    for row in rows:
        named = tuple(row.scope.get("source", ()))
        if named not in known:
            known[named] = _freshness(fresh, named)
        is_stale, through, late = known[named]
        found[row.pk] = _Trust(is_stale, _is_any_in(odd, held[row.pk]), through, late)
    return found


def _freshness(fresh: Freshness, named: Sequence[str]) -> tuple[bool, datetime | None, tuple[str, ...]]:
    """Whether these sources are stale, through when they are complete, and which of them make it so."""
    lines = [line for line in fresh.sources if not named or line.name in named]
    missing = tuple(line.name for line in lines if line.is_missing)
    is_stale = bool(missing) or not any(line.complete_through for line in lines)
    known = [line.complete_through for line in lines if line.complete_through and line.status == "on_time"]
    return is_stale, min(known, default=None), missing


def _is_any_in(days: Iterable[date], term: Term) -> bool:
    """Whether one of the UTC days touches the period."""
    first, last = day_of(term.starts_at), day_of(term.ends_at - timedelta(seconds=1))
    return any(first <= day <= last for day in days)


def _rest(rows: Sequence[Budget], standing: str) -> None:
    """Budgets that do not run keep their figures, and need no attention."""
    if rows:
        BudgetState.objects.filter(budget__in=rows).exclude(state=standing).update(state=standing)


def _in_force(rows: Iterable[Budget]) -> dict[int, frozenset[str]]:
    found: dict[int, set[str]] = {}
    runs = ActionRun.objects.filter(budget__in=rows, state__in=ladder.APPLYING)
    for budget_id, action in runs.values_list("budget_id", "action"):
        found.setdefault(budget_id, set()).add(action)
    return {budget_id: frozenset(actions) for budget_id, actions in found.items()}


def _lowest_rungs() -> dict[int, Decimal]:
    found: dict[int, Decimal] = {}
    for budget_id, percent in (
        Rung.objects.filter(is_active=True, trigger="actual").order_by("-percent").values_list("budget_id", "percent")
    ):
        found[budget_id] = percent
    return found
