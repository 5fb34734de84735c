"""The contract of hooks: carry out a plan in the serving layer, say whether it took effect. They touch no database."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar

from costobs.kernel import http

# Names in Change.before beside the details of the standing: the parts that a change takes, and what it sets them to.
TOUCHED, AIM = "touched", "to"


class BadConfig(ValueError):
    """The configuration is not right; `field` is the setting or credential it is about."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field, self.message = field, message


class TemporaryFailure(Exception):
    """Worth another try. The message holds no secret."""


class PermanentFailure(Exception):
    """Another try would fail in the same way: somebody must change something. The message holds no secret and says what."""


@dataclass(frozen=True, slots=True)
class ProcessFact:
    """One process of the serving layer: when it was heard of, and the rules it proved to hold."""

    name: str
    last_seen_at: datetime
    rules: frozenset[str]


@dataclass(frozen=True, slots=True)
class PlaceFact:
    """One place where a rule must hold: a gate and its processes."""

    name: str
    processes: tuple[ProcessFact, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """How many places confirmed out of how many; `waiting` names the others."""

    confirmed: int
    expected: int
    waiting: tuple[str, ...]

    @property
    def is_in_effect(self) -> bool:
        return self.expected > 0 and self.confirmed == self.expected


class Hook(ABC):
    """One kind of serving layer that holds the rules of a policy."""

    kind: ClassVar[str]

    @abstractmethod
    def verify(self, *, rules: Sequence[str], places: Sequence[PlaceFact], now: datetime) -> Verdict:
        """Whether these rules hold everywhere, as proved by the places themselves and not by what we sent."""


@dataclass(frozen=True, slots=True)
class Field:
    """One setting or credential as a form asks for it."""

    name: str
    label: str
    help: str = ""
    is_needed: bool = False
    is_long: bool = False


@dataclass(frozen=True, slots=True)
class Standing:
    """What a resource is now, as it says itself."""

    units: int  # replicas, instances, or 1 and 0 for on and off
    words: str  # 3 of 3 replicas ready
    is_settled: bool = True  # False while it is on its way to `units`
    details: Mapping[str, Any] = field(default_factory=dict)  # what `undo` needs to restore it exactly; plain JSON


@dataclass(frozen=True, slots=True)
class Change:
    """What would be done to a resource, for people and for `apply`; plain JSON, fixed when it is planned."""

    from_units: int
    to_units: int
    words: str  # Scale deployment chat/vllm from 3 to 0 replicas
    loses: str  # what is lost by it: in-flight requests after 60 s, the content of the instance store; empty: nothing
    resume_words: str  # what resuming costs: image and weights are read again, about 4 minutes
    resume_seconds: int | None
    # Standing.details when it was planned. Where a kind names the parts that it changes under `touched`, only these are restored.
    before: Mapping[str, Any] = field(default_factory=dict)
    key: str = ""  # names this change and no other, however often it is sent; given when it is written down


def merged(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    """`before` of a change that lies on top of another one, which has ended: what was there before both, all that either of
    them took, and still its own aim."""
    found = {name: value for name, value in lower.items() if name not in {TOUCHED, AIM}}
    if AIM in upper:
        found[AIM] = upper[AIM]
    if TOUCHED in lower and TOUCHED in upper:
        found[TOUCHED] = sorted({*lower[TOUCHED], *upper[TOUCHED]})
    return found


def touches(change: Change, part: str) -> bool:
    """Whether a change took a part, which it then restores; one of before this was noted restores all."""
    return part in change.before.get(TOUCHED, (part,))


class ResourceHook(ABC):
    """One kind of thing that runs and is paid for, which can be scaled or stopped.

    Its class docstring says what it does, which permissions it needs, and shows a configuration. Every call has a time
    limit; every method may be called again after a crash in the middle of it and then ends in the same state.
    """

    kind: ClassVar[str]
    title: ClassVar[str]
    settings: ClassVar[Sequence[Field]]
    secrets: ClassVar[Sequence[Field]] = ()
    are_units_alike: ClassVar[bool] = True  # so that fewer of them save their part
    now: datetime | None = None  # when it is called, for kinds that sign what they send; set by whoever calls

    def check(self, config: Mapping[str, Any], credentials: Mapping[str, str]) -> None:
        """Raises BadConfig."""
        for given, known in ((config, self.settings), (credentials, self.secrets)):
            names = [one.name for one in known]
            unknown = sorted(set(given) - set(names))
            if unknown:
                raise BadConfig(unknown[0], f"{self.kind} has no such setting; known: {', '.join(names)}")
            for one in known:
                if one.is_needed and not given.get(one.name):
                    raise BadConfig(one.name, f"{self.title} needs it")

    @abstractmethod
    def look(self, config: Mapping[str, Any], credentials: Mapping[str, str]) -> Standing:
        """What the resource is now. Raises TemporaryFailure or PermanentFailure."""

    @abstractmethod
    def plan(self, standing: Standing, to_units: int, config: Mapping[str, Any]) -> Change:
        """What going to `to_units` would do; pure. Raises PermanentFailure where this kind cannot do that."""

    def is_there(self, standing: Standing, to_units: int) -> bool:
        """Whether going to `to_units` would do nothing; what is lower already is never raised."""
        return standing.units <= to_units

    @abstractmethod
    def apply(self, change: Change, config: Mapping[str, Any], credentials: Mapping[str, str]) -> None:
        """Does it; done already is fine. Raises TemporaryFailure or PermanentFailure."""

    @abstractmethod
    def undo(self, change: Change, config: Mapping[str, Any], credentials: Mapping[str, str]) -> None:
        """Restores `change.before`; restored already is fine. Raises TemporaryFailure or PermanentFailure."""

    def is_applied(self, change: Change, standing: Standing) -> bool:
        """Whether it took effect, by what the resource says itself."""
        return standing.units == change.to_units and standing.is_settled

    def is_undone(self, change: Change, standing: Standing) -> bool:
        """Whether it is what it was before, by what the resource says itself."""
        return standing.units == change.from_units

    def is_half_undone(self, change: Change, standing: Standing) -> bool:
        """Whether `undo` did its first step and has another one to do; for kinds that cannot restore all at once."""
        return False


def checked(field: str, url: str) -> str:
    """A user-given address that may be called. Raises BadConfig."""
    try:
        return http.check(url)
    except http.BlockedAddress as problem:
        raise BadConfig(field, str(problem)) from problem


def endpoint(config: Mapping[str, Any], name: str = "endpoint_url") -> str:
    """The user's own address of a service, checked anew before every use; empty where there is none. Raises PermanentFailure."""
    url = str(config.get(name) or "")
    if url:
        try:
            http.check(url)
        except http.BlockedAddress as problem:
            raise PermanentFailure(f"{name}: {problem}") from None
    return url
