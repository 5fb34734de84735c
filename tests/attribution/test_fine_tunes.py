"""Fine-tune runs: what it took to get a model, what keeping it costs, and what it has served since."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from attribution import lineage, queries
from attribution.lineage import Try
from attribution.models import FineTuneCost
from attribution.queries import TunedModel
from costobs.kernel.period import Days
from ingest.models import UnitPrice
from tests.attribution import world

FIRST = date(2026, 3, 1)


def attempt(number: int, state: str = "failed", *, name: str = "answers", artefact: str = "", **more: Any) -> Try:
    started = datetime(2026, 3, number, tzinfo=UTC)
    told = {"source_id": 1, "external_id": f"run-{number}", "base_model": "llama", **more}
    return Try(id=number, name=name, artefact=artefact, state=state, started_at=started, **told)


def families(*tries: Try) -> list[list[int]]:
    return sorted([one.id for one in family] for family in lineage.lineages(tries))


def test_it_counts_failed_tries_to_the_success_that_ends_them() -> None:
    assert families(
        attempt(1), attempt(2, "preempted"), attempt(3, "succeeded"), attempt(4), attempt(5, "succeeded")
    ) == [
        [1, 2, 3],
        [4, 5],
    ]


def test_it_knows_tries_by_name_or_artefact_whatever_their_order() -> None:
    tries = [
        attempt(1, name="answers (attempt 1)"),
        attempt(2, name="answers-retry-2", artefact="answers-v3"),
        attempt(3, "succeeded", name="another name", artefact="Answers-V3"),
        attempt(4, name="run-4"),
        attempt(5, name="run-5"),
        attempt(6, base_model="qwen"),
        attempt(7, source_id=2),
    ]

    assert families(*tries) == families(*reversed(tries)) == [[1, 2, 3], [4], [5], [6], [7]]


@pytest.mark.parametrize(
    ("training", "serving", "alternative", "expected"),
    [
        ("100", "0.000001", "0.000003", 50_000_000),
        ("1", "0", "3", 1),
        ("100", "0.000003", "0.000003", None),
        ("100", "0.000004", "0.000003", None),
        ("0", "0.000001", "0.000003", 0),
    ],
)
def test_it_breaks_even_where_what_is_saved_pays_for_training(
    training: str, serving: str, alternative: str, expected: int | None
) -> None:
    found = lineage.break_even(training=Decimal(training), serving=Decimal(serving), alternative=Decimal(alternative))

    assert found == expected
    if found:
        saved = Decimal(alternative) - Decimal(serving)
        assert (found - 1) * saved < Decimal(training) <= found * saved


def run(name: str, day: int, state: str = "succeeded", *, cost: str = "", **more: Any) -> int:
    """A provider's run with the line of the bill that names it."""
    tracker, bill = world.source("fine_tunes", "runs"), world.source()
    at = world.at(8, day=FIRST + timedelta(days=day))
    told = {
        "artefact": "answers-v3" if state == "succeeded" else "",
        "base_model": "gpt-4o",
        "provider": "openai",
        **more,
    }
    made = world.fine_tune(
        tracker,
        attributes={"team": "search"},
        external_id=f"job-{name}-{day}",
        name=name,
        state=state,
        started_at=at,
        ended_at=at + timedelta(hours=2),
        provider_job=f"ftjob-{name}-{day}",
        trained_tokens=1_000_000,
        **told,
    )
    if cost:
        world.llm_charge(
            bill, cost, starts=world.at(day=at.date()), cost_kind="fine_tuning", resource_id=f"ftjob-{name}-{day}"
        )
    return int(made.pk)


def serve(day: int, *, model: str = "answers-v3", tokens: int = 1_000_000, team: str = "search", **more: Any) -> None:
    log = world.source("usage_log", "calls")
    price = world.price("openai", model, per_token="0.000001")
    hour = world.at(12, day=FIRST + timedelta(days=day))
    world.usage(
        log,
        attributes={"team": team},
        model=model,
        hour=hour,
        requests=10,
        input_uncached=tokens,
        unit_price=price,
        **more,
    )


def models(days: int = 30, **of: Any) -> list[TunedModel]:
    return queries.tuned_models(scope=world.scope(days=Days(FIRST, FIRST + timedelta(days=days)), **of))


@pytest.mark.django_db
def test_it_spreads_every_try_over_the_tokens_served_since() -> None:
    run("answers", 1, "failed", cost="30")
    run("answers", 2, "preempted", cost="10")
    run("answers", 3, cost="60")
    serve(2)
    serve(3)
    serve(9, tokens=3_000_000)
    world.price("openai", "gpt-4o", per_token="0.000026")
    world.settle()

    (found,) = models()

    assert [one.state for one in found.attempts] == ["failed", "preempted", "succeeded"]
    assert found.total_cost == Decimal(100)
    assert [one.day.day for one in found.served] == [4, 10]
    assert (found.tokens, found.requests, found.serving_cost) == (4_000_000, 20, Decimal(4))
    assert found.amortised_per_million == Decimal(25)
    assert found.serving_per_million == Decimal(1)
    assert found.full_per_million == Decimal(26)
    assert (found.api_provider, found.api_per_million) == ("openai", Decimal(26))
    assert found.break_even_tokens == 4_000_000
    assert found.saved == 0


@pytest.mark.django_db
def test_it_gives_tokens_to_the_run_that_made_the_model_last() -> None:
    run("answers", 1, cost="10")
    run("answers", 10, cost="20")
    serve(5)
    serve(9)
    serve(10, tokens=500_000)
    world.settle()

    found = {one.run.run_id: one.tokens for one in models()}

    assert found == {"job-answers-1": 2_000_000, "job-answers-10": 500_000}
    assert [one.tokens for one in models(days=8)] == [1_000_000]


@pytest.mark.django_db
def test_it_finds_an_adapter_by_the_end_of_its_path_and_never_the_base_model() -> None:
    run("lora", 1, cost="10", artefact="s3://models/team/support-lora/", base_model="llama-8b", provider="self_hosted")
    serve(2, model="support-lora")
    serve(2, model="llama-8b")
    world.settle()

    (found,) = models()

    assert (found.tokens, list(found.served_as)) == (1_000_000, ["support-lora"])


@pytest.mark.django_db
def test_it_does_not_know_the_cost_of_a_run_without_a_bill() -> None:
    unknown = run("answers", 1, "failed")
    known = run("answers", 3, cost="60")
    serve(4)
    world.settle()

    (found,) = models()

    assert not found.is_known
    assert (found.total_cost, found.amortised_per_million, found.full_per_million) == (None, None, None)
    assert found.serving_per_million == Decimal(1)
    detail = queries.fine_tune_run(scope=world.scope(), run_id=unknown)
    assert detail is not None
    assert (detail.run.is_known, detail.days, [one.id for one in detail.attempts]) == (False, [], [unknown, known])
    assert detail.model is not None
    assert detail.model.run.id == known


@pytest.mark.django_db
def test_it_tells_storage_of_what_the_bill_names() -> None:
    bill = world.source()
    made = run("answers", 1, cost="60", artefact="s3://models/answers-v3")
    for day in (2, 3):
        at = world.at(day=FIRST + timedelta(days=day))
        world.charge(bill, "2", starts=at, cost_kind="storage", tags={"artefact": "s3://models/answers-v3"})
        world.charge(bill, "1", starts=at, cost_kind="storage", resource_id="arn:aws:s3:::bucket/answers-v3")
        world.charge(bill, "7", starts=at, cost_kind="storage", resource_id="arn:aws:s3:::bucket/other")
        world.charge(bill, "9", starts=at, cost_kind="network", tags={"run_id": "job-answers-1"})
    world.charge(
        bill, "5", starts=world.at(day=FIRST + timedelta(days=4)), cost_kind="storage", tags={"run": "job-answers-1"}
    )
    world.settle()
    before = list(FineTuneCost.objects.order_by("day").values_list("day", "storage_cost"))
    world.touch(bill, FIRST + timedelta(days=3))
    world.settle()

    detail = queries.fine_tune_run(scope=world.scope(), run_id=made)

    assert list(FineTuneCost.objects.order_by("day").values_list("day", "storage_cost")) == before
    assert detail is not None
    assert [(one.day.day, one.storage_cost) for one in detail.days] == [(2, 0), (3, 3), (4, 3), (5, 5)]
    assert (detail.run.training_cost, detail.run.storage_cost, detail.run.cost) == (60, 11, 71)
    assert queries.total(scope=world.scope()).cost == 60 + 2 * 19 + 5


@pytest.mark.django_db
def test_it_shows_a_lead_own_runs_and_own_calls() -> None:
    made = run("answers", 1, cost="10")
    serve(2)
    serve(2, team="support", tokens=5_000_000)
    world.settle()

    (mine,) = models(teams=("search",))

    assert mine.tokens == 1_000_000
    assert [one.tokens for one in models()] == [6_000_000]
    assert models(teams=("support",)) == models(teams=()) == []
    assert queries.fine_tune_run(scope=world.scope(teams=("support",)), run_id=made) is None
    assert queries.fine_tune_run(scope=world.scope(), run_id=made + 999) is None


@pytest.mark.django_db
def test_it_takes_the_cheapest_known_price_of_the_base_model() -> None:
    run("lora", 1, cost="10", artefact="support-lora", base_model="llama-8b", provider="self_hosted")
    serve(2, model="support-lora")
    world.price("groq", "llama-8b", per_token="0.000009")
    world.price("together", "llama-8b", per_token="0.000008")
    guess = world.price("guess", "llama-8b", per_token="0.000002")
    UnitPrice.objects.filter(pk=guess.pk).update(is_conservative=True)
    world.settle()

    (found,) = models()

    assert (found.api_provider, found.api_per_million) == ("together", Decimal(8))
    # 10 dollars over 7 dollars saved per million
    assert found.break_even_tokens == 1_428_572
