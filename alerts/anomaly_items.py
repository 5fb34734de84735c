"""One row for each anomaly: opened, kept up to date, closed, told once in its thread; and what feedback makes of a scope."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from django.db.models import Q

from alerts import anomaly_lines, anomaly_messages, anomaly_reasons, notices, seasons
from alerts.anomaly_limits import Book
from alerts.anomaly_messages import BudgetEnd
from alerts.anomaly_reasons import Compared
from alerts.causes import Cause, Scope
from alerts.models import Anomaly, AnomalyFeedback, BudgetState
from alerts.seasons import Episode, Judged
from costobs.kernel import money
from costobs.kernel.period import day_of
from ingest import queries as ingest_queries

SENSITIVITY = {"low": Decimal("1.5"), "normal": Decimal(0), "high": Decimal("-1")}
STEP = Decimal(1)  # how much one "not an anomaly" raises the threshold of its scope
MOST_STEPS = 4
_GROWN = Decimal("1.5")
_SHOWN = {"day": 60, "hour": 96}
_NEAR = timedelta(days=3)
_DECIDED = ("expected", "not_anomaly", "ignored")


@dataclass(frozen=True, slots=True)
class Finding:
    """A cause with its episode, what it is compared with, and all that was judged of its scope."""

    cause: Cause
    episode: Episode
    compared: Compared
    judged: tuple[Judged, ...]


@dataclass(frozen=True, slots=True)
class Look:
    """One look at one grain in one currency."""

    grain: str
    currency: str
    now: datetime
    complete_through: datetime | None
    since: datetime
    book: Book


@dataclass(frozen=True, slots=True)
class Tuning:
    """The feedback that stands."""

    rows: tuple[AnomalyFeedback, ...]

    def threshold(self, scope: Scope, usual: Decimal) -> Decimal:
        """`usual`, 1.5 higher where somebody wants less and 1 lower where more, and 1 higher for each "not an anomaly", up to 4."""
        own = [row for row in self.rows if row.scope_key == key_of(scope)]
        wanted = [row.value for row in own if row.kind == "sensitivity"]
        steps = sum(1 for row in own if row.kind == "not_anomaly")
        return usual + SENSITIVITY.get(wanted[-1] if wanted else "normal", Decimal(0)) + STEP * min(steps, MOST_STEPS)

    def spans(self, scope: Scope) -> tuple[tuple[datetime | None, datetime | None], ...]:
        """What was said to be all right of this scope, or of one that it is a part of: from and until."""
        named = dict(scope)
        return tuple(
            (row.starts_at, row.ends_at)
            for row in self.rows
            if row.kind != "sensitivity" and all(named.get(name) == value for name, value in row.scope.items())
        )

    def accepts(self, scope: Scope) -> Callable[[datetime], bool]:
        """Whether a moment lies in one of `spans`."""
        spans = self.spans(scope)

        def accepted(at: datetime) -> bool:
            return any((since is None or at >= since) and (until is None or at < until) for since, until in spans)

        return accepted


def tuning() -> Tuning:
    """The feedback that nobody has undone, the oldest first."""
    return Tuning(tuple(AnomalyFeedback.objects.filter(undone_at=None).order_by("pk")))


def key_of(scope: Scope) -> str:
    """A scope as one text: `team=search|key=k-1`; "" is all spend."""
    return "|".join(f"{name}={value}" for name, value in scope)


def keep(found: Sequence[Finding], look: Look) -> tuple[int, int, int]:
    """Brings the rows to what was found; how many were opened, updated and closed. Rows that nothing speaks for any more close.

    An anomaly goes on in its own row, also where a more specific cause turns up: one open item, one thread.
    """
    # What closed before anything that is judged now can neither go on nor be closed again.
    near = Q(state="open") | Q(last_at__gte=look.since - _NEAR)
    rows = list(Anomaly.objects.select_for_update().filter(near, currency=look.currency).order_by("pk"))
    is_sample = _is_sample(look.now)
    opened = updated = closed = 0
    met: set[int] = set()
    for one in sorted(found, key=lambda each: (each.episode.periods[0].at, each.cause.scope)):
        row, others = _matching(one, rows, look, met)
        met |= {each.pk for each in (*others, *([row] if row else []))}
        for other in others:
            closed += _close(other, "merged", look)
        if row is not None and (row.outcome in _DECIDED or (look.grain == "hour" and row.grain == "day")):
            continue
        was_open = row is not None and row.state == "open"
        made = _write(row or Anomaly(is_sample=is_sample, detected_at=look.now), one, look)
        if made is not None:
            rows.append(made) if row is None else None
            met.add(made.pk)
            opened += row is None
            updated += row is not None
            closed += was_open and made.state == "closed"
    for row in rows:
        if row.pk not in met and row.state == "open" and row.grain == look.grain:
            closed += _close(row, "restated" if row.last_at >= look.since else "back", look)
    return opened, updated, closed


def _matching(one: Finding, rows: Iterable[Anomaly], look: Look, met: set[int]) -> tuple[Anomaly | None, list[Anomaly]]:
    """The row that this goes on in, and open rows of scopes that it explains."""
    own, absorbed = key_of(one.cause.scope), {key_of(scope) for scope in one.cause.absorbed}
    first, last = one.episode.periods[0].at, one.episode.periods[-1].at
    reach = timedelta(days=2) if look.grain == "day" else timedelta(hours=2)
    # One row of days stands for several episodes of its hours.
    free = [row for row in rows if row.pk not in met or (look.grain == "hour" and row.grain == "day")]
    near = [
        row for row in free if row.started_at <= last + reach and row.last_at >= _day_start(first, look) - reach / 2
    ]
    exact = sorted((row for row in near if row.scope_key == own), key=lambda row: (row.state != "open", -row.pk))
    others = [row for row in near if row.scope_key in absorbed and row.state == "open" and row.grain == look.grain]
    # One open item for a scope: what goes on now goes on in it, also where its days lag behind these hours.
    standing = [row for row in free if row.scope_key == own and row.state == "open"]
    if one.episode.is_open and standing:
        return standing[0], others
    if exact:
        return exact[0], others
    return (others[0], others[1:]) if others else (None, [])


def _day_start(at: datetime, look: Look) -> datetime:
    return at if look.grain == "day" else at - timedelta(hours=at.hour)


def _write(row: Anomaly, one: Finding, look: Look) -> Anomaly | None:
    odd = one.episode.odd
    facts = {
        "scope_key": key_of(one.cause.scope),
        "started_at": odd[0].at if row.pk is None or row.grain == look.grain else min(row.started_at, odd[0].at),
        "last_at": odd[-1].at,
        "actual_cost": money.total(each.cost for each in odd),
        "impact_cost": one.episode.impact,
        "series": _series(one, look),
        "absorbed": [key_of(scope) for scope in one.cause.absorbed],
        "is_open": one.episode.is_open,
    }
    if row.pk is not None and _is_known(row, facts):
        return row
    state = "open" if one.episode.is_open else "closed"
    is_again = row.pk is not None and row.state == "closed" and state == "open"
    was_open = row.pk is not None and row.state == "open"
    del facts["is_open"]
    _set(row, one, look, facts)
    row.state = state
    row.closed_at = None if state == "open" else (row.closed_at if row.closed_at and not was_open else look.now)
    row.outcome = "" if state == "open" else _outcome(one, look)
    row.version = 1 if row.pk is None else row.version + 1
    if is_again:  # it waits for somebody anew, as its item does
        row.acknowledged_by, row.acknowledged_at = "", None
    row.save()
    if is_again or state == "open":
        _tell(row, look)
    elif was_open:
        tell_end(row, look.now)
    return row


def _set(row: Anomaly, one: Finding, look: Look, facts: dict[str, object]) -> None:
    for name, value in facts.items():
        setattr(row, name, value)
    odd, scope = one.episode.odd, one.cause.scope
    excess = anomaly_reasons.cube(one.compared)
    step = timedelta(days=1) if look.grain == "day" else timedelta(hours=1)
    explained = anomaly_reasons.parts(scope, one.compared, one.episode)
    row.scope, row.currency, row.grain = dict(scope), look.currency, look.grain
    row.periods = len(odd)
    row.expected_cost = money.EXACT.subtract(row.actual_cost, row.impact_cost)
    row.newest_cost, row.newest_expected_cost = odd[-1].cost, odd[-1].expected or Decimal(0)
    row.score = max(each.score or Decimal(0) for each in odd)
    row.drivers = {name: _stored(value) for name, value in asdict(explained).items()}
    row.where = anomaly_reasons.where(scope, excess)
    row.coincidences = anomaly_reasons.coincidences(scope, odd[0].at, odd[0].at + step)
    row.complete_through, row.updated_at = look.complete_through, look.now


def _stored(value: Decimal | tuple[tuple[str, Decimal], ...] | None) -> object:
    """An amount as text, or names with their amounts."""
    if isinstance(value, tuple):
        return [[name, money.text(cost)] for name, cost in value]
    return None if value is None else money.text(value)


def _is_known(row: Anomaly, facts: dict[str, object]) -> bool:
    same = all(getattr(row, name) == value for name, value in facts.items() if name != "is_open")
    return same and (row.state == "open") == facts["is_open"]


def _outcome(one: Finding, look: Look) -> str:
    patience = seasons.NEW_LEVEL if look.grain == "day" else seasons.NEW_LEVEL_HOURS
    is_grown_up = one.judged[-1].score is None  # a key that was new, for so long that it is new no more
    return "new_level" if is_grown_up or len(one.episode.odd) >= patience else "back"


def _series(one: Finding, look: Look) -> list[list[str | None]]:
    return [
        [
            each.at.isoformat(),
            money.text(each.cost),
            *(None if value is None else money.text(value) for value in (each.expected, each.low, each.high)),
            "odd" if each.is_odd else "",
        ]
        for each in one.judged[-_SHOWN[look.grain] :]
    ]


def _close(row: Anomaly, outcome: str, look: Look) -> int:
    row.state, row.outcome, row.closed_at, row.updated_at = "closed", outcome, look.now, look.now
    row.version += 1
    row.save(update_fields=["state", "outcome", "closed_at", "updated_at", "version"])
    tell_end(row, look.now)
    return 1


def _tell(row: Anomaly, look: Look) -> None:
    """Once when it opens, and again when its impact has grown by half; the thread is the anomaly's."""
    limits = look.book.of(tuple(row.scope.items()))
    if row.is_sample or not limits.is_told(impact=row.impact_cost, expected=row.expected_cost):
        return
    if row.muted_until and row.muted_until > look.now:
        return
    if row.told_cost is not None and row.impact_cost < row.told_cost * _GROWN:
        return
    notice = anomaly_messages.found(anomaly_lines.line(row), now=look.now, budget=_budget(row, look.now))
    _raise("anomaly", row, notice, look.now)
    row.told_cost = row.impact_cost
    row.save(update_fields=["told_cost"])


def tell_end(row: Anomaly, now: datetime) -> None:
    """In its thread, where people were told of it; told of again, it begins anew."""
    if row.told_cost is not None:
        _raise("anomaly_ended", row, anomaly_messages.ended(anomaly_lines.line(row)), now)
        row.told_cost = None
        row.save(update_fields=["told_cost"])


def _budget(row: Anomaly, now: datetime) -> BudgetEnd | None:
    """The narrowest budget that holds all of this scope, the smallest of these, and how it is forecast to end."""
    today = day_of(now)
    # A period of another zone can be a day ahead or behind: the newest that has begun counts.
    standing = BudgetState.objects.filter(
        budget__is_active=True, budget__is_sample=False, budget__currency=row.currency,
        period_start__lte=today, period_end__gt=today,
    ).select_related("budget")  # fmt: skip
    holding = [
        one
        for one in standing.order_by("period_start", "pk")
        if all(row.scope.get(name) in values for name, values in one.budget.scope.items() if values)
    ]
    if not holding:
        return None
    found = max(
        holding, key=lambda one: (len([each for each in one.budget.scope.values() if each]), -one.budget.amount)
    )
    amount, ends = found.amount or found.budget.amount, found.forecast_cost
    over = None if ends is None or found.is_untrusted or amount <= 0 else (ends - amount) / amount
    return BudgetEnd(found.budget.name, found.budget.owner_email, over)


def _raise(kind: str, row: Anomaly, notice: anomaly_messages.Notice, now: datetime) -> None:
    thread = f"anomaly:{row.pk}"
    notices.raise_alert(
        kind=kind,
        budget=None,
        run=None,
        notice=notice,
        key=f"{kind}:{row.pk}:{row.version}",
        thread=thread,
        now=now,
        state=row.state,
        impact=row.impact_cost,
    )


def _is_sample(now: datetime) -> bool:
    """Whether all sources are the sample's: nobody is told of an organisation that does not exist."""
    lines = ingest_queries.freshness(now=now).sources
    return bool(lines) and all(one.is_sample for one in lines)
