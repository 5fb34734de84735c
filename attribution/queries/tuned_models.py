"""What fine-tune runs made, what it cost to get it, and what it has served since."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from attribution import lineage
from attribution.lineage import Try
from attribution.queries.ownership import TEAM
from attribution.queries.runs import RUN
from attribution.queries.scoped import Scoped, books, fetch, usage
from attribution.queries.unit_sums import COUNTED, USED
from costobs.kernel.period import Days
from costobs.kernel.scope import SpendScope
from ingest import price_list

_MILLION = Decimal(1_000_000)
_PLACES = Decimal("1e-12")
_SELF_HOSTED = "self_hosted"


@dataclass(frozen=True, slots=True)
class TunedRun:
    """One run over its whole life, up to the end of the scope. Costs are effective cost; `is_known` is false where no bill and
    no GPU time tell what it cost, which is not zero."""

    id: int
    source_id: int
    run_id: str
    name: str
    provider: str
    team: str
    base_model: str
    artefact: str
    method: str
    state: str
    started_at: datetime
    ended_at: datetime | None
    node: str
    gpu_uuids: str
    provider_job: str
    trained_tokens: int | None
    useful_cost: Decimal
    idle_cost: Decimal
    wasted_cost: Decimal
    storage_cost: Decimal
    gpu_ms: int
    is_known: bool

    @property
    def training_cost(self) -> Decimal:
        """Without keeping what it made."""
        return self.useful_cost + self.idle_cost + self.wasted_cost

    @property
    def cost(self) -> Decimal:
        """Training and storage."""
        return self.training_cost + self.storage_cost

    @property
    def cost_per_million_trained(self) -> Decimal | None:
        """Training per 1M trained tokens; None where either is not known."""
        if not self.is_known or not self.trained_tokens:
            return None
        return (self.training_cost * _MILLION / self.trained_tokens).quantize(_PLACES)


@dataclass(frozen=True, slots=True)
class RunDay:
    """What one run cost on one day."""

    day: date
    useful_cost: Decimal
    idle_cost: Decimal
    wasted_cost: Decimal
    storage_cost: Decimal
    gpu_ms: int


@dataclass(frozen=True, slots=True)
class ServedDay:
    """What a trained model served on one day, by everybody the viewer may see."""

    day: date
    requests: int
    tokens: int
    cost: Decimal


@dataclass(frozen=True, slots=True)
class TunedModel:
    """A model that a run made: `attempts` are that run and the failed ones before it. Served from the day the run ended to
    the day a later run made the same model again."""

    run: TunedRun
    attempts: Sequence[TunedRun]
    served: Sequence[ServedDay] = ()
    served_as: Sequence[str] = ()
    api_provider: str = ""  # whose price of the base model is compared; "" where none is known
    api_cost: Decimal | None = None  # what the served tokens would have cost there
    requests: int = field(default=0, init=False)
    tokens: int = field(default=0, init=False)
    serving_cost: Decimal = field(default=Decimal(0), init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "requests", sum(one.requests for one in self.served))
        object.__setattr__(self, "tokens", sum(one.tokens for one in self.served))
        object.__setattr__(self, "serving_cost", sum((one.cost for one in self.served), Decimal(0)))

    @property
    def is_known(self) -> bool:
        """Whether the cost of every try is known."""
        return all(one.is_known for one in self.attempts)

    @property
    def total_cost(self) -> Decimal | None:
        """What it took to get this model: all tries, and keeping what they made."""
        return sum((one.cost for one in self.attempts), Decimal(0)) if self.is_known else None

    @property
    def amortised_per_million(self) -> Decimal | None:
        """Training over what was served so far."""
        return self._per_million(self.total_cost)

    @property
    def serving_per_million(self) -> Decimal | None:
        """What its calls carry."""
        return self._per_million(self.serving_cost)

    @property
    def full_per_million(self) -> Decimal | None:
        """Serving and amortised training."""
        return None if self.total_cost is None else self._per_million(self.serving_cost + self.total_cost)

    @property
    def api_per_million(self) -> Decimal | None:
        """The base model at the provider's price, for the same mix of tokens."""
        return self._per_million(self.api_cost)

    @property
    def saved(self) -> Decimal | None:
        """What the same tokens would have cost, less serving and training; negative until it has paid for itself."""
        if self.api_cost is None or self.total_cost is None:
            return None
        return self.api_cost - self.serving_cost - self.total_cost

    @property
    def break_even_tokens(self) -> int | None:
        """After how many served tokens training has paid for itself; None where it never does or a price is not known."""
        if self.total_cost is None or self.api_cost is None or not self.tokens:
            return None
        serving, alternative = self.serving_cost / self.tokens, self.api_cost / self.tokens
        return lineage.break_even(training=self.total_cost, serving=serving, alternative=alternative)

    def _per_million(self, cost: Decimal | None) -> Decimal | None:
        return (cost * _MILLION / self.tokens).quantize(_PLACES) if cost is not None and self.tokens else None


@dataclass(frozen=True, slots=True)
class RunDetail:
    """One run with its days, the tries it belongs to, and the model that finally came, if one did."""

    run: TunedRun
    days: Sequence[RunDay]
    attempts: Sequence[TunedRun]
    model: TunedModel | None


@dataclass(frozen=True, slots=True)
class _Segment:
    """The days on which one served name was what one run had made."""

    run_id: int
    model: str
    deployment: str
    days: Days


_RUNS = """(SELECT r.*, (r.started_at AT TIME ZONE 'UTC')::date AS day, '' AS deployment, r.base_model AS model,
        coalesce(c.useful, 0) AS useful, coalesce(c.idle, 0) AS idle, coalesce(c.wasted, 0) AS wasted,
        coalesce(c.storage, 0) AS storage, coalesce(c.gpu_ms, 0) AS gpu_ms, coalesce(c.is_known, FALSE) AS is_known
    FROM ingest_finetunerun r
    LEFT JOIN (SELECT run_id, sum(useful_cost) AS useful, sum(idle_cost) AS idle, sum(wasted_cost) AS wasted,
            sum(storage_cost) AS storage, sum(gpu_ms) AS gpu_ms,
            bool_or(useful_cost + idle_cost + wasted_cost <> 0 OR gpu_ms <> 0) AS is_known
        FROM attribution_finetunecost WHERE day < %(end)s AND currency = %(currency)s GROUP BY 1) c ON c.run_id = r.id)"""


def tuned_models(*, scope: SpendScope) -> list[TunedModel]:
    """The models that runs made before the end of the scope, the dearest to get first.

    Over their whole life, whatever day the scope begins; of the scope only the end, the currency and the teams of the viewer
    narrow: what others call is not in the tokens of a lead.
    """
    found = _models(scope, _all(scope))
    return sorted(found.values(), key=lambda one: (-sum(each.cost for each in one.attempts), one.run.id))


def fine_tune_run(*, scope: SpendScope, run_id: int) -> RunDetail | None:
    """One run the viewer may see, None where there is none such."""
    tries = _all(scope)
    of = next((family for family in tries if any(one.id == run_id for one in family)), None)
    if of is None:
        return None
    made = _models(scope, tries).get(of[-1].id) if of[-1].state == "succeeded" else None
    rows = fetch(
        """SELECT day, useful_cost, idle_cost, wasted_cost, storage_cost, gpu_ms FROM attribution_finetunecost
           WHERE run_id = %(run)s AND day < %(end)s AND currency = %(currency)s ORDER BY day""",
        {"run": run_id, "end": scope.days.end, "currency": scope.currency},
    )
    run = next(one for one in of if one.id == run_id)
    return RunDetail(run, [RunDay(*row) for row in rows], of, made)


def _all(scope: SpendScope) -> list[list[TunedRun]]:
    """Every run by lineage."""
    whole = replace(scope, filters=(), days=Days(date(2000, 1, 1), scope.days.end))
    scoped = Scoped(whole, table=_RUNS, expressions=RUN, dimensions=["team"])
    scoped.parameters["currency"] = scope.currency
    sql = f"""SELECT d.id, d.source_id, d.external_id, d.name, d.provider, {TEAM}, d.base_model, d.artefact, d.method,
            d.state, d.started_at, d.ended_at, d.node, d.gpu_uuids, d.provider_job, d.trained_tokens, d.useful, d.idle,
            d.wasted, d.storage, d.gpu_ms::bigint, d.is_known {scoped.source()}"""
    runs = {row[0]: TunedRun(*row) for row in fetch(sql, scoped.parameters)}
    tries = [
        Try(one.id, one.source_id, one.run_id, one.name, one.base_model, one.artefact, one.state, one.started_at)
        for one in runs.values()
    ]
    return [[runs[one.id] for one in family] for family in lineage.lineages(tries)]


def _models(scope: SpendScope, tries: Iterable[Sequence[TunedRun]]) -> dict[int, TunedModel]:
    made = {family[-1].id: family for family in tries if family[-1].state == "succeeded"}
    segments = _segments([family[-1] for family in made.values()], scope.days.end)
    served, kinds = _served(scope, segments)
    found = {}
    for run_id, family in made.items():
        run = family[-1]
        names = sorted({one.deployment or one.model for one in segments if one.run_id == run_id})
        provider, api_cost = _alternative(run, kinds.get(run_id, {}), scope)
        found[run_id] = TunedModel(run, family, served.get(run_id, ()), names, provider, api_cost)
    return found


def _segments(runs: Sequence[TunedRun], end: date) -> list[_Segment]:
    """Which served names are what which run made, from the UTC day it ended to the day the next one of that name did."""
    named: dict[tuple[str, str], list[tuple[bool, date, TunedRun]]] = {}
    offerings = fetch("SELECT DISTINCT model, request_model, response_model, deployment FROM ingest_offering")
    for run in runs:
        if not run.artefact or run.ended_at is None:
            continue
        whole, last = run.artefact.lower(), lineage.tail(run.artefact).lower()
        ended = run.ended_at.astimezone(UTC).date()
        for model, asked, answered, deployment in offerings:
            names = {deployment.lower()}
            if model != run.base_model:
                names |= {model.lower(), asked.lower(), answered.lower()}
            if whole in names or last in names:
                named.setdefault((model, deployment), []).append((whole in names, ended, run))
    found = []
    for (model, deployment), candidates in named.items():
        exact = [one for one in candidates if one[0]] or candidates
        ordered = sorted({(day, run.id) for _, day, run in exact})
        ends = [*(day for day, _ in ordered[1:]), end]
        for (start, run_id), stop in zip(ordered, ends, strict=True):
            if start < stop:
                found.append(_Segment(run_id, model, deployment, Days(start, stop)))
    return found


def _served(
    scope: SpendScope, segments: Sequence[_Segment]
) -> tuple[dict[int, list[ServedDay]], dict[int, dict[str, int]]]:
    """By run: its days, and its tokens by kind."""
    if not segments:
        return {}, {}
    days = Days(min(one.days.start for one in segments), scope.days.end)
    whole = replace(scope, filters=(), days=days)
    names: dict[str, Any] = {
        "models": [one.model for one in segments],
        "deployments": [one.deployment for one in segments],
    }
    pairs = "IN (SELECT * FROM unnest(%(models)s::text[], %(deployments)s::text[]))"
    counting, spending = usage(whole), books(whole)
    kinds = ", ".join(f"sum(d.{kind})::bigint" for kind in COUNTED)
    sql = f"""SELECT d.day, f.model, f.deployment, sum(d.requests)::bigint, {kinds} {counting.source()}
        AND d.is_current AND (f.model, f.deployment) {pairs} GROUP BY 1, 2, 3"""
    counted = fetch(sql, counting.parameters | names)
    sql = f"""SELECT d.day, d.model, d.deployment, sum({spending.cost}) {spending.source()}
        AND d.is_current AND {USED} AND (d.model, d.deployment) {pairs} GROUP BY 1, 2, 3"""
    costs = {tuple(row[:3]): row[3] for row in fetch(sql, spending.parameters | names)}
    served: dict[int, dict[date, ServedDay]] = {}
    mixes: dict[int, dict[str, int]] = {}
    for day, model, deployment, requests, *tokens in counted:
        run_id = next(
            (one.run_id for one in segments if (one.model, one.deployment) == (model, deployment) and day in one.days),
            None,
        )
        if run_id is None:
            continue
        known = served.setdefault(run_id, {}).get(day, ServedDay(day, 0, 0, Decimal(0)))
        cost = costs.get((day, model, deployment), Decimal(0))
        served[run_id][day] = ServedDay(day, known.requests + requests, known.tokens + sum(tokens), known.cost + cost)
        mix = mixes.setdefault(run_id, dict.fromkeys(COUNTED, 0))
        for kind, count in zip(COUNTED, tokens, strict=True):
            mix[kind] += count
    return {run_id: [by_day[day] for day in sorted(by_day)] for run_id, by_day in served.items()}, mixes


def _alternative(run: TunedRun, mix: Mapping[str, int], scope: SpendScope) -> tuple[str, Decimal | None]:
    """Where the base model could be called instead, and what the served tokens cost there: the cheapest known price at the
    end of the scope, an operator's before the list's."""
    if not any(mix.values()):
        return "", None
    columns = ", ".join(f"{kind}_price" for kind in COUNTED)
    rows = fetch(
        f"""SELECT provider, {columns} FROM ingest_unitprice
            WHERE model = %(model)s AND provider <> %(own)s AND NOT is_conservative AND known_to IS NULL
                AND service_tier IN ('', 'standard') AND context_from = 0 AND currency = %(currency)s
                AND valid_from < %(at)s AND (valid_to IS NULL OR valid_to >= %(at)s)""",
        {"model": run.base_model, "own": _SELF_HOSTED, "currency": scope.currency, "at": scope.days.end_at},
    )
    known = {provider: dict(zip(COUNTED, prices, strict=True)) for provider, *prices in rows}
    if run.provider != _SELF_HOSTED and run.provider not in known and scope.currency == "USD":
        last = scope.days.end - timedelta(days=1)
        if listed := price_list.period_on(run.provider, run.base_model, "standard", last):
            known[run.provider] = {kind: listed.steps[0].prices[kind] for kind in COUNTED}
    costs = {name: sum((mix[kind] * each[kind] for kind in COUNTED), Decimal(0)) for name, each in known.items()}
    cheapest = min(costs, key=lambda name: (costs[name], name), default="")
    return cheapest, costs.get(cheapest)
