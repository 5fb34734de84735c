"""Token weights are fitted from the steps of an engine, believed only when they are good, and kept from a day on."""

from datetime import timedelta
from decimal import Decimal

import pytest

from attribution import own, queries, token_weights
from attribution.models import PeriodBook, RulesetVersion, TokenWeights
from ingest.models import Touched
from tests.attribution import serving_log, world
from tests.attribution.serving_log import GOLDEN

LINE = (
    "(EngineCore pid=7) INFO 11-28 02:52:48 [loggers.py:199] Engine 000: Iteration(7): {} context requests, {} context tokens,"
    " {} generation requests, {} generation tokens, iteration elapsed time: {} ms, GPU KV cache usage: 1.2%"
)


def _steps(number, *, a=10, b=0.5, c=2):
    """Steps that took exactly as long as the model says: prompts of several sizes, and one to seven that generate."""
    found = []
    for index in range(number):
        contexts, generating = (index % 4 == 0) * 1, index % 7 + 1
        context = contexts * (100 + index % 13 * 50)
        ms = Decimal(str(a + b * context + c * generating))
        found.append(token_weights.Step(contexts, context, generating, generating, ms))
    return found


def test_it_reads_the_log_of_vllm_and_passes_over_other_lines():
    lines = [
        "INFO: 127.0.0.1 - POST /v1/chat/completions 200 OK",
        LINE.format(1, 300, 2, 2, "245.26"),
        "",
        LINE.format(0, 0, 1, 1, 12),
    ]

    assert token_weights.parse(lines) == [
        token_weights.Step(1, 300, 2, 2, Decimal("245.26")),
        token_weights.Step(0, 0, 1, 1, Decimal(12)),
    ]


def test_it_reads_the_lines_of_a_stat_logger():
    lines = [
        '{"step":0,"ctx_req":1,"ctx_tok":7,"gen_req":0,"gen_tok":0,"ms":25.485}',
        '{"t": 1, "id": "chatcmpl-1", "prompt": 7}',
        '{"step":1,"ctx_req":1,"ctx_tok":-7,"gen_req":0,"gen_tok":0,"ms":25}',
        '{"step":1,"ctx_req":1,"ctx_tok":"7","gen_req":0,"gen_tok":0,"ms":25}',
        '{"step":1,"ctx_tok":',
    ]

    assert token_weights.parse(lines) == [token_weights.Step(1, 7, 0, 0, Decimal("25.485"))]


def test_it_says_what_it_looked_for_when_a_log_has_no_steps():
    with pytest.raises(token_weights.BadLog, match="--enable-logging-iteration-details"):
        token_weights.parse(["nothing", "here"])


def test_it_finds_the_coefficients_that_made_the_steps():
    found = token_weights.fit(_steps(400))

    assert (found.method, found.steps) == ("step_log", 395)
    assert (found.a_ms, found.b_ms, found.c_ms) == (10, Decimal("0.5"), 2)
    assert found.r2 == 1
    # 4 generate on average, so an output token pays a quarter of a step, and a little less where prompts share it.
    assert Decimal(8) < found.output_weight < Decimal(9)
    assert found.cached_weight == 0


@pytest.mark.parametrize(
    "steps",
    [
        _steps(199),
        [token_weights.Step(0, 0, 1, 1, Decimal(index % 17)) for index in range(400)],
        [token_weights.Step(0, 0, index % 7 + 1, index % 7 + 1, Decimal(10 + index % 7)) for index in range(400)],
        [token_weights.Step(1, index, 0, 0, Decimal(10 + index)) for index in range(400)],
        [token_weights.Step(0, 0, 0, 0, Decimal(0))],
    ],
    ids=["too few", "unexplained", "no prompt", "no output", "nothing"],
)
def test_it_keeps_the_declared_weights_where_the_fit_is_not_good_enough(steps):
    found = token_weights.fit(steps)

    assert not found.is_fitted
    assert (found.cached_weight, found.output_weight) == (Decimal("0.1"), 5)


@pytest.mark.parametrize(
    ("name", "ratio"),
    [("busy-w8a8", (6, 8)), ("quiet-w8a8", (10, 13)), ("busy-bf16", (4, 6))],
    ids=lambda value: str(value),
)
def test_it_fits_recordings_of_a_real_vllm_well_and_each_load_and_quantization_otherwise(name, ratio):
    found = token_weights.fit(token_weights.parse(serving_log.iterations(name)))

    assert found.is_fitted
    assert found.r2 > Decimal("0.95")
    assert ratio[0] < found.output_weight < ratio[1]


def test_it_ships_every_recording_with_how_it_was_made():
    names = {path.name for path in GOLDEN.iterdir() if path.is_dir()}

    assert names == {"busy-w8a8", "quiet-w8a8", "busy-bf16"}
    assert all((GOLDEN / name / "about.json").exists() for name in names)
    assert "record_steps" in (GOLDEN / "README.md").read_text()


@pytest.mark.django_db
def test_it_keeps_a_fit_from_a_day_on_and_the_last_word_counts():
    first, second = token_weights.fit(_steps(300)), token_weights.fit(_steps(300, c=4))

    for found, after in ((first, 0), (second, 1)):
        _record(found, now=world.NOW + timedelta(minutes=after))
    _record(second, now=world.NOW + timedelta(minutes=1))  # said twice

    assert token_weights.in_force(day=world.DAY - timedelta(days=1)) == {}
    assert token_weights.in_force(day=world.DAY)["llama"].c_ms == 4
    assert TokenWeights.objects.count() == 2


@pytest.mark.django_db
def test_it_opens_the_days_that_a_fit_changes_and_no_closed_one():
    dcgm = world.source("dcgm", "dcgm")
    own.reattribute(drafts=own.DEFAULT_RULES, now=world.NOW, by="test")
    months = [world.DAY - timedelta(days=31), world.DAY, world.DAY + timedelta(days=1)]
    for day in months:
        world.gpu_hour(dcgm, world.at(10, day=day), busy=1, deployment="llama")
    world.gpu_hour(dcgm, world.at(10, day=world.DAY + timedelta(days=2)), deployment="other")
    PeriodBook.objects.create(
        month=months[0].replace(day=1),
        state="closed",
        closed_at=world.NOW,
        ruleset=RulesetVersion.objects.get(is_current=True),
    )
    before = dict(Touched.objects.values_list("day", "version"))

    opened = _record(token_weights.fit(_steps(300)), valid_from=months[0])

    after = dict(Touched.objects.values_list("day", "version"))
    assert opened == 2
    assert {day for day in after if after[day] != before[day]} == set(months[1:])


@pytest.mark.django_db
def test_it_shows_the_weights_of_each_deployment_and_where_they_come_from():
    dcgm, bill = world.source("dcgm", "dcgm"), world.source()
    config = {"deployment_weights": {"stated": {"input": "2", "cached": "0.2", "output": "8"}}}
    own.reattribute(
        drafts=[*own.DEFAULT_RULES[:-1], own.RuleDraft("gpu_share", "GPU nodes", config)], now=world.NOW, by="test"
    )
    for index, name in enumerate(("fitted", "stated", "poor", "unknown")):
        world.gpu_hour(
            dcgm, world.at(10), busy=3_600_000, deployment=name, gpu_uuid=f"GPU-{index}", gpu_index=str(index)
        )
    world.usage(
        world.source("gate", "gate"), attributes={"team": "search"}, provider="self_hosted", model="m", deployment="fitted",
        hour=world.at(10), output=10,
    )  # fmt: skip
    _record(token_weights.fit(_steps(300)), deployment="fitted")
    _record(token_weights.fit(_steps(100)), deployment="poor")
    world.charge(bill, "8", starts=world.at(10), hours=1, resource_id="gpu-1")
    world.settle()

    lines = {line.deployment: line for line in queries.token_weights(scope=world.scope())}

    assert {name: (line.method, line.is_estimated) for name, line in lines.items()} == {
        "fitted": ("step_log", False),
        "stated": ("stated", False),
        "poor": ("declared", True),
        "unknown": ("default", True),
    }
    assert (lines["stated"].cached_weight, lines["stated"].output_weight) == (Decimal("0.1"), 4)
    assert (lines["fitted"].a_ms, lines["fitted"].quantization, lines["unknown"].r2) == (10, "w8a8", None)
    assert [line.deployment for line in queries.token_weights(scope=world.scope(teams=("search",)))] == ["fitted"]
    assert queries.token_weights(scope=world.scope(teams=())) == []


def _record(found, *, deployment="llama", valid_from=world.DAY, now=world.NOW):
    return token_weights.record(
        deployment=deployment, quantization="w8a8", found=found, valid_from=valid_from, by="test", now=now
    )
