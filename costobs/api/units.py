"""Units of business value: the same numbers as the page."""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from attribution import queries
from attribution.queries import UnitValue
from costobs.access.authentication import MayRead
from costobs.api import scope
from costobs.kernel import money

_PARTS = ("api", "gpu", "shared", "idle", "other", "estimated")


class Units(APIView):
    """The units figures were told of, or one of them by period and owner."""

    permission_classes = [MayRead]

    @extend_schema(
        parameters=[
            *(one for one in scope.PARAMETERS if one.name != "group_by"),
            OpenApiParameter("name", str, description="One unit. Without it the units there are."),
            OpenApiParameter("unit", str, description="What it is counted in, where a name has several."),
            OpenApiParameter("by", str, enum=["day", "week", "month"], description="Default: the shortest that fits."),
        ],
        responses=OpenApiTypes.OBJECT,
    )
    def get(self, request: Request) -> Response:
        """Cost of a unit over exactly the days its figures tell of; margin where its unit is the scope's currency."""
        asked, name = scope.read(request), request.query_params.get("name", "")
        document = scope.document(asked)
        if not name:
            targets = queries.unit_targets(currency=asked.currency)
            return Response(
                {**document, "units": [_defined(one, targets) for one in queries.defined_units(scope=asked)]}
            )
        unit, by = request.query_params.get("unit", ""), request.query_params.get("by", "")
        found = queries.unit_values(scope=asked, name=name, unit=unit, by=by)
        return Response(
            {
                **document,
                "name": found.name,
                "unit": found.unit,
                "by": found.by,
                "left_out_figures": found.left_out,
                "whole": _value(found.whole) if found.whole else None,
                "periods": [_value(one) for one in found.periods],
                "owners": [{"team": team, "feature": feature, **_value(one)} for team, feature, one in found.owners],
            }
        )


def _defined(one: queries.DefinedUnit, targets: dict[str, queries.Target]) -> dict[str, Any]:
    target = targets.get(f"figure:{one.name}")
    return {
        "name": one.name,
        "unit": one.unit,
        "figures": one.figures,
        "first_day": one.first.isoformat(),
        "last_day": one.last.isoformat(),
        "by": one.by,
        "target": None if target is None or target.amount is None else money.text(target.amount),
    }


def _value(one: UnitValue) -> dict[str, Any]:
    amounts = {"cost_per_unit": one.cost_per_unit, "margin": one.margin, "margin_rate": one.margin_rate}
    return {
        "from": one.span.start.isoformat(),
        "to": one.span.last.isoformat(),
        "days": len(one.days),
        "value": money.text(one.value),
        "cost": money.text(one.cost),
        **{f"{part}_cost": money.text(getattr(one.parts, part)) for part in _PARTS},
        **{name: None if amount is None else money.text(amount) for name, amount in amounts.items()},
    }
