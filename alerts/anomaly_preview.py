"""What thresholds would have told of the past: the days of the books, judged with them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from alerts import anomaly_findings, anomaly_items, anomaly_lines, anomaly_series
from alerts.anomaly_findings import Judging
from alerts.anomaly_limits import Book, Own
from alerts.anomaly_series import Series
from alerts.causes import Scope
from alerts.seasons import Judged
from attribution import queries as spend_queries
from costobs.kernel.period import Days, day_of

DAYS = 90
Teams = tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Past:
    """One anomaly as the days of the books show it today."""

    scope: Scope
    scope_words: str
    currency: str
    started_on: date
    last_on: date
    impact_cost: Decimal
    expected_cost: Decimal
    percent: Decimal | None  # above expected; None: nothing was expected
    is_told: bool
    is_told_now: bool  # with what is set now


@dataclass(frozen=True, slots=True)
class Preview:
    """The anomalies of the days, the dearest first; `told` and `told_now` count those that people hear of."""

    days: Days
    rows: tuple[Past, ...]
    told: int
    told_now: int


def preview(*, book: Book, now: datetime, teams: Teams, own: Own | None = None) -> Preview:
    """What `own`, set beside what is set, would have told of the last 90 complete days; without it, what is set tells.

    By day, on the books and with the feedback as they are now; what only an hour shows is not counted. A team counts its own.
    Nothing is written.
    """
    stand = anomaly_series.standing(now)
    through = day_of(stand.until or now)
    days = Days(through - timedelta(days=DAYS), through)
    rows: list[Past] = []
    for currency in spend_queries.currencies() if stand.until is not None else ():
        series = anomaly_series.by_day(through, currency, judged_days=DAYS)
        rows += _rows(series, currency, days, book, book if own is None else book.having(own))
    seen = [one for one in rows if teams is None or dict(one.scope).get("team") in teams]
    seen.sort(key=lambda one: (-one.impact_cost, one.started_on, one.scope))
    return Preview(days, tuple(seen), sum(one.is_told for one in seen), sum(one.is_told_now for one in seen))


def _rows(all_: dict[Scope, Series], currency: str, days: Days, now_set: Book, proposed: Book) -> list[Past]:
    """Those that either set tells of or shows, each once."""
    tuning = anomaly_items.tuning()
    told: dict[tuple[Scope, date], list[Past]] = {}
    for book in dict.fromkeys((proposed, now_set)):
        how = Judging("day", currency, datetime.combine(days.start, datetime.min.time(), UTC), tuning, book)
        seen = anomaly_series.keys_seen((scope, one[0][0]) for scope, one in all_.items() if one)
        series, new = anomaly_findings.with_new(all_, seen, how)
        worth = {scope: one for scope, one in series.items() if how.is_worth(scope, one)}
        judged: dict[Scope, Sequence[Judged]] = {
            scope: anomaly_findings.judge(scope, one, how, is_new=scope in new, is_kept=False)
            for scope, one in worth.items()
        }
        for found in anomaly_findings.findings(series, judged, how):
            made = _past(found, currency, now_set, proposed, book)
            told.setdefault((made.scope, made.started_on), []).append(made)
    return [_both(made) for made in told.values()]


def _past(found: anomaly_items.Finding, currency: str, now_set: Book, proposed: Book, book: Book) -> Past:
    odd, scope = found.episode.odd, found.cause.scope
    impact = found.episode.impact
    expected = sum((one.expected or Decimal(0) for one in odd), Decimal(0))
    is_told = book.of(scope).is_told(impact=impact, expected=expected)
    return Past(
        scope=scope,
        scope_words=anomaly_lines.words(dict(scope)),
        currency=currency,
        started_on=day_of(odd[0].at),
        last_on=day_of(odd[-1].at),
        impact_cost=impact,
        expected_cost=expected,
        percent=(impact / expected * 100).quantize(Decimal(1)) if expected > 0 else None,
        is_told=is_told and book == proposed,
        is_told_now=is_told and book == now_set,
    )


def _both(made: Sequence[Past]) -> Past:
    """The proposed reading, with what is set now beside it."""
    return replace(made[0], is_told=any(one.is_told for one in made), is_told_now=any(one.is_told_now for one in made))
