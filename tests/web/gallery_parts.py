"""One example of every part: tables, headline numbers, notices, a ladder and a scope bar."""

from decimal import Decimal as D

from costobs.kernel import fmt
from costobs.web import charts, parts, scope_view
from tests.web.gallery_charts import DAYS, NAMES, SHARE, wave

BUDGETS = [
    (
        "Search answers",
        "throttled",
        24000,
        18400,
        "0.767",
        "$29.0k",
        29040,
        "Shut down at 110 %, about 28 Nov; needs approval",
    ),
    ("Support copilot", "watch", 18000, 12310, "0.684", "$19.1k", 19100, "Throttle at 95 %, about 27 Nov"),
    ("Batch summaries", "on_track", 9000, 5210, "0.579", "$7.6k", 7560, "Notify at 80 %"),
    ("Internal tools", "forecast_over", 11000, 5690, "0.517", "$11.9k", 11900, "Notify at 80 %"),
    ("Fine-tuning", "stopped", 6000, 6702, "1.117", "$6.7k", 6700, "Stopped 19 Nov 14:02 by ladder"),
    ("Evaluation", "unknown", 2000, None, "0", "–", None, "Data is 9 h late"),
]
BUDGET_COLUMNS = [
    parts.Column("Budget"),
    parts.Column("State"),
    parts.Column("Budget", numeric=True, sort="descending", sort_url="/budgets/?sort=budget"),
    parts.Column("Actual", numeric=True),
    parts.Column("Used", numeric=True),
    parts.Column("Progress against time"),
    parts.Column("Forecast", numeric=True),
    parts.Column("Variance at end", numeric=True),
    parts.Column("Next step on the ladder", wide=True),
]


def budgets() -> parts.Table:
    rows, columns = BUDGETS, BUDGET_COLUMNS
    return parts.Table(
        "Budgets, November 2026, USD",
        columns,
        [
            parts.Row(
                [
                    parts.Cell(name, url="/budgets/"),
                    parts.Cell(state=state),
                    parts.Cell(fmt.money(budget)),
                    parts.Cell(fmt.money(actual)),
                    parts.Cell(fmt.percent(D(used)) if actual else "–"),
                    parts.Cell(bullet=parts.Bullet(D(used), D("0.7"), state)),
                    parts.Cell(forecast),
                    parts.Cell(fmt.variance(D(end), D(budget)) if end else "unknown"),
                    parts.Cell(step, actions=[parts.Link("Undo", "/undo/", post=True)] if state == "stopped" else []),
                ]
            )
            for name, state, budget, actual, used, forecast, end, step in rows
        ],
        total=parts.Row(
            [
                parts.Cell(text)
                for text in (
                    "Total (6 rows)",
                    "",
                    "$70,000",
                    "$48,312",
                    "69.0 %",
                    "",
                    "$71.4k",
                    "$1.4k over (+2 %)",
                    "",
                )
            ]
        ),
        csv_url="/budgets.csv",
    )


def breakdown() -> parts.Table:
    colours = charts.slots(NAMES)
    columns = [
        parts.Column("Model"),
        *(parts.Column(name, numeric=True) for name in ("Spend", "Share", "Change", "Tokens", "$/1M tokens")),
        parts.Column("28 days"),
    ]
    rows = [
        parts.Row(
            [
                parts.Cell(name, url="/explore/", note="self-hosted, W8A8" if "Llama" in name else ""),
                parts.Cell(fmt.money(SHARE[k] * 21)),
                parts.Cell(fmt.percent(SHARE[k] / D(2400)), share=SHARE[k] / D(2400)),
                parts.Cell(delta=fmt.delta(SHARE[k] * 21, SHARE[k] * (19 + 2 * (k % 3)), polarity="up_bad")),
                parts.Cell(fmt.count(3_900_000_000 // (k + 1))),
                parts.Cell("$4.87"),
                parts.Cell(
                    spark=parts.Spark(
                        [SHARE[k] * wave(i, k) for i in range(21)], open_end=True, label=f"{name}, 28 days"
                    )
                ),
            ],
            slot=colours[name],
        )
        for k, name in enumerate(NAMES)
    ]
    rows += _without_owner()
    total = parts.Row(
        [parts.Cell(text) for text in ("Total (7 rows)", "$48,312", "100.0 %", "+$6,940", "8.9B", "$0.42", "")]
    )
    return parts.Table(
        "Spend by model, 1–21 Nov 2026, USD",
        columns,
        rows,
        total,
        note="Total and rows come from one query.",
        csv_url="/explore.csv",
    )


def _without_owner() -> list[parts.Row]:
    return [
        parts.Row(
            [
                parts.Cell("Idle GPU"),
                parts.Cell("$4,120"),
                parts.Cell("8.5 %", share=D("0.085")),
                parts.Cell("–"),
                parts.Cell("–"),
                parts.Cell("–"),
                parts.Cell(spark=parts.Spark([5, 3, None, 4, 2, None, 6, 6])),
            ],
            kind="idle",
        ),
        parts.Row(
            [
                parts.Cell("Unallocated"),
                parts.Cell("$2,995"),
                parts.Cell("6.2 %", share=D("0.062")),
                parts.Cell("–"),
                parts.Cell("unknown"),
                parts.Cell("–"),
                parts.Cell("–"),
            ],
            kind="unallocated",
        ),
    ]


def kpis() -> list[parts.Kpi]:
    return [
        parts.Kpi(
            "Spend, month to date",
            "$48,312",
            delta=fmt.delta(D(48312), D(41372), polarity="up_bad"),
            compare="vs 1–21 Oct",
        ),
        parts.Kpi(
            "Forecast, month end",
            "$71.4k",
            compare="$3.4k over budget",
            note="$68.9k–$74.6k (80 %)",
            state="forecast_over",
        ),
        parts.Kpi(
            "Blended unit cost",
            "$0.42",
            "1M tokens",
            fmt.unit_delta(D("0.00000046"), D("0.00000049"), "token"),
            "$0.0031 / request",
        ),
        parts.Kpi(
            "Attributed to a team",
            "93.8 %",
            compare="$2,995 unallocated",
            note="idle GPU $4,120",
            explain_url="/explore/",
        ),
    ]


def rungs() -> list[parts.Rung]:
    return [
        parts.Rung("60 %", "Notify", "sent", "14 Nov, 09:10 UTC"),
        parts.Rung(
            "75 %",
            "Throttle to 60 rps",
            "in_force",
            "17 Nov, 06:42 UTC",
            "22 % of requests receive 429",
            [parts.Link("Undo", "/undo/", icon="undo-2", post=True)],
        ),
        parts.Rung(
            "110 %",
            "Shut down",
            "waiting_approval",
            "about 28 Nov",
            "Ada or on-call; never: checkout",
            [parts.Link("Approve", "/approve/", primary=True, post=True)],
        ),
    ]


def notices() -> list[parts.Notice]:
    return [
        parts.Notice(
            "empty",
            "No unit metric yet",
            "Send counts with the API, or upload a CSV with date, feature and count.",
            [parts.Link("Connect a source", "/sources/", primary=True)],
        ),
        parts.Notice(
            "nothing_matches",
            "No spend for feature is search in 1–21 Nov",
            "",
            [parts.Link("Clear filter", "/"), parts.Link("Widen to 90 days", "/")],
        ),
        parts.Notice("not_arrived", "AWS billing for 21 Nov arrives about 22 Nov, 08:00 UTC"),
        parts.Notice("partial", "Without Azure, which failed 2 h ago", "Totals are low by about $1,100 a day."),
        parts.Notice(
            "error",
            "Could not load this chart",
            "Incident 7f3a. The rest of the page is not affected.",
            [parts.Link("Try again", "/")],
        ),
        parts.Notice("no_permission", "You can see team Search", "Ask Ada for access to others."),
    ]


def scope() -> scope_view.ScopeBar:
    return scope_view.ScopeBar(
        start=DAYS[0],
        last=DAYS[-1],
        label="1–21 Nov 2026",
        preset="mtd",
        presets=[
            scope_view.Choice("mtd", "Month to date"),
            scope_view.Choice("last_month", "Last month"),
            scope_view.Choice("d30", "Last 30 days"),
        ],
        compare="prev",
        compares=[scope_view.Choice("prev", "1–21 Oct"), scope_view.Choice("none", "nothing")],
        group="model",
        groups=[scope_view.Choice("model", "Model"), scope_view.Choice("team", "Team")],
        filters=[scope_view.Chip("Env", "is", "prod", "env:prod", "/")],
        dims=[scope_view.Choice("team", "Team"), scope_view.Choice("env", "Environment")],
        bases=[
            scope_view.Choice("effective", "effective"),
            scope_view.Choice("billed", "billed"),
            scope_view.Choice("list", "list"),
        ],
        freshness=scope_view.Freshness(
            "Complete to 20 Nov, 23:00 UTC · 2 of 7 late",
            "late",
            [
                scope_view.SourceFreshness("OpenAI usage", "on_time", "21 Nov, 08:00 UTC", "1 h", "09:02 UTC"),
                scope_view.SourceFreshness("AWS bill", "late", "20 Nov, 00:00 UTC", "12–24 h", "08:40 UTC"),
            ],
        ),
        previous_url="/?previous",
        next_url="/?next",
    )
