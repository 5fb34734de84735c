"""Admission: whether a request may pass now, by the rules of the policy. The clock is an argument."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from costobs_gate.counters import Counters
from costobs_gate.policy import Key, Rule

DEFAULT_RETRY_AFTER = 30
LONGEST_CHAIN = 8  # reroutes that follow each other


@dataclass(slots=True, eq=False)
class Request:
    """What rules can see of a request. Compared by identity: two equal requests are two requests."""

    key: Key
    feature: str | None
    model: str | None  # None: could not be read
    served: str | None = None  # the model that will serve it, when that is another one

    @property
    def serving(self) -> str | None:
        """The model that serves it: what it costs depends on this one."""
        return self.served or self.model


@dataclass(slots=True, eq=False)
class Ticket:
    """What an admitted request holds until it leaves."""

    request: Request
    counted: set[str] = field(default_factory=set)  # limits that count it in flight
    tokens: dict[str, float] = field(default_factory=dict)  # limits whose tokens it took, and their rate
    estimate: float = 0.0
    abort: Callable[[str], None] | None = None


class Decision(NamedTuple):
    """Admitted (perhaps with a cap on output tokens and a priority), or refused by a rule."""

    refused_by: Rule | None = None
    retry_after_seconds: int = 0
    max_tokens: int | None = None
    priority: int | None = None
    ticket: Ticket | None = None


class Reroute(NamedTuple):
    """Where the rules send a request; `rules` are the ids of those that did, in order."""

    model: str | None
    upstream: str | None
    rules: tuple[str, ...]


class Admission:
    """Decides, and keeps what deciding needs: counters per limit and the requests in flight.

    Used from the event loop only. Counters are shared with the other processes of the server, see `counters`.
    """

    def __init__(self, counters: Counters | None = None) -> None:
        self.counters = counters or Counters()
        self._inflight: set[Ticket] = set()

    @property
    def inflight(self) -> int:
        """Requests in flight in this process."""
        return len(self._inflight)

    def decide(
        self,
        *,
        request: Request,
        rules: Iterable[Rule],
        now: datetime,
        monotonic: float,
        estimate: float = 0.0,
        upstream: str = "",
    ) -> Decision:
        """Whether the request may pass; then it holds its place until `leave`. All rules that match must agree, and a
        refusal takes nothing from any bucket. `estimate` is in tokens; `upstream` is counted in flight under its name.
        """
        matched = matching(request, rules, now)
        blocking = next((rule for rule in matched if rule.action == "block"), None)
        if blocking is not None:
            return _refused(blocking)
        throttles = [rule for rule in matched if rule.action == "throttle"]
        ticket = Ticket(request, estimate=estimate)
        limits = [rule for rule in throttles if rule.counts]
        if limits or upstream:
            with self.counters.locked():
                for rule in limits:
                    wait = self._wait(rule, estimate, monotonic)
                    if wait is not None:
                        return _refused(rule, wait)
                self._take(ticket, limits, upstream, monotonic)
        self._inflight.add(ticket)
        self.counters.count_total(len(self._inflight))
        return Decision(
            max_tokens=min((rule.max_tokens for rule in throttles if rule.max_tokens is not None), default=None),
            # The lowest rank wins: a larger number is served later.
            priority=max((rule.priority for rule in throttles if rule.priority is not None), default=None),
            ticket=ticket,
        )

    def may_serve(self, *, request: Request, rules: Iterable[Rule], now: datetime, monotonic: float) -> bool:
        """Whether the rules would let it pass; nothing is taken."""
        matched = matching(request, rules, now)
        if any(rule.action == "block" for rule in matched):
            return False
        limits = [rule for rule in matched if rule.action == "throttle" and rule.counts]
        with self.counters.locked():
            return all(self._wait(rule, 0.0, monotonic) is None for rule in limits)

    def leave(self, ticket: Ticket, *, used: float | None = None, monotonic: float) -> None:
        """The request is over, however it ended; `used` are its tokens (None: nobody knows, the estimate stands)."""
        if ticket not in self._inflight:
            return
        self._inflight.discard(ticket)
        self.counters.count_total(len(self._inflight))
        if ticket.counted or ticket.tokens:
            with self.counters.locked():
                self._give_back(ticket, used, monotonic)

    def move(self, ticket: Ticket, upstream: str, other: str, monotonic: float) -> None:
        """It runs at another upstream now; an `other` without a name is not counted."""
        with self.counters.locked():
            if upstream_id(upstream) in ticket.counted:
                self.counters.count(upstream_id(upstream), -1, monotonic)
                ticket.counted.discard(upstream_id(upstream))
            if other:
                self.counters.count(upstream_id(other), 1, monotonic)
                ticket.counted.add(upstream_id(other))

    def is_full(self, upstream: str, most: int, monotonic: float) -> bool:
        """Whether an upstream has so many requests in flight, of all processes."""
        with self.counters.locked():
            return self._is_full(upstream_id(upstream), most, monotonic)

    def adopt(self, rules: Iterable[Rule], monotonic: float) -> None:
        """Count what runs already under the limits of new rules."""
        bounds = [rule for rule in rules if rule.action == "throttle" and rule.max_inflight is not None]
        with self.counters.locked():
            for ticket in self._inflight:
                for rule in bounds:
                    if rule.id not in ticket.counted and _covers(rule, ticket.request):
                        ticket.counted.add(rule.id)
                        self.counters.count(rule.id, 1, monotonic)

    def running_everywhere(self, monotonic: float) -> int:
        """Requests in flight in all processes of this server."""
        with self.counters.locked():
            self.counters.bury(monotonic)
            return self.counters.total()

    def running(self, covers: Callable[[Request], bool]) -> list[Ticket]:
        """The requests in flight in this process that something is about."""
        return [ticket for ticket in self._inflight if covers(ticket.request)]

    def _wait(self, rule: Rule, estimate: float, monotonic: float) -> int | None:
        """Seconds to wait when the limit is used up; None when the request fits."""
        if rule.max_inflight is not None and self._is_full(rule.id, rule.max_inflight, monotonic):
            return DEFAULT_RETRY_AFTER
        for rate in (rule.requests_per_minute, rule.tokens_per_minute):
            if rate is not None and rate <= 0:
                return DEFAULT_RETRY_AFTER  # 0 a minute lets nothing through
        wait = 0.0
        if rule.requests_per_minute is not None:
            wait = self.counters.requests_wait(rule.id, rule.requests_per_minute, monotonic)
        if rule.tokens_per_minute is not None:
            wait = max(wait, self.counters.tokens_wait(rule.id, rule.tokens_per_minute, estimate, monotonic))
        return math.ceil(wait) if wait > 0 else None

    def _is_full(self, id_: str, most: int, monotonic: float) -> bool:
        if self.counters.inflight(id_, monotonic) < most:
            return False
        self.counters.bury(monotonic)
        return self.counters.inflight(id_, monotonic) >= most

    def _take(self, ticket: Ticket, limits: Iterable[Rule], upstream: str, monotonic: float) -> None:
        for rule in limits:
            has_rate = rule.tokens_per_minute is not None
            if has_rate or rule.requests_per_minute is not None:
                tokens = ticket.estimate if has_rate else 0.0
                requests = 1.0 if rule.requests_per_minute is not None else 0.0
                self.counters.take(rule.id, monotonic, requests=requests, tokens=tokens)
            if rule.tokens_per_minute is not None:
                ticket.tokens[rule.id] = rule.tokens_per_minute
            if rule.max_inflight is not None:
                ticket.counted.add(rule.id)
        if upstream:
            ticket.counted.add(upstream_id(upstream))
        for id_ in ticket.counted:
            self.counters.count(id_, 1, monotonic)

    def _give_back(self, ticket: Ticket, used: float | None, monotonic: float) -> None:
        for id_ in ticket.counted:
            self.counters.count(id_, -1, monotonic)
        for id_ in ticket.tokens if used is not None else ():
            self.counters.take(id_, monotonic, tokens=(used or 0.0) - ticket.estimate)


def matching(request: Request, rules: Iterable[Rule], now: datetime) -> list[Rule]:
    """The rules in force that are about the request, the limits of its key among them."""
    found = [rule for rule in rules if not rule.is_over(now) and _covers(rule, request)]
    if request.key.limits is not None:
        found.append(request.key.limits)
    return found


def reroute(request: Request, rules: Iterable[Rule], now: datetime) -> Reroute | None:
    """Where the rules send the request; None when it stays. Each rule acts once, so no two can play ping-pong."""
    waiting = [rule for rule in rules if rule.action == "reroute" and not rule.is_over(now)]
    model, upstream, used = request.model, None, []
    for _ in range(LONGEST_CHAIN):
        rule = next((each for each in waiting if each.covers(request.key, request.feature, model)), None)
        if rule is None:
            break
        waiting.remove(rule)
        if rule.to_model == model and rule.to_upstream in (None, upstream):
            continue
        model, upstream = rule.to_model or model, rule.to_upstream or upstream
        used.append(rule.id)
    return Reroute(model, upstream, tuple(used)) if used else None


def upstream_id(name: str) -> str:
    """The name under which the requests at an upstream are counted."""
    return f"upstream:{name}"


def _covers(rule: Rule, request: Request) -> bool:
    return rule.covers(request.key, request.feature, request.model, request.served)


def _refused(rule: Rule, computed: int = DEFAULT_RETRY_AFTER) -> Decision:
    """The rule's own Retry-After wins over the computed one: whoever wrote it knows when asking again makes sense."""
    return Decision(refused_by=rule, retry_after_seconds=max(1, rule.retry_after_seconds or computed))
