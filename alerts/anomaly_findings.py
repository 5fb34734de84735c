"""From series to findings: what is odd in each scope, and the causes behind all that is odd together."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from alerts import anomaly_reasons, causes, seasons
from alerts.anomaly_items import Finding, Tuning
from alerts.anomaly_limits import Book
from alerts.anomaly_series import Series
from alerts.causes import Candidate, Scope
from alerts.seasons import Episode, Judged

_HOURLY_THRESHOLD = Decimal("1.5")  # hours are noisier than days: so many spreads more are needed
NEW_TIMES = Decimal(3)  # a key that nobody has seen before is odd from so many times what is worth looking at
_NEW = ("team", "key")


@dataclass(frozen=True, slots=True)
class Judging:
    """How the scopes of one look are judged."""

    grain: str
    currency: str
    judged_from: datetime
    tuning: Tuning
    book: Book

    def is_worth(self, scope: Scope, costs: Iterable[tuple[datetime, Decimal]]) -> bool:
        """Whether a judged period of a scope costs enough to be looked at."""
        least = self.book.of(scope).least(self.grain)
        return any(cost >= least for at, cost in costs if at >= self.judged_from)


@dataclass(frozen=True, slots=True)
class _Judged:
    """What was judged last of a scope, and all that it follows from."""

    series: Series
    given: tuple[object, ...]
    judged: list[Judged]


# Judging follows from the series alone: hours that are over stay as they are until something late arrives.
_judged: dict[tuple[str, str, Scope], _Judged] = {}


def with_new(
    series: Mapping[Scope, Series], seen: Mapping[str, datetime], how: Judging
) -> tuple[dict[Scope, Series], frozenset[Scope]]:
    """The series, and the keys that nobody has seen before, with a past in which they cost nothing.

    New is a key for as long as a new level takes, if all spend has enough of a past before it. `seen` is the first period of
    each key with whatever team: one that only moved to another team is not new.
    """
    day = how.grain == "day"
    enough = seasons.ENOUGH_DAYS if day else seasons.ENOUGH_HOURS
    since = how.judged_from - (timedelta(days=seasons.NEW_LEVEL) if day else timedelta(hours=seasons.NEW_LEVEL_HOURS))
    known = [at for at, _cost in series.get((), [])]
    made, new = dict(series), set[Scope]()
    for scope, own in series.items():
        if causes.group_of(scope) != _NEW or not own or own[0][0] < since or own[0][0] != seen.get(dict(scope)["key"]):
            continue
        past = [(at, Decimal(0)) for at in known if at < own[0][0]]
        if len(past) >= enough:
            made[scope] = [*past, *own]
            new.add(scope)
    return made, frozenset(new)


def judge(scope: Scope, series: Series, how: Judging, *, is_new: bool = False, is_kept: bool = True) -> list[Judged]:
    """Every judged period of a scope; what was judged before of the same series is not judged again, where it `is_kept`."""
    least = how.book.of(scope).least(how.grain)
    threshold = how.tuning.threshold(scope, seasons.THRESHOLD + (_HOURLY_THRESHOLD if how.grain == "hour" else 0))
    given = (how.judged_from, threshold, how.tuning.spans(scope), least, is_new)
    place = (how.grain, how.currency, scope)
    before = _judged.get(place) if is_kept else None
    if before is not None and before.given == given and before.series == series:
        return before.judged
    accepted = how.tuning.accepts(scope)
    if is_new:
        found = seasons.judge_new(
            series, grain=how.grain, judged_from=how.judged_from, least=least * NEW_TIMES, accepted=accepted
        )
    else:
        found = seasons.judge(
            series, grain=how.grain, judged_from=how.judged_from, threshold=threshold, accepted=accepted
        )
    if is_kept:
        _judged[place] = _Judged(series, given, found)
    return found


def keep_only(grain: str, currency: str, scopes: Iterable[Scope]) -> None:
    """Forgets what was judged of scopes that are not looked at any more."""
    wanted = set(scopes)
    for place in [each for each in _judged if each[:2] == (grain, currency) and each[2] not in wanted]:
        del _judged[place]


def forget() -> None:
    """As a process that begins: everything is judged anew."""
    _judged.clear()


def findings(series: Mapping[Scope, Series], judged: Mapping[Scope, Sequence[Judged]], how: Judging) -> list[Finding]:
    """The causes behind everything odd, each with what it explains."""
    odd = [
        (scope, one)
        for scope, all_ in judged.items()
        for one in seasons.episodes(all_, minimum=how.book.of(scope).least(how.grain))
    ]
    found: list[Finding] = []
    for members in _clusters(odd):
        candidates = [Candidate(scope, one.impact, one.at) for scope, one in members.items()]

        def cube_of(top: Candidate) -> causes.Cube:
            compared = anomaly_reasons.compared(series[top.scope], list(top.at), how.grain, how.currency)
            return anomaly_reasons.cube(compared)

        for cause in causes.find(candidates, cube_of):
            episode = members[cause.scope]
            if episode.odd:
                at = [period.at for period in episode.odd]
                compared = anomaly_reasons.compared(series[cause.scope], at, how.grain, how.currency)
                found.append(Finding(cause, episode, compared, tuple(judged[cause.scope])))
    return found


def _clusters(odd: Iterable[tuple[Scope, Episode]]) -> list[dict[Scope, Episode]]:
    """Episodes that share an odd period, directly or through others; two of one scope become one."""
    clusters: list[tuple[set[datetime], dict[Scope, Episode]]] = []
    for scope, one in sorted(odd, key=lambda item: (item[1].periods[0].at, item[0])):
        at, members = set(one.at), {scope: one}
        for other in [each for each in clusters if each[0] & at]:
            clusters.remove(other)
            at |= other[0]
            for name, episode in other[1].items():
                members[name] = _joined(members[name], episode) if name in members else episode
        clusters.append((at, members))
    return [members for _at, members in clusters]


def _joined(one: Episode, other: Episode) -> Episode:
    periods = {period.at: period for period in (*one.periods, *other.periods)}
    return replace(one, periods=tuple(periods[at] for at in sorted(periods)), is_open=one.is_open or other.is_open)
