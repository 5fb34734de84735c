"""What stands beside cost: quality scores, and events of note."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from attribution.dimensions import provider_name_sql, service_name_sql
from attribution.queries.scoped import BOOKS, Scoped, fetch
from costobs.kernel.scope import DIMENSIONS, SpendScope

_PLACES = Decimal("1e-12")
_OWNED = ("team", "feature", "cost_centre", "environment", "key", "source")

# A score knows its model and owner, and nothing of bills.
_QUALITY = {
    **dict.fromkeys(DIMENSIONS, "''"),
    "provider_name": provider_name_sql("d.provider"),
    "service_name": service_name_sql("d.provider"),
    "model": "d.model",
    "deployment": "d.deployment",
}
_SCORES = "(SELECT *, (scored_at AT TIME ZONE 'UTC')::date AS day FROM ingest_qualityscore)"


@dataclass(frozen=True, slots=True)
class Quality:
    """Scores of one name and group. `mean` and its interval are on the share of the scale, 0..1; the interval is the normal
    approximation of the mean at 95 %, None below two scores, cut to the scale."""

    keys: tuple[str, ...]
    name: str
    scores: int
    mean: Decimal
    low: Decimal | None
    high: Decimal | None


@dataclass(frozen=True, slots=True)
class MarkerLine:
    """One event on the time axis."""

    at: datetime
    act: str
    title: str
    url: str
    team: str
    environment: str


def quality(*, scope: SpendScope, group_by: Sequence[str]) -> list[Quality]:
    """Mean scores by `group_by` and name of the score, the most scored first. Raises BadScope."""
    scoped = Scoped(scope, table=_SCORES, expressions=_expressions(_QUALITY), dimensions=group_by)
    keys = "".join(f"{key}, " for key in scoped.keys())  # noqa: SIM118 - not a dict
    places = ", ".join(str(index + 1) for index in range(len(group_by) + 1))
    share = "(d.value - d.scale_min) / (d.scale_max - d.scale_min)"
    sql = f"""SELECT {keys} d.name, count(*), avg({share}), 1.96 * stddev_samp({share}) / sqrt(count(*)::numeric)
        {scoped.source()} GROUP BY {places} ORDER BY count(*) DESC, {places}"""
    return [_quality(row, len(group_by)) for row in fetch(sql, scoped.parameters)]


def scores_of(*, scope: SpendScope, condition: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Name, number, mean and deviation of the scores a condition of our own leaves, the most scored first."""
    scoped = Scoped(scope, table=_SCORES, expressions=_expressions(_QUALITY))
    share = "(d.value - d.scale_min) / (d.scale_max - d.scale_min)"
    sql = f"""SELECT d.name, count(*), avg({share}), stddev_samp({share}) {scoped.source()} AND {condition}
        GROUP BY 1 ORDER BY 2 DESC, 1"""
    return fetch(sql, {**scoped.parameters, **parameters})


def markers(*, scope: SpendScope, limit: int = 30) -> list[MarkerLine]:
    """Events in the scope's days, the newest `limit` of them, oldest first. One that names no team is for everybody."""
    conditions, parameters = ["m.at >= %(start)s", "m.at < %(end)s"], dict[str, Any]()
    parameters |= {"start": scope.days.start_at, "end": scope.days.end_at, "limit": limit}
    if scope.teams is not None:
        parameters["teams"] = list(scope.teams)
        conditions.append("(coalesce(a.attributes->>'team', '') = '' OR a.attributes->>'team' = ANY(%(teams)s))")
    for index, one in enumerate(scope.filters):
        if one.dimension in ("team", "feature", "environment") and one.op == "is":
            parameters[f"filter_{index}"] = ["", *one.values]
            conditions.append(f"coalesce(a.attributes->>'{one.dimension}', '') = ANY(%(filter_{index})s)")
    rows = fetch(
        f"""SELECT m.at, m.act, m.title, m.url, coalesce(a.attributes->>'team', ''),
                coalesce(a.attributes->>'environment', '')
            FROM ingest_marker m JOIN ingest_attributeset a ON a.id = m.attribute_set_id
            WHERE {" AND ".join(conditions)} ORDER BY m.at DESC, m.id DESC LIMIT %(limit)s""",
        parameters,
    )
    return [MarkerLine(*row) for row in reversed(rows)]


def _expressions(own: dict[str, str]) -> dict[str, str]:
    return {**own, **{name: BOOKS[name] for name in _OWNED}}


def _quality(row: tuple[Any, ...], width: int) -> Quality:
    name, count, mean, half = row[width:]
    low = high = None
    if half is not None:
        low = max(mean - half, Decimal(0)).quantize(_PLACES)
        high = min(mean + half, Decimal(1)).quantize(_PLACES)
    return Quality(tuple(row[:width]), name, count, mean.quantize(_PLACES), low, high)
