"""Fine-tune runs as tables: the list, the sums by what became of the time, and what one model earns."""

from collections.abc import Mapping, Sequence
from decimal import Decimal

from django.urls import reverse

from attribution.queries import FineTuneLine, RunDetail, TunedModel, TunedRun
from costobs.kernel import fmt
from costobs.web import unit_figures, words
from costobs.web.parts import Cell, Column, Notice, Row, Table

_TOKENS = unit_figures.UNITS["tokens"]
STATES = {
    "running": "running",
    "succeeded": "done",
    "failed": "failed",
    "cancelled": "ended",
    "preempted": "ended",
}
_NOT_YET = Cell(fmt.UNKNOWN, note="not billed yet")


def listed(runs: Sequence[FineTuneLine], models: Mapping[int, TunedModel], currency: str) -> Table:
    """Runs with time or cost in the scope, dearest first; beside them what the model they made has served since."""
    places = fmt.column_places([run.cost for run in runs])
    columns = [
        Column("Run"),
        Column("State"),
        Column("Team"),
        Column("Base model"),
        Column("Began"),
        Column("Cost", numeric=True, sort="descending"),
        Column("Useful, idle, wasted", numeric=True, title="And storage of what the run made, where the bill names it"),
        Column("$ / 1M trained", numeric=True),
        Column(
            "$ / 1M served", numeric=True, title="Serving, and all tries of this model over the tokens served so far"
        ),
    ]
    rows = [_run(run, models.get(run.id), currency, places) for run in runs]
    total = sum((run.cost for run in runs), Decimal(0))
    sums = [
        Cell(f"Total ({len(runs)} runs)"),
        *[Cell()] * 4,
        Cell(fmt.money(total, currency, places=places)),
        *[Cell()] * 3,
    ]
    text = "Push a run with its GPU time or provider job to have its cost here."
    empty = Notice("empty", "No fine-tune run in these days", text)
    return Table("Fine-tune runs", columns, rows, Row(sums, kind="total") if rows else None, empty)


def by_state(runs: Sequence[FineTuneLine], currency: str) -> Table | None:
    """What the money for runs was spent on; the rows add to the runs' cost. None without runs."""
    if not runs:
        return None
    parts = {
        "Useful": sum((run.useful_cost for run in runs), Decimal(0)),
        "Idle": sum((run.idle_cost for run in runs), Decimal(0)),
        **{
            state.capitalize(): sum((run.wasted_cost for run in runs if run.state == state), Decimal(0))
            for state in ("failed", "preempted", "cancelled")
        },
        "Storage": sum((run.storage_cost for run in runs), Decimal(0)),
    }
    whole = sum(parts.values(), Decimal(0))
    places = fmt.column_places(parts.values())
    rows = [
        Row(
            [
                Cell(name),
                Cell(fmt.money(cost, currency, places=places)),
                Cell(fmt.percent(cost / whole if whole else None)),
            ]
        )
        for name, cost in parts.items()
    ]
    unknown = sum(1 for run in runs if unit_figures.is_unknown(run))
    note = f"{unknown} of {len(runs)} runs have no bill and no GPU time: their cost is not known." if unknown else ""
    total = [
        Cell("Total"),
        Cell(fmt.money(whole, currency, places=places)),
        Cell(fmt.percent(Decimal(1)) if whole else ""),
    ]
    columns = [Column("State"), Column("Cost", numeric=True), Column("Share", numeric=True)]
    return Table("Fine-tuning by state", columns, rows, Row(total, kind="total"), note=note)


def days(found: RunDetail, currency: str) -> Table:
    """Day by day: what the run cost, and what its model served."""
    served = {one.day: one for one in found.model.served} if found.model else {}
    spent = {one.day: one for one in found.days}
    columns = [
        Column("Day"),
        Column("Useful", numeric=True),
        Column("Idle", numeric=True),
        Column("Wasted", numeric=True),
        Column("Storage", numeric=True),
        Column("GPU time", numeric=True),
        Column("Requests served", numeric=True),
        Column("Tokens served", numeric=True),
        Column("Serving", numeric=True),
    ]
    rows = []
    for day in sorted({*spent, *served}):
        one, other = spent.get(day), served.get(day)
        money = [one.useful_cost, one.idle_cost, one.wasted_cost, one.storage_cost] if one else [Decimal(0)] * 4
        rows.append(
            Row(
                [
                    Cell(fmt.day(day)),
                    *[
                        Cell(fmt.money(amount, currency, places=2) if amount else fmt.NOT_APPLICABLE)
                        for amount in money
                    ],
                    Cell(_hours(one.gpu_ms) if one else fmt.NOT_APPLICABLE),
                    Cell(fmt.integer(other.requests) if other else fmt.NOT_APPLICABLE),
                    Cell(fmt.count(other.tokens) if other else fmt.NOT_APPLICABLE),
                    Cell(fmt.money(other.cost, currency, places=2) if other else fmt.NOT_APPLICABLE),
                ]
            )
        )
    empty = Notice("not_arrived", "No bill and no GPU time names this run", "Its cost is not known, which is not zero.")
    return Table("Day by day", columns, rows, empty=empty)


def attempts(found: RunDetail, currency: str) -> Table:
    """The tries of one model; those that failed count to the one that finally came."""
    columns = [
        Column("Run"),
        Column("State"),
        Column("Began"),
        Column("Took", numeric=True),
        Column("GPU time", numeric=True),
        Column("Cost", numeric=True),
    ]
    rows = [
        Row(
            [
                Cell(one.name, "" if one.id == found.run.id else address(one.id), note=one.run_id),
                Cell(one.state.capitalize(), state=STATES.get(one.state, "unknown")),
                Cell(fmt.moment(one.started_at, year=True)),
                Cell(fmt.duration(one.ended_at - one.started_at) if one.ended_at else fmt.NOT_APPLICABLE),
                Cell(_hours(one.gpu_ms)),
                Cell(fmt.money(one.cost, currency, places=2)) if one.is_known else _NOT_YET,
            ]
        )
        for one in found.attempts
    ]
    whole = sum((one.cost for one in found.attempts), Decimal(0))
    is_known = all(one.is_known for one in found.attempts)
    sums = [
        Cell(f"Total ({len(rows)} tries)"),
        *[Cell()] * 4,
        Cell(fmt.money(whole, currency, places=2) if is_known else fmt.UNKNOWN),
    ]
    return Table("Tries", columns, rows, Row(sums, kind="total"))


def earnings(model: TunedModel, currency: str) -> Table:
    """What the model cost and what the same tokens would have cost at the base model's price."""
    storage = sum((one.storage_cost for one in model.attempts), Decimal(0))
    training = model.total_cost - storage if model.total_cost is not None else None
    whole = model.total_cost + model.serving_cost if model.total_cost is not None else None
    lines: list[tuple[str, Decimal | None, str]] = [
        (f"Training, {len(model.attempts)} tries" if len(model.attempts) > 1 else "Training", training, ""),
        ("Storage", storage, ""),
        ("Serving", model.serving_cost, ""),
        ("Training, storage and serving", whole, "total"),
        (
            f"The same tokens of {model.run.base_model} at {words.label('provider_name', model.api_provider)}",
            model.api_cost,
            "",
        )
        if model.api_provider
        else (f"The same tokens of {model.run.base_model} elsewhere", None, ""),
        ("Saved so far", model.saved, "total"),
    ]
    rows = [
        Row(
            [
                Cell(label),
                Cell(fmt.money(cost, currency, places=2) if cost is not None else fmt.UNKNOWN),
                Cell(
                    _TOKENS.text(
                        cost * 1_000_000 / model.tokens if cost is not None and model.tokens else None, currency
                    )
                ),
            ],
            kind=kind,  # type: ignore[arg-type]  # one of the two above
        )
        for label, cost, kind in lines
    ]
    columns = [Column("What", wide=True), Column(f"{currency}", numeric=True), Column("$ / 1M served", numeric=True)]
    note = "Break-even: training and storage / (price of the base model - serving), each for one token of the same mix."
    return Table("What it earns", columns, rows, note=note)


def facts(run: TunedRun) -> list[tuple[str, str]]:
    """What is known of a run, for the list beside its figures."""
    gpus = len([one for one in run.gpu_uuids.split(",") if one])
    where = f"{run.node}, {f'{gpus} GPUs' if gpus else 'all its GPUs'}" if run.node else ""
    told = [
        ("Base model", run.base_model),
        ("Method", run.method),
        ("Made", run.artefact),
        ("Provider", words.label("provider_name", run.provider)),
        ("Provider's job", run.provider_job),
        ("GPUs", where),
        ("Team", run.team or words.label("team", "")),
        ("Began", fmt.moment(run.started_at, year=True)),
        ("Ended", fmt.moment(run.ended_at, year=True) if run.ended_at else "still running"),
        ("Trained tokens", fmt.integer(run.trained_tokens) if run.trained_tokens else fmt.UNKNOWN),
    ]
    return [(label, value) for label, value in told if value]


def address(run_id: int) -> str:
    """The page of a run."""
    return reverse("unit_run", args=[run_id])


def _run(run: FineTuneLine, model: TunedModel | None, currency: str, places: int) -> Row:
    is_unknown = unit_figures.is_unknown(run)
    parts = (run.useful_cost, run.idle_cost, run.wasted_cost)
    shown = " · ".join(fmt.money(part, currency, places=places) for part in parts)
    cost = Cell(fmt.money(run.cost, currency, places=places), note="estimated" if run.is_estimated else "billed")
    kept = f"{fmt.money(run.storage_cost, currency, places=places)} storage" if run.storage_cost else ""
    per = run.cost - run.storage_cost
    trained = per * 1_000_000 / run.trained_tokens if run.trained_tokens and per else None
    return Row(
        [
            Cell(run.name or run.run_id, address(run.id), title=run.run_id, note=run.method),
            Cell(run.state.capitalize(), state=STATES.get(run.state, "unknown")),
            Cell(run.team or words.label("team", "")),
            Cell(run.base_model, note=run.artefact),
            Cell(fmt.moment(run.started_at), note=_hours(run.gpu_ms) if run.gpu_ms else ""),
            _NOT_YET if is_unknown else cost,
            Cell(fmt.NOT_APPLICABLE if is_unknown else shown, note=kept),
            Cell(_TOKENS.text(trained, currency)),
            Cell(
                _TOKENS.text(model.full_per_million if model else None, currency),
                note=f"{fmt.count(model.tokens)} tokens" if model and model.tokens else "",
            ),
        ]
    )


def _hours(milliseconds: int) -> str:
    return fmt.gpu_hours(Decimal(milliseconds) / 3_600_000) if milliseconds else fmt.NOT_APPLICABLE
