"""Scope parameters of the API: the same words as on the pages."""

from datetime import date, timedelta
from typing import Any

from django.conf import settings
from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request

from attribution import queries
from costobs.access import scopes
from costobs.access.models import ApiToken
from costobs.kernel.period import Days
from costobs.kernel.scope import COSTS, DIMENSIONS, BadScope, Filter, SpendScope

PARAMETERS = [
    OpenApiParameter("from", date, description="First day (UTC). Default: the first day in the books."),
    OpenApiParameter("to", date, description="Last day, inclusive. Default: the last day in the books."),
    OpenApiParameter("group_by", str, description=f"Comma-separated, up to four of: {', '.join(DIMENSIONS)}"),
    OpenApiParameter("cost", str, enum=list(COSTS), description="Which cost column. Default: effective."),
    OpenApiParameter("currency", str, description="ISO 4217 code."),
    OpenApiParameter(
        "f", str, many=True, description="Filter as dimension:value, dimension!:value or dimension~:value."
    ),
]


def viewer(request: Request) -> scopes.Viewer:
    """Who asks: a token or a signed-in person."""
    return scopes.viewer(request.user, request.auth if isinstance(request.auth, ApiToken) else None)


def read(request: Request) -> SpendScope:
    """The scope in the query parameters, with the rows the viewer may see. Raises BadScope."""
    extent = queries.extent() or Days(date(1970, 1, 1), date(1970, 1, 1))
    start, last = _day(request, "from"), _day(request, "to")
    if start and last and last < start:
        raise BadScope(f"from ({start}) lies after to ({last})")
    first = start or min(extent.start, last or extent.start)
    final = last or max(first, extent.last)
    return SpendScope(
        Days(first, final + timedelta(days=1)),
        tuple(Filter.parse(text) for text in request.query_params.getlist("f")),
        request.query_params.get("cost", "effective"),
        request.query_params.get("currency", settings.COSTOBS_CURRENCY),
        viewer(request).teams,
    )


def group_by(request: Request) -> list[str]:
    """The dimensions asked for. Raises BadScope."""
    names = [name for name in request.query_params.get("group_by", "").split(",") if name]
    unknown = [name for name in names if name not in DIMENSIONS]
    if unknown or len(names) > 4:
        raise BadScope(f"expected at most four of {', '.join(DIMENSIONS)}; found {', '.join(unknown or names)}")
    return names


def document(scope: SpendScope) -> dict[str, Any]:
    """The scope as every answer repeats it."""
    return {
        "from": scope.days.start.isoformat(),
        "to": (scope.days.end - timedelta(days=1)).isoformat(),
        "cost": scope.cost,
        "currency": scope.currency,
    }


def _day(request: Request, name: str) -> date | None:
    text = request.query_params.get(name, "")
    if not text:
        return None
    try:
        day = date.fromisoformat(text)
    except ValueError as problem:
        raise BadScope(f"expected {name} as YYYY-MM-DD, found {text!r}") from problem
    if day == date.max:
        raise BadScope(f"expected {name} before {date.max}")
    return day
