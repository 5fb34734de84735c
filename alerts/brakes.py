"""What holds ladders back now: the break-glass pause, maintenance, quiet hours, protected scopes. Read by the steps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from alerts import calendars, ladder
from alerts.actions.base import GATE_NAMES
from alerts.models import Budget, HoldWindow, LadderPause, ProtectedScope

Scope = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Pause:
    """The break-glass pause that holds now."""

    id: int
    reason: str
    until: datetime
    started_at: datetime
    started_by: str


@dataclass(frozen=True, slots=True)
class Brakes:
    """Everything that holds ladders back at a moment, read once."""

    pause: Pause | None
    windows: tuple[tuple[HoldWindow, datetime], ...]  # those open, with their ends

    def open_until(self, kind: str, scope: Scope) -> datetime | None:
        """When the last window of a kind (maintenance, quiet) that is about this scope ends; None when none is open."""
        ends = [end for window, end in self.windows if window.kind == kind and may_overlap(window.scope, scope)]
        return max(ends, default=None)

    def names(self, kind: str, scope: Scope) -> list[str]:
        """The windows of a kind that are open for this scope."""
        return [window.name for window, _ in self.windows if window.kind == kind and may_overlap(window.scope, scope)]


def now_on(*, now: datetime) -> Brakes:
    """What holds ladders back now."""
    opened = [(window, end) for window in HoldWindow.objects.order_by("pk") if (end := window_end(window, now))]
    return Brakes(pause(now=now), tuple(opened))


def pause(*, now: datetime) -> Pause | None:
    """The break-glass pause that holds now; of several the one that lasts longest."""
    row = LadderPause.objects.filter(ended_at=None, started_at__lte=now, until__gt=now).order_by("-until", "pk").first()
    return None if row is None else Pause(row.pk, row.reason, row.until, row.started_at, row.started_by)


def protected() -> list[Scope]:
    """The scopes that no action of any budget touches."""
    return list(ProtectedScope.objects.order_by("pk").values_list("scope", flat=True))


def window_end(window: HoldWindow, now: datetime) -> datetime | None:
    """When it ends if it is open now."""
    if window.weekly:
        return calendars.open_until(calendars.parse(window.weekly), window.zone, now)
    if window.starts_at is None or window.ends_at is None:
        return None
    return window.ends_at if window.starts_at <= now < window.ends_at else None


def paused_until(budget: Budget, everything: Pause | None, now: datetime) -> datetime | None:
    """Until when the ladder of a budget is suspended, by itself or with all; None: it is not."""
    own, all_ = budget.paused_until, None if everything is None else everything.until
    ends = [end for end in (own, all_) if end is not None and end > now]
    return max(ends, default=None)


def protected_matches(budget: Budget, everywhere: Sequence[Scope]) -> list[dict[str, str]]:
    """What no action of the budget touches, in the names of a gate; the same for the same scopes."""
    found: list[dict[str, str]] = []
    for scope in [*everywhere, *budget.protected]:
        # What a gate cannot tell apart is protected with the rest, rather than not at all.
        known = {name: values for name, values in scope.items() if name in GATE_NAMES}
        found += [match for match in ladder.matches(known, GATE_NAMES) if match and match not in found]
    return sorted(found, key=lambda match: sorted(match.items()))


def may_overlap(one: Scope, other: Scope) -> bool:
    """Whether no dimension keeps the two apart."""
    return all(set(one[name]) & set(other[name]) for name in one.keys() & other.keys())


def is_within(match: Mapping[str, str], protected: Sequence[Mapping[str, str]]) -> bool:
    """Whether everything that matches is protected."""
    return any(all(match.get(name) == value for name, value in one.items()) for one in protected)
