"""Joules follow the shares of GPU time, and add to what the counters of the cards say."""

from datetime import timedelta
from decimal import Decimal

import pytest

from attribution import own, queries
from attribution.models import GpuShare
from costobs.kernel.scope import Filter
from ingest.models import GpuHour
from tests.attribution import serving_log, world

pytestmark = pytest.mark.django_db

HOUR = 3_600_000
KWH = 3_600_000_000  # millijoules
OF_A_KWH = 3_600_000  # the joules of a kilowatt-hour
SERVED = {"provider": "self_hosted", "model": "llama-70b", "deployment": "llama"}


def _used(**electricity):
    """An hour of one card: half busy, three quarters of it for search."""
    log, dcgm = world.source("usage_log", "log"), world.source("dcgm", "dcgm")
    own.reattribute(
        drafts=[
            *own.DEFAULT_RULES[:-1],
            own.RuleDraft("gpu_share", "GPU nodes", {"electricity": electricity} if electricity else {}),
        ],
        now=world.NOW,
        by="test",
    )
    world.gpu_hour(dcgm, world.at(10), busy=HOUR // 2, deployment="llama", energy_millijoules=8 * KWH)
    world.usage(log, attributes={"team": "search"}, hour=world.at(10), requests=10, output=300, **SERVED)
    world.usage(log, attributes={"team": "growth"}, hour=world.at(10), requests=1, output=100, **SERVED)


def test_it_splits_energy_by_time_where_only_hours_are_known():
    _used()

    world.settle()

    rows = {row.keys[0]: row for row in queries.energy_use(scope=world.scope(), group_by=["team"])}
    assert {team: row.wh for team, row in rows.items()} == {"search": 3000, "growth": 1000}
    assert (rows["search"].tokens, rows["search"].wh_per_million_tokens) == (300, 10_000_000)
    assert rows["search"].wh_per_request == 300
    (card,) = queries.gpu_energy(scope=world.scope())
    assert (card.joules, card.used_joules, card.idle_joules, card.overhead_joules) == (
        8 * OF_A_KWH,
        4 * OF_A_KWH,
        4 * OF_A_KWH,
        0,
    )


def test_it_needs_no_bill():
    _used()

    world.settle()

    assert queries.gpu_costs(scope=world.scope()) == []
    assert queries.energy_use(scope=world.scope())[0].wh == 4000


def test_it_takes_the_worlds_electricity_and_says_so_until_somebody_states_another():
    _used()

    world.settle()

    (row,) = queries.energy_use(scope=world.scope())
    assert row.grams == 4 * Decimal("1.56") * 473
    assert row.is_default_carbon


@pytest.mark.parametrize(
    ("electricity", "grams"),
    [
        ({"*": {"pue": "1.2", "grams_per_kwh": "100"}}, 480),
        ({"*": {"pue": "2", "grams_per_kwh": "900"}, "gpu-1": {"pue": "1", "grams_per_kwh": "25"}}, 100),
        ({"*": {"pue": "2", "grams_per_kwh": "900"}, "eu-north-1": {"pue": "1.1", "grams_per_kwh": "20"}}, 88),
    ],
)
def test_it_takes_what_is_said_of_the_node_its_region_or_all(electricity, grams):
    _used(**electricity)
    world.charge(world.source(), "8", starts=world.at(10), hours=1, resource_id="gpu-1", region_id="eu-north-1")

    world.settle()

    (row,) = queries.energy_use(scope=world.scope())
    assert row.grams == grams
    assert not row.is_default_carbon


def test_it_shows_a_lead_what_own_requests_used_and_nothing_else():
    _used()

    world.settle()

    scope = world.scope(teams=("growth",))
    assert [(row.keys, row.wh, row.tokens) for row in queries.energy_use(scope=scope, group_by=["team"])] == [
        (("growth",), 1000, 100)
    ]
    (card,) = queries.gpu_energy(scope=scope)
    assert (card.joules, card.idle_joules) == (OF_A_KWH, 0)
    assert queries.energy_use(scope=world.scope(teams=())) == []
    assert queries.gpu_energy(scope=world.scope(teams=())) == []


def test_it_obeys_filters_by_what_shares_know_and_has_nothing_for_the_rest():
    _used()

    world.settle()

    for dimension, value, wh in (
        ("deployment", "llama", 4000),
        ("team", "search", 3000),
        ("region", "eu-west-1", None),
        ("key", "nobody", None),
        ("source", "log", 4000),
    ):
        rows = queries.energy_use(scope=world.scope(Filter(dimension, (value,))))
        assert [row.wh for row in rows] == ([] if wh is None else [wh]), dimension


def test_it_leaves_what_no_counter_tells_unknown():
    dcgm = world.source("dcgm", "dcgm")
    world.gpu_hour(dcgm, world.at(10), busy=HOUR, deployment="llama")
    world.gpu_hour(
        dcgm, world.at(11), covered=0, deployment="llama", energy_millijoules=KWH, gpu_uuid="GPU-b", gpu_index="1"
    )

    world.settle()

    (card,) = queries.gpu_energy(scope=world.scope())
    assert (card.joules, card.unknown_joules, card.used_joules) == (OF_A_KWH, OF_A_KWH, 0)
    assert GpuShare.objects.filter(share_kind="overhead").get().millijoules is None


def test_it_gives_a_fine_tune_run_the_energy_of_its_time():
    dcgm, runs = world.source("dcgm", "dcgm"), world.source("fine_tunes", "runs")
    world.gpu_hour(dcgm, world.at(10), busy=HOUR, deployment="trainer", energy_millijoules=4 * KWH)
    world.fine_tune(
        runs,
        attributes={"team": "research"},
        external_id="r1",
        node="gpu-1",
        started_at=world.at(10),
        ended_at=world.at(10) + timedelta(minutes=15),
    )

    world.settle()

    (card,) = queries.gpu_energy(scope=world.scope())
    assert (card.fine_tuned_joules, card.overhead_joules, card.joules) == (OF_A_KWH, 3 * OF_A_KWH, 4 * OF_A_KWH)


def test_it_adds_to_the_counters_to_the_millijoule_whatever_the_shares():
    recording = serving_log.load("quiet-w8a8")
    own.reattribute(drafts=own.DEFAULT_RULES, now=world.NOW, by="test")
    serving_log.place(recording, cost="90")

    world.settle()

    counted = GpuHour.objects.get().energy_millijoules
    kept = GpuShare.objects.filter(millijoules__isnull=False)
    assert sum(kept.values_list("millijoules", flat=True)) == counted
    (card,) = queries.gpu_energy(scope=world.scope())
    rows = queries.energy_use(scope=world.scope(), group_by=["key"])
    assert sum(row.joules for row in rows) == card.used_joules
    # The card drew 70 W in idle windows; that much of the rest of its time is idle energy as well.
    assert Decimal("0.1") < card.idle_joules / card.joules < Decimal("0.6")


def test_it_keeps_the_same_shares_when_a_day_is_made_again():
    _used()
    world.settle()
    before = sorted(GpuShare.objects.values_list("attribute_set_id", "share_kind", "amount", "millijoules"))

    world.touch(world.source("dcgm", "dcgm"))
    world.settle()

    assert sorted(GpuShare.objects.values_list("attribute_set_id", "share_kind", "amount", "millijoules")) == before
