"""The tables of energy, carbon and token weights of own GPUs."""

from collections.abc import Sequence
from decimal import Decimal

from django.urls import reverse

from attribution import queries
from attribution.queries import EnergyUse, GpuEnergy, WeightsLine
from costobs.kernel import fmt
from costobs.web import filters, words
from costobs.web.parts import Cell, Column, Notice, Row, Table

_METHODS = {
    "stated": "Stated by a rule",
    "step_log": "Fitted from a step log",
    "counters": "Fitted from counters",
    "declared": "Default: the fit was not good enough",
    "default": "Default: nothing was fitted",
}
_THOUSAND = Decimal(1000)
_COLUMNS = (
    ("joules",),
    ("used_joules",),
    ("overhead_joules", "fine_tuned_joules"),
    ("idle_joules", "unknown_joules"),
)


def power(watt_hours: Decimal | None) -> str:
    """`412 Wh`, `1.24 kWh`."""
    return _scaled(watt_hours, "Wh", "kWh")


def carbon(grams: Decimal | None) -> str:
    """`96.4 g`, `1.2 kg`."""
    return _scaled(grams, "g", "kg")


def by_deployment(rows: Sequence[GpuEnergy]) -> Table:
    """What the cards drew, by deployment; its parts add to what their counters say."""
    columns = [
        Column("Deployment"),
        Column("Energy", numeric=True, sort="descending", title="Differences of the cards' energy counters"),
        Column("With requests", numeric=True),
        Column("Without a request", numeric=True, title="Busy without a request, and fine-tune runs"),
        Column("Idle", numeric=True, title="At rest: while nothing ran, and of the time that was not busy"),
        Column("CO2e", numeric=True, title="Of all of it, with the PUE of the data centre"),
        Column("Energy / 1M tokens", numeric=True, title="Of what requests used"),
        Column("CO2e / 1M tokens", numeric=True, title="Of what requests used"),
    ]
    shown = [
        Row(
            [
                Cell(row.deployment or "Nothing loaded"),
                *(_energy(_sum([row], *names)) for names in _COLUMNS),
                Cell(carbon(row.grams)),
                Cell(power(row.wh_per_million_tokens)),
                Cell(carbon(row.grams_per_million_tokens)),
            ],
            kind="" if row.deployment else "idle",
        )
        for row in rows
    ]
    total = [
        Cell(f"Total ({len(rows)} rows)"),
        *(_energy(_sum(rows, *names)) for names in _COLUMNS),
        Cell(carbon(_sum(rows, "grams"))),
        Cell(),
        Cell(),
    ]
    return Table(
        caption="Energy and carbon by deployment",
        columns=columns,
        rows=shown,
        total=Row(total, kind="total") if rows else None,
        empty=Notice(
            "not_arrived",
            "No energy counter in these days",
            "Have dcgm-exporter send DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION; it is among its default counters.",
        ),
        note=electricity(any(row.is_default_carbon for row in rows)) if rows else "",
    )


def by_group(asked: filters.Asked, rows: Sequence[EnergyUse]) -> Table:
    """Energy and carbon of requests to own GPUs, by what the page is grouped by."""
    columns = [
        Column(filters.LABELS[asked.group]),
        Column("Energy", numeric=True, sort="descending", title="At the card"),
        Column("CO2e", numeric=True, title="With the PUE of the data centre"),
        Column("Tokens", numeric=True, title="On days and deployments whose cards are metered"),
        Column("Energy / 1M tokens", numeric=True),
        Column("CO2e / 1M tokens", numeric=True),
        Column("Energy / request", numeric=True),
        Column("CO2e / request", numeric=True),
    ]
    shown = [
        Row(
            [Cell(words.label(asked.group, row.keys[0]), title=row.keys[0]), *_figures(row)],
            kind="" if row.keys[0] else "other",
        )
        for row in sorted(rows, key=lambda row: not row.keys[0])
    ]
    is_default = any(row.is_default_carbon for row in rows)
    whole = EnergyUse(
        (),
        sum((row.joules for row in rows), Decimal(0)),
        sum((row.grams for row in rows), Decimal(0)),
        sum(row.tokens for row in rows),
        sum(row.requests for row in rows),
        is_default,
    )
    return Table(
        caption=f"Energy and carbon by {filters.by(asked.group)}",
        columns=columns,
        rows=shown,
        total=Row([Cell(f"Total ({len(rows)} rows)"), *_figures(whole)], kind="total"),
        csv_url=f"{reverse('unit_costs_export')}?{asked.query}",
        note=electricity(is_default),
    )


def heading(rows: Sequence[GpuEnergy]) -> str:
    """`The cards drew 41.2 kWh, 38 % of it while idle: 30.4 kg CO2e`."""
    joules, grams = _sum(rows, "joules"), _sum(rows, "grams")
    if not joules:
        return "No card told what it drew in these days"
    idle = fmt.percent(_sum(rows, "idle_joules", "unknown_joules") / joules, places=0)
    return f"The cards drew {power(queries.watt_hours(joules))}, {idle} of it while idle: {carbon(grams)} CO2e"


def weights_heading(rows: Sequence[WeightsLine]) -> str:
    """`Token weights are estimated for 1 of 3 deployments`."""
    guessed = sum(1 for row in rows if row.is_estimated)
    whole = f"{len(rows)} deployment{'' if len(rows) == 1 else 's'}"
    if not guessed:
        return f"Token weights are fitted or stated for {whole}"
    return f"Token weights are estimated for {guessed} of {whole}"


def electricity(is_default: bool) -> str:
    """Where grams come from."""
    if is_default:
        return (
            "Carbon by default: 473 g CO2e / kWh (world average 2024, Ember) and a PUE of 1.56 (Uptime Institute 2024)."
            " State your own under electricity in the GPU rule."
        )
    return "Carbon by the electricity that the GPU rule states. Energy is at the card, carbon with the PUE."


def weights(rows: Sequence[WeightsLine]) -> Table:
    """What a token weighs on each deployment, how that is known, and how good the fit is."""
    columns = [
        Column("Deployment"),
        Column("Quantization"),
        Column(
            "Input : cached : output", numeric=True, title="Weight of one token; output at the mean load of the fit"
        ),
        Column("a, ms / step", numeric=True, title="What a step costs whoever is in it, shared by those who generate"),
        Column("b, ms / input token", numeric=True, title="Of a prompt token that was computed"),
        Column("c, ms / output token", numeric=True),
        Column("R²", numeric=True, title="Part of the steps' time that the fit explains; below 0.8 it is not used"),
        Column("Holds from"),
        Column("How it is known", wide=True),
    ]
    shown = [
        Row(
            [
                Cell(row.deployment),
                Cell(row.quantization or fmt.NOT_APPLICABLE),
                Cell(f"1 : {_digits(row.cached_weight, 2)} : {_digits(row.output_weight, 2)}"),
                *(Cell(_digits(value, 3)) for value in (row.a_ms, row.b_ms, row.c_ms)),
                Cell(_digits(row.r2, 3), note=f"{fmt.integer(row.steps)} steps" if row.steps is not None else ""),
                Cell(
                    fmt.day(row.valid_from) if row.valid_from else fmt.NOT_APPLICABLE,
                    note=f"fitted {fmt.moment(row.fitted_at)}" if row.fitted_at else "",
                ),
                Cell(_METHODS[row.method], note="estimated" if row.is_estimated else ""),
            ]
        )
        for row in rows
    ]
    return Table(
        caption="Token weights by deployment",
        columns=columns,
        rows=shown,
        empty=Notice("empty", "No deployment of own GPUs in these days"),
        note="Fit them from the log of vLLM with --enable-logging-iteration-details: costobs fit DEPLOYMENT --log FILE",
    )


def _figures(row: EnergyUse) -> list[Cell]:
    return [
        _energy(row.joules),
        Cell(carbon(row.grams)),
        Cell(fmt.count(row.tokens), title=fmt.integer(row.tokens)),
        Cell(power(row.wh_per_million_tokens)),
        Cell(carbon(row.grams_per_million_tokens)),
        Cell(power(row.wh_per_request)),
        Cell(carbon(row.grams_per_request)),
    ]


def _sum(rows: Sequence[GpuEnergy], *names: str) -> Decimal:
    return sum((getattr(row, name) for row in rows for name in names), Decimal(0))


def _energy(joules: Decimal) -> Cell:
    return Cell(power(queries.watt_hours(joules)), title=f"{joules:f} J")


def _scaled(value: Decimal | None, small: str, large: str) -> str:
    if value is None:
        return fmt.NOT_APPLICABLE
    number, unit = value, small
    if abs(value) >= _THOUSAND:
        number, unit = value / _THOUSAND, large
    elif value and abs(value) < Decimal("0.1"):
        number, unit = value * _THOUSAND, f"m{small}"
    return f"{fmt.digits(number, 0 if not number or abs(number) >= 100 else 1 if abs(number) >= 10 else 2)} {unit}"


def _digits(value: Decimal | None, places: int) -> str:
    return fmt.NOT_APPLICABLE if value is None else fmt.digits(value, places)
