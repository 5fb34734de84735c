"""A page with every part and every chart, and a loopback server that sends it under the product's content policy."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
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

from costobs.web import parts, states  # noqa: E402
from tests.web import gallery_parts  # noqa: E402
from tests.web.gallery_charts import all_charts  # noqa: E402

TITLES = {
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


def _cards() -> list[tuple[str, parts.ChartCard]]:
    made = all_charts()
    words = "Spend rose from $2,150 on 2 Nov to $2,640 on 20 Nov; 21 Nov is incomplete."
    return [
        (
            width,
            parts.ChartCard(
                name, title, caption, made[name], words, gallery_parts.breakdown() if name == "daily_bars" else None
            ),
        )
        for name, (title, caption, width) in TITLES.items()
    ]


def context() -> dict[str, object]:
    return {
        "page": "overview",
        "scope": gallery_parts.scope(),
        "sample": {"remove_url": "/sample/remove/", "progress": "Loading day 61 of 90"},
        "nav_counts": {
            "budgets": {"text": "2", "label": "2 need attention", "tone": "watch"},
            "sources": {"text": "1", "label": "1 late", "tone": "plain"},
        },
        "user": {"is_authenticated": True, "get_username": "ada@example.com", "get_short_name": "Ada"},
        "csrf_token": "token",
        "csp_nonce": NONCE,
        "kpis": gallery_parts.kpis(),
        "cards": _cards(),
        "budgets": gallery_parts.budgets(),
        "breakdown": gallery_parts.breakdown(),
        "rungs": gallery_parts.rungs(),
        "notices": gallery_parts.notices(),
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
