"""Agent runs and fine-tune runs: what one of each cost."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from attribution.dimensions import provider_name_sql
from attribution.queries.ownership import TEAM
from attribution.queries.scoped import BOOKS, Scoped, fetch, usage
from costobs.kernel.scope import SpendScope

# A run is used by its owner; what it is not told by (region, invoice, share) it does not have.
RUN = {
    **dict.fromkeys(BOOKS, "''"),
    **{name: BOOKS[name] for name in ("team", "feature", "cost_centre", "environment", "key", "source", "model")},
    "provider_name": provider_name_sql("d.provider"),
}


@dataclass(frozen=True, slots=True)
class AgentRunLine:
    """One trace or session of two calls or more. `list_cost` is priced usage, in `currency`."""

    run_id: str
    team: str
    feature: str
    model: str  # of the first call
    started_at: datetime
    ended_at: datetime
    requests: int
    tokens: int
    list_cost: Decimal
    currency: str


@dataclass(frozen=True, slots=True)
class FineTuneLine:
    """One fine-tune run with what it cost inside the scope. `is_estimated`: the bill has not arrived."""

    id: int
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
    gpu_ms: int
    trained_tokens: int | None
    useful_cost: Decimal
    idle_cost: Decimal
    wasted_cost: Decimal
    storage_cost: Decimal  # of what it made
    is_estimated: bool

    @property
    def cost(self) -> Decimal:
        """Useful, idle and wasted time, and storage, together."""
        return self.useful_cost + self.idle_cost + self.wasted_cost + self.storage_cost


def agent_runs(*, scope: SpendScope, limit: int = 50) -> list[AgentRunLine]:
    """The dearest agent runs that began in the scope."""
    scoped = usage(scope, ["team", "feature", "model"], table="ingest_agentrun")
    team, feature, model = scoped.keys()
    sql = f"""
        SELECT d.run_id, {team}, {feature}, {model}, d.started_at, d.ended_at, d.requests, d.tokens, d.list_cost, d.currency
        {scoped.source()} AND d.requests > 1 AND d.currency = %(currency)s
        ORDER BY d.list_cost DESC, d.run_id LIMIT %(limit)s"""
    return [AgentRunLine(*row) for row in fetch(sql, scoped.parameters | {"limit": limit, "currency": scope.currency})]


def fine_tune_runs(*, scope: SpendScope, limit: int = 200) -> list[FineTuneLine]:
    """Fine-tune runs with time or cost in the scope, dearest first. Filters by team, feature, key and source apply."""
    scoped = Scoped(
        scope,
        table="""(SELECT r.*, (r.started_at AT TIME ZONE 'UTC')::date AS day, '' AS deployment, r.base_model AS model,
            coalesce(c.useful_cost, 0) AS useful, coalesce(c.idle_cost, 0) AS idle, coalesce(c.wasted_cost, 0) AS wasted,
            coalesce(c.storage_cost, 0) AS storage,
            coalesce(c.gpu_ms, 0) AS gpu_ms, c.run_id IS NULL OR c.is_estimated
                OR (c.useful_cost + c.idle_cost + c.wasted_cost = 0 AND c.gpu_ms = 0) AS is_estimated
            FROM ingest_finetunerun r
            LEFT JOIN LATERAL (SELECT run_id, sum(useful_cost) AS useful_cost, sum(idle_cost) AS idle_cost,
                sum(wasted_cost) AS wasted_cost,
                    sum(storage_cost) AS storage_cost, sum(gpu_ms) AS gpu_ms, bool_or(is_estimated) AS is_estimated
                FROM attribution_finetunecost WHERE run_id = r.id AND day >= %(start)s AND day < %(end)s
                    AND currency = %(currency)s GROUP BY run_id) c ON TRUE
            WHERE r.started_at < %(end_at)s
                AND (coalesce(r.ended_at, 'infinity') >= %(start_at)s OR c.storage_cost > 0))""",
        expressions=RUN,
        dimensions=["team"],
    )
    scoped.parameters |= {
        "start_at": scope.days.start_at,
        "end_at": scope.days.end_at,
        "currency": scope.currency,
        "limit": limit,
    }
    sql = f"""
        SELECT d.id, d.external_id, d.name, d.provider, {TEAM}, d.base_model, d.artefact, d.method, d.state, d.started_at,
            d.ended_at, d.gpu_ms::bigint, d.trained_tokens, d.useful, d.idle, d.wasted, d.storage, d.is_estimated
        {scoped.source().replace("d.day >= %(start)s AND d.day < %(end)s", "TRUE", 1)}
        ORDER BY d.useful + d.idle + d.wasted + d.storage DESC, d.started_at DESC LIMIT %(limit)s"""
    return [FineTuneLine(*row) for row in fetch(sql, scoped.parameters)]
