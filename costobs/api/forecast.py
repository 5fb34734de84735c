"""Where a period of a scope will end: the same forecast as Overview."""

from decimal import Decimal
from typing import Any

from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from attribution import outlook
from costobs.access.authentication import MayRead
from costobs.api import scope
from costobs.kernel import money
from costobs.kernel import period as periods
from costobs.kernel.scope import BadScope

PERIODS = ("week", "month", "quarter")
_PERIOD = OpenApiParameter("period", str, enum=list(PERIODS), description="The current one of these. Default: month.")
_SHARED = [one for one in scope.PARAMETERS if one.name in {"cost", "currency", "f"}]


class Forecast(APIView):
    """The end of the current period in one scope."""

    permission_classes = [MayRead]

    @extend_schema(parameters=[*_SHARED, _PERIOD], responses=OpenApiTypes.OBJECT)
    def get(self, request: Request) -> Response:
        """Expected cost at the end of the period with its 80 % interval, method and past error; money is a string.

        With fewer than 31 complete days of history it is the naive pace, without interval; without three of the period null.
        """
        kind = request.query_params.get("period", "month")
        if kind not in PERIODS:
            raise BadScope(f"expected period as one of {', '.join(PERIODS)}, found {kind!r}")
        now = timezone.now()
        days = periods.budget_period(kind, now.date())
        asked = scope.read(request).during(days)
        found = outlook.of(scope=asked, period=days, now=now)
        return Response({**scope.document(asked), "period": kind, **document(found)})


def document(found: outlook.Outlook | None) -> dict[str, Any]:
    """The forecast as programs read it; nulls where there is none."""
    if found is None:
        return {"forecast": None, "low": None, "high": None, "method": "", "days": []}
    return {
        "forecast": money.text(found.amount),
        "low": money.text(found.low) if found.is_interval else None,
        "high": money.text(found.high) if found.is_interval else None,
        "method": found.method,
        "error_percent": _text(found.error_percent),
        "naive_pace_error_percent": _text(found.pace_error_percent),
        "tests": found.tests,
        "tested_days": found.tested_days,
        "history_days": found.history_days,
        "complete_before": found.through.isoformat(),
        "spent_before": money.text(found.spent_cost),
        "days": [
            {
                "day": one.day.isoformat(),
                "expected": money.text(one.expected),
                **({"low": money.text(one.low), "high": money.text(one.high)} if found.is_interval else {}),
            }
            for one in found.days
        ],
    }


def _text(percent: Decimal | None) -> str | None:
    return None if percent is None else str(percent)
