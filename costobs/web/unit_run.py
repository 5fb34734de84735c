"""One fine-tune run: what it cost by day and state, what it made, and what that has served since."""

from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse

from attribution import queries
from attribution.queries import RunDetail, TunedModel
from costobs.kernel import fmt
from costobs.kernel.period import Days
from costobs.web import charts, filters, unit_figures, unit_run_tables
from costobs.web.page import notice
from costobs.web.page import page as page_view
from costobs.web.parts import ChartCard, Kpi, Link, Notice

_TOKENS = unit_figures.UNITS["tokens"]
_MOST_DAYS = 120


@page_view
def page(request: HttpRequest, run_id: int) -> HttpResponse:
    asked = filters.read(request, groups=())
    whole = asked.scope.during(Days(date(2000, 1, 1), asked.now.date() + timedelta(days=1)))
    found = queries.fine_tune_run(scope=whole, run_id=run_id) if run_id < 2**63 else None
    if found is None:
        back = [Link("All fine-tune runs", f"{reverse('unit_costs')}?unit=fine_tune_run")]
        text = "It does not exist, it was removed, or it belongs to a team you do not see."
        return notice(request, Notice("nothing_matches", "There is no such run", text, back), status=404)
    currency = asked.scope.currency
    model = found.model if found.model is not None and found.model.run.id == found.run.id else None
    context = {
        "page": "unit_costs",
        "scope": None,
        "run": found.run,
        "state": unit_run_tables.STATES.get(found.run.state, "unknown"),
        "heading": _heading(found, currency),
        "sub": f"Effective cost in {currency}, over the whole life of the run; UTC days.",
        "facts": unit_run_tables.facts(found.run),
        "kpis": _kpis(found, model, currency),
        "counted_to": found.model.run if found.model is not None and model is None else None,
        "timeline": _timeline(found, currency),
        "days": unit_run_tables.days(found, currency),
        "attempts": unit_run_tables.attempts(found, currency) if len(found.attempts) > 1 else None,
        "earnings": unit_run_tables.earnings(model, currency) if model is not None and model.tokens else None,
        "earns": _break_even(model) if model is not None else "",
    }
    return render(request, "pages/unit_run.html", context)


def _heading(found: RunDetail, currency: str) -> str:
    run = found.run
    if not run.is_known:
        return f"{run.name}: what it cost is not known"
    said = f"{run.name} cost {fmt.money(run.cost, currency)}"
    lost = run.wasted_cost
    if lost and run.cost:
        return f"{said}, {fmt.percent(lost / run.cost, places=0)} of it lost: it {_ended(run.state)}"
    return said


def _ended(state: str) -> str:
    return {"preempted": "was preempted", "cancelled": "was cancelled"}.get(state, state)


def _kpis(found: RunDetail, model: TunedModel | None, currency: str) -> list[Kpi]:
    run = found.run
    parts = [
        f"{fmt.money(run.useful_cost, currency)} useful",
        f"{fmt.money(run.idle_cost, currency)} idle",
        f"{fmt.money(run.wasted_cost, currency)} wasted",
    ]
    if run.storage_cost:
        parts.append(f"{fmt.money(run.storage_cost, currency)} storage")
    known = fmt.money(run.cost, currency, mode="kpi"), ", ".join(parts)
    cost, note = known if run.is_known else (fmt.UNKNOWN, "no bill and no GPU time names it")
    kpis = [
        Kpi("Cost of the run", cost, note=note),
        Kpi("Trained", _TOKENS.text(run.cost_per_million_trained, currency), unit="1M trained tokens"),
    ]
    if model is None:
        return kpis
    total = fmt.money(model.total_cost, currency, mode="kpi") if model.total_cost is not None else fmt.UNKNOWN
    tries = len(model.attempts)
    return [
        *kpis,
        Kpi("To get this model", total, note=f"{tries} tries" if tries > 1 else "the first try"),
        _served(model, currency),
    ]


def _served(model: TunedModel, currency: str) -> Kpi:
    if not model.tokens:
        return Kpi("Served", fmt.NOT_APPLICABLE, note="no call of it was logged yet")
    parts = (model.serving_per_million, model.amortised_per_million)
    serving, training = (_TOKENS.text(part, currency) if part is not None else fmt.UNKNOWN for part in parts)
    return Kpi(
        "Served",
        _TOKENS.text(model.full_per_million, currency) if model.full_per_million is not None else fmt.UNKNOWN,
        unit="1M tokens, with training",
        compare=f"{fmt.count(model.tokens)} tokens so far",
        note=f"{serving} serving, {training} training",
    )


def _break_even(model: TunedModel) -> str:
    if not model.tokens:
        return "No call of it was logged yet."
    if model.total_cost is None or model.api_cost is None:
        missing = "what it took to get it" if model.total_cost is None else "the price of its base model elsewhere"
        return f"Whether it pays is not known: {missing} is not known."
    if model.break_even_tokens is None:
        return "At these prices it never pays for itself: a token of its own is not cheaper than one of the base model."
    if model.tokens >= model.break_even_tokens:
        return f"It has paid for itself after {fmt.count(model.break_even_tokens)} tokens."
    share = fmt.percent(Decimal(model.tokens) / model.break_even_tokens, places=0)
    return f"It pays for itself after {fmt.count(model.break_even_tokens)} tokens; {share} of them are served."


def _timeline(found: RunDetail, currency: str) -> ChartCard | None:
    served = {one.day: one.tokens for one in found.model.served} if found.model else {}
    spent = {one.day: one.useful_cost + one.idle_cost + one.wasted_cost + one.storage_cost for one in found.days}
    known = sorted({*served, *spent})
    if len(known) < 2:
        return None
    at = list(Days(max(known[0], known[-1] - timedelta(days=_MOST_DAYS)), known[-1] + timedelta(days=1)))
    costs: Sequence[Decimal] = [spent.get(day, Decimal(0)) for day in at]
    tokens = [served.get(day, 0) for day in at]
    spending, serving = charts.Line("cost", "cost", costs, "c1"), charts.Line("tokens", "tokens", tokens, "c7")
    panels = [charts.Panel("Cost of the run", [spending], lambda one: fmt.money(one, currency), bars=True)]
    if served:
        panels.append(charts.Panel("Tokens its model served", [serving], fmt.count, bars=True))
    return ChartCard(
        id="timeline",
        title="Cost and use by day",
        caption=f"{currency}, effective cost, UTC days.",
        chart=charts.multiples(at=at, panels=panels),
        summary=f"From {fmt.day(at[0])} to {fmt.day(at[-1])}.",
    )
