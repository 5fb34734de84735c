"""Busy time of GPUs goes, window by window, to the requests that were live in it."""

from collections import Counter
from datetime import timedelta
from decimal import Decimal

import pytest

from attribution import gpu_windows, own, queries, token_weights, verify
from attribution.models import AllocatedCharge, GpuShare, PeriodBook, RulesetVersion
from costobs.kernel.period import Days
from costobs.kernel.scope import Filter
from ingest import partitions
from ingest.models import GpuHour, GpuSample, Offering, UsageEvent
from tests.attribution import world

pytestmark = pytest.mark.django_db

START = world.at(10)


def _sample(busy=1.0, *, after=10, every=10, deployment="llama", **columns):
    """One reading of the `every` seconds that end so many seconds `after` ten o'clock."""
    texts = {"mig_instance": "", "mig_profile": "", "namespace": "", "pod": "", "container": "", "gpu_index": "0"}
    where = {"node": "gpu-1", "gpu_uuid": "GPU-a", "gpu_model": "H100", "activity_source": "gr_engine_active"}
    GpuSample.objects.create(
        source=world.source("dcgm", "dcgm"),
        sampled_at=START + timedelta(seconds=after),
        interval_seconds=every,
        deployment=deployment,
        activity=busy,
        **(texts | where | columns),
    )


def _fold():
    """The hours of the samples, as the load makes them."""
    dcgm = world.source("dcgm", "dcgm")
    found = Counter()
    for row in GpuSample.objects.all():
        hour = row.sampled_at.replace(minute=0, second=0)
        key = (hour, row.node, row.gpu_uuid, row.mig_instance, row.mig_profile, row.deployment)
        found[(key, "covered")] += row.interval_seconds * 1000
        found[(key, "busy")] += round(row.activity * row.interval_seconds * 1000)
    for key in {key for key, _ in found}:
        names = ("node", "gpu_uuid", "mig_instance", "mig_profile", "deployment")
        columns = dict(zip(names, key[1:], strict=True))
        world.gpu_hour(dcgm, key[0], busy=found[(key, "busy")], covered=found[(key, "covered")], **columns)


def _request(
    team,
    *,
    starts=0.0,
    takes=None,
    first=None,
    deployment="llama",
    model="llama-70b",
    kind="gate",
    known=True,
    **counts,
):
    """One request that began so many seconds after ten o'clock; `takes` and `first` are seconds."""
    log = world.source(kind, kind)
    at = START + timedelta(seconds=starts)
    partitions.ensure_days([at.date()])
    own_model = {"provider": "self_hosted", "model": model, "deployment": deployment}
    attributes = {"team": team, "key": f"{team}-{UsageEvent.objects.count()}"}
    if any(counts.values()):
        world.usage(
            log, attributes=attributes, hour=at.replace(minute=0, second=0, microsecond=0), **own_model, **counts
        )
    else:
        Offering.objects.get_or_create(
            provider="self_hosted", request_model=model, response_model=model, deployment=deployment,
            service_tier="", operation="chat", defaults={"model": model},
        )  # fmt: skip
        world.touch(log)
    names = [field.name for field in UsageEvent._meta.get_fields() if field.get_internal_type() == "IntegerField"]
    sums = dict.fromkeys((name for name in names if not name.endswith("_ms")), 0)
    UsageEvent.objects.create(
        source=log,
        event_id=attributes["key"],
        occurred_at=at,
        attribute_set_id=world.attribute_set(log, **attributes),
        offering=Offering.objects.get(deployment=deployment, model=model),
        price=world.price("self_hosted", model),
        usage_known=known,
        latency_ms=None if takes is None else round(takes * 1000),
        ttft_ms=None if first is None else round(first * 1000),
        status=200,
        outcome="ok" if known else "cancelled",
        trace_id="",
        session_id="",
        **(sums | counts),
    )


def _settle(cost="3600", *, node="gpu-1"):
    """A node that costs a dollar a second, from ten to eleven."""
    if not GpuHour.objects.exists():
        _fold()
    world.charge(world.source(), cost, starts=START, hours=1, resource_id=node)
    world.settle()
    assert verify.run().failures == ()


def _spent(*keys):
    rows = queries.spend(scope=world.scope(), group_by=list(keys or ("share_kind", "team")))
    return {row.keys if len(row.keys) > 1 else row.keys[0]: row.cost for row in rows}


def _teams():
    return {team: cost for (kind, team), cost in _spent().items() if kind == "direct"}


def _rule(**config):
    own.reattribute(
        drafts=[*own.DEFAULT_RULES[:-1], own.RuleDraft("gpu_share", "GPU nodes", config)], now=world.NOW, by="test"
    )


def _fit(deployment, *, a="10", b="1", c="2", weight="7", valid_from=world.DAY):
    found = token_weights.Fit(
        "step_log", Decimal(a), Decimal(b), Decimal(c), Decimal(0), Decimal(weight), Decimal("0.97"), 900
    )
    token_weights.record(
        deployment=deployment, quantization="w8a8", found=found, valid_from=valid_from, by="test", now=world.NOW
    )


def test_it_gives_each_window_to_the_requests_that_were_live_in_it():
    _sample(1.0, after=10)
    _sample(0.25, after=20)
    _request("search", starts=1, takes=8, output=10)
    _request("growth", starts=11, takes=8, output=1000)

    _settle()

    assert _teams() == {"search": 10, "growth": Decimal("2.5")}
    assert _spent("share_kind")["idle_workload"] == Decimal("7.5")


def test_it_calls_a_busy_window_without_requests_overhead():
    _sample(1.0, after=10)
    _sample(0.5, after=20)
    _request("search", starts=1, takes=8, output=10)

    _settle()

    assert _spent()[("overhead", "")] == 5


def test_it_puts_a_prompt_before_the_first_token_and_output_after_it():
    _sample(1.0, after=10)
    _sample(1.0, after=20)
    # A prompt of 100 in the first window; ten tokens of output, half of them in each.
    _request("search", starts=0, takes=15, first=5, input_uncached=100, output=10)
    _request("growth", starts=0, takes=10, output=25)

    _settle()

    # First window: 100 + 5 x 5 against 25 x 5. In the second, search is alone.
    assert _teams() == {"search": 15, "growth": 5}


def test_it_spreads_a_request_without_a_first_token_over_its_time_and_one_without_time_where_it_began():
    _sample(1.0, after=10)
    _sample(1.0, after=20)
    _request("search", starts=5, takes=10, output=20)
    _request("growth", starts=12, output=30)

    _settle()

    assert _teams() == {"search": Decimal("12.5"), "growth": Decimal("7.5")}


def test_it_lets_cached_tokens_weigh_a_tenth_until_weights_are_fitted():
    _sample()
    _request("search", takes=5, cache_read=900, input_uncached=10)
    _request("growth", takes=5, input_uncached=100)

    _settle()

    assert _teams() == {"search": 5, "growth": 5}
    assert (
        AllocatedCharge.objects.filter(share_kind="direct")
        .values_list("is_estimated_weight", flat=True)
        .distinct()
        .get()
    )


def test_it_makes_windows_as_long_as_the_samples_and_ten_seconds_at_least():
    for second in range(1, 21):
        _sample(1.0 if second <= 10 else 0.5, after=second, every=1)
    _sample(1.0, after=60, every=60, gpu_uuid="GPU-b", gpu_index="1", deployment="coarse")
    _request("search", starts=2, takes=5, output=10)
    _request("growth", starts=12, takes=5, output=10)
    _request("late", starts=50, takes=5, output=10, deployment="coarse")

    _settle("7200")

    assert _teams() == {"search": 10, "growth": 5, "late": 60}
    seconds = dict(GpuShare.objects.filter(share_kind="direct").values_list("deployment", "window_seconds"))
    assert seconds == {"llama": 10, "coarse": 60}


def test_it_lets_those_who_generate_at_once_share_what_a_step_costs():
    _fit("llama", a="10", b="1", c="0")
    _sample(1.0)
    _sample(1.0, after=20)
    # Alone for as long as the other two are together, and as many tokens.
    _request("alone", starts=0, takes=4, first=0.001, output=100)
    _request("both", starts=5, takes=4, first=0.001, output=100)
    _request("together", starts=5, takes=4, first=0.001, output=100)
    _request("later", starts=11, takes=4, first=0.001, output=1)

    _settle()

    teams = _teams()
    assert (round(teams["alone"], 3), round(teams["both"], 3)) == (5, Decimal("2.5"))
    assert teams["both"] == teams["together"]
    assert not AllocatedCharge.objects.filter(is_estimated_weight=True).exists()


def test_it_prefers_weights_that_a_rule_states_to_fitted_ones_and_those_to_the_default():
    _rule(deployment_weights={"llama": {"input": "1", "cached": "0", "output": "3"}})
    _fit("llama", b="1", c="100", a="0")
    _fit("other", b="1", c="3", a="0")
    for name, card in (("llama", "GPU-a"), ("other", "GPU-b")):
        _sample(gpu_uuid=card, deployment=name)
        _request(f"{name} in", takes=5, input_uncached=300, deployment=name)
        _request(f"{name} out", takes=5, output=100, deployment=name)

    _settle("7200")

    assert set(_teams().values()) == {5}


def test_it_pools_the_replicas_of_a_deployment_on_several_nodes():
    _sample(1.0)
    _sample(0.5, node="gpu-2", gpu_uuid="GPU-b")
    _request("search", takes=9, output=30)
    _request("growth", takes=9, output=10)
    world.charge(world.source(), "7200", starts=START, hours=1, resource_id="gpu-2")

    _settle()

    # Ten dollars of the first node, and ten of the second, which is twice as dear and half as busy.
    assert _teams() == {"search": 15, "growth": 5}


def test_it_tells_the_adapters_of_one_deployment_apart_by_model():
    _sample()
    _request("search", takes=5, output=30, model="llama-70b")
    _request("search", takes=5, output=10, model="legal-adapter")

    _settle()

    assert {key: cost for key, cost in _spent("share_kind", "model").items() if key[0] == "direct"} == {
        ("direct", "llama-70b"): Decimal("7.5"),
        ("direct", "legal-adapter"): Decimal("2.5"),
    }


def test_it_shares_a_gpu_that_deployments_take_turns_on_evenly_while_their_weights_are_not_fitted():
    _rule(time_sliced={"llama": ["qwen"]})
    _sample(0.8)
    _sample(0.5, after=20)
    _request("search", takes=5, output=1000)
    _request("growth", takes=5, output=10, deployment="qwen")
    _request("growth", starts=12, takes=5, output=10, deployment="qwen")

    _settle()

    assert _teams() == {"search": 4, "growth": 9}
    costs = {line.deployment: line for line in queries.gpu_costs(scope=world.scope())}
    assert (costs["llama"].used_cost, costs["qwen"].used_cost) == (4, 9)
    assert costs["llama"].idle_workload_cost == costs["qwen"].idle_workload_cost == Decimal("3.5")


def test_it_shares_it_by_their_milliseconds_once_they_are():
    _rule(time_sliced={"llama": ["qwen"]})
    _fit("llama", a="0", b="1", c="3")
    _fit("qwen", a="0", b="1", c="1")
    _sample()
    _request("search", takes=5, output=100)
    _request("growth", takes=5, output=100, deployment="qwen")

    _settle()

    assert _teams() == {"search": Decimal("7.5"), "growth": Decimal("2.5")}


def test_it_counts_slices_of_a_gpu_by_their_sevenths():
    _sample(1.0, mig_instance="1", mig_profile="3g.40gb", deployment="small")
    _sample(0.5, mig_instance="2", mig_profile="4g.40gb", deployment="large")
    _request("search", takes=5, output=10, deployment="small")
    _request("growth", takes=5, output=10, deployment="large")

    _settle("2520")

    # Ten seconds cost 7.
    assert _teams() == {"search": 3, "growth": 2}


def test_it_counts_what_a_cancelled_stream_had_put_out_and_guesses_what_nobody_counted():
    _sample()
    _request("search", takes=4, output=40)
    _request("partly", takes=4, output=20, known=False)
    _request("unknown", takes=2, known=False)

    _settle()

    # 60 tokens in 8 seconds are counted: two seconds are taken for 15.
    teams = _teams()
    assert [round(teams[name], 6) for name in ("search", "partly", "unknown")] == [
        round(Decimal(10) * tokens / 75, 6) for tokens in (40, 20, 15)
    ]


def test_it_takes_no_events_of_a_source_that_does_not_count():
    _sample()
    _request("search", takes=5, output=10, kind="gate")
    _request("copy", takes=5, output=10, kind="otlp")

    _settle()

    assert _teams() == {"search": 10}


def test_it_shares_whole_hours_where_a_source_that_counts_has_no_events():
    _sample()
    _request("search", takes=5, output=10)
    archived = world.source("gate", "archived")
    own_model = {"provider": "self_hosted", "model": "llama-70b", "deployment": "llama"}
    world.usage(archived, attributes={"team": "growth"}, hour=START, output=30, **own_model)

    _settle()

    assert _teams() == {"search": Decimal("2.5"), "growth": Decimal("7.5")}
    assert set(GpuShare.objects.values_list("method", flat=True)) == {"hours"}


def test_it_shares_whole_hours_without_samples_or_events():
    world.gpu_hour(world.source("dcgm", "dcgm"), START, busy=1_800_000, deployment="llama")
    _request("search", takes=5, output=30)
    _request("growth", takes=5, output=10)

    _settle()

    assert _teams() == {"search": 1350, "growth": 450}
    assert set(GpuShare.objects.values_list("method", "window_seconds")) == {("hours", 3600)}


def test_it_stands_by_what_it_kept_when_samples_and_events_are_gone():
    _sample(1.0, after=10)
    _sample(0.25, after=20)
    _request("search", starts=1, takes=8, output=10)
    _request("growth", starts=11, takes=8, output=1000)
    _settle()
    GpuSample.objects.all().delete()
    UsageEvent.objects.all().delete()

    world.charge(world.source(), "3600", starts=START, hours=1, resource_id="gpu-1")
    world.settle()

    assert _teams() == {"search": 20, "growth": 5}
    assert set(GpuShare.objects.filter(share_kind="direct").values_list("method", flat=True)) == {"windows"}


def test_it_falls_back_to_hours_when_nothing_was_kept_either():
    _sample(1.0, after=10)
    _sample(1.0, after=20)
    _request("search", starts=1, takes=8, output=30)
    _request("growth", starts=11, takes=8, output=10)
    _settle()
    GpuSample.objects.all().delete()
    GpuShare.objects.all().delete()

    world.touch(world.source("gate", "gate"))
    world.settle()

    assert _teams() == {"search": 15, "growth": 5}
    assert set(GpuShare.objects.filter(share_kind="direct").values_list("method", flat=True)) == {"hours"}


def test_it_keeps_the_shares_of_a_closed_month_as_they_are():
    _sample()
    _request("search", takes=5, output=10)
    _settle()
    before = list(GpuShare.objects.order_by("id").values_list("id", "amount"))
    PeriodBook.objects.create(
        month=world.DAY.replace(day=1), state="closed", closed_at=world.NOW,
        ruleset=RulesetVersion.objects.get(is_current=True),
    )  # fmt: skip

    _request("late", takes=5, output=10)
    world.settle()

    assert list(GpuShare.objects.order_by("id").values_list("id", "amount")) == before


def test_it_follows_a_request_over_midnight():
    midnight = 14 * 3600
    _sample(1.0, after=midnight + 10)
    _request("search", starts=midnight - 5, takes=12, output=10)
    _fold()
    world.charge(world.source(), "3600", starts=world.at() + timedelta(days=1), hours=1, resource_id="gpu-1")

    world.settle()

    day = world.DAY + timedelta(days=1)
    (row,) = queries.spend(
        scope=world.scope(Filter("share_kind", ("direct",)), days=Days(day, day + timedelta(days=1)))
    )
    assert row.cost == 10


def test_it_makes_windows_longer_where_there_would_be_too_many_pieces(monkeypatch):
    for after in range(10, 130, 10):
        _sample(0.5, after=after)
    _request("search", starts=0, takes=120, output=100)
    _request("growth", starts=0, takes=120, output=100)
    monkeypatch.setattr(gpu_windows, "_MOST_PIECES", 10)

    _settle()

    assert _teams() == {"search": 30, "growth": 30}
    assert GpuShare.objects.filter(share_kind="direct").first().window_seconds == 30


def test_it_takes_a_request_of_a_day_for_an_hour_at_most():
    _sample()
    _request("search", starts=0, takes=2_000_000, output=100)

    _settle()

    assert _teams() == {"search": 10}


def test_it_makes_the_same_shares_whatever_the_order_of_rows():
    _fit("llama")
    for after in range(10, 70, 10):
        _sample(0.77, after=after)
    for number in range(12):
        _request(
            f"t{number % 3}",
            starts=number * 4.1,
            takes=9.7,
            first=1.3,
            input_uncached=97 + number,
            output=31 * number + 1,
        )
    _settle()
    columns = ("attribute_set_id", "token_kind", "amount")
    before = sorted(GpuShare.objects.values_list(*columns))
    rows = list(UsageEvent.objects.all())
    UsageEvent.objects.all().delete()
    UsageEvent.objects.bulk_create(reversed(rows))

    world.touch(world.source("gate", "gate"))
    world.settle()

    assert sorted(GpuShare.objects.values_list(*columns)) == before


def test_it_shares_hours_where_readings_are_too_coarse_to_say_when():
    _sample(1.0, after=1800, every=1800)
    _request("search", starts=1, takes=5, output=10)
    _request("growth", starts=3000, takes=5, output=10)

    _settle()

    assert _teams() == {"search": 900, "growth": 900}
    assert set(GpuShare.objects.values_list("method", flat=True)) == {"hours"}


def test_it_makes_books_of_absurd_numbers_too():
    _rule(deployment_weights={"llama": {"input": "1000000000000", "cached": "0", "output": "3000000000000"}})
    _sample()
    _request("search", takes=5, first=0.001, output=2_000_000_000)
    _request("growth", takes=3_000, output=2_000_000_000)
    _request("unknown", takes=2_000_000, known=False)

    _settle()

    teams = _teams()
    assert set(teams) == {"search", "growth", "unknown"}
    assert round(sum(teams.values()), 9) == 10


def test_it_leaves_closed_days_to_the_weights_that_were_known_then():
    _sample()
    _request("search", takes=5, input_uncached=100)
    _request("growth", takes=5, output=100)
    _settle()
    before = _teams()
    PeriodBook.objects.create(
        month=world.DAY.replace(day=1), state="closed", closed_at=world.NOW - timedelta(days=1),
        ruleset=RulesetVersion.objects.get(is_current=True),
    )  # fmt: skip

    _fit("llama", weight="50", c="50")
    GpuShare.objects.all().delete()
    world.touch(world.source("gate", "gate"))
    world.settle()

    assert _teams() == before
