"""The sample organisation: the same on every run, plausible, and with everything in it that pages have to show."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import orjson
import polars as pl
import pytest
from genai_prices import Usage, calc_price

from costobs.embedded.sample import bills, cloud_bill, fine_tunes, gpus, organisation, story, traces, usage, values
from costobs.embedded.sample.story import Story
from ingest.sources import KINDS
from ingest.sources.formats import classify

UNTIL = datetime(2026, 11, 21, 15, 7, tzinfo=UTC)
TOLD = Story(story.starting(until=UNTIL))
THROUGH = UNTIL.date() - timedelta(days=bills.LAG_DAYS)
PROVIDERS = ("openai", "anthropic", "aws")


@pytest.fixture(scope="module")
def calls() -> pl.DataFrame:
    """Every call of the story."""
    return usage.events(TOLD, since=story.midnight(TOLD.start), until=UNTIL)


@pytest.fixture(scope="module")
def charges(calls: pl.DataFrame) -> pl.DataFrame:
    """Every charge of the story, as the product reads it."""
    tokens = usage.by_day(calls)
    made = [
        bills.bill(TOLD, provider=provider, month=month, through=THROUGH, tokens=tokens)
        for month in bills.months(TOLD, through=THROUGH)
        for provider in PROVIDERS
    ]
    return pl.concat([_normalized("focus_export", bill.name, bill.content) for bill in made if bill])


def _normalized(kind: str, name: str, content: bytes, **config: object) -> pl.DataFrame:
    source = KINDS[kind](KINDS[kind].Config(**config))
    parts = list(source.normalize(source.open_bytes(name=name, content=content)))
    assert [rejected for part in parts for rejected in part.rejected] == []
    return pl.concat([pl.from_arrow(part.batch) for part in parts])


def _days(first: int, last: int) -> tuple[datetime, datetime]:
    return story.midnight(TOLD.day(first)), story.midnight(TOLD.day(last))


def _sum(frame: pl.DataFrame, column: str = "billed_cost") -> Decimal:
    return sum(map(Decimal, frame[column]), Decimal(0))


def test_it_tells_the_same_bytes_each_time() -> None:
    since, until = _days(70, 72)

    first = usage.ndjson(usage.events(TOLD, since=since, until=until))
    second = usage.ndjson(usage.events(Story(TOLD.start), since=since, until=until))

    assert first == second


def test_it_tells_another_story_to_another_seed() -> None:
    since, until = _days(70, 71)

    first = usage.ndjson(usage.events(TOLD, since=since, until=until))
    other = usage.ndjson(usage.events(Story(TOLD.start, seed=8), since=since, until=until))

    assert first != other


def test_it_tells_a_span_as_the_sum_of_its_parts() -> None:
    since, until = _days(67, 70)
    middle = since + timedelta(hours=31, minutes=17)

    parts = [usage.events(TOLD, since=since, until=middle), usage.events(TOLD, since=middle, until=until)]
    whole = usage.events(TOLD, since=since, until=until)

    assert pl.concat(parts).equals(whole)


def test_it_moves_with_the_day_it_is_told_by_weeks() -> None:
    later = Story(TOLD.start + timedelta(days=28))
    shifted = usage.events(later, since=story.midnight(later.day(70)), until=story.midnight(later.day(71)))
    original = usage.events(TOLD, since=story.midnight(TOLD.day(70)), until=story.midnight(TOLD.day(71)))

    assert shifted["output"].to_list() == original["output"].to_list()
    assert shifted["at"].to_list() == [at + timedelta(days=28) for at in original["at"]]


def test_it_gives_every_call_an_identity_of_its_own(calls: pl.DataFrame) -> None:
    assert calls["event_id"].n_unique() == len(calls)
    assert 200_000 < len(calls) < 500_000


def test_it_is_read_as_a_usage_log_without_a_rejected_line(calls: pl.DataFrame) -> None:
    part = calls.filter(pl.col("at") >= story.midnight(TOLD.day(83)))

    rows = _normalized("usage_log", "usage.ndjson", usage.ndjson(part))

    assert len(rows) == len(part)
    for kind in (*usage.KINDS, "reasoning"):
        assert rows[kind].sum() == part[kind].sum()
    assert set(rows["attr_team"]) == {team.name for team in organisation.TEAMS} | {""}


def test_it_has_a_calm_weekend_and_a_busy_week(calls: pl.DataFrame) -> None:
    by_day = calls.group_by(pl.col("at").dt.date().alias("day")).len().filter(pl.col("day") < UNTIL.date())
    weekend = by_day.filter(pl.col("day").dt.weekday() >= 6)["len"].mean()
    week = by_day.filter(pl.col("day").dt.weekday() < 6)["len"].mean()

    assert isinstance(weekend, float)
    assert isinstance(week, float)
    assert weekend < 0.7 * week


def test_it_launches_a_feature(calls: pl.DataFrame) -> None:
    answers = calls.filter(pl.col("feature") == "search-answers")
    launch = story.midnight(TOLD.day(story.LAUNCH))
    before = answers.filter(pl.col("at").is_between(launch - timedelta(days=14), launch, closed="left"))
    after = answers.filter(
        pl.col("at").is_between(launch + timedelta(days=7), launch + timedelta(days=21), closed="left")
    )

    assert len(after) > 1.9 * len(before)


def test_it_has_a_runaway_key_for_two_days(calls: pl.DataFrame) -> None:
    runaway = calls.filter(pl.col("key") == story.RUNAWAY_KEY)
    usual = calls.filter(pl.col("key") == "key-growth-briefs")

    assert runaway["at"].dt.date().unique().sort().to_list() == [TOLD.day(index) for index in story.RUNAWAY]
    assert len(runaway) / 2 > 3 * len(usual) / organisation.DAYS


def test_it_has_keys_that_nobody_owns_and_a_model_that_nobody_prices(calls: pl.DataFrame) -> None:
    unowned = calls.filter(pl.col("team") == "")
    unpriced = calls.filter(pl.col("model") == organisation.GUARD)

    assert unowned["key"].n_unique() == 2
    assert len(unpriced) > 1000
    with pytest.raises(LookupError):
        calc_price(Usage(input_tokens=1), model_ref=organisation.GUARD, provider_id="openai")


def test_it_has_agent_runs_whose_calls_share_a_trace(calls: pl.DataFrame) -> None:
    runs = calls.filter(pl.col("trace_id") != "").group_by("trace_id").agg(pl.len(), pl.col("feature").first())

    assert set(runs["feature"]) == {"resolution-agent", "sql-agent"}
    assert runs["len"].min() >= 2
    assert 8 < float(str(runs["len"].mean())) < 14


def test_it_has_errors_an_incident_and_cut_streams(calls: pl.DataFrame) -> None:
    at = story.midnight(TOLD.day(story.INCIDENT)) + timedelta(hours=story.INCIDENT_HOURS.start)
    during = calls.filter(
        pl.col("at").is_between(at, at + timedelta(hours=len(story.INCIDENT_HOURS)), closed="left")
        & (pl.col("provider") == story.INCIDENT_PROVIDER)
    )
    errors = calls.filter(pl.col("outcome") == "error")

    assert 0.003 < len(errors) / len(calls) < 0.03
    assert during.filter(pl.col("outcome") == "error").height > 0.1 * during.height
    assert errors["output"].sum() == 0
    assert calls.filter(~pl.col("usage_known"))["outcome"].unique().to_list() == ["cancelled"]


def test_it_streams_and_answers_faster_from_small_models(calls: pl.DataFrame) -> None:
    streamed = calls.filter(pl.col("ttft_ms").is_not_null())
    median = dict(calls.group_by("model").agg(pl.col("latency_ms").median()).rows())

    assert set(streamed["feature"]) == {"search-answers", "support-copilot"}
    assert (streamed["ttft_ms"] <= streamed["latency_ms"]).all()
    assert median["claude-haiku-4-5"] < median["claude-sonnet-4-5"] < median["gpt-5-pro"]


def test_it_takes_its_sizes_from_real_requests() -> None:
    conversation, code = traces.trace("conv"), traces.trace("code")

    assert sum(conversation.context) / len(conversation.context) == pytest.approx(1)
    assert max(code.generated) > 5 * max(1, sorted(code.generated)[len(code.generated) // 2])
    assert conversation.arrival_seconds[0] >= 0
    assert conversation.arrival_seconds[-1] == pytest.approx(3600)
    assert list(conversation.arrival_seconds) == sorted(conversation.arrival_seconds)


def test_it_costs_what_a_middling_company_spends(charges: pl.DataFrame) -> None:
    october = charges.filter(pl.col("charge_period_start").dt.strftime("%Y-%m") == "2026-10")

    assert 40_000 < _sum(october, "effective_cost") < 70_000


def test_it_bills_up_to_the_day_before_yesterday(charges: pl.DataFrame) -> None:
    used = charges.filter(pl.col("charge_category") == "Usage")

    assert used["charge_period_end"].max() == story.midnight(THROUGH)
    assert used["charge_period_start"].min() == story.midnight(TOLD.start)


def test_it_bills_a_little_more_than_was_logged(calls: pl.DataFrame, charges: pl.DataFrame) -> None:
    logged = calls.filter((pl.col("model") == "claude-opus-4-5") & (pl.col("at") < story.midnight(THROUGH)))[
        "output"
    ].sum()
    lines = charges.filter((pl.col("model") == "claude-opus-4-5") & (pl.col("token_kind") == "output"))
    billed = sum(map(Decimal, lines["consumed_quantity"]), Decimal(0))

    assert Decimal("0.94") < logged / billed < Decimal("0.99")


def test_it_bills_a_project_that_no_log_knows(calls: pl.DataFrame, charges: pl.DataFrame) -> None:
    bypass = charges.filter(pl.col("sub_account_id") == "proj_experiments")

    assert _sum(bypass) > 500
    assert "proj_experiments" not in set(calls["account"])


def test_it_changes_a_price_by_contract(charges: pl.DataFrame) -> None:
    sonnet = charges.filter((pl.col("model") == "claude-sonnet-4-5") & (pl.col("token_kind") == "output"))
    change = story.midnight(TOLD.day(story.CONTRACT))

    def price(frame: pl.DataFrame) -> Decimal:
        return _sum(frame) / _sum(frame, "pricing_quantity")

    before = price(sonnet.filter(pl.col("charge_period_start") < change))
    after = price(sonnet.filter(pl.col("charge_period_start") >= change))

    assert before == pytest.approx(Decimal("14.40"))
    assert after == pytest.approx(Decimal("12.90"))


def test_it_says_which_model_and_token_kind_each_line_is_for(charges: pl.DataFrame) -> None:
    models = charges.filter(
        (pl.col("service_category") == "AI and Machine Learning") & (pl.col("resource_type") == "Model")
    )

    assert models.filter((pl.col("model") == "") | (pl.col("token_kind") == "")).is_empty()


def test_it_says_what_each_line_is_for_and_how_capacity_was_bought(charges: pl.DataFrame) -> None:
    spent = {kind: _sum(rows, "effective_cost") for (kind,), rows in charges.group_by("cost_kind")}
    bought = charges.filter(pl.col("cost_kind") == "gpu_compute")["purchase_option"]

    assert spent.keys() == {
        "api_inference", "gpu_compute", "fine_tuning", "storage", "network", "support", "tax", "credit", "other_service",
    }  # fmt: skip
    assert spent["other_service"] < sum(spent.values()) / 100
    assert set(bought) == {"on_demand", "reserved"}
    assert charges.filter(pl.col("cost_kind") == "api_inference")["purchase_option"].unique().to_list() == [""]


def test_it_has_credit_tax_support_a_correction_and_a_reservation(charges: pl.DataFrame) -> None:
    aws = charges.filter(pl.col("service_provider_name") == "AWS")
    used = aws.filter(pl.col("commitment_discount_status") == "Used")
    unused = aws.filter(pl.col("commitment_discount_status") == "Unused")

    assert set(aws["charge_category"]) == {"Usage", "Purchase", "Tax", "Credit"}
    assert _sum(aws.filter(pl.col("charge_category") == "Credit")) < 0
    assert _sum(aws.filter(pl.col("charge_class") == "Correction")) < 0
    assert _sum(used) == 0 < _sum(used, "effective_cost")
    assert len(unused) == 2


def test_it_spreads_a_reservation_without_losing_a_cent(charges: pl.DataFrame) -> None:
    october = charges.filter(
        (pl.col("commitment_discount_id") != "") & (pl.col("charge_period_start").dt.strftime("%Y-%m") == "2026-10")
    )

    assert _sum(october) == _sum(october, "effective_cost") > 4000


def test_it_corrects_a_month_in_its_second_delivery(calls: pl.DataFrame) -> None:
    tokens = usage.by_day(calls)
    month = date(2026, 10, 1)

    first = bills.bill(TOLD, provider="aws", month=month, through=THROUGH, tokens=tokens, is_first=True)
    second = bills.bill(TOLD, provider="aws", month=month, through=THROUGH, tokens=tokens)

    assert first
    assert second
    assert first.name == second.name
    before, after = (_normalized("focus_export", bill.name, bill.content) for bill in (first, second))
    added = after.filter(~pl.col("charge_description").is_in(before["charge_description"].to_list()))
    assert set(added["charge_category"]) == {"Usage", "Purchase", "Tax"}
    assert len(after) == len(before) + len(added)


def test_it_prices_models_as_the_vendors_list_them() -> None:
    at = story.midnight(TOLD.start)
    for model in organisation.MODELS.values():
        provider = classify.price_provider(model.provider)
        if provider == "self_hosted" or not model.prices:
            continue
        asked = {
            "input_uncached": Usage(input_tokens=100_000),
            "cache_read": Usage(input_tokens=100_000, cache_read_tokens=100_000),
            "cache_write_5m": Usage(input_tokens=100_000, cache_write_tokens=100_000),
            "output": Usage(output_tokens=100_000),
        }
        for kind, price in model.prices.items():
            found = calc_price(
                asked[kind], model_ref=model.name, provider_id=provider, genai_request_timestamp=at
            ).total_price
            assert found * 10 == price, (model.name, kind)


def test_it_measures_gpus_as_prometheus_would(calls: pl.DataFrame) -> None:
    since, until = UNTIL - timedelta(hours=30), UNTIL
    answer = gpus.query_range(TOLD, since=since, until=until, step_seconds=60, work=usage.by_hour(calls))

    samples = _normalized("dcgm", "telemetry.json", answer, step_seconds=60)

    assert len(samples) == 30 * 60 * 12
    assert set(samples["node"]) == {node.name for node in organisation.NODES}
    assert samples["activity"].is_between(0, 1).all()
    assert set(samples["deployment"]) == {"llama-70b", "qwen-14b", ""}
    busy = dict(samples.group_by("node").agg(pl.col("activity").mean()).rows())
    assert busy["gpu-node-3"] < 0.1 < busy["gpu-node-1"]
    free = samples.filter(pl.col("deployment") == "")
    assert len(free) == 30 * 60 * 2
    assert free["memory_used_mib"].max() == 0
    assert free["power_watts"].max() < samples.filter(pl.col("deployment") != "")["power_watts"].min()


def test_it_counts_energy_upwards_through_a_day(calls: pl.DataFrame) -> None:
    since, until = _days(50, 51)
    answer = gpus.query_range(TOLD, since=since, until=until, step_seconds=900, work=usage.by_hour(calls))

    samples = _normalized("dcgm", "telemetry.json", answer, step_seconds=900)

    for _, one in samples.sort("sampled_at").group_by("gpu_uuid"):
        assert one["energy_millijoules"].is_sorted()
        hours = one["energy_millijoules"].max() / 3.6e9 / (one["power_watts"].mean() / 1000)
        assert 15 < hours < 30


def test_it_has_no_reading_from_a_node_that_is_off(calls: pl.DataFrame) -> None:
    since, until = _days(story.MAINTENANCE, story.MAINTENANCE + 1)
    answer = orjson.loads(gpus.query_range(TOLD, since=since, until=until, step_seconds=900, work=usage.by_hour(calls)))

    hours = {
        datetime.fromtimestamp(at, UTC).hour
        for series in answer["data"]["result"]
        if series["metric"]["Hostname"] == "gpu-node-1"
        for at, _ in series["values"]
    }

    node = organisation.NODES[0]
    off = {hour for hour in range(24) if cloud_bill.is_off(TOLD, node, TOLD.day(story.MAINTENANCE), hour)}
    assert off
    assert hours == set(range(24)) - off


def test_it_trains_on_the_gpus_that_the_telemetry_shows_training(calls: pl.DataFrame) -> None:
    runs = _normalized("fine_tunes", "runs.ndjson", fine_tunes.ndjson(TOLD, until=UNTIL))
    run = runs.filter(pl.col("external_id") == "ft-0215").row(0, named=True)
    day = run["started_at"].date()
    answer = gpus.query_range(
        TOLD, since=story.midnight(day), until=story.midnight(day + timedelta(days=1)), step_seconds=900,
        work=usage.by_hour(calls),
    )  # fmt: skip

    samples = _normalized("dcgm", "telemetry.json", answer, step_seconds=900)

    training = samples.filter(pl.col("deployment") == "finetune-ft-0215")
    assert set(training["gpu_uuid"]) == set(run["gpu_uuids"].split(","))
    assert training["sampled_at"].min() == run["started_at"]
    assert training["sampled_at"].max() < run["ended_at"]


def test_it_has_fine_tunes_of_every_end() -> None:
    runs = _normalized("fine_tunes", "runs.ndjson", fine_tunes.ndjson(TOLD, until=UNTIL))

    assert set(runs["state"]) == {"succeeded", "failed", "preempted"}
    assert len(runs) == len(story.RUNS)
    assert len(runs.filter(pl.col("provider_job") != "")) == 1


def test_it_bills_the_providers_fine_tune_under_its_jobs_name(charges: pl.DataFrame) -> None:
    jobs = [bills.provider_job(run) for run in story.RUNS if run.provider == "openai"]

    billed = charges.filter(pl.col("resource_id").is_in(jobs))

    assert billed["resource_id"].to_list() == jobs
    assert _sum(billed) > 0


def test_it_goes_on_after_its_ninety_days() -> None:
    since = story.midnight(TOLD.day(140))

    later = usage.events(TOLD, since=since, until=since + timedelta(days=1))

    assert len(later) > 1000


def test_it_tells_scores_figures_and_events_that_their_sources_take_whole() -> None:
    made = {
        "quality_scores": values.scores(TOLD, until=UNTIL),
        "business_metrics": values.figures(TOLD, until=UNTIL),
        "markers": values.markers(TOLD, until=UNTIL),
    }

    found = {kind: _normalized(kind, kind, content) for kind, content in made.items()}

    assert {kind: len(frame) for kind, frame in found.items()} == {
        "quality_scores": 5 * (89 * 12 + 9),
        "business_metrics": 2 * 89,
        "markers": 7,
    }
    assert found["markers"]["at"].max() < UNTIL
