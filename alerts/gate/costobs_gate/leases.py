"""Leases: the spend that this process may still admit under each hard budget, before it asks costobs for more.

A request reserves the most it can cost in every hard budget that covers it, and gives back what it did not use when it
ends. Nothing here waits for the network: amounts are asked for ahead of need by `renewal`, in a thread of its own.
All amounts are cumulative for the life of the process, so an answer that is lost, late or doubled changes nothing.
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from costobs_gate import hard, pricing, refusals
from costobs_gate.admission import Request
from costobs_gate.hard import HardBudget
from costobs_gate.metering import Reading
from costobs_gate.metrics import Metrics
from costobs_gate.policy import Policy
from costobs_gate.pricing import Price
from costobs_gate.refusals import Refusal

NEED_SECONDS = 10.0  # so long costobs is told of a request that did not fit
SOON_SECONDS = 1  # when to ask again, if the next grant may make room


@dataclass(slots=True)
class Account:
    """What this process holds of one budget in one period. Pico-units; all but `reserved` only grow."""

    id: int
    budget: int
    granted: int = 0
    settled: int = 0
    returned: int = 0
    reserved: int = 0  # by requests in flight
    until: float = 0.0  # monotonic: the lease's end
    ends: float = 0.0  # monotonic: the period's end
    left: int = 0  # limit - what was spent, by costobs' last answer
    standing: int = 0  # what costobs lends to a process without traffic
    is_pressed: bool = False  # others wait for what is not used here
    spent_before: int = 0  # settled + reserved at the last renewal
    largest: int = 0  # largest reservation since the last renewal

    @property
    def available(self) -> int:
        """What may still be reserved."""
        return self.granted - self.settled - self.returned - self.reserved


@dataclass(frozen=True, slots=True)
class Reservation:
    """What one request holds, until it is settled."""

    accounts: tuple[Account, ...]
    cost: int
    price: Price
    max_tokens: int | None  # to be written into a request that names no limit

    @property
    def ids(self) -> list[int]:
        """The accounts, as the event names them."""
        return [account.id for account in self.accounts]


@dataclass(slots=True)
class _Need:
    cost: int
    until: float


@dataclass(slots=True)
class Leases:
    """The leases of one process. Used by the event loop and by the renewing thread."""

    metrics: Metrics
    environment: str | None = None
    wake: threading.Event = field(default_factory=threading.Event)
    _guard: threading.Lock = field(default_factory=threading.Lock)
    _accounts: dict[int, Account] = field(default_factory=dict)  # by id; settled ones of periods past, too
    _current: dict[int, Account] = field(default_factory=dict)  # by budget
    _needs: dict[int, _Need] = field(default_factory=dict)  # by budget

    def reserve(
        self,
        *,
        policy: Policy,
        request: Request,
        model: str | None,
        path: str,
        document: Mapping[str, object] | None,
        size: int,
        cap: int | None,
        monotonic: float,
    ) -> Reservation | Refusal | None:
        """Hold the most that a request can cost; None when no hard budget covers it.

        `model` is the one that will serve it, `cap` the limit of output tokens that rules write into it.
        """
        budgets = self._covering(policy, request, model)
        if not budgets:
            return None
        price = hard.price_of(policy.prices, model)
        if price is None:
            return refusals.without_price(model)
        try:
            work = pricing.work(path, document, size)
        except pricing.Unbounded as error:
            return refusals.unbounded(str(error))
        limit = _limit(work, budgets, cap)
        cost = work.most(price, limit)
        with self._guard:
            for budget in budgets:
                refusal = self._refused(budget, cost, monotonic)
                if refusal is not None:
                    return refusal
            held = tuple(self._current[budget.id] for budget in budgets)
            for account in held:
                account.reserved += cost
                account.largest = max(account.largest, cost)
                if account.available < max(account.standing // 2, 2 * account.largest):
                    self.wake.set()
        return Reservation(held, cost, price, None if work.names_limit else limit)

    def settle(self, held: Reservation, reading: Reading) -> int:
        """Give back what was reserved and count what was used: the reservation, where usage is not known."""
        if reading.known:
            used = held.price.of(reading.input_tokens, reading.cache_read_tokens, reading.output_tokens)
        else:
            used = held.cost
        if used > held.cost:
            self.metrics.add("costobs_gate_over_reserved_total")
        with self._guard:
            for account in held.accounts:
                account.reserved -= held.cost
                account.settled += used
        return used

    def release(self, held: Reservation) -> None:
        """Give back what was reserved by a request that was not forwarded."""
        with self._guard:
            for account in held.accounts:
                account.reserved -= held.cost

    def totals(self) -> list[Account]:
        """A copy of every account, for metrics and tests."""
        with self._guard:
            return [_copy(account) for account in self._accounts.values()]

    def report(self, policy: Policy, monotonic: float) -> dict[str, object]:
        """What to tell costobs: what was used, what is given back, and what this process wants to hold."""
        with self._guard:
            wanted = {budget.id for budget in policy.hard}
            self._needs = {id_: need for id_, need in self._needs.items() if need.until > monotonic and id_ in wanted}
            wants = [self._want(budget.id, monotonic) for budget in policy.hard]
            for account in self._accounts.values():
                if account.budget not in wanted or self._current.get(account.budget) is not account:
                    self._give_back(account, 0)
            held = [_held(account) for account in self._accounts.values()]
        return {"held": held, "wants": wants}

    def last_report(self) -> dict[str, object] | None:
        """The final account of this process, once nothing is in flight; None when it has nothing to say."""
        with self._guard:
            if not self._accounts or any(account.reserved for account in self._accounts.values()):
                return None
            return {"held": [_held(account) for account in self._accounts.values()], "wants": [], "final": True}

    def take(self, answer: Mapping[str, object], asked: float) -> list[int]:
        """Take costobs' answer; `asked` is the moment of the question, so a lease ends here before it ends there.

        Gives the budgets that are used up. Raises ValueError and changes nothing when the answer is broken.
        """
        leases = [_Lease.of(item) for item in _items(answer, "leases")]
        closed = [id_ for id_ in _items(answer, "closed") if isinstance(id_, int)]
        with self._guard:
            for lease in leases:
                self._apply(lease, asked)
            for id_ in closed:
                account = self._accounts.get(id_)
                if account is not None and account.reserved == 0 and self._current.get(account.budget) is not account:
                    del self._accounts[id_]
            return [lease.budget for lease in leases if lease.left <= 0]

    def _covering(self, policy: Policy, request: Request, model: str | None) -> list[HardBudget]:
        key = request.key
        return [
            budget
            for budget in policy.hard
            if budget.covers(
                team=key.team,
                key_id=key.key_id,
                feature=request.feature,
                model=model,
                environment=self.environment,
            )
        ]

    def _refused(self, budget: HardBudget, cost: int, monotonic: float) -> Refusal | None:
        account = self._current.get(budget.id)
        if account is None:
            self._press(budget.id, cost, monotonic)
            return refusals.by_budget(budget.id, budget.message, SOON_SECONDS, away=True)
        if monotonic >= account.ends or (monotonic >= account.until and not budget.fails_open):
            self._press(budget.id, cost, monotonic)
            return refusals.by_budget(budget.id, budget.message, SOON_SECONDS, away=True)
        if account.available >= cost:
            return None
        self._press(budget.id, cost, monotonic)
        may_fit = account.left >= cost  # others may give back what they hold unused
        until_end = max(1, int(account.ends - monotonic) + 1)
        return refusals.by_budget(
            budget.id, budget.message, SOON_SECONDS if may_fit else budget.retry_after_seconds or until_end
        )

    def _press(self, budget: int, cost: int, monotonic: float) -> None:
        before = self._needs.get(budget)
        self._needs[budget] = _Need(max(cost, before.cost if before else 0), monotonic + NEED_SECONDS)
        self.wake.set()

    def _want(self, budget: int, monotonic: float) -> dict[str, object]:
        account, need = self._current.get(budget), self._needs.get(budget)
        needed = need.cost if need else 0
        if account is None or monotonic >= account.ends:
            return {"budget": budget, "hold": None, "need": pricing.text(needed)}
        spent = account.settled + account.reserved
        if not account.is_pressed:
            ahead = max(4 * account.largest, 2 * (spent - account.spent_before), account.standing, needed)
            kept = 2 * ahead
        else:
            # Others wait: keep what the next request takes, and nothing of what does not suffice for it.
            ahead = max(account.largest if spent > account.spent_before else 0, needed)
            kept = ahead if account.available >= needed else 0
        if account.available > kept:
            self._give_back(account, min(kept, ahead))
        account.spent_before, account.largest = spent, account.largest * 3 // 4
        return {
            "budget": budget,
            "hold": pricing.text(account.reserved + ahead),
            "need": pricing.text(account.reserved + needed if needed else 0),
        }

    def _give_back(self, account: Account, kept: int) -> None:
        account.returned += max(0, account.available - kept)

    def _apply(self, lease: "_Lease", asked: float) -> None:
        account = self._accounts.get(lease.account)
        if account is None:
            account = self._accounts[lease.account] = Account(lease.account, lease.budget)
        account.granted = lease.granted
        account.until, account.ends = asked + lease.seconds, asked + lease.ends
        account.left, account.standing, account.is_pressed = lease.left, lease.standing, lease.is_pressed
        self._current[lease.budget] = account
        need = self._needs.get(lease.budget)
        if need is not None and account.available >= need.cost:
            del self._needs[lease.budget]


@dataclass(frozen=True, slots=True)
class _Lease:
    """One lease of an answer."""

    budget: int
    account: int
    granted: int
    left: int
    standing: int
    seconds: float
    ends: float
    is_pressed: bool

    @classmethod
    def of(cls, item: object) -> "_Lease":
        if not isinstance(item, Mapping):
            raise ValueError("a lease is not an object")
        try:
            return cls(
                budget=int(item["budget"]),
                account=int(item["account"]),
                granted=pricing.pico(item["granted"]),
                left=_signed(item["left"]),
                standing=pricing.pico(item["standing"]),
                seconds=min(max(0.0, item["seconds"] + 0.0), 3600.0),
                ends=max(0.0, item["ends_in_seconds"] + 0.0),
                is_pressed=item.get("is_pressed") is True,
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"a lease is not complete: {error!r}") from error


def _limit(work: pricing.Work, budgets: Sequence[HardBudget], cap: int | None) -> int:
    """The tokens of one answer: what the client named, else the smallest default of its budgets; never above the cap."""
    limit = work.limit
    if limit is None:
        named = [budget.default_max_tokens for budget in budgets if budget.default_max_tokens is not None]
        limit = min(named, default=pricing.DEFAULT_MAX_TOKENS)
    return limit if cap is None else min(limit, cap)


def _signed(text: str) -> int:
    return -pricing.pico(text[1:]) if text.startswith("-") else pricing.pico(text)


def _items(document: Mapping[str, object], name: str) -> list[object]:
    value = document.get(name, [])
    if not isinstance(value, list):
        raise ValueError(f"{name} is not a list")
    return value


def _held(account: Account) -> dict[str, object]:
    return {
        "account": account.id,
        "settled": pricing.text(account.settled),
        "returned": pricing.text(account.returned),
        "reserved": pricing.text(account.reserved),
    }


def _copy(account: Account) -> Account:
    return Account(**{name: getattr(account, name) for name in Account.__slots__})
