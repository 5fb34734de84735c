"""Unit economics: the same numbers as the page."""

from dataclasses import asdict
from decimal import Decimal
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from attribution import queries
from costobs.access.authentication import MayRead
from costobs.api import scope
from costobs.kernel import money


class UnitCosts(APIView):
    """Cost of one unit, with its latency and error rate beside."""

    permission_classes = [MayRead]

    @extend_schema(parameters=scope.PARAMETERS, responses=OpenApiTypes.OBJECT)
    def get(self, request: Request) -> Response:
        """Rows by the asked dimensions (default: model); a unit cost that cannot be formed is null."""
        asked, names = scope.read(request), scope.group_by(request) or ["model"]
        rows = queries.unit_costs(scope=asked, group_by=names)
        return Response({**scope.document(asked), "group_by": names, "rows": [_row(names, row) for row in rows]})


def _row(names: list[str], row: Any) -> dict[str, Any]:
    fields = asdict(row)
    keys = fields.pop("keys")
    return {
        **dict(zip(names, keys, strict=True)),
        **{name: money.text(value) if isinstance(value, Decimal) else value for name, value in fields.items()},
    }
