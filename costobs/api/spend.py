"""Spend by any dimensions: the same numbers as Explore."""

from collections.abc import Sequence
from datetime import datetime

from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from attribution import queries
from costobs.access.authentication import MayRead
from costobs.api import scope
from costobs.kernel import money
from costobs.kernel.scope import BadScope

_KNOWN_AT = OpenApiParameter(
    "known_at", datetime, description="As it was known at this moment, with its time zone. Default: as it is known now."
)


class Spend(APIView):
    """Spend in one scope."""

    permission_classes = [MayRead]

    @extend_schema(parameters=[*scope.PARAMETERS, _KNOWN_AT], responses=OpenApiTypes.OBJECT)
    def get(self, request: Request) -> Response:
        """Rows by the asked dimensions, largest first; money is a string of exact digits.

        With `known_at` the same as it was known at that moment: exact at whole hours, and by provider_name, team and basis.
        """
        asked, names, moment = scope.read(request), scope.group_by(request), _known_at(request)
        rows: Sequence[queries.SpendRow | queries.KnownSpend] = (
            queries.spend(scope=asked, group_by=names)
            if moment is None
            else queries.spend_as_of(scope=asked, known_at=moment, group_by=names)
        )
        known = {} if moment is None else {"known_at": queries.known_moment(known_at=moment).isoformat()}
        return Response(
            {
                **scope.document(asked),
                **known,
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


def _known_at(request: Request) -> datetime | None:
    text = request.query_params.get("known_at", "")
    if not text:
        return None
    try:
        # A plus that was not escaped arrives as a space.
        moment = datetime.fromisoformat(text.replace(" ", "+"))
    except ValueError as problem:
        raise BadScope(f"expected known_at as 2026-11-03T12:00:00Z, found {text!r}") from problem
    if moment.tzinfo is None or moment.year < 1970:
        raise BadScope(
            f"expected known_at after 1970 and with a time zone, such as 2026-11-03T12:00:00Z, found {text!r}"
        )
    if moment > timezone.now():
        raise BadScope(f"expected known_at in the past, found {text!r}: nobody knows yet")
    return moment
