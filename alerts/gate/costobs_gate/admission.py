"""Admission: whether a request may pass now, by the rules of the policy. The clock is an argument."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from costobs_gate.policy import Key, Rule

BURST_SECONDS = 10  # a bucket holds ten seconds' worth of its rate, at least one request
DEFAULT_RETRY_AFTER = 30


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """What rules can see of a request. Compared by identity: two equal requests are two requests."""

    key: Key
    feature: str | None
    model: str | None  # None: could not be read


@dataclass(frozen=True, slots=True)
class Decision:
    """Admitted (perhaps with a cap on output tokens), or refused by a rule."""

    refused_by: Rule | None = None
    retry_after_seconds: int = 0
    max_tokens: int | None = None


class _Bucket:
    """A token bucket. It starts full and never holds more than its burst."""

    __slots__ = ("at", "level", "rate")

    def __init__(self, rate: float, now: float) -> None:
        self.rate, self.level, self.at = rate, self._burst(rate), now

    @staticmethod
    def _burst(rate: float) -> float:
        return max(1.0, rate * BURST_SECONDS / 60)

    def refill(self, rate: float, now: float) -> None:
        self.level = min(self._burst(rate), self.level + (now - self.at) * self.rate / 60)
        self.rate, self.at = rate, now

    def seconds_to_next(self) -> int:
        return math.ceil((1 - self.level) * 60 / self.rate)


class Admission:
    """Decides, and keeps what deciding needs: buckets per rule and the requests in flight.

    Used from the event loop only, so there are no locks. Limits are those of this process: with several API processes
    each one has its own.
    """

    def __init__(self) -> None:
        self._buckets: dict[str, _Bucket] = {}
        self._inflight: set[Request] = set()

    @property
    def inflight(self) -> int:
        """Requests in flight in this process."""
        return len(self._inflight)

    def decide(self, *, request: Request, rules: Iterable[Rule], now: datetime, monotonic: float) -> Decision:
        """Whether the request may pass. A refusal takes nothing from any bucket; all rules that match must agree."""
        buckets: list[_Bucket] = []
        caps: list[int] = []
        for rule in rules:
            expired = rule.until is not None and rule.until <= now
            if expired or not rule.covers(request.key, request.feature, request.model):
                continue
            if rule.action == "block":
                return _refused(rule)
            if rule.max_inflight is not None and self._matching(rule) >= rule.max_inflight:
                return _refused(rule)
            if rule.requests_per_minute is not None:
                bucket = self._bucket(rule, rule.requests_per_minute, monotonic)
                if bucket is None:
                    return _refused(rule)
                if bucket.level < 1:
                    return _refused(rule, bucket.seconds_to_next())
                buckets.append(bucket)
            if rule.max_tokens is not None:
                caps.append(rule.max_tokens)
        for bucket in buckets:
            bucket.level -= 1
        return Decision(max_tokens=min(caps, default=None))

    def enter(self, request: Request) -> None:
        """Count an admitted request until it leaves."""
        self._inflight.add(request)

    def leave(self, request: Request) -> None:
        """The request is over, however it ended."""
        self._inflight.discard(request)

    def forget(self, rules: Iterable[Rule]) -> None:
        """Drop the buckets of rules that are no longer in the policy."""
        kept = {rule.id for rule in rules}
        self._buckets = {id_: bucket for id_, bucket in self._buckets.items() if id_ in kept}

    def _matching(self, rule: Rule) -> int:
        return sum(rule.covers(other.key, other.feature, other.model) for other in self._inflight)

    def _bucket(self, rule: Rule, rate: float, monotonic: float) -> _Bucket | None:
        if rate <= 0:
            return None  # 0 requests a minute lets nothing through
        bucket = self._buckets.get(rule.id)
        if bucket is None:
            bucket = self._buckets[rule.id] = _Bucket(rate, monotonic)
        else:
            bucket.refill(rate, monotonic)
        return bucket


def _refused(rule: Rule, computed: int = DEFAULT_RETRY_AFTER) -> Decision:
    """The rule's own Retry-After wins over the computed one: whoever wrote it knows when asking again makes sense."""
    return Decision(refused_by=rule, retry_after_seconds=max(1, rule.retry_after_seconds or computed))
