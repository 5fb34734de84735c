"""No rule, split, order, credit or repetition changes the sum: for every source, day, currency and cost column."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from attribution import own, queries, verify
from attribution.own import RuleDraft
from costobs.kernel import money
from costobs.kernel.period import Days
from tests.attribution import world

pytestmark = pytest.mark.django_db

TEAMS = ("a", "b", "")
HOUR = 3_600_000

_amount = st.decimals(-1000, 1000, places=14, allow_nan=False, allow_infinity=False)
_costs = st.fixed_dictionaries(
    dict.fromkeys(("billed_cost", "effective_cost", "list_cost", "contracted_cost"), _amount)
)
_attributes = st.sampled_from([{"team": team} if team else {"key": "k"} for team in TEAMS])
_start = st.tuples(st.integers(0, 1), st.integers(0, 23))

_charge = st.fixed_dictionaries(
    {
        "bill": st.sampled_from(["one", "two"]),
        "costs": _costs,
        "start": _start,
        "hours": st.sampled_from([1, 24, 24 * 30]),
        "attributes": _attributes,
        "columns": st.sampled_from(
            [
                {},
                {"resource_id": "gpu-1"},
                {"resource_id": "gpu-2", "charge_category": "Credit"},
                {"service_name": "Support", "charge_category": "Purchase"},
                {"service_name": "Network", "charge_class": "Correction"},
                {"resource_id": "ft-1", "service_provider_name": "OpenAI"},
                {"billing_currency": "EUR"},
            ]
        ),
    }
)
_llm = st.fixed_dictionaries(
    {
        "bill": st.sampled_from(["one", "two"]),
        "costs": _costs,
        "start": _start,
        "hours": st.sampled_from([1, 24]),
        "attributes": _attributes,
        "columns": st.fixed_dictionaries(
            {
                "model": st.sampled_from(["gpt-4o", "gpt-4o-mini", ""]),
                "token_kind": st.sampled_from(["input_uncached", "output", ""]),
                "consumed_quantity": st.one_of(st.none(), st.integers(-10, 10_000).map(Decimal)),
                "service_provider_name": st.just("OpenAI"),
                "sub_account_id": st.sampled_from(["", "p1"]),
                "consumed_unit": st.sampled_from(["Tokens", "1K tokens", ""]),
            }
        ),
    }
)
_usage = st.fixed_dictionaries(
    {
        "log": st.sampled_from([("usage_log", "log"), ("gate", "gate")]),
        "model": st.sampled_from(["gpt-4o", "gpt-4o-mini"]),
        "start": _start,
        "attributes": st.sampled_from([{"team": "a"}, {"team": "b", "project": "p1"}, {"key": "k", "account": "p2"}]),
        "counts": st.fixed_dictionaries(
            {kind: st.integers(0, 5000) for kind in ("input_uncached", "cache_read", "output")}
        ),
        "own": st.booleans(),
    }
)
_gpu = st.fixed_dictionaries(
    {
        "start": _start,
        "node": st.sampled_from(["gpu-1", "gpu-2"]),
        "gpu": st.sampled_from(["GPU-a", "GPU-b"]),
        "slice": st.sampled_from([("", ""), ("1", "3g.40gb"), ("2", "2g.20gb")]),
        "deployment": st.sampled_from(["llama", "idle-one", ""]),
        "busy": st.integers(0, HOUR),
        "covered": st.integers(0, HOUR),
    }
)
_run = st.fixed_dictionaries(
    {
        "start": _start,
        "minutes": st.integers(1, 2000),
        "state": st.sampled_from(["succeeded", "failed", "running"]),
        "useful": st.one_of(st.none(), st.integers(0, 5000)),
        "place": st.sampled_from(
            [{"node": "gpu-1"}, {"node": "gpu-2", "gpu_uuids": "GPU-a"}, {"provider_job": "ft-1"}]
        ),
    }
)
RULES = (
    RuleDraft("fixed_split", "support", {"select": {"service_name": ["Support"]}, "shares": {"a": "2", "b": "1"}}),
    RuleDraft("token_share", "network", {"select": {"service_name": ["Network"]}, "usage": {}}),
    *own.DEFAULT_RULES,
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    charges=st.lists(st.one_of(_charge, _llm), max_size=10),
    usages=st.lists(
        _usage,
        max_size=6,
        unique_by=lambda one: (one["log"], one["model"], one["start"], str(one["attributes"]), one["own"]),
    ),
    gpus=st.lists(_gpu, max_size=8, unique_by=lambda one: (one["start"], one["gpu"], one["slice"], one["deployment"])),
    runs=st.lists(_run, max_size=2),
)
def test_it_conserves_every_amount_through_every_step_and_repetition(charges, usages, gpus, runs):
    with transaction.atomic():
        own.reattribute(drafts=RULES, now=world.NOW, by="test")
        _put(charges, usages, gpus, runs)

        world.settle()

        _holds(charges)
        once = _books()
        for source_id, day in world.fetch("SELECT source_id, day FROM ingest_touched"):
            world.touch(world.Source.objects.get(pk=source_id), day)
        world.settle(newest_first=True)
        assert _books() == once
        transaction.set_rollback(True)


def _holds(charges):
    result = verify.run()
    assert result.failures == ()
    assert all(one.difference == 0 for one in result.sums)
    for currency in ("USD", "EUR"):
        for cost in ("billed", "effective", "list", "contracted"):
            delivered = money.total(
                one["costs"][f"{cost}_cost"]
                for one in charges
                if one["columns"].get("billing_currency", "USD") == currency
            )
            booked = world.fetch(
                f"SELECT coalesce(sum({cost}_cost), 0) FROM attribution_dailycost"
                f" WHERE basis = 'billed' AND currency = '{currency}'"
            )[0][0]
            assert booked == delivered
    _adds_up()


def _adds_up():
    """The parts of every view add to the one total of the scope."""
    scope = world.scope()
    total = queries.total(scope=scope)
    shares = (total.direct_cost, total.shared_cost, total.idle_cost, total.overhead_cost, total.unallocated_cost)
    assert money.total(shares) == total.cost
    for dimension in ("team", "model", "share_kind", "source", "cost_centre"):
        assert money.total(row.cost for row in queries.spend(scope=scope, group_by=[dimension])) == total.cost
    assert money.total(row.cost for row in queries.spend_by_day(scope=scope, group_by="team")) == total.cost
    statement = queries.statement(scope=scope)
    assert statement.total_cost == total.cost
    assert all(line.difference == 0 for line in statement.reconciliation)
    teams = queries.spend(scope=scope, group_by=["team"])
    for row in teams:
        if row.keys[0]:
            assert queries.total(scope=world.scope(teams=row.keys)).cost == row.cost


def _books():
    columns = (
        "day, source_id, basis, is_current, currency, attribute_set_id, model, deployment, token_kind, share_kind, method,"
        " billed_cost, effective_cost, list_cost, contracted_cost"
    )
    return world.fetch(f"SELECT {columns} FROM attribution_dailycost ORDER BY {columns}")


def _put(charges, usages, gpus, runs):
    for one in charges:
        is_llm = "model" in one["columns"]
        put = world.llm_charge if is_llm else world.charge
        columns = {**one["costs"], **one["columns"]}
        put(
            world.source(name=one["bill"]),
            attributes=one["attributes"],
            starts=_at(one["start"]),
            hours=one["hours"],
            **columns,
        )
    for one in usages:
        own_gpu = {"provider": "self_hosted", "deployment": "llama"} if one["own"] else {}
        world.usage(
            world.source(*one["log"]),
            attributes=one["attributes"],
            model=one["model"],
            hour=_at(one["start"]),
            **own_gpu,
            **one["counts"],
        )
    for one in gpus:
        instance, profile = one["slice"]
        world.gpu_hour(
            world.source("dcgm", "dcgm"),
            _at(one["start"]),
            node=one["node"],
            gpu_uuid=one["gpu"],
            mig_instance=instance,
            mig_profile=profile,
            deployment=one["deployment"],
            busy=one["busy"],
            covered=one["covered"],
        )
    for number, one in enumerate(runs):
        start = _at(one["start"])
        ended = None if one["state"] == "running" else start + timedelta(minutes=one["minutes"])
        world.fine_tune(
            world.source("fine_tunes", "runs"),
            external_id=str(number),
            started_at=start,
            ended_at=ended,
            state=one["state"],
            useful_seconds=one["useful"],
            **one["place"],
        )


def _at(start):
    return world.at(start[1], day=world.DAY + timedelta(days=start[0]))


def test_it_says_which_day_does_not_balance_and_by_how_much():
    bill = world.source()
    world.charge(bill, "10")
    world.settle()
    world.charge(bill, "5")

    result = verify.run(days=Days(world.DAY, world.DAY + timedelta(days=1)))

    assert {finding.difference for finding in result.failures} == {Decimal(-5)}
    assert len(result.failures) == 4
    assert "waits to be rolled up" in result.failures[0].advice


def test_it_finds_a_part_that_was_changed_and_money_that_counts_twice():
    log, bill = world.source("usage_log", "log"), world.source()
    world.usage(log, attributes={"team": "search"}, input_uncached=100)
    world.llm_charge(bill, "10", consumed_quantity=Decimal(100))
    world.settle()
    with world.connection.cursor() as cursor:
        cursor.execute("UPDATE attribution_allocatedcharge SET list_cost = list_cost + 1")
        cursor.execute("UPDATE attribution_dailycost SET is_current = TRUE")

    checks = [finding.check for finding in verify.run().failures]

    assert any(check.startswith("pool cell:") for check in checks)
    assert any(check.startswith("counted once OpenAI") for check in checks)
