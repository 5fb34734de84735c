"""What the clouds' kinds for single machines share: which ones are stopped, and which of them are started again."""

from collections import Counter
from collections.abc import Mapping, Sequence

from alerts.hooks.base import Change, PermanentFailure, Standing


def words_of(noun: str, states: Mapping[str, str], running: str) -> str:
    """`2 of 3 instances running, 1 stopped`."""
    counts = Counter(states.values())
    others = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()) if state != running)
    plural = "" if len(states) == 1 else "s"
    return f"{counts[running]} of {len(states)} {noun}{plural} {running}{f', {others}' if others else ''}"


def would_stop(
    standing: Standing,
    to_units: int,
    *,
    noun: str,
    verb: str,
    running: Sequence[str],
    loses: str,
    resume_words: str,
    resume_seconds: int,
) -> Change:
    """Stopping the last running ones by name until `to_units` are left. Raises PermanentFailure when that is no stop."""
    states: Mapping[str, str] = standing.details["states"]
    up = _up(states, running)
    if not 0 <= to_units <= len(states):
        raise PermanentFailure(f"expected 0 to {len(states)} {noun}s, found {to_units}")
    if to_units > len(up):
        raise PermanentFailure(
            f"{len(up)} of {len(states)} {noun}s run; a budget starts none, it only takes back its own"
        )
    stops = up[to_units:]
    named = ", ".join(stops)
    words = f"{verb} {len(stops)} of {len(up)} running {noun}{'' if len(up) == 1 else 's'}: {named}"
    return Change(
        from_units=len(up),
        to_units=to_units,
        words=words if stops else f"Nothing: {len(up)} run already",
        loses=loses if stops else "",
        resume_words=resume_words if stops else "",
        resume_seconds=resume_seconds if stops else None,
        before={"states": dict(states)},
    )


def stopped_by(change: Change, running: Sequence[str]) -> list[str]:
    """The machines that the change stops."""
    return _up(change.before["states"], running)[change.to_units :]


def stands(change: Change, standing: Standing, running: Sequence[str]) -> bool:
    """Whether the machines that the change stops stand still, and as many run as it left."""
    states: Mapping[str, str] = standing.details["states"]
    is_one_up = any(states.get(name) in running for name in stopped_by(change, running))
    return not is_one_up and standing.units == change.to_units and standing.is_settled


def started_again(change: Change, standing: Standing, running: Sequence[str], *, stopped: str) -> list[str]:
    """Of the machines that ran before the change, those that stand still now and can be started."""
    states: Mapping[str, str] = standing.details["states"]
    return [name for name in _up(change.before["states"], running) if states.get(name) == stopped]


def run_again(change: Change, standing: Standing, running: Sequence[str]) -> bool:
    """Whether every machine that ran before the change runs."""
    states: Mapping[str, str] = standing.details["states"]
    return all(states.get(name) in running for name in _up(change.before["states"], running))


def _up(states: Mapping[str, str], running: Sequence[str]) -> list[str]:
    return [name for name, state in states.items() if state in running]
