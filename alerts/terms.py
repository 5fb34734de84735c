"""What a budget may spend in a period: its amount, by days where it has only a part, with what is carried over and borrowed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from alerts import spans, spent
from alerts.models import Budget, BudgetPeriod
from alerts.spans import Span
from attribution import queries as spend_queries
from attribution.queries import BooksVersion
from costobs.kernel import money
from costobs.kernel import period as periods
from costobs.kernel.period import Days

# A chain of daily budgets would else grow without end; what lies further back stays as it was settled.
_MOST_PERIODS = 120
_SETTLED = (
    "period_end", "starts_at", "ends_at", "carried_cost", "borrowed_cost", "amount", "spend_cost", "unconverted",
    "is_converted", "books_version", "settled_at",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Term:
    """A budget in one period. `amount` = base + carried + borrowed, and never below nothing.

    `carried_cost` is what the periods before left over, or (negative) overran and borrowed; `borrowed_cost` what the next
    period lends. `unconverted` names the currencies without a rate in the periods that were carried over.
    """

    key_date: date
    starts_at: datetime
    ends_at: datetime
    days: Days  # local days
    amount: Decimal
    base_amount: Decimal
    carried_cost: Decimal
    borrowed_cost: Decimal
    span: Span
    unconverted: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Past:
    """What a period that is over left to the one after it."""

    cost: Decimal
    unconverted: tuple[str, ...]


def term(budget: Budget, now: datetime) -> Term:
    """The budget in the period that holds now. What earlier periods left is settled first, where it is not yet."""
    return of([budget], now)[budget.pk]


def of(rows: Sequence[Budget], now: datetime) -> dict[int, Term]:
    """The terms of many budgets at once, by id. Safe to repeat and to run twice at once."""
    spans_now = {row.pk: spans.current(row, now) for row in rows}
    left = _left(rows, spans_now, now)
    return {row.pk: _term(row, spans_now[row.pk], left.get(row.pk, _Past(Decimal(0), ()))) for row in rows}


def base(row: Budget, span: Span) -> Decimal:
    """The amount of a period before anything is carried."""
    return spans.base_amount(row.amount, row.currency, is_prorated=row.is_prorated, span=span)


def lent(row: Budget, span: Span) -> Decimal:
    """What the period may take from the one after it."""
    following = spans.after(row, span)
    if row.borrow_percent is None or following is None:
        return Decimal(0)
    return _share(base(row, following), row.borrow_percent)


def remainder(
    *,
    base_amount: Decimal,
    carried_cost: Decimal,
    borrowed_cost: Decimal,
    spend_cost: Decimal,
    rollover: str,
    most_cost: Decimal | None,
) -> Decimal:
    """What a period leaves to the next one: unused (positive), or overrun and repayment (negative).

    What was spent beyond base and carried is repaid up to what was borrowed; only what is left of it is an overrun. The cap
    `most_cost` holds for what is rolled over, never for a repayment.
    """
    left = money.EXACT.subtract(money.EXACT.add(base_amount, carried_cost), spend_cost)
    if left >= 0:
        return _capped(left, most_cost) if rollover in {"unused", "both"} else Decimal(0)
    repaid = min(-left, borrowed_cost)
    overrun = money.EXACT.subtract(-left, repaid)
    kept = _capped(overrun, most_cost) if rollover in {"overrun", "both"} else Decimal(0)
    return -money.EXACT.add(repaid, kept)


def has_memory(row: Budget) -> bool:
    """Whether what was spent before changes what may be spent now."""
    return row.period != spans.ROLLING and (row.rollover != "none" or row.borrow_percent is not None)


def _term(row: Budget, span: Span, past: _Past) -> Term:
    base_amount, borrowed = base(row, span), lent(row, span)
    return Term(
        key_date=span.key_date,
        starts_at=span.starts_at,
        ends_at=span.ends_at,
        days=span.days,
        amount=_amount(base_amount, past.cost, borrowed),
        base_amount=base_amount,
        carried_cost=past.cost,
        borrowed_cost=borrowed,
        span=span,
        unconverted=past.unconverted,
    )


def _amount(base_amount: Decimal, carried: Decimal, borrowed: Decimal) -> Decimal:
    return max(Decimal(0), money.total([base_amount, carried, borrowed]))


def _left(rows: Sequence[Budget], now_in: Mapping[int, Span], now: datetime) -> dict[int, _Past]:
    """What the periods before left to the current one, by budget. Periods whose books have changed are settled again."""
    chains = {row.pk: _chain(row, now_in[row.pk]) for row in rows}
    chains = {budget_id: chain for budget_id, chain in chains.items() if chain}
    if not chains:
        return {}
    known = {(one.budget_id, one.period_start): one for one in BudgetPeriod.objects.filter(budget_id__in=chains)}
    mine = [
        row
        for row in rows
        if row.pk in chains and (has_memory(row) or any((row.pk, one.key_date) not in known for one in chains[row.pk]))
    ]
    if not mine:
        return {}
    books = _version({row.pk: chains[row.pk] for row in mine})
    due = {
        (row, span): versions
        for row in mine
        for span in chains[row.pk]
        if _is_due(row, known.get((row.pk, span.key_date)), versions := books.of(_utc(span)))
    }
    answers = _settle(list(due))
    left: dict[int, _Past] = {}
    settled: list[BudgetPeriod] = []
    for row in mine:
        changed, left[row.pk] = _walk(row, chains[row.pk], known, answers, due, now)
        settled += changed
    for one in settled:
        one.pk = None  # found again by its budget and start, whoever wrote it first
    BudgetPeriod.objects.bulk_create(
        settled, update_conflicts=True, unique_fields=["budget", "period_start"], update_fields=_SETTLED
    )
    return {row.pk: left[row.pk] for row in mine if has_memory(row)}


def _chain(row: Budget, span: Span) -> list[Span]:
    """The periods that are over and count, oldest first: without a memory only the last one, so that its amount stays known."""
    first = row.carries_from if has_memory(row) else None
    found: list[Span] = []
    one = spans.before(row, span)
    while one is not None and len(found) < _MOST_PERIODS:
        if one.key_date < first if first is not None else one.days.end <= spans.created_on(row):
            break
        found.append(one)
        if not has_memory(row):
            break
        one = spans.before(row, one)
    return found[::-1]


def _is_due(row: Budget, known: BudgetPeriod | None, version: str) -> bool:
    """Never settled, or its books are others now; without a memory once is enough, and without conversion rates do not count."""
    if known is None:
        return True
    if not has_memory(row) or known.books_version == version:
        return False
    return known.is_converted or known.books_version.rpartition(".")[0] != version.rpartition(".")[0]


def _settle(due: Sequence[tuple[Budget, Span]]) -> dict[tuple[int, date], spent.Spent]:
    windows = {
        number: spent.Window(row.scope, row.currency, span.starts_at, span.ends_at, span.ends_at)
        for number, (row, span) in enumerate(due)
    }
    answers = spent.spent(windows)
    return {(row.pk, span.key_date): answers[number] for number, (row, span) in enumerate(due)}


def _walk(
    row: Budget,
    chain: Sequence[Span],
    known: Mapping[tuple[int, date], BudgetPeriod],
    answers: Mapping[tuple[int, date], spent.Spent],
    versions: Mapping[tuple[Budget, Span], str],
    now: datetime,
) -> tuple[list[BudgetPeriod], _Past]:
    """The periods that have changed, and what the last of them leaves. A period keeps the base amount it was settled with."""
    changed: list[BudgetPeriod] = []
    carried, missing = _begin(row, chain, known), set[str]()
    for span in chain:
        one = known.get((row.pk, span.key_date)) or BudgetPeriod(
            budget=row, period_start=span.key_date, base_amount=base(row, span), spend_cost=Decimal(0)
        )
        was = (one.carried_cost, one.borrowed_cost, one.spend_cost) if one.pk else None
        answer = answers.get((row.pk, span.key_date))
        if answer is not None:
            one.spend_cost, one.unconverted = answer.cost, " ".join(answer.unconverted)
            one.books_version, one.settled_at = versions[row, span], now
            one.is_converted = bool(answer.converted_cost or answer.unconverted)
        one.period_end, one.starts_at, one.ends_at = span.whole.end, span.starts_at, span.ends_at
        one.carried_cost, one.borrowed_cost = carried, lent(row, span)
        one.amount = _amount(one.base_amount, carried, one.borrowed_cost)
        if answer is not None or was != (one.carried_cost, one.borrowed_cost, one.spend_cost):
            changed.append(one)
        missing |= set(one.unconverted.split())
        carried = _carry(row, span, one)
    return changed, _Past(carried, tuple(sorted(missing)))


def _begin(row: Budget, chain: Sequence[Span], known: Mapping[tuple[int, date], BudgetPeriod]) -> Decimal:
    """What the first period of the chain began with: nothing, or what it was settled with where older ones are left out."""
    first = known.get((row.pk, chain[0].key_date))
    return Decimal(0) if first is None or len(chain) < _MOST_PERIODS else first.carried_cost


def _carry(row: Budget, span: Span, one: BudgetPeriod) -> Decimal:
    following = spans.after(row, span)
    if following is None or not has_memory(row):
        return Decimal(0)
    cap = row.rollover_cap_percent
    return remainder(
        base_amount=one.base_amount,
        carried_cost=one.carried_cost,
        borrowed_cost=one.borrowed_cost,
        spend_cost=one.spend_cost,
        rollover=row.rollover,
        most_cost=None if cap is None else _share(base(row, following), cap),
    )


def _version(chains: Mapping[int, Sequence[Span]]) -> BooksVersion:
    days = [_utc(span) for chain in chains.values() for span in chain]
    return spend_queries.books_version(days=Days(min(one.start for one in days), max(one.end for one in days)))


def _utc(span: Span) -> Days:
    """The UTC days the span touches."""
    whole = spent.whole_days(span.starts_at, span.ends_at)
    return Days(min(whole.start, periods.day_of(span.starts_at)), max(whole.end, periods.day_of(span.ends_at)))


def _share(amount: Decimal, percent: Decimal) -> Decimal:
    return money.EXACT.multiply(amount, percent).scaleb(-2, context=money.EXACT)


def _capped(amount: Decimal, most: Decimal | None) -> Decimal:
    return amount if most is None else min(amount, most)
