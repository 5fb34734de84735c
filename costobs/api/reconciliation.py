"""Reconciliation for programs: estimates against bills, and why they differ, with every digit."""

from decimal import Decimal
from typing import Any

from django.conf import settings
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from attribution import queries
from costobs.access.authentication import MayRead
from costobs.api import scope
from costobs.kernel import money
from costobs.kernel.scope import BadScope

_PARAMETERS = [
    *(one for one in scope.PARAMETERS if one.name in {"from", "to"}),
    OpenApiParameter("currency", str, description=f"Of the bills. Default: {settings.COSTOBS_CURRENCY}."),
    OpenApiParameter("provider", str, description="One provider, as FOCUS names it."),
]
_RATIO = Decimal("1e-6")


class Reconciliation(APIView):
    """What was estimated, what was billed, and named causes that add to the difference."""

    permission_classes = [MayRead]

    @extend_schema(parameters=_PARAMETERS, responses=OpenApiTypes.OBJECT)
    def get(self, request: Request) -> Response:
        """Sums, causes, providers and days. Bills are about all teams at once: a viewer of some teams is refused."""
        asked = scope.read(request)
        if asked.teams is not None:
            raise PermissionDenied(
                "bills are about all teams at once; this needs the role admin or finance, or a token without teams"
            )
        if "\x00" in request.query_params.get("provider", ""):
            raise BadScope("expected a provider as it is named on its bills, found a null character")
        found = queries.compared(scope=asked, provider=request.query_params.get("provider", ""))
        return Response(_document(found))


def _document(found: queries.Comparison) -> dict[str, Any]:
    return {
        "from": found.days.start.isoformat(),
        "to": found.days.last.isoformat(),
        "currency": found.currency,
        "currencies": list(found.currencies),
        "estimated_cost": money.text(found.estimated_cost),
        "billed_cost": money.text(found.billed_cost),
        "difference": money.text(found.difference),
        "waiting_cost": money.text(found.waiting_cost),
        "explained_share": _ratio(found.explained_share),
        "reconciled_at": found.reconciled_at,
        "causes": [
            {
                "cause": one.cause,
                "amount": money.text(one.amount),
                "tokens": money.text(one.tokens),
                "cells": one.cells,
                "days": one.days,
            }
            for one in found.causes
        ],
        "providers": [_provider(one) for one in found.providers],
        "days": [
            {
                "day": one.day.isoformat(),
                "estimated_cost": money.text(one.estimated_cost),
                "billed_cost": None if one.billed_cost is None else money.text(one.billed_cost),
                "drift_cost": None if one.drift_cost is None else money.text(one.drift_cost),
                "coverage": _ratio(one.coverage),
            }
            for one in found.by_day
        ],
    }


def _provider(one: queries.ProviderLine) -> dict[str, Any]:
    return {
        "provider": one.provider,
        "estimated_cost": money.text(one.estimated_cost),
        "billed_cost": money.text(one.billed_cost),
        "difference": money.text(one.difference),
        "waiting_cost": money.text(one.waiting_cost),
        "drift_cost": money.text(one.drift_cost),
        "unknown_cost": money.text(one.unknown_cost),
        "coverage": _ratio(one.coverage),
        "largest_cause": one.largest.cause if one.largest else None,
        "threshold": {"percent": money.text(one.threshold.percent), "amount": money.text(one.threshold.amount)},
        "is_over": one.is_over,
    }


def _ratio(value: Decimal | None) -> str | None:
    return None if value is None else money.text(value.quantize(_RATIO))
