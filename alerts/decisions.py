"""What a ladder does at an evaluation: a pure function, so that a replay and the live path decide alike."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from alerts import ladder

# States in which a rung is doing, or has done, what it is for.
_HOLDS = (*ladder.APPLYING, "done")


@dataclass(frozen=True, slots=True)
class LastRun:
    """The newest run of a rung in this period."""

    id: int
    state: str
    episode: int
    under_since: datetime | None
    is_rearmed: bool


@dataclass(frozen=True, slots=True)
class RungFacts:
    """One active rung and what it did last."""

    id: int
    percent: Decimal
    action: str
    approval: str
    on: str  # actual or forecast
    cooldown: timedelta
    last: LastRun | None

    @property
    def weight(self) -> tuple[int, Decimal]:
        """Stronger actions first, then higher rungs."""
        return ladder.STRENGTH[self.action], self.percent


@dataclass(frozen=True, slots=True)
class Firing:
    """A run to be written: which rung, in which state it begins, in which episode."""

    rung_id: int
    state: str  # running, waiting_approval, done, superseded
    episode: int


@dataclass(frozen=True, slots=True)
class Decision:
    """All changes of one budget at one evaluation; empty when there is nothing to do."""

    firings: tuple[Firing, ...] = ()
    went_under: tuple[int, ...] = ()  # runs: spend is back under the rung since now
    went_over: tuple[int, ...] = ()  # runs: it was under, not for long enough
    rearmed: tuple[int, ...] = ()  # runs: under for the cooldown; the episode ends

    def __bool__(self) -> bool:
        return bool(self.firings or self.went_under or self.went_over or self.rearmed)


def decide(
    *,
    rungs: Sequence[RungFacts],
    used_percent: Decimal,
    forecast_percent: Decimal | None,
    is_stale: bool,
    now: datetime,
) -> Decision:
    """What happens now. On stale data only notices fire, and nothing is released."""
    levels = {rung.id: used_percent if rung.on == "actual" else forecast_percent for rung in rungs}
    crossed = [rung for rung in rungs if (level := levels[rung.id]) is not None and level >= rung.percent]
    due = [rung for rung in crossed if _is_armed(rung) and (not is_stale or rung.action == "notify")]
    firings = _firings(due, crossed)
    if is_stale:
        return Decision(firings)
    fallen = [rung for rung in rungs if (level := levels[rung.id]) is not None and level < rung.percent]
    under = [(rung, rung.last) for rung in fallen if rung.last is not None and not rung.last.is_rearmed]
    return Decision(
        firings=firings,
        went_under=tuple(last.id for _, last in under if last.under_since is None),
        went_over=tuple(rung.last.id for rung in crossed if _is_wavering(rung) and rung.last is not None),
        rearmed=tuple(
            last.id for rung, last in under if last.under_since is not None and now - last.under_since >= rung.cooldown
        ),
    )


def _is_armed(rung: RungFacts) -> bool:
    return rung.last is None or rung.last.is_rearmed


def _is_wavering(rung: RungFacts) -> bool:
    return rung.last is not None and not rung.last.is_rearmed and rung.last.under_since is not None


def _firings(due: Sequence[RungFacts], crossed: Sequence[RungFacts]) -> tuple[Firing, ...]:
    """The strongest automatic rung is applied, a stronger one that needs approval asked for, the rest superseded."""
    held = [rung for rung in crossed if not _is_armed(rung) and rung.last and rung.last.state in _HOLDS]
    open_rungs = [rung for rung in due if not any(_covers(other, rung) for other in held)]
    automatic = max((rung for rung in open_rungs if rung.approval == "automatic"), key=_weight, default=None)
    asking = max((rung for rung in open_rungs if rung.approval != "automatic"), key=_weight, default=None)
    if automatic is not None and asking is not None and automatic.weight > asking.weight:
        asking = None
    return tuple(Firing(rung.id, _first_state(rung, automatic, asking), _episode(rung)) for rung in due)


def _first_state(rung: RungFacts, automatic: RungFacts | None, asking: RungFacts | None) -> str:
    if rung is asking:
        return "waiting_approval"
    if rung is not automatic:
        return "superseded"
    if rung.action == "notify":
        # What asks for approval says the same and more, in one alert.
        return "superseded" if asking is not None else "done"
    return "running"


def _covers(held: RungFacts, rung: RungFacts) -> bool:
    """A higher rung of at least the same strength holds already."""
    return held.percent > rung.percent and ladder.STRENGTH[held.action] >= ladder.STRENGTH[rung.action]


def _weight(rung: RungFacts) -> tuple[int, Decimal]:
    return rung.weight


def _episode(rung: RungFacts) -> int:
    return rung.last.episode + 1 if rung.last else 1
