"""The arithmetic of leases, pure: what a report changes, what is outstanding, what may be granted, what is freed.

    used        = max(opening + settled, what the books say of calls through gates) + everything else in the books
    outstanding = granted - settled - returned - freed, of each lease, never below nothing
    free        = limit - used - outstanding

Every amount of a lease is cumulative, so reports may be lost, doubled or reordered.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal

from costobs.kernel import money

ZERO = Decimal(0)
FINAL = 2**62  # the sequence of a last account: nothing that was sent before it counts after it
STANDING_SHARE = 200  # a process without traffic holds up to a 200th of the limit
OPEN, ORPHANED, CLOSED = "open", "orphaned", "closed"


@dataclass(frozen=True, slots=True)
class Holding:
    """One lease."""

    granted: Decimal = ZERO
    settled: Decimal = ZERO
    returned: Decimal = ZERO
    freed: Decimal = ZERO
    reserved: Decimal = ZERO
    state: str = OPEN
    sequence: int = 0

    @property
    def balance(self) -> Decimal:
        """What the process may still reserve or has reserved; below nothing when a request broke its bound."""
        return money.total([self.granted, -self.settled, -self.returned, -self.freed])

    @property
    def outstanding(self) -> Decimal:
        """What counts as if it were spent."""
        return ZERO if self.state == CLOSED else max(ZERO, self.balance)


@dataclass(frozen=True, slots=True)
class Report:
    """What a process, or whoever read its spool, says of one lease."""

    settled: Decimal
    returned: Decimal
    reserved: Decimal
    sequence: int
    is_final: bool = False


@dataclass(frozen=True, slots=True)
class Standing:
    """An account at one moment."""

    limit: Decimal
    used: Decimal
    outstanding: Decimal

    @property
    def left(self) -> Decimal:
        """Not spent."""
        return money.EXACT.subtract(self.limit, self.used)

    @property
    def free(self) -> Decimal:
        """Neither spent nor lent."""
        return max(ZERO, money.EXACT.subtract(self.left, self.outstanding))


def used(*, opening: Decimal, settled: Decimal, gate: Decimal, other: Decimal) -> Decimal:
    """What counts as spent. The books know calls through gates, too, some time later and perhaps dearer: the larger counts."""
    return money.EXACT.add(max(money.EXACT.add(opening, settled), gate), other)


def standing(*, limit: Decimal, used_cost: Decimal, holdings: Iterable[Holding]) -> Standing:
    """The account with these leases."""
    return Standing(limit, used_cost, money.total(one.outstanding for one in holdings))


def take(held: Holding, report: Report) -> Holding:
    """The lease after a report. One that is older than the last that counted changes nothing.

    A last account ends the lease. It never says less than was said before: what was in flight counts in it as reserved. A
    lease that was freed comes back with what is left of it: what had been used before it was freed is counted, too.
    """
    if report.is_final:
        return replace(
            held,
            settled=max(held.settled, report.settled),
            returned=report.returned,
            reserved=ZERO,
            freed=ZERO,
            state=CLOSED,
            sequence=FINAL,
        )
    if report.sequence <= held.sequence:
        return held
    known = replace(
        held,
        settled=max(held.settled, report.settled),
        returned=max(held.returned, report.returned),
        reserved=report.reserved,
        sequence=report.sequence,
        state=OPEN,
    )
    most = max(ZERO, money.total([known.granted, -known.settled, -known.returned]))
    return replace(known, freed=min(known.freed, most))


def grant(held: Holding, *, hold: Decimal, need: Decimal, free: Decimal, sharers: int) -> tuple[Holding, bool]:
    """The lease after it was topped up towards `hold`, at least to `need`; and whether its need is met.

    One process gets no more than its share of what is free, unless a request waits for it. Where even all that is free does
    not meet the need, nothing is granted: parts that help nobody would keep others from being served.
    """
    needed = max(ZERO, money.EXACT.subtract(need, held.balance))
    if needed > free:
        return held, False
    share = (free / max(1, sharers)).quantize(money.SPLIT_QUANTUM, rounding="ROUND_DOWN")
    wanted = max(ZERO, money.EXACT.subtract(hold, held.balance))
    more = min(free, max(needed, min(wanted, share))).quantize(money.SPLIT_QUANTUM, rounding="ROUND_DOWN")
    return replace(held, granted=money.EXACT.add(held.granted, more)), True


def free_orphan(held: Holding) -> Holding:
    """The lease of a process that was silent for the grace: what it had in flight stays spent, the rest is freed."""
    kept = min(held.outstanding, held.reserved)
    return replace(held, state=ORPHANED, freed=money.total([held.freed, held.outstanding, -kept]))


def lent_to_idle(now: Standing, sharers: int) -> Decimal:
    """What a process without traffic may hold, so that its first request need not wait: less and less towards the end."""
    most = min(now.limit / STANDING_SHARE, now.free / (4 * max(1, sharers)))
    return max(ZERO, most).quantize(money.SPLIT_QUANTUM, rounding="ROUND_DOWN")
