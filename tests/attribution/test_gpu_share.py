"""The bill of a GPU node becomes busy, idle, overhead, fine-tuned and unknown time, and nothing is lost."""

from datetime import timedelta
from decimal import Decimal

import pytest

from attribution import own, queries, verify
from costobs.kernel.scope import Filter
from tests.attribution import world

pytestmark = pytest.mark.django_db

HOUR = 3_600_000


def _node_hour(cost="8", hour=10):
    world.charge(world.source(), cost, starts=world.at(hour), hours=1, resource_id="gpu-1")


def _shares():
    rows = queries.spend(scope=world.scope(), group_by=["share_kind", "team"])
    return {row.keys: row.cost for row in rows}


def test_it_gives_busy_time_to_requests_by_weighted_tokens_and_keeps_idle_apart():
    log, dcgm = world.source("usage_log", "log"), world.source("dcgm", "dcgm")
    _node_hour()
    world.gpu_hour(dcgm, world.at(10), busy=HOUR // 2, deployment="llama")
    own_model = {"provider": "self_hosted", "model": "llama-70b", "deployment": "llama", "hour": world.at(10)}
    world.usage(log, attributes={"team": "search"}, input_uncached=1000, **own_model)
    world.usage(log, attributes={"team": "growth"}, output=600, **own_model)

    world.settle()

    # 1,000 input weigh 1,000; 600 output weigh 3,000.
    assert _shares() == {("direct", "search"): 1, ("direct", "growth"): 3, ("idle_workload", ""): 4}
    assert verify.run().failures == ()
    (line,) = queries.gpu_costs(scope=world.scope())
    assert (line.deployment, line.paid_cost, line.used_cost, line.idle_workload_cost) == ("llama", 8, 4, 4)
    assert (line.gpu_ms, line.busy_ms, line.cost_per_gpu_hour) == (HOUR, HOUR // 2, 8)


def test_it_tells_busy_without_requests_idle_without_a_deployment_and_unwatched_time_apart():
    dcgm = world.source("dcgm", "dcgm")
    _node_hour()
    world.gpu_hour(dcgm, world.at(10), busy=HOUR // 4, covered=HOUR // 4, deployment="llama")
    world.gpu_hour(dcgm, world.at(10), busy=0, covered=HOUR // 4, deployment="")

    world.settle()

    assert _shares() == {("overhead", ""): 2, ("idle_infrastructure", ""): 2, ("unallocated", ""): 4}
    costs = {line.deployment: line for line in queries.gpu_costs(scope=world.scope())}
    assert costs[""].no_telemetry_cost == 4


def test_it_gives_idle_time_to_the_owner_of_the_deployment_where_a_rule_names_one():
    dcgm = world.source("dcgm", "dcgm")
    _node_hour()
    world.gpu_hour(dcgm, world.at(10), deployment="llama")
    drafts = [
        *own.DEFAULT_RULES[:-1],
        own.RuleDraft("gpu_share", "GPU nodes", {"deployment_owners": {"llama": "search"}}),
    ]
    own.reattribute(drafts=drafts, now=world.NOW, by="test")

    world.settle()

    assert _shares() == {("idle_workload", "search"): 8}
    assert queries.total(scope=world.scope(teams=("search",))).idle_cost == 8


def test_it_finds_the_node_behind_a_resource_by_rule_path_or_tag():
    dcgm, bill = world.source("dcgm", "dcgm"), world.source()
    world.gpu_hour(dcgm, world.at(10), deployment="llama")
    world.charge(bill, "1", starts=world.at(10), hours=1, resource_id="i-0abc")
    world.charge(bill, "2", starts=world.at(10), hours=1, resource_id="//compute/instances/gpu-1")
    world.charge(bill, "4", starts=world.at(10), hours=1, tags={"Name": "gpu-1"})
    world.charge(bill, "8", starts=world.at(10), hours=1, resource_id="other")
    drafts = [own.RuleDraft("gpu_share", "GPU nodes", {"nodes": {"i-0abc": "gpu-1"}})]
    own.reattribute(drafts=drafts, now=world.NOW, by="test")

    world.settle()

    assert _shares() == {("idle_workload", ""): 7, ("unallocated", ""): 8}


def test_it_counts_mig_slices_by_their_sevenths_and_unmade_slices_as_idle_infrastructure():
    dcgm = world.source("dcgm", "dcgm")
    _node_hour("7")
    slices = {"covered": HOUR, "deployment": "small"}
    world.gpu_hour(dcgm, world.at(10), busy=HOUR, mig_instance="1", mig_profile="3g.40gb", **slices)
    world.gpu_hour(dcgm, world.at(10), busy=0, mig_instance="2", mig_profile="2g.20gb", **slices)
    world.gpu_hour(dcgm, world.at(10), busy=HOUR, deployment="")  # the board's own series

    world.settle()

    assert _shares() == {("overhead", ""): 3, ("idle_workload", ""): 2, ("idle_infrastructure", ""): 2}


def test_it_gives_a_fine_tune_run_its_gpus_first():
    dcgm, runs = world.source("dcgm", "dcgm"), world.source("fine_tunes", "runs")
    _node_hour()
    world.gpu_hour(dcgm, world.at(10), busy=HOUR // 2, covered=HOUR // 2, deployment="trainer")
    world.gpu_hour(dcgm, world.at(10), covered=HOUR // 2)
    world.fine_tune(
        runs,
        attributes={"team": "research"},
        external_id="r1",
        node="gpu-1",
        started_at=world.at(10, 30),
        ended_at=world.at(11),
        useful_seconds=1350,
        state="succeeded",
    )

    world.settle()

    assert _shares() == {("direct", "research"): 4, ("idle_infrastructure", ""): 4}
    (run,) = queries.fine_tune_runs(scope=world.scope())
    assert (run.cost, run.useful_cost, run.idle_cost, run.wasted_cost, run.gpu_ms) == (4, 3, 1, 0, HOUR // 2)


def test_it_counts_a_failed_run_as_wasted():
    dcgm, runs = world.source("dcgm", "dcgm"), world.source("fine_tunes", "runs")
    _node_hour()
    world.gpu_hour(dcgm, world.at(10), busy=HOUR, deployment="trainer")
    times = {"started_at": world.at(10), "ended_at": world.at(11)}
    world.fine_tune(runs, external_id="r1", node="gpu-1", state="failed", **times)

    world.settle()

    (run,) = queries.fine_tune_runs(scope=world.scope())
    assert (run.useful_cost, run.wasted_cost) == (0, 8)


def test_it_gives_a_providers_own_job_to_its_run_by_the_lines_of_the_bill():
    runs, bill = world.source("fine_tunes", "runs"), world.source()
    free = world.price(per_token="0")
    world.usage(world.source("usage_log", "log"), attributes={"team": "search"}, input_uncached=10, unit_price=free)
    times = {"started_at": world.at(1), "ended_at": world.at(3)}
    world.fine_tune(
        runs, attributes={"team": "research"}, external_id="r1", provider="openai", provider_job="ft-1", **times
    )
    world.charge(bill, "25", service_provider_name="OpenAI", service_name="Fine-tuning", resource_id="ft-1")

    world.settle()

    assert _shares() == {("direct", "research"): 25, ("direct", "search"): 0}
    assert queries.fine_tune_runs(scope=world.scope())[0].useful_cost == 25


def test_it_does_not_count_the_estimate_of_a_deployment_whose_node_is_in_the_books():
    log, dcgm = world.source("usage_log", "log"), world.source("dcgm", "dcgm")
    _node_hour()
    world.gpu_hour(dcgm, world.at(10), busy=HOUR, deployment="llama")
    for name in ("llama", "elsewhere"):
        world.usage(
            log, provider="self_hosted", model="llama-70b", deployment=name, hour=world.at(10), input_uncached=1000
        )

    world.settle()

    rows = queries.spend(scope=world.scope(), group_by=["deployment", "basis"])
    assert {row.keys: row.cost for row in rows} == {("llama", "billed"): 8, ("elsewhere", "estimated"): 1}
    assert verify.run().failures == ()


def test_it_splits_a_day_of_a_node_by_what_each_hour_did():
    dcgm, bill = world.source("dcgm", "dcgm"), world.source()
    world.charge(bill, "24", resource_id="gpu-1")
    for hour in range(24):
        world.gpu_hour(dcgm, world.at(hour), busy=HOUR if hour < 6 else 0, deployment="llama" if hour < 12 else "")

    world.settle()

    assert _shares() == {("overhead", ""): 6, ("idle_workload", ""): 6, ("idle_infrastructure", ""): 12}
    nodes = queries.gpu_node_costs(scope=world.scope())
    assert [(node.node, node.paid_cost, node.idle_infrastructure_cost) for node in nodes] == [("gpu-1", 24, 12)]


def test_it_shows_hours_without_samples_as_absent_and_without_activity_as_unknown():
    dcgm = world.source("dcgm", "dcgm")
    world.gpu_hour(dcgm, world.at(1), busy=HOUR // 2, deployment="llama")
    world.gpu_hour(dcgm, world.at(2), covered=0, deployment="llama")

    cells = queries.gpu_utilisation(scope=world.scope())

    assert [(cell.hour, cell.busy_permille) for cell in cells] == [(world.at(1), 500), (world.at(2), None)]
    assert queries.gpu_utilisation(scope=world.scope(teams=())) == []


def test_it_splits_credits_of_a_node_like_its_charges():
    dcgm = world.source("dcgm", "dcgm")
    _node_hour("9")
    world.charge(world.source(), "-3", starts=world.at(10), hours=1, resource_id="gpu-1", charge_category="Credit")
    world.gpu_hour(dcgm, world.at(10), busy=HOUR // 3, deployment="llama")

    world.settle()

    assert _shares() == {("overhead", ""): 2, ("idle_workload", ""): 4}
    credit = queries.total(scope=world.scope(Filter("charge_category", ("Credit",))))
    assert credit.cost == -3


def test_it_takes_unwatched_gpus_of_a_node_as_unknown_not_idle():
    dcgm = world.source("dcgm", "dcgm")
    _node_hour("8", hour=10)
    world.gpu_hour(dcgm, world.at(10), deployment="llama")
    world.gpu_hour(dcgm, world.at(10) + timedelta(hours=1), gpu_uuid="GPU-b", gpu_index="1", deployment="llama")

    world.settle()

    assert _shares() == {("idle_workload", ""): Decimal(4), ("unallocated", ""): Decimal(4)}


def test_it_gives_training_that_names_no_job_to_the_jobs_of_its_model_and_day() -> None:
    bill, runs = world.source("openai_costs", "bill"), world.source("openai_fine_tunes", "jobs")
    times = {"started_at": world.at(8), "ended_at": world.at(11), "provider": "openai", "base_model": "gpt-4o"}
    for name, team, tokens in (("j1", "search", 3_000_000), ("j2", "support", 1_000_000)):
        world.fine_tune(runs, attributes={"team": team}, external_id=name, trained_tokens=tokens, **times)
    world.fine_tune(runs, external_id="other model", trained_tokens=9, **(times | {"base_model": "gpt-4o-mini"}))
    world.llm_charge(bill, "0.10", cost_kind="fine_tuning", token_kind="", consumed_unit="")
    world.llm_charge(bill, "7", attributes={"team": "growth"})

    world.settle()

    spent = {row.keys[0]: row.cost for row in queries.spend(scope=world.scope(), group_by=["team"])}
    assert spent == {"search": Decimal("0.075"), "support": Decimal("0.025"), "growth": Decimal(7)}
    cost = {run.run_id: run.cost for run in queries.fine_tune_runs(scope=world.scope())}
    assert cost == {"j1": Decimal("0.075"), "j2": Decimal("0.025"), "other model": 0}


def test_it_shares_training_evenly_while_a_job_has_not_said_its_tokens() -> None:
    bill, runs = world.source("openai_costs", "bill"), world.source("openai_fine_tunes", "jobs")
    times = {"started_at": world.at(8), "provider": "openai", "base_model": "gpt-4o"}
    world.fine_tune(
        runs, attributes={"team": "search"}, external_id="j1", trained_tokens=3, ended_at=world.at(9), **times
    )
    world.fine_tune(runs, attributes={"team": "support"}, external_id="j2", state="running", **times)
    world.llm_charge(bill, "10", cost_kind="fine_tuning", token_kind="", consumed_unit="")

    world.settle()

    spent = {row.keys[0]: row.cost for row in queries.spend(scope=world.scope(), group_by=["team"])}
    assert spent == {"search": Decimal(5), "support": Decimal(5)}
