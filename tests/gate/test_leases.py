"""What a gate process does with its leases: reserve, refuse, settle, give back, survive a kill."""

import os
from pathlib import Path
from typing import Any

import pytest
from costobs_gate import accounts, hard, pricing
from costobs_gate.admission import Request
from costobs_gate.leases import Leases, Reservation
from costobs_gate.metering import Reading
from costobs_gate.metrics import Metrics
from costobs_gate.policy import Key, Policy, PolicyError, parse
from costobs_gate.refusals import Refusal
from costobs_gate.spool import Spool

from tests.gate.costobs_server import policy

CHAT = "/v1/chat/completions"
KEY = Key("0" * 64, "key_a", "alpha", (), None)
BODY = {"model": "small", "messages": [], "max_tokens": 100}
# 512 of the template and 88 bytes at 1, 100 tokens at 10.
COST = "0.0016"
PRICES = [{"model": "small", "input": "0.000001", "cached": "0.0000001", "output": "0.00001"}]


def budget(id_: int, match: dict[str, str] | None = None, **more: Any) -> dict[str, Any]:
    return {"budget": id_, "matches": [match or {"team": "alpha"}], **more}


def in_force(*budgets: dict[str, Any], prices: list[dict[str, str]] = PRICES) -> Policy:
    return parse({**policy(), "version": "v", "hard": list(budgets), "prices": prices})


def lease(budget_id: int, granted: str, **more: Any) -> dict[str, Any]:
    given = {"left": "1", "standing": "0", "seconds": 15, "ends_in_seconds": 3600, "is_pressed": False, **more}
    return {"budget": budget_id, "account": budget_id * 10, "granted": granted, **given}


def answer(*items: dict[str, Any]) -> dict[str, Any]:
    return {"leases": list(items), "closed": []}


def reserve(
    held: Leases, found: Policy, *, now: float = 1.0, document: dict[str, Any] | None = BODY, cap: int | None = None
) -> Reservation | Refusal | None:
    return held.reserve(
        policy=found, request=Request(KEY, None, "small"), model="small", path=CHAT, document=document, size=88, cap=cap,
        monotonic=now,
    )  # fmt: skip


def fits(held: Leases, found: Policy, **more: Any) -> Reservation:
    one = reserve(held, found, **more)
    assert isinstance(one, Reservation)
    return one


def refused(held: Leases, found: Policy, **more: Any) -> Refusal:
    one = reserve(held, found, **more)
    assert isinstance(one, Refusal)
    return one


@pytest.fixture
def held() -> Leases:
    return Leases(Metrics())


def test_it_lets_requests_pass_that_no_hard_budget_covers(held: Leases) -> None:
    assert reserve(held, in_force(budget(1, {"team": "beta"}))) is None
    assert reserve(held, in_force()) is None


def test_it_reserves_the_most_and_settles_what_was_used(held: Leases) -> None:
    held.take(answer(lease(1, "0.002")), 0.0)

    one = fits(held, in_force(budget(1)))
    (during,) = held.totals()
    held.settle(one, Reading(input_tokens=50, cache_read_tokens=10, output_tokens=20, known=True))

    (after,) = held.totals()
    assert pricing.text(during.reserved) == "0.001600000000"
    assert (after.reserved, pricing.text(after.settled)) == (0, "0.000241000000")


def test_it_settles_at_the_reservation_when_usage_is_not_known(held: Leases) -> None:
    held.take(answer(lease(1, "0.002")), 0.0)

    held.settle(fits(held, in_force(budget(1))), Reading(output_tokens=3))

    assert held.totals()[0].settled == pricing.pico(COST)


def test_it_refuses_at_once_what_the_lease_does_not_cover(held: Leases) -> None:
    held.take(answer(lease(1, "0.0031", left="0.0031")), 0.0)
    found = in_force(budget(1, message="All is spent."))
    fits(held, found)

    no = refused(held, found)

    assert (no.status, no.kind, no.message, no.refused_by) == (429, "insufficient_quota", "All is spent.", "budget-1")
    assert no.retry_after_seconds == 1
    assert held.wake.is_set()


def test_it_says_when_the_period_ends_where_nothing_can_make_room_before(held: Leases) -> None:
    held.take(answer(lease(1, "0.001", left="0.001")), 0.0)

    assert refused(held, in_force(budget(1))).retry_after_seconds == 3600
    assert refused(held, in_force(budget(1, retry_after_seconds=60))).retry_after_seconds == 60


def test_it_holds_room_in_all_budgets_or_in_none(held: Leases) -> None:
    held.take(answer(lease(1, "1"), lease(2, "0.001")), 0.0)

    refused(held, in_force(budget(1), budget(2, {"model": "small"})))

    assert [account.reserved for account in held.totals()] == [0, 0]


def test_it_stops_with_its_lease_or_goes_on_within_it(held: Leases) -> None:
    held.take(answer(lease(1, "0.0035"), lease(2, "0.0035")), 0.0)

    assert refused(held, in_force(budget(1)), now=15.0).code == "budget_lease_missing"
    fails_open = in_force(budget(2, on_unreachable="open"))
    fits(held, fails_open, now=900.0)
    fits(held, fails_open, now=900.0)
    refused(held, fails_open, now=900.0)
    refused(held, fails_open, now=3600.0)


def test_it_writes_a_limit_into_requests_that_name_none(held: Leases) -> None:
    held.take(answer(lease(1, "9")), 0.0)
    without = {"model": "small", "messages": []}

    assert fits(held, in_force(budget(1)), document=without).max_tokens == pricing.DEFAULT_MAX_TOKENS
    assert fits(held, in_force(budget(1, default_max_tokens=64)), document=without).max_tokens == 64
    assert fits(held, in_force(budget(1, default_max_tokens=64)), document=without, cap=8).max_tokens == 8
    assert fits(held, in_force(budget(1, default_max_tokens=64))).max_tokens is None


def test_it_refuses_what_it_cannot_bound_or_price(held: Leases) -> None:
    held.take(answer(lease(1, "9")), 0.0)

    assert refused(held, in_force(budget(1)), document=None).status == 400
    assert refused(held, in_force(budget(1), prices=[])).status == 503


def test_it_gives_back_what_it_does_not_need_and_asks_for_what_it_does(held: Leases) -> None:
    held.take(answer(lease(1, "1")), 0.0)
    found = in_force(budget(1))
    fits(held, found)

    report = held.report(found, 2.0)

    (account,) = held.totals()
    assert account.available == 4 * pricing.pico(COST)
    assert report["held"] == [
        {"account": 10, "settled": "0", "returned": "0.992000000000", "reserved": "0.001600000000"}
    ]
    assert report["wants"] == [{"budget": 1, "hold": "0.008000000000", "need": "0"}]


def test_it_gives_all_back_when_others_wait_and_nobody_calls_here(held: Leases) -> None:
    found = in_force(budget(1))
    held.take(answer(lease(1, "1")), 0.0)
    held.report(found, 1.0)
    held.take(answer(lease(1, "1", is_pressed=True)), 1.0)

    held.report(found, 2.0)

    assert held.totals()[0].available == 0


def test_it_keeps_each_period_apart_and_forgets_what_is_over(held: Leases) -> None:
    found = in_force(budget(1))
    held.take(answer(lease(1, "1")), 0.0)
    one = fits(held, found)
    held.take(answer({**lease(1, "1"), "account": 11}), 1.0)
    fits(held, found)
    held.settle(one, Reading(input_tokens=10, known=True))

    assert {account.id: account.settled > 0 for account in held.totals()} == {10: True, 11: False}
    held.take({"leases": [], "closed": [10, 11]}, 2.0)
    assert [account.id for account in held.totals()] == [11]


@pytest.mark.parametrize("broken", [{"leases": 5}, {"leases": [{}]}, {"leases": [lease(1, "-1")]}, {"leases": [7]}])
def test_it_takes_nothing_from_a_broken_answer(held: Leases, broken: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        held.take(broken, 0.0)

    assert held.totals() == []


@pytest.mark.parametrize(
    "broken",
    [
        {"hard": 5},
        {"hard": [{"budget": "1", "matches": []}]},
        {"hard": [{"budget": 1, "matches": [{"nation": "x"}]}]},
        {"hard": [{"budget": 1, "matches": [], "on_unreachable": "maybe"}]},
        {"hard": [{"budget": 1, "matches": [], "default_max_tokens": 0}]},
        {"prices": [{"model": "a", "input": "x", "cached": "0", "output": "0"}]},
        {"prices": [{"input": "1", "cached": "0", "output": "0"}]},
    ],
)
def test_it_refuses_a_policy_with_a_broken_budget_or_price(broken: dict[str, Any]) -> None:
    with pytest.raises(PolicyError):
        parse({**policy(), "version": "v", **broken})


def test_it_covers_by_key_feature_environment_and_unreadable_models() -> None:
    (one,) = hard.budgets({"hard": [budget(1, {"environment": "prod", "model": "small", "key_id": "key_a"})]})
    asked: dict[str, Any] = {"team": "alpha", "key_id": "key_a", "feature": None, "environment": "prod"}

    assert one.covers(model="small", **asked) and one.covers(model=None, **asked)
    assert not one.covers(model="large", **asked)
    assert not one.covers(model="small", **{**asked, "environment": "dev"})


def event(id_: str, cost: str, *, on: list[int]) -> dict[str, object]:
    return {"event_id": id_, accounts.COST: cost, accounts.ACCOUNTS: on}


def test_it_knows_from_the_spool_what_a_killed_process_used_and_had_reserved(tmp_path: Path) -> None:
    dead, heir = Spool(tmp_path, fsync="never"), Spool(tmp_path, fsync="never")
    for id_ in ("a", "b", "c"):
        dead.admit(event(id_, "5", on=[10, 20]))
    dead.settle(event("a", "1.5", on=[10, 20]))
    dead.rotate()
    dead.settle(event("b", "2", on=[10, 20]))
    dead.settle({"event_id": "refused"})
    os.close(dead._lock_file)

    (orphan,) = heir.orphans()
    for _ in range(2):
        orphan.batches()

        assert orphan.account() == {10: "8.500000000000", 20: "8.500000000000"}
    for batch in orphan.batches():
        batch.path.unlink()
    with orphan:
        pass
    assert orphan.home.exists(), "the account is not delivered yet"
    accounts.forget(orphan.home)
    orphan2 = heir.orphans()[0]
    with orphan2:
        pass
    assert not orphan2.home.exists()
    heir.close()


def test_it_adds_each_segment_once(tmp_path: Path) -> None:
    for _ in range(2):
        accounts.add(tmp_path, 3, [event("a", "1", on=[10])], durable=False)
    accounts.add(tmp_path, 4, [event("b", "0.5", on=[10])], durable=True)
    accounts.add(tmp_path, 5, [{"event_id": "c"}], durable=False)

    assert (accounts.settled(tmp_path), accounts.through(tmp_path)) == ({10: "1.500000000000"}, 5)


def test_it_goes_on_when_its_sums_cannot_be_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / accounts.FILE).write_bytes(b"")

    assert (accounts.settled(tmp_path), accounts.through(tmp_path)) == ({}, 0)
    accounts.add(tmp_path, 1, [event("a", "1", on=[10])], durable=False)

    assert accounts.settled(tmp_path) == {10: "1"}
    assert "cannot be read" in caplog.text


def test_it_gives_a_last_account_only_when_nothing_is_in_flight(held: Leases) -> None:
    assert held.last_report() is None
    held.take(answer(lease(1, "1")), 0.0)
    one = fits(held, in_force(budget(1)))
    assert held.last_report() is None
    held.release(one)

    last = held.last_report()

    assert last is not None and last["final"] is True
