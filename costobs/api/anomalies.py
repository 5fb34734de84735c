"""Anomalies: the same figures as the pages."""

from typing import Any

from django.conf import settings
from django.http import Http404
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from alerts import anomaly_queries, thresholds
from alerts.anomaly_limits import NAMES
from alerts.anomaly_queries import AnomalyLine
from costobs.access.authentication import MayRead
from costobs.api import scope
from costobs.api.errors import Bad
from costobs.kernel import money

_STATES = ("open", "closed")


class Anomalies(APIView):
    """What costs more than expected, open ones first."""

    permission_classes = [MayRead]

    @extend_schema(
        operation_id="api_v1_anomalies_list",
        parameters=[OpenApiParameter("state", str, enum=list(_STATES), description="Default: both.")],
        responses=OpenApiTypes.OBJECT,
    )
    def get(self, request: Request) -> Response:
        """At most 200. A token of some teams sees only anomalies of their scopes."""
        state = request.query_params.get("state", "")
        if state and state not in _STATES:
            raise Bad(f"expected state as {' or '.join(_STATES)}, found {state!r}")
        viewer = scope.viewer(request)
        found = anomaly_queries.anomalies(teams=viewer.teams, state=state)
        checks = anomaly_queries.checks().values()
        return Response(
            {
                "anomalies": [_short(line) for line in found],
                "fell_away": [
                    {
                        "scope": dict(one.scope),
                        "currency": one.currency,
                        "since": one.since,
                        "days": one.days,
                        "actual_cost": money.text(one.actual_cost),
                        "expected_cost": money.text(one.expected_cost),
                    }
                    for one in anomaly_queries.falls(teams=viewer.teams)
                ],
                "checked": [
                    {"grain": one.grain, "at": one.checked_at, "until": one.judged_until, "waits_for": one.waits_for}
                    for one in checks
                ],
            }
        )


class OneAnomaly(APIView):
    """One anomaly with its series, drivers, places and coincidences."""

    permission_classes = [MayRead]

    @extend_schema(responses=OpenApiTypes.OBJECT)
    def get(self, request: Request, anomaly_id: int) -> Response:
        """The drivers add up to the impact of the odd days or hours, exactly."""
        try:
            line = anomaly_queries.anomaly(anomaly_id=anomaly_id, teams=scope.viewer(request).teams)
        except anomaly_queries.NotFound as problem:
            raise Http404(str(problem)) from problem
        return Response(
            {
                **_short(line),
                "series": [
                    {
                        "at": one.at,
                        "cost": money.text(one.cost),
                        **{name: _text(getattr(one, name)) for name in ("expected", "low", "high")},
                        "is_odd": one.is_odd,
                    }
                    for one in line.points
                ],
                "drivers": [{"kind": one.kind, "cost": money.text(one.cost)} for one in line.drivers],
                "new_keys": [{"key": one.key, "cost": money.text(one.cost)} for one in line.new_keys],
                "new_models": list(line.new_models),
                "where": [
                    {"dimension": one.dimension, "value": one.value, "excess_cost": money.text(one.excess_cost)}
                    for one in line.places
                ],
                "coincides_with": [{"at": one.at, "kind": one.kind, "text": one.text} for one in line.coincidences],
            }
        )


class Thresholds(APIView):
    """From how much on anomalies are looked at and told."""

    permission_classes = [MayRead]

    @extend_schema(operation_id="api_v1_anomaly_thresholds", responses=OpenApiTypes.OBJECT)
    def get(self, request: Request) -> Response:
        """`default` holds where a scope has no limit of its own, and no wider one; null is as in the wider scope."""
        book = thresholds.book(teams=scope.viewer(request).teams)
        default = book.default()
        return Response(
            {
                "currency": settings.COSTOBS_CURRENCY,
                "default": {name: money.text(getattr(default, name)) for name in NAMES},
                "scopes": [
                    {
                        "scope": dict(one.scope),
                        **{name: _text(getattr(one, name)) for name in NAMES},
                        "changed_by": one.changed_by,
                        "changed_at": one.changed_at,
                    }
                    for one in book.owns
                    if one.scope
                ],
            }
        )


def _short(line: AnomalyLine) -> dict[str, Any]:
    return {
        "id": line.id,
        "scope": dict(line.scope),
        "currency": line.currency,
        "grain": line.grain,
        "state": line.state,
        "outcome": line.outcome_words,
        "started_at": line.started_at,
        "last_at": line.last_at,
        "periods": line.periods,
        **{
            name: money.text(getattr(line, name))
            for name in ("actual_cost", "expected_cost", "impact_cost", "newest_cost", "newest_expected_cost")
        },
        "if_goes_on_cost": money.text(line.if_goes_on_cost),
        "score": money.text(line.score),
        "driver": line.drivers[0].kind if line.drivers else None,
        "acknowledged_by": line.acknowledged_by or None,
        "muted_until": line.muted_until,
    }


def _text(amount: Any) -> str | None:
    return None if amount is None else money.text(amount)
