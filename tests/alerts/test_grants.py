"""The arithmetic of leases: whatever happens in whatever order, nothing is lost and nothing is lent twice."""

from dataclasses import dataclass, field
from decimal import Decimal

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from alerts import grants
from alerts.grants import Holding, Report

LIMIT = Decimal(100)
AMOUNTS = st.integers(1, 12).map(Decimal)


@dataclass
class Process:
    """A gate process that follows the rules: it reserves before it spends, from what it was told that it holds."""

    granted: Decimal = grants.ZERO
    settled: Decimal = grants.ZERO
    returned: Decimal = grants.ZERO
    requests: list[tuple[Decimal, Decimal]] = field(default_factory=list)  # reserved, really used
    sequence: int = 0
    is_alive: bool = True
    sent: list[Report] = field(default_factory=list)

    @property
    def reserved(self) -> Decimal:
        return sum((reserved for reserved, _ in self.requests), grants.ZERO)

    @property
    def available(self) -> Decimal:
        return self.granted - self.settled - self.returned - self.reserved

    def report(self) -> Report:
        self.sequence += 1
        self.sent.append(Report(self.settled, self.returned, self.reserved, self.sequence))
        return self.sent[-1]


class Account(RuleBasedStateMachine):
    """One account and up to five processes; answers and reports are lost, doubled, late; processes die and are read."""

    def __init__(self) -> None:
        super().__init__()
        self.leases: list[Holding] = []
        self.processes: list[Process] = []
        self.served = grants.ZERO  # by the model server's own log
        self.freed = grants.ZERO  # the most by which the limit may be passed

    def standing(self) -> grants.Standing:
        settled = sum((one.settled for one in self.leases), grants.ZERO)
        used = grants.used(opening=grants.ZERO, settled=settled, gate=grants.ZERO, other=grants.ZERO)
        return grants.standing(limit=LIMIT, used_cost=used, holdings=self.leases)

    @precondition(lambda self: len(self.processes) < 5)
    @rule()
    def begin(self) -> None:
        self.leases.append(Holding())
        self.processes.append(Process())

    @precondition(lambda self: self.processes)
    @rule(which=st.integers(0, 4), hold=AMOUNTS, need=AMOUNTS, arrives=st.booleans(), is_told=st.booleans())
    def renew(self, which: int, hold: Decimal, need: Decimal, arrives: bool, is_told: bool) -> None:
        index = which % len(self.processes)
        process = self.processes[index]
        if not process.is_alive:
            return
        report = process.report()
        if not arrives:
            return
        taken = grants.take(self.leases[index], report)
        self.leases[index] = taken
        after, _ = grants.grant(
            taken, hold=process.reserved + hold, need=need, free=self.standing().free, sharers=len(self.processes)
        )
        self.leases[index] = after
        if is_told:
            process.granted = after.granted - after.freed

    @precondition(lambda self: any(process.sent for process in self.processes))
    @rule(which=st.integers(0, 4), old=st.integers(0, 100))
    def hear_again(self, which: int, old: int) -> None:
        index = which % len(self.processes)
        sent = self.processes[index].sent
        if sent:
            before = self.leases[index]
            self.leases[index] = grants.take(before, sent[old % len(sent)])
            if sent[old % len(sent)].sequence <= before.sequence:
                assert self.leases[index] == before

    @precondition(lambda self: self.processes)
    @rule(which=st.integers(0, 4), cost=AMOUNTS, share=st.integers(0, 100))
    def admit(self, which: int, cost: Decimal, share: int) -> None:
        process = self.processes[which % len(self.processes)]
        if process.is_alive and process.available >= cost:
            used = cost * share / 100
            process.requests.append((cost, used))
            self.served += used

    @precondition(lambda self: self.processes)
    @rule(which=st.integers(0, 4))
    def end(self, which: int) -> None:
        process = self.processes[which % len(self.processes)]
        if process.is_alive and process.requests:
            _, used = process.requests.pop()
            process.settled += used

    @precondition(lambda self: self.processes)
    @rule(which=st.integers(0, 4), kept=AMOUNTS)
    def give_back(self, which: int, kept: Decimal) -> None:
        process = self.processes[which % len(self.processes)]
        if process.is_alive and process.available > kept:
            process.returned += process.available - kept

    @precondition(lambda self: self.processes)
    @rule(which=st.integers(0, 4))
    def kill(self, which: int) -> None:
        self.processes[which % len(self.processes)].is_alive = False

    @precondition(lambda self: self.processes)
    @rule(which=st.integers(0, 4))
    def grace_ends(self, which: int) -> None:
        """The process was silent for the grace; it may be dead, or only cut off."""
        index = which % len(self.processes)
        if self.leases[index].state == grants.OPEN:
            before = self.leases[index]
            self.leases[index] = grants.free_orphan(before)
            self.freed += self.leases[index].freed - before.freed

    @precondition(lambda self: any(not process.is_alive for process in self.processes))
    @rule(which=st.integers(0, 4))
    def read_spool(self, which: int) -> None:
        self.give_last(which % len(self.processes))

    def give_last(self, index: int) -> None:
        process = self.processes[index]
        if not process.is_alive:
            # What was in flight counts as it was reserved.
            process.settled += process.reserved
            process.requests = []
            last = Report(process.settled, grants.ZERO, grants.ZERO, 1, is_final=True)
            self.leases[index] = grants.take(self.leases[index], last)
            assert self.leases[index].outstanding == 0

    @invariant()
    def it_serves_no_more_than_the_limit_and_what_grace_freed(self) -> None:
        assert self.served <= LIMIT + self.freed

    @invariant()
    def it_lends_no_more_than_is_left(self) -> None:
        standing = self.standing()
        assert standing.used + standing.outstanding <= LIMIT + self.freed
        assert all(lease.outstanding >= 0 for lease in self.leases)

    @invariant()
    def it_knows_at_least_what_processes_could_have_spent_unless_it_was_freed(self) -> None:
        for lease, process in zip(self.leases, self.processes, strict=True):
            if lease.state == grants.OPEN and not lease.freed:
                assert process.settled + process.reserved + process.available <= lease.settled + lease.outstanding

    def teardown(self) -> None:
        """After recovery the counter is the sum of what every process settled: no phantom block."""
        for process in self.processes:
            process.is_alive = False
        for index in range(len(self.processes)):
            self.give_last(index)
        standing = self.standing()
        assert standing.outstanding == 0
        assert standing.used == sum((process.settled for process in self.processes), grants.ZERO)


Account.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
test_account = Account.TestCase


def test_it_grants_nothing_where_all_that_is_free_does_not_meet_the_need() -> None:
    held, is_met = grants.grant(Holding(), hold=Decimal(5), need=Decimal(9), free=Decimal(8), sharers=1)

    assert (held.granted, is_met) == (Decimal(0), False)


def test_it_shares_what_is_free_unless_a_request_waits() -> None:
    shared, _ = grants.grant(Holding(), hold=Decimal(50), need=Decimal(0), free=Decimal(40), sharers=4)
    needed, _ = grants.grant(Holding(), hold=Decimal(50), need=Decimal(30), free=Decimal(40), sharers=4)

    assert (shared.granted, needed.granted) == (Decimal(10), Decimal(30))


def test_it_counts_the_larger_of_gates_and_books() -> None:
    early = grants.used(opening=Decimal(1), settled=Decimal(5), gate=Decimal(2), other=Decimal(3))
    billed = grants.used(opening=Decimal(1), settled=Decimal(5), gate=Decimal(8), other=Decimal(3))

    assert (early, billed) == (Decimal(9), Decimal(11))
