"""What is behind an anomaly: its drivers, where the money went, and what happened in the same hours."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal

from alerts import anomaly_series, causes, drivers, wording
from alerts.causes import Scope
from alerts.models import ActionRun, GateKey
from alerts.seasons import Episode
from attribution import queries as spend_queries
from attribution import rulesets
from costobs.kernel import money
from costobs.kernel.period import Days, day_of
from costobs.kernel.scope import SpendScope
from ingest import price_book

REFERENCE_DAYS = 28
_PLACES = ("team", "feature", "key", "model", "provider_name", "deployment")
_TOP, _LEAST_SHARE = 3, Decimal("0.1")
_BEFORE = timedelta(hours=6)
_MOST_EVENTS = 12


@dataclass(frozen=True, slots=True)
class Compared:
    """The odd periods of an episode and the ordinary ones they are compared with."""

    grain: str
    currency: str
    odd: tuple[datetime, ...]
    ordinary: tuple[datetime, ...]


def compared(
    series: Sequence[tuple[datetime, Decimal]], odd: Sequence[datetime], grain: str, currency: str
) -> Compared:
    """The known periods of the four weeks before the first odd one; by hour only those of the same hours of the day."""
    first, apart = min(odd), set(odd)
    since = first - timedelta(days=REFERENCE_DAYS)
    known = [at for at, _cost in series if since <= at < first and at not in apart]
    hours = {at.hour for at in odd}
    return Compared(grain, currency, tuple(sorted(apart)), tuple(at for at in known if at.hour in hours))


def cube(one: Compared) -> dict[tuple[str, ...], Decimal]:
    """What each cell cost in the odd periods above its average of the ordinary ones."""
    after, before = _cells(one, one.odd), _cells(one, one.ordinary)
    found = dict(after)
    for cell, cost in before.items():
        usual = anomaly_series.share(cost, len(one.odd), len(one.ordinary))
        found[cell] = money.EXACT.subtract(found.get(cell, Decimal(0)), usual)
    return found


def parts(scope: Scope, one: Compared, episode: Episode) -> drivers.Parts:
    """The drivers of what the odd periods cost above what was expected; they add to it exactly, or say what is missing."""
    asked = spend_scope(scope, one.currency)
    read = _used_days if one.grain == "day" else anomaly_series.used_by_hour
    after = read(asked, one.odd)
    before = anomaly_series.scaled(read(asked, one.ordinary), len(one.odd), len(one.ordinary))
    expected = money.total(period.expected or Decimal(0) for period in episode.odd)
    return drivers.explain(before, after, expected=expected)


def where(scope: Scope, excess: Mapping[tuple[str, ...], Decimal]) -> list[list[str]]:
    """Dimension, value, excess and share of the values that hold a tenth of it or more, by dimension, the largest first."""
    inside = {cell: amount for cell, amount in excess.items() if _is_in(cell, scope)}
    whole = money.total(inside.values())
    found: list[list[str]] = []
    for name in _PLACES if whole > 0 else ():
        sums: dict[str, Decimal] = {}
        for cell, amount in inside.items():
            value = cell[causes.CELL.index(name)]
            sums[value] = money.EXACT.add(sums.get(value, Decimal(0)), amount)
        top = sorted(sums.items(), key=lambda item: (-item[1], item[0]))[:_TOP]
        found += [
            [name, value, money.text(amount), money.text((amount / whole).quantize(Decimal("0.001")))]
            for value, amount in top
            if value and amount >= _LEAST_SHARE * whole
        ]
    return found


def coincidences(scope: Scope, since: datetime, until: datetime) -> list[list[str]]:
    """Moment, kind, words and path of what the rooms wrote down around the beginning, oldest first."""
    named = dict(scope)
    window = (since - _BEFORE, until)
    found = [*_prices(named, *window), *_rules(*window), *_actions(named, *window), *_keys(named, *window)]
    asked = spend_scope(scope, "USD").during(Days(day_of(window[0]), day_of(until) + timedelta(days=1)))
    found += [
        [one.at.isoformat(), "event", one.title or one.act, ""]
        for one in spend_queries.markers(scope=asked)
        if window[0] <= one.at < until
    ]
    return sorted(found)[:_MOST_EVENTS]


def spend_scope(scope: Scope, currency: str) -> SpendScope:
    """The question about a scope that pages with the same filters ask; its days are set by who asks."""
    asked = SpendScope(Days(date.min, date.min), (), "effective", currency, teams=None)
    for name, value in scope:
        asked = asked.where(name, value)
    return asked


def _cells(one: Compared, at: Sequence[datetime]) -> dict[tuple[str, ...], Decimal]:
    if one.grain == "day":
        return anomaly_series.cells_by_day([day_of(each) for each in at], one.currency)
    return anomaly_series.cells_by_hour(at, one.currency)


def _used_days(scope: SpendScope, at: Sequence[datetime]) -> dict[drivers.Cell, drivers.Amount]:
    return anomaly_series.used_by_day(scope, [day_of(each) for each in at])


def _is_in(cell: tuple[str, ...], scope: Scope) -> bool:
    return all(cell[causes.CELL.index(name)] == value for name, value in scope)


def _prices(named: Mapping[str, str], since: datetime, until: datetime) -> list[list[str]]:
    rows = price_book.believed(at=until)
    started = {(row.provider, row.model, row.valid_from) for row in rows}
    return [
        [at.isoformat(), "price", f"New price of {model}", "/settings/prices/"]
        for provider, model, at in sorted(started)
        if since <= at < until
        and named.get("model", model) == model
        and any(other[:2] == (provider, model) and other[2] < at for other in started)
    ]


def _rules(since: datetime, until: datetime) -> list[list[str]]:
    return [
        [one.created_at.isoformat(), "rules", f"Rules published: {one.note}" if one.note else "Rules published",
         f"/settings/rules/history/{one.id}/"]
        for one in rulesets.history(limit=20)
        if since <= one.created_at < until
    ]  # fmt: skip


def _actions(named: Mapping[str, str], since: datetime, until: datetime) -> list[list[str]]:
    runs = ActionRun.objects.filter(applied_at__gte=since, applied_at__lt=until).exclude(action="notify")
    return [
        [run.applied_at.isoformat(), "action", f"{wording.action(run.action, run.rung.config)}: budget {run.budget.name}",
         f"/actions/{run.pk}/"]
        for run in runs.select_related("budget", "rung").order_by("applied_at")
        if run.applied_at is not None and _is_near(named, run.budget.scope)
    ]  # fmt: skip


def _is_near(named: Mapping[str, str], scope: Mapping[str, Sequence[str]]) -> bool:
    return all(name not in named or named[name] in values for name, values in scope.items())


def _keys(named: Mapping[str, str], since: datetime, until: datetime) -> list[list[str]]:
    rows = GateKey.objects.filter(created_at__gte=since, created_at__lt=until).order_by("created_at")
    return [
        [row.created_at.isoformat(), "key", f"New key {row.name} of {row.team}", ""]
        for row in rows
        if named.get("team", row.team) == row.team
    ]
