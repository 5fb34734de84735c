"""Which runs were tries of the same thing, and after how many tokens a trained model has paid for itself: pure."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_CEILING, Decimal

_RETRY = re.compile(r"[,\s._-]*\(?(?:retry|attempt|try|rerun|restart(?:ed)?|resumed?|continued)[\s._-]*#?\d*\)?$")


@dataclass(frozen=True, slots=True)
class Try:
    """A run, as far as it says what it was a try of."""

    id: int
    source_id: int
    external_id: str
    name: str
    base_model: str
    artefact: str
    state: str
    started_at: datetime


def lineages(runs: Iterable[Try]) -> list[list[Try]]:
    """Runs of one source and base model that share a name (without "retry 2" and the like) or an artefact, by their start.

    A run that succeeded ends its lineage: what failed before it counts to what it made, what comes later is another try.
    A name that is only the run's id joins nothing. The last lineage of a name may have no success yet.
    """
    ordered = sorted(runs, key=lambda run: (run.started_at, run.id))
    parents: dict[object, object] = {}

    def root(key: object) -> object:
        while parents.setdefault(key, key) != key:
            key = parents[key]
        return key

    for run in ordered:
        for key in _keys(run):
            parents[root(key)] = root(run.id)
    families: dict[object, list[Try]] = {}
    for run in ordered:
        families.setdefault(root(run.id), []).append(run)
    return [part for family in families.values() for part in _until_success(family)]


def break_even(*, training: Decimal, serving: Decimal, alternative: Decimal) -> int | None:
    """The number of tokens after which training has paid for itself: training / (alternative - serving), rounded up.

    `training` is what making the model cost in all, `serving` what one of its tokens costs, `alternative` what that token
    would cost at the base model's price. None where a token of its own is not cheaper: it never pays.
    """
    saved = alternative - serving
    if saved <= 0:
        return None
    return int((training / saved).to_integral_value(rounding=ROUND_CEILING))


def tail(name: str) -> str:
    """The last part of a path or address, which is what a model server calls the model."""
    return name.rstrip("/").rpartition("/")[2]


def _keys(run: Try) -> list[tuple[int, str, str, str]]:
    of = (run.source_id, run.base_model)
    name = _RETRY.sub("", run.name.strip().lower())
    keys = [(*of, "name", name)] if name and run.name != run.external_id else []
    return [*keys, *([(*of, "artefact", run.artefact.lower())] if run.artefact else [])]


def _until_success(family: Sequence[Try]) -> list[list[Try]]:
    found: list[list[Try]] = [[]]
    for run in family:
        found[-1].append(run)
        if run.state == "succeeded":
            found.append([])
    return [part for part in found if part]
