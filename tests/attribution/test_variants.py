"""Variants side by side: each with its interval, differences with theirs, and why they may mislead."""

import random
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import numpy
import pytest
from scipy import stats

from attribution import intervals, variants
from attribution.intervals import Estimate, Series
from attribution.queries import variant_rows
from costobs.kernel import histogram
from costobs.kernel.period import Days
from costobs.kernel.scope import BadScope, Filter
from ingest.models import LatencyDay, Offering
from tests.attribution import world
from tests.attribution.test_values import push, score

FIRST = date(2026, 3, 1)
DAYS = Days(FIRST, FIRST + timedelta(days=14))


def series(*pairs: tuple[str, int]) -> Series:
    return Series(list(range(len(pairs))), [Decimal(one) for one, _ in pairs], [Decimal(two) for _, two in pairs])


def test_it_gives_wilsons_interval_to_a_share() -> None:
    found = intervals.rate(10, 100)

    # Worked out by hand: (0.1 + z²/200 ± z·sqrt(0.1·0.9/100 + z²/40000)) / (1 + z²/100) with z = 1.959964
    assert found is not None
    assert abs(found.low - Decimal("0.0552291")) < Decimal("1e-6")
    assert abs(found.high - Decimal("0.1743657")) < Decimal("1e-6")
    assert intervals.rate(0, 0) is None


def test_it_gives_students_interval_to_a_mean() -> None:
    found = intervals.mean(Decimal("0.5"), Decimal("0.25"), 3)

    # t with two degrees of freedom is 4.302653; 4.302653 × 0.25 / sqrt(3) = 0.621034
    assert found is not None
    assert abs(found.high - Decimal("1.121034")) < Decimal("1e-5")
    assert intervals.mean(Decimal(1), None, 1) is None
    assert intervals.mean(Decimal(1), Decimal(0), 5) == Estimate(Decimal(1), Decimal(1), Decimal(1))


def test_it_covers_the_true_percentile_about_95_times_in_100() -> None:
    random.seed(3)
    true = stats.lognorm(s=0.6, scale=900).ppf(0.95)
    held = 0
    for seed in range(200):
        drawn = stats.lognorm(s=0.6, scale=900).rvs(400, random_state=seed)
        counts = [(histogram.bucket(int(one)), 1) for one in drawn]
        found = intervals.percentile(counts, permille=950)
        assert found is not None
        held += found.low <= Decimal(str(true)) <= found.high

    # The edges of buckets make it wider, never narrower; binomial noise of 200 tries is ± 3 %.
    assert held >= 184


def test_it_knows_no_interval_of_a_percentile_of_few_calls() -> None:
    assert intervals.percentile([(10, 20)], permille=990) is None
    assert intervals.percentile([], permille=500) is None


def test_it_covers_the_true_cost_of_a_request_about_95_times_in_100() -> None:
    held = 0
    for seed in range(150):
        draw = numpy.random.default_rng(seed)
        requests = draw.integers(500, 1500, 28)
        costs = requests * draw.normal(0.003, 0.0006, 28)
        pairs = [(f"{cost:.9f}", int(count)) for cost, count in zip(costs, requests, strict=True)]
        found = intervals.ratio(series(*pairs))
        assert found is not None
        held += found.low <= Decimal("0.003") <= found.high

    # BCa over 28 days is a little short of its level.
    assert 0.88 * 150 <= held <= 150


def test_it_has_the_same_interval_each_time_and_none_below_seven_days() -> None:
    week = series(("3", 1000), ("3.1", 1000), ("2.9", 900), ("3", 1100), ("2.7", 950), ("3.3", 1000), ("3", 1000))
    short = series(("3", 1000), ("3.1", 1000))

    assert intervals.ratio(week) == intervals.ratio(week)
    assert intervals.ratio(short) is None
    assert intervals.ratio_change(week, short) is None


def test_it_gives_a_constant_ratio_an_interval_without_width() -> None:
    found = intervals.ratio(series(*[("2", 1000)] * 10))

    assert found is not None
    assert found.low == found.value == found.high == Decimal("0.002")


def test_it_draws_shared_days_together_so_that_what_moves_both_moves_no_difference() -> None:
    draw = numpy.random.default_rng(5)
    days = draw.normal(1, 0.3, 20)
    here = series(*[(f"{0.7 * one:.9f}", 1000) for one in days])
    there = series(*[(f"{one:.9f}", 1000) for one in days])
    later = Series(list(range(100, 120)), there.amounts, there.units)

    together, apart = intervals.ratio_change(here, there), intervals.ratio_change(here, later)

    assert together is not None
    assert apart is not None
    assert abs(together.value - Decimal("-0.3")) < Decimal("1e-6")
    assert together.high - together.low < Decimal("1e-6")
    assert apart.high - apart.low > Decimal("0.1")


def test_it_takes_newcombes_interval_of_two_shares() -> None:
    # Newcombe 1998, Statistics in Medicine 17:873, table II, method 10: 56/70 less 48/80 is 0.2, 0.0524 to 0.3339
    now, base = intervals.rate(56, 70), intervals.rate(48, 80)

    assert now is not None
    assert base is not None
    found = intervals.difference(now, base)
    assert abs(found.value - Decimal("0.2")) < Decimal("1e-9")
    assert (round(found.low, 4), round(found.high, 4)) == (Decimal("0.0524"), Decimal("0.3339"))
    assert found.excludes_zero


@pytest.mark.parametrize(
    ("model", "deployment", "expected"),
    [
        ("llama-3.1-8b-instruct-awq", "", "AWQ"),
        ("llama-3.1-8b", "llama-fp8", "FP8"),
        ("qwen2.5-7b-gptq-int4", "", "GPTQ"),
        ("mistral-7b-q4_k_m", "", "GGUF"),
        ("llama-70b-nvfp4", "", "NVFP4"),
        ("gpt-4o", "", ""),
        ("fp80-model", "", ""),
    ],
)
def test_it_reads_the_quantization_out_of_names(model: str, deployment: str, expected: str) -> None:
    assert variant_rows.quantization(model, deployment) == expected


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ('{"prompt_version": "v7"}', "v7"),
        ("blue, prompt_version:v7", "v7"),
        ("variant=b; prompt_version = v7", "v7"),
        ('{"Variant": 7}', "7"),
        ("blue", ""),
        ('["a"]', ""),
    ],
)
def test_it_reads_a_prompt_version_out_of_tags(tags: str, expected: str) -> None:
    assert variant_rows.tag(tags, variant_rows.TAGS["prompt_version"]) == expected


def calls(model: str, *, days: int = 14, first: int = 0, requests: int = 100, tokens: int = 1000, **more: Any) -> None:
    """Each day a little dearer than the one before, so that there is a variance."""
    log = world.source("usage_log", "calls")
    attributes = more.pop("attributes", {"team": "search", "feature": "answers"})
    for offset in range(first, first + days):
        day = FIRST + timedelta(days=offset)
        own = tokens * requests + 100 * offset
        world.usage(
            log,
            attributes=attributes,
            model=model,
            hour=world.at(10, day=day),
            requests=requests,
            errors=requests // 20,
            input_uncached=own,
            **more,
        )


def latency(model: str, milliseconds: int, count: int = 500) -> None:
    offering = Offering.objects.get(model=model)
    log = world.source("usage_log", "calls")
    attribute_set = world.attribute_set(log, team="search", feature="answers")
    for offset in range(-8, 9):
        LatencyDay.objects.create(
            day=FIRST,
            source=log,
            attribute_set_id=attribute_set,
            offering=offering,
            measure="latency",
            bucket=histogram.bucket(milliseconds) + offset,
            count=count,
        )


def compared(dimension: str, *values: str, **of: Any) -> variants.Comparison:
    return variants.compare(scope=world.scope(days=DAYS, **of), dimension=dimension, values=values)


def warned(found: variants.Comparison) -> set[str]:
    return {one.key for one in found.warnings}


@pytest.mark.django_db
def test_it_compares_two_models_with_intervals_and_differences() -> None:
    calls("gpt-4o")
    calls("gpt-4o-mini", tokens=900)
    world.settle()
    latency("gpt-4o", 1000)
    latency("gpt-4o-mini", 2000)

    found = compared("model", "gpt-4o", "gpt-4o-mini")

    one, other = found.variants
    assert (one.requests, one.days, other.requests) == (1400, 14, 1400)
    assert one.cost == Decimal("1409.1")  # 14 × 100,000 tokens and 100 × (0 + … + 13) at 0.001
    assert one.cost_per_request == Decimal("1409.1") / 1400
    interval = one.cost_per_request_interval
    assert interval is not None
    assert interval.low < one.cost_per_request < interval.high
    assert one.error_rate is not None
    assert one.error_rate.value == Decimal("0.05")
    (change,) = found.differences
    assert change.cost_per_request is not None
    assert abs(change.cost_per_request.value - (other.cost / one.cost - 1)) < Decimal("1e-9")
    assert change.cost_per_request.high < 0
    assert change.p95_ms is not None
    assert change.p95_ms.low > 0
    assert warned(found) == set()


@pytest.mark.django_db
def test_it_compares_prompt_versions_by_tags_with_their_scores_and_figures() -> None:
    calls("gpt-4o", attributes={"team": "search", "feature": "answers", "tags": '{"prompt_version":"v1"}'})
    calls("gpt-4o", tokens=500, attributes={"team": "search", "feature": "answers", "tags": "prompt_version:v2"})
    world.settle()
    push("quality_scores", *(score(number, 0.6 + number % 2 / 10, variant="v1") for number in range(40)))
    push("quality_scores", *(score(100 + number, 0.6 + number % 2 / 10, variant="v2") for number in range(40)))
    push(
        "business_metrics",
        *(
            {
                "name": "tickets",
                "period_start": f"2026-03-{offset + 1:02}T00:00:00Z",
                "period_end": f"2026-03-{offset + 2:02}T00:00:00Z",
                "value": 50,
                "unit": "ticket",
                "attributes": {"team": "search", "prompt_version": "v2"},
            }
            for offset in range(10)
        ),
    )

    found = compared("prompt_version", "v1", "v2")

    one, other = found.variants
    assert (one.requests, other.requests) == (1400, 1400)
    assert (one.quality_name, one.scores, other.scores) == ("faithfulness", 40, 40)
    (change,) = found.differences
    assert change.quality is not None
    assert not change.quality.excludes_zero
    (unit,) = other.units
    assert (unit.name, unit.value, unit.days) == ("tickets", 500, 10)
    assert unit.cost_per_unit == Decimal("504.5") / 500  # ten days of 50 dollars, and 0.1 × 45
    assert one.units == []
    assert "other_length" in warned(found)
    assert [value for value, _ in variants.values(scope=world.scope(days=DAYS), dimension="prompt_version")] == [
        "v1",
        "v2",
    ]


@pytest.mark.django_db
def test_it_compares_quantizations_whatever_the_model_is_called() -> None:
    calls("llama-8b-awq")
    calls("llama-8b-fp8", tokens=800)
    calls("llama-70b-fp8", tokens=800)
    world.settle()

    found = compared("quantization", "AWQ", "FP8")

    assert [one.requests for one in found.variants] == [1400, 2800]


@pytest.mark.django_db
def test_it_warns_of_few_calls_other_days_other_features_and_changed_prices() -> None:
    plain, dearer = world.price(), world.price(per_token="0.002", service_tier="later")
    calls("gpt-4o", unit_price=plain)
    calls("gpt-4o", days=1, first=13, unit_price=dearer, requests=1)
    calls(
        "gpt-4o-mini",
        days=3,
        first=11,
        requests=5,
        unit_price=plain,
        attributes={"team": "search", "feature": "copilot"},
    )
    world.settle()

    found = compared("model", "gpt-4o", "gpt-4o-mini")

    assert warned(found) == {"few", "other_days", "other_mix", "prices"}
    assert found.differences[0].cost_per_request is None
    assert any("share 3 of 14 days" in one.words for one in found.warnings)


@pytest.mark.django_db
def test_it_compares_within_the_scope_and_the_teams_of_the_viewer() -> None:
    calls("gpt-4o")
    calls("gpt-4o", attributes={"team": "support", "feature": "copilot"})
    calls("gpt-4o-mini", attributes={"team": "support", "feature": "copilot"})
    world.settle()

    mine = compared("model", "gpt-4o", "gpt-4o-mini", teams=("search",))
    nobody = compared("model", "gpt-4o", "gpt-4o-mini", teams=())
    scope = world.scope(Filter("feature", ("copilot",)), days=DAYS)
    feature = variants.compare(scope=scope, dimension="model", values=["gpt-4o", "gpt-4o-mini"])

    assert [one.requests for one in mine.variants] == [1400, 0]
    assert [one.requests for one in nobody.variants] == [0, 0]
    assert [one.requests for one in feature.variants] == [1400, 1400]
    assert [
        value for value, _ in variants.values(scope=world.scope(days=DAYS, teams=("search",)), dimension="model")
    ] == ["gpt-4o"]


@pytest.mark.parametrize("values", [["a"], ["a", "a"], ["a", "b", "c", "d", "e"]])
def test_it_refuses_what_cannot_be_compared(values: list[str]) -> None:
    with pytest.raises(BadScope, match="different variants"):
        variants.compare(scope=world.scope(), dimension="model", values=values)
    with pytest.raises(BadScope, match="known: model"):
        variants.values(scope=world.scope(), dimension="colour")
