"""A page with every part and every chart, and a loopback server that sends it under the product's content policy."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal as D
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from mimetypes import guess_type
from pathlib import Path

import django
from django.conf import settings

ROOT = Path(__file__).resolve().parents[2]
NONCE = "gallery"
POLICY = "; ".join(
    [
        "default-src 'none'",
        f"script-src 'self' 'nonce-{NONCE}'",
        "style-src 'self'",
        "style-src-attr 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    ]
)

if not settings.configured:
    settings.configure(
        INSTALLED_APPS=["django.contrib.staticfiles", "django_htmx", "costobs.web"],
        STATIC_URL="/static/",
        STATICFILES_DIRS=[ROOT / "static"],
        USE_TZ=True,
        USE_I18N=False,
        SECRET_KEY="gallery",
        TEMPLATES=[
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "DIRS": [ROOT / "templates"],
                "APP_DIRS": True,
                "OPTIONS": {},
            }
        ],
    )
    django.setup()

from django.contrib.staticfiles import finders  # noqa: E402
from django.template import Context, Engine, engines  # noqa: E402

from costobs.kernel import fmt  # noqa: E402
from costobs.web import charts, parts, scope_view, states  # noqa: E402

DAYS = [date(2026, 11, 1) + timedelta(days=offset) for offset in range(21)]
NAMES = ["Claude Sonnet", "GPT-5 mini", "Llama 70B (self-hosted)", "Embeddings", "Mistral small"]
SHARE = [D(900), D(560), D(420), D(160), D(90)]


def _wave(index: int, step: int) -> D:
    weekend = D("0.7") if DAYS[index % 21].weekday() >= 5 else D(1)
    return weekend * (D(100 + index) + D((index * 7 + step * 13) % 17)) / 100


def all_charts() -> dict[str, charts.Chart]:
    series = [
        charts.Series(
            name,
            name,
            [SHARE[k] * _wave(i, k) * (D("0.45") if i == 20 else 1) for i in range(21)],
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
    hours = [datetime(2026, 11, 20, tzinfo=UTC) + timedelta(hours=n) for n in range(24)]
    return {
        "daily_bars": charts.daily_bars(
            days=DAYS,
            series=series,
            not_final={DAYS[-1]: "estimated, billed by 23 Nov"},
            comparison=[D(1800) * _wave(i, 3) for i in range(21)],
            comparison_label="vs 1–21 Oct",
            forecast=forecast,
            marks=[charts.Mark(1, date(2026, 11, 13), "13 Nov, Search v2 released")],
        ),
        "bridge": charts.bridge(
            effects=[
                charts.Effect("Volume", D(9120)),
                charts.Effect("Model mix", D(-1240)),
                charts.Effect("Price", D(-1680)),
                charts.Effect("Idle GPU", D(740), is_estimated=True),
                charts.Effect("Net change", D(6940), is_total=True),
            ]
        ),
        "burn_up": _burn_up(),
        "heat": charts.heat(
            rows=[f"a100-{n}" if n < 4 else f"h100-{n - 4}" for n in range(8)], at=hours, values=_busy()
        ),
        "percentiles": charts.percentiles(
            at=DAYS,
            p50=[D(380) * _wave(i, 1) for i in range(21)],
            p95=[None if i in (8, 9) else D(1120) * _wave(i, 2) for i in range(21)],
            p99=[D(2400) * _wave(i, 4) for i in range(21)],
        ),
        "lines": charts.lines(
            at=DAYS,
            lines=[
                charts.Line("before", "October", [D("0.0034")] * 21, "border-strong", thin=True),
                charts.Line("now", "now", [D("0.0031") * _wave(i, 2) for i in range(21)], "c1"),
            ],
            write=lambda value: (fmt.unit_cost(value, "request", scale=1) or fmt.UnitCost("–", "")).amount,
            target=charts.RungLine("target", D("0.003"), "text-2"),
        ),
        "multiples": charts.multiples(
            at=DAYS,
            panels=[
                charts.Panel(
                    "Cost per 1k requests",
                    [charts.Line("cost", "now", [D(3) * _wave(i, 2) for i in range(21)], "c1")],
                    charts.money_writer("USD"),
                ),
                charts.Panel(
                    "p95 latency",
                    [charts.Line("p95", "p95", [D(1120) * _wave(i, 5) for i in range(21)], "p95")],
                    fmt.latency,
                ),
                charts.Panel(
                    "Requests a day",
                    [charts.Line("n", "requests", [D(214_000) * _wave(i, 1) for i in range(21)], "c10")],
                    fmt.count,
                    bars=True,
                ),
            ],
        ),
        "stacked_rows": charts.stacked_rows(
            rows=["serving-h100", "serving-a100", "batch-a10g"],
            series=[
                charts.Series("used", "Used", [D(4100), D(1900), D(300)], slot=1),
                charts.Series("workload", "Workload idle", [D(900), D(700), None], "shared"),
                charts.Series("idle", "Infrastructure idle", [D(400), D(1100), D(620)], "idle"),
                charts.Series("none", "No telemetry", [D(0), D(90), D(0)], "unpriced"),
            ],
        ),
        "cost_latency": charts.cost_latency(
            points=[
                charts.Point(name, name, D(300 + 420 * n), D("0.8") * (5 - n) * (5 - n) + D("0.2"), "/explore/")
                for n, name in enumerate(NAMES)
            ]
        ),
        "composition": charts.composition(
            parts=[
                charts.Series("input", "Input tokens", [D(19_000)]),
                charts.Series("cached", "Cached tokens", [D(4_100)]),
                charts.Series("output", "Output tokens", [D(16_900)]),
                charts.Series("gpu", "GPU", [D(8_400)]),
                charts.Series("idle", "Idle GPU", [D(4_120)], "idle"),
            ]
        ),
    }


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


def _budgets() -> parts.Table:
    rows = [
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
    columns = [
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


def _breakdown() -> parts.Table:
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
                        [SHARE[k] * _wave(i, k) for i in range(21)], open_end=True, label=f"{name}, 28 days"
                    )
                ),
            ],
            slot=colours[name],
        )
        for k, name in enumerate(NAMES)
    ]
    rows += [
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


def context() -> dict[str, object]:
    titles = {
        "daily_bars": (
            "Daily spend by model, with forecast",
            "USD, effective, UTC days. Hatched = not final. Band = 80 % range.",
            "col-8",
        ),
        "bridge": (
            "Why it moved: $41,372 → $48,312 (+$6,940)",
            "Effects against 1–21 Oct, USD. They add up to the change.",
            "col-4",
        ),
        "burn_up": (
            "Search answers: cumulative spend against the ladder",
            "USD, effective. Dotted = not final.",
            "col-6",
        ),
        "heat": ("GPU use by hour", "SM active, %, UTC hours, 20 Nov. × = no telemetry.", "col-6"),
        "percentiles": ("Latency", "Milliseconds to the last token, UTC days.", "col-6"),
        "lines": ("Cost of one request", "USD, effective, UTC days.", "col-6"),
        "multiples": ("Cost, latency and volume on the same days", "USD, effective, UTC days.", "col-8"),
        "stacked_rows": ("Paid GPU time by pool", "USD, effective, last 7 days.", "col-4"),
        "cost_latency": ("Cost against latency", "One dot for each model; both axes are logarithmic.", "col-8"),
        "composition": ("Where a dollar goes", "USD, effective, 1–21 Nov.", "col-4"),
    }
    made = all_charts()
    breakdown = _breakdown()
    cards = [
        (
            width,
            parts.ChartCard(
                name,
                title,
                caption,
                made[name],
                "Spend rose from $2,150 on 2 Nov to $2,640 on 20 Nov; 21 Nov is incomplete.",
                breakdown if name == "daily_bars" else None,
            ),
        )
        for name, (title, caption, width) in titles.items()
    ]
    kpis = [
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
    rungs = [
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
    notices = [
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
    scope = scope_view.ScopeBar(
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
    return {
        "page": "overview",
        "scope": scope,
        "sample": {"remove_url": "/sample/remove/", "progress": "Loading day 61 of 90"},
        "nav_counts": {
            "budgets": {"text": "2", "label": "2 need attention", "tone": "watch"},
            "sources": {"text": "1", "label": "1 late", "tone": "plain"},
        },
        "user": {"is_authenticated": True, "get_username": "ada@example.com", "get_short_name": "Ada"},
        "csrf_token": "token",
        "csp_nonce": NONCE,
        "kpis": kpis,
        "cards": cards,
        "budgets": _budgets(),
        "breakdown": breakdown,
        "rungs": rungs,
        "notices": notices,
        "states": list(states.STATES),
        "steps": [
            {"label": "Open", "done": True},
            {"label": "Provisional", "done": True},
            {"label": "Reviewed", "current": True},
            {"label": "Closed"},
        ],
        "links": [parts.Link("Export", "/export.csv", "download"), parts.Link("Save view", "/save/", primary=True)],
    }


def html() -> str:
    engine: Engine = engines["django"].engine
    template = engine.from_string((Path(__file__).parent / "styleguide.html").read_text())
    return template.render(Context(context()))


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        if path.startswith("/static/"):
            found = finders.find(path.removeprefix("/static/"))
            body = Path(found).read_bytes() if found else None
        else:
            body = {"/": html, "/later/": lambda: '<section class="card">Loaded</section>'}.get(
                path, str
            )().encode() or None
        self.send_response(200 if body is not None else 404)
        kind = guess_type(path)[0] or "text/html; charset=utf-8"
        self.send_header("Content-Type", "text/javascript" if path.endswith(".js") else kind)
        self.send_header("Content-Security-Policy", POLICY)
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, *_: object) -> None:
        """Quiet: the requests are the test's own."""


@contextmanager
def served() -> Iterator[str]:
    """The address of the gallery on a free loopback port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


if __name__ == "__main__":
    with served() as url:
        print(f"every part and chart: {url} (Ctrl-C ends it)")
        threading.Event().wait()
