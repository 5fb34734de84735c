"""Spend by any dimensions: the same numbers as Explore."""

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from attribution import queries
from costobs.access.authentication import MayRead
from costobs.api import scope
from costobs.kernel import money


class Spend(APIView):
    """Spend in one scope."""

    permission_classes = [MayRead]

    @extend_schema(parameters=scope.PARAMETERS, responses=OpenApiTypes.OBJECT)
    def get(self, request: Request) -> Response:
        """Rows by the asked dimensions, largest first; money is a string of exact digits."""
        asked, names = scope.read(request), scope.group_by(request)
        rows = queries.spend(scope=asked, group_by=names)
        return Response(
            {
                **scope.document(asked),
                "group_by": names,
                "total": money.text(money.total(row.cost for row in rows)),
                "estimated": money.text(money.total(row.estimated_cost for row in rows)),
                "rows": [
                    {
                        **dict(zip(names, row.keys, strict=True)),
                        "cost": money.text(row.cost),
                        "estimated_cost": money.text(row.estimated_cost),
                    }
                    for row in rows
                ],
            }
        )
