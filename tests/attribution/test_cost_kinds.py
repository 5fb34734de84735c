"""What money is for and how capacity was bought go through every split unchanged, and add up to the total."""

from decimal import Decimal

import pytest

from attribution import own, queries, verify
from attribution.own import DEFAULT_RULES, RuleDraft
from costobs.kernel.scope import Filter
from ingest import tidy
from tests.attribution import world

pytestmark = pytest.mark.django_db

HOUR = 3_600_000
LLAMA = {"provider": "self_hosted", "model": "llama-70b", "deployment": "llama", "hour": world.at(10)}


@pytest.fixture
def books():
    """A spot node split by telemetry, tokens on a bill, a shared line split by rule, storage, and tokens not billed yet."""
    bill, log, dcgm = world.source(), world.source("usage_log", "log"), world.source("dcgm", "dcgm")
    spot = {"cost_kind": "gpu_compute", "purchase_option": "spot"}
    world.charge(bill, "8", starts=world.at(10), hours=1, resource_id="gpu-1", **spot)
    world.charge(
        bill, "1", starts=world.at(10), hours=1, resource_id="gpu-1", cost_kind="energy", purchase_option="owned"
    )
    world.gpu_hour(dcgm, world.at(10), busy=HOUR // 2, deployment="llama")
    world.usage(log, attributes={"team": "a"}, input_uncached=1000, **LLAMA)
    world.usage(log, attributes={"team": "a"}, input_uncached=600)
    world.llm_charge(bill, "6", consumed_quantity=Decimal(1200), cost_kind="api_inference")
    world.charge(bill, "3", service_name="Network", cost_kind="network")
    world.charge(bill, "2", service_name="S3", cost_kind="storage")
    world.usage(log, attributes={"team": "b"}, provider="anthropic", model="claude-sonnet-4-5", output=100)
    even = RuleDraft("even_split", "network", {"select": {"service_name": ["Network"]}, "teams": ["a", "b"]})
    own.reattribute(drafts=[even, *DEFAULT_RULES], now=world.NOW, by="test")
    world.settle()


def _by(*dimensions, **scope):
    rows = queries.spend(scope=world.scope(**scope), group_by=dimensions)
    return {row.keys[0] if len(dimensions) == 1 else row.keys: row.cost for row in rows}


@pytest.mark.usefixtures("books")
def test_it_adds_kinds_and_purchases_up_to_the_total():
    total = queries.total(scope=world.scope()).cost

    assert total == sum(_by("cost_kind").values()) == sum(_by("purchase_option").values())
    assert _by("cost_kind") == {
        "gpu_compute": 8,
        "api_inference": Decimal("6.1"),
        "network": 3,
        "storage": 2,
        "energy": 1,
    }
    assert _by("purchase_option") == {"spot": 8, "owned": 1, "": Decimal("11.1")}
    assert verify.run().failures == ()


@pytest.mark.usefixtures("books")
def test_it_keeps_the_spot_charge_of_a_gpu_node_spot_in_every_part_of_its_split():
    parts = _by("cost_kind", "purchase_option", "share_kind", "team")

    assert {keys: cost for keys, cost in parts.items() if keys[1]} == {
        ("gpu_compute", "spot", "direct", "a"): 4,
        ("gpu_compute", "spot", "idle_workload", ""): 4,
        ("energy", "owned", "direct", "a"): Decimal("0.5"),
        ("energy", "owned", "idle_workload", ""): Decimal("0.5"),
    }
    (node,) = queries.gpu_node_costs(scope=world.scope())
    (deployment,) = queries.gpu_costs(scope=world.scope())
    assert node.bought_as == deployment.bought_as == (("spot", Decimal(8)), ("owned", Decimal(1)))
    assert sum(cost for _, cost in node.bought_as) == node.paid_cost == deployment.paid_cost == 9


@pytest.mark.usefixtures("books")
def test_it_keeps_the_kind_of_what_is_tied_to_usage_and_of_what_a_rule_splits():
    assert _by("cost_kind", "team")[("api_inference", "a")] == 3
    assert _by("cost_kind", "team")[("network", "b")] == Decimal("1.5")
    methods = world.fetch("SELECT DISTINCT method, cost_kind FROM attribution_allocatedcharge ORDER BY 1, 2")
    assert methods == [
        ("even_split", "network"),
        ("gpu_share", "energy"),
        ("gpu_share", "gpu_compute"),
        ("tie_out", "api_inference"),
    ]


@pytest.mark.usefixtures("books")
def test_it_filters_by_both_and_counts_the_tokens_of_a_kind():
    spot = world.scope(Filter("purchase_option", ("spot",)))
    inference = world.scope(Filter("cost_kind", ("api_inference",)))

    assert queries.total(scope=spot).cost == 8
    (row,) = queries.unit_costs(scope=inference, group_by=[])
    assert (row.cost, row.requests) == (Decimal("6.1"), 2)
    by_kind = {row.keys[0]: row for row in queries.unit_costs(scope=world.scope(), group_by=["cost_kind"])}
    assert (by_kind["gpu_compute"].requests, by_kind["api_inference"].requests) == (1, 2)


def test_it_estimates_tokens_of_a_provider_as_inference_and_of_own_gpus_as_gpu_compute():
    log = world.source("usage_log", "log")
    world.usage(log, input_uncached=1000, **LLAMA)
    world.usage(log, input_uncached=500)

    world.settle()

    assert _by("basis", "cost_kind", "purchase_option") == {
        ("estimated", "gpu_compute", ""): 1,
        ("estimated", "api_inference", ""): Decimal("0.5"),
    }


@pytest.mark.usefixtures("books")
def test_it_writes_both_into_the_rows_of_focus_files():
    rows = queries.focus_rows(scope=world.scope())

    assert sum(row.effective_cost for row in rows if row.purchase_option == "spot") == 8
    assert sum(row.effective_cost for row in rows if row.cost_kind == "storage") == 2


def test_it_takes_a_machine_with_gpu_telemetry_for_gpu_compute_whatever_its_bill_says():
    bill, dcgm = world.source(), world.source("dcgm", "dcgm")
    for kind in ("cpu_compute", "other_service", "", "storage"):
        world.charge(bill, "1", starts=world.at(10), hours=1, resource_id="gpu-1", cost_kind=kind)
    world.charge(bill, "5", resource_id="web-1", cost_kind="cpu_compute")
    world.gpu_hour(dcgm, world.at(10))

    world.settle()

    assert _by("cost_kind") == {"cpu_compute": 5, "gpu_compute": 3, "storage": 1}


def test_it_classifies_charges_of_an_older_version_once_and_opens_their_days():
    bill = world.source()
    world.charge(bill, "8", charge_description="USE1-SpotUsage:p5.48xlarge")
    world.charge(bill, "1", charge_description="TimedStorage-ByteHrs", cost_kind="other_service")
    world.settle()

    assert (_by("cost_kind"), tidy.classify_charges()) == ({"": 8, "other_service": 1}, 1)

    assert world.settle() == [world.DAY]
    assert _by("cost_kind", "purchase_option") == {("gpu_compute", "spot"): 8, ("other_service", ""): 1}
    assert (tidy.classify_charges(), world.settle()) == (0, [])


def test_it_splits_what_a_rule_selects_by_its_kind():
    network = RuleDraft("even_split", "network", {"select": {"cost_kind": ["network"]}, "teams": ["a", "b"]})
    own.reattribute(drafts=[network, *DEFAULT_RULES], now=world.NOW, by="test")
    world.charge(world.source(), "6", cost_kind="network")
    world.charge(world.source(), "1", cost_kind="storage")

    world.settle()

    assert _by("cost_kind", "team") == {("network", "a"): 3, ("network", "b"): 3, ("storage", ""): 1}
