"""Settings, prices: every price in force, where it comes from, and everything that was ever believed about it."""

from collections.abc import Sequence
from datetime import UTC, datetime, time
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone

from costobs.access import scopes
from costobs.kernel import fmt
from costobs.kernel.period import month
from costobs.web import csv_file, price_tables
from costobs.web.page import notice
from costobs.web.parts import Kpi, Link, Notice
from costobs.web.price_access import looking
from ingest import price_book, price_changes, price_lines

_A_PAGE = 50


@looking
def page(request: HttpRequest) -> HttpResponse:
    """The price book, what waits to be decided, and what changed this month."""
    now, viewer = timezone.now(), scopes.viewer(request.user)
    search = request.GET.get("q", "").replace("\x00", "").strip()[:200]
    provider = request.GET.get("provider", "").replace("\x00", "")
    everything = price_book.current()
    found = price_book.current(provider=provider, search=search) if search or provider else everything
    number = _page_number(request, len(found))
    waiting = price_changes.listing(states=price_changes.OPEN_STATES)
    changed = price_book.changed(since=datetime.combine(month(now.date()).start, time(0), UTC))
    asked = urlencode({"q": search, "provider": provider})
    csv_url = f"{reverse('settings_prices_export')}?{asked}"
    context = {
        "page": "settings",
        "scope": None,
        "heading": _heading(everything, waiting),
        "sub": "Per 1M tokens, from a UTC day on. A price that somebody set wins over the public list.",
        "actions": _actions(may_manage=viewer.may_manage),
        "kpis": _kpis(everything, waiting, changed),
        "search": search,
        "provider": provider,
        "providers": price_book.providers(),
        "count": f"{fmt.integer(len(found))} of {fmt.integer(len(everything))} prices",
        "book": price_tables.book(
            found[(number - 1) * _A_PAGE : number * _A_PAGE],
            is_searched=bool(search or provider),
            csv_url=csv_url,
            paging=_paging(asked, number, len(found)),
        ),
        "changes": price_tables.changes(price_changes.listing(limit=20)),
        "changed": price_tables.recent(changed),
    }
    return render(request, "pages/settings_prices.html", context)


@looking
def export(request: HttpRequest) -> HttpResponse:
    """The price book as a table with every digit; edited, it can be imported as a change."""
    search = request.GET.get("q", "").replace("\x00", "")[:200]
    provider = request.GET.get("provider", "").replace("\x00", "")
    columns = [*price_lines.NAMED, *price_lines.KINDS, "valid_to", "provenance", "set_by"]
    return csv_file.response(
        name="prices.csv",
        columns=columns,
        rows=[_exported(row) for row in price_book.current(provider=provider, search=search)],
    )


@looking
def history(request: HttpRequest) -> HttpResponse:
    """Everything that was believed about one price, and when."""
    asked = {name: request.GET.get(name, "").replace("\x00", "") for name in ("provider", "model", "tier")}
    key = price_book.PriceKey(asked["provider"], asked["model"], asked["tier"] or "standard")
    rows = price_book.history(key=key)
    if not rows:
        back = [Link("All prices", reverse("settings_prices"))]
        text = f"No price of {key.provider}/{key.model} in tier {key.service_tier} was ever needed or set."
        return notice(request, Notice("nothing_matches", "There is no such price", text, back), status=404)
    now = timezone.now()
    believed = [row for row in rows if row.known_to is None]
    holds = [row for row in believed if row.valid_from <= now and (row.valid_to is None or now < row.valid_to)]
    words = price_tables.words(holds[0]) if holds else "no price today"
    context = {
        "page": "settings",
        "scope": None,
        "title": f"{key.provider}/{key.model}",
        "heading": f"{key.model} costs {words}" if holds else f"{key.model} has no price today",
        "sub": (
            f"{key.provider}, tier {key.service_tier}. {fmt.integer(len(rows))} beliefs, of which"
            f" {fmt.integer(len(believed))} hold now. Per 1M tokens; times are UTC."
        ),
        "beliefs": price_tables.history(rows),
    }
    return render(request, "pages/settings_price_history.html", context)


def _heading(rows: Sequence[Any], waiting: Sequence[Any]) -> str:
    if not rows:
        return "No price is needed yet"
    models = len({(row.provider, row.model) for row in rows})
    plural = "models have a price" if models != 1 else "model has a price"
    if waiting:
        return (
            f"{fmt.integer(models)} {plural}, {fmt.integer(len(waiting))} change{'s' * (len(waiting) != 1)} to decide"
        )
    return f"{fmt.integer(models)} {plural}, nothing to decide"


def _kpis(rows: Sequence[Any], waiting: Sequence[Any], changed: Sequence[Any]) -> list[Kpi]:
    unpriced = {(row.provider, row.model) for row in rows if row.is_conservative}
    own = sum(bool(row.set_by) for row in rows)
    return [
        Kpi("Prices in force", fmt.integer(len(rows)), note="One for each model, tier, prompt size and time"),
        Kpi("Set by people", fmt.integer(own), note="They win over the list"),
        Kpi(
            "Conservative",
            fmt.integer(len(unpriced)),
            note="Models nobody priced, at the dearest known price" if unpriced else "Every model has its own price",
            url=f"{reverse('sources')}#unpriced",
        ),
        Kpi(
            "Changed this month", fmt.integer(len(changed)), note=f"{fmt.integer(len(waiting))} waiting", url="#changed"
        ),
    ]


def _actions(*, may_manage: bool) -> list[Link]:
    return [Link("Propose prices", reverse("settings_price_new"), icon="plus", primary=True)] if may_manage else []


def _page_number(request: HttpRequest, rows: int) -> int:
    text = request.GET.get("page", "1")
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 7 else 1
    return max(1, min(number, -(-rows // _A_PAGE)))


def _paging(asked: str, number: int, rows: int) -> tuple[str, str, str]:
    last = -(-rows // _A_PAGE)
    if last <= 1:
        return "", "", ""
    before = f"?{asked}&page={number - 1}" if number > 1 else ""
    after = f"?{asked}&page={number + 1}" if number < last else ""
    return f"{number} of {last}", before, after


def _exported(row: Any) -> list[csv_file.Value]:
    prices = price_tables.per_million(row)
    named: list[csv_file.Value] = [row.provider, row.model, row.service_tier, row.context_from]
    named += [row.valid_from.date(), row.currency]
    kinds = [prices["input_uncached" if kind == "input" else kind] for kind in price_lines.KINDS]
    end = row.valid_to.date() if row.valid_to else None
    return [*named, *kinds, end, row.provenance, row.set_by]
