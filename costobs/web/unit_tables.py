"""The tables of the unit economics page: by group, agent runs, and estimate against bill."""

from collections.abc import Mapping, Sequence
from decimal import Decimal

from attribution.queries import AgentRunLine, EstimateLine, GpuCost, UnitCost
from costobs.kernel import fmt
from costobs.web import filters, unit_figures, words
from costobs.web.parts import Cell, Column, Notice, Row, Table
from costobs.web.unit_figures import Unit

_TOKENS = unit_figures.UNITS["tokens"]
_REQUEST = unit_figures.UNITS["request"]
_HONEST = "Token costs of self-hosted models are split by the weights on the GPUs page."


def by_group(
    *,
    asked: filters.Asked,
    unit: Unit,
    rows: Sequence[UnitCost],
    whole: UnitCost | None,
    whole_now: UnitCost | None,
    whole_before: UnitCost | None,
    total: Decimal,
    before: Mapping[str, UnitCost],
    now: Mapping[str, UnitCost],
    urls: Mapping[str, str],
    slots: Mapping[str, int],
    every: bool,
    csv_url: str,
) -> Table:
    """Unit costs by group; its rows and the one without usage add to the spend of the scope."""
    currency = asked.scope.currency
    rest = unit_figures.without_usage(total, rows)
    places = fmt.column_places([*(row.cost for row in rows), rest])
    shown = []
    for row in rows:
        key = row.keys[0]
        cells = [
            Cell(words.label(asked.group, key), urls.get(key, ""), title=key),
            Cell(fmt.money(row.cost, currency, places=places)),
            *_figures(unit, row, now.get(key), before.get(key), currency, every),
        ]
        shown.append(Row(cells, slot=slots.get(key, 10) if key else None, kind="" if key else "other"))
    blank = [Cell(fmt.NOT_APPLICABLE)] * (len(_columns(unit, asked, every)) - 2)
    if rest:
        name = Cell(
            "Without logged usage", title="Idle nodes, fine-tune runs, tax, subscriptions: nothing to divide by"
        )
        shown.append(Row([name, Cell(fmt.money(rest, currency, places=places)), *blank], kind="other"))
    sums = _figures(unit, whole, whole_now, whole_before, currency, every) if whole else blank
    total_cells = [Cell(f"Total ({len(shown)} rows)"), Cell(fmt.money(total, currency, places=places)), *sums]
    return Table(
        caption=f"Unit costs by {filters.by(asked.group)}",
        columns=_columns(unit, asked, every),
        rows=shown,
        total=Row(total_cells, kind="total") if shown else None,
        empty=_no_calls(asked),
        csv_url=csv_url,
        note=f"Unit costs divide what logged calls carry, not bypass, idle and overhead. {_HONEST}",
    )


def _no_calls(asked: filters.Asked) -> Notice:
    text = "Unit costs need a usage log or a gate."
    return Notice("nothing_matches", f"No call was logged in {asked.bar.label}", text)


def _columns(unit: Unit, asked: filters.Asked, every: bool) -> list[Column]:
    first = [Column(filters.LABELS[asked.group]), Column("Spend", numeric=True, sort="descending")]
    if not every:
        return [
            *first,
            Column(unit.volume_label, numeric=True),
            Column(f"$ / {unit.per}", numeric=True),
            Column("Change", numeric=True, title=f"Of $ / {unit.per}, {asked.compare_label}, complete days"),
            Column("Tokens / request", numeric=True, title="Uncached input, cached input and output"),
            Column("Cache hit", numeric=True, title="Cached share of prompt tokens"),
            Column("p95 latency", numeric=True, title="p50 and p99 below; p90 in the title of the cell"),
            Column("Errors", numeric=True, title="Share of requests"),
        ]
    names = [
        "Requests", "Tokens", "$ / 1M input", "$ / 1M cached", "$ / 1M output", "$ / 1M tokens", "$ / 1M with idle",
        "$ / request", "$ / 1k requests", "$ / agent run", "Input / request", "Cached / request", "Output / request",
        "Cache hit", "p50", "p90", "p95", "p99", "First token p50", "First token p95", "Errors", "Refused",
        "Usage unknown",
    ]  # fmt: skip
    return [*first, *[Column(name, numeric=True) for name in names]]


def _figures(
    unit: Unit, row: UnitCost, now: UnitCost | None, before: UnitCost | None, currency: str, every: bool
) -> list[Cell]:
    if every:
        return _every(row, currency)
    return [
        Cell(fmt.count(unit.volume(row)), title=fmt.integer(unit.volume(row))),
        Cell(unit.text(unit.cost(row), currency)),
        _change(unit, now, before),
        Cell(
            fmt.count(row.tokens_per_request) if row.tokens_per_request is not None else fmt.NOT_APPLICABLE,
            note=_split(row),
        ),
        Cell(fmt.percent(row.cache_hit_rate)),
        Cell(
            _latency(row.p95_ms),
            note=f"p50 {_latency(row.p50_ms)}, p99 {_latency(row.p99_ms)}" if row.p95_ms is not None else "",
            title=f"p90 {_latency(row.p90_ms)}; first token p50 {_latency(row.ttft_p50_ms)}, p95 {_latency(row.ttft_p95_ms)}",
        ),
        Cell(fmt.percent(row.error_rate), note=f"{fmt.count(row.refused)} refused" if row.refused else ""),
    ]


def _every(row: UnitCost, currency: str) -> list[Cell]:
    millions = [
        row.cost_per_million_input,
        row.cost_per_million_cached,
        row.cost_per_million_output,
        row.cost_per_million_tokens,
        row.loaded_cost_per_million_tokens,
    ]
    others = [
        ("request", row.cost_per_request),
        ("thousand_requests", row.cost_per_thousand_requests),
        ("agent_run", row.cost_per_agent_run),
    ]
    return [
        Cell(fmt.integer(row.requests)),
        Cell(fmt.count(row.tokens), title=fmt.integer(row.tokens)),
        *[Cell(_TOKENS.text(value, currency)) for value in millions],
        *[Cell(unit_figures.UNITS[key].text(value, currency)) for key, value in others],
        *[Cell(each) for each in _by_request(row)],
        Cell(fmt.percent(row.cache_hit_rate)),
        *[Cell(_latency(value)) for value in (row.p50_ms, row.p90_ms, row.p95_ms, row.p99_ms)],
        *[Cell(_latency(value)) for value in (row.ttft_p50_ms, row.ttft_p95_ms)],
        Cell(fmt.percent(row.error_rate)),
        Cell(fmt.integer(row.refused)),
        Cell(fmt.integer(row.unknown_usage)),
    ]


def _change(unit: Unit, now: UnitCost | None, before: UnitCost | None) -> Cell:
    """Of complete days on both sides."""
    if now is None or before is None:
        return Cell(fmt.NOT_APPLICABLE)
    one, other = unit.cost(now), unit.cost(before)
    if one is None or other is None:
        return Cell(fmt.NOT_APPLICABLE)
    ratio = unit_figures.change_ratio(one, other) or Decimal(0)
    tone = "" if abs(ratio) < Decimal("0.05") else "unfavourable" if ratio > 0 else "favourable"
    return Cell(fmt.change_percent(one, other), tone=tone, title=f"from {other:f} to {one:f}")  # type: ignore[arg-type]


def _split(row: UnitCost) -> str:
    if not row.requests or row.uncounted_tokens:
        return ""
    each = _by_request(row)
    return f"{each[0]} in, {each[1]} cached, {each[2]} out"


def _by_request(row: UnitCost) -> list[str]:
    """Input, cached and output tokens of a request; none where a part of them is of calls that nobody counted."""
    requests = 0 if row.uncounted_tokens else row.requests
    return [_each(tokens, requests) for tokens in (row.input_uncached, row.cache_read, row.output)]


def _each(tokens: int, requests: int) -> str:
    return fmt.count(Decimal(tokens) / requests) if requests else fmt.NOT_APPLICABLE


def _latency(value: int | None) -> str:
    return fmt.NOT_APPLICABLE if value is None else fmt.latency(value)


def agent_runs(runs: Sequence[AgentRunLine]) -> Table:
    """The dearest traces and sessions of two calls or more."""
    columns = [
        Column("Run"),
        Column("Team"),
        Column("Feature"),
        Column("First model"),
        Column("Began"),
        Column("Took", numeric=True),
        Column("Calls", numeric=True),
        Column("Tokens", numeric=True),
        Column("List cost", numeric=True, title="Priced usage; bills do not know runs"),
    ]
    rows = [
        Row(
            [
                Cell(run.run_id, title=run.run_id, mono=True),
                Cell(run.team or words.label("team", "")),
                Cell(run.feature or words.label("feature", "")),
                Cell(run.model or words.label("model", "")),
                Cell(fmt.moment(run.started_at)),
                Cell(fmt.duration(run.ended_at - run.started_at)),
                Cell(fmt.integer(run.requests)),
                Cell(fmt.count(run.tokens), title=fmt.integer(run.tokens)),
                Cell(_REQUEST.text(run.list_cost, run.currency)),
            ]
        )
        for run in runs
    ]
    text = "Send trace or session ids with usage events, and calls that belong together become one run."
    return Table("Dearest agent runs", columns, rows, empty=Notice("empty", "No agent run in these days", text))


def estimates(lines: Sequence[EstimateLine], currency: str) -> Table:
    """Where a bill replaced estimates, with the part of the bill that nobody logged."""
    places = fmt.column_places([line.billed for line in lines])
    columns = [
        Column("Model"),
        Column("Provider"),
        Column("Billed", numeric=True, sort="descending"),
        Column("Estimated", numeric=True, title="What usage was priced at before the bill came"),
        Column("Difference", numeric=True, title="Billed minus estimated"),
        Column("Of estimate", numeric=True),
        Column("Bypass", numeric=True, title="Billed, and never logged: part of the difference"),
    ]
    total = (
        sum((line.billed for line in lines), Decimal(0)),
        sum((line.estimated for line in lines), Decimal(0)),
        sum((line.bypass for line in lines), Decimal(0)),
    )
    rows = [
        Row(
            [
                Cell(line.model),
                Cell(words.label("provider_name", line.provider_name)),
                *_against(line.billed, line.estimated, line.bypass, currency, places),
            ]
        )
        for line in lines
    ]
    sums = Row([Cell(f"Total ({len(lines)} rows)"), Cell(), *_against(*total, currency, places)], kind="total")
    empty = Notice(
        "not_arrived",
        "No bill with a model in these days",
        "Until one arrives, spend on models is estimated from usage.",
    )
    return Table("Estimated against billed", columns, rows, sums if rows else None, empty)


def _against(billed: Decimal, estimated: Decimal, bypass: Decimal, currency: str, places: int) -> list[Cell]:
    return [
        Cell(fmt.money(billed, currency, places=places)),
        Cell(fmt.money(estimated, currency, places=places)),
        Cell(fmt.money(billed - estimated, currency, places=places, signed=True)),
        Cell(fmt.change_percent(billed, estimated) if estimated else fmt.NOT_APPLICABLE),
        Cell(fmt.money(bypass, currency, places=places)),
    ]


def gpu_hours(costs: Sequence[GpuCost], currency: str) -> Table:
    """What a measured GPU-hour costs by deployment."""
    unit = unit_figures.UNITS["gpu_hour"]
    columns = [
        Column("Deployment"),
        Column("Paid", numeric=True, sort="descending"),
        Column("Measured", numeric=True),
        Column("Busy time", numeric=True),
        Column("$ / GPU-hour", numeric=True, title="Paid, less what has no telemetry, over measured hours"),
        Column("$ / 1M tokens", numeric=True, title="Busy time with requests"),
        Column("$ / 1M with idle", numeric=True, title="With the deployment's idle time and overhead"),
    ]
    places = fmt.column_places([row.paid_cost for row in costs])
    rows = [
        Row(
            [
                Cell(row.deployment or "Nothing loaded"),
                Cell(fmt.money(row.paid_cost, currency, places=places)),
                Cell(fmt.gpu_hours(Decimal(row.gpu_ms) / 3_600_000)),
                Cell(fmt.percent(Decimal(row.busy_ms) / row.gpu_ms if row.gpu_ms else None)),
                Cell(unit.text(row.cost_per_gpu_hour, currency)),
                Cell(_TOKENS.text(row.cost_per_million_tokens, currency)),
                Cell(_TOKENS.text(row.loaded_cost_per_million_tokens, currency)),
            ],
            kind="" if row.deployment else "idle",
        )
        for row in costs
    ]
    paid = sum((row.paid_cost for row in costs), Decimal(0))
    sums = [
        Cell(f"Total ({len(rows)} rows)"),
        Cell(fmt.money(paid, currency, places=places)),
        Cell(fmt.gpu_hours(Decimal(sum(row.gpu_ms for row in costs)) / 3_600_000)),
        Cell(),
        Cell(unit.text(unit_figures.per_gpu_hour(costs), currency)),
        Cell(),
        Cell(),
    ]
    empty = Notice(
        "empty", "No GPU was paid for in these days", "GPU-hours need a bill with the nodes, and DCGM telemetry."
    )
    return Table(
        "GPU-hours by deployment", columns, rows, Row(sums, kind="total") if rows else None, empty, note=_HONEST
    )
