"""Figures say what their amounts say: words from Decimal, bars from zero, gaps as gaps, one colour for one name."""

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal as D
from itertools import pairwise

import pytest

from costobs.kernel import fmt
from costobs.web import charts
from costobs.web.charts import colour, frame, trends
from tests.web import gallery_charts

DAYS = [date(2026, 11, 1) + timedelta(days=offset) for offset in range(3)]


def _series(key: str, *amounts: int, kind: colour.Kind = "") -> charts.Series:
    return charts.Series(key, key, [D(amount) for amount in amounts], kind)


@pytest.mark.parametrize("name", gallery_charts.all_charts())
def test_it_draws_with_cartesian_traces_only(name: str) -> None:
    figure = gallery_charts.all_charts()[name].figure

    assert {trace["type"] for trace in figure["data"]} <= {"bar", "scatter", "heatmap"}


@pytest.mark.parametrize("name", gallery_charts.all_charts())
def test_it_names_no_colour_but_tokens(name: str) -> None:
    text = json.dumps(gallery_charts.all_charts()[name].figure)

    assert "#" not in text
    assert "rgb" not in text


@pytest.mark.parametrize("name", gallery_charts.all_charts())
def test_it_stays_within_the_size_of_a_figure(name: str) -> None:
    text = json.dumps(gallery_charts.all_charts()[name].figure)

    assert len(text) < 60_000


def test_it_hangs_credits_below_zero_and_leaves_room_for_them() -> None:
    spend, credit = _series("gpt", 100, 100, 100), _series("credits", 0, -640, 0)

    layout = charts.daily_bars(days=DAYS, series=[spend, credit]).figure["layout"]

    assert layout["barmode"] == "relative"
    low, high = layout["yaxis"]["range"]
    assert low <= -640 and high >= 100


def test_it_refuses_an_attribute_that_plotly_does_not_know() -> None:
    with pytest.raises(ValueError, match="colour"):
        frame.figure([{"type": "bar", "colour": "red"}], {})


def test_it_binds_colours_to_names_and_not_to_rank() -> None:
    assert charts.slots(["a", "b", "c"]) == charts.slots(["c", "a", "b"])
    assert sorted(charts.slots([f"model {n}" for n in range(9)]).values()) == list(range(1, 10))
    assert colour.RESERVED not in charts.slots([f"model {n}" for n in range(30)]).values()


def test_it_takes_the_first_five_colours_for_five_names() -> None:
    assert sorted(charts.slots(gallery_charts.NAMES).values()) == [1, 2, 3, 4, 5]


def test_it_folds_the_small_ones_and_keeps_the_total() -> None:
    named = [_series(f"m{n}", 10 * n, n) for n in range(1, 9)]
    idle = _series("idle", 7, 7, kind="idle")

    folded = charts.fold([idle, *named], keep=5)

    assert [one.label for one in folded] == ["m8", "m7", "m6", "m5", "m4", "Other (3)", "idle"]
    assert sum(one.total for one in folded) == sum(one.total for one in [idle, *named])


def test_it_does_not_fold_a_single_one() -> None:
    assert [one.label for one in charts.fold([_series(f"m{n}", n) for n in range(1, 7)], keep=5)][-1] == "m1"


def test_it_hatches_days_that_are_not_final_and_says_why() -> None:
    chart = charts.daily_bars(
        days=DAYS, series=[_series("a", 5, 6, 2)], not_final={DAYS[2]: "estimated, billed by 5 Nov"}
    )
    bars, total = chart.figure["data"]

    assert list(bars["marker"]["pattern"]["shape"]) == ["", "", "/"]
    assert total["customdata"][2][0] == "$2.00 · estimated, billed by 5 Nov"


def test_it_says_the_total_and_its_change_in_words() -> None:
    chart = charts.daily_bars(
        days=DAYS,
        series=[_series("a", 500, 600, 200), _series("b", 100, 0, 0)],
        comparison=[D(500), None, D(200)],
        comparison_label="vs October",
    )

    total = next(trace for trace in chart.figure["data"] if trace.get("name") == "Total")

    assert [words for words, _ in total["customdata"]] == [
        "$600 · +$100 (+20.0 %) vs October",
        "$600",
        "$200 · $0 (0.0 %) vs October",
    ]


def test_it_starts_bars_at_zero() -> None:
    chart = charts.daily_bars(days=DAYS, series=[_series("a", 900, 910, 905)])

    assert chart.figure["layout"]["yaxis"]["range"][0] == 0


def test_it_leads_each_bar_to_its_address() -> None:
    series = charts.Series("a", "a", [D(1), D(2), D(3)], urls=["/1", "/2", "/3"])

    chart = charts.daily_bars(days=DAYS, series=[series])

    assert [url for _, url in chart.figure["data"][0]["customdata"]] == ["/1", "/2", "/3"]


def test_it_starts_each_effect_where_the_one_before_ended() -> None:
    effects = [
        charts.Effect("Volume", D(90)),
        charts.Effect("Price", D(-20)),
        charts.Effect("Net", D(70), is_total=True),
    ]

    trace = charts.bridge(effects=effects).figure["data"][0]

    assert list(trace["base"]) == [0, 90, 0]
    assert list(trace["x"]) == [90, -20, 70]
    assert [words for words, _ in trace["customdata"]] == ["+$90", "\u2212$20", "+$70"]


def test_it_marks_missing_telemetry_and_never_draws_it_as_zero() -> None:
    at = [datetime(2026, 11, 1, hour, tzinfo=UTC) for hour in range(3)]

    heat, crosses = charts.heat(rows=["gpu-0"], at=at, values=[[D(0), None, D(50)]]).figure["data"]

    assert list(heat["z"][0]) == [0, None, 50]
    assert list(crosses["x"]) == ["2026-11-01 01:00"]
    assert crosses["customdata"][0][0].endswith("no telemetry")


def test_it_keeps_gaps_in_lines() -> None:
    chart = charts.percentiles(at=DAYS, p50=[D(1), None, D(3)], p95=[D(2)] * 3, p99=[D(4)] * 3)
    p50 = chart.figure["data"][2]

    assert (p50["y"][1], p50["connectgaps"], p50["customdata"][1][0]) == (None, False, "unknown")
    assert p50["mode"] == "lines+markers"


def test_it_keeps_the_labels_of_a_ladder_apart() -> None:
    rungs = [charts.RungLine("a", D(100)), charts.RungLine("b", D(101)), charts.RungLine("c", D(200))]

    words = trends.level_words(rungs, span=D(200), pixels=250)
    heights = sorted(float(rung.amount) / 200 * 250 + word["yshift"] for rung, word in zip(rungs, words, strict=True))

    assert all(upper - lower >= 14 for lower, upper in pairwise(heights))


def test_it_draws_the_ladder_with_its_words() -> None:
    layout = gallery_charts.all_charts()["burn_up"].figure["layout"]

    assert [one["text"] for one in layout["annotations"]] == [
        "Budget $24,000",
        "Notify 60 %",
        "Throttle 75 %",
        "Shut down 110 %",
    ]
    assert [line["y0"] for line in layout["shapes"]] == [24_000, 14_400, 18_000, 26_400]


def test_it_makes_a_whole_of_its_parts() -> None:
    chart = charts.composition(parts=[_series("a", 1), _series("b", 2), _series("idle", 1, kind="idle")])

    assert sum(trace["x"][0] for trace in chart.figure["data"]) == 100
    assert [item.label for item in chart.legend] == ["a 25.0 %", "b 50.0 %", "idle 25.0 %"]
    with pytest.raises(ValueError, match="negative"):
        charts.composition(parts=[_series("credit", -1)])


@pytest.mark.parametrize("spend", [[], [_series("a", 0, 0, 0)]])
def test_it_draws_nothing_as_nothing(spend: list[charts.Series]) -> None:
    chart = charts.daily_bars(days=DAYS, series=spend)

    assert chart.figure["layout"]["yaxis"]["range"][0] == 0


@pytest.mark.parametrize(
    ("low", "high"), [("0", "1"), ("0", "3017"), ("0", "0.0031"), ("-1240", "9120"), ("0", "99999999")]
)
def test_it_makes_at_most_six_round_ticks(low: str, high: str) -> None:
    places = frame.ticks(D(low), D(high))

    assert places[0] <= D(low)
    assert places[-1] >= D(high)
    assert len(places) <= 6
    assert len({fmt.money(place, places=8) for place in places}) == len(places)
