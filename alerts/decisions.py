"""What a ladder does at an evaluation: a pure function, so that a replay and the live path decide alike."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from alerts import ladder

# States in which a rung is doing, or has done, what it is for.
_HOLDS = (*ladder.APPLYING, "done")
# What these triggers measure rests on no books.
_CLOCKED = frozenset({"schedule"})


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
    """One active rung and what it did last. Rungs of one trigger are one ladder; ladders do not know each other."""

    id: int
    percent: Decimal
    action: str
    approval: str  # as it counts now: with what criticality and blast radius demand
    trigger: str
    cooldown: timedelta
    last: LastRun | None
    hysteresis: Decimal = Decimal(0)  # points of percent below `percent` that the level must fall

    @property
    def weight(self) -> tuple[int, Decimal]:
        """Stronger actions first, then higher rungs."""
        return ladder.STRENGTH[self.action], self.percent

    @property
    def is_enforcing(self) -> bool:
        return self.action in ladder.ENFORCING


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
    levels: Mapping[int, Decimal | None],
    is_stale: bool,
    now: datetime,
    is_maintenance: bool = False,
    is_quiet: bool = False,
) -> Decision:
    """What happens now. `levels` has, by rung, what its trigger measures in percent; None is unknown: nothing fires, nothing
    is released.

    `is_stale`: the books are late, failing or do not add up: only notices fire, and nothing that rests on them is
    released. `is_maintenance`: nothing that enforces starts; what holds stays. `is_quiet`: notices wait.
    """
    crossed = [rung for rung in rungs if (level := levels.get(rung.id)) is not None and level >= rung.percent]
    due = [
        rung
        for rung in crossed
        if _may_start(rung, is_stale=is_stale, is_maintenance=is_maintenance, is_quiet=is_quiet)
        and (_is_armed(rung) or _is_uncovered(rung, rungs))
    ]
    known = [rung for rung in rungs if levels.get(rung.id) is not None and (not is_stale or rung.trigger in _CLOCKED)]
    under = [(rung, rung.last) for rung in known if _is_open(rung) and rung.last and _is_below(rung, levels)]
    return Decision(
        firings=tuple(firing for ladder_ in _by_trigger(due) for firing in _firings(ladder_, crossed)),
        went_under=tuple(last.id for _, last in under if last.under_since is None),
        went_over=tuple(
            rung.last.id
            for rung in known
            if _is_open(rung) and rung.last and rung.last.under_since is not None and not _is_below(rung, levels)
        ),
        rearmed=tuple(
            last.id for rung, last in under if last.under_since is not None and now - last.under_since >= rung.cooldown
        ),
    )


def _may_start(rung: RungFacts, *, is_stale: bool, is_maintenance: bool, is_quiet: bool) -> bool:
    return not (is_stale or is_maintenance) if rung.is_enforcing else not is_quiet


def _is_armed(rung: RungFacts) -> bool:
    return rung.last is None or rung.last.is_rearmed


def _is_open(rung: RungFacts) -> bool:
    """Whether its episode goes on."""
    return rung.last is not None and not rung.last.is_rearmed


def _is_below(rung: RungFacts, levels: Mapping[int, Decimal | None]) -> bool:
    level = levels[rung.id]
    return level is not None and level < rung.percent - rung.hysteresis


def _is_uncovered(rung: RungFacts, rungs: Sequence[RungFacts]) -> bool:
    """Whether it gave way to a stronger rung whose own episode is over, so that now it is its turn."""
    if not rung.is_enforcing or rung.last is None or rung.last.state != "superseded":
        return False
    return not any(
        _is_open(other) and other.trigger == rung.trigger and other.is_enforcing and other.weight > rung.weight
        for other in rungs
    )


def _by_trigger(rungs: Sequence[RungFacts]) -> list[list[RungFacts]]:
    found: dict[str, list[RungFacts]] = {}
    for rung in rungs:
        found.setdefault(rung.trigger, []).append(rung)
    return list(found.values())


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
    """A higher rung of the same trigger and of at least the same strength holds already."""
    is_stronger = ladder.STRENGTH[held.action] >= ladder.STRENGTH[rung.action]
    return held.trigger == rung.trigger and held.percent > rung.percent and is_stronger


def _weight(rung: RungFacts) -> tuple[int, Decimal]:
    return rung.weight


def _episode(rung: RungFacts) -> int:
    return rung.last.episode + 1 if rung.last else 1
