"""What a token weighs on one deployment, fitted from how long the steps of its engine took.

step ms = a + b · computed prompt tokens + c · output tokens, none of them negative. `a`, the weights that are read once for a
step, is shared by those who generate in it; that is why one ratio of output to input holds for no other load.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

import numpy as np
import numpy.typing as npt
from django.db import connection, transaction
from scipy.optimize import nnls

from attribution.models import TokenWeights

# A fit of fewer steps, or that explains less of them, is not believed: the declared weights stand and are marked.
LEAST_STEPS = 200
LEAST_R2 = Decimal("0.8")
DECLARED = {"input": Decimal(1), "cached": Decimal("0.1"), "output": Decimal(5)}
METHODS = ("step_log", "counters", "declared")

# vLLM 0.32 with --enable-logging-iteration-details.
_ITERATION = re.compile(
    r"Iteration\(\d+\): (\d+) context requests, (\d+) context tokens, (\d+) generation requests, (\d+) generation tokens,"
    r" iteration elapsed time: (\d+(?:\.\d+)?) ms"
)
# The same from a stat logger, one JSON object a line.
_FIELDS = ("ctx_req", "ctx_tok", "gen_req", "gen_tok", "ms")
_WARM_UP = 5  # the first steps of an engine compile and allocate
_MOST_STEPS = 2_000_000


class BadLog(Exception):
    """Nothing can be fitted from this; the message says what was expected and what was found."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of an engine."""

    context_requests: int
    context_tokens: int
    generation_requests: int
    generation_tokens: int
    ms: Decimal


@dataclass(frozen=True, slots=True)
class Fit:
    """What was fitted; `is_fitted` is false where the declared weights stand. Weights are relative to an uncached input token."""

    method: str
    a_ms: Decimal
    b_ms: Decimal
    c_ms: Decimal
    cached_weight: Decimal
    output_weight: Decimal
    r2: Decimal
    steps: int

    @property
    def is_fitted(self) -> bool:
        return self.method != "declared"


@dataclass(frozen=True, slots=True)
class InForce(Fit):
    """A fit as it is kept."""

    quantization: str
    valid_from: date
    known_from: datetime


def parse(lines: Iterable[str]) -> list[Step]:
    """The steps of a log: lines of vLLM's own log, or of a stat logger. Other lines are passed over. Raises BadLog."""
    found = []
    for line in lines:
        step = _step(line)
        if step is not None:
            found.append(step)
            if len(found) > _MOST_STEPS:
                raise BadLog(f"expected no more than {_MOST_STEPS:,} steps: send a part of the log")
    if not found:
        raise BadLog(
            "no engine steps found: expected lines such as 'Iteration(7): 1 context requests, 300 context tokens, …', which"
            " vLLM writes with --enable-logging-iteration-details"
        )
    return found


def fit(steps: Sequence[Step], *, method: str = "step_log") -> Fit:
    """Least squares without negative coefficients; falls back to the declared weights where the fit is not good enough."""
    kept = list(steps[_WARM_UP:]) if len(steps) >= LEAST_STEPS else list(steps)
    contexts, outputs = [step.context_tokens for step in kept], [step.generation_tokens for step in kept]
    measured = np.array([str(step.ms) for step in kept], dtype="float64")
    table = np.column_stack(
        [np.ones(len(kept)), np.array(contexts, dtype="float64"), np.array(outputs, dtype="float64")]
    )
    coefficients, _ = nnls(table, measured)
    r2 = _explained(measured, table @ coefficients)
    a, b, c = (_decimal(value) for value in coefficients)
    tokens = sum(outputs)
    if len(kept) < LEAST_STEPS or r2 < LEAST_R2 or not b or not tokens:
        return Fit("declared", a, b, c, DECLARED["cached"], DECLARED["output"], r2, len(kept))
    # The part of the steps that those who generate pay: of a step they share with prompts, theirs by number.
    paid = sum((_generating(step) for step in kept), Decimal(0))
    weight = ((a * paid / tokens + c) / b).quantize(Decimal("1e-6"))
    if not weight:
        return Fit("declared", a, b, c, DECLARED["cached"], DECLARED["output"], r2, len(kept))
    return Fit(method, a, b, c, Decimal(0), weight, r2, len(kept))


def record(*, deployment: str, quantization: str, found: Fit, valid_from: date, by: str, now: datetime) -> int:
    """Keeps a fit from a day on, and opens the days it changes that are not closed; returns how many those are.

    Said twice at one moment, it is kept once.
    """
    with transaction.atomic():
        TokenWeights.objects.get_or_create(
            deployment=deployment,
            quantization=quantization,
            valid_from=valid_from,
            known_from=now,
            defaults={
                "method": found.method,
                "a_ms": found.a_ms,
                "b_ms": found.b_ms,
                "c_ms": found.c_ms,
                "input_weight": Decimal(1),
                "cached_weight": found.cached_weight,
                "output_weight": found.output_weight,
                "r2": found.r2,
                "steps": found.steps,
                "fitted_by": by,
            },
        )
        return _open_days(deployment, valid_from)


def in_force(*, day: date, known_at: datetime | None = None) -> dict[str, InForce]:
    """The weights of each deployment on a day: those of the latest day not after it, as last known, or as known at a time."""
    rows = TokenWeights.objects.filter(valid_from__lte=day).order_by("deployment", "valid_from", "known_from", "id")
    if known_at is not None:
        rows = rows.filter(known_from__lte=known_at)
    return {row.deployment: _in_force(row) for row in rows}


def _step(line: str) -> Step | None:
    if seen := _ITERATION.search(line):
        contexts, context_tokens, generating, generated, ms = seen.groups()
        return Step(int(contexts), int(context_tokens), int(generating), int(generated), Decimal(ms))
    if line.lstrip().startswith("{") and '"ctx_tok"' in line:
        try:
            told = json.loads(line, parse_float=Decimal)
            values = [told[name] for name in _FIELDS]
        except (ValueError, KeyError, TypeError):
            return None
        if all(isinstance(value, int) and value >= 0 for value in values[:4]) and isinstance(values[4], int | Decimal):
            ms = Decimal(values[4])
            return Step(values[0], values[1], values[2], values[3], ms) if ms >= 0 else None
    return None


def _generating(step: Step) -> Decimal:
    whole = step.context_requests + step.generation_requests
    return Decimal(step.generation_requests) / whole if whole else Decimal(0)


def _explained(measured: npt.NDArray[np.float64], expected: npt.NDArray[np.float64]) -> Decimal:
    spread = ((measured - measured.mean()) ** 2).sum()
    return _decimal(1 - ((measured - expected) ** 2).sum() / spread) if spread else Decimal(0)


def _decimal(value: np.float64) -> Decimal:
    return Decimal(f"{value:.6f}")


def _open_days(deployment: str, valid_from: date) -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            """UPDATE ingest_touched t SET version = t.version + 1
               FROM (SELECT DISTINCT source_id, (hour AT TIME ZONE 'UTC')::date AS day FROM ingest_gpuhour
                     WHERE deployment = %(deployment)s AND hour >= %(from)s::timestamp AT TIME ZONE 'UTC') g
               WHERE t.source_id = g.source_id AND t.day = g.day AND t.day >= coalesce(
                   (SELECT (max(month) + interval '1 month')::date FROM attribution_periodbook WHERE state = 'closed'),
                   '-infinity')""",
            {"deployment": deployment, "from": valid_from},
        )
        return int(cursor.rowcount)


def _in_force(row: TokenWeights) -> InForce:
    return InForce(
        method=row.method,
        a_ms=row.a_ms,
        b_ms=row.b_ms,
        c_ms=row.c_ms,
        cached_weight=row.cached_weight,
        output_weight=row.output_weight,
        r2=row.r2,
        steps=row.steps,
        quantization=row.quantization,
        valid_from=row.valid_from,
        known_from=row.known_from,
    )
