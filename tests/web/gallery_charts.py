"""One example of every chart, with amounts that add up."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal as D

from costobs.kernel import fmt
from costobs.web import charts

DAYS = [date(2026, 11, 1) + timedelta(days=offset) for offset in range(21)]
NAMES = ["Claude Sonnet", "GPT-5 mini", "Llama 70B (self-hosted)", "Embeddings", "Mistral small"]
SHARE = [D(900), D(560), D(420), D(160), D(90)]


def wave(index: int, step: int) -> D:
    weekend = D("0.7") if DAYS[index % 21].weekday() >= 5 else D(1)
    return weekend * (D(100 + index) + D((index * 7 + step * 13) % 17)) / 100


def all_charts() -> dict[str, charts.Chart]:
    return {
        "daily_bars": _daily_bars(),
        "bridge": _bridge(),
        "burn_up": _burn_up(),
        "heat": _heat(),
        "percentiles": _percentiles(),
        "lines": _lines(),
        "multiples": _multiples(),
        "stacked_rows": _stacked_rows(),
        "cost_latency": _cost_latency(),
        "composition": _composition(),
    }


def _daily_bars() -> charts.Chart:
    series = [
        charts.Series(
            name,
            name,
            [SHARE[k] * wave(i, k) * (D("0.45") if i == 20 else 1) for i in range(21)],
            urls=["/explore/"] * 21,
        )
        for k, name in enumerate(NAMES)
    ]
    series += [
        charts.Series("other", "Other (9)", [D(80)] * 21, "other"),
        charts.Series("idle", "Idle GPU", [D(140)] * 21, "idle"),
        charts.Series("unallocated", "Unallocated", [D(60)] * 21, "unallocated"),
    ]
    forecast = [
        charts.ForecastDay(date(2026, 11, 20) + timedelta(days=n), D(2450 - 30 * n), D(2560 + 10 * n), D(2700 + 40 * n))
        for n in range(11)
    ]
    return charts.daily_bars(
        days=DAYS,
        series=series,
        not_final={DAYS[-1]: "estimated, billed by 23 Nov"},
        comparison=[D(1800) * wave(i, 3) for i in range(21)],
        comparison_label="vs 1–21 Oct",
        forecast=forecast,
        marks=[charts.Mark(1, date(2026, 11, 13), "13 Nov, Search v2 released")],
    )


def _bridge() -> charts.Chart:
    return charts.bridge(
        effects=[
            charts.Effect("Volume", D(9120)),
            charts.Effect("Model mix", D(-1240)),
            charts.Effect("Price", D(-1680)),
            charts.Effect("Idle GPU", D(740), is_estimated=True),
            charts.Effect("Net change", D(6940), is_total=True),
        ]
    )


def _heat() -> charts.Chart:
    hours = [datetime(2026, 11, 20, tzinfo=UTC) + timedelta(hours=n) for n in range(24)]
    return charts.heat(rows=[f"a100-{n}" if n < 4 else f"h100-{n - 4}" for n in range(8)], at=hours, values=_busy())


def _percentiles() -> charts.Chart:
    return charts.percentiles(
        at=DAYS,
        p50=[D(380) * wave(i, 1) for i in range(21)],
        p95=[None if i in (8, 9) else D(1120) * wave(i, 2) for i in range(21)],
        p99=[D(2400) * wave(i, 4) for i in range(21)],
    )


def _lines() -> charts.Chart:
    return charts.lines(
        at=DAYS,
        lines=[
            charts.Line("before", "October", [D("0.0034")] * 21, "border-strong", thin=True),
            charts.Line("now", "now", [D("0.0031") * wave(i, 2) for i in range(21)], "c1"),
        ],
        write=lambda value: (fmt.unit_cost(value, "request", scale=1) or fmt.UnitCost("–", "")).amount,
        target=charts.RungLine("target", D("0.003"), "text-2"),
    )


def _multiples() -> charts.Chart:
    return charts.multiples(
        at=DAYS,
        panels=[
            charts.Panel(
                "Cost per 1k requests",
                [charts.Line("cost", "now", [D(3) * wave(i, 2) for i in range(21)], "c1")],
                charts.money_writer("USD"),
            ),
            charts.Panel(
                "p95 latency",
                [charts.Line("p95", "p95", [D(1120) * wave(i, 5) for i in range(21)], "p95")],
                fmt.latency,
            ),
            charts.Panel(
                "Requests a day",
                [charts.Line("n", "requests", [D(214_000) * wave(i, 1) for i in range(21)], "c10")],
                fmt.count,
                bars=True,
            ),
        ],
    )


def _stacked_rows() -> charts.Chart:
    return charts.stacked_rows(
        rows=["serving-h100", "serving-a100", "batch-a10g"],
        series=[
            charts.Series("used", "Used", [D(4100), D(1900), D(300)], slot=1),
            charts.Series("workload", "Workload idle", [D(900), D(700), None], "shared"),
            charts.Series("idle", "Infrastructure idle", [D(400), D(1100), D(620)], "idle"),
            charts.Series("none", "No telemetry", [D(0), D(90), D(0)], "unpriced"),
        ],
    )


def _cost_latency() -> charts.Chart:
    return charts.cost_latency(
        points=[
            charts.Point(name, name, D(300 + 420 * n), D("0.8") * (5 - n) * (5 - n) + D("0.2"), "/explore/")
            for n, name in enumerate(NAMES)
        ]
    )


def _composition() -> charts.Chart:
    return charts.composition(
        parts=[
            charts.Series("input", "Input tokens", [D(19_000)]),
            charts.Series("cached", "Cached tokens", [D(4_100)]),
            charts.Series("output", "Output tokens", [D(16_900)]),
            charts.Series("gpu", "GPU", [D(8_400)]),
            charts.Series("idle", "Idle GPU", [D(4_120)], "idle"),
        ]
    )


def _burn_up() -> charts.Chart:
    running = [D(sum(860 + 32 * n * (2 if n > 9 else 1) / D(2) for n in range(i + 1))) for i in range(21)]
    return charts.burn_up(
        start=date(2026, 11, 1),
        end=date(2026, 12, 1),
        days=DAYS,
        actual=running,
        budget=D(24_000),
        not_final_from=date(2026, 11, 21),
        rungs=[
            charts.RungLine("Notify 60 %", D(14_400), "watch"),
            charts.RungLine("Throttle 75 %", D(18_000), "thr"),
            charts.RungLine("Shut down 110 %", D(26_400), "over"),
        ],
        marks=[
            charts.Mark(1, date(2026, 11, 14), "14 Nov 09:10, notified at 60 %", running[13]),
            charts.Mark(2, date(2026, 11, 17), "17 Nov 06:42, throttled to 60 rps by ladder", running[16]),
        ],
        forecast=[
            charts.ForecastDay(
                DAYS[-1] + timedelta(days=n), running[-1] + 1010 * n, running[-1] + 1178 * n, running[-1] + 1330 * n
            )
            for n in range(10)
        ],
    )


def _busy() -> list[list[D | None]]:
    return [
        [
            None if row == 5 and 8 < hour < 13 else D(min(98, (12, 24, 38, 52)[row // 2] + (hour * (24 - hour)) // 3))
            for hour in range(24)
        ]
        for row in range(8)
    ]
